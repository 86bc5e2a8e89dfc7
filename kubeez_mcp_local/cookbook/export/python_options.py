"""The options of an exported Python script: argparse code that takes what the recipe takes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kubeez_mcp_local.cookbook.export.to_python import variable
from kubeez_mcp_local.cookbook.limits import limits_in_words

if TYPE_CHECKING:
    from kubeez_mcp_local.cookbook.format import Argument, Recipe

_WIDTH = 120


def options_source(recipe: Recipe) -> str:
    """The function `read_arguments`: an option for each argument of the recipe, and two for the script itself."""
    lines = [
        "def read_arguments() -> argparse.Namespace:",
        _option("parser = argparse.ArgumentParser", [f"description={_text(recipe.description)}"]),
    ]
    for name, argument in recipe.arguments.items():
        option = _option_of(name)
        dest = [] if variable(name) == option.strip("-").replace("-", "_") else [f'dest="{variable(name)}"']
        parts = [f'"{option}"', *dest, *_kind(argument), f"help={_text(argument.description.replace('%', '%%'))}"]
        lines.append(_option("parser.add_argument", parts))
    output = f'Path("{recipe.name}-files")'
    lines.append(f'    parser.add_argument("--output", type=Path, default={output}, help="Folder for the files")')
    lines.append(
        '    parser.add_argument("--poll-seconds", type=float, default=5.0, help="Seconds between looks at a job")'
    )
    checks = [line for name, argument in recipe.arguments.items() for line in _check(name, argument)]
    lines += ["    args = parser.parse_args()", *checks, "    return args"]
    return "\n".join(lines)


def _option_of(name: str) -> str:
    return f"--{name.replace('_', '-')}" if name not in ("output", "poll_seconds", "help") else f"--the-{name}"


def _check(name: str, argument: Argument) -> list[str]:
    """Lines that refuse a value outside the argument's limits before anything is sent."""
    limits = limits_in_words(argument)
    if not limits:
        return []
    value, low, high = f"args.{variable(name)}", argument.minimum, argument.maximum
    given = "" if argument.required else f"{value} and "
    match argument.type:
        case "integer" | "number":
            size = value
            if not argument.required:
                given = f"{value} is not None and " if argument.default is None else ""
        case "list" | "table":
            size = f"len({value})"
        case _:
            size, low, high = f"len({value})", None, argument.max_length
    if low is not None and high is not None:
        beyond = f"not {low:.15g} <= {size} <= {high:.15g}"
    else:
        beyond = f"{size} > {high:.15g}" if low is None else f"{size} < {low:.15g}"
    return [f"    if {given}{beyond}:", f'        parser.error("{_option_of(name)}: allowed: {limits}")']


def _option(function: str, parts: list[str]) -> str:
    """A call on one line, or on several when it is long."""
    line = f"    {function}({', '.join(parts)})"
    return (
        line if len(line) <= _WIDTH else f"    {function}(\n" + "".join(f"        {one},\n" for one in parts) + "    )"
    )


def _kind(argument: Argument) -> list[str]:
    parts = []
    match argument.type:
        case "boolean":
            parts.append("action=argparse.BooleanOptionalAction")
        case "integer":
            parts.append("type=int")
        case "number":
            parts.append("type=float")
        case "list":
            parts.append("type=entries")
        case "table":
            parts.append("type=table")
    if argument.choices and argument.type not in ("boolean", "list"):
        numbers = argument.type in ("integer", "number")
        typed = list(argument.choices) if numbers else [str(one) for one in argument.choices]
        parts.append(f"choices={json.dumps(typed, ensure_ascii=False)}")
    if argument.required:
        parts.append("required=True")
    elif argument.default not in (None, ""):
        default = argument.default if argument.type in ("integer", "number", "boolean") else str(argument.default)
        parts.append(f"default={_text(default) if isinstance(default, str) else repr(default)}")
    elif argument.type in ("list", "table"):
        parts.append("default=[]")
    return parts


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
