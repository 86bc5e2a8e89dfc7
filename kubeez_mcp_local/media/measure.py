"""How long a file lasts and how large its picture is, for quotes and session answers."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, BinaryIO

import anyio.to_thread

from kubeez_mcp_local.media.inputs import opened
from kubeez_mcp_local.media.sniff import is_iso_media, read_movie, sniff_file
from kubeez_mcp_local.media.video import BrokenMediaError, NotInstalledError, load_av, open_media, turned

if TYPE_CHECKING:
    from pathlib import Path

    from kubeez_mcp_local.media.inputs import LocalInput
    from kubeez_mcp_local.media.sniff import MediaType


@dataclass(frozen=True)
class Measured:
    """What could be measured; `None` is unknown, never a guess.

    Attributes:
        seconds: Length of video or sound.
        width: Pixels as shown, turned pictures considered, as is `height`.
        unreadable: The content is damaged, so that measuring again will not help.
    """

    seconds: float | None = None
    width: int | None = None
    height: int | None = None
    unreadable: bool = False


async def measure(source: Path | LocalInput) -> Measured:
    """Measure a picture, video or sound file. PyAV is used where installed, else light readers for WAV and MP4.

    Raises:
        UnsupportedMediaError: The content is none of the accepted types.
        KubeezError: The input is not the file any more that was checked.
        OSError: The file cannot be read.
    """
    return await anyio.to_thread.run_sync(measure_now, source)


def measure_now(source: Path | LocalInput) -> Measured:
    """`measure` for callers that are already in a thread."""
    with opened(source) as file:
        return _measured(file, sniff_file(file, PurePath(file.name).name))


def _measured(file: BinaryIO, media_type: MediaType) -> Measured:
    try:
        if media_type.kind == "image":
            from kubeez_mcp_local.media.picture import picture_size

            return Measured(None, *picture_size(file))
        return _with_av(file, media_type)
    except NotInstalledError:
        return _without_av(file, media_type)
    except BrokenMediaError:
        return Measured(unreadable=True)


def _with_av(file: BinaryIO, media_type: MediaType) -> Measured:
    av = load_av("Measuring this file")
    with open_media(av, file) as container:
        seconds = container.duration / av.time_base if container.duration else None
        if seconds is None:
            streams = [each for each in container.streams if each.duration and each.time_base]
            seconds = max((float(each.duration * each.time_base) for each in streams), default=None)
        if media_type.kind == "audio" or not container.streams.video:
            return Measured(seconds=seconds, unreadable=not container.streams.audio)
        stream = container.streams.video[0]
        width, height = stream.codec_context.width, stream.codec_context.height
        try:
            on_its_side = turned(stream) in (90, 270)
        except av.FFmpegError:
            return Measured(unreadable=True)
        width, height = (height, width) if on_its_side else (width, height)
        return Measured(seconds, width or None, height or None)


def _without_av(file: BinaryIO, media_type: MediaType) -> Measured:
    if media_type.mime == "audio/wav":
        return _wav(file)
    if is_iso_media(file.read(64)):
        movie = read_movie(file)
        return Measured(movie.seconds, movie.width, movie.height) if movie else Measured(unreadable=True)
    return Measured()


def _wav(file: BinaryIO) -> Measured:
    try:
        with wave.open(file, "rb") as sound:
            rate = sound.getframerate()
            return Measured(seconds=sound.getnframes() / rate) if rate else Measured(unreadable=True)
    except wave.Error:
        return Measured()  # sound, but not plain PCM: only PyAV reads that
    except EOFError:
        return Measured(unreadable=True)
