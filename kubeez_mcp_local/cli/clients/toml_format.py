"""TOML: a table is appended as text and cut out by its lines; the standard library's parser proves it right or wrong.

Libraries that keep comments were tried and lose those that stand between our table and the next one.
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.cli.clients.errors import EditError, ParseError

if TYPE_CHECKING:
    from collections.abc import Sequence

_PLACE = re.compile(r"(.*?) \((?:at line (\d+), column (\d+)|at end of document)\)\Z", re.DOTALL)
_HEADER = re.compile(r"\s*\[")
_NOTHING = re.compile(r"\s*(#.*)?\s*\Z")


@dataclass(frozen=True)
class Toml:
    """The format."""

    language: str = "toml"

    def read(self, text: str) -> dict[str, Any]:
        """The data.

        Raises:
            ParseError: It is not TOML.
        """
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            place = _PLACE.match(str(error))
            if place is None:
                raise ParseError(str(error)) from None
            line = int(place[2]) if place[2] else text.count("\n") + 1
            raise ParseError(place[1], line, int(place[3] or 1)) from None
        except RecursionError:
            raise ParseError("it is nested too deeply") from None

    def put(self, text: str, path: Sequence[str | int], value: Any) -> str:
        """`text` with a table at `path`, at its end: there it is valid whatever comes before."""
        text = self.take(text, path)
        newline = "\r\n" if "\r\n" in text else "\n"
        if text and not text.endswith("\n"):
            text += newline
        gap = newline if text.strip() else ""
        return text + gap + self.snippet(path, value).replace("\n", newline) + newline

    def take(self, text: str, path: Sequence[str | int]) -> str:
        """`text` without the table at `path` and the tables in it. Comments behind it stay: they introduce the next."""
        ours = re.compile(r"\s*\[\s*" + r"\s*\.\s*".join(_key_pattern(name) for name in path) + r"\s*[.\]]")
        lines = text.splitlines(keepends=True)
        kept: list[str] = []
        here = 0
        while here < len(lines):
            if not ours.match(lines[here]):
                kept.append(lines[here])
                here += 1
                continue
            if kept and not kept[-1].strip():
                kept.pop()  # the blank line that sets our table apart
            here = _end_of_table(lines, here)
            if not kept and here < len(lines) and not lines[here].strip():
                here += 1
        return "".join(kept)

    def snippet(self, path: Sequence[str | int], value: Any) -> str:
        """A table as one would write it by hand."""
        if not isinstance(value, dict):
            raise EditError("only a table can be written there")
        header = f"[{'.'.join(map(str, path))}]"
        return "\n".join([header, *(f"{_key(name)} = {_written(one)}" for name, one in value.items())])


def _end_of_table(lines: list[str], header: int) -> int:
    """The line behind the last one that gives a value to the table which begins at `header`."""
    end = header + 1
    for here in range(header + 1, len(lines)):
        if _HEADER.match(lines[here]):
            break
        if not _NOTHING.match(lines[here]):
            end = here + 1
    return end


def _key_pattern(name: str | int) -> str:
    return rf"[\"']?{re.escape(str(name))}[\"']?"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(name)} = {_written(one)}" for name, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_written(one) for one in value) + "]"
    if isinstance(value, str | bool | int | float):
        return json.dumps(value, ensure_ascii=False)  # TOML's basic strings are JSON's
    return str(value)  # dates and times
