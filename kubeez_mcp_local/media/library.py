"""The local library: files, URLs and characters under names of the user's own choosing.

The hosted library cannot be reached through the REST API, so this one lives on this machine. A file that is added is
copied, so that an entry keeps working when the original moves; deleting an entry deletes that copy and never the
original. A URL is only noted down. Media are uploaded when they are used, by `library:name`.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING
from uuid import uuid4

import anyio.to_thread

from kubeez_mcp_local.disk import open_exactly
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.media.inputs import Identity, LocalInput, RemoteInput
from kubeez_mcp_local.media.library_errors import (
    InvalidNameError,
    LibraryFileGoneError,
    NameTakenError,
    NoImageError,
    NotInLibraryError,
)
from kubeez_mcp_local.media.library_store import Asset, Character, Index, LibraryStore, Stored
from kubeez_mcp_local.media.media_type import by_mime

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_NAME = re.compile(r"[a-z0-9_-]{1,64}")
MAX_DESCRIPTION = 2000


class Library:
    """Named media and characters, kept in a folder of the state directory and shared by all processes.

    Args:
        folder: Where index and copies live; created on first change.
        clock: Seconds since the epoch.
        new_id: Makes ids.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: str(uuid4()),
    ) -> None:
        self._store = LibraryStore(folder)
        self._clock = clock
        self._new_id = new_id

    async def assets(self) -> list[Asset]:
        """All assets, newest first."""
        index = await anyio.to_thread.run_sync(self._store.read)
        return sorted(index.assets, key=lambda asset: (-asset.created_at, asset.name))

    async def characters(self) -> list[Character]:
        """All characters, newest first."""
        index = await anyio.to_thread.run_sync(self._store.read)
        return sorted(index.characters, key=lambda each: (-each.created_at, each.name))

    async def used_bytes(self) -> int:
        """Bytes that copies take on this machine, each content counted once."""
        index = await anyio.to_thread.run_sync(self._store.read)
        media = [asset.media for asset in index.assets] + [each.image for each in index.characters if each.image]
        return sum({stored.file: stored.size_bytes or 0 for stored in media if stored.file}.values())

    async def add(self, name: str, source: LocalInput | RemoteInput) -> Asset:
        """Take in a file (copied) or a URL (noted down) as `name`.

        Raises:
            InvalidNameError: The name breaks the rules: 1-64 of a-z, 0-9, `_`, `-`.
            NameTakenError: Another asset or character has it.
            LibraryNotWritableError: Nothing was changed.
        """

        def change() -> Asset:
            with self._store.changing() as index:
                _check_free(index, name, "name")
                media = self._stored(source)
                asset = Asset(id=self._new_id(), name=name, media=media, created_at=self._clock())
                index.assets.append(asset)
                return asset

        _check_name(name, "name")
        return await anyio.to_thread.run_sync(change)

    async def rename(self, wanted: str, new_name: str, *, argument: str = "asset_id") -> Asset:
        """Give the asset with this id or name another name.

        Raises:
            NotInLibraryError: There is no such asset.
            InvalidNameError, NameTakenError: About `new_name`.
        """

        def change() -> Asset:
            with self._store.changing() as index:
                asset = _asset(index, wanted, argument)
                if new_name != asset.name:
                    _check_free(index, new_name, "new_name")
                renamed = asset.model_copy(update={"name": new_name})
                index.assets[index.assets.index(asset)] = renamed
                return renamed

        _check_name(new_name, "new_name")
        return await anyio.to_thread.run_sync(change)

    async def delete(self, wanted: str, *, argument: str = "asset_id") -> Asset:
        """Remove the asset with this id or name, and our copy of it; the original file is never touched.

        Raises:
            NotInLibraryError: There is no such asset.
        """

        def change() -> Asset:
            with self._store.changing() as index:
                asset = _asset(index, wanted, argument)
                index.assets.remove(asset)
                return asset

        return await anyio.to_thread.run_sync(change)

    async def create_character(
        self,
        name: str,
        description: str,
        *,
        voice_id: str | None = None,
        image: LocalInput | RemoteInput | None = None,
    ) -> Character:
        """Note down a character. The voice is not checked here; voices belong to the catalogue.

        Raises:
            InvalidNameError, NameTakenError: About `name`.
            InvalidArgumentError: No description, too long a one, or the image is not a picture.
        """

        def change() -> Character:
            with self._store.changing() as index:
                _check_free(index, name, "name")
                stored = self._stored(image) if image else None
                character = Character(
                    id=self._new_id(),
                    name=name,
                    description=description.strip(),
                    voice_id=voice_id,
                    image=stored,
                    created_at=self._clock(),
                )
                index.characters.append(character)
                return character

        _check_name(name, "name")
        if not 1 <= len(description.strip()) <= MAX_DESCRIPTION:
            raise InvalidArgumentError("description", f"must have 1 to {MAX_DESCRIPTION} characters.")
        if image is not None and image.kind not in ("image", None):
            raise InvalidArgumentError("image_url", f"must be a picture, but is {image.kind}.")
        return await anyio.to_thread.run_sync(change)

    async def delete_character(self, wanted: str, *, argument: str = "name") -> Character:
        """Remove the character with this id or name.

        Raises:
            NotInLibraryError: There is no such character.
        """

        def change() -> Character:
            with self._store.changing() as index:
                character = _character(index, wanted, argument)
                index.characters.remove(character)
                return character

        return await anyio.to_thread.run_sync(change)

    async def character(self, wanted: str, *, argument: str = "character_ids") -> Character:
        """The character with this id or name. Raises `NotInLibraryError`."""
        index = await anyio.to_thread.run_sync(self._store.read)
        return _character(index, wanted, argument)

    async def find(self, name: str, *, argument: str) -> LocalInput | RemoteInput:
        """The media of the asset, or the picture of the character, with this name or id.

        Raises:
            NotInLibraryError: There is neither.
            NoImageError: The character has no picture.
            LibraryFileGoneError: Our copy was removed or changed from outside.
        """
        return await anyio.to_thread.run_sync(self._find, name, argument)

    def _find(self, name: str, argument: str) -> LocalInput | RemoteInput:
        index = self._store.read()
        for asset in index.assets:
            if name in (asset.name, asset.id):
                return self._input(asset.media, asset.name)
        for character in index.characters:
            if name in (character.name, character.id):
                if character.image is None:
                    raise NoImageError(argument, character.name)
                return self._input(character.image, character.name)
        raise NotInLibraryError(argument, name, _names(index))

    def _stored(self, source: LocalInput | RemoteInput) -> Stored:
        if isinstance(source, LocalInput):
            return self._store.keep(source)
        return Stored(kind=source.kind, url=source.url)

    def _input(self, stored: Stored, name: str) -> LocalInput | RemoteInput:
        if stored.url is not None:
            return RemoteInput(stored.url, stored.kind)
        path, media_type = self._store.path_of(stored), by_mime(stored.mime or "")
        try:
            with open_exactly(path) as file:
                identity = Identity.of(file)
        except OSError:
            raise LibraryFileGoneError(name, path) from None
        if media_type is None or identity.size != stored.size_bytes:
            raise LibraryFileGoneError(name, path)
        return LocalInput(path, str(stored.sha256), media_type, identity.size, identity, f"library:{name}")


def _check_name(name: str, argument: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidNameError(argument, name)


def _check_free(index: Index, name: str, argument: str) -> None:
    if any(asset.name == name for asset in index.assets):
        raise NameTakenError(argument, name, "file")
    if any(each.name == name for each in index.characters):
        raise NameTakenError(argument, name, "character")


def _asset(index: Index, wanted: str, argument: str) -> Asset:
    for asset in index.assets:
        if wanted in (asset.id, asset.name, asset.reference):
            return asset
    raise NotInLibraryError(argument, wanted, [asset.name for asset in index.assets])


def _character(index: Index, wanted: str, argument: str) -> Character:
    for character in index.characters:
        if wanted in (character.id, character.name, character.reference):
            return character
    raise NotInLibraryError(argument, wanted, [each.name for each in index.characters])


def _names(index: Index) -> list[str]:
    return [asset.name for asset in index.assets] + [each.name for each in index.characters]
