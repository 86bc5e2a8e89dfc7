"""The languages that clients' configs are written in, edited so that everything but our entry stays byte for byte.

JSON: comments and trailing commas are blanked out, so that the standard parser's positions are those in the file. TOML:
a table is appended as text and cut out by its lines; libraries lose comments between our table and the next one. YAML:
PyYAML says where things are. Every edit is proved before anyone sees it, by reading the result.
"""

from __future__ import annotations

import json
import re
import tomllib
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yaml.nodes import MappingNode, Node

T = TypeVar("T")


@dataclass(eq=False)
class ParseError(Exception):
    """A text is not of its format; says where, counted from 1, as far as that is known."""

    reason: str
    line: int = 0
    column: int = 0


class EditError(Exception):
    """A text is sound, but laid out in a way that cannot be edited safely; says how."""


def edited(written_in: Format, text: str, path: Sequence[str | int], value: Any = None) -> str:
    """`text` with `value` at `path`, or without what is there, and otherwise as it was.

    Raises:
        ParseError: `text` is not of its format.
        EditError: It cannot be done, or not without touching something else.
    """
    before = written_in.read(text)
    try:
        result = written_in.take(text, path) if value is None else written_in.put(text, path, value)
        after = written_in.read(result)
    except ParseError as error:
        raise EditError(f"after the edit it would not parse ({error.reason})") from None
    others = after if value is None else _without(after, path)
    done = value is None or entry(after, path) == value
    if not done or repr(_pruned(_without(before, path), path)) != repr(_pruned(others, path)):
        raise EditError("it is laid out in a way that cannot be edited without touching something else")
    return result


def entry(data: Any, path: Sequence[str | int]) -> Any:
    """What is at `path`, or `None`."""
    for name in path:
        if isinstance(data, list) and isinstance(name, int) and name < len(data):
            data = data[name]
        elif isinstance(data, dict):
            data = data.get(name)
        else:
            return None
    return data


def _pruned(data: dict[str, Any], path: Sequence[str | int]) -> dict[str, Any]:
    """`data` without the containers on the way to `path` that are empty."""
    for depth in range(len(path) - 1, 0, -1):
        if not entry(data, path[:depth]):
            data = _without(data, path[:depth])
    return data


def _without(data: dict[str, Any], path: Sequence[str | int]) -> dict[str, Any]:
    copy = deepcopy(data)
    holder = entry(copy, path[:-1])
    last = path[-1]
    if isinstance(holder, dict):
        holder.pop(last, None)
    elif isinstance(holder, list) and isinstance(last, int) and last < len(holder):
        del holder[last]
    return copy


_STRING = r'"(?:\\.|[^"\\\n])*"'
_COMMENT = re.compile(rf"{_STRING}|(?P<comment>//[^\r\n]*|/\*.*?\*/)", re.DOTALL)
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
    """The format, perhaps with `comments` and trailing commas."""

    comments: bool = False

    def read(self, text: str) -> dict[str, Any]:
        """The data. An empty file counts as an empty object; a `ParseError` for what is none."""
        plain = self._parsable(text)
        if not plain.strip():
            return {}
        try:
            data = json.loads(plain, parse_constant=_no_constant)
        except json.JSONDecodeError as error:
            hint = " (JSON has each backslash of a Windows path twice)" if "escape" in error.msg else ""
            raise ParseError(f"{error.msg}{hint}", error.lineno, error.colno) from None
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
        found = _item_named(container, path[depth])
        if found is not None:
            flat = "\n" not in text[container.open : container.close]
            new = json.dumps(value, ensure_ascii=False) if flat else _dumped_in(text, found, value)
            return text[: found.value] + new + text[found.end :]
        return self._inserted(text, container, path[depth], _nested(path[depth + 1 :], value))

    def take(self, text: str, path: Sequence[str | int]) -> str:
        if not self._parsable(text).strip():
            return text
        container, depth = self._descend(text, path)
        item = _item_named(container, path[depth])
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
            item = _item_named(container, name)
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


def _dumped_in(text: str, item: _Item, value: Any) -> str:
    return _dumped(value, _unit(text), _indent_at(text, item.start), "\r\n" if "\r\n" in text else "\n")


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


def _item_named(container: _Container, name: str | int) -> _Item | None:
    return _only([item for item in container.items if item.name == name], name)


def _only(found: list[T], name: str | int) -> T | None:
    """What is of that name. One that is there twice means something else to each program that reads it."""
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


_PLACE = re.compile(r"(.*?) \((?:at line (\d+), column (\d+)|at end of document)\)\Z", re.DOTALL)
_HEADER = re.compile(r"\s*\[")
_NOTHING = re.compile(r"\s*(#.*)?\s*\Z")


@dataclass(frozen=True)
class Toml:
    """The format."""

    def read(self, text: str) -> dict[str, Any]:
        """The data; a `ParseError` for what is not TOML."""
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


@dataclass(frozen=True)
class Yaml:
    """The format, for entries two levels deep: `extensions` and what it holds."""

    def read(self, text: str) -> dict[str, Any]:
        """The data. An empty file counts as an empty mapping; a `ParseError` for what is none."""
        root = _compose(text)
        if root is None:
            return {}
        try:
            data = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise _parse_error(error) from None
        if not isinstance(data, dict):
            raise ParseError("the file should hold names and values (`name: value`)")
        return data

    def put(self, text: str, path: Sequence[str | int], value: Any) -> str:
        """`text` with an entry at `path`, behind the others there."""
        outer, name = path
        text = self.take(text, path)
        newline = "\r\n" if "\r\n" in text else "\n"
        found = _find(_compose(text), outer)
        if found is None:
            start = text if not text or text.endswith("\n") else text + newline
            return start + _lines({outer: {name: value}}, 0, newline)
        key, holder = found
        if not isinstance(holder, yaml.MappingNode) or not holder.value:
            return _filled(text, key, holder, {name: value}, newline)
        if holder.flow_style:
            at = holder.start_mark.index + 1
            entry = yaml.safe_dump({name: value}, default_flow_style=True, sort_keys=False, width=10_000).strip()
            return f"{text[:at]}{entry[1:-1]}, {text[at:]}"
        at = _line_after(text, _end(holder))
        indent = holder.value[0][0].start_mark.column
        gap = "" if text[:at].endswith("\n") else newline
        return text[:at] + gap + _lines({name: value}, indent, newline) + text[at:]

    def take(self, text: str, path: Sequence[str | int]) -> str:
        outer, name = path
        found = _find(_compose(text), outer)
        if found is None or not isinstance(found[1], yaml.MappingNode):
            return text
        holder = found[1]
        pair = _pair(holder, name)
        if pair is None:
            return text
        key, value = pair
        if holder.flow_style:
            return _cut_flow(text, holder, holder.value.index(pair))
        start = text.rfind("\n", 0, key.start_mark.index) + 1
        if text[start : key.start_mark.index].strip():
            raise EditError(f"{outer} and {name} share a line")
        rest = text[:start] + text[_line_after(text, _end(value)) :]
        if len(holder.value) > 1:
            return rest
        colon = text.index(":", found[0].end_mark.index) + 1
        return f"{rest[:colon]} {{}}{rest[colon:]}"  # not null: the client wants a mapping there

    def snippet(self, path: Sequence[str | int], value: Any) -> str:
        outer, name = path
        return _lines({outer: {name: value}}, 0, "\n").rstrip("\n")


def _compose(text: str) -> MappingNode | None:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise _parse_error(error) from None
    if root is not None and not isinstance(root, yaml.MappingNode):
        raise ParseError("the file should hold names and values (`name: value`)")
    return root


def _parse_error(error: Exception) -> ParseError:
    mark = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or str(error).partition("\n")[0] or "it is not YAML"
    return ParseError(reason, mark.line + 1 if mark else 0, mark.column + 1 if mark else 0)


def _find(root: MappingNode | None, name: str | int) -> tuple[Node, Node] | None:
    if root is None:
        return None
    if root.flow_style:
        raise EditError("the whole file is written in { }")
    return _pair(root, name)


def _pair(mapping: MappingNode, name: str | int) -> tuple[Node, Node] | None:
    return _only([(key, value) for key, value in mapping.value if key.value == name], name)


def _filled(text: str, key: Node, holder: Node, entry: dict[Any, Any], newline: str) -> str:
    """`text` with the empty value of `key` replaced by `entry`."""
    if holder.value and holder.tag != "tag:yaml.org,2002:null":
        raise EditError(f"{key.value} should hold entries, but does not")
    text = text[: holder.start_mark.index].rstrip(" ") + text[holder.end_mark.index :]
    at = _line_after(text, key.end_mark.index)
    gap = "" if text[:at].endswith("\n") else newline
    return text[:at] + gap + _lines(entry, key.start_mark.column + 2, newline) + text[at:]


def _cut_flow(text: str, holder: MappingNode, index: int) -> str:
    pairs = holder.value
    start, end = pairs[index][0].start_mark.index, pairs[index][1].end_mark.index
    if index + 1 < len(pairs):
        end = pairs[index + 1][0].start_mark.index
    elif index:
        start = pairs[index - 1][1].end_mark.index
    return text[:start] + text[end:]


def _end(node: Node) -> int:
    """Where the last character of `node` is; PyYAML puts the end of a block behind what follows it."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style and node.value:
        return _end(node.value[-1][1])
    if isinstance(node, yaml.SequenceNode) and not node.flow_style and node.value:
        return _end(node.value[-1])
    return int(node.end_mark.index)


def _line_after(text: str, at: int) -> int:
    """The beginning of the first line that begins at or after `at`."""
    if at == 0 or text[at - 1] == "\n":
        return at
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


def _lines(entry: dict[Any, Any], indent: int, newline: str) -> str:
    dumped = yaml.safe_dump(entry, sort_keys=False, allow_unicode=True, width=10_000)
    return "".join(f"{' ' * indent}{line}{newline}" for line in dumped.splitlines())


Format = Json | Toml | Yaml
