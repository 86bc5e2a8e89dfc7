"""YAML: PyYAML says where things are, and only the lines of one entry are touched, so that all others stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from kubeez_mcp_local.cli.clients.errors import EditError, ParseError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yaml.nodes import MappingNode, Node


@dataclass(frozen=True)
class Yaml:
    """The format, for entries two levels deep: `extensions` and what it holds."""

    language: str = "yaml"

    def read(self, text: str) -> dict[str, Any]:
        """The data. An empty file counts as an empty mapping.

        Raises:
            ParseError: It is not one YAML mapping.
        """
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
        """`text` without the entry at `path`."""
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
        """A whole file that holds only `value`."""
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
    """Key and value of that name. One that is there twice means something else to each program that reads it."""
    found = [(key, value) for key, value in mapping.value if key.value == name]
    if len(found) > 1:
        raise EditError(f"{name} is there twice")
    return found[0] if found else None


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
