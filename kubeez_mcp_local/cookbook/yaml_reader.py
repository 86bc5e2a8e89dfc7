"""Reads untrusted YAML front matter into plain values, remembering the line of every field.

Stricter than YAML itself: no anchors, aliases, tags or second documents, and limits on depth and size, so that a small
file cannot grow large in memory. Plain scalars follow the YAML 1.2 core schema: `16:9` and `no` stay text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from kubeez_mcp_local.cookbook.scalars import MAX_DEPTH, YamlProblem, plain
from kubeez_mcp_local.text import has_half_character

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubeez_mcp_local.cookbook.scalars import FieldPath

try:
    from yaml._yaml import CParser as Parser
except ImportError:  # PyYAML was built without libyaml: slower, otherwise the same
    from yaml import Loader as Parser  # type: ignore[assignment]

MAX_VALUES = 5_000


class _Reader:
    def __init__(self, text: str) -> None:
        self.next: Callable[[], Any] = Parser(text).get_event
        self.lines: dict[FieldPath, int] = {}
        self.values = 0
        self.escapes = "\\" in text  # what is no escape has come through UTF-8

    def document(self) -> Any:
        event = self.next()
        while isinstance(event, (StreamStartEvent, DocumentStartEvent)):
            event = self.next()
        if isinstance(event, StreamEndEvent):
            return None
        value = self.value(event, ())
        event = self.next()
        if isinstance(event, DocumentEndEvent):
            event = self.next()
        if not isinstance(event, StreamEndEvent):
            raise YamlProblem(_line(event), (), "the front matter holds more than one YAML document")
        return value

    def value(self, event: Any, path: FieldPath) -> Any:
        self.values += 1
        if self.values > MAX_VALUES:
            raise YamlProblem(_line(event), path, f"more than {MAX_VALUES:,} values")
        kind = type(event)
        if kind is AliasEvent or event.anchor is not None:
            raise YamlProblem(_line(event), path, "YAML anchors (&) and aliases (*) are not allowed; write it out")
        if event.tag is not None:
            raise YamlProblem(_line(event), path, f"YAML tags such as {event.tag!r} are not allowed")
        if kind is ScalarEvent:
            self.check_characters(event, path)
            return plain(event.value) if event.implicit[0] else event.value
        if len(path) >= MAX_DEPTH:
            raise YamlProblem(_line(event), path, f"nested more than {MAX_DEPTH} levels deep")
        return self.mapping(path) if kind is MappingStartEvent else self.sequence(path)

    def mapping(self, path: FieldPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while type(event := self.next()) is not MappingEndEvent:
            if type(event) is not ScalarEvent or event.anchor is not None or event.tag is not None:
                raise YamlProblem(_line(event), path, "every key must be plain text")
            self.check_characters(event, path)
            key = event.value
            inner = (*path, key)
            if key in found:
                raise YamlProblem(_line(event), inner, "given twice")
            self.lines[inner] = _line(event)
            found[key] = self.value(self.next(), inner)
        return found

    def check_characters(self, event: Any, path: FieldPath) -> None:
        if self.escapes and has_half_character(event.value):
            raise YamlProblem(_line(event), path, "holds half a character (an escape such as \\ud800)")

    def sequence(self, path: FieldPath) -> list[Any]:
        found: list[Any] = []
        while type(event := self.next()) is not SequenceEndEvent:
            inner = (*path, len(found))
            self.lines[inner] = _line(event)
            found.append(self.value(event, inner))
        return found


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def read_yaml(text: str) -> tuple[Any, dict[FieldPath, int]]:
    """Parse `text`; returns the value and the line (from 1) of each field.

    Raises:
        YamlProblem: Syntax, size, depth, duplicate keys, anchors, aliases or tags.
    """
    reader = _Reader(text)
    try:
        return reader.document(), reader.lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = " ".join(str(part) for part in (error.context, error.problem) if part)
        if mark and text.split("\n")[mark.line].startswith("\t"):
            reason = "indent with spaces; tabs are not allowed"
        raise YamlProblem(mark.line + 1 if mark else 1, (), f"not valid YAML: {reason}") from None
    except yaml.YAMLError as error:
        raise YamlProblem(1, (), f"not valid YAML: {error}") from None
