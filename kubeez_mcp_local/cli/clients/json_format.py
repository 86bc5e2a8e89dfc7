"""JSON, with comments and trailing commas where a client allows them: edited in place, byte for byte.

The standard library's parser does the reading. What it does not know is blanked out first, so that positions in the
blanked text are positions in the file. An edit touches the characters of one entry and a comma, nothing else.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.cli.clients.errors import EditError, ParseError

if TYPE_CHECKING:
    from collections.abc import Sequence

_STRING = r'"(?:\\.|[^"\\\n])*"'
_COMMENT = re.compile(rf"{_STRING}|(?P<comment>//[^\n]*|/\*.*?\*/)", re.DOTALL)
_SPARE_COMMA = re.compile(rf"{_STRING}|(?<![\[{{,:\s])(?P<before>\s*),(?=\s*[}}\]])")
_INDENT = re.compile(r'^([ \t]+)["\]}]', re.MULTILINE)
_decoder = json.JSONDecoder()


@dataclass(frozen=True)
class _Item:
    """A member or element; `start` is where its key begins (or the value, in an array)."""

    name: str | int
    start: int
    value: int
    end: int


@dataclass(frozen=True)
class _Container:
    """An object or array from its opening to its closing bracket."""

    open: int
    close: int
    items: tuple[_Item, ...]


@dataclass(frozen=True)
class Json:
    """The format.

    Attributes:
        comments: Whether comments and trailing commas are allowed.
    """

    comments: bool = False
    language: str = "json"

    def read(self, text: str) -> dict[str, Any]:
        """The data. An empty file counts as an empty object.

        Raises:
            ParseError: It is not JSON, or not an object.
        """
        plain = self._parsable(text)
        if not plain.strip():
            return {}
        try:
            data = json.loads(plain, parse_constant=_no_constant)
        except json.JSONDecodeError as error:
            raise ParseError(error.msg, error.lineno, error.colno) from None
        except (RecursionError, ValueError) as error:
            raise ParseError(f"it cannot be read ({error})") from None
        if not isinstance(data, dict):
            raise ParseError("the file should hold one object in { }")
        return data

    def put(self, text: str, path: Sequence[str | int], value: Any) -> str:
        """`text` with `value` at `path`; what is missing on the way is made. An index beyond an array appends."""
        if not self._parsable(text).strip():
            newline = "\r\n" if "\r\n" in text else "\n"
            head = text.rstrip() + newline if text.strip() else ""
            return head + _dumped(_nested(path, value), "  ", "", newline) + newline
        container, depth = self._descend(text, path)
        found = _find(container, path[depth])
        if found is not None:
            return text[: found.value] + _formatted(text, container, found, value) + text[found.end :]
        return self._inserted(text, container, path[depth], _nested(path[depth + 1 :], value))

    def take(self, text: str, path: Sequence[str | int]) -> str:
        """`text` without what is at `path`."""
        if not self._parsable(text).strip():
            return text
        container, depth = self._descend(text, path)
        item = _find(container, path[depth])
        if item is None or depth != len(path) - 1:
            return text
        index = container.items.index(item)
        commas = self._without_comments(text)
        comma = _after_blank(commas, item.end)
        if commas[comma] == ",":
            return _cut_with_comma(text, item.start, comma + 1)
        start = len(text[: item.start].rstrip())
        if index == 0:
            inside = text[container.open + 1 : start] + text[item.end : container.close]
            return text[: container.open + 1] + (inside if inside.strip() else "") + text[container.close :]
        comma = commas.index(",", container.items[index - 1].end)
        return text[:comma] + text[comma + 1 : start] + text[item.end :]

    def snippet(self, path: Sequence[str | int], value: Any) -> str:
        """A whole file that holds only `value`."""
        return _dumped(_nested(path, value), "  ", "", "\n")

    def _without_comments(self, text: str) -> str:
        return _COMMENT.sub(_blank_comment, text) if self.comments else text

    def _parsable(self, text: str) -> str:
        plain = self._without_comments(text)
        return _SPARE_COMMA.sub(_blank_comma, plain) if self.comments else plain

    def _descend(self, text: str, path: Sequence[str | int]) -> tuple[_Container, int]:
        """The innermost container there is on the way to `path`, and how deep it is."""
        plain = self._parsable(text)
        container = _container(plain, _after_blank(plain, 0))
        for depth, name in enumerate(path[:-1]):
            item = _find(container, name)
            if item is None:
                return container, depth
            if plain[item.value] != ("[" if isinstance(path[depth + 1], int) else "{"):
                raise EditError(f"{name} should hold entries, but does not")
            container = _container(plain, item.value)
        return container, len(path) - 1

    def _inserted(self, text: str, container: _Container, name: str | int, value: Any) -> str:
        newline = "\r\n" if "\r\n" in text else "\n"
        unit, outer = _unit(text), _indent_at(text, container.open)
        key = f"{json.dumps(name, ensure_ascii=False)}: " if isinstance(name, str) else ""
        if not container.items:
            inside = text[container.open + 1 : container.close].rstrip()
            entry = f"{newline}{outer}{unit}{key}{_dumped(value, unit, outer + unit, newline)}{newline}{outer}"
            return text[: container.open + 1] + inside + entry + text[container.close :]
        last = container.items[-1]
        spare = "," if "," in self._without_comments(text)[last.end : container.close] else ""
        anchor = last.end + len(text[last.end : container.close].rstrip())
        if "\n" in text[container.open : last.start]:
            indent = _indent_at(text, last.start)
            entry = f"{newline}{indent}{key}{_dumped(value, unit, indent, newline)}{spare}"
        else:
            entry = f" {key}{json.dumps(value, ensure_ascii=False)}{spare}"
        return text[: last.end] + ("" if spare else ",") + text[last.end : anchor] + entry + text[anchor:]


def _formatted(text: str, container: _Container, item: _Item, value: Any) -> str:
    if "\n" not in text[container.open : container.close]:
        return json.dumps(value, ensure_ascii=False)
    newline = "\r\n" if "\r\n" in text else "\n"
    return _dumped(value, _unit(text), _indent_at(text, item.start), newline)


def _container(plain: str, at: int) -> _Container:
    """The object or array that opens at `at` in a text known to be sound."""
    items: list[_Item] = []
    here = _after_blank(plain, at + 1)
    while plain[here] not in "}]":
        name: str | int = len(items)
        start = here
        if plain[at] == "{":
            name, end = _decoder.raw_decode(plain, here)
            here = _after_blank(plain, _after_blank(plain, end) + 1)
        _, end = _decoder.raw_decode(plain, here)
        items.append(_Item(name, start, here, end))
        here = _after_blank(plain, end)
        if plain[here] == ",":
            here = _after_blank(plain, here + 1)
    return _Container(at, here, tuple(items))


def _cut_with_comma(text: str, start: int, end: int) -> str:
    """`text` without an entry and the comma behind it; with its lines, if it has them for itself."""
    if text[end:].partition("\n")[0].strip():
        return text[:start] + text[end:].lstrip(" \t")
    return text[:start].rstrip() + text[end:]


def _find(container: _Container, name: str | int) -> _Item | None:
    """The item of that name. One that is there twice means something else to each program that reads it."""
    found = [item for item in container.items if item.name == name]
    if len(found) > 1:
        raise EditError(f"{name} is there twice")
    return found[0] if found else None


def _no_constant(name: str) -> Any:
    raise ParseError(f"{name} is not JSON")


def _blank_comment(match: re.Match[str]) -> str:
    return re.sub(r"[^\r\n]", " ", match[0]) if match["comment"] else match[0]


def _blank_comma(match: re.Match[str]) -> str:
    return match[0] if match["before"] is None else f"{match['before']} "


def _after_blank(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _nested(path: Sequence[str | int], value: Any) -> Any:
    for name in reversed(path):
        value = {name: value} if isinstance(name, str) else [value]
    return value


def _dumped(value: Any, unit: str, indent: str, newline: str) -> str:
    return json.dumps(value, indent=unit, ensure_ascii=False).replace("\n", newline + indent)


def _unit(text: str) -> str:
    found = _INDENT.search(text)
    return found[1] if found else "  "


def _indent_at(text: str, at: int) -> str:
    """The white space that the line of position `at` begins with."""
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip(" \t"))]
