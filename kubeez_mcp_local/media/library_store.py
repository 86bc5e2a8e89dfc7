"""How the local library lies on disk: one JSON index, and a folder with our own copies of files.

Copies are named by content, so that the same file under two names takes its space once. A file lock lets several
processes change the index in turn.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.media.library_errors import LibraryDamagedError, LibraryNotWritableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kubeez_mcp_local.media.inputs import LocalInput

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
            with NamedTemporaryFile(dir=self._files, suffix=".part", delete=False) as file:
                pass
            try:
                with local.open() as source, open(file.name, "wb") as copy:  # noqa: PTH123 - a plain name
                    shutil.copyfileobj(source, copy, 1024 * 1024)
                os.replace(file.name, target)  # noqa: PTH105 - both names are in one folder
            except (OSError, KubeezError):
                os.unlink(file.name)  # noqa: PTH108 - a plain name
                raise
        return Stored(
            kind=local.kind, mime=local.media_type.mime, size_bytes=local.size, sha256=local.sha256, file=name
        )

    def path_of(self, stored: Stored) -> Path:
        """Where the copy lies; call only for media with a `file`."""
        return self._files / str(stored.file)

    def _write(self, index: Index) -> None:
        with NamedTemporaryFile("w", dir=self.folder, suffix=".part", delete=False, encoding="utf-8") as file:
            file.write(index.model_dump_json(indent=2, exclude_none=True))
        os.replace(file.name, self._index)  # noqa: PTH105 - both names are in one folder
