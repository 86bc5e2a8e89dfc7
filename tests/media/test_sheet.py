from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.media import lettering
from kubeez_mcp_local.media.lettering import block
from kubeez_mcp_local.media.sheet import MOST_ON_SHEET, SheetItem, comparison_sheets, contact_sheet
from tests.refusals import refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.media.conftest import MakeVideo

pytestmark = pytest.mark.anyio


def shows(sheet: Path, color: tuple[int, int, int]) -> bool:
    with Image.open(sheet) as image:
        found = image.convert("RGB").getcolors(10_000_000) or []
    return any(count > 1000 and pixel == color for count, pixel in found)


def size_of(sheet: Path) -> tuple[int, int]:
    with Image.open(sheet) as image:
        return image.size


async def comparison_sheet(items: list[SheetItem], target: Path, *, heading: str) -> Path:
    (sheet,) = await comparison_sheets(items, target, heading=heading)
    return sheet


async def test_every_picture_is_on_the_sheet(make_image: Callable[..., Path], tmp_path: Path) -> None:
    colors = {"red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255)}
    items = [
        SheetItem(make_image(tmp_path / f"{name}.png", (300, 300), name), name, "model · 6 credits") for name in colors
    ]
    sheet = await comparison_sheet(items, tmp_path / "sheets" / "all.png", heading="Three variants")
    assert sheet == tmp_path / "sheets" / "all.png"
    assert all(shows(sheet, color) for color in colors.values())
    assert [path.name for path in listing(sheet.parent)] == ["all.png"]


async def test_more_than_four_go_into_several_rows(make_image: Callable[..., Path], tmp_path: Path) -> None:
    picture = make_image(tmp_path / "a.png", (400, 300))
    one_row = await comparison_sheet([SheetItem(picture, "a")] * 4, tmp_path / "four.png", heading="Four")
    two_rows = await comparison_sheet([SheetItem(picture, "a")] * 5, tmp_path / "five.png", heading="Five")
    assert size_of(two_rows)[1] > size_of(one_row)[1] * 1.8


async def test_an_earlier_sheet_is_kept(make_image: Callable[..., Path], tmp_path: Path) -> None:
    items = [SheetItem(make_image(tmp_path / "a.png"), "a")]
    names = [(await comparison_sheet(items, tmp_path / "sheet.png", heading=heading)).name for heading in "xyzx"]
    assert names == ["sheet.png", "sheet-2.png", "sheet-3.png", "sheet.png"]


async def test_what_cannot_be_shown_keeps_its_place(
    make_image: Callable[..., Path], make_wav: Callable[..., Path], make_video: MakeVideo, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    paths = [
        make_image(tmp_path / "a.png", color="red"),
        make_wav(tmp_path / "a.wav"),
        make_video(tmp_path / "a.mp4", seconds=0.2),
        tmp_path / "broken.png",
        tmp_path / "gone.png",
    ]
    items = [SheetItem(path, path.name) for path in paths]
    assert shows(await comparison_sheet(items, tmp_path / "sheet.png", heading="Mixed"), (255, 0, 0))


async def test_very_wide_and_very_tall_pictures(make_image: Callable[..., Path], tmp_path: Path) -> None:
    wide = SheetItem(make_image(tmp_path / "wide.png", (2000, 10)), "wide " * 50, "detail " * 50)
    tall = SheetItem(make_image(tmp_path / "tall.png", (10, 2000)), "tall " * 50, "detail " * 50)
    for number, items in enumerate(([wide], [tall], [wide, tall])):
        width, height = size_of(await comparison_sheet(items, tmp_path / f"{number}.png", heading="h " * 200))
        assert width <= 2100
        assert height <= 1200


async def test_a_contact_sheet_fits_its_budget_and_stays_readable(
    make_image: Callable[..., Path], make_video: MakeVideo, tmp_path: Path
) -> None:
    pictures = [make_image(tmp_path / f"{number}.png", (900, 600)) for number in range(MOST_ON_SHEET - 1)]
    film = make_video(tmp_path / "film.mp4", seconds=1.0)
    items = [SheetItem(path, path.name, "14 credits") for path in pictures] + [SheetItem(film, "0.5 s", at_s=0.5)]
    for most in (200_000, 60_000):
        sheet = await contact_sheet(items, max_bytes=most)
        assert sheet.data is not None
        assert len(sheet.data) * 4 / 3 <= most
        with Image.open(BytesIO(sheet.data)) as image:
            assert image.size == (sheet.width, sheet.height)
    assert max(sheet.width or 0, sheet.height or 0) >= 768
    with pytest.raises(InvalidArgumentError):
        await contact_sheet([], max_bytes=200_000)


async def test_a_folder_that_cannot_be_written(make_image: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with refused("output_not_writable"):
        await comparison_sheet(
            [SheetItem(make_image(tmp_path / "a.png"), "a")], tmp_path / "file" / "sheet.png", heading="x"
        )


def test_text_is_broken_between_words_and_shortened() -> None:
    text = block("one two three four five six seven eight nine ten", 20, "black", width=150, most=2)
    assert len(text.lines) == 2
    assert text.lines[0].split()[0] == "one"
    assert text.lines[1].endswith(("…", "..."))
    assert all(text.font.getlength(line) <= 150 for line in text.lines)


def test_a_word_wider_than_the_line_is_cut() -> None:
    assert len(block("x" * 300, 20, "black", width=100, most=3).lines) == 3


def test_letters_that_no_font_has_are_simplified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering, "_SYSTEM_FONTS", ())
    text = block("Grüße – “3 × 4”", 20, "black", width=1000, most=1)
    assert text.lines == ("Grusse - “3 x 4”",)


def test_what_steers_hides_or_is_a_mere_sign_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering, "_SYSTEM_FONTS", ())
    text = block("a\u202eb\u200bc 🦊\ufe0f 👩\u200d🚀 d\ud800", 20, "black", width=1000, most=1)
    assert [" ".join(line.split()) for line in text.lines] == ["abc d"]


def listing(folder: Path) -> list[Path]:
    return list(folder.iterdir())
