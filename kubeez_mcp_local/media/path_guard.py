"""Which local files may be read: the one place that turns text into a path.

A path is accepted when, with every link resolved, it is a readable, non-empty regular file inside an allowed folder
and no part of it below that folder is hidden. Whether a file outside exists is never told. Each refusal names the
argument, what is allowed and what to do.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import translate
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from kubeez_mcp_local.disk import exact_handle
from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def folder_list(folders: Sequence[Path]) -> str:
    """The folders in words, for messages."""
    return ", ".join(str(folder) for folder in folders) or "none"


class PathRefusedError(InvalidArgumentError):
    """A path cannot be used as an input. Nothing was read, sent or charged."""

    code = "path_refused"


class MalformedPathError(PathRefusedError):
    """The text is not a path on this machine."""

    code = "malformed_path"


class OutsideFoldersError(PathRefusedError):
    """The path, or what it leads to, lies outside the allowed folders."""

    code = "path_outside_allowed_folders"

    def __init__(self, argument: str, path: Path, folders: Sequence[Path], *, leads_to: Path | None = None) -> None:
        via = f" leads to {leads_to}, which" if leads_to is not None else ""
        super().__init__(
            argument,
            f"{path}{via} is outside the folders that may be read: {folder_list(folders)}.",
            next_step="Copy the file into one of them, or add its folder to the KUBEEZ_INPUT_DIRS setting.",
        )


class HiddenPathError(PathRefusedError):
    """The path passes through a hidden file or folder, where keys and browser profiles live."""

    code = "hidden_path"

    def __init__(self, argument: str, path: Path, hidden: str, folders: Sequence[Path]) -> None:
        super().__init__(
            argument,
            f"{path} passes through {hidden!r}, which is hidden; hidden files and folders are not read. "
            f"Folders that may be read: {folder_list(folders)}.",
            next_step="Copy the file elsewhere, or name the hidden folder itself in KUBEEZ_INPUT_DIRS.",
        )


class MissingFileError(PathRefusedError):
    """There is no such file in an allowed folder."""

    code = "file_not_found"

    def __init__(self, argument: str, path: Path, near: Sequence[str], *, detail: str = "") -> None:
        hint = f" Similar names there: {', '.join(near)}." if near else ""
        super().__init__(
            argument,
            f"there is no file {path}.{detail}{hint}",
            next_step="Use one of these names."
            if near
            else "Check the path; relative ones start at the working folder.",
        )
        self.near = tuple(near)


class NotAFileError(PathRefusedError):
    """The path is a folder, a device, a pipe or a socket."""

    code = "not_a_file"

    def __init__(self, argument: str, path: Path, what: str) -> None:
        step = f"Name a file in it, or use a pattern such as {path.name}/*.png." if what == "a folder" else ""
        super().__init__(argument, f"{path} is {what}, not a file.", next_step=step or "Name a regular file.")


class EmptyFileError(PathRefusedError):
    """The file holds no bytes."""

    code = "file_empty"

    def __init__(self, argument: str, path: Path) -> None:
        super().__init__(argument, f"{path} is empty (0 bytes).", next_step="Save or download it again.")


class FileTooLargeError(PathRefusedError):
    """The file is larger than the API takes."""

    code = "file_too_large"

    def __init__(self, argument: str, path: Path, size: int, limit: int) -> None:
        super().__init__(
            argument,
            f"{path} has {size / 1024**2:,.0f} MB; at most {limit / 1024**2:,.0f} MB can be uploaded.",
            next_step="Shorten, scale down or compress it first; trim_video cuts a part out of a video.",
        )


class UnreadableFileError(PathRefusedError):
    """The file exists but this process may not read it."""

    code = "file_unreadable"

    def __init__(self, argument: str, path: Path, reason: str) -> None:
        super().__init__(argument, f"{path} cannot be read: {reason}.", next_step="Check its permissions.")


class TooManyFilesError(PathRefusedError):
    """A pattern stands for more files than the call takes."""

    code = "too_many_files"

    def __init__(self, argument: str, pattern: str, limit: int) -> None:
        super().__init__(
            argument,
            f"{pattern} stands for more than {limit} files.",
            next_step=f"Narrow the pattern, or pass at most {limit} at a time.",
        )


_WINDOWS_PATH = re.compile(r"^(?:[A-Za-z]:[\\/]|\\\\)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_WILDCARD = re.compile(r"[*?\[]")
_MAX_LENGTH = 4096


def has_wildcard(text: str) -> bool:
    """Whether `text` holds a pattern character."""
    return _WILDCARD.search(text) is not None


def absolute_path(text: str, working_dir: Path, *, argument: str, windows: bool = os.name == "nt") -> Path:
    """The absolute path that `text` writes, links unresolved and `..` kept.

    Args:
        text: A path, `~/…`, or a file:// URL; surrounding space and quotes, as left by copying, are dropped.
        working_dir: Where relative paths start.
        argument: Name of the tool argument, for messages.
        windows: Whether drive letters and backslashes mean something here.

    Raises:
        MalformedPathError: Empty, too long, control characters, another machine, or another system's path.
    """
    cleaned = _without_quotes(text)
    if not cleaned:
        raise MalformedPathError(argument, "the path is empty.", next_step="Give a file's path or an https URL.")
    if cleaned.lower().startswith("file:"):
        cleaned = _from_file_url(cleaned, argument, windows=windows)
    _refuse_odd_text(cleaned, argument)
    if not windows and _WINDOWS_PATH.match(cleaned):
        raise MalformedPathError(
            argument,
            f"{cleaned} is a Windows path, but this server runs on another system.",
            next_step="Use the path as this system sees it; under WSL, C:\\ is /mnt/c/.",
        )
    if windows and ":" in re.sub(r"^[A-Za-z]:", "", cleaned):
        raise MalformedPathError(argument, f"{cleaned} names a data stream inside a file, not a file.")
    return working_dir / _from_home(cleaned, argument)


def _without_quotes(text: str) -> str:
    cleaned = text.strip()
    if len(cleaned) >= 2 and cleaned[0] == cleaned[-1] and cleaned[0] in "\"'":
        return cleaned[1:-1]
    return cleaned


def _refuse_odd_text(text: str, argument: str) -> None:
    if odd := _CONTROL.search(text):
        raise MalformedPathError(
            argument,
            f"the path {text!r:.200} holds the control character {odd.group()!r}.",
            next_step="Remove it; line breaks and tabs often come from copying.",
        )
    try:
        length = len(os.fsencode(text))
    except UnicodeEncodeError:
        raise MalformedPathError(argument, f"the path {text!r:.200} is not valid text.") from None
    if length > _MAX_LENGTH:
        raise MalformedPathError(argument, f"the path has {length} bytes; at most {_MAX_LENGTH} are possible.")


def _from_file_url(url: str, argument: str, *, windows: bool) -> str:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost", "127.0.0.1"):
        raise MalformedPathError(
            argument,
            f"{url} points at another machine ({parts.netloc}).",
            next_step="Copy the file to this machine and pass its path.",
        )
    path = unquote(url[5:].removeprefix(f"//{parts.netloc}"))
    if windows and re.match(r"^/[A-Za-z]:", path):
        return path[1:]
    return path


def _from_home(text: str, argument: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise MalformedPathError(argument, f"{text} names a home folder that does not exist.") from None


MAX_ENTRIES = 200_000
"""How many directory entries one pattern may look at before it counts as too wide."""


class ScanLimitError(Exception):
    """The pattern covers too much of the disk."""


def natural_order(path: Path) -> tuple[tuple[tuple[int, int, str], ...], ...]:
    """A sort key under which numbers count by value: `shot2` comes before `shot10`."""
    return tuple(_natural(part) for part in path.parts)


def _natural(name: str) -> tuple[tuple[int, int, str], ...]:
    pieces = re.findall(r"\d+|\D+", name)
    return tuple((0, int(piece), "") if piece.isdecimal() else (1, 0, piece.casefold()) for piece in pieces)


def matches(folder: Path, parts: Sequence[str], *, max_entries: int = MAX_ENTRIES) -> Iterator[Path]:
    """Files below `folder` that match the pattern `parts`, in no particular order, each once.

    Hidden names are never matched. `**` does not follow linked folders, so that it ends.

    Raises:
        ScanLimitError: More than `max_entries` directory entries would have to be looked at.
    """
    return _Walk(max_entries).files(folder, tuple(parts))


def is_folder(entry: os.DirEntry[str], *, follow_links: bool = True) -> bool:
    """Whether a directory entry is a folder; one that leads in circles, or cannot be looked at, is none."""
    try:
        return entry.is_dir(follow_symlinks=follow_links)
    except OSError:
        return False


class _Walk:
    def __init__(self, max_entries: int) -> None:
        self._left = max_entries
        self._seen: set[tuple[Path, tuple[str, ...]]] = set()

    def files(self, folder: Path, parts: tuple[str, ...]) -> Iterator[Path]:
        if (folder, parts) in self._seen:
            return
        self._seen.add((folder, parts))
        first, rest = parts[0], parts[1:]
        if first == "**":
            yield from self._any_depth(folder, rest)
            return
        fits = re.compile(translate(os.path.normcase(first))).match
        for entry in self._visible(folder):
            if not fits(os.path.normcase(entry.name)):
                continue
            if rest and is_folder(entry):
                yield from self.files(folder / entry.name, rest)
            elif not rest and not is_folder(entry):
                yield folder / entry.name

    def _any_depth(self, folder: Path, rest: tuple[str, ...]) -> Iterator[Path]:
        yield from self.files(folder, rest or ("*",))
        for entry in self._visible(folder):
            if is_folder(entry, follow_links=False):
                yield from self.files(folder / entry.name, ("**", *rest))

    def _visible(self, folder: Path) -> list[os.DirEntry[str]]:
        """The folder's entries without hidden ones; a folder that cannot be listed has none."""
        try:
            with os.scandir(folder) as entries:
                found = list(entries)
        except OSError:
            return []
        self._left -= len(found)
        if self._left < 0:
            raise ScanLimitError
        return [entry for entry in found if not entry.name.startswith(".")]


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
