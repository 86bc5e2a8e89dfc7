"""Which local files may be read: the one place that turns text into a path.

A path is accepted when, with every link resolved, it is a readable, non-empty regular file inside an allowed folder
and no part of it below that folder is hidden. Whether a file outside exists is never told.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import translate
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from kubeez_mcp_local.disk import exact_handle, is_windows_path
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.settings import current_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class FileTooLargeError(InvalidArgumentError):
    """The file is larger than the API takes."""

    code = "file_too_large"


def unreadable(argument: str, path: Path, reason: str) -> InvalidArgumentError:
    """The file exists but this process may not read it."""
    message = f"{path} cannot be read: {reason}."
    return InvalidArgumentError(argument, message, next_step="Check its permissions.", code="file_unreadable")


def _malformed(argument: str, message: str, next_step: str = "") -> InvalidArgumentError:
    """The text is not a path on this machine."""
    return InvalidArgumentError(argument, message, next_step=next_step, code="malformed_path")


def _missing(argument: str, path: Path, near: Sequence[str], detail: str) -> InvalidArgumentError:
    """There is no such file in an allowed folder."""
    hint = f" Similar names there: {', '.join(near)}." if near else ""
    step = "Use one of these names." if near else "Check the path; relative ones start at the working folder."
    message = f"there is no file {path}.{detail}{hint}"
    return InvalidArgumentError(argument, message, next_step=step, code="file_not_found")


def _not_a_file(argument: str, path: Path, mode: int) -> InvalidArgumentError:
    """The path is a folder, a device, a pipe or a socket."""
    kinds = (
        (stat.S_ISDIR, "a folder", f"Name a file in it, or use a pattern such as {path.name}/*.png."),
        (stat.S_ISFIFO, "a pipe", ""),
        (stat.S_ISSOCK, "a socket", ""),
        (stat.S_ISCHR, "a device", ""),
        (stat.S_ISBLK, "a device", ""),
    )
    found = ((what, step) for test, what, step in kinds if test(mode))
    what, step = next(found, ("not a regular file", ""))
    message = f"{path} is {what}, not a file."
    return InvalidArgumentError(argument, message, next_step=step or "Name a regular file.", code="not_a_file")


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_WILDCARD = re.compile(r"[*?\[]")
_MAX_LENGTH = 4096


def absolute_path(text: str, working_dir: Path | None, *, argument: str, windows: bool = os.name == "nt") -> Path:
    """The absolute path that `text` writes, links unresolved and `..` kept.

    Args:
        text: A path, `~/…`, or a file:// URL; surrounding space and quotes, as left by copying, are dropped.
        working_dir: Where relative paths start; `None` where that folder is gone.
        windows: Whether drive letters and backslashes mean something here.

    Raises:
        InvalidArgumentError: Empty, too long, control characters, another machine, or another system's path.
    """
    cleaned = text.strip()
    if len(cleaned) >= 2 and cleaned[0] == cleaned[-1] and cleaned[0] in "\"'":
        cleaned = cleaned[1:-1]
    if not cleaned:
        raise _malformed(argument, "the path is empty.", "Give a file's path or an https URL.")
    _refuse_odd_text(cleaned, argument)
    if working_dir is not None and not windows and re.match("~[^/]|file:", cleaned, re.IGNORECASE):
        literal = working_dir / cleaned
        if os.path.lexists(literal):
            return literal
    if cleaned.lower().startswith("file:"):
        cleaned = _from_file_url(cleaned, argument, windows=windows)
        _refuse_odd_text(cleaned, argument)
    if not windows and is_windows_path(cleaned):
        raise _malformed(
            argument,
            f"{cleaned} is a Windows path, but this server runs on another system.",
            "Use the path as this system sees it; under WSL, C:\\ is /mnt/c/.",
        )
    if windows and ":" in re.sub(r"^[A-Za-z]:", "", cleaned):
        raise _malformed(argument, f"{cleaned} names a data stream inside a file, not a file.")
    try:
        path = Path(cleaned).expanduser()
    except RuntimeError:
        raise _malformed(argument, f"{cleaned} names a home folder that does not exist.") from None
    if path.is_absolute() or working_dir is not None:
        return path if working_dir is None else working_dir / path
    where = "and the folder in which this server was started is gone"
    raise _malformed(argument, f"{cleaned} is relative, {where}.", "Give the whole path.")


def _refuse_odd_text(text: str, argument: str) -> None:
    if odd := _CONTROL.search(text):
        raise _malformed(
            argument,
            f"the path {text!r:.200} holds the control character {odd.group()!r}.",
            "Remove it; line breaks and tabs often come from copying.",
        )
    try:
        length = len(os.fsencode(text))
    except UnicodeEncodeError:
        raise _malformed(argument, f"the path {text!r:.200} is not valid text.") from None
    if length > _MAX_LENGTH:
        raise _malformed(argument, f"the path has {length} bytes; at most {_MAX_LENGTH} are possible.")


def _from_file_url(url: str, argument: str, *, windows: bool) -> str:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost", "127.0.0.1"):
        raise _malformed(
            argument,
            f"{url} points at another machine ({parts.netloc}).",
            "Copy the file to this machine and pass its path.",
        )
    path = unquote(url[5:].removeprefix(f"//{parts.netloc}"))
    if re.match(r"^/[A-Za-z]:" if windows else r"^/[A-Za-z]:[\\/]", path):
        return path[1:]
    return path


def _spelled_otherwise(text: str) -> list[str]:
    """What a text may mean that names no file as it stands: dragged into a terminal, or copied from a browser."""
    shell = re.sub(r"\\(.)", r"\1", text) if os.name != "nt" else text
    return [other for other in dict.fromkeys((shell, unquote(text), unquote(shell))) if other != text]


def _reads_as(name: str) -> str:
    """The name without what cannot be seen of it: how its characters are composed, and which space it is."""
    return unicodedata.normalize("NFKC", name)


def _as_on_disk(path: Path) -> Path | None:
    """The path with each name as it is on disk; `None` where none reads the same, or several do."""
    found = Path(path.anchor)
    for part in path.parts[1:]:
        names = [part]
        if not os.path.lexists(found / part):
            visible = (each.name for each in _entries(found, _NAMES_LOOKED_AT) if not each.name.startswith("."))
            names = [name for name in visible if _reads_as(name) == _reads_as(part)]
        if len(names) != 1:
            return None
        found /= names[0]
    return found


MAX_ENTRIES = 200_000
"""How many directory entries one pattern may look at before it counts as too wide."""


class ScanLimitError(Exception):
    """The pattern covers too much of the disk."""


def natural_order(path: Path) -> list[list[tuple[int, int, str]]]:
    """A sort key under which numbers count by value: `shot2` comes before `shot10`."""
    names = (re.findall(r"\d+|\D+", name) for name in path.parts)
    return [[(0, int(each), "") if each.isdecimal() else (1, 0, each.casefold()) for each in name] for name in names]


def is_folder(entry: os.DirEntry[str], *, follow_links: bool = True) -> bool:
    """Whether a directory entry is a folder; one that leads in circles, or cannot be looked at, is none."""
    try:
        return entry.is_dir(follow_symlinks=follow_links)
    except OSError:
        return False


@dataclass
class _Walk:
    """Files that match a pattern, in no particular order, each once.

    Hidden names are never matched. `**` does not follow linked folders, so that it ends.

    Attributes:
        left: How many directory entries may be looked at; a `ScanLimitError` is raised then.
    """

    left: int = MAX_ENTRIES
    _seen: set[tuple[Path, tuple[str, ...]]] = field(default_factory=set)

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
        """The folder's entries without hidden ones."""
        found = _entries(folder, self.left + 1)
        self.left -= len(found)
        if self.left < 0:
            raise ScanLimitError
        return [entry for entry in found if not entry.name.startswith(".")]


MAX_UPLOAD_BYTES = 500 * 1024 * 1024
"""The API's limit for one file (Kubeez documentation, "REST API model requirements": 500 MB)."""

_NAMES_LOOKED_AT = 20_000


class PathGuard:
    """Checks local paths against the folders the user allowed.

    Args:
        input_dirs: Absolute folders whose files may be read; they need not exist yet.
        working_dir: Where relative paths start; default the current folder.
    """

    def __init__(self, input_dirs: Sequence[Path], *, working_dir: Path | None = None) -> None:
        self._folders = tuple(dict.fromkeys(input_dirs))
        self._allowed = ", ".join(str(folder) for folder in self._folders) or "none"
        self._working_dir = working_dir or current_folder()

    def check(self, text: str, *, argument: str) -> Path:
        """The resolved path of an allowed, readable, non-empty file of at most `MAX_UPLOAD_BYTES`.

        Takes absolute and relative paths, `~`, and file:// URLs. Names that differ from those on disk only in how
        their characters are composed or spaced (macOS screenshots) find that file, and so do `\\ ` and `%20`.

        Raises:
            InvalidArgumentError: With the code of the reason; a file above the limit as `FileTooLargeError`.
        """
        try:
            return self._checked(text, argument)
        except InvalidArgumentError:
            for other in _spelled_otherwise(text):
                with suppress(InvalidArgumentError):
                    return self._checked(other, argument)
            raise

    def contained(self, path: Path, *, argument: str) -> Path:
        """`path` with every link resolved; whether there is anything, and how large, is not looked at.

        Raises:
            InvalidArgumentError: It lies in no allowed folder, or in a hidden one below.
        """
        return self._contained(path, argument)

    def names_a_file(self, text: str) -> bool:
        """Whether a file has that very name, whatever else it looks like."""
        return self._working_dir is not None and os.path.lexists(self._working_dir / text)

    def _checked(self, text: str, argument: str) -> Path:
        named = self._below_own_folder(absolute_path(text, self._working_dir, argument=argument))
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
            InvalidArgumentError: More than `limit` files match, or none, or the pattern's folder, or any matching
                file, is not allowed or not usable.
        """
        named = absolute_path(pattern, self._working_dir, argument=argument)
        if not _WILDCARD.search(pattern) or os.path.lexists(named):
            return [self.check(pattern, argument=argument)]
        fixed = next(each for each in named.parents if os.path.isdir(each) or not _WILDCARD.search(str(each)))  # noqa: PTH112 - never raises
        self._contained(fixed, argument)
        too_many = InvalidArgumentError(
            argument,
            f"{pattern} stands for more than {limit} files.",
            next_step=f"Narrow the pattern, or pass at most {limit} at a time.",
            code="too_many_files",
        )
        try:
            found = list(islice(_Walk().files(fixed, named.relative_to(fixed).parts), limit + 1))
        except ScanLimitError:
            raise too_many from None
        if len(found) > limit:
            raise too_many
        if not found:
            detail = f" No file in {fixed} matches." if fixed.is_dir() else f" There is no folder {fixed} either."
            raise _missing(argument, named, _near(named), detail)
        return [self.check(str(path), argument=argument) for path in sorted(found, key=natural_order)]

    def _contained(self, named: Path, argument: str) -> Path:
        """Resolve every link and prove that the target lies in an allowed folder, with nothing hidden below it."""
        resolved = Path(os.path.realpath(named))
        folders = [(folder, Path(os.path.realpath(folder))) for folder in self._folders]
        homes = [bases for bases in folders if resolved.is_relative_to(bases[1])]
        if not homes:
            lexical = Path(os.path.normpath(named))
            inside_by_name = any(lexical.is_relative_to(base) for bases in folders for base in bases)
            via = f" leads to {resolved}, which" if inside_by_name else ""
            raise InvalidArgumentError(
                argument,
                f"{named}{via} is outside the folders that may be read: {self._allowed}.",
                next_step="Copy the file into one of them, or add its folder to the KUBEEZ_INPUT_DIRS setting.",
                code="path_outside_allowed_folders",
            )
        hidden = [_hidden_part(resolved, bases[1]) or _hidden_by_name(named, bases) for bases in homes]
        if all(hidden):
            raise InvalidArgumentError(
                argument,
                f"{named} passes through {hidden[0]!r}, which is hidden; hidden files and folders are not read. "
                f"Folders that may be read: {self._allowed}.",
                next_step="Copy the file elsewhere, or name the hidden folder itself in KUBEEZ_INPUT_DIRS.",
                code="hidden_path",
            )
        return resolved

    def _check_file(self, path: Path, argument: str) -> None:
        """Prove by opening it that the path is a readable regular file of a usable size; never blocks on a pipe."""
        try:
            handle = exact_handle(path)
        except FileNotFoundError:
            raise
        except NotADirectoryError:
            raise _missing(argument, path, (), " A part of its path is a file.") from None
        except OSError as error:
            raise _not_opened(argument, path, error) from None
        try:
            status = os.fstat(handle)
        finally:
            os.close(handle)
        if not stat.S_ISREG(status.st_mode):
            raise _not_a_file(argument, path, status.st_mode)
        if status.st_size == 0:
            message = f"{path} is empty (0 bytes)."
            raise InvalidArgumentError(argument, message, next_step="Save or download it again.", code="file_empty")
        if status.st_size > MAX_UPLOAD_BYTES:
            has, most = (f"{size / 1024**2:,.0f} MB" for size in (status.st_size, MAX_UPLOAD_BYTES))
            raise FileTooLargeError(
                argument,
                f"{path} has {has}; at most {most} can be uploaded.",
                next_step="Shorten, scale down or compress it first; trim_video cuts a part out of a video.",
            )

    def _below_own_folder(self, named: Path) -> Path:
        """The same path, its beginning spelled as the allowed folder it reads as."""
        for folder in self._folders:
            beginning, rest = named.parts[: len(folder.parts)], named.parts[len(folder.parts) :]
            if beginning != folder.parts and list(map(_reads_as, beginning)) == list(map(_reads_as, folder.parts)):
                return named if os.path.lexists(named) else folder.joinpath(*rest)
        return named

    def _composed_otherwise(self, named: Path, argument: str) -> Path:
        """The one file whose path reads the same, or the error that names similar ones."""
        alike = _as_on_disk(named)
        if alike is not None and alike != named:
            return self._contained(alike, argument)
        if named.is_symlink():
            raise _missing(argument, named, (), f" It is a link to {named.readlink()}, which is gone.")
        detail = "" if named.parent.is_dir() else f" There is no folder {named.parent} either."
        raise _missing(argument, named, _near(named), detail)


def _hidden_part(path: Path, root: Path) -> str | None:
    """The first part of `path` below `root` that is hidden, by its dot or by the system's flag."""
    below = root
    for part in path.relative_to(root).parts:
        below = below / part
        if part.startswith(".") or _hidden_by_system(below):
            return part
    return None


def _hidden_by_name(named: Path, bases: tuple[Path, Path]) -> str | None:
    """A hidden part in the path as it was written: a visible file must not be reached through a hidden link."""
    for base in bases:
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


def _not_opened(argument: str, path: Path, error: OSError) -> InvalidArgumentError:
    """A folder cannot be opened on Windows, nor a socket anywhere: say what it is rather than that it failed."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        mode = stat.S_IFREG
    if not stat.S_ISREG(mode):
        return _not_a_file(argument, path, mode)
    if isinstance(error, PermissionError):
        return unreadable(argument, path, "permission denied")
    return unreadable(argument, path, error.strerror or type(error).__name__)


def _entries(folder: Path, most: int) -> list[os.DirEntry[str]]:
    """What lies in `folder`, looked at up to `most`; nothing when it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return list(islice(entries, most))
    except OSError:
        return []


def _names_in(folder: Path) -> list[str]:
    """Names of the visible files in `folder`."""
    entries = _entries(folder, _NAMES_LOOKED_AT)
    return [entry.name for entry in entries if not entry.name.startswith(".") and not is_folder(entry)]


def _near(path: Path) -> list[str]:
    names = _names_in(path.parent)
    by_fold: dict[str, str] = {name.casefold(): name for name in names}
    close = get_close_matches(path.name.casefold(), by_fold, n=3, cutoff=0.6)
    same_stem = [name for name in names if Path(name).stem.casefold() == path.stem.casefold()]
    return list(dict.fromkeys([*(by_fold[name] for name in close), *same_stem]))[:3]
