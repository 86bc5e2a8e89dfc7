from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, BinaryIO

import pytest
from PIL import Image

from kubeez_mcp_local.media.containers import UNSEEN, Measured
from kubeez_mcp_local.media.inputs import (
    Inputs,
    LocalInput,
    RemoteInput,
    Uploads,
    describe,
)
from kubeez_mcp_local.media.library import Library
from kubeez_mcp_local.media.measure import measure
from kubeez_mcp_local.media.path_guard import PathGuard
from kubeez_mcp_local.media.picture import preview
from kubeez_mcp_local.media.sheet import SheetItem, comparison_sheets
from kubeez_mcp_local.media.sniff import UnsupportedMediaError
from kubeez_mcp_local.media.trim import trim
from tests.refusals import refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio


async def look(item: LocalInput | RemoteInput) -> Measured:
    return await measure(item) if isinstance(item, LocalInput) else UNSEEN


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    return Inputs(PathGuard([tmp_path], working_dir=tmp_path), look)


async def test_a_local_file_is_hashed_and_typed_by_content(
    inputs: Inputs, make_image: Callable[..., Path], tmp_path: Path
) -> None:
    picture = make_image(tmp_path / "a.png")
    misnamed = picture.rename(tmp_path / "a.mp4")
    content = misnamed.read_bytes()

    found = await inputs.resolve("a.mp4", argument="source_media_urls")

    assert isinstance(found, LocalInput)
    assert (found.path, found.kind, found.media_type.mime, found.size) == (misnamed, "image", "image/png", len(content))
    assert found.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://media.example.com/images/a.PNG", "image"),
        ("https://media.example.com/a.jpeg?sig=abc.mp4", "image"),
        ("https://media.example.com/clip%2Emp4", "video"),
        ("HTTPS://media.example.com/a.mp3", "audio"),
        ("https://media.example.com/a", None),
        ("http://127.0.0.1:8787/media/a.webm", "video"),
        ("http://localhost/a.wav", "audio"),
    ],
)
async def test_urls_are_taken_and_their_kind_guessed(inputs: Inputs, url: str, kind: str | None) -> None:
    assert await inputs.resolve(f" {url} ", argument="image_url") == RemoteInput(url, kind)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("http://example.com/a.png", "not encrypted"),
        ("http://127.0.0.1.example.com/a.png", "not encrypted"),
        ("ftp://example.com/a.png", "ftp: URLs are not taken"),
        ("s3://bucket/a.png", "s3: URLs are not taken"),
        ("javascript:alert(1)", "not taken"),
        ("data:image/png;base64,iVBORw0KGgo=", "Save the data to a file"),
        ("https://", "names no host"),
        ("https://user:secret@example.com/a.png", "user name or password"),
        ("https://example.com/a b.png", "spaces"),
        ("https://example.com\\@evil.example/a.png", "backslashes"),
        ("https://example.com:99999/a.png", "malformed"),
        ("https://[::1/a.png", "malformed"),
        ("https://example.com/" + "a" * 5000, "at most 4096"),
        ("library:hero", "no library"),
    ],
)
async def test_other_urls_are_refused_with_advice(inputs: Inputs, value: str, words: str) -> None:
    with refused("invalid_url", match=words) as refusal:
        await inputs.resolve(value, argument="image_url")
    assert str(refusal.value).startswith("image_url: ")


async def test_a_refusal_never_repeats_the_query_or_the_data(inputs: Inputs) -> None:
    for value in ("http://example.com/a.png?sig=SECRET", "data:text/plain,SECRET", "https://a:SECRET@example.com/"):
        with refused("invalid_url") as refusal:
            await inputs.resolve(value, argument="image_url")
        assert "SECRET" not in str(refusal.value)


async def test_refused_paths_and_contents(inputs: Inputs, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("<html>")
    with pytest.raises(UnsupportedMediaError, match=r"^image_url: a\.png cannot be used"):
        await inputs.resolve("a.png", argument="image_url")
    with refused("path_outside_allowed_folders"):
        await inputs.resolve("/etc/hostname", argument="image_url")
    with refused("file_not_found"):
        await inputs.resolve("b.png", argument="image_url")


async def test_all_that_is_damaged_is_named_and_said_of_the_argument(
    inputs: Inputs, make_image: Callable[..., Path], tmp_path: Path
) -> None:
    content = make_image(tmp_path / "whole.png").read_bytes()
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    with refused("damaged_file", match=r"^source_media_urls: a\.png is damaged: .*; b\.png is damaged: ") as refusal:
        await inputs.resolve_all(["a.png", "whole.png", "b.png"], argument="source_media_urls")
    assert "whole.png" not in str(refusal.value)
    with refused("damaged_file", match=r"^paths: a\.png is damaged: .*; b\.png is damaged: "):
        await inputs.expand(["a*.png", "b*.png"], argument="paths", limit=5)
    (found,) = await inputs.resolve_all(["whole.png"], argument="paths")
    assert (found.measured.width, found.measured.height, found.measured.looked_at) == (64, 48, True)


@pytest.mark.skipif(os.name == "nt", reason="no name of a file holds a colon there")
@pytest.mark.parametrize("name", ["notes:final.png", "ftp:a.png", "data:image.png"])
async def test_a_file_whose_name_looks_like_a_url_is_that_file(
    inputs: Inputs, make_image: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    with refused("invalid_url"):
        await inputs.resolve(name, argument="source_media_urls")
    file = make_image(tmp_path / name)
    (found,) = await inputs.expand([name], argument="source_media_urls", limit=2)
    assert isinstance(found, LocalInput)
    assert found.path == file


async def test_many_keep_their_order(inputs: Inputs, make_image: Callable[..., Path], tmp_path: Path) -> None:
    make_image(tmp_path / "b.png")
    make_image(tmp_path / "a.png", color="red")
    values = ["b.png", "https://example.com/x.png", "a.png"]
    found = await inputs.resolve_all(values, argument="source_media_urls")
    names = [each.path.name if isinstance(each, LocalInput) else each.url for each in found]
    assert names == ["b.png", "https://example.com/x.png", "a.png"]


async def test_a_pattern_gives_many_and_a_url_one(
    inputs: Inputs, make_image: Callable[..., Path], tmp_path: Path
) -> None:
    for number in (10, 9):
        make_image(tmp_path / f"{number}.png", size=(number, number))
    found = await inputs.expand(["*.png"], argument="paths", limit=5)
    assert [each.path.name for each in found if isinstance(each, LocalInput)] == ["9.png", "10.png"]
    assert await inputs.expand(["https://example.com/*.png"], argument="paths", limit=5) == [
        RemoteInput("https://example.com/*.png", "image")
    ]


class TestSwappedAfterTheCheck:
    """Between the guard's decision and every later reading something else is put in the place of the file."""

    @pytest.fixture
    def secret(self, tmp_path: Path, make_image: Callable[..., Path]) -> Path:
        (tmp_path / "private").mkdir()
        return make_image(tmp_path / "private" / "a.png", (99, 77), "red")

    @pytest.fixture
    def swap(self, secret: Path) -> Callable[[Path, str], None]:
        def put_in_place(path: Path, how: str) -> None:
            if how == "folder":
                path.parent.rename(path.parent.with_name("aside"))
                path.parent.symlink_to(secret.parent)
                return
            path.unlink()
            if how == "link":
                path.symlink_to(secret)
            else:
                path.write_bytes(secret.read_bytes())

        return put_in_place

    @pytest.fixture
    def mine(self, tmp_path: Path, make_image: Callable[..., Path]) -> Path:
        (tmp_path / "mine").mkdir()
        return make_image(tmp_path / "mine" / "a.png")

    @pytest.mark.parametrize("how", ["link", "folder"])
    def test_nothing_is_hashed_through_a_link(self, mine: Path, swap: Callable[[Path, str], None], how: str) -> None:
        checked = PathGuard([mine.parent]).check(str(mine), argument="image")
        swap(mine, how)
        with refused("file_unreadable", match="a link was put in its place"):
            describe(checked, "image")

    @pytest.mark.parametrize("how", ["link", "folder", "another file"])
    async def test_nothing_else_is_measured_shown_cut_kept_or_uploaded(
        self, mine: Path, swap: Callable[[Path, str], None], how: str, tmp_path: Path
    ) -> None:
        sent: list[bytes] = []

        async def upload(_local: LocalInput, file: BinaryIO, _progress: object, _model: str) -> str:
            sent.append(file.read())
            return "https://media.example.com/1"

        local = describe(mine, "image")
        swap(mine, how)
        for use in (
            lambda: measure(local),
            lambda: preview(local),
            lambda: trim(local, tmp_path / "cut.mp4", 0, 1),
            lambda: Library(tmp_path / "library").add("x", local),
            lambda: Uploads(upload, tmp_path / "cache", "account").url_for(local),
        ):
            with refused("file_changed"):
                await use()
        assert sent == []
        assert list((tmp_path / "library").rglob("*.p*")) == []

    async def test_what_is_uploaded_is_the_file_that_was_opened(
        self, mine: Path, swap: Callable[[Path, str], None], tmp_path: Path
    ) -> None:
        sent: list[bytes] = []
        before = describe(mine, "image")

        async def upload(_local: LocalInput, file: BinaryIO, _progress: object, _model: str) -> str:
            swap(mine, "link")
            sent.append(file.read())
            return "https://media.example.com/1"

        await Uploads(upload, tmp_path / "cache", "account").url_for(before)
        assert [hashlib.sha256(each).hexdigest() for each in sent] == [before.sha256]

    async def test_a_sheet_and_a_copy_in_the_library_show_nothing_from_elsewhere(
        self, mine: Path, secret: Path, tmp_path: Path
    ) -> None:
        library = Library(tmp_path / "library")
        await library.add("x", describe(mine, "image"))
        (copy,) = (tmp_path / "library" / "files").iterdir()
        copy.unlink()
        copy.symlink_to(secret)
        with refused("library_file_gone"):
            await library.find("x", argument="url")
        (sheet,) = await comparison_sheets([SheetItem(copy, "x")], tmp_path / "sheet.png", heading="")
        with Image.open(sheet) as picture:
            assert (255, 0, 0) not in {color for _, color in picture.getcolors(1 << 20) or []}
