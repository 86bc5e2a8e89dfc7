from __future__ import annotations

import hashlib
import itertools
import json
from typing import TYPE_CHECKING

import anyio
import pytest

from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.media.containers import UNSEEN, Measured
from kubeez_mcp_local.media.inputs import Inputs, LocalInput, RemoteInput, describe
from kubeez_mcp_local.media.library import (
    Library,
    NotInLibraryError,
)
from kubeez_mcp_local.media.path_guard import PathGuard
from tests.refusals import refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio


async def unseen(_: object) -> Measured:
    return UNSEEN


@pytest.fixture
def library(tmp_path: Path) -> Library:
    ids, times = itertools.count(1), itertools.count(1000)
    return Library(tmp_path / "library", clock=lambda: float(next(times)), new_id=lambda: f"id-{next(ids)}")


@pytest.fixture
def picture(make_image: Callable[..., Path], tmp_path: Path) -> LocalInput:
    return describe(make_image(tmp_path / "a.png"), "url")


@pytest.fixture
def copies(tmp_path: Path) -> Callable[[], list[Path]]:
    return lambda: list((tmp_path / "library" / "files").iterdir())


class TestAssets:
    async def test_a_file_keeps_working_when_the_original_is_gone(self, library: Library, picture: LocalInput) -> None:
        added = await library.add("hero", picture)
        picture.path.unlink()

        found = await library.find("hero", argument="url")

        assert isinstance(found, LocalInput)
        assert hashlib.sha256(found.path.read_bytes()).hexdigest() == picture.sha256 == found.sha256
        assert (found.kind, found.media_type, found.size) == ("image", picture.media_type, picture.size)
        assert (added.reference, added.media.size_bytes) == ("library:hero", picture.size)

    async def test_a_url_is_noted_down(self, library: Library) -> None:
        remote = RemoteInput("https://example.com/a.mp4", "video")
        asset = await library.add("clip", remote)
        assert await library.find("clip", argument="url") == remote
        assert asset.media.file is None
        assert await library.used_bytes() == 0

    async def test_it_is_shared_with_later_processes(
        self, library: Library, picture: LocalInput, tmp_path: Path
    ) -> None:
        await library.add("hero", picture)
        assert [asset.name for asset in await Library(tmp_path / "library").assets()] == ["hero"]

    async def test_newest_come_first(self, library: Library, picture: LocalInput) -> None:
        for name in ("one", "two", "three"):
            await library.add(name, picture)
        assert [asset.name for asset in await library.assets()] == ["three", "two", "one"]

    async def test_deleting_removes_our_copy_and_never_the_original(
        self, library: Library, picture: LocalInput, copies: Callable[[], list[Path]]
    ) -> None:
        await library.add("hero", picture)
        await library.delete("hero")
        assert picture.path.exists()
        assert copies() == []
        assert await library.assets() == []

    async def test_the_same_content_twice_is_one_copy_until_both_are_deleted(
        self, library: Library, picture: LocalInput, copies: Callable[[], list[Path]]
    ) -> None:
        first, second = await library.add("one", picture), await library.add("two", picture)
        assert len(copies()) == 1
        assert await library.used_bytes() == picture.size
        await library.delete(first.id)
        assert len(copies()) == 1
        await library.delete(second.reference)
        assert copies() == []

    async def test_renaming(self, library: Library, picture: LocalInput) -> None:
        asset = await library.add("hero", picture)
        renamed = await library.rename(asset.id, "hero-2")
        assert (renamed.id, renamed.name) == (asset.id, "hero-2")
        assert (await library.rename("hero-2", "hero-2")).name == "hero-2"
        with pytest.raises(NotInLibraryError):
            await library.find("hero", argument="url")

    @pytest.mark.parametrize("name", ["", "Hero", "a b", "ä", "a/b", "..", "a" * 65, "a\n", "hero.png"])
    async def test_names_that_break_the_rules(self, library: Library, picture: LocalInput, name: str) -> None:
        with refused("invalid_name", match="1 to 64"):
            await library.add(name, picture)
        assert await library.assets() == []

    async def test_the_longest_name(self, library: Library, picture: LocalInput) -> None:
        assert (await library.add("a" * 64, picture)).name == "a" * 64

    async def test_a_name_is_given_once(
        self, library: Library, picture: LocalInput, copies: Callable[[], list[Path]]
    ) -> None:
        await library.add("hero", picture)
        await library.add("other", picture)
        await library.create_character("anna", "A baker")
        for taken in ("hero", "anna"):
            with refused("name_taken"):
                await library.add(taken, picture)
            with refused("name_taken"):
                await library.rename("other", taken)
        assert len(copies()) == 1

    async def test_an_unknown_name_suggests_similar_ones(self, library: Library, picture: LocalInput) -> None:
        await library.add("hero-shot", picture)
        with pytest.raises(NotInLibraryError) as refusal:
            await library.find("hero-shoot", argument="source_media_urls")
        assert "Similar names: hero-shot." in str(refusal.value)
        assert refusal.value.argument == "source_media_urls"

    async def test_inputs_resolve_library_names(self, library: Library, picture: LocalInput, tmp_path: Path) -> None:
        await library.add("hero", picture)
        inputs = Inputs(PathGuard([tmp_path / "elsewhere"]), unseen, library)
        found = await inputs.resolve("library:hero", argument="image_url")
        assert isinstance(found, LocalInput)
        assert found.sha256 == picture.sha256

    async def test_parallel_changes_all_arrive(self, library: Library, picture: LocalInput, tmp_path: Path) -> None:
        others = [library, Library(tmp_path / "library"), Library(tmp_path / "library")]

        async def add(number: int) -> None:
            await others[number % 3].add(f"asset-{number}", picture)

        async with anyio.create_task_group() as tasks:
            for number in range(12):
                tasks.start_soon(add, number)
        assert len(await library.assets()) == 12


class TestCharacters:
    async def test_a_character_has_a_voice_and_a_picture(self, library: Library, picture: LocalInput) -> None:
        created = await library.create_character("anna", " A baker in her forties ", voice_id="kore", image=picture)
        assert (created.description, created.voice_id) == ("A baker in her forties", "kore")
        assert await library.characters() == [created]
        assert await library.character(created.id) == created
        found = await library.find("anna", argument="url")
        assert isinstance(found, LocalInput)
        assert found.sha256 == picture.sha256

    async def test_deleting_takes_the_picture_along(
        self, library: Library, picture: LocalInput, copies: Callable[[], list[Path]]
    ) -> None:
        await library.create_character("anna", "A baker", image=picture)
        await library.delete_character("anna")
        assert copies() == []
        with pytest.raises(NotInLibraryError):
            await library.delete_character("anna")

    async def test_without_a_picture_it_is_no_input(self, library: Library) -> None:
        await library.create_character("anna", "A baker")
        with refused("character_without_image"):
            await library.find("anna", argument="url")

    async def test_what_a_character_needs(self, library: Library) -> None:
        for description in ("", "  ", "x" * 2001):
            with pytest.raises(InvalidArgumentError, match="description"):
                await library.create_character("anna", description)
        with pytest.raises(InvalidArgumentError, match="must be a picture"):
            await library.create_character("anna", "A", image=RemoteInput("https://example.com/a.mp3", "audio"))


class TestTrouble:
    @pytest.mark.parametrize("content", ["", "{", "[]", '{"assets": 3}', "\x00"])
    async def test_a_damaged_index_is_said_and_kept(
        self, library: Library, picture: LocalInput, tmp_path: Path, content: str
    ) -> None:
        index = tmp_path / "library" / "library.json"
        index.parent.mkdir()
        index.write_text(content)
        with refused("library_damaged", match=r"library\.json"):
            await library.assets()
        with refused("library_damaged"):
            await library.add("hero", picture)
        assert index.read_text() == content

    async def test_an_index_of_a_newer_version(self, library: Library, tmp_path: Path) -> None:
        (tmp_path / "library").mkdir()
        (tmp_path / "library" / "library.json").write_text(json.dumps({"version": 2}))
        with refused("library_damaged", match="newer version"):
            await library.assets()

    async def test_a_folder_that_cannot_be_written(self, picture: LocalInput, tmp_path: Path) -> None:
        (tmp_path / "occupied").write_text("a file")
        with refused("library_not_writable"):
            await Library(tmp_path / "occupied").add("hero", picture)

    async def test_a_copy_that_cannot_be_made_leaves_nothing(
        self, library: Library, picture: LocalInput, copies: Callable[[], list[Path]]
    ) -> None:
        picture.path.unlink()
        with refused("file_changed"):
            await library.add("hero", picture)
        assert copies() == []
        assert await library.assets() == []

    async def test_a_copy_that_was_removed_or_changed_from_outside(
        self, library: Library, picture: LocalInput, copies: Callable[[], list[Path]]
    ) -> None:
        await library.add("hero", picture)
        (copy,) = copies()
        copy.write_bytes(b"changed")
        with refused("library_file_gone"):
            await library.find("hero", argument="url")
        copy.unlink()
        with refused("library_file_gone"):
            await library.find("hero", argument="url")
        await library.delete("hero")
