"""The user's config file, in dotenv form: read as it was meant, changed without losing what else it says."""

from __future__ import annotations

import codecs
import io
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from kubeez_mcp_local.disk import replace_file
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.text import without_keys

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from dotenv.parser import Binding


class SettingsError(KubeezError):
    """A setting cannot be used; the message names it, its value and what is allowed."""

    code = "invalid_setting"


def variable(field: str) -> str:
    """The environment variable that sets `field`."""
    return f"KUBEEZ_{field.upper()}"


def variables_in(path: Path) -> Mapping[str, str | None]:
    """The variables in a file that is not ours, as they stand there, whatever else it holds; empty where there is none.

    Raises:
        SettingsError: It cannot be read.
    """
    if not os.path.isfile(path):  # noqa: PTH113 - raises nowhere; environments of Python are folders called so, too
        return {}
    return {line.key: _value_of(line) for line in _lines_of(path, errors="replace") if line.key is not None}


def decoded(content: bytes, errors: str = "strict") -> str:
    """The text of a file: UTF-8, or UTF-16 as PowerShell writes it, without the byte order mark."""
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if wide else "utf-8-sig", errors)


def read(path: Path, known: Collection[str]) -> Mapping[str, str | None]:
    """The variables in a config file, ours with their names in capitals; empty where there is no file.

    Args:
        known: Names of settings, such as `base_url`, which in a file of another form stand without their prefix.

    Raises:
        SettingsError: It cannot be read, or its settings are not in lines of the form `NAME=value`.
    """
    lines = _lines_of(path)
    values = {
        line.key.upper() if line.key.upper().startswith(_PREFIX) else line.key: _value_of(line)
        for line in lines
        if line.key is not None and line.value is not None
    }
    ours = any(name.startswith(_PREFIX) for name in values)
    for line in lines:
        if _is_meant_as_setting(line, ours, known):
            raise SettingsError(
                f"Line {line.original.line} of {path} is no setting: each is a line such as KUBEEZ_API_KEY=sk_live_…, "
                "not JSON, not YAML, and without a \\ before the closing quote.",
                next_step="Write it like that, or remove the line.",
            )
    return values


def write(path: Path, changes: Mapping[str, str | None], known: Collection[str]) -> None:
    """Set variables in a config file, or with `None` take them out; what else it says stays, comments too.

    Afterwards only its owner can read it (on Windows that is left to the folder it is in).

    Raises:
        SettingsError: It cannot be read or written, or holds something else than settings.
    """
    read(path, known)
    kept, left = [], dict(changes)
    for line in _lines_of(path):
        name, text = (line.key or "").upper(), line.original.string
        if name in changes:
            value, above = left.pop(name, None), _BLANK_LINES.match(text)
            text = (above[0] if above else "") + ("" if value is None else f"{name}={value}\n")
        kept.append(text)
    text = "".join(kept)
    text += "\n" if text and not text.endswith("\n") else ""
    text += "".join(f"{name}={value}\n" for name, value in left.items() if value is not None)
    try:
        if path.exists() and b"\r\n" in path.read_bytes():
            text = text.replace("\n", "\r\n")
        replace_file(Path(os.path.realpath(path)), text)
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be written: {error.strerror or error}.", next_step="Make its folder writable for yourself."
        ) from None


_PREFIX = variable("")
_BLANK_LINES = re.compile(r"\s*\n")


def _is_meant_as_setting(line: Binding, ours: bool, known: Collection[str]) -> bool:
    """Whether nothing would come of a line that means something; `ours`: there are settings in that file."""
    text = line.original.string.strip()
    if line.error or (line.key is not None and line.value is None and text != line.key):
        return not ours or "kubeez" in text.lower() or without_keys(text) != text
    if line.key is None or line.key.upper().startswith(_PREFIX):
        return False
    name = line.key.strip("\"':{").lower().replace("-", "_")
    return not ours and name in known and (name in ("api_key", "mcp_token") or line.value is None)


def _lines_of(path: Path, errors: str = "strict") -> list[Binding]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise OSError("it is no file")
        text = decoded(path.read_bytes(), errors).replace("\r\n", "\n")
    except (FileNotFoundError, NotADirectoryError):
        if not path.is_symlink():
            return []
        raise SettingsError(f"{path} is a link to nothing.", next_step="Mend or remove the link.") from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise SettingsError(f"{path} cannot be read: {why}.", next_step="Mend or remove it.") from None
    from dotenv.parser import parse_stream

    return list(parse_stream(io.StringIO(text)))


_QUOTED = re.compile(r"=\s*(?P<quote>[\"'])(?P<inside>.*)(?P=quote)", re.DOTALL)
_LONE_BACKSLASH = re.compile(r"(?<!\\)(?:\\\\)*\\(?![\\\"'])")


def _value_of(line: Binding) -> str | None:
    """The value as it was meant: of a quoted Windows path, `\\n` is no line break and `\\\\server` has two."""
    found = _QUOTED.search(line.original.string)
    return (
        found["inside"] if found and line.value is not None and _LONE_BACKSLASH.search(found["inside"]) else line.value
    )
