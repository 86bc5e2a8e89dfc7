"""Clips one can play: a slow move over the scene, or over the inputs, under words that stand still."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageOps

from kubeez_mcp_local.sandbox.studio.lettering import letter
from kubeez_mcp_local.sandbox.studio.pictures import open_picture
from kubeez_mcp_local.sandbox.studio.scenery import scene
from kubeez_mcp_local.sandbox.studio.sounds import RATE, samples_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kubeez_mcp_local.sandbox.studio.work import Work

_ROOM = 1.16
_MOST_FRAMES = 240
_CAPTIONS = ("Captions appear here,", "word by word,", "in time with the speech.")


def render(work: Work, inputs: list[Path], target: Path) -> None:
    """Make the clip of a work; without PyAV, one of the clips that come with the package."""
    if find_spec("av") is None:
        from kubeez_mcp_local.sandbox.studio.ready_clips import copy_clip

        copy_clip(work, target)
        return
    from kubeez_mcp_local.sandbox.studio.encoding import write_clip

    seconds = work.seconds or 5.0
    fps = max(4, min(15, int(_MOST_FRAMES / seconds)))
    samples = samples_of(work) if work.sound else None
    size = (work.width or 640, work.height or 360)
    frames = _frames(work, inputs, size, fps, round(seconds * fps))
    write_clip(frames, size, fps, target, samples=samples, rate=RATE)


def _frames(work: Work, inputs: list[Path], size: tuple[int, int], fps: int, count: int) -> Iterator[Image.Image]:
    words = _words(work, size, solid=bool(inputs))
    footage = iter(()) if work.kind == "clip" else _footage(inputs, size, fps, count)
    moving = _move(work, inputs, size, count)
    for number in range(count):
        ground = next(footage, None) or next(moving)
        keep, ink = words[min(number * len(words) // count, len(words) - 1)]
        yield ImageChops.add(ImageChops.multiply(ground, keep), ink)


def _footage(inputs: list[Path], size: tuple[int, int], fps: int, count: int) -> Iterator[Image.Image]:
    from kubeez_mcp_local.sandbox.studio.decoding import frames_of

    for path in inputs[:1]:
        yield from frames_of(path, size, fps, count)


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


def _words(work: Work, size: tuple[int, int], *, solid: bool) -> list[tuple[Image.Image, Image.Image]]:
    """The lettering of each stretch, as what it keeps of the ground and what it adds."""
    texts = _CAPTIONS if work.label == "captions" else (work.prompt,)
    return [_layer(replace(work, prompt=text), size, solid=solid) for text in texts]


def _layer(work: Work, size: tuple[int, int], *, solid: bool) -> tuple[Image.Image, Image.Image]:
    """Lettering is linear in its ground, so drawing it on black and on white tells what it does to any other."""
    black, white = Image.new("RGB", size, "black"), Image.new("RGB", size, "white")
    letter(black, work, solid=solid)
    letter(white, work, solid=solid)
    return ImageChops.subtract(white, black), black
