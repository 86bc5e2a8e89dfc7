"""Films and sound with PyAV, which comes with the optional extra `video`: opening them, and one frame as a picture."""

from __future__ import annotations

import importlib.util
import io
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, BinaryIO

from kubeez_mcp_local.errors import KubeezError

if TYPE_CHECKING:
    from PIL import Image


EXTRA = "kubeez-mcp-local[video] (`kubeez-mcp-local doctor` says how to install it here)"


EXPORT_AGAIN = "Download or export it again; for video and sound plain MP4, MOV, MP3 or WAV are safest."


class NotInstalledError(KubeezError):
    """Something needs the optional extra `video`, which is not installed."""

    code = "video_extra_missing"


class BrokenMediaError(KubeezError):
    """The file starts like media but cannot be decoded."""

    code = "broken_media"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"{PurePath(name).name} cannot be decoded: {reason}.",
            next_step=EXPORT_AGAIN,
        )
        self.reason = reason


def has_av() -> bool:
    """Whether the extra is installed."""
    return importlib.util.find_spec("av") is not None


def load_av(what: str) -> Any:
    """The `av` module, imported now. `what` is what it is needed for, in words for the message.

    Raises:
        NotInstalledError: The extra is not installed.
    """
    try:
        return importlib.import_module("av")
    except ImportError:
        raise NotInstalledError(
            f"{what} needs the optional extra 'video' (PyAV), which is not installed.",
            next_step=f"Have the user install {EXTRA}, then restart the server.",
        ) from None


def open_media(av: Any, file: BinaryIO) -> Any:
    """Open media for reading: nothing but this very file, so that a playlist inside cannot reach out.

    Raises:
        BrokenMediaError: FFmpeg makes nothing of it.
    """
    try:
        return av.open(file, mode="r", options={"protocol_whitelist": "none"}, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise BrokenMediaError(file.name, reason(error)) from None


def reason(error: BaseException) -> str:
    """FFmpeg's own words for a failure, without the file name it repeats."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__).lower()


def turned(stream: Any) -> int:
    """Degrees clockwise (0, 90, 180, 270) by which the picture has to be turned to be shown, read from one frame."""
    for frame in stream.container.decode(stream):
        return int(-frame.rotation) % 360
    return 0


MAX_PIXELS = 8192 * 8192
"""Largest frame that is decoded."""


@dataclass(frozen=True)
class Poster:
    """A frame in RGB, upright and scaled, which stands at `at_s` seconds of a film of `length_s`, if known."""

    image: Image.Image
    at_s: float
    length_s: float | None


def poster_frame(file: BinaryIO, at_s: float | None, max_edge: int) -> Poster:
    """The frame shown at `at_s` seconds; `None` takes one a tenth into the film, past a black opening. Blocks.

    Raises:
        NotInstalledError: The extra `video` is missing.
        BrokenMediaError: No frame can be decoded.
    """
    av = load_av("A picture of a video")
    with open_media(av, file) as container:
        if not container.streams.video:
            raise BrokenMediaError(file.name, "it has no picture track")
        stream = container.streams.video[0]
        if stream.codec_context.width * stream.codec_context.height > MAX_PIXELS:
            raise BrokenMediaError(file.name, "its picture is too large to unfold safely")
        length = container.duration / av.time_base if container.duration else None
        wanted = at_s if at_s is not None else (length or 0.0) / 10
        try:
            frame = _frame_at(container, stream, max(0.0, wanted), av)
        except av.FFmpegError as error:
            raise BrokenMediaError(file.name, reason(error)) from None
        if frame is None:
            raise BrokenMediaError(file.name, "it holds no frame")
        return Poster(_upright(frame, max_edge), _seconds(frame, stream), length)


def _frame_at(container: Any, stream: Any, wanted: float, av: Any) -> Any:
    """The last frame that starts at or before `wanted`; the film's last one when `wanted` lies beyond its end."""
    if wanted > 0:
        start = (container.start_time or 0) / av.time_base
        container.seek(int((wanted + start) * av.time_base), backward=True, any_frame=False)
    best = None
    for frame in container.decode(stream):
        if best is not None and _seconds(frame, stream) > wanted + 1e-6:
            return best
        best = frame
    return best


def _seconds(frame: Any, stream: Any) -> float:
    if frame.pts is None:
        return 0.0
    return float((frame.pts - (stream.start_time or 0)) * frame.time_base)


def _upright(frame: Any, max_edge: int) -> Image.Image:
    scale = min(1.0, max_edge / max(frame.width, frame.height))
    width, height = max(2, round(frame.width * scale)), max(2, round(frame.height * scale))
    image: Image.Image = frame.to_image(width=width, height=height)
    turn = int(-frame.rotation) % 360
    return image.rotate(-turn, expand=True) if turn in (90, 180, 270) else image


_RATE = 24_000
_BIT_RATES = (96_000, 64_000, 48_000, 32_000)
_ROOM = 0.95
"""How much of a budget is used: a bit rate is kept on average only."""


@dataclass(frozen=True)
class Excerpt:
    """A part of some sound, as an MP3 file; times in seconds, `length_s` that of the whole, if known."""

    data: bytes
    start_s: float
    seconds: float
    length_s: float | None


def excerpt(file: BinaryIO, start_s: float, budget: int) -> Excerpt:
    """As much of the sound from `start_s` on as `budget` bytes hold: all of it in lower quality, if it can be. Blocks.

    Raises:
        NotInstalledError: The extra `video` is missing.
        BrokenMediaError: It cannot be decoded, or nothing is there.
    """
    av = load_av("Shortening sound")
    target = io.BytesIO()
    with open_media(av, file) as source:
        if not source.streams.audio:
            raise BrokenMediaError(file.name, "it holds no sound")
        stream = source.streams.audio[0]
        length = source.duration / av.time_base if source.duration else None
        left = None if length is None else max(length - start_s, 0.0)
        fitting = (rate for rate in _BIT_RATES if left is not None and left * rate / 8 <= budget * _ROOM)
        bits = next(fitting, _BIT_RATES[-1])
        most = budget * _ROOM * 8 / bits
        try:
            with av.open(target, "w", format="mp3", options={"write_xing": "0"}) as result:
                samples = _copy(av, source, stream, result, start_s, most, bits)
        except av.FFmpegError as error:
            raise BrokenMediaError(file.name, reason(error)) from None
    if not samples:
        raise BrokenMediaError(file.name, f"it holds no sound after {start_s:g} s")
    return Excerpt(target.getvalue()[:budget], start_s, samples / _RATE, length)


def _copy(av: Any, source: Any, stream: Any, result: Any, start_s: float, most_s: float, bits: int) -> int:
    """Put at most `most_s` seconds from `start_s` on into `result`; how many samples that were."""
    track = result.add_stream("libmp3lame", rate=_RATE, layout="mono")
    track.bit_rate = bits
    resampler = av.AudioResampler(format="s16p", layout="mono", rate=_RATE)
    begin = (source.start_time or 0) / av.time_base
    if start_s > 0:
        source.seek(int((start_s + begin) * av.time_base), backward=True)
    samples, most = 0, int(most_s * _RATE)
    for frame in source.decode(stream):
        if frame.time is not None and frame.time - begin + frame.samples / frame.sample_rate <= start_s:
            continue
        for part in resampler.resample(frame):
            part.pts = samples
            samples += part.samples
            result.mux(track.encode(part))
        if samples >= most:
            break
    result.mux(track.encode(None))
    return samples
