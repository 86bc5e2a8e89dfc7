"""Text on pictures: broken into lines, in a font that has its letters.

Pillow's own font knows only ASCII; for anything else a font of the system is looked for, and where there is none the
letters are simplified rather than drawn as boxes. Imports Pillow; import this module on first use.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from PIL import ImageFont

if TYPE_CHECKING:
    from PIL import ImageDraw

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_SYSTEM_FONTS = (
    *("NotoSans-Regular.ttf", "DejaVuSans.ttf", "LiberationSans-Regular.ttf"),
    *("segoeui.ttf", "arial.ttf", "Arial.ttf", "Helvetica.ttc", "Arial Unicode.ttf"),
    *("NotoSansCJK-Regular.ttc", "msyh.ttc", "msgothic.ttc", "PingFang.ttc", "Hiragino Sans GB.ttc"),
)
_PLAIN = str.maketrans(
    {"–": "-", "—": "-", "×": "x", "…": "...", "“": '"', "”": '"', "„": '"', "’": "'", "‘": "'", "ß": "ss"}
)
_NO_SUCH_LETTER = "\U000f0000"


@dataclass(frozen=True)
class Block:
    """Lines of text in one font, ready to be drawn.

    Attributes:
        lines: At most as many as asked for; the last one ends in an ellipsis when text was left out.
        size: Nominal height of the letters in pixels.
    """

    lines: tuple[str, ...]
    font: Font
    size: int
    ink: str

    @property
    def height(self) -> int:
        """Pixels from the top of the first line to where a following line would start."""
        return len(self.lines) * round(self.size * 1.35)

    def draw(self, pen: ImageDraw.ImageDraw, left: int, top: int) -> int:
        """Write the lines downwards; returns where a following line would start."""
        for number, line in enumerate(self.lines):
            pen.text((left, top + number * round(self.size * 1.35)), line, fill=self.ink, font=self.font)
        return top + self.height


def block(text: str, size: int, ink: str, *, width: int, most: int) -> Block:
    """Break `text` into at most `most` lines that are `width` pixels wide."""
    cleaned = " ".join("".join(letter for letter in text if not _unseen(letter)).split())
    font = _font_for(cleaned, size)
    rest = "".join(_writable(letter, font) for letter in cleaned)
    lines: list[str] = []
    while rest and len(lines) < most:
        line = _first_line(rest, font, width)
        rest = rest[len(line) :].lstrip()
        lines.append(_shortened(line, font, width) if rest and len(lines) == most - 1 else line)
    return Block(tuple(lines), font, size, ink)


def _font_for(text: str, size: int) -> Font:
    """Pillow's own font where it suffices, else the first that has every letter, else the one that has most."""
    letters = sorted({letter for letter in text if letter != " " and unicodedata.category(letter) != "So"})
    own = ImageFont.load_default(size)
    missing = _missing(letters, own)
    if not missing:
        return own
    best, fewest = own, missing
    for name in _SYSTEM_FONTS:
        font = _system_font(name, size)
        if font is None:
            continue
        missing = _missing(letters, font)
        if missing < fewest:
            best, fewest = font, missing
        if not missing:
            break
    return best


@lru_cache(maxsize=64)
def _system_font(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


def _missing(letters: list[str], font: Font) -> int:
    return sum(not _has(letter, font) for letter in letters)


def _has(letter: str, font: Font) -> bool:
    """Whether the font draws this letter otherwise than one it cannot have."""
    return bytes(font.getmask(letter)) != bytes(font.getmask(_NO_SUCH_LETTER))


def _unseen(letter: str) -> bool:
    """What steers or joins other letters, and what chooses the look of an emoji: nothing of it is drawn by itself."""
    return unicodedata.category(letter) in ("Cf", "Cs", "Co", "Cn") or "\ufe00" <= letter <= "\ufe0f"


def _writable(letter: str, font: Font) -> str:
    """The letter, or what comes nearest to it in this font: nothing for a mere sign, such as an emoji."""
    if letter == " " or _has(letter, font):
        return letter
    plain = unicodedata.normalize("NFKD", letter.translate(_PLAIN)).encode("ascii", "ignore").decode()
    return plain or ("" if unicodedata.category(letter)[0] in "SMC" else "?")


def _first_line(text: str, font: Font, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    end = next(count for count in range(1, len(text) + 1) if font.getlength(text[:count]) > width)
    space = text.rfind(" ", 0, end)
    return text[:space] if space > 0 else text[: max(1, end - 1)]


def _shortened(line: str, font: Font, width: int) -> str:
    ellipsis = _writable("…", font)
    while line and font.getlength(line + ellipsis) > width:
        line = line[:-1]
    return line.rstrip() + ellipsis
