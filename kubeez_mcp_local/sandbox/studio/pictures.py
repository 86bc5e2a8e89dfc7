"""Pictures: a seeded composition with the prompt, the model, the seed and the SANDBOX mark on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image, ImageOps, UnidentifiedImageError

from kubeez_mcp_local.sandbox.studio.lettering import cards, letter
from kubeez_mcp_local.sandbox.studio.scenery import scene

if TYPE_CHECKING:
    from pathlib import Path

    from kubeez_mcp_local.sandbox.studio.work import Work

THUMBNAIL_LONG_SIDE = 320


def render(work: Work, inputs: list[Path], target: Path) -> None:
    """Make the picture, or the thumbnail, of a work."""
    picture = compose(work, inputs)
    if work.kind == "thumbnail":
        picture.thumbnail((THUMBNAIL_LONG_SIDE, THUMBNAIL_LONG_SIDE), Image.Resampling.LANCZOS)
    save(picture, work.extension, target)


def save(picture: Image.Image, extension: str, target: Path) -> None:
    """Write it as PNG or JPEG, quickly rather than small."""
    if extension == "jpg":
        picture.convert("RGB").save(target, "JPEG", quality=88)
    else:
        picture.save(target, "PNG", compress_level=3)


def compose(work: Work, inputs: list[Path]) -> Image.Image:
    """The finished picture, unsaved. Inputs that are pictures lie on it as prints."""
    canvas = scene(work.seed, work.prompt, (work.width or 1024, work.height or 1024))
    pictures = [picture for picture in map(open_picture, inputs) if picture is not None]
    if pictures:
        cards(canvas, pictures)
    letter(canvas, work)
    return canvas


def open_picture(path: Path) -> Image.Image | None:
    """A picture, or the first frame of a clip where a decoder is installed; None when it is neither."""
    if path.suffix in (".mp4", ".mov", ".webm", ".mkv"):
        from kubeez_mcp_local.sandbox.studio.decoding import first_frame

        return first_frame(path)
    try:
        with Image.open(path) as picture:
            return ImageOps.exif_transpose(picture).convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return None
