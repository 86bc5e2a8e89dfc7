"""The local library: files, URLs and characters under names of the user's own choosing, as `library:name`.

The hosted library cannot be reached through the REST API, so this one lives on this machine: one JSON index, and our
own copies of files, so that an entry keeps working when the original moves; the original is never deleted.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

import anyio.to_thread
from pydantic import BaseModel, Field, ValidationError

from kubeez_mcp_local.disk import open_exactly, replace_file, replacing
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.media.inputs import Identity, LocalInput, RemoteInput
from kubeez_mcp_local.media.sniff import Kind, by_mime

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class NotInLibraryError(InvalidArgumentError):
    """No asset or character has this name or id."""

    code = "not_in_library"


def _not_in_library(argument: str, wanted: str, names: Sequence[str]) -> NotInLibraryError:
    close = get_close_matches(wanted.lower(), names, n=3, cutoff=0.5)
    near = f" Similar names: {', '.join(close)}." if close else ""
    message = f"the local library has no {wanted!r:.100}.{near}"
    step = "Call list_assets to see what there is; manage_library adds to it."
    return NotInLibraryError(argument, message, next_step=step)


def _file_gone(name: str, path: Path) -> KubeezError:
    """The library's own copy of a file was removed or changed from outside."""
    return KubeezError(
        f"the library's copy of {name} ({path}) is missing or was changed.",
        next_step="Delete the entry with manage_library and add the file again.",
        code="library_file_gone",
    )


def _damaged(path: Path, reason: str) -> KubeezError:
    """The library's index cannot be used."""
    return KubeezError(
        f"the library's index {path} cannot be used: {reason}.",
        next_step="Restore it from a backup, or move it away to start anew; the files beside it stay as they are.",
        code="library_damaged",
    )


def _not_writable(folder: Path, reason: str) -> KubeezError:
    """The library's folder cannot be written. Nothing was changed."""
    return KubeezError(
        f"the library in {folder} cannot be written: {reason}.",
        next_step="Free some space or make the folder writable; KUBEEZ_STATE_DIR names another one.",
        code="library_not_writable",
    )


VERSION = 1
_LOCK_SECONDS = 10


class Stored(BaseModel, frozen=True):
    """Media the library holds: a copy of its own, or a URL.

    Attributes:
        kind: `None` for a URL that does not tell.
        file: Name of the copy in the library's folder; `None` for a URL, as are type, size and digest of the copy.
        url: The URL; `None` for a copy.
    """

    kind: Kind | None = None
    mime: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    file: str | None = None
    url: str | None = None


class _Entry(BaseModel, frozen=True):
    """What has a name. `created_at` is in seconds since the epoch."""

    id: str
    name: str
    created_at: float

    @property
    def reference(self) -> str:
        """What to pass where a tool takes a path or URL."""
        return f"library:{self.name}"


class Asset(_Entry):
    """A named file or URL."""

    media: Stored


class Character(_Entry):
    """Somebody who is to look and sound the same each time."""

    description: str
    voice_id: str | None = None
    image: Stored | None = None


E = TypeVar("E", bound=_Entry)
R = TypeVar("R")


class Index(BaseModel):
    """Everything the library knows."""

    version: int = VERSION
    assets: list[Asset] = Field(default_factory=list)
    characters: list[Character] = Field(default_factory=list)

    def copies(self) -> dict[str, int]:
        """The copies in use: name of the file, and bytes."""
        media = [asset.media for asset in self.assets] + [each.image for each in self.characters if each.image]
        return {stored.file: stored.size_bytes or 0 for stored in media if stored.file}


_NAME = re.compile(r"[a-z0-9_-]{1,64}")
MAX_DESCRIPTION = 2000


class Library:
    """Named media and characters, kept in a folder of the state directory and shared by all processes.

    What is wanted is named by its id, its name or `library:` and its name.

    Args:
        folder: Where index and copies live; created on first change.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: str(uuid4()),
    ) -> None:
        self._folder = Path(os.path.realpath(folder))
        self._index = self._folder / "library.json"
        self._files = self._folder / "files"
        self._clock = clock
        self._new_id = new_id

    async def assets(self) -> list[Asset]:
        """All assets, newest first."""
        return _newest((await self._known()).assets)

    async def characters(self) -> list[Character]:
        """All characters, newest first."""
        return _newest((await self._known()).characters)

    async def used_bytes(self) -> int:
        """Bytes that copies take on this machine, each content counted once."""
        return sum((await self._known()).copies().values())

    async def add(self, name: str, source: LocalInput | RemoteInput) -> Asset:
        """Take in a file (copied) or a URL (noted down) as `name`.

        Raises:
            InvalidArgumentError: The name breaks the rules (1-64 of a-z, 0-9, `_`, `-`), or is taken.
            KubeezError: `library_not_writable`: nothing was changed.
        """
        _check_name(name, "name")

        def add(index: Index) -> Asset:
            _check_free(index, name, "name")
            media = self._stored(source)
            index.assets.append(Asset(id=self._new_id(), name=name, media=media, created_at=self._clock()))
            return index.assets[-1]

        return await self._change(add)

    async def rename(self, wanted: str, new_name: str, *, argument: str = "asset_id") -> Asset:
        """Give an asset another name.

        Raises:
            NotInLibraryError: There is no such asset.
            InvalidArgumentError: About `new_name`, as `add`.
        """
        _check_name(new_name, "new_name")

        def rename(index: Index) -> Asset:
            asset = _entry(index.assets, wanted, argument)
            if new_name != asset.name:
                _check_free(index, new_name, "new_name")
            renamed = asset.model_copy(update={"name": new_name})
            index.assets[index.assets.index(asset)] = renamed
            return renamed

        return await self._change(rename)

    async def delete(self, wanted: str, *, argument: str = "asset_id") -> Asset:
        """Remove an asset, and our copy of it; the original file is never touched.

        Raises:
            NotInLibraryError: There is no such asset.
        """
        return await self._change(lambda index: _removed(index.assets, wanted, argument))

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
            InvalidArgumentError: About `name`, as `add`; no description, too long a one, or the image is no picture.
        """
        _check_name(name, "name")
        description = description.strip()
        if not 1 <= len(description) <= MAX_DESCRIPTION:
            raise InvalidArgumentError("description", f"must have 1 to {MAX_DESCRIPTION} characters.")
        if image is not None and image.kind not in ("image", None):
            raise InvalidArgumentError("image_url", f"must be a picture, but is {image.kind}.")

        def create(index: Index) -> Character:
            _check_free(index, name, "name")
            stored = self._stored(image) if image else None
            known = {"id": self._new_id(), "name": name, "created_at": self._clock()}
            character = Character(**known, description=description, voice_id=voice_id, image=stored)
            index.characters.append(character)
            return character

        return await self._change(create)

    async def delete_character(self, wanted: str, *, argument: str = "name") -> Character:
        """Remove a character. Raises `NotInLibraryError`."""
        return await self._change(lambda index: _removed(index.characters, wanted, argument))

    async def character(self, wanted: str, *, argument: str = "character_ids") -> Character:
        """One character. Raises `NotInLibraryError`."""
        return _entry((await self._known()).characters, wanted, argument)

    async def find(self, name: str, *, argument: str) -> LocalInput | RemoteInput:
        """The media of the asset, or the picture of the character, with this name or id.

        Raises:
            NotInLibraryError: There is neither.
            InvalidArgumentError: The character has no picture.
            KubeezError: `library_file_gone`: our copy was removed or changed from outside.
        """
        return await anyio.to_thread.run_sync(self._find, name, argument)

    def _find(self, name: str, argument: str) -> LocalInput | RemoteInput:
        index = self._read()
        entries: list[Asset | Character] = [*index.assets, *index.characters]
        found = next((each for each in entries if name in (each.name, each.id)), None)
        if found is None:
            raise _not_in_library(argument, name, [each.name for each in entries])
        stored = found.media if isinstance(found, Asset) else found.image
        if stored is None:
            raise InvalidArgumentError(
                argument,
                f"the character {found.name} has no picture.",
                next_step="Create it again with an image, or put its description into the prompt.",
                code="character_without_image",
            )
        return self._input(stored, found.name)

    async def _known(self) -> Index:
        return await anyio.to_thread.run_sync(self._read)

    def _read(self) -> Index:
        """The index; empty when there is none yet, an error when it is not ours, broken, or of a newer version."""
        try:
            index = Index.model_validate_json(self._index.read_bytes())
        except FileNotFoundError:
            return Index()
        except (OSError, ValidationError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not a library index"
            raise _damaged(self._index, reason or "it cannot be read") from None
        if index.version > VERSION:
            raise _damaged(self._index, f"it was written by a newer version (format {index.version})")
        return index

    async def _change(self, change: Callable[[Index], R]) -> R:
        """Change the index: written back unless `change` raises, then copies out of use are removed."""
        return await anyio.to_thread.run_sync(self._change_now, change)

    def _change_now(self, change: Callable[[Index], R]) -> R:
        from filelock import FileLock, Timeout

        try:
            self._files.mkdir(parents=True, exist_ok=True)
            with FileLock(self._folder / ".lock", timeout=_LOCK_SECONDS):
                index = self._read()
                before = index.copies()
                result = change(index)
                replace_file(self._index, index.model_dump_json(indent=2, exclude_none=True))
                for name in before.keys() - index.copies().keys():
                    (self._files / name).unlink(missing_ok=True)
                return result
        except Timeout:
            raise _not_writable(self._folder, "another process holds it") from None
        except OSError as error:
            raise _not_writable(self._folder, error.strerror or type(error).__name__) from None

    def _stored(self, source: LocalInput | RemoteInput) -> Stored:
        """A URL noted down, or a file copied into the library, which itself stays where it is."""
        if isinstance(source, RemoteInput):
            return Stored(kind=source.kind, url=source.url)
        name = f"{source.sha256}{source.media_type.extension}"
        target = self._files / name
        if not target.exists():
            with source.open() as original, replacing(target) as copy:
                shutil.copyfileobj(original, copy, 1024 * 1024)
        mime = source.media_type.mime
        return Stored(kind=source.kind, mime=mime, size_bytes=source.size, sha256=source.sha256, file=name)

    def _input(self, stored: Stored, name: str) -> LocalInput | RemoteInput:
        if stored.url is not None:
            return RemoteInput(stored.url, stored.kind)
        path, media_type = self._files / str(stored.file), by_mime(stored.mime or "")
        try:
            with open_exactly(path) as file:
                identity = Identity.of(file)
        except OSError:
            raise _file_gone(name, path) from None
        if media_type is None or identity.size != stored.size_bytes:
            raise _file_gone(name, path)
        return LocalInput(path, str(stored.sha256), media_type, identity.size, identity, f"library:{name}")


def _check_name(name: str, argument: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidArgumentError(
            argument,
            f"{name!r:.100} cannot be a name; allowed are 1 to 64 lowercase letters a-z, digits, '_' and '-'.",
            next_step="Choose a name such as hero-shot_2.",
            code="invalid_name",
        )


def _check_free(index: Index, name: str, argument: str) -> None:
    for what, entries in (("file", index.assets), ("character", index.characters)):
        if any(entry.name == name for entry in entries):
            message, step = f"the library already has a {what} named {name}.", "Choose another name or delete it."
            raise InvalidArgumentError(argument, message, next_step=step, code="name_taken")


def _newest(entries: list[E]) -> list[E]:
    return sorted(entries, key=lambda each: (-each.created_at, each.name))


def _entry(entries: list[E], wanted: str, argument: str) -> E:
    for entry in entries:
        if wanted in (entry.id, entry.name, entry.reference):
            return entry
    raise _not_in_library(argument, wanted, [each.name for each in entries])


def _removed(entries: list[E], wanted: str, argument: str) -> E:
    entry = _entry(entries, wanted, argument)
    entries.remove(entry)
    return entry
