"""Small pictures of outputs and the shape of sounds, each made once and kept.

Imports Pillow and, for films and most sound, PyAV; import this module on first use.
"""

from __future__ import annotations

import array
import hashlib
import io
import json
import sys
import wave
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

import anyio
import anyio.to_thread

from kubeez_mcp_local.disk import open_exactly, replace_file
from kubeez_mcp_local.media.picture import decoded, has_holes, upright
from kubeez_mcp_local.media.video import BrokenMediaError, load_av, open_media, poster_frame, reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from PIL.Image import Image

EDGE = 480
"""Pixels of the longer side of a small picture."""
_EDGES = (1024, 768, 512, 320, 160)
BARS = 120
"""Into how many parts the shape of a sound is divided."""
_QUALITY = 78
_FORMAT = 1
"""Goes up when what is kept is made otherwise."""
_AT_ONCE = 2
_MOST_KEPT = 30_000
_WINDOW = 4096
_MOST_SECONDS = 1800


@dataclass
class Thumbnails:
    """Makes and keeps them under `cache_dir`, a few at a time: a large picture takes hundreds of megabytes.

    Attributes:
        most_kept: More than so many are not kept; the oldest go first.
    """

    cache_dir: Path
    _: KW_ONLY
    most_kept: int = _MOST_KEPT
    _limiter: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(_AT_ONCE))

    async def picture(self, path: Path, kind: str) -> bytes:
        """A WebP of the picture, or of a frame of the film, at `path`: resolved, as `open_exactly` wants it.

        Raises:
            NotInstalledError: A film, and the extra `video` is missing.
            BrokenMediaError: It cannot be decoded.
            OSError: It cannot be read.
        """
        return await self._kept(path, "webp", lambda file: _small(file, kind))

    async def bounded(self, path: Path, kind: str, most_bytes: int) -> bytes:
        """As `picture`, larger, in at most so many bytes."""
        return await self._kept(path, f"{most_bytes}.webp", lambda file: _bounded(file, kind, most_bytes))

    async def waveform(self, path: Path) -> bytes:
        """JSON: the loudest moment of each of `BARS` parts of a sound, 0 to 100. Raises as `picture`."""
        return await self._kept(path, "json", lambda file: json.dumps(waveform(file)).encode())

    async def _kept(self, path: Path, extension: str, make: Callable[[BinaryIO], bytes]) -> bytes:
        def work() -> bytes:
            status = path.stat()
            name = f"{_FORMAT}\n{path}\n{status.st_size}\n{status.st_mtime_ns}"
            digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:40]
            kept = self.cache_dir / digest[:2] / f"{digest[2:]}.{extension}"
            with suppress(OSError):
                return kept.read_bytes()
            with open_exactly(path) as file:
                made = make(file)
            with suppress(OSError):  # a full disk only makes it slower
                replace_file(kept, made)
            return made

        return await anyio.to_thread.run_sync(work, limiter=self._limiter, abandon_on_cancel=True)

    def tidy(self) -> None:
        """Remove the oldest when there are too many. Blocks."""
        kept = list(self.cache_dir.glob("*/*")) if self.cache_dir.is_dir() else []
        if len(kept) > self.most_kept:
            with suppress(OSError):  # another process tidies, too
                for each in sorted(kept, key=lambda path: path.stat().st_mtime)[: len(kept) - self.most_kept // 2]:
                    each.unlink()


def _small(file: BinaryIO, kind: str) -> bytes:
    return _encoded(_opaque_or_not(file, kind, EDGE))


def _bounded(file: BinaryIO, kind: str, most_bytes: int) -> bytes:
    image = _opaque_or_not(file, kind, _EDGES[0])
    for edge in _EDGES:
        image.thumbnail((edge, edge))
        if len(found := _encoded(image)) <= most_bytes:
            return found
    raise BrokenMediaError(file.name, "nothing of it fits into the room there is")


def _opaque_or_not(file: BinaryIO, kind: str, edge: int) -> Image:
    """The picture, or a frame of the film, scaled; see-through only where it really is."""
    if kind == "video":
        return poster_frame(file, None, edge).image
    with decoded(file) as opened:
        image = upright(opened, edge)
    return image if has_holes(image) else image.convert("RGB")


def _encoded(image: Image) -> bytes:
    image.info = {}
    target = io.BytesIO()
    image.save(target, "WEBP", quality=_QUALITY, method=2)
    return target.getvalue()


def waveform(file: BinaryIO) -> list[int]:
    """The loudest moment of each of `BARS` parts of a sound, from 0 to 100; uncompressed WAV needs nothing for it.

    Raises:
        NotInstalledError: It is compressed, and the extra `video` is missing.
        BrokenMediaError: It cannot be decoded.
    """
    try:
        peaks = _of_wav(file)
    except (wave.Error, EOFError):
        file.seek(0)
        peaks = list(_of_any(file))
    if not peaks:
        raise BrokenMediaError(file.name, "it holds no sound")
    parts = [
        peaks[len(peaks) * at // BARS : max(len(peaks) * (at + 1) // BARS, len(peaks) * at // BARS + 1)]
        for at in range(BARS)
    ]
    loudest = max(peaks) or 1.0
    return [round(max(part, default=0.0) / loudest * 100) for part in parts]


def _of_wav(file: BinaryIO) -> list[float]:
    """A look at the start of each part: a long recording is not read whole."""
    with wave.open(file) as sound:
        width, channels, frames = sound.getsampwidth(), sound.getnchannels(), sound.getnframes()
        peaks = []
        for at in range(BARS):
            sound.setpos(frames * at // BARS)
            data = sound.readframes(min(_WINDOW, max(frames // BARS, 1)))
            peaks.append(_peak(data[: len(data) // (width * channels) * width * channels], width))
    return peaks


def _peak(data: bytes, width: int) -> float:
    """The largest of the little-endian samples in `data`, each of `width` bytes, from 0 to 1."""
    if width == 1:  # the only one without a sign
        return max((abs(sample - 128) for sample in data), default=0) / 128
    if width == 3:
        return _largest(array.array("b", data[2::3])) / 128
    samples = array.array({2: "h", 4: "i"}[width], data)
    if sys.byteorder == "big":
        samples.byteswap()
    return _largest(samples) / float(1 << (8 * width - 1))


def _largest(samples: Sequence[int]) -> int:
    return max(max(samples), -min(samples)) if samples else 0


def _of_any(file: BinaryIO) -> Iterator[float]:
    av = load_av("The shape of compressed sound")
    with open_media(av, file) as source:
        if not source.streams.audio:
            return
        resampler = av.AudioResampler(format="s16", layout="mono", rate=8000)
        try:
            for frame in source.decode(source.streams.audio[0]):
                if frame.time is not None and frame.time > _MOST_SECONDS:
                    return
                yield from (_frame_peak(part) for part in resampler.resample(frame))
        except av.FFmpegError as error:
            raise BrokenMediaError(file.name, reason(error)) from None


def _frame_peak(frame: Any) -> float:
    return _largest(array.array("h", bytes(frame.planes[0])[: frame.samples * 2])) / 32768
