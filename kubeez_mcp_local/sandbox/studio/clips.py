"""Clips one can play: a slow move over the scene, or over the inputs, under words that stand still.

Without PyAV the clips that come with the package serve: `ready/` holds one for each usual ratio, made by
`python -m kubeez_mcp_local.sandbox.studio.clips` after a change of the scenery.
"""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from fractions import Fraction
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageChops, ImageOps

from kubeez_mcp_local.sandbox.books import Work
from kubeez_mcp_local.sandbox.catalogue import clip_size
from kubeez_mcp_local.sandbox.studio.pictures import frames_of, letter, open_picture, scene
from kubeez_mcp_local.sandbox.studio.sounds import RATE, encode_sound, samples_of

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable, Iterator


_ROOM = 1.16
_MOST_FRAMES = 240
_CAPTIONS = ("Captions appear here,", "word by word,", "in time with the speech.")


def render(work: Work, inputs: list[Path], target: Path, *, plain: bool = False) -> None:
    """Make the clip of a work; if `plain` or without PyAV, one of the clips that come with the package."""
    if plain or find_spec("av") is None:
        copy_clip(work, target)
        return
    seconds = work.seconds or 5.0
    fps = max(4, min(15, int(_MOST_FRAMES / seconds)))
    samples = samples_of(work) if work.sound else None
    size = (work.width or 640, work.height or 360)
    frames = _frames(work, inputs, size, fps, round(seconds * fps))
    write_clip(frames, size, fps, target, samples)


def _frames(work: Work, inputs: list[Path], size: tuple[int, int], fps: int, count: int) -> Iterator[Image.Image]:
    texts = _CAPTIONS if work.label == "captions" else (work.prompt,)
    words = [_layer(replace(work, prompt=text), size, solid=bool(inputs)) for text in texts]
    retaken = inputs[0] if inputs and work.kind == "retake" else None
    footage = frames_of(retaken, size, fps, count) if retaken else iter(())
    moving = _move(work, inputs, size, count)
    for number in range(count):
        ground = next(footage, None) or next(moving)
        keep, ink = words[min(number * len(words) // count, len(words) - 1)]
        yield ImageChops.add(ImageChops.multiply(ground, keep), ink)


def _move(work: Work, inputs: list[Path], size: tuple[int, int], count: int) -> Iterator[Image.Image]:
    """A slow pan and zoom from the first ground to the last one."""
    roomy = (round(size[0] * _ROOM), round(size[1] * _ROOM))
    grounds = [
        ImageOps.fit(picture.convert("RGB"), roomy) for picture in map(open_picture, inputs[:2]) if picture is not None
    ] or [scene(work.seed, work.prompt, roomy)]
    sway = 1 if work.seed % 2 else -1
    for number in range(count):
        part = number / max(1, count - 1)
        zoom = 1 - (1 - 1 / _ROOM) * (0.5 - 0.5 * math.cos(math.pi * part))
        across, down = roomy[0] * zoom, roomy[1] * zoom
        left = (roomy[0] - across) * (0.5 + 0.5 * sway * math.sin(math.pi * part))
        top = (roomy[1] - down) * 0.5
        box = (left, top, left + across, top + down)
        views = [ground.resize(size, Image.Resampling.BILINEAR, box=box) for ground in grounds]
        yield views[0] if len(views) == 1 else Image.blend(views[0], views[1], part)


def _layer(work: Work, size: tuple[int, int], *, solid: bool) -> tuple[Image.Image, Image.Image]:
    """What the lettering keeps of its ground and what it adds.

    It is linear in its ground, so drawing it on black and on white tells what it does to any other.
    """
    black, white = Image.new("RGB", size, "black"), Image.new("RGB", size, "white")
    letter(black, work, solid=solid)
    letter(white, work, solid=solid)
    return ImageChops.subtract(white, black), black


# One thread and no look-ahead: the same frames then give the same bytes. With x264's macroblock tree they do not.
_VIDEO = {"preset": "veryfast", "crf": "27", "x264-params": "bframes=0:mbtree=0:rc-lookahead=0"}


def write_clip(
    frames: Iterable[Image.Image], size: tuple[int, int], fps: int, target: Path, samples: array[int] | None
) -> None:
    """Write H.264 in MP4, with an AAC track when `samples` (mono, 16 bit) are given."""
    import av

    with av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video: Any = container.add_stream("libx264", rate=fps, options=_VIDEO)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        video.codec_context.thread_count = 1
        sound: Any = container.add_stream("aac", rate=RATE, layout="mono") if samples is not None else None
        if sound is not None:
            sound.bit_rate = 24_000
        for number, picture in enumerate(frames):
            frame = _from_image(picture)
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound is not None and samples is not None:
            encode_sound(container, sound, samples)


def _from_image(picture: Image.Image) -> Any:
    import av

    # PyAV's stubs leave this one method untyped.
    make: Any = av.VideoFrame.from_image
    return make(picture).reformat(format="yuv420p")


RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4", "21:9", "3:2", "2:3")
_NEST = (b"moov", b"trak", b"mdia")


def file_name(ratio: str) -> str:
    return f"sandbox-{ratio.replace(':', 'x')}.mp4"


def copy_clip(work: Work, target: Path) -> None:
    """Write the clip whose ratio is nearest, slowed down or sped up to the length asked for."""
    wanted = (work.width or 16) / (work.height or 9)
    nearest = min(RATIOS, key=lambda ratio: abs(_value(ratio) - wanted))
    folder = resources.files("kubeez_mcp_local").joinpath("sandbox", "studio", "ready")
    data = bytearray(folder.joinpath(file_name(nearest)).read_bytes())
    if not work.sound:
        silence(data)
    stretch(data, work.seconds or 5.0)
    target.write_bytes(data)


def silence(movie: bytearray) -> None:
    """Take the sound track out of an MP4 in place: what is called `free` is passed over."""
    start = movie.index(b"moov") + 4
    position, end = start, start - 8 + int.from_bytes(movie[start - 8 : start - 4], "big")
    while position < end:
        size = int.from_bytes(movie[position : position + 4], "big")
        if movie[position + 4 : position + 8] == b"trak" and b"soun" in movie[position : position + size]:
            movie[position + 4 : position + 8] = b"free"
        position += size


def stretch(movie: bytearray, seconds: float) -> None:
    """Change an MP4's length in place, by changing how many of its ticks make a second."""
    headers = list(_headers(movie, 0, len(movie)))
    whole = next(position for name, position in headers if name == b"mvhd")
    scale, ticks = struct.unpack_from(">II", movie, whole + 12)
    factor = seconds * scale / ticks
    for _, position in headers:
        old = struct.unpack_from(">I", movie, position + 12)[0]
        struct.pack_into(">I", movie, position + 12, max(1, round(old / factor)))


def _headers(movie: bytearray, start: int, end: int) -> list[tuple[bytes, int]]:
    """Where the movie's and each track's time scale stand: the bodies of `mvhd` and `mdhd`, version 0."""
    found, position = [], start
    while position + 8 <= end:
        size, name = struct.unpack_from(">I4s", movie, position)
        if name in (b"mvhd", b"mdhd"):
            found.append((name, position + 8))
        elif name in _NEST:
            found += _headers(movie, position + 8, position + size)
        position += max(size, 8)
    return found


def _value(ratio: str) -> float:
    across, _, down = ratio.partition(":")
    return int(across) / int(down)


_READY_SECONDS = 4.0


def make_ready_clips(folder: Path) -> None:
    """Write one small clip for each ratio into `folder`."""
    folder.mkdir(exist_ok=True)
    for seed, ratio in enumerate(RATIOS, start=11):
        width, height = clip_size(ratio)
        work = Work(
            "clip", "mp4", "sandbox", "A stand-in clip", seed, "", width // 2, height // 2, _READY_SECONDS, sound=True
        )
        render(work, [], folder / file_name(ratio))


if __name__ == "__main__":
    make_ready_clips(Path(__file__).with_name("ready"))
