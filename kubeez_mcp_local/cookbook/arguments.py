"""Checks the values given for a recipe's arguments, fills in defaults, and completes half-typed ones; and reads CSV.

Values from MCP prompts are always text, values from tools and the command line may be typed: both are accepted.
"""

from __future__ import annotations

import csv
import io
import math
import re
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.catalogue.checks import verify_characters
from kubeez_mcp_local.cookbook.format import near
from kubeez_mcp_local.disk import open_exactly
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.text import cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from kubeez_mcp_local.cookbook.format import Argument, Summary


Table = list[dict[str, str]]

MAX_BYTES = 4 * 1024 * 1024
MAX_ROWS = 5_000
MAX_COLUMNS = 100
MAX_CELL = 4_000


class UnfitValueError(Exception):
    """Why a value cannot be used, such as text that is no table; becomes an error that names its argument."""


def parse_csv(text: str) -> Table:
    """Rows of CSV text by column name; commas, semicolons or tabs; empty lines are left out."""
    first = text.lstrip().split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    try:
        lines = [row for row in csv.reader(io.StringIO(text.strip(), newline=""), delimiter=delimiter) if any(row)]
    except csv.Error as error:
        raise UnfitValueError(f"is not CSV: {error}") from None
    if len(lines) < 2:
        raise UnfitValueError("holds no rows below the line of column names")
    columns = [_column(name) for name in lines[0]]
    if "" in columns or len(set(columns)) < len(columns):
        raise UnfitValueError(f"needs a different name for each column; it has: {', '.join(lines[0])[:200]}")
    rows = []
    for number, cells in enumerate(lines[1:], start=1):
        if len(cells) > len(columns):
            told = f"row {number} has {len(cells)} cells for {len(columns)} columns; quote text with commas"
            raise UnfitValueError(told)
        padded = [*cells, *[""] * (len(columns) - len(cells))]
        rows.append(dict(zip(columns, (cell.strip() for cell in padded), strict=True)))
    return _within_limits(rows)


def _column(name: str) -> str:
    """A column's name as templates use it: `Brand voice` becomes `brand_voice`."""
    return "_".join("".join(char if char.isalnum() else " " for char in name.lower()).split())


def _within_limits(rows: Table) -> Table:
    if len(rows) > MAX_ROWS:
        raise UnfitValueError(f"holds {len(rows):,} rows; at most {MAX_ROWS:,} are allowed")
    if len(rows[0]) > MAX_COLUMNS:
        raise UnfitValueError(f"holds {len(rows[0])} columns; at most {MAX_COLUMNS} are allowed")
    for number, row in enumerate(rows, start=1):
        for column, cell in row.items():
            if len(cell) > MAX_CELL or "\x00" in cell:
                raise UnfitValueError(f"row {number}, column {column}: at most {MAX_CELL:,} characters and no NUL")
    return rows


def table_reader(folders: Sequence[Path]) -> Callable[[str, str], Table]:
    """Reads CSV files (at most 4 MB, UTF-8) that lie in `folders`; blocking.

    It raises `UnfitValueError` or, for a path that is not allowed, `InvalidArgumentError`.
    """
    from kubeez_mcp_local.media.path_guard import PathGuard

    guard = PathGuard(folders)

    def read(argument: str, given: str) -> Table:
        path = guard.check(given, argument=argument)
        try:
            with open_exactly(path) as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise UnfitValueError(f"{path} cannot be read: {error.strerror}") from None
        if len(data) > MAX_BYTES:
            raise UnfitValueError(f"{path.name} is larger than {MAX_BYTES // 1024 // 1024} MB")
        try:
            return parse_csv(data.decode("utf-8-sig"))
        except UnicodeDecodeError:
            raise UnfitValueError(f"{path.name} is not UTF-8 text; save it as CSV UTF-8") from None

    return read


MAX_TEXT = 4_000
MAX_ENTRIES = 1_000
MAX_COMPLETIONS = 100
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_RATIO = re.compile(r"(?:\d{1,2}:\d{1,2}|auto)\Z")


def check_arguments(
    recipe: Summary,
    given: Mapping[str, Any],
    *,
    read_table: Callable[[str, str], Table] | None = None,
) -> dict[str, Any]:
    """The values of all arguments of `recipe`, typed and complete; what was not given and has no default is `None`.

    `given` is what the caller gave, or what this function returned; empty text and lists count as not given.
    `read_table` reads a CSV file for a `table` argument: (argument, path) to rows. Without it only CSV text and ready
    rows are accepted, for callers that may not touch files. An `InvalidArgumentError` names the argument, the value at
    fault and the allowed ones.
    """
    for name in given:
        if name not in recipe.arguments:
            allowed = ", ".join(recipe.arguments) or "none"
            hint = near(name, recipe.arguments)
            raise InvalidArgumentError(name, f"{recipe.name} has no such argument; it takes: {allowed}.{hint}")
        verify_characters(name, given[name])
    values: dict[str, Any] = {}
    for name, argument in recipe.arguments.items():
        value = given.get(name)
        if value is None or value == "" or value == []:
            values[name] = _default(name, argument)
            continue
        try:
            values[name] = _typed(name, argument, value, read_table)
        except UnfitValueError as unfit:
            raise InvalidArgumentError(name, str(unfit)) from None
    return values


def misfit(argument: Argument, value: Any) -> str | None:
    """Why `value` is not one that `argument` allows, or `None` when it is."""
    try:
        _typed("value", argument, value, None)
    except UnfitValueError as unfit:
        return str(unfit)
    return None


def complete(
    recipe: Summary, argument: str, prefix: str, known: Mapping[str, Sequence[str]] | None = None
) -> list[str]:
    """Values of `argument` that begin with `prefix` in any case, at most 100; an unknown argument has none.

    Of a `list` only the last entry is completed. `known` are values per argument type that the caller knows of, such as
    `{"model": […], "ratio": […]}`.
    """
    declared = recipe.arguments.get(argument)
    if declared is None:
        return []
    options: Iterable[str] = map(as_text, declared.choices)
    if not declared.choices:
        options = ("true", "false") if declared.type == "boolean" else (known or {}).get(declared.type, ())
    if not declared.choices and declared.default not in (None, ""):
        options = dict.fromkeys((as_text(declared.default), *options))
    done, typed = "", prefix
    if declared.type == "list" and "," in prefix:
        cut = prefix.rindex(",") + 1
        done, typed = prefix[:cut] + " ", prefix[cut:].strip()
    found = [done + option for option in options if option.lower().startswith(typed.lower())]
    return found[:MAX_COMPLETIONS]


def _default(name: str, argument: Argument) -> Any:
    if argument.required:
        choices = f" Allowed: {', '.join(map(as_text, argument.choices))}." if argument.choices else ""
        raise InvalidArgumentError(name, f"is missing: {argument.description}.{choices}".replace("..", "."))
    if argument.default is None or (argument.default == "" and argument.type in ("path", "table", "list")):
        return [] if argument.type in ("list", "table") else None
    return _typed(name, argument, argument.default, None)


def _typed(name: str, argument: Argument, value: Any, read_table: Callable[[str, str], Table] | None) -> Any:
    if argument.type == "list":
        return _entries(argument, value)
    if argument.type == "table":
        return _table(name, argument, value, read_table)
    simple: dict[str, Callable[[Any], Any]] = {"integer": _integer, "number": _number, "boolean": _boolean}
    if argument.type in simple:
        typed = simple[argument.type](value)
    else:
        typed = (_ratio if argument.type == "ratio" else _text)(argument, value)
    _check_choice(argument, typed)
    if argument.type in ("integer", "number"):
        _check_size(argument, typed, "is")
    return typed


def _text(argument: Argument, value: Any) -> str:
    if not isinstance(value, (str, int, float, bool)):
        raise UnfitValueError(f"must be text, not {type(value).__name__}")
    text = as_text(value)
    if argument.type in ("model", "voice", "path") and any(ord(char) < 32 for char in text):
        raise UnfitValueError("must be one line without control characters")
    limit = argument.max_length or MAX_TEXT
    if len(text) > limit:
        raise UnfitValueError(f"has {len(text):,} characters; at most {limit:,} are allowed")
    return text


def _integer(value: Any) -> int:
    if isinstance(value, str) and re.fullmatch(r"\s*[-+]?\d{1,15}\s*", value):
        return int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise UnfitValueError(f"must be a whole number, not {_brief(value)}")


def _number(value: Any) -> float:
    number = math.nan
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and re.fullmatch(r"\s*[-+]?(\d{1,15}(\.\d{0,12})?|\.\d{1,12})\s*", value):
        number = float(value)
    if not math.isfinite(number):
        raise UnfitValueError(f"must be a number, not {_brief(value)}")
    return number


def _boolean(value: Any) -> bool:
    word = str(value).strip().lower()
    if word in _TRUE | _FALSE:
        return word in _TRUE
    raise UnfitValueError(f"must be true or false, not {_brief(value)}")


def _ratio(argument: Argument, value: Any) -> str:
    text = _text(argument, value).strip()
    if not _RATIO.match(text) and not argument.choices:
        raise UnfitValueError(f"must be an aspect ratio such as 1:1 or 16:9, not {_brief(value)}")
    return text


def _entries(argument: Argument, value: Any) -> list[str]:
    if isinstance(value, str):
        separator = r"\n" if "\n" in value.strip() else r"[,;]"
        parts = [part.strip() for part in re.split(separator, value)]
    elif isinstance(value, (list, tuple)):
        parts = [str(part).strip() for part in value]
    else:
        raise UnfitValueError(f"must be a list, or text with commas between the entries, not {type(value).__name__}")
    entries = [_text(argument, part) for part in parts if part]
    for entry in entries:
        _check_choice(argument, entry)
    _check_size(argument, len(entries), "has", default_maximum=MAX_ENTRIES)
    return entries


def _table(name: str, argument: Argument, value: Any, read_table: Callable[[str, str], Table] | None) -> Table:
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        rows = _within_limits([{_column(str(key)): str(cell) for key, cell in row.items()} for row in value])
    elif not isinstance(value, str):
        raise UnfitValueError("must be CSV text, the path of a CSV file, or a list of objects")
    elif "\n" in value.strip():
        rows = parse_csv(value)
    elif read_table is None:
        raise UnfitValueError("must be CSV text here, with the column names on its first line")
    else:
        rows = read_table(name, value)
    _check_size(argument, len(rows), "has", unit=" rows")
    return rows


def _check_choice(argument: Argument, value: Any) -> None:
    if argument.choices and as_text(value) not in map(as_text, argument.choices):
        allowed = [as_text(choice) for choice in argument.choices]
        raise UnfitValueError(f"is {_brief(value)}; allowed: {', '.join(allowed)}.{near(as_text(value), allowed)}")


def _check_size(argument: Argument, size: float, verb: str, *, unit: str = "", default_maximum: float = 1e12) -> None:
    maximum = default_maximum if argument.maximum is None else argument.maximum
    if argument.minimum is not None and size < argument.minimum:
        raise UnfitValueError(f"{verb} {size:g}{unit}; at least {argument.minimum:g} needed")
    if size > maximum:
        raise UnfitValueError(f"{verb} {size:g}{unit}; at most {maximum:g} allowed")


def as_text(value: Any) -> str:
    """A value as people type it: `true`, not `True`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _brief(value: Any) -> str:
    return cut(repr(value), 58)
