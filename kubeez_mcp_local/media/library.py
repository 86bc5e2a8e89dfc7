"""The local library: files, URLs and characters under names of the user's own choosing.

The hosted library cannot be reached through the REST API, so this one lives on this machine: one JSON index, and a
folder with our own copies of files, named by content. A file that is added is copied, so that an entry keeps working
when the original moves; deleting an entry deletes that copy and never the original. A URL is only noted down. Media are
uploaded when they are used, by `library:name`. A file lock lets several processes change the index in turn.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kubeez_mcp_local.disk import open_exactly, replace_file, replacing
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.media.inputs import Identity, LocalInput, RemoteInput
from kubeez_mcp_local.media.sniff import by_mime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class InvalidNameError(InvalidArgumentError):
    """The name does not keep the rules for names."""

    code = "invalid_name"

    def __init__(self, argument: str, name: str) -> None:
        super().__init__(
            argument,
            f"{name!r:.100} cannot be a name; allowed are 1 to 64 lowercase letters a-z, digits, '_' and '-'.",
            next_step="Choose a name such as hero-shot_2.",
        )


class NameTakenError(InvalidArgumentError):
    """Another asset or character has the name."""

    code = "name_taken"

    def __init__(self, argument: str, name: str, what: str) -> None:
        super().__init__(
            argument, f"the library already has a {what} named {name}.", next_step="Choose another name or delete it."
        )


class NotInLibraryError(InvalidArgumentError):
    """No asset or character has this name or id."""

    code = "not_in_library"

    def __init__(self, argument: str, wanted: str, names: Sequence[str]) -> None:
        close = get_close_matches(wanted.lower(), names, n=3, cutoff=0.5)
        near = f" Similar names: {', '.join(close)}." if close else ""
        super().__init__(
            argument,
            f"the local library has no {wanted!r:.100}.{near}",
            next_step="Call list_assets to see what there is; manage_library adds to it.",
        )
        self.near = tuple(close)


class NoImageError(InvalidArgumentError):
    """The character has no reference picture, so it cannot be used as an input."""

    code = "character_without_image"

    def __init__(self, argument: str, name: str) -> None:
        super().__init__(
            argument,
            f"the character {name} has no picture.",
            next_step="Create it again with an image, or put its description into the prompt.",
        )


class LibraryFileGoneError(KubeezError):
    """The library's own copy of a file was removed or changed from outside."""

    code = "library_file_gone"

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(
            f"the library's copy of {name} ({path}) is missing or was changed.",
            next_step="Delete the entry with manage_library and add the file again.",
        )


class LibraryDamagedError(KubeezError):
    """The library's index cannot be used."""

    code = "library_damaged"

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"the library's index {path} cannot be used: {reason}.",
            next_step="Restore it from a backup, or move it away to start anew; the files beside it stay as they are.",
        )


class LibraryNotWritableError(KubeezError):
    """The library's folder cannot be written. Nothing was changed."""

    code = "library_not_writable"

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(
            f"the library in {folder} cannot be written: {reason}.",
            next_step="Free some space or make the folder writable; KUBEEZ_STATE_DIR names another one.",
        )


VERSION = 1
_LOCK_SECONDS = 10


class Stored(BaseModel):
    """Media the library holds: a copy of its own, or a URL.

    Attributes:
        kind: `image`, `video` or `audio`; `None` for a URL that does not tell.
        mime: Media type of the copy.
        size_bytes: Size of the copy.
        sha256: Content of the copy.
        file: Name of the copy in the library's folder; `None` for a URL.
        url: The URL; `None` for a copy.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["image", "video", "audio"] | None = None
    mime: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    file: str | None = None
    url: str | None = None


class Asset(BaseModel):
    """A named file or URL. `created_at` is in seconds since the epoch."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    media: Stored
    created_at: float

    @property
    def reference(self) -> str:
        """What to pass where a tool takes a path or URL."""
        return f"library:{self.name}"


class Character(BaseModel):
    """Somebody who is to look and sound the same each time. `created_at` is in seconds since the epoch."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    description: str
    voice_id: str | None = None
    image: Stored | None = None
    created_at: float

    @property
    def reference(self) -> str:
        """What to pass where a tool takes a picture's path or URL."""
        return f"library:{self.name}"


class Index(BaseModel):
    """Everything the library knows."""

    version: int = VERSION
    assets: list[Asset] = Field(default_factory=list)
    characters: list[Character] = Field(default_factory=list)

    def files(self) -> set[str]:
        """Names of all copies in use."""
        media = [asset.media for asset in self.assets] + [each.image for each in self.characters if each.image]
        return {stored.file for stored in media if stored.file}


class LibraryStore:
    """Reads and writes the library in `folder`. Every method blocks; call it in a thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(os.path.realpath(folder))
        self._index = self.folder / "library.json"
        self._files = self.folder / "files"

    def read(self) -> Index:
        """The index; empty when there is none yet.

        Raises:
            LibraryDamagedError: It is not ours, is broken, or comes from a newer version.
        """
        try:
            index = Index.model_validate_json(self._index.read_bytes())
        except FileNotFoundError:
            return Index()
        except (OSError, ValidationError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not a library index"
            raise LibraryDamagedError(self._index, reason or "it cannot be read") from None
        if index.version > VERSION:
            raise LibraryDamagedError(self._index, f"it was written by a newer version (format {index.version})")
        return index

    @contextmanager
    def changing(self) -> Iterator[Index]:
        """The index for changing it: written back unless the block raises, then copies out of use are removed.

        Raises:
            LibraryDamagedError: See `read`.
            LibraryNotWritableError: The folder cannot be written, or another process holds it for too long.
        """
        from filelock import FileLock, Timeout

        try:
            self._files.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock", timeout=_LOCK_SECONDS):
                index = self.read()
                before = index.files()
                yield index
                self._write(index)
                for name in before - index.files():
                    (self._files / name).unlink(missing_ok=True)
        except Timeout:
            raise LibraryNotWritableError(self.folder, "another process holds it") from None
        except OSError as error:
            raise LibraryNotWritableError(self.folder, error.strerror or type(error).__name__) from None

    def keep(self, local: LocalInput) -> Stored:
        """Copy a file into the library; the file itself stays where it is. Call within `changing`."""
        name = f"{local.sha256}{local.media_type.extension}"
        target = self._files / name
        if not target.exists():
            with local.open() as source, replacing(target) as copy:
                shutil.copyfileobj(source, copy, 1024 * 1024)
        return Stored(
            kind=local.kind, mime=local.media_type.mime, size_bytes=local.size, sha256=local.sha256, file=name
        )

    def path_of(self, stored: Stored) -> Path:
        """Where the copy lies; call only for media with a `file`."""
        return self._files / str(stored.file)

    def _write(self, index: Index) -> None:
        replace_file(self._index, index.model_dump_json(indent=2, exclude_none=True))


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
