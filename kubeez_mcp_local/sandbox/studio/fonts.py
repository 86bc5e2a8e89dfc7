"""A font that can show a text: the one that comes with Pillow, else one of the system's."""

from __future__ import annotations

from functools import lru_cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Wide-coverage fonts by the file names they have on Linux, macOS and Windows.
_SYSTEM = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansArabic-Regular.ttf",
    "NotoSansDevanagari-Regular.ttf",
    "wqy-microhei.ttc",
    "Arial Unicode.ttf",
    "Hiragino Sans GB.ttc",
    "segoeui.ttf",
    "msyh.ttc",
    "YuGothM.ttc",
    "malgun.ttf",
    "Nirmala.ttf",
)
_NOBODYS = "\U0010fffd"


def font_for(text: str, size: float) -> Font:
    """The font that shows most of `text`, at that size in pixels."""
    bundled = ImageFont.load_default(size)
    if not missing(text, bundled):
        return bundled
    others = [font for name in _SYSTEM if (font := _system_font(name, size)) is not None]
    return min([bundled, *others], key=lambda font: len(missing(text, font)))


def missing(text: str, font: Font) -> str:
    """The characters of `text` that `font` draws as an empty box."""
    box = bytes(font.getmask(_NOBODYS))
    return "".join(c for c in dict.fromkeys(text) if not c.isspace() and bytes(font.getmask(c)) == box)


@lru_cache(maxsize=64)
def _system_font(name: str, size: float) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None
