"""How long a file lasts, how large its picture is, whether it can be used at all: what is looked at before paying."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, BinaryIO

import anyio.to_thread

from kubeez_mcp_local.media import containers
from kubeez_mcp_local.media.containers import UNSEEN, Measured
from kubeez_mcp_local.media.inputs import opened
from kubeez_mcp_local.media.sniff import sniff_file
from kubeez_mcp_local.media.video import MAX_PIXELS, BrokenMediaError, NotInstalledError, load_av, open_media

if TYPE_CHECKING:
    from pathlib import Path

    from anyio import CapacityLimiter

    from kubeez_mcp_local.media.inputs import LocalInput
    from kubeez_mcp_local.media.sniff import MediaType

_PATIENCE = 20.0
"""Seconds until a file counts as not looked at; an ordinary one takes a fraction of a second."""
_MOST_SECONDS_OF_PACKETS = 8.0
_MOST_PACKETS = 300
"""So many may be broken before the first that can be decoded."""
_LACKING_S = 0.5
_MAX_ANIMATED = 1_000_000_000
"""Pixels of all frames together that are decoded."""
_MAX_PROGRESSIVE = 40_000_000
"""Pixels of a progressive JPEG that is decoded: all of it has to be kept in memory, at any scale."""


async def measure(source: Path | LocalInput, *, limiter: CapacityLimiter | None = None) -> Measured:
    """Look at a picture, video or sound file: by its headers, with Pillow, and with PyAV where that is installed.

    Raises:
        UnsupportedMediaError: The content is none of the accepted types.
        KubeezError: The input is not the file any more that was checked.
        OSError: The file cannot be read.
    """
    with anyio.move_on_after(_PATIENCE):
        return await anyio.to_thread.run_sync(measure_now, source, limiter=limiter, abandon_on_cancel=True)
    return UNSEEN


def measure_now(source: Path | LocalInput) -> Measured:
    """`measure` for callers that are already in a thread."""
    with opened(source) as file:
        return _measured(file, sniff_file(file, PurePath(file.name).name))


def _measured(file: BinaryIO, media_type: MediaType) -> Measured:
    if media_type.kind == "image":
        return _picture(file)
    told = containers.read(file, media_type.mime)
    if told.damage or told is containers.ENDLESS:
        return told
    try:
        found = _with_av(file, media_type)
    except NotInstalledError:
        return told
    except BrokenMediaError as error:
        return Measured(damage=error.reason)
    exact = media_type.kind == "audio" and told.seconds is not None
    return replace(found, seconds=told.seconds) if exact and not found.damage else found


def _picture(file: BinaryIO) -> Measured:
    from kubeez_mcp_local.media.picture import TooManyPixelsError, decoded, shown_size

    file.seek(0)
    try:
        with decoded(file) as image:
            width, height = shown_size(image)
            if image.info.get("progressive") and width * height > _MAX_PROGRESSIVE:
                return Measured(None, width, height, looked_at=False)
            image.draft("L", (1, 1))
            image.load()
            last = getattr(image, "n_frames", 1) - 1
            if width * height * last > _MAX_ANIMATED:
                return Measured(None, width, height, looked_at=False)
            image.seek(last)  # a decoder stops at the first frame by itself
            image.load()
            return Measured(None, width, height)
    except TooManyPixelsError as error:
        return Measured(None, *error.size, looked_at=False) if error.size else UNSEEN
    except BrokenMediaError:
        return Measured(damage="its picture is cut off or garbled")


def _with_av(file: BinaryIO, media_type: MediaType) -> Measured:
    av = load_av("Measuring this file")
    file.seek(0)
    with open_media(av, file) as container:
        films = container.streams.video if media_type.kind == "video" else ()
        has_sound = bool(container.streams.audio)
        if not films and not has_sound:
            return Measured(
                damage="it holds neither picture nor sound" if media_type.kind == "video" else "it holds no sound"
            )
        stream = films[0] if films else container.streams.audio[0]
        seconds = container.duration / av.time_base if container.duration else None
        if seconds is None:
            streams = [each for each in container.streams if each.duration and each.time_base]
            seconds = max((float(each.duration * each.time_base) for each in streams), default=None)
        found = _first_frame(av, container, stream, Measured(seconds, has_sound=has_sound))
    if found.damage:
        return found
    if found.seconds is None:
        return replace(found, seconds=_length_of_packets(av, file))
    return found if media_type.mime != "audio/flac" else _whole_flac(av, file, found)


def _first_frame(av: Any, container: Any, stream: Any, found: Measured) -> Measured:
    """`found` with what the first frame that can be decoded adds to it: the size shown, or that there is none."""
    codec = stream.codec_context
    if codec is None:  # FFmpeg knows the format and has no decoder for it
        return replace(found, looked_at=False)
    is_film = stream.type == "video"
    if is_film and codec.width * codec.height > MAX_PIXELS:
        return replace(found, width=codec.width, height=codec.height, looked_at=False)
    damage = "it holds no frame" if is_film else "it holds no sound"
    for number, packet in enumerate(container.demux(stream)):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            damage, frames = f"its {'picture' if is_film else 'sound'} cannot be decoded", []
        if not frames and number < _MOST_PACKETS:
            continue
        if not frames:
            break
        if not is_film:
            return found
        width, height = codec.width, codec.height
        if int(-frames[0].rotation) % 360 in (90, 270):
            width, height = height, width
        return replace(found, width=width, height=height) if width and height else Measured(damage="it has no pixels")
    return Measured(damage=damage)


def _length_of_packets(av: Any, file: BinaryIO) -> float | None:
    """Where the last packet of a file ends, in seconds; `None` where reading them all takes too long."""
    file.seek(0)
    give_up = time.monotonic() + _MOST_SECONDS_OF_PACKETS
    start, end = None, 0.0
    with open_media(av, file) as container:
        for packet in container.demux():
            if packet.pts is None:
                continue
            if time.monotonic() > give_up:
                return None
            at = float(packet.pts * packet.time_base)
            start = at if start is None else min(start, at)
            end = max(end, at + float((packet.duration or 0) * packet.time_base))
    return None if start is None else max(end - start, 0.0) or None


def _whole_flac(av: Any, file: BinaryIO, found: Measured) -> Measured:
    """FLAC says how much it holds, and its frames say how much of it is there."""
    told = containers.flac_seconds(file)
    there = _length_of_packets(av, file) if told else None
    if not told or there is None or there > told - _LACKING_S:
        return found
    return Measured(damage=f"it was cut off: {there:.1f} of {told:.1f} s are there")
