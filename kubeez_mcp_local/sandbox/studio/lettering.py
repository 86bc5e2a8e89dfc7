"""The words on a picture: prompt, model, seed and the SANDBOX mark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont, ImageOps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubeez_mcp_local.sandbox.studio.work import Work

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_INK = (255, 255, 255)
_FADED = (255, 255, 255, 190)
_MOST_LINES = 5


def letter(canvas: Image.Image, work: Work, insets: Sequence[Image.Image] = ()) -> None:
    """Write on `canvas`, in place; `insets` are further inputs, shown small in the upper left."""
    unit = max(8, min(canvas.width, canvas.height * 16 // 9) // 40)
    margin = unit * 2
    title, small = ImageFont.load_default(unit * 1.7), ImageFont.load_default(unit * 0.95)
    lines = wrap(work.prompt or work.label or work.model, title, canvas.width - 2 * margin, _MOST_LINES)
    _veil(canvas, round(unit * (2.1 * len(lines) + 7)))
    draw = ImageDraw.Draw(canvas, "RGBA")
    foot = canvas.height - margin
    notes = [work.model, f"seed {work.seed}", *([work.label] if work.label else [])]
    draw.text((margin, foot), "   ".join(notes), font=small, fill=_FADED, anchor="ls")
    for number, line in enumerate(reversed(lines)):
        y = foot - unit * (1.9 + 2.1 * number)
        draw.text((margin, y), line, font=title, fill=_INK, anchor="ls")
    _mark(draw, canvas, unit, small)
    _insets(canvas, insets, unit)


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


def _veil(canvas: Image.Image, height: int) -> None:
    """Darken the foot, so that white letters can be read on any picture."""
    height = min(canvas.height, height)
    mask = Image.linear_gradient("L").resize((canvas.width, height)).point(lambda v: int(v * 0.78))
    canvas.paste((8, 8, 20), (0, canvas.height - height), mask)


def _mark(draw: ImageDraw.ImageDraw, canvas: Image.Image, unit: int, font: Font) -> None:
    text = "SANDBOX"
    spaced = unit * 0.28
    width = sum(font.getlength(letter) + spaced for letter in text) - spaced
    right, top = canvas.width - unit * 1.6, unit * 1.6
    box = (right - width - unit * 1.6, top, right, top + unit * 1.9)
    draw.rounded_rectangle(
        box, radius=unit * 0.95, fill=(10, 10, 24, 150), outline=(255, 255, 255, 200), width=max(1, unit // 12)
    )
    x = box[0] + unit * 0.8
    for character in text:
        draw.text((x, (box[1] + box[3]) / 2), character, font=font, fill=_INK, anchor="lm")
        x += font.getlength(character) + spaced


def _insets(canvas: Image.Image, insets: Sequence[Image.Image], unit: int) -> None:
    side = unit * 7
    for number, picture in enumerate(insets[:4]):
        framed = ImageOps.expand(ImageOps.fit(picture.convert("RGB"), (side, side)), max(2, unit // 6), _INK)
        canvas.paste(framed, (round(unit * 1.6) + number * (side + unit), round(unit * 1.6)))
