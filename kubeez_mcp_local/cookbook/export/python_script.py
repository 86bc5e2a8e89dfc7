"""A recipe as a plain Python script against the REST API: httpx, the standard library, and nothing of this package."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import TYPE_CHECKING

from kubeez_mcp_local.cookbook.calls import PAID_TOOLS
from kubeez_mcp_local.cookbook.export.calls_rest import IMPLIED_TOOLS, NotExportableError, rest_call
from kubeez_mcp_local.cookbook.export.script_helpers import helper_sources
from kubeez_mcp_local.cookbook.export.to_python import ToPython, variable
from kubeez_mcp_local.cookbook.plan import dependencies

if TYPE_CHECKING:
    from kubeez_mcp_local.cookbook.format import Argument, Recipe, Step

_HEAD = '''#!/usr/bin/env python3
"""{title}

{description}

Exported from the Kubeez recipe {name}, version {version}. Needs Python 3.11 and httpx (pip install httpx).

    export KUBEEZ_API_KEY=sk_live_…
    python {name}.py --help

To rehearse for free, start a sandbox (kubeez-mcp-local sandbox serve) and set KUBEEZ_BASE_URL to its address.
"""

from __future__ import annotations

import argparse
{imports}

import httpx

'''
_MAIN = """
def main() -> int:
    args = read_arguments()
    key = os.environ.get("KUBEEZ_API_KEY", "")
    if not key:
        print("Set KUBEEZ_API_KEY to your key.", file=sys.stderr)
        return 2
    base_url = os.environ.get("KUBEEZ_BASE_URL", "https://api.kubeez.com").rstrip("/")
    try:
        kubeez = Kubeez(base_url, key, args.output, {budget}, args.poll_seconds)
        run(kubeez, args)
    except Failed as error:
        print(f"Stopped: {{error}}", file=sys.stderr)
        return 1
    print(f"Done. {{kubeez.spent:g}} credits, files in {{args.output}}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
"""
_MODULES = ("csv", "io", "mimetypes", "os", "random", "re", "sys", "time")


def python_script(recipe: Recipe) -> str:
    """The source of the script; its arguments are the recipe's.

    Raises:
        NotExportableError: The recipe has no steps, or a step that REST cannot do.
        RecipeError: Its steps refer to what is not there.
    """
    if not recipe.steps:
        raise NotExportableError(
            f"{recipe.name} has no steps, so there is nothing a script could do.",
            next_step="Export it as `skill`, `goose` or `prompt` instead.",
        )
    dependencies(recipe)
    python = ToPython([step.id for step in recipe.steps], recipe.arguments)
    body = "\n".join(_step(step, python) for step in recipe.steps)
    budget = (
        python.text(recipe.front.budget) if isinstance(recipe.front.budget, str) else repr(recipe.front.budget or 0)
    )
    if not recipe.front.budget:
        budget = 'float("inf")'
    parts = [
        runtime_source(),
        *helper_sources(python.used | _readers(recipe)),
        _arguments(recipe),
        f"def run(kubeez: Kubeez, args: argparse.Namespace) -> None:\n{body}",
    ]
    source = "\n\n".join(parts) + "\n" + _MAIN.format(budget=f"float({budget})")
    used = [name for name in _MODULES if re.search(rf"\b{name}\.", source)]
    imports = "\n".join(f"import {name}" for name in used)
    imports += "\nfrom pathlib import Path\nfrom typing import Any\nfrom urllib.parse import urljoin"
    head = _HEAD.format(
        title=recipe.title.replace("\\", "").replace('"', "'"),
        description=recipe.description.replace("\\", "").replace('"', "'"),
        name=recipe.name,
        version=recipe.version,
        imports=imports,
    )
    return head + re.sub(r"\n{3,}(?=def |class |if __name__)", "\n\n\n", re.sub(r"\n\n(?=def )", "\n\n\n", source))


def runtime_source() -> str:
    """The part of `runtime.py` that every script carries."""
    text = (files("kubeez_mcp_local.cookbook.export") / "runtime.py").read_text(encoding="utf-8")
    inner = text.split("# --8<-- copied from here\n")[1].split("# --8<-- to here")[0].strip()
    return re.sub(r"  # noqa: [A-Z0-9, ]+", "", inner)


def _readers(recipe: Recipe) -> set[str]:
    """Helpers that turn the text of an option into a list or a table."""
    kinds = {argument.type for argument in recipe.arguments.values()}
    return {name for kind, name in (("list", "entries"), ("table", "table")) if kind in kinds}


def _arguments(recipe: Recipe) -> str:
    lines = [
        "def read_arguments() -> argparse.Namespace:",
        f"    parser = argparse.ArgumentParser(description={_text(recipe.description)})",
    ]
    for name, argument in recipe.arguments.items():
        option = f"--{name.replace('_', '-')}" if name not in ("output", "poll_seconds", "help") else f"--the-{name}"
        parts = [f'"{option}"', f'dest="{variable(name)}"', *_kind(argument)]
        help_ = argument.description.replace("%", "%%")
        lines.append(f"    parser.add_argument({', '.join(parts)}, help={_text(help_)})")
    output = f'Path("{recipe.name}-files")'
    lines.append(f'    parser.add_argument("--output", type=Path, default={output}, help="Folder for the files")')
    lines.append(
        '    parser.add_argument("--poll-seconds", type=float, default=5.0, help="Seconds between looks at a job")'
    )
    lines.append("    return parser.parse_args()")
    return "\n".join(lines)


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


def _step(step: Step, python: ToPython) -> str:
    if step.tool in IMPLIED_TOOLS:
        return f"    # {step.id}: {step.tool} – the script does this by itself"
    indent, made = 4, variable(step.id)
    lines = [f"    # {step.id}: {step.tool}"]
    if step.for_each is not None:
        lines.append(f"    {made}: list[dict[str, Any]] = []")
        lines.append(f"    for index, item in enumerate({_items(step, python)}):")
        indent = 8
    elif step.when is not None:
        lines.append(f'    {made} = {{"outputs": [], "songs": [], "files": []}}')
    pad = " " * indent
    if step.when is not None:
        lines.append(f"{pad}if {python.condition(step.when)}:")
        indent += 4
        pad = " " * indent
    call = _call(step, python, indent)
    if step.tool not in PAID_TOOLS:
        lines.append(f"{pad}{made} = {call}" if step.for_each is None else f"{pad}{made}.append({call})")
    elif step.for_each is None:
        lines.append(f"{pad}{made} = {call}\n{pad}kubeez.finish([{made}])")
    else:
        lines.append(f"{pad}{made}.append({call})")
        lines.append(f"    kubeez.finish({made})")
    return "\n".join(lines)


def _items(step: Step, python: ToPython) -> str:
    return python.text(step.for_each) if isinstance(step.for_each, str) else python.value(step.for_each, 4)


def _call(step: Step, python: ToPython, indent: int) -> str:
    values = dict(step.with_)
    values.pop("variant_count", None)
    if step.tool == "pick_model":
        return f"kubeez.pick_model({python.value(values, indent)})"
    if step.tool == "get_balance":
        return 'kubeez.read("/v1/balance")'
    rest = rest_call(step.tool)
    if step.with_.get("variant_count") not in (None, 1):
        raise NotExportableError(f"{step.id} uses variant_count; write it as for_each to export it.")
    name = f'"{step.id}"' if step.for_each is None else f'f"{step.id} {{index + 1}}"'
    path = f'kubeez.must_offer("{rest.path}")' if rest.assumed else f'"{rest.path}"'
    body = f"kubeez.{rest.method}({python.value(values, indent)})"
    model = f', model="{rest.model}"' if rest.model else ""
    return f'kubeez.start({name}, "{rest.kind}", {path}, {body}{model})'


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
