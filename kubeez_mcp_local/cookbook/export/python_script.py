"""A recipe as a plain Python script against the REST API: httpx, the standard library, and nothing of this package."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import TYPE_CHECKING

from kubeez_mcp_local.cookbook.calls import PAID_TOOLS
from kubeez_mcp_local.cookbook.export.calls_rest import IMPLIED_TOOLS, NotExportableError, rest_call
from kubeez_mcp_local.cookbook.export.python_options import options_source
from kubeez_mcp_local.cookbook.export.script_helpers import helper_sources
from kubeez_mcp_local.cookbook.export.to_python import ToPython, variable
from kubeez_mcp_local.cookbook.plan import deciding, dependencies

if TYPE_CHECKING:
    from kubeez_mcp_local.cookbook.format import Recipe, Step

_HEAD = '''#!/usr/bin/env python3
"""{title}

{description}

Exported from the Kubeez recipe {name}, version {version}. Needs Python 3.11 and httpx (pip install httpx).

    export KUBEEZ_API_KEY=sk_live_…
    python {name}.py --help

When it is cut off, the same command goes on and pays for nothing twice. Once all is made, it makes everything anew.
To rehearse for free, start a sandbox (kubeez-mcp-local sandbox serve) and set KUBEEZ_BASE_URL to its address.
"""

from __future__ import annotations

import argparse
{imports}

import httpx

'''
_MAIN = r"""
def main() -> int:
    args = read_arguments()
    key = os.environ.get("KUBEEZ_API_KEY", "")
    if not key:
        print("Set KUBEEZ_API_KEY to your key.", file=sys.stderr)
        return 2
    base_url = os.environ.get("KUBEEZ_BASE_URL", "https://api.kubeez.com").rstrip("/")
    if not re.match(r"https://|http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?(/|$)", base_url):
        print("KUBEEZ_BASE_URL must be https, or on this machine.", file=sys.stderr)
        return 2
    record = record_name(args)
    try:
        kubeez = Kubeez(base_url, key, args.output, record, {budget}, args.poll_seconds)
        run(kubeez, args)
        kubeez.done()
    except Unknown as error:
        print(f"Stopped: {{error}}. It may have been charged: look for it in GET /v1/generations.", file=sys.stderr)
        print(f"Then give its entry in {{args.output / record}} that id, or delete the entry.", file=sys.stderr)
        return 1
    except (Failed, OSError) as error:
        print(f"Stopped: {{error}}. The same command goes on where it stopped.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. Jobs that were started go on, and so does the same command.", file=sys.stderr)
        return 130
    print(f"Done. {{kubeez.spent:g}} credits, files in {{args.output}}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
"""
_RECORD = '''
def record_name(args: argparse.Namespace) -> str:
    """The file that remembers a run: the same arguments are the same run."""
    others = {others}  # decide nothing about what is made
    deciding = {{name: value for name, value in vars(args).items() if name not in others}}
    return f"run-{{hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:10]}}.json"
'''
_MODULES = ("csv", "hashlib", "io", "json", "mimetypes", "os", "random", "re", "sys", "time")
_NAMES = (("collections.abc", "Callable"), ("pathlib", "Path"), ("typing", "Any"), ("urllib.parse", "urljoin"))
_OPTIONAL = ("music", "dialogue", "plain", "media", "url", "must_offer", "pick_model", "once")


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
        options_source(recipe),
        f"def run(kubeez: Kubeez, args: argparse.Namespace) -> None:\n{body}",
    ]
    source = _without_unused("\n\n".join(parts) + "\n" + _RECORD.format(others=_others(recipe)))
    source += "\n" + _MAIN.format(budget=f"float({budget})")
    used = [name for name in _MODULES if re.search(rf"\b{name}\.", source)]
    imports = "\n".join(f"import {name}" for name in used)
    imports += "".join(f"\nfrom {module} import {name}" for module, name in _NAMES)
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


def _without_unused(source: str) -> str:
    """`source` without the methods and helpers that it never calls."""
    for name in (*_OPTIONAL, *_OPTIONAL):  # some are called only by others
        block = re.search(rf"\n    def {name}\(.*?(?=\n    def |\n\n\nclass )", source, re.S)
        if block and not re.search(rf"(?:kubeez|self)\.{name}\b", source.replace(block[0], "")):
            source = source.replace(block[0], "")
    if "fits(row" not in source.replace("def fits(", ""):
        source = re.sub(r"def fits\(.*?\n\n\n(?=def )", "", source, flags=re.S)
    return source if source.count("LENGTH_IN_ID") > 1 else re.sub(r"LENGTH_IN_ID = .*\n", "", source)


def _others(recipe: Recipe) -> str:
    """Options that do not decide what is made."""
    deciding_ = deciding(recipe, dict.fromkeys(recipe.arguments))
    spared = [variable(name) for name in recipe.arguments if name not in deciding_]
    return json.dumps(["output", "poll_seconds", *spared]).replace("[", "(").replace("]", ")")


def _readers(recipe: Recipe) -> set[str]:
    """Helpers that turn the text of an option into a list or a table."""
    kinds = {argument.type for argument in recipe.arguments.values()}
    return {name for kind, name in (("list", "entries"), ("table", "table")) if kind in kinds}


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
        lines.append(f'    {made}: dict[str, Any] = {{"outputs": [], "songs": [], "files": []}}')
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
    name = f'"{step.id}"' if step.for_each is None else f'f"{step.id} {{index + 1}}"'
    if step.tool == "pick_model":
        return f"kubeez.once({name}, lambda: kubeez.pick_model({python.value(values, indent)}))"
    if step.tool == "get_balance":
        return f'kubeez.once({name}, lambda: kubeez.read("/v1/balance"))'
    rest = rest_call(step.tool)
    if step.with_.get("variant_count") not in (None, 1):
        raise NotExportableError(f"{step.id} uses variant_count; write it as for_each to export it.")
    path = f'kubeez.must_offer("{rest.path}")' if rest.assumed else f'"{rest.path}"'
    model = f', model="{rest.model}"' if rest.model else ""
    at_most = f", at_most={step.at_most:g}" if step.at_most is not None else ""
    body = python.value(values, indent)
    return f'kubeez.start({name}, "{rest.kind}", {path}, kubeez.{rest.method}, {body}{model}{at_most})'
