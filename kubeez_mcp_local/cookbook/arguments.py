"""Checks the values given for a recipe's arguments, fills in defaults, and completes half-typed ones; and reads CSV.

Values from MCP prompts are always text, values from tools and the command line may be typed: both are accepted. What
does not fit is told all at once, rows of a table by their numbers.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.catalogue.checks import verify_characters
from kubeez_mcp_local.cookbook.format import COUNTED, Argument, near
from kubeez_mcp_local.disk import open_exactly
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.text import cut

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from kubeez_mcp_local.cookbook.format import Column, Summary


Table = list[dict[str, Any]]
Read = Callable[[str, str], str]
"""Reads a text file: from an argument's name and its value to the text. Raises as `TextFiles`."""

MAX_BYTES = 4 * 1024 * 1024
MAX_ROWS = 10_000
MAX_COLUMNS = 100
MAX_CELL = 4_000


class UnfitValueError(Exception):
    """Why a value cannot be used, one reason or several; becomes an error that names its argument."""

    def __init__(self, *reasons: str) -> None:
        super().__init__(*reasons)
        self.reasons = reasons


class InvalidArgumentsError(InvalidArgumentError):
    """Several things do not fit; `faults` has them all, the message the first of them."""

    def __init__(self, faults: Sequence[InvalidArgumentError]) -> None:
        text = listed(f"{len(faults)} things do not fit:", [fault.message for fault in faults])
        KubeezError.__init__(self, text, next_step=CORRECT_ALL)
        self.argument = faults[0].argument
        self.faults = tuple(faults)


CORRECT_ALL = "Correct them all and try again."
_MOST_FAULTS = 10
_LONGEST_FAULT = 160


def listed(heading: str, faults: Sequence[str]) -> str:
    """Faults below each other, a line each; beyond ten they are only counted."""
    more = [f"and {len(faults) - _MOST_FAULTS} more"] if len(faults) > _MOST_FAULTS else []
    told = [cut(" ".join(fault.split()), _LONGEST_FAULT) for fault in faults[:_MOST_FAULTS]]
    return "\n- ".join([heading, *told, *more])


def all_at_once(faults: Sequence[InvalidArgumentError]) -> None:
    """Raise what was found: nothing, the one fault, or all of them as one error."""
    if faults:
        raise faults[0] if len(faults) == 1 else InvalidArgumentsError(faults)


def parse_csv(text: str) -> Table:
    """Rows of CSV text by column name; commas, semicolons or tabs; empty lines are left out."""
    first = text.lstrip().split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    lines: list[list[str]] = []
    try:  # strictly, since a quotation mark that is never closed would swallow all rows below it
        reader = csv.reader(io.StringIO(text.strip(), newline=""), delimiter=delimiter, strict=True)
        lines += (row for row in reader if any(row))
    except csv.Error as error:
        where = f"row {len(lines)}" if lines else "the line of column names"
        told = "is a quotation mark too many or too few; write one within quoted text twice"
        known = str(error).endswith(("end of data", "expected after '\"'"))
        raise UnfitValueError(f"is not CSV: in {where} {told if known else error}") from None
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


@dataclass
class TextFiles:
    """Reads text files (at most 4 MB, UTF-8) that lie in `folders`; blocking. `read` says which, one sentence each;
    `held` has a digest (SHA-256 in hex) of what each held, by its path.

    A call raises `UnfitValueError` for what is no text, `InvalidArgumentError` for a path that is not allowed.
    """

    folders: Sequence[Path]
    read: list[str] = field(default_factory=list)
    held: dict[str, str] = field(default_factory=dict)

    def __call__(self, argument: str, given: str) -> str:
        from kubeez_mcp_local.media.path_guard import PathGuard

        path = PathGuard(self.folders).check(given, argument=argument)
        try:
            with open_exactly(path) as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise UnfitValueError(f"{path} cannot be read: {error.strerror}") from None
        if len(data) > MAX_BYTES:
            raise UnfitValueError(f"{path.name} is larger than {MAX_BYTES // 1024 // 1024} MB")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise UnfitValueError(f"{path.name} is not UTF-8 text; save it as plain text, UTF-8") from None
        self.held[str(path)] = hashlib.sha256(data).hexdigest()
        self.read.append(f"{argument} was read from the file {path.name} ({len(text):,} characters).")
        return text


MAX_TEXT = 4_000
MAX_LONG_TEXT = 20_000
MAX_ENTRIES = 1_000
_SEPARATORS = re.compile(r"[,;\n]")
MAX_COMPLETIONS = 100
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_RATIO = re.compile(r"(?:[1-9]\d?:[1-9]\d?|auto)\Z")
_TEXT_FILE = re.compile(r"file:|.*\.(?:txt|text|md|markdown|csv|tsv|srt|vtt|rtf|pdf|docx?|odt|fountain)\Z", re.I)
"""One line that can hardly be meant as the words themselves."""


def check_arguments(recipe: Summary, given: Mapping[str, Any], *, read: Read | None = None) -> dict[str, Any]:
    """The values of all arguments of `recipe`, typed and complete; what was not given and has no default is `None`.

    `given` is what the caller gave, or what this function returned; empty text and lists count as not given.
    `read` reads the file of a `table`, `text` or `script`: `TextFiles`. Without it only the text itself and ready rows
    are accepted, for callers that may not touch files. An `InvalidArgumentError` names the argument, the value at
    fault and the allowed ones; an `InvalidArgumentsError` several of them.
    """
    values, faults = read_arguments(recipe, given, read=read)
    all_at_once(faults)
    return values


def read_arguments(
    recipe: Summary, given: Mapping[str, Any], *, read: Read | None = None
) -> tuple[dict[str, Any], list[InvalidArgumentError]]:
    """As `check_arguments`: the values of the arguments that fit, and what is wrong with the others."""
    faults: list[InvalidArgumentError] = []
    values: dict[str, Any] = {}
    for name in given:
        if name not in recipe.arguments:
            allowed = ", ".join(recipe.arguments) or "none"
            hint = near(name, recipe.arguments)
            told = f"{recipe.name} has no such argument; it takes: {allowed}.{hint}"
            faults.append(InvalidArgumentError(name, told))
    for name, argument in recipe.arguments.items():
        value = given.get(name)
        try:
            verify_characters(name, value)
            if value is None or value == "" or value == []:
                values[name] = _default(name, argument)
            else:
                values[name] = _typed(name, argument, value, read)
        except UnfitValueError as unfit:
            faults += [InvalidArgumentError(name, reason) for reason in unfit.reasons]
        except InvalidArgumentError as error:
            faults.append(error)
    return values, faults


def misfit(argument: Argument | Column, value: Any) -> str | None:
    """Why `value` is not one that `argument` allows, or `None` when it is."""
    try:
        _typed("value", argument, value, None)
    except UnfitValueError as unfit:
        return unfit.reasons[0]
    return None


def complete(
    recipe: Summary, argument: str, prefix: str, known: Mapping[str, Sequence[str]] | None = None
) -> list[str]:
    """Values of `argument` that begin with `prefix` in any case, at most 100; an unknown argument has none.

    Of a `list` only the last entry is completed, with what is not in it yet. `known` are values per argument type that
    the caller knows of, such as `{"model": […], "ratio": […]}`.
    """
    declared = recipe.arguments.get(argument)
    if declared is None:
        return []
    options: Iterable[str] = map(as_text, declared.choices)
    kind = declared.of if declared.type == "list" else declared.type
    done, typed = _begun(prefix) if declared.type == "list" else ("", prefix)
    if not declared.choices:
        options = ("true", "false") if kind == "boolean" else (known or {}).get(kind, ())
    if not declared.choices and declared.default not in (None, "") and not done:
        options = dict.fromkeys((as_text(declared.default), *options))
    there = {entry.strip().lower() for entry in _SEPARATORS.split(done)}
    found = [done + option for option in options if option.lower().startswith(typed.lower())]
    return [each for each in found if each.removeprefix(done).lower() not in there][:MAX_COMPLETIONS]


def _begun(text: str) -> tuple[str, str]:
    """The entries of a list that are whole, as they are typed, and what is typed of the next one."""
    separators = list(_SEPARATORS.finditer(text))
    if not separators:
        return "", text
    cut = separators[-1].end()
    return text[:cut] + ("" if text[cut - 1] == "\n" else " "), text[cut:].strip()


def _default(name: str, argument: Argument) -> Any:
    if argument.required:
        choices = f" Allowed: {', '.join(map(as_text, argument.choices))}." if argument.choices else ""
        raise InvalidArgumentError(name, f"is missing: {argument.description}.{choices}".replace("..", "."))
    if argument.default is None or (argument.default == "" and argument.type in ("path", "table", "list")):
        return [] if argument.type in ("list", "table") else None
    return _typed(name, argument, argument.default, None)


def _typed(name: str, argument: Argument | Column, value: Any, read: Read | None) -> Any:
    if isinstance(argument, Argument):
        if argument.type == "list":
            return _entries(argument, value)
        if argument.type == "table":
            return _table(name, argument, value, read)
        if argument.type in ("text", "script"):
            return _long_text(name, argument, value, read)
    typed = _value(argument.type, argument, value)
    _check_choice(argument, typed)
    if argument.type in ("integer", "number"):
        _check_size(argument, typed, "is")
    return typed


def _value(kind: str, argument: Argument | Column, value: Any) -> Any:
    """One value as the type that it has by itself."""
    simple: dict[str, Callable[[Any], Any]] = {"integer": _integer, "number": _number, "boolean": _boolean}
    if kind in simple:
        return simple[kind](value)
    text = _text(argument, value)
    if kind in ("model", "voice", "path") and any(ord(char) < 32 for char in text):
        raise UnfitValueError("must be one line without control characters")
    if kind == "ratio":
        text = text.strip()
        if not _RATIO.match(text) and not argument.choices:
            raise UnfitValueError(f"must be an aspect ratio such as 1:1 or 16:9, not {_brief(value)}")
    return text


def _text(argument: Argument | Column, value: Any, longest: int = MAX_TEXT) -> str:
    if not isinstance(value, (str, int, float, bool)):
        raise UnfitValueError(f"must be text, not {type(value).__name__}")
    text = as_text(value)
    limit = argument.max_length or longest
    if len(text) > limit:
        raise UnfitValueError(f"has {len(text):,} characters; at most {limit:,} are allowed")
    return text


def _long_text(name: str, argument: Argument, value: Any, read: Read | None) -> str:
    """A text or script, or what the file holds that it names; that the argument may name one is declared."""
    script = argument.type == "script"
    line = value.strip() if isinstance(value, str) else ""
    if read is not None and line and "\n" not in line:
        try:
            value = read(name, line).strip().replace("\r\n", "\n")
            verify_characters(name, value)
        except InvalidArgumentError as error:
            if _TEXT_FILE.match(line):
                words = "" if script else "If these are the words themselves, end them with a full stop."
                raise InvalidArgumentError(
                    name, error.message.removeprefix(f"{name}: "), next_step=words or error.next_step, code=error.code
                ) from None
    text = _text(argument, value, MAX_LONG_TEXT)
    if script:
        names, wrong = speakers(text)
        if wrong:
            raise UnfitValueError(*wrong)
        if argument.maximum is not None and len(names) > argument.maximum:
            most = f"at most {argument.maximum:g} can speak"
            raise UnfitValueError(f"has {len(names)} speakers ({cut(', '.join(names), 60)}); {most}")
        _check_size(argument, len(names), "has")
    return text


MAX_SPEAKER = 40


def speakers(text: str) -> tuple[list[str], list[str]]:
    """Who speaks in a script, in the order of appearance; and what is wrong with lines that are not `name: words`."""
    names: list[str] = []
    wrong: dict[str, list[int]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        name, colon, said = (part.strip() for part in line.partition(":"))
        if not line.strip():
            continue
        if not colon or not name or len(name) > MAX_SPEAKER:
            wrong.setdefault("no name and colon before the words, as in `Ann: Hello`", []).append(number)
        elif not said:
            wrong.setdefault("a name without words", []).append(number)
        elif name not in names:
            names.append(name)
    return names, [f"{numbered('line', numbers)}: {reason}" for reason, numbers in wrong.items()]


def numbered(thing: str, numbers: Sequence[int]) -> str:
    """`row 3`, `rows 3, 4 and 9`, or `rows 3, 4, 9, 12, 13 and 20 more`."""
    if len(numbers) == 1:
        return f"{thing} {numbers[0]}"
    shown = [str(number) for number in numbers[:_MOST_NUMBERS]]
    last = f"{len(numbers) - _MOST_NUMBERS} more" if len(numbers) > _MOST_NUMBERS else shown.pop()
    return f"{thing}s {', '.join(shown)} and {last}"


_MOST_NUMBERS = 5


def _integer(value: Any) -> int:
    if isinstance(value, str) and re.fullmatch(r"\s*[-+]?\d{1,15}\s*", value):
        return int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**15:
        return value
    raise UnfitValueError(f"must be a whole number, not {_brief(value)}")


def _number(value: Any) -> float:
    number = math.nan
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and re.fullmatch(r"\s*[-+]?(\d{1,15}(\.\d{0,12})?|\.\d{1,12})\s*", value):
        number = float(value)
    if not abs(number) < 1e15:  # nor is what is no number at all
        raise UnfitValueError(f"must be a number, not {_brief(value)}")
    return number


def _boolean(value: Any) -> bool:
    word = str(value).strip().lower()
    if word in _TRUE | _FALSE:
        return word in _TRUE
    raise UnfitValueError(f"must be true or false, not {_brief(value)}")


def _entries(argument: Argument, value: Any) -> list[Any]:
    if isinstance(value, str):
        separator = r"\n" if "\n" in value.strip() else r"[,;]"
        parts: list[Any] = [part.strip() for part in re.split(separator, value)]
    elif isinstance(value, (list, tuple)):
        parts = ["" if part is None else part.strip() if isinstance(part, str) else part for part in value]
    else:
        raise UnfitValueError(f"must be a list, or text with commas between the entries, not {type(value).__name__}")
    entries: list[Any] = []
    wrong: list[str] = []
    given = [part for part in parts if part != ""]
    for number, part in enumerate(given, start=1):
        try:
            entry = _value(argument.of, argument, part)
            _check_choice(argument, entry)
            entries.append(entry)
        except UnfitValueError as unfit:
            wrong += [reason if len(given) == 1 else f"entry {number} {reason}" for reason in unfit.reasons]
    if wrong:
        raise UnfitValueError(*wrong)
    _check_size(argument, len(entries), "has", default_maximum=MAX_ENTRIES)
    return entries


def _table(name: str, argument: Argument, value: Any, read: Read | None) -> Table:
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        rows = [
            {column: _cell(number, column, cell) for key, cell in row.items() if (column := _column(str(key)))}
            for number, row in enumerate(value, start=1)
        ]
        rows = _within_limits(rows)
    elif not isinstance(value, str):
        raise UnfitValueError("must be CSV text, the path of a CSV file, or a list of objects")
    elif "\n" in value.strip():
        rows = parse_csv(value)
    elif read is None:
        raise UnfitValueError(_on_one_line(argument, value) or "must be CSV text here, with the column names on line 1")
    else:
        try:
            text = read(name, value)
        except InvalidArgumentError:
            if told := _on_one_line(argument, value):
                raise UnfitValueError(told) from None
            raise
        rows = parse_csv(text)
    _check_size(argument, len(rows), "has")
    return _typed_rows(argument.columns, rows) if argument.columns else rows


def _on_one_line(argument: Argument, value: str) -> str:
    """What to say of CSV that has lost its line breaks; nothing when it can only be a path."""
    if _TEXT_FILE.match(value.strip()) or not re.search(r"[,;\t]", value):
        return ""
    told = "is CSV on one line; put the column names on the first line and each row on a line of its own"
    return f"{told}, or give a list of objects such as [{_example_row(argument)}]"


def _cell(row: int, column: str, value: Any) -> str:
    if not isinstance(value, (str, int, float, bool, type(None))):
        raise UnfitValueError(f"row {row}, column {column}: must be text, not {type(value).__name__}")
    return "" if value is None else as_text(value)


def _example_row(argument: Argument) -> str:
    names = [name for name, column in argument.columns.items() if column.required] or ["column"]
    return "{" + ", ".join(f'"{name}": "…"' for name in names) + "}"


def _typed_rows(columns: Mapping[str, Column], rows: Table) -> Table:
    """The rows with all declared columns, typed; every fault at once, alike ones together."""
    present = list(dict.fromkeys(name for row in rows for name in row))
    _check_headers(columns, present)
    wrong: dict[str, list[int]] = {}
    typed = []
    for number, row in enumerate(rows, start=1):
        cells: dict[str, Any] = dict(row)
        for name, column in columns.items():
            cell = row.get(name, "")
            if cell == "":
                cells[name] = None
                if column.required:
                    wrong.setdefault(f"{name} is empty", []).append(number)
                continue
            try:
                cells[name] = _typed(name, column, cell, None)
            except UnfitValueError as unfit:
                for reason in unfit.reasons:
                    wrong.setdefault(f"{name} {reason}", []).append(number)
        typed.append(cells)
    if wrong:
        raise UnfitValueError(*(f"{numbered('row', numbers)}: {reason}" for reason, numbers in wrong.items()))
    return typed


def _check_headers(columns: Mapping[str, Column], present: Sequence[str]) -> None:
    """Refuse a table without its required columns, or with one that only looks like a declared one."""
    missing = [name for name, column in columns.items() if column.required and name not in present]
    others = [name for name in present if name not in columns]
    absent = [name for name in columns if name not in present]
    misspelt = {name: hint for name in others if (hint := near(name, absent))}
    if not missing and not misspelt:
        return
    optional = [name for name, column in columns.items() if not column.required]
    needs = ", ".join(name for name in columns if name not in optional)
    allowed = f"it needs {needs}" + (f"; optional: {', '.join(optional)}" if optional else "")
    hints = "".join(f" For {name}:{hint}" for name, hint in list(misspelt.items())[:3])
    if missing:
        lacks = f"has no column{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
    else:
        lacks = f"has a column {', '.join(misspelt)}, which is not known"
    raise UnfitValueError(f"{lacks} (there: {cut(', '.join(present), 80)}); {allowed}.{hints}")


def _check_choice(argument: Argument | Column, value: Any) -> None:
    if argument.choices and as_text(value) not in map(as_text, argument.choices):
        allowed = [as_text(choice) for choice in argument.choices]
        raise UnfitValueError(f"is {_brief(value)}; allowed: {', '.join(allowed)}.{near(as_text(value), allowed)}")


def _check_size(argument: Argument | Column, size: float, verb: str, *, default_maximum: float = 1e12) -> None:
    unit = COUNTED.get(argument.type, "")
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
