"""Which local files may be read: the one place that turns text into a path.

A path is accepted when, with every link resolved, it is a readable, non-empty regular file inside an allowed folder
and no part of it below that folder is hidden. Whether a file outside exists is never told.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from kubeez_mcp_local.disk import exact_handle
from kubeez_mcp_local.media.path_errors import (
    EmptyFileError,
    FileTooLargeError,
    HiddenPathError,
    MissingFileError,
    NotAFileError,
    OutsideFoldersError,
    TooManyFilesError,
    UnreadableFileError,
)
from kubeez_mcp_local.media.path_text import absolute_path, has_wildcard
from kubeez_mcp_local.media.wildcards import ScanLimitError, is_folder, matches, natural_order

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_UPLOAD_BYTES = 500 * 1024 * 1024
"""The API's limit for one file (Kubeez documentation, "REST API model requirements": 500 MB)."""

_NAMES_LOOKED_AT = 20_000


@dataclass(frozen=True)
class _Root:
    named: Path
    resolved: Path


class PathGuard:
    """Checks local paths against the folders the user allowed.

    Args:
        input_dirs: Absolute folders whose files may be read; they need not exist yet.
        working_dir: Where relative paths start; default the current folder.
        max_bytes: Largest file that is accepted.
    """

    def __init__(
        self, input_dirs: Sequence[Path], *, working_dir: Path | None = None, max_bytes: int = MAX_UPLOAD_BYTES
    ) -> None:
        self.folders = tuple(dict.fromkeys(input_dirs))
        self.working_dir = Path.cwd() if working_dir is None else working_dir
        self.max_bytes = max_bytes

    def check(self, text: str, *, argument: str) -> Path:
        """The resolved path of an allowed, readable, non-empty file of at most `max_bytes`.

        Takes absolute and relative paths, `~`, and file:// URLs. A name that differs from the file's only in how
        its characters are composed or spaced (macOS screenshots) finds that file.

        Raises:
            PathRefusedError: One subclass a reason, see `path_errors`.
        """
        named = absolute_path(text, self.working_dir, argument=argument)
        resolved = self._contained(named, argument)
        try:
            self._check_file(resolved, argument)
        except FileNotFoundError:
            resolved = self._composed_otherwise(named, argument)
            self._check_file(resolved, argument)
        return resolved

    def expand(self, pattern: str, *, argument: str, limit: int) -> list[Path]:
        """The files a pattern stands for, in natural order (`shot2` before `shot10`).

        `*`, `?`, `[…]` match within a name, `**` any depth of folders; hidden names are never matched and linked
        folders not entered by `**`. A text without wildcards, or one that names an existing file, is that file.

        Raises:
            TooManyFilesError: More than `limit` files match.
            MissingFileError: Nothing matches.
            PathRefusedError: The pattern's folder, or any matching file, is not allowed or not usable.
        """
        named = absolute_path(pattern, self.working_dir, argument=argument)
        if not has_wildcard(pattern) or os.path.lexists(named):
            return [self.check(pattern, argument=argument)]
        fixed = next(each for each in named.parents if os.path.isdir(each) or not has_wildcard(str(each)))  # noqa: PTH112 - never raises
        self._contained(fixed, argument)
        try:
            found = list(islice(matches(fixed, named.relative_to(fixed).parts), limit + 1))
        except ScanLimitError:
            raise TooManyFilesError(argument, pattern, limit) from None
        if len(found) > limit:
            raise TooManyFilesError(argument, pattern, limit)
        if not found:
            detail = f" No file in {fixed} matches." if fixed.is_dir() else f" There is no folder {fixed} either."
            raise MissingFileError(argument, named, _near(named), detail=detail)
        return [self.check(str(path), argument=argument) for path in sorted(found, key=natural_order)]

    def _roots(self) -> list[_Root]:
        return [_Root(folder, Path(os.path.realpath(folder))) for folder in self.folders]

    def _contained(self, named: Path, argument: str) -> Path:
        """Resolve every link and prove that the target lies in an allowed folder, with nothing hidden below it."""
        resolved = Path(os.path.realpath(named))
        homes = [root for root in self._roots() if resolved.is_relative_to(root.resolved)]
        if not homes:
            leads_to = resolved if self._in_a_root_by_name(named) else None
            raise OutsideFoldersError(argument, named, self.folders, leads_to=leads_to)
        hidden = [_hidden_part(resolved, root.resolved) or _hidden_by_name(named, root) for root in homes]
        if all(hidden):
            raise HiddenPathError(argument, named, str(hidden[0]), self.folders)
        return resolved

    def _in_a_root_by_name(self, named: Path) -> bool:
        lexical = Path(os.path.normpath(named))
        return any(lexical.is_relative_to(base) for root in self._roots() for base in (root.named, root.resolved))

    def _check_file(self, path: Path, argument: str) -> None:
        """Prove by opening it that the path is a readable regular file of a usable size; never blocks on a pipe."""
        try:
            handle = exact_handle(path)
        except FileNotFoundError:
            raise
        except NotADirectoryError:
            raise MissingFileError(argument, path, (), detail=" A part of its path is a file.") from None
        except OSError as error:
            raise _not_opened(argument, path, error) from None
        try:
            status = os.fstat(handle)
        finally:
            os.close(handle)
        if not stat.S_ISREG(status.st_mode):
            raise NotAFileError(argument, path, _what(status.st_mode))
        if status.st_size == 0:
            raise EmptyFileError(argument, path)
        if status.st_size > self.max_bytes:
            raise FileTooLargeError(argument, path, status.st_size, self.max_bytes)

    def _composed_otherwise(self, named: Path, argument: str) -> Path:
        """The one file in the same folder whose name reads the same, or the error that names similar ones."""
        wanted = unicodedata.normalize("NFKC", named.name)
        alike = [name for name in _names_in(named.parent) if unicodedata.normalize("NFKC", name) == wanted]
        if len(alike) == 1 and alike[0] != named.name:
            return self._contained(named.with_name(alike[0]), argument)
        if named.is_symlink():
            raise MissingFileError(argument, named, (), detail=f" It is a link to {named.readlink()}, which is gone.")
        detail = "" if named.parent.is_dir() else f" There is no folder {named.parent} either."
        raise MissingFileError(argument, named, _near(named), detail=detail)


def _hidden_part(path: Path, root: Path) -> str | None:
    """The first part of `path` below `root` that is hidden, by its dot or by the system's flag."""
    below = root
    for part in path.relative_to(root).parts:
        below = below / part
        if part.startswith(".") or _hidden_by_system(below):
            return part
    return None


def _hidden_by_name(named: Path, root: _Root) -> str | None:
    """A hidden part in the path as it was written: a visible file must not be reached through a hidden link."""
    for base in (root.named, root.resolved):
        if named.is_relative_to(base):
            parts = named.relative_to(base).parts
            return next((part for part in parts if part.startswith(".") and part != ".."), None)
    return None


def _hidden_by_system(path: Path) -> bool:
    """Windows' and macOS' own flag, which hides AppData and Library."""
    try:
        status = path.lstat()
    except OSError:
        return False
    on_windows = getattr(status, "st_file_attributes", 0) & stat.FILE_ATTRIBUTE_HIDDEN
    on_macos = getattr(status, "st_flags", 0) & stat.UF_HIDDEN
    return bool(on_windows or on_macos)


def _not_opened(argument: str, path: Path, error: OSError) -> Exception:
    """A folder cannot be opened on Windows, nor a socket anywhere: say what it is rather than that it failed."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        mode = stat.S_IFREG
    if not stat.S_ISREG(mode):
        return NotAFileError(argument, path, _what(mode))
    if isinstance(error, PermissionError):
        return UnreadableFileError(argument, path, "permission denied")
    return UnreadableFileError(argument, path, error.strerror or type(error).__name__)


def _what(mode: int) -> str:
    kinds = (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    )
    return next((words for test, words in kinds if test(mode)), "not a regular file")


def _names_in(folder: Path) -> list[str]:
    """Names of the visible files in `folder`; empty when it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            visible = (entry for entry in entries if not entry.name.startswith("."))
            return [entry.name for entry in islice(visible, _NAMES_LOOKED_AT) if not is_folder(entry)]
    except OSError:
        return []


def _near(path: Path, count: int = 3) -> list[str]:
    names = _names_in(path.parent)
    by_fold: dict[str, str] = {name.casefold(): name for name in names}
    close = get_close_matches(path.name.casefold(), by_fold, n=count, cutoff=0.6)
    same_stem = [name for name in names if Path(name).stem.casefold() == path.stem.casefold()]
    return list(dict.fromkeys([*(by_fold[name] for name in close), *same_stem]))[:count]
