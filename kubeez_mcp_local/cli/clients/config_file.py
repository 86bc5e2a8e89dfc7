"""A client's config on disk: read as it is, written whole or not at all, with a copy of what was there before."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kubeez_mcp_local.cli.clients.errors import BrokenConfigError, ConfigConflictError, UnwritableConfigError
from kubeez_mcp_local.disk import give_free_name, part_beside, replacing

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BYTES = 64 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_PRIVATE = 0o600


def _now() -> datetime:
    return datetime.now().astimezone()


@dataclass(frozen=True)
class ConfigFile:
    """A config as it was read.

    Attributes:
        path: Where it is; a symbolic link is followed, so that the file it points at is the one that is written.
        text: What it says; empty if there is no such file.
        raw: The same as bytes; `None` if there is no such file.
        mode: Its permissions; `None` if there is no such file.
    """

    path: Path
    text: str
    raw: bytes | None
    mode: int | None


def read_config(path: Path) -> ConfigFile:
    """The file at `path`, which need not exist.

    Raises:
        BrokenConfigError: It is no readable UTF-8 text.
    """
    try:
        path = path.resolve()
        raw, mode = path.read_bytes(), stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return ConfigFile(path, "", None, None)
    except (OSError, RuntimeError) as error:
        raise BrokenConfigError(path, f"it cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if len(raw) > MAX_BYTES:
        raise BrokenConfigError(path, f"it has {len(raw):,} bytes, which no config has")
    try:
        return ConfigFile(path, raw.removeprefix(_BOM).decode("utf-8"), raw, mode)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise BrokenConfigError(path, "it is not UTF-8 text", line=line, column=1) from None


def write_config(
    file: ConfigFile,
    text: str,
    *,
    private: bool = False,
    new_mode: int = _PRIVATE,
    clock: Callable[[], datetime] = _now,
) -> Path | None:
    """Put `text` in place of what `file` holds, atomically.

    Args:
        file: As it was read; a file that has changed since is not written.
        text: The new content.
        private: Make it readable by its owner alone, whatever it was before.
        new_mode: Permissions of a file that was not there.
        clock: Names the backup.

    Returns:
        The copy of what was there before, beside the file and readable by its owner alone; `None` for a new file.

    Raises:
        ConfigConflictError: The file changed since it was read.
        UnwritableConfigError: The folder or the disk refuses.
    """
    head = _BOM if (file.raw or b"").startswith(_BOM) else b""
    mode = new_mode if file.mode is None else file.mode
    backup = None
    try:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        backup = _backup(file, clock()) if file.raw is not None else None
        _replace(file, head + text.encode("utf-8"), _PRIVATE if private else mode)
    except (OSError, ConfigConflictError) as error:
        if backup is not None:
            backup.unlink(missing_ok=True)
        if isinstance(error, ConfigConflictError):
            raise
        raise UnwritableConfigError(
            f"{file.path} cannot be written: {error.strerror or error}. It is as it was.",
            next_step="Make its folder writable, or paste the entry that --print shows yourself.",
        ) from None
    return backup


def _backup(file: ConfigFile, now: datetime) -> Path:
    part = part_beside(file.path)
    try:
        with replacing(part) as copy:
            copy.write(file.raw or b"")
            copy.flush()
            os.fsync(copy.fileno())
        return give_free_name(part, f"{file.path.name}.{now:%Y%m%d-%H%M%S}", ".backup")
    finally:
        part.unlink(missing_ok=True)


def _replace(file: ConfigFile, content: bytes, mode: int) -> None:
    with replacing(file.path) as new:
        new.write(content)
        new.flush()
        os.fsync(new.fileno())
        Path(new.name).chmod(mode)
        _same_owner(file.path, Path(new.name))
        if _now_there(file.path) != file.raw:
            raise ConfigConflictError(
                f"{file.path} was changed by another program just now, and was left alone.",
                next_step="Close the client and try again.",
            )


def _same_owner(original: Path, copy: Path) -> None:
    """Keep the owner when somebody else, such as root, does the writing."""
    if hasattr(os, "chown") and original.exists():
        found = original.stat()
        with contextlib.suppress(PermissionError):
            os.chown(copy, found.st_uid, found.st_gid)


def _now_there(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
