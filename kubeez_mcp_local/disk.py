"""Files on this disk: opened where they were found and nowhere else."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path

_QUIETLY = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOCTTY", 0)
_REPARSE_TAGS = (0xA000_000C, 0xA000_0003)
"""Windows' symbolic links and junctions (`IO_REPARSE_TAG_SYMLINK`, `_MOUNT_POINT`)."""
_BINARY = getattr(os, "O_BINARY", 0)


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
    flags = os.O_RDONLY | _QUIETLY | _BINARY
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
