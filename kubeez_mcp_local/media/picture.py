"""Pictures with Pillow, safe against files that unfold to gigabytes; and what a conversation gets to see of a file.

A preview is small enough to carry, and never the original bytes of a picture. Imports Pillow; import this module on
first use.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import PurePath
from typing import TYPE_CHECKING, BinaryIO

import anyio.to_thread
from PIL import Image, ImageOps

from kubeez_mcp_local.media import containers
from kubeez_mcp_local.media.inputs import opened
from kubeez_mcp_local.media.sniff import sniff_file
from kubeez_mcp_local.media.video import EXTRA, BrokenMediaError, NotInstalledError, excerpt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from kubeez_mcp_local.media.inputs import LocalInput
    from kubeez_mcp_local.media.sniff import MediaType


FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
MAX_PIXELS = 80_000_000
"""Largest picture that is decoded in full (about 320 MB of memory)."""
MAX_PIXELS_JPEG = 178_000_000
"""JPEG can be decoded at an eighth of its size, so larger ones are fine, up to what Pillow itself refuses."""
_PHOTOS = ("JPEG", "MPO")
_SIDEWAYS = (5, 6, 7, 8)
_ORIENTATION = 0x0112


class TooManyPixelsError(BrokenMediaError):
    """The picture may be fine, but would take too much memory here; `size` is its width and height, if known."""

    def __init__(self, name: str, size: tuple[int, int] | None) -> None:
        what = f"{size[0]}x{size[1]}" if size else "its"
        super().__init__(name, f"{what} pixels are too many to unfold safely")
        self.size = size


@contextmanager
def decoded(file: BinaryIO) -> Iterator[Image.Image]:
    """The picture in an open file, header read and pixels not yet.

    Raises:
        TooManyPixelsError: It is larger than `MAX_PIXELS`.
        BrokenMediaError: Not one of `FORMATS`, or damaged.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            limit = MAX_PIXELS_JPEG if image.format in _PHOTOS else MAX_PIXELS
            if image.width * image.height > limit:
                raise TooManyPixelsError(file.name, image.size)  # its orientation may be told behind the pixels
            yield image
    except Image.DecompressionBombError:
        raise TooManyPixelsError(file.name, None) from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        if "too large" in str(error):  # a text inside, such as a workflow that made the picture
            raise TooManyPixelsError(file.name, None) from None
        raise BrokenMediaError(file.name, "the picture is damaged or cut off") from None


def shown_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an opened picture as it is shown."""
    sideways = image.getexif().get(_ORIENTATION) in _SIDEWAYS
    return (image.height, image.width) if sideways else (image.width, image.height)


def upright(image: Image.Image, max_edge: int) -> Image.Image:
    """The first frame, turned upright, in RGB or RGBA, at most `max_edge` pixels on its longer side.

    Raises whatever Pillow raises on damaged pixels; use inside `decoded`.
    """
    image.draft("RGB", (max_edge * 2, max_edge * 2))
    image.seek(0)
    image.load()
    shown = ImageOps.exif_transpose(image)
    mode = "RGBA" if shown.has_transparency_data else "RGB"
    if shown.mode.startswith("I;16"):
        shown = shown.point(lambda value: value / 256).convert("L")
    if shown.mode != mode:
        shown = shown.convert(mode)
    shown.thumbnail((max_edge, max_edge), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return shown


def has_holes(image: Image.Image) -> bool:
    """Whether any pixel is really see-through."""
    return image.mode == "RGBA" and any(image.getchannel("A").histogram()[:255])


def flattened(image: Image.Image) -> Image.Image:
    """The picture in RGB, with the usual grey squares where one can see through."""
    if not has_holes(image):
        return image.convert("RGB")
    square = max(8, max(image.size) // 64)
    tile = Image.new("RGB", (square * 2, square * 2), (255, 255, 255))
    grey = (204, 204, 204)
    tile.paste(grey, (0, 0, square, square))
    tile.paste(grey, (square, square, square * 2, square * 2))
    board = Image.new("RGB", image.size)
    for top in range(0, image.height, square * 2):
        for left in range(0, image.width, square * 2):
            board.paste(tile, (left, top))
    board.paste(image, mask=image.getchannel("A"))
    return board


MAX_BYTES = 200_000
"""Default budget: length of the base64 text that ends up in the conversation."""
MAX_EDGE = 1024
_EDGES = (1024, 768, 512, 384, 256, 160, 96)
_SMALLEST_SEE_THROUGH = 512
_QUALITIES = (88, 80, 70, 58)


@dataclass(frozen=True)
class Preview:
    """Something to show.

    Attributes:
        data: Encoded bytes; `None` when the file cannot be shown within the budget (then `note` says why).
        mime: Media type of `data`, or of the file when there is no data.
        width: Pixels of the preview, as is `height`; `None` for sound.
        note: One sentence about what is shown and what was left out.
        media_type: What the file itself is.
    """

    data: bytes | None
    mime: str
    width: int | None
    height: int | None
    note: str
    media_type: MediaType | None = None


async def preview(source: Path | LocalInput, max_bytes: int = MAX_BYTES, *, at_s: float | None = None) -> Preview:
    """A preview whose base64 form has at most `max_bytes` characters.

    Pictures are scaled, turned upright and re-encoded without metadata (animations: first frame; see-through ones stay
    PNG where they fit); videos give one frame, at `at_s` seconds or a tenth into the film; sound is passed on as it
    is when it fits, else shortened and made coarser, from `at_s` on.

    Raises:
        UnsupportedMediaError: The content is none of the accepted types.
        BrokenMediaError: It cannot be decoded.
        NotInstalledError: A video, and the extra `video` is missing.
    """

    def show() -> Preview:
        with opened(source) as file:
            media_type = sniff_file(file, PurePath(file.name).name)
            return replace(_shown(file, media_type, max_bytes // 4 * 3, at_s), media_type=media_type)

    return await anyio.to_thread.run_sync(show)


def _shown(file: BinaryIO, media_type: MediaType, budget: int, at_s: float | None) -> Preview:
    size = os.fstat(file.fileno()).st_size
    if media_type.kind == "audio":
        return _sound(file, size, media_type, budget, at_s or 0.0)
    if media_type.kind == "video":
        from kubeez_mcp_local.media.video import poster_frame

        poster = poster_frame(file, at_s, MAX_EDGE)
        return encoded(poster.image, budget, f"frame at {poster.at_s:.1f} s of {_length(poster.length_s)}")
    with decoded(file) as image:
        frames = getattr(image, "n_frames", 1)
        what = f"{image.format} of {image.width}x{image.height}, {_size(size)}"
        if frames > 1:
            what = f"first of {frames} frames, {what}"
        return encoded(upright(image, MAX_EDGE), budget, what)


def _sound(file: BinaryIO, size: int, media_type: MediaType, budget: int, start_s: float) -> Preview:
    if size <= budget and not start_s:
        return Preview(file.read(budget), media_type.mime, None, None, f"The whole file, {_size(size)}.")
    try:
        part = excerpt(file, start_s, budget)
    except NotInstalledError:
        return _start_of_sound(file, size, media_type, budget, start_s)
    of = f" of {part.length_s:.1f} s" if part.length_s else ""
    whole = part.length_s is not None and not start_s and part.seconds >= part.length_s - 0.5
    what = f"All {part.length_s:.1f} s" if whole else f"{start_s:.1f} to {start_s + part.seconds:.1f} s{of}"
    return Preview(part.data, "audio/mpeg", None, None, f"{what}, coarser than the file ({_size(size)}).")


def _start_of_sound(file: BinaryIO, size: int, media_type: MediaType, budget: int, start_s: float) -> Preview:
    """Without the extra: what can be had by cutting alone."""
    part = None if start_s else containers.sound_start(file, media_type.mime, budget)
    if part is None:
        note = f"{PurePath(file.name).name} ({_size(size)}) is too large to be heard here; with {EXTRA} it can be."
        return Preview(None, media_type.mime, None, None, note)
    data, seconds = part
    note = f"The first {seconds:.1f} s of the file ({_size(size)}); more of it can be heard with {EXTRA}."
    return Preview(data, media_type.mime, None, None, note)


def encoded(image: Image.Image, budget: int, what: str, *, edges: Sequence[int] = _EDGES) -> Preview:
    """`image` in at most `budget` bytes, its longer side one of `edges` (falling) in pixels; `what` it is, in words."""
    see_through = has_holes(image)
    if see_through:
        note = f"Preview, see-through parts kept ({what})."
        if kept := _as_png(image, budget, _SMALLEST_SEE_THROUGH, note, edges):
            return kept
    flat = flattened(image)
    if not see_through and (lossless := _as_png(flat, budget, max(flat.size), f"Preview ({what}).", edges)):
        return lossless
    grey = " See-through parts are shown as a checkerboard." if see_through else ""
    for edge in edges:
        scaled = _scaled(flat, edge)
        for quality in _QUALITIES:
            if len(data := _saved(scaled, "JPEG", quality=quality)) <= budget:
                return Preview(data, "image/jpeg", *scaled.size, f"Preview ({what}).{grey}")
    note = f"Nothing of this picture fits into {_size(budget)}; open the file itself."
    return Preview(None, "image/jpeg", None, None, note)


def _as_png(image: Image.Image, budget: int, smallest: int, note: str, edges: Sequence[int]) -> Preview | None:
    """The largest PNG within the budget whose longer side is not scaled below `smallest`."""
    sides = dict.fromkeys(min(edge, max(image.size)) for edge in edges if edge >= min(smallest, max(edges)))
    for edge in sides:
        scaled = _scaled(image, edge)
        if len(data := _saved(scaled, "PNG")) <= budget:
            return Preview(data, "image/png", *scaled.size, note)
    return None


def _scaled(image: Image.Image, edge: int) -> Image.Image:
    if max(image.size) <= edge:
        return image
    scaled = image.copy()
    scaled.thumbnail((edge, edge))
    return scaled


def _saved(image: Image.Image, form: str, **options: int) -> bytes:
    buffer = BytesIO()
    image.info = {}
    image.save(buffer, form, optimize=True, **options)
    return buffer.getvalue()


def _size(count: int) -> str:
    return f"{count / 1024**2:.1f} MB" if count >= 1024**2 else f"{count / 1024:.0f} KB"


def _length(seconds: float | None) -> str:
    return "unknown length" if seconds is None else f"{seconds:.1f} s"
