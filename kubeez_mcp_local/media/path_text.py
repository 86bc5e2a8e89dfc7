"""From what people and programs write for a path to an absolute path, before any question of permission."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kubeez_mcp_local.media.path_errors import MalformedPathError

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
