"""Checks the values given for a recipe's arguments, fills in defaults, and completes half-typed ones.

Values from MCP prompts are always text, values from tools and the command line may be typed: both are accepted.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.catalogue.refusals import verify_characters
from kubeez_mcp_local.cookbook.problems import near
from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from kubeez_mcp_local.cookbook.format import Argument, Summary
    from kubeez_mcp_local.cookbook.tables import Table

MAX_TEXT = 4_000
MAX_ENTRIES = 1_000
MAX_COMPLETIONS = 100
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_RATIO = re.compile(r"(?:\d{1,2}:\d{1,2}|auto)\Z")


class _Misfit(Exception):  # noqa: N818 - becomes an InvalidArgumentError or a RecipeError, with the argument's name
    pass


def check_arguments(
    recipe: Summary,
    given: Mapping[str, Any],
    *,
    read_table: Callable[[str, str], Table] | None = None,
) -> dict[str, Any]:
    """The values of all arguments of `recipe`, typed and complete; what was not given and has no default is `None`.

    Args:
        recipe: A recipe's front matter.
        given: What the caller gave, by name, or what this function returned. Empty text and lists count as not given.
        read_table: Reads a CSV file for a `table` argument: (argument, path) to rows. Without it only CSV text
            and ready rows are accepted, for callers that may not touch files.

    Raises:
        InvalidArgumentError: Names the argument, the value at fault and the allowed ones.
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
        except _Misfit as misfitting:
            raise InvalidArgumentError(name, str(misfitting)) from None
    return values


def misfit(argument: Argument, value: Any) -> str | None:
    """Why `value` is not one that `argument` allows, or `None` when it is."""
    try:
        _typed("value", argument, value, None)
    except _Misfit as misfitting:
        return str(misfitting)
    return None


def complete(
    recipe: Summary, argument: str, prefix: str, known: Mapping[str, Sequence[str]] | None = None
) -> list[str]:
    """Values of `argument` that begin with `prefix`, at most 100.

    Args:
        recipe: A recipe's front matter.
        argument: Name of the argument; an unknown one completes to nothing.
        prefix: What was typed so far, in any case. For a `list`, only its last entry is completed.
        known: Values per argument type that the caller knows of, such as `{"model": […], "ratio": […]}`.
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
    match argument.type:
        case "integer":
            typed: Any = _integer(value)
        case "number":
            typed = _number(value)
        case "boolean":
            typed = _boolean(value)
        case "list":
            return _entries(argument, value)
        case "table":
            return _table(name, argument, value, read_table)
        case "ratio":
            typed = _ratio(argument, value)
        case _:
            typed = _text(argument, value)
    _check_choice(argument, typed)
    if argument.type in ("integer", "number"):
        _check_size(argument, typed, "is")
    return typed


def _text(argument: Argument, value: Any) -> str:
    if not isinstance(value, (str, int, float, bool)):
        raise _Misfit(f"must be text, not {type(value).__name__}")
    text = as_text(value)
    if "\x00" in text:
        raise _Misfit("holds a NUL character")
    if argument.type in ("model", "voice", "path") and any(ord(char) < 32 for char in text):
        raise _Misfit("must be one line without control characters")
    limit = argument.max_length or MAX_TEXT
    if len(text) > limit:
        raise _Misfit(f"has {len(text):,} characters; at most {limit:,} are allowed")
    return text


def _integer(value: Any) -> int:
    if isinstance(value, str) and re.fullmatch(r"\s*[-+]?\d{1,15}\s*", value):
        return int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise _Misfit(f"must be a whole number, not {_brief(value)}")


def _number(value: Any) -> float:
    number = math.nan
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and re.fullmatch(r"\s*[-+]?(\d{1,15}(\.\d{0,12})?|\.\d{1,12})\s*", value):
        number = float(value)
    if not math.isfinite(number):
        raise _Misfit(f"must be a number, not {_brief(value)}")
    return number


def _boolean(value: Any) -> bool:
    word = str(value).strip().lower()
    if word in _TRUE | _FALSE:
        return word in _TRUE
    raise _Misfit(f"must be true or false, not {_brief(value)}")


def _ratio(argument: Argument, value: Any) -> str:
    text = _text(argument, value).strip()
    if not _RATIO.match(text) and not argument.choices:
        raise _Misfit(f"must be an aspect ratio such as 1:1 or 16:9, not {_brief(value)}")
    return text


def _entries(argument: Argument, value: Any) -> list[str]:
    if isinstance(value, str):
        separator = r"\n" if "\n" in value.strip() else r"[,;]"
        parts = [part.strip() for part in re.split(separator, value)]
    elif isinstance(value, (list, tuple)):
        parts = [str(part).strip() for part in value]
    else:
        raise _Misfit(f"must be a list, or text with commas between the entries, not {type(value).__name__}")
    entries = [_text(argument, part) for part in parts if part]
    for entry in entries:
        _check_choice(argument, entry)
    _check_size(argument, len(entries), "has", default_maximum=MAX_ENTRIES)
    return entries


def _table(name: str, argument: Argument, value: Any, read_table: Callable[[str, str], Table] | None) -> Table:
    from kubeez_mcp_local.cookbook.tables import TableProblem, parse_csv, rows_of

    try:
        if not isinstance(value, str):
            rows = rows_of(value)
        elif "\n" in value.strip():
            rows = parse_csv(value)
        elif read_table is None:
            raise _Misfit("must be CSV text here, with the column names on its first line")
        else:
            rows = read_table(name, value)
    except TableProblem as problem:
        raise _Misfit(str(problem)) from None
    _check_size(argument, len(rows), "has", unit=" rows")
    return rows


def _check_choice(argument: Argument, value: Any) -> None:
    if argument.choices and as_text(value) not in map(as_text, argument.choices):
        allowed = [as_text(choice) for choice in argument.choices]
        raise _Misfit(f"is {_brief(value)}; allowed: {', '.join(allowed)}.{near(as_text(value), allowed)}")


def _check_size(argument: Argument, size: float, verb: str, *, unit: str = "", default_maximum: float = 1e12) -> None:
    maximum = default_maximum if argument.maximum is None else argument.maximum
    if argument.minimum is not None and size < argument.minimum:
        raise _Misfit(f"{verb} {size:g}{unit}; at least {argument.minimum:g} needed")
    if size > maximum:
        raise _Misfit(f"{verb} {size:g}{unit}; at most {maximum:g} allowed")


def as_text(value: Any) -> str:
    """A value as people type it: `true`, not `True`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
