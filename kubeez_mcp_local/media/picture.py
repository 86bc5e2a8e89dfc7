"""Opening pictures with Pillow: upright, first frame only, and safe against files that unfold to gigabytes.

Imports Pillow; import this module on first use.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from PIL import Image, ImageOps

from kubeez_mcp_local.media.video import BrokenMediaError

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
MAX_PIXELS = 80_000_000
"""Largest picture that is decoded in full (about 320 MB of memory)."""
MAX_PIXELS_JPEG = 178_000_000
"""JPEG can be decoded at an eighth of its size, so larger ones are fine, up to what Pillow itself refuses."""
_SIDEWAYS = (5, 6, 7, 8)
_ORIENTATION = 0x0112


@contextmanager
def decoded(file: BinaryIO) -> Iterator[Image.Image]:
    """The picture in an open file, header read and pixels not yet.

    Raises:
        BrokenMediaError: Not one of `FORMATS`, damaged, or larger than `MAX_PIXELS`.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            limit = MAX_PIXELS_JPEG if image.format == "JPEG" else MAX_PIXELS
            if image.width * image.height > limit:
                raise BrokenMediaError(file.name, f"{image.width}x{image.height} pixels are too many to unfold safely")
            yield image
    except Image.DecompressionBombError:
        raise BrokenMediaError(file.name, "it has too many pixels to unfold safely") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise BrokenMediaError(file.name, "the picture is damaged or cut off") from None


def picture_size(file: BinaryIO) -> tuple[int, int]:
    """Width and height as shown. Raises `BrokenMediaError` like `decoded`."""
    with decoded(file) as image:
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
    if image.mode != "RGBA":
        return False
    return any(image.getchannel("A").histogram()[:255])


def on_checkerboard(image: Image.Image) -> Image.Image:
    """Flatten, with the usual grey squares where one can see through."""
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
