"""Several pictures side by side on one, each with its caption: a comparison sheet on disk, a contact sheet to look at.

Imports Pillow; import this module on first use.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import PurePath
from typing import TYPE_CHECKING

import anyio.to_thread
from PIL import Image, ImageDraw

from kubeez_mcp_local.disk import give_free_name, part_beside
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.media.inputs import LocalInput, opened
from kubeez_mcp_local.media.lettering import Block, block
from kubeez_mcp_local.media.measure import measure
from kubeez_mcp_local.media.picture import Preview, decoded, encoded, flattened, preview, upright
from kubeez_mcp_local.media.sniff import sniff_file
from kubeez_mcp_local.media.video import BrokenMediaError, load_av, poster_frame

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

MOST_ON_SHEET = 24
"""Pictures that can still be told apart on one sheet."""
_MARGIN, _GAP, _ROW_GAP = 56, 28, 44
_WIDTH = 1760
_TALLEST, _NARROWEST = 760, 240
_PER_ROW, _PER_FULL_ROW = 4, 6
_FEW = 12
_MOMENTS = 6
_EDGES = (1568, 1280, 1024, 768, 512)
"""Longer side of a contact sheet in pixels: what models see of a picture at most; less where the budget is small."""
_RADIUS = 14
_PAPER, _INK, _FAINT, _LINE, _EMPTY = "#faf9f7", "#1c1b19", "#6f6b64", "#dcd8d1", "#ece9e3"
_HEADING_SIZE, _TITLE_SIZE, _DETAIL_SIZE = 40, 25, 20


@dataclass(frozen=True)
class SheetItem:
    """One picture on the sheet.

    Attributes:
        source: A picture, or a video (shown by one frame where the extra `video` is installed).
        title: What this one is, such as the angle of the advertisement.
        detail: Smaller print: model, credits.
        at_s: Which frame of a video, in seconds; by default one a tenth into it.
    """

    source: Path | LocalInput
    title: str
    detail: str = ""
    at_s: float | None = None


@dataclass(frozen=True)
class _Card:
    image: Image.Image
    title: Block
    detail: Block


async def comparison_sheets(
    items: Sequence[SheetItem], target: Path, *, heading: str, per_row: int | None = None
) -> list[Path]:
    """Draw `items` in rows of equal height (of `per_row` pictures, where that is said), none cropped, on PNG sheets.

    A file that cannot be shown keeps its place with the reason on it. As many sheets as it takes (`MOST_ON_SHEET` on
    each); their paths are returned. An existing file is not overwritten: a number is added to the name, or it is
    returned where it is just the same. Whoever stops waiting does not wait for the drawing.

    Raises:
        KubeezError: The folder cannot be written.
    """
    pages = [items[start : start + MOST_ON_SHEET] for start in range(0, len(items), MOST_ON_SHEET)]
    paths: list[Path] = []
    for number, page in enumerate(pages, 1):
        title = f"{heading} ({number} of {len(pages)})" if len(pages) > 1 else heading
        draw = partial(_drawn, tuple(page), title, per_row)
        sheet = await anyio.to_thread.run_sync(draw, abandon_on_cancel=True)
        paths.append(await anyio.to_thread.run_sync(_save, sheet, target, paths))
    return paths


async def contact_sheet(items: Sequence[SheetItem], *, max_bytes: int) -> Preview:
    """The same to be shown in a conversation: its base64 form has at most `max_bytes` characters.

    Raises:
        InvalidArgumentError: There are no items.
    """

    def show() -> Preview:
        sheet = _drawn(tuple(items), "")
        return encoded(sheet, max_bytes // 4 * 3, f"contact sheet of {len(items)}", edges=_EDGES)

    return await anyio.to_thread.run_sync(show)


async def film_strip(source: Path | LocalInput, *, max_bytes: int) -> Preview:
    """Moments of a film on one picture, for a conversation, as `contact_sheet`.

    Raises:
        NotInstalledError: The extra `video` is missing.
        BrokenMediaError: It cannot be decoded.
    """
    load_av("A picture of a video")
    found = await measure(source)
    if found.damage:
        raise BrokenMediaError(str(source.path if isinstance(source, LocalInput) else source), found.damage)
    if not found.seconds:
        return await preview(source, max_bytes)
    each = found.seconds / _MOMENTS
    moments = [(number + 0.5) * each for number in range(_MOMENTS)]
    items = [SheetItem(source, f"{moment:.1f} s", at_s=moment) for moment in moments]
    strip = await contact_sheet(items, max_bytes=max_bytes)
    return replace(strip, note=f"{_MOMENTS} moments of {found.seconds:.1f} s; at_s shows one of them larger.")


def _drawn(items: tuple[SheetItem, ...], heading: str, per_row: int | None = None) -> Image.Image:
    if not items:
        raise InvalidArgumentError("items", "a sheet needs at least one picture.")
    rows = [_cards(row) for row in _in_rows(items, per_row)]
    content = max(_row_width(row) for row in rows)
    title = block(heading, _HEADING_SIZE, _INK, width=content, most=2)
    head = _MARGIN + (title.height + _GAP if title.lines else 0)
    height = head + sum(_row_height(row) for row in rows) + _ROW_GAP * (len(rows) - 1) + _MARGIN
    sheet = Image.new("RGB", (content + 2 * _MARGIN, height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    title.draw(pen, _MARGIN, _MARGIN - 8)
    top = head
    for row in rows:
        _place(sheet, pen, row, top)
        top += _row_height(row) + _ROW_GAP
    return sheet


def _in_rows(items: tuple[SheetItem, ...], per_row: int | None) -> list[tuple[SheetItem, ...]]:
    """Rows of `per_row`, or as equal in number as possible."""
    if per_row:
        return [items[start : start + per_row] for start in range(0, len(items), per_row)]
    rows = -(-len(items) // (_PER_ROW if len(items) <= _FEW else _PER_FULL_ROW))
    each, more = divmod(len(items), rows)
    bounds = [row * each + min(row, more) for row in range(rows + 1)]
    return [items[start:end] for start, end in pairwise(bounds)]


def _cards(row: tuple[SheetItem, ...]) -> list[_Card]:
    """Scale a row's pictures to one height at which together they fill the sheet's width."""
    pictures = [_picture(item) for item in row]
    ratios = [image.width / image.height for image in pictures]
    room = _WIDTH - 2 * _MARGIN - _GAP * (len(row) - 1)
    height = min(_TALLEST, round(room / sum(ratios)))
    return [_card(item, image, height) for item, image in zip(row, pictures, strict=True)]


def _card(item: SheetItem, image: Image.Image, height: int) -> _Card:
    width = max(1, round(image.width / image.height * height))
    scaled = image.resize((width, height), Image.Resampling.LANCZOS)
    if width < _NARROWEST:
        wider = Image.new("RGB", (_NARROWEST, height), _EMPTY)
        wider.paste(scaled, ((_NARROWEST - width) // 2, 0))
        scaled = wider
    title = block(item.title, _TITLE_SIZE, _INK, width=scaled.width, most=2)
    return _Card(scaled, title, block(item.detail, _DETAIL_SIZE, _FAINT, width=scaled.width, most=2))


def _picture(item: SheetItem) -> Image.Image:
    try:
        with opened(item.source) as file:
            kind = sniff_file(file, PurePath(file.name).name).kind
            if kind == "video":
                frame = poster_frame(file, item.at_s, _TALLEST * 2).image
                return _with_play_mark(frame) if item.at_s is None else frame
            if kind == "audio":
                return _placeholder("sound")
            with decoded(file) as image:
                return flattened(upright(image, _TALLEST * 2))
    except (KubeezError, OSError) as error:
        return _placeholder(getattr(error, "message", "") or "not readable")


def _placeholder(words: str) -> Image.Image:
    image = Image.new("RGB", (600, 600), _EMPTY)
    text = block(words, 24, _FAINT, width=480, most=8)
    text.draw(ImageDraw.Draw(image), 60, 300 - text.height // 2)
    return image


def _with_play_mark(image: Image.Image) -> Image.Image:
    radius = max(18, min(image.size) // 12)
    x, y = image.width // 2, image.height // 2
    veil = Image.new("RGBA", image.size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(veil)
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(0, 0, 0, 150))
    point = radius * 0.45
    pen.polygon([(x - point * 0.7, y - point), (x - point * 0.7, y + point), (x + point, y)], fill=(255, 255, 255, 235))
    image = image.convert("RGBA")
    image.alpha_composite(veil)
    return image.convert("RGB")


def _place(sheet: Image.Image, pen: ImageDraw.ImageDraw, row: list[_Card], top: int) -> None:
    left = _MARGIN
    for card in row:
        width, height = card.image.size
        sheet.paste(card.image, (left, top), _rounded(card.image.size))
        pen.rounded_rectangle((left, top, left + width - 1, top + height - 1), _RADIUS, outline=_LINE)
        below = card.title.draw(pen, left, top + height + 14)
        card.detail.draw(pen, left, below + 2)
        left += width + _GAP


def _rounded(size: tuple[int, int]) -> Image.Image:
    """A mask with smooth round corners, drawn large and scaled down."""
    large = Image.new("L", (size[0] * 2, size[1] * 2), 0)
    ImageDraw.Draw(large).rounded_rectangle((0, 0, size[0] * 2 - 1, size[1] * 2 - 1), _RADIUS * 2, fill=255)
    return large.resize(size, Image.Resampling.LANCZOS)


def _row_width(row: list[_Card]) -> int:
    return sum(card.image.width for card in row) + _GAP * (len(row) - 1)


def _row_height(row: list[_Card]) -> int:
    return row[0].image.height + 18 + max(card.title.height + card.detail.height for card in row)


def _save(sheet: Image.Image, target: Path, others: Collection[Path]) -> Path:
    part = part_beside(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(part, "PNG")
        return give_free_name(part, target.stem, target.suffix, others)
    except OSError as error:
        raise KubeezError(
            f"the comparison sheet {target} cannot be written: {error.strerror or type(error).__name__}.",
            next_step="Make the folder writable or free some space; KUBEEZ_OUTPUT_DIR names another folder.",
            code="output_not_writable",
        ) from None
    finally:
        with suppress(OSError):
            part.unlink()
