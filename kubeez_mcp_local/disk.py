"""Files on this disk: opened where they were found and nowhere else, written whole or not at all, named once. And which
folders are the system's."""

from __future__ import annotations

import errno
import filecmp
import os
import re
import secrets
import stat
import time
from contextlib import contextmanager
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

_MOST_NAMES = 10_000

_QUIETLY = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOCTTY", 0)
_REPARSE_TAGS = (0xA000_000C, 0xA000_0003)
"""Windows' symbolic links and junctions (`IO_REPARSE_TAG_SYMLINK`, `_MOUNT_POINT`)."""
BINARY = getattr(os, "O_BINARY", 0)
"""For `os.open`: Windows writes other line breaks than it is given, unless it is told not to."""
_PAUSES = (0.01, 0.05, 0.2, 0.7) if os.name == "nt" else ()


def open_exactly(path: Path) -> BinaryIO:
    """The regular file at `path` itself, for reading: no part of the path may be a link.

    Whoever resolved a path and decided about it opens it with this, so that nothing put there meanwhile can lead
    elsewhere.

    Raises:
        OSError: It cannot be opened; `ELOOP` or `ENOTDIR` where a part is a link, `EINVAL` where it is no regular file.
    """
    file = open(str(path), "rb", opener=lambda _path, _flags: exact_handle(path))  # noqa: SIM115 - takes an opener
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def exact_handle(path: Path) -> int:
    """A descriptor of what is at `path` itself, as `open_exactly`; also of a pipe or a folder, without waiting."""
    flags = os.O_RDONLY | _QUIETLY | BINARY
    if no_links := getattr(os, "O_NOFOLLOW_ANY", 0):  # macOS
        return os.open(path, flags | no_links)
    if path_only := getattr(os, "O_PATH", 0):  # Linux
        return _opened_part_by_part(path, flags | os.O_NOFOLLOW, path_only | os.O_NOFOLLOW | os.O_DIRECTORY)
    return _opened_and_compared(path, flags | getattr(os, "O_NOFOLLOW", 0))


def _opened_part_by_part(path: Path, flags: int, folder_flags: int) -> int:
    anchor, *parts = os.path.abspath(path).split(os.sep)  # noqa: PTH100, PTH206 - resolves nothing
    folder = os.open(anchor or os.sep, folder_flags)
    try:
        for part in parts[:-1]:
            above, folder = folder, os.open(part, folder_flags, dir_fd=folder)
            os.close(above)
        return os.open(parts[-1] or ".", flags, dir_fd=folder)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(folder)


def _opened_and_compared(path: Path, flags: int) -> int:
    """Where the system cannot refuse links by itself: what was opened must be what is there without any link."""
    handle = os.open(path, flags)
    try:
        if any(_is_link(each) for each in (path, *path.parents)) or not os.path.samestat(
            os.fstat(handle), path.lstat()
        ):
            raise OSError(errno.ELOOP, "it is reached through a link", str(path))
    except OSError:
        os.close(handle)
        raise
    return handle


def _is_link(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISLNK(status.st_mode) or getattr(status, "st_reparse_tag", 0) in _REPARSE_TAGS


def part_beside(target: Path) -> Path:
    """A name beside `target`, hidden and never used before, for a file that is still being written."""
    return target.with_name(f".kubeez-{secrets.token_hex(8)}.part")


@contextmanager
def replacing(target: Path, *, mode: int = 0o600) -> Iterator[BinaryIO]:
    """A file that takes the place of `target` in one step when the block ends, and is gone when it raises."""
    part = part_beside(target)
    try:
        with open(part, "xb", opener=lambda path, flags: os.open(path, flags | BINARY, mode)) as file:
            yield file
        _patiently(lambda: part.replace(target))
    finally:
        _patiently(lambda: part.unlink(missing_ok=True))


def _patiently(act: Callable[[], object], sleep: Callable[[float], None] = time.sleep) -> None:
    """`act`, which Windows does not allow as long as another program, such as a scanner, has the file open."""
    for seconds in _PAUSES:
        try:
            act()
        except PermissionError:
            sleep(seconds)
        else:
            return
    act()


def replace_file(target: Path, content: str | bytes) -> None:
    """Write `content` (text as UTF-8) as `target`, whose folders are made, in one step."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def give_name(part: Path, target: Path) -> None:
    """Give a finished file its name in one step, never over another file.

    Raises:
        FileExistsError: The name is taken.
        OSError: The disk refuses.
    """
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:
        # No hard links here (exFAT, some network folders).
        if target.exists():
            raise FileExistsError(errno.EEXIST, "exists", str(target)) from None
        _patiently(lambda: part.replace(target))
    else:
        _patiently(lambda: part.unlink(missing_ok=True))


def give_free_name(part: Path, stem: str, extension: str, others: Collection[Path] | None = None) -> Path:
    """Give a finished file the first free name of `stem`, `stem-2`, … in its folder.

    With `others`, a file of that name that holds the same already is the one, unless it is among them: a process that
    was killed between publishing it and noting it somewhere left it.
    """
    for number in range(1, _MOST_NAMES):
        target = part.with_name(f"{stem}{'' if number == 1 else f'-{number}'}{extension}")
        try:
            give_name(part, target)
        except FileExistsError:
            known = others is None or target in others or not target.exists()
            if not known and filecmp.cmp(part, target, shallow=False):
                part.unlink()
                return target
            continue
        return target
    raise FileExistsError(errno.EEXIST, "every name is taken", stem)


_SYSTEM = tuple(
    PurePosixPath(f"/{name}")
    for name in (
        *("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libexec", "opt", "proc", "run", "sbin", "snap", "sys"),
        *("usr", "var", "nix", "System", "Library", "Applications", "Network", "cores", "private", "rescue"),
    )
)
_OPEN = (
    *("/opt/*", "/run/media/*/*", "/usr/home/*", "/var/home/*", "/var/www/*"),
    *("/var/tmp", "/var/folders/*", "/private/tmp", "/private/var/folders/*", "/private/var/tmp"),  # noqa: S108
)
"""Folders of people and projects, and temporary ones, that lie within system folders."""
_HOLDERS = tuple(PurePosixPath(f"/{name}") for name in ("home", "Users", "Volumes", "media", "mnt", "srv"))
"""Folders that hold the homes of all people, or all drives."""
_WINDOWS = ("windows", "winnt", "program files", "program files (x86)", "programdata", "recovery", "perflogs")


def is_windows_path(text: str) -> bool:
    """Whether `text` is a whole path as Windows writes them."""
    return re.match(r"[A-Za-z]:[\\/]|\\\\", text) is not None


def is_system_folder(folder: PurePath, home: PurePath | None = None) -> bool:
    """Whether `folder`, absolute and of any system, is by its name a drive, the system's, or what holds every home.

    Args:
        home: Where people may read although it lies in such a folder.
    """
    if len(folder.parts) <= 1 or (home and home != folder and home.is_relative_to(folder)):
        return True
    if isinstance(folder, PureWindowsPath):
        first = folder.parts[1].casefold()
        return first in _WINDOWS or first.startswith("$") or (first == "users" and len(folder.parts) == 2)
    if folder.parts[1] == "mnt" and len(folder.parts) > 2 and len(folder.parts[2]) == 1:  # a drive under WSL
        return is_system_folder(PureWindowsPath(f"{folder.parts[2]}:/", *folder.parts[3:]))
    if folder in _HOLDERS:
        return True
    if not any(folder.is_relative_to(each) for each in _SYSTEM):
        return False
    return not any(each.match(pattern) for each in (folder, *folder.parents) for pattern in _OPEN)
