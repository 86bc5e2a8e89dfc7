"""Pictures without their background: the middle of the input, with soft edges and real alpha."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from kubeez_mcp_local.sandbox.studio.lettering import stamp
from kubeez_mcp_local.sandbox.studio.pictures import open_picture
from kubeez_mcp_local.sandbox.studio.scenery import scene

if TYPE_CHECKING:
    from pathlib import Path

    from kubeez_mcp_local.sandbox.studio.work import Work

_FAR = 40


def render(work: Work, inputs: list[Path], target: Path) -> None:
    """Make the cut-out of a work's first input."""
    size = (work.width or 1024, work.height or 1024)
    picture = next((p for p in map(open_picture, inputs) if p is not None), None)
    subject = (picture or scene(work.seed, work.prompt, size)).resize(size)
    mask = _subject_mask(subject)
    stamp(subject)
    subject.putalpha(mask)
    subject.save(target, "PNG", compress_level=3)


def _subject_mask(picture: Image.Image) -> Image.Image:
    """What differs from the colour of the corners; an oval in the middle where the corners differ too much."""
    corners = [picture.getpixel((x, y)) for x in (0, picture.width - 1) for y in (0, picture.height - 1)]
    colours = [corner for corner in corners if isinstance(corner, tuple)]
    spread = max(max(channel) - min(channel) for channel in zip(*colours, strict=True))
    soft = max(2, max(picture.size) // 200)
    if spread <= _FAR:
        ground = Image.new("RGB", picture.size, tuple(sum(c) // len(colours) for c in zip(*colours, strict=True)))
        red, green, blue = ImageChops.difference(picture, ground).split()
        distance = ImageChops.lighter(ImageChops.lighter(red, green), blue)
        return distance.point(lambda value: 255 if value > _FAR else 0).filter(ImageFilter.GaussianBlur(soft))
    mask = Image.new("L", picture.size, 0)
    width, height = picture.size
    box = (width * 0.14, height * 0.08, width * 0.86, height * 0.92)
    ImageDraw.Draw(mask).ellipse(box, fill=255)
    return mask.filter(ImageFilter.GaussianBlur(soft * 2))
