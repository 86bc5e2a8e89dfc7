"""Turns the text of a recipe file into a `Recipe`, or says exactly what is wrong with it, as a `RecipeError`.

Front matter is read stricter than YAML: no anchors, aliases, tags or second documents, limited depth and size, so that
a small file cannot grow large. Plain scalars follow the YAML 1.2 core schema: `16:9` and `no` stay text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import yaml
from pydantic import ValidationError
from yaml import events

from kubeez_mcp_local.cookbook.arguments import misfit
from kubeez_mcp_local.cookbook.format import (
    ARGUMENT_TYPES,
    LENGTHS,
    MAX_FILE_BYTES,
    VALUE_TYPES,
    Argument,
    Column,
    Expect,
    FrontMatter,
    MediaKind,
    Recipe,
    RecipeError,
    Step,
    Summary,
    dotted,
    near,
    nearest,
)
from kubeez_mcp_local.text import cut, has_half_character

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pydantic import BaseModel

    from kubeez_mcp_local.cookbook.format import FieldPath, Origin


MAX_DEPTH = 12
_WORDS: dict[str, Any] = dict.fromkeys(("", "~", "null", "Null", "NULL"))
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True) | dict.fromkeys(("false", "False", "FALSE"), False)
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}\Z")
_FRACTION = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,3})?\Z")


def _plain(text: str) -> Any:
    """The value of an unquoted scalar under the YAML 1.2 core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INTEGER.match(text):
        return int(text)
    return float(text) if _FRACTION.match(text) else text


try:
    from yaml._yaml import CParser as Parser
except ImportError:  # PyYAML was built without libyaml: slower, otherwise the same
    from yaml import Loader as Parser  # type: ignore[assignment]

MAX_VALUES = 5_000
_KEYS = 'every key must be plain text; a value with braces needs quotation marks: "{{ args.name }}"'


class _Reader:
    def __init__(self, text: str, file: str, first_line: int) -> None:
        self.file = file
        self.first_line = first_line
        self.next: Callable[[], Any] = Parser(text).get_event
        self.lines: dict[FieldPath, int] = {}
        self.values = 0
        self.escapes = "\\" in text  # what is no escape has come through UTF-8

    def document(self) -> Any:
        event = self.next()
        while isinstance(event, (events.StreamStartEvent, events.DocumentStartEvent)):
            event = self.next()
        if isinstance(event, events.StreamEndEvent):
            return None
        value = self.value(event, ())
        event = self.next()
        if isinstance(event, events.DocumentEndEvent):
            event = self.next()
        if not isinstance(event, events.StreamEndEvent):
            raise self.error(event, (), "the front matter holds more than one YAML document")
        return value

    def value(self, event: Any, path: FieldPath) -> Any:
        self.values += 1
        if self.values > MAX_VALUES:
            raise self.error(event, path, f"more than {MAX_VALUES:,} values")
        kind = type(event)
        if kind is events.AliasEvent or event.anchor is not None:
            raise self.error(event, path, "YAML anchors (&) and aliases (*) are not allowed; write it out")
        if event.tag is not None:
            raise self.error(event, path, f"YAML tags such as {event.tag!r} are not allowed")
        if kind is events.ScalarEvent:
            self.check_characters(event, path)
            return _plain(event.value) if event.implicit[0] else event.value
        if len(path) >= MAX_DEPTH:
            raise self.error(event, path, f"nested more than {MAX_DEPTH} levels deep")
        return self.mapping(path) if kind is events.MappingStartEvent else self.sequence(path)

    def mapping(self, path: FieldPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while type(event := self.next()) is not events.MappingEndEvent:
            if type(event) is not events.ScalarEvent or event.anchor is not None or event.tag is not None:
                raise self.error(event, path, _KEYS)
            self.check_characters(event, path)
            key = event.value
            inner = (*path, key)
            if key in found:
                raise self.error(event, inner, "given twice")
            self.lines[inner] = self.line(event)
            found[key] = self.value(self.next(), inner)
        return found

    def check_characters(self, event: Any, path: FieldPath) -> None:
        if self.escapes and has_half_character(event.value):
            raise self.error(event, path, "holds half a character (an escape such as \\ud800)")

    def sequence(self, path: FieldPath) -> list[Any]:
        found: list[Any] = []
        while type(event := self.next()) is not events.SequenceEndEvent:
            inner = (*path, len(found))
            self.lines[inner] = self.line(event)
            found.append(self.value(event, inner))
        return found

    def line(self, event: Any) -> int:
        return int(event.start_mark.line) + self.first_line

    def error(self, event: Any, path: FieldPath, reason: str) -> RecipeError:
        return RecipeError(self.file, self.line(event), dotted(path), reason)


def read_yaml(text: str, file: str, first_line: int = 1) -> tuple[Any, dict[FieldPath, int]]:
    """The value of a YAML text, which begins on `first_line` of the file, and the line of each field.

    Raises `RecipeError` for syntax, size, depth, duplicate keys, anchors, aliases or tags.
    """
    reader = _Reader(text, file, first_line)
    try:
        return reader.document(), reader.lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = " ".join(str(part) for part in (error.context, error.problem) if part)
        if mark and text.split("\n")[mark.line].startswith("\t"):
            reason = "indent with spaces; tabs are not allowed"
        elif unquoted := _unquoted(text.split("\n"), mark.line if mark else 0):
            at, reason = unquoted
            raise RecipeError(file, first_line + at, "", f"not valid YAML: {reason}") from None
        elif "quoted scalar" in reason:
            reason = "a quotation mark is not closed"
        elif "flow" in reason:
            reason = "a bracket or brace is not closed, or a text between them needs quotation marks"
        raise RecipeError(file, first_line + (mark.line if mark else 0), "", f"not valid YAML: {reason}") from None
    except yaml.YAMLError as error:
        raise RecipeError(file, first_line, "", f"not valid YAML: {error}") from None


_TEXT_VALUE = re.compile(r"(\s*(?:- )?[\w-]+:\s+|\s*- )([^\s\"'\[{|>#].*|\{\{.*|\[\[.*)\Z")
_STARTS_BADLY = "{[*&!%@`,?|>"


def _unquoted(lines: Sequence[str], at: int) -> tuple[int, str] | None:
    """The line, near the one at which the reader gave up, whose text lacks quotation marks, and what to say of it."""
    for place in (at, at - 1):
        found = _TEXT_VALUE.match(lines[place]) if 0 <= place < len(lines) else None
        if found is None:
            continue
        value = found[2].rstrip()
        if value.startswith(("{{", "{%")):
            return place, f"quote a value that begins with a brace: {found[1].strip()} {_in_quotes(value)}"
        if value[0] in _STARTS_BADLY:
            return place, f"quote a value that begins with {value[0]}: {found[1].strip()} {_in_quotes(value)}"
        if ": " in value or value.endswith(":"):
            return place, f"quote a value that holds a colon and a space: {found[1].strip()} {_in_quotes(value)}"
    return None


def _in_quotes(value: str) -> str:
    mark = "'" if '"' in value else '"'
    return cut(f"{mark}{value}{mark}", 80)


_MARK = "---"
_KEY = re.compile(r"^[A-Za-z_][\w-]*\s*:", re.M)
_NOT_IN_SUMMARY = ("steps", "expect")
_Model = TypeVar("_Model", bound="Summary")


def decode(data: bytes, file: str) -> str:
    """The text of a recipe file: at most 64 KB of UTF-8."""
    if len(data) > MAX_FILE_BYTES:
        raise RecipeError(file, 0, "", f"holds {len(data):,} bytes; a recipe has at most {MAX_FILE_BYTES:,}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(file, data.count(b"\n", 0, error.start) + 1, "", "is not UTF-8 text") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
    if "\x00" in text:
        raise RecipeError(file, text.count("\n", 0, text.index("\x00")) + 1, "", "holds a NUL character")
    return text


def split(text: str, file: str) -> tuple[str, str]:
    """Front matter and body."""
    if not text.startswith(_MARK + "\n"):
        raise RecipeError(file, 1, "", "a recipe opens with a line `---`, then its front matter")
    end = text.find(f"\n{_MARK}\n", len(_MARK))
    if end < 0:
        if not text.endswith(f"\n{_MARK}"):
            raise RecipeError(file, 1, "", "the front matter has no closing line `---`")
        end = len(text) - len(_MARK) - 1
    return text[len(_MARK) + 1 : end + 1], text[end + len(_MARK) + 2 :]


def parse_recipe(text: str, origin: Origin, *, file: str | None = None) -> Recipe:
    """Read one recipe; a `RecipeError` tells file, line, field and allowed values."""
    file = file or str(origin.path or origin.where)
    head, body = split(text, file)
    front, lines = _front(head, file, FrontMatter, origin)
    body_line = text.count("\n", 0, len(text) - len(body)) + 1
    return Recipe(front, body, body_line, text, origin, lines)


def parse_summary(text: str, origin: Origin, *, file: str | None = None) -> Summary:
    """Read only what a list of recipes shows; steps and expectations are skipped unread, which keeps lists fast."""
    file = file or str(origin.path or origin.where)
    return _front(_without(split(text, file)[0], _NOT_IN_SUMMARY), file, Summary, origin)[0]


def _without(head: str, sections: tuple[str, ...]) -> str:
    """Blank out top-level sections, keeping every line number.

    A line that starts with a key in column one is a top-level key in any valid block mapping, so this cuts exactly.
    """
    for section in sections:
        start = head.find(f"\n{section}:") + 1
        if start:
            following = _KEY.search(head, start + len(section))
            end = following.start() if following else len(head)
            head = head[:start] + "\n" * head.count("\n", start, end) + head[end:]
    return head


def _front(head: str, file: str, model: type[_Model], origin: Origin) -> tuple[_Model, dict[FieldPath, int]]:
    values, lines = read_yaml(head, file, first_line=2)  # the opening `---` is line 1
    if not isinstance(values, dict):
        raise RecipeError(file, 1, "", "the front matter must be fields such as `name: my-recipe`")
    try:
        front = model.model_validate(values)
    except ValidationError as error:
        raise _explain(error, file, lines) from None
    _cross_check(front, file, lines, origin)
    return front, lines


def _cross_check(front: Summary, file: str, lines: dict[FieldPath, int], origin: Origin) -> None:
    if origin.path is not None and origin.path.stem != front.name:
        reason = f"is {front.name!r} but the file is called {origin.path.name!r}; both must agree"
        raise _error(file, lines, ("name",), reason)
    if not isinstance(front, FrontMatter):
        return  # whoever reads the whole file is told
    for name, argument in front.arguments.items():
        if fault := _fault_of(argument):
            field, reason = fault
            raise _error(file, lines, ("arguments", name, field), reason)
        for column, declared in argument.columns.items():
            if fault := _fault_of(declared):
                field, reason = fault
                raise _error(file, lines, ("arguments", name, "columns", column, field), reason)
    _check_steps(front, file, lines)


def _error(file: str, lines: dict[FieldPath, int], field: FieldPath, reason: str) -> RecipeError:
    return RecipeError(file, lines.get(nearest(field, lines), 1), dotted(field), reason)


def _fault_of(argument: Argument | Column) -> tuple[str, str] | None:
    """What contradicts itself in one argument or column, as field and reason."""
    if argument.minimum is not None and argument.maximum is not None and argument.minimum > argument.maximum:
        return "minimum", f"{argument.minimum:g} is above the maximum {argument.maximum:g}"
    for choice in argument.choices:
        if reason := misfit(argument.model_copy(update={"choices": ()}), choice):
            return "choices", reason
    if not isinstance(argument, Argument):
        return ("kinds", "only a path has kinds") if argument.kinds and argument.type != "path" else None
    entries = argument.of if argument.type == "list" else argument.type
    if argument.kinds and entries != "path":
        return "kinds", "only a path has kinds"
    if argument.columns and argument.type != "table":
        return "columns", f"only a table has columns, not a {argument.type}"
    if argument.of != "string" and argument.type != "list":
        return "of", f"only a list is of something, not a {argument.type}"
    if argument.default in (None, ""):
        return None
    if argument.required:
        return "default", "a required argument has no default"
    if entries in ("path", "table"):
        return "default", f"a {entries} has no default: only whoever runs the recipe may name a file"
    reason = misfit(argument, argument.default)
    return ("default", reason) if reason else None


def _check_steps(front: FrontMatter, file: str, lines: dict[FieldPath, int]) -> None:
    seen: set[str] = set()
    for position, step in enumerate(front.steps):
        path: FieldPath = ("steps", position)
        if step.id in seen:
            raise _error(file, lines, (*path, "id"), f"{step.id} is used twice")
        if step.tool not in front.tools:
            declared = ", ".join(front.tools) or "none"
            reason = f"{step.tool} is not declared in `tools` (declared: {declared})"
            raise _error(file, lines, (*path, "tool"), reason)
        if strange := sorted(step.quote.keys() - LENGTHS):
            reason = f"is no length; allowed: {', '.join(LENGTHS)}.{near(strange[0], LENGTHS)}"
            raise _error(file, lines, (*path, "quote", strange[0]), reason)
        seen.add(step.id)
    unknown = sorted((front.expect.with_ if front.expect else {}).keys() - front.arguments.keys())
    if unknown:
        reason = f"there is no such argument.{near(unknown[0], front.arguments)}"
        raise _error(file, lines, ("expect", "with", unknown[0]), reason)


def _allowed_keys(path: FieldPath) -> list[str]:
    inner: dict[Any, type[BaseModel]] = {"arguments": Argument, "steps": Step, "expect": Expect}
    model = inner.get(path[0], FrontMatter) if path else FrontMatter
    model = Column if "columns" in path else model
    return [field.alias or name for name, field in model.model_fields.items()]


def _explain(error: ValidationError, file: str, lines: dict[FieldPath, int]) -> RecipeError:
    """The findings of pydantic, in plain words and with their lines, one a field; a misspelt field before the one that
    it leaves missing, which is not told again. The first is the error, and has the others."""
    findings = error.errors(include_url=False)
    strange = [tuple(one["loc"]) for one in findings if one["type"] == "extra_forbidden"]
    told: dict[FieldPath, RecipeError] = {}
    for finding in sorted(findings, key=lambda one: one["type"] != "extra_forbidden"):
        location: FieldPath = tuple(finding["loc"])
        meant = [one for one in strange if one[:-1] == location[:-1] and near(str(one[-1]), [str(location[-1])])]
        if finding["type"] == "missing" and meant:
            continue
        whole = location if finding["type"] in ("extra_forbidden", "missing") else nearest(location, lines) or location
        if whole not in told:
            told[whole] = _finding(finding, findings, file, lines)
    first, *others = told.values()
    first.others = tuple(others)
    return first


def _finding(finding: Any, findings: Sequence[Any], file: str, lines: dict[FieldPath, int]) -> RecipeError:
    location: FieldPath = tuple(finding["loc"])
    if finding["type"] == "extra_forbidden":
        allowed = _allowed_keys(location[:-1])
        reason = f"unknown field; allowed: {', '.join(allowed)}.{near(str(location[-1]), allowed)}"
        return _error(file, lines, location, reason)
    if finding["type"] == "missing":
        return _error(file, lines, location, "is missing")
    path = nearest(location, lines)  # unions add words of their own
    told = [one for one in findings if nearest(tuple(one["loc"]), lines) == path]
    return _error(file, lines, path or location, _reason(finding, told))


def _reason(first: Any, told: Sequence[Any]) -> str:
    """What is wrong with one value: `told` is what each type that it could have had says of it."""
    finding = next((one for one in told if one["type"] in _LIMITS), first)
    kind, value, facts = finding["type"], finding.get("input"), finding.get("ctx") or {}
    shown = _shown(value)
    if kind in _LIMITS:
        return _LIMITS[kind].format(shown=shown, **facts)
    if kind in _KINDS:
        return f"must be {' or '.join(dict.fromkeys(_KINDS[one['type']] for one in told))}, not {shown}"
    if kind == "literal_error":
        allowed = _KINDS_OF_MEDIA if "kinds" in finding["loc"] else _types_at(finding["loc"])
        return f"is {shown}; allowed: {', '.join(allowed)}.{near(str(value), allowed)}"
    if kind == "string_pattern_mismatch":
        return f"is {shown}; use lower-case letters, digits and {_SEPARATOR.get(finding['loc'][-1], '_')}"
    message = str(finding["msg"]).removeprefix("Value error, ")
    return f"is {shown}: {message[:1].lower()}{message[1:]}"


def _types_at(place: Sequence[Any]) -> tuple[str, ...]:
    """The types that may be named at a place: a column and the entries of a list are single values."""
    return VALUE_TYPES if "columns" in place or "of" in place else ARGUMENT_TYPES


def _shown(value: Any) -> str:
    if value is None or isinstance(value, (dict, list, tuple)):
        return "nothing" if value is None else "fields" if isinstance(value, dict) else "a list"
    shown = str(value).lower() if isinstance(value, bool) else repr(value)
    return cut(shown, 58)


_SEPARATOR = {"name": "-"}
_KINDS_OF_MEDIA = get_args(MediaKind)
_WHOLE, _NUMBER, _FIELDS = "a whole number", "a number", "fields such as `name: value`"
_KINDS = {
    "string_type": "text", "bool_type": "true or false", "bool_parsing": "true or false", "list_type": "a list",
    "tuple_type": "a list", "int_type": _WHOLE, "int_parsing": _WHOLE, "int_from_float": _WHOLE,
    "float_type": _NUMBER, "float_parsing": _NUMBER, "finite_number": _NUMBER, "dict_type": _FIELDS,
    "model_type": _FIELDS,
}  # fmt: skip
_LIMITS = {
    "greater_than_equal": "is {shown}; at least {ge:,g} is allowed",
    "less_than_equal": "is {shown}; at most {le:,g} is allowed",
    "too_long": "has too many entries; at most {max_length:,} are allowed",
    "string_too_long": "is too long; at most {max_length:,} characters are allowed",
    "string_too_short": "is too short; at least {min_length} characters are needed",
}
