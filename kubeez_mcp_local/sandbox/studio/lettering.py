"""The words on a picture: prompt, model, seed and the SANDBOX mark."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from kubeez_mcp_local.sandbox.studio.fonts import font_for, missing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubeez_mcp_local.sandbox.studio.fonts import Font
    from kubeez_mcp_local.sandbox.studio.work import Work

MARK = "SANDBOX"
_SPACING = 0.28
_INK = (255, 255, 255)
_FADED = (255, 255, 255, 190)


def letter(canvas: Image.Image, work: Work, *, solid: bool = False) -> None:
    """Write on `canvas`, in place; on a `solid` ground where the picture may hold words of its own."""
    unit = _unit(canvas)
    margin = unit * 2
    shown = work.prompt.strip() or work.label or work.model
    title, small = font_for(shown, unit * 1.7), ImageFont.load_default(unit * 0.95)
    empty = missing(shown, title)
    if empty:
        shown = "".join(" " if character in empty else character for character in shown).strip() or work.model
    most = max(2, min(6, int(canvas.height * 0.45 / (unit * 2.1))))
    lines = wrap(shown, title, canvas.width - 2 * margin, most)
    _veil(canvas, round(unit * (2.1 * len(lines) + (5.2 if solid else 7))), solid)
    draw = ImageDraw.Draw(canvas, "RGBA")
    foot = canvas.height - margin
    notes = [work.model, f"seed {work.seed}", *([work.label] if work.label else [])]
    draw.text((margin, foot), "   ".join(notes), font=small, fill=_FADED, anchor="ls")
    for number, line in enumerate(reversed(lines)):
        y = foot - unit * (1.9 + 2.1 * number)
        draw.text((margin, y), line, font=title, fill=_INK, anchor="ls")
    _pill(draw, canvas.width - unit * 1.6, unit * 1.6, unit, small)


def wrap(text: str, font: Font, width: float, most: int) -> list[str]:
    """`text` in lines no wider than `width` pixels; what does not fit in `most` lines ends in an ellipsis."""
    lines: list[str] = []
    rest = " ".join(text.split())
    while rest:
        if len(lines) == most:
            lines[-1] = _shorten(lines[-1], font, width)
            break
        cut = _fitting(rest, font, width)
        lines.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return lines


def _fitting(text: str, font: Font, width: float) -> int:
    """How many characters of `text` fit, cut at a space where there is one."""
    low, high = 1, min(len(text), 200)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle]) <= width else (low, middle - 1)
    space = text.rfind(" ", 0, low + 1)
    return space if low < len(text) and space > 0 else low


def _shorten(line: str, font: Font, width: float) -> str:
    while line and font.getlength(f"{line}…") > width:
        line = line[:-1]
    return f"{line.rstrip()}…"


def _veil(canvas: Image.Image, height: int, solid: bool) -> None:
    """Darken the foot, so that white letters can be read on any picture."""
    height = min(canvas.height, height)
    gradient = Image.linear_gradient("L").resize((canvas.width, height))
    mask = gradient.point(lambda value: min(248, value * 8) if solid else value * 4 // 5)
    canvas.paste((8, 8, 20), (0, canvas.height - height), mask)


def stamp(canvas: Image.Image) -> None:
    """Put the SANDBOX mark in the middle of `canvas`, in place, and nothing else."""
    unit = _unit(canvas)
    font = ImageFont.load_default(unit * 0.95)
    _pill(
        ImageDraw.Draw(canvas, "RGBA"), (canvas.width + _pill_width(font, unit)) / 2, canvas.height * 0.47, unit, font
    )


def _unit(canvas: Image.Image) -> int:
    """The measure of everything written, in pixels."""
    return max(8, round(math.sqrt(canvas.width * canvas.height) / 33))


def _pill(draw: ImageDraw.ImageDraw, right: float, top: float, unit: int, font: Font) -> None:
    """The word SANDBOX, widely spaced, in a rounded frame."""
    left, bottom = right - _pill_width(font, unit), top + unit * 1.9
    draw.rounded_rectangle(
        (left, top, right, bottom),
        radius=unit * 0.95,
        fill=(10, 10, 24, 150),
        outline=(255, 255, 255, 200),
        width=max(1, unit // 12),
    )
    x = left + unit * 0.9
    for character in MARK:
        draw.text((x, (top + bottom) / 2), character, font=font, fill=_INK, anchor="lm")
        x += font.getlength(character) + unit * _SPACING


def _pill_width(font: Font, unit: int) -> float:
    return sum(font.getlength(character) + unit * _SPACING for character in MARK) + unit * (1.8 - _SPACING)


def cards(canvas: Image.Image, pictures: Sequence[Image.Image]) -> None:
    """Lay up to four inputs on `canvas` as framed prints, in place, clear of the words."""
    unit, shown = _unit(canvas), pictures[:4]
    room = (canvas.width - unit * 3 - unit * (len(shown) - 1)) / len(shown), canvas.height * 0.5
    prints = [ImageOps.contain(picture.convert("RGB"), (round(room[0]), round(room[1]))) for picture in shown]
    edge = max(3, unit // 4)
    x = (canvas.width - sum(p.width for p in prints) - unit * (len(prints) - 1)) / 2
    for picture in prints:
        framed = ImageOps.expand(picture, edge, _INK)
        place = round(x) - edge, round(canvas.height * 0.13 + (room[1] - picture.height) / 2)
        shade = Image.new("L", canvas.size, 0)
        ImageDraw.Draw(shade).rectangle(
            (place[0], place[1] + unit // 3, place[0] + framed.width, place[1] + framed.height + unit // 3), fill=130
        )
        canvas.paste((0, 0, 0), mask=shade.filter(ImageFilter.BoxBlur(unit / 2)))
        canvas.paste(framed, place)
        x += picture.width + unit
