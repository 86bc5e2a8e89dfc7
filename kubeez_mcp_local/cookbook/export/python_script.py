"""A recipe as a Python script against the REST API, with the recipe's arguments as its options."""

from __future__ import annotations

import inspect
import json
import re
from importlib.resources import files
from typing import TYPE_CHECKING

from kubeez_mcp_local.cookbook.export.to_python import (
    IMPLIED_TOOLS,
    NotExportableError,
    ToPython,
    rest_call,
    steps_to_export,
    text_literal,
    variable,
)
from kubeez_mcp_local.cookbook.format import limits_in_words
from kubeez_mcp_local.cookbook.steps import PAID_TOOLS, deciding
from kubeez_mcp_local.cookbook.templates import TO_EXPORT

if TYPE_CHECKING:
    from collections.abc import Collection

    from kubeez_mcp_local.cookbook.format import Argument, Recipe, Step


_SOURCES = {
    "text": '''def text(value: Any) -> str:
    """A value in a prompt: nothing for None."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)''',
    "entries": '''def entries(value: str) -> list[str]:
    """A list given as text with commas, semicolons or lines between the entries."""
    return [part.strip() for part in re.split(r"[,;\\n]", value) if part.strip()]''',
    "long_text": '''def long_text(value: str) -> str:
    """Words, or what the text file holds that they name."""
    try:
        path = Path(value).expanduser()
        return path.read_text(encoding="utf-8-sig").strip() if "\\n" not in value and path.is_file() else value
    except UnicodeDecodeError as error:
        raise argparse.ArgumentTypeError(f"{value} is not UTF-8 text") from error
    except (OSError, RuntimeError, ValueError):
        return value''',
    "table": '''def table(value: str, required: Any = (), others: Any = ()) -> list[dict[str, str]]:
    """Rows of a CSV file, or of CSV text, by column name."""
    try:
        data = value if "\\n" in value.strip() else Path(value).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    delimiter = max(",;\\t", key=data.lstrip().split("\\n", 1)[0].count)
    rows = [row for row in csv.reader(io.StringIO(data.strip()), delimiter=delimiter) if any(row)]
    if len(rows) < 2:
        raise argparse.ArgumentTypeError("has no rows below the column names")
    names = ["_".join(re.findall(r"\\w+", name.lower())) for name in rows[0]]
    if lacking := [name for name in required if name not in names]:
        raise argparse.ArgumentTypeError(f"has no column {', '.join(lacking)}")
    cells = [dict(zip(names, [cell.strip() for cell in row] + [""] * len(names))) for row in rows[1:]]
    for number, row in enumerate(cells, start=1):
        if empty := [name for name in required if not row[name]]:
            raise argparse.ArgumentTypeError(f"row {number}: {', '.join(empty)} is empty")
    return [{**dict.fromkeys(others, ""), **row} for row in cells]''',
}


def _helper_sources(names: Collection[str]) -> list[str]:
    """The sources of the helpers that are needed, in a fixed order."""
    filters = {function.__name__: inspect.getsource(function).rstrip() for function in TO_EXPORT}
    return [source for name, source in (filters | _SOURCES).items() if name in names]


_WIDTH = 120


def _options_source(recipe: Recipe) -> str:
    """The function `read_arguments`: an option for each argument of the recipe, and two for the script itself."""
    lines = [
        "def read_arguments() -> argparse.Namespace:",
        _option("parser = argparse.ArgumentParser", [f"description={text_literal(recipe.description)}"]),
    ]
    for name, argument in recipe.arguments.items():
        option = _option_of(name)
        dest = [] if variable(name) == option.strip("-").replace("-", "_") else [f'dest="{variable(name)}"']
        told = text_literal(argument.description.replace("%", "%%"))
        parts = [f'"{option}"', *dest, *_kind(argument), f"help={told}"]
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
    if argument.type == "script":
        return [
            "    try:",
            f'        script(args.{variable(name)} or "", ["a voice"] * {int(argument.maximum or 100)})',
            "    except ValueError as error:",
            f'        parser.error(f"{_option_of(name)}: {{error}}")',
        ]
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
    lines = "".join(f"        {one},\n" for one in parts)
    return line if len(line) <= _WIDTH else f"    {function}(\n{lines}    )"


_READ_AS = {
    "boolean": "action=argparse.BooleanOptionalAction",
    "integer": "type=int",
    "number": "type=float",
    "list": "type=entries",
    "table": "type=table",
    "text": "type=long_text",
    "script": "type=long_text",
}
_READERS = {"list": ["entries"], "table": ["table"], "text": ["long_text"], "script": ["long_text", "script"]}


def _names(names: tuple[str, ...]) -> str:
    """A tuple of names as Python that a formatter leaves alone."""
    return repr(names).replace("'", '"')


def _kind(argument: Argument) -> list[str]:
    parts = [_READ_AS[argument.type]] if argument.type in _READ_AS else []
    if argument.columns:
        required = tuple(name for name, column in argument.columns.items() if column.required)
        others = tuple(name for name, column in argument.columns.items() if not column.required)
        parts = [f"type=lambda value: table(value, {_names(required)}, {_names(others)})"]
    if argument.choices and argument.type not in ("boolean", "list"):
        numbers = argument.type in ("integer", "number")
        typed = list(argument.choices) if numbers else [str(one) for one in argument.choices]
        parts.append(f"choices={json.dumps(typed, ensure_ascii=False)}")
    if argument.required:
        parts.append("required=True")
    elif argument.default not in (None, ""):
        default = argument.default if argument.type in ("integer", "number", "boolean") else str(argument.default)
        parts.append(f"default={text_literal(default) if isinstance(default, str) else repr(default)}")
    elif argument.type in ("list", "table"):
        parts.append("default=[]")
    return parts


_HEAD = '''#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["httpx>=0.28,<1"]
# ///
"""{title}

{description}

Exported from the Kubeez recipe {name}, version {version}. Needs Python 3.11 and httpx; uv fetches both.

    export KUBEEZ_API_KEY=sk_live_…
    uv run {name}.py --help

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
_MODULES = ("csv", "hashlib", "io", "json", "mimetypes", "os", "random", "re", "sys", "time", "unicodedata")
_NAMES = (
    *(("collections.abc", "Callable, Iterable, Mapping, Sequence"), ("pathlib", "Path"), ("typing", "Any")),
    ("urllib.parse", "unquote, urljoin, urlsplit"),
)
_OPTIONAL = ("music", "dialogue", "plain", "media", "url", "must_offer", "pick_model", "once")


def python_script(recipe: Recipe) -> str:
    """The source of the script; its arguments are the recipe's. Raises as `steps_to_export`, or for what REST lacks."""
    steps_to_export(recipe)
    python = ToPython([step.id for step in recipe.steps], recipe.arguments)
    body = "\n".join(_step(step, python) for step in recipe.steps)
    told = recipe.front.budget
    budget = python.text(told) if isinstance(told, str) and told else repr(told) if told else 'float("inf")'
    parts = [
        _runtime_source(),
        *_helper_sources(python.used.union(*(_READERS.get(one.type, ()) for one in recipe.arguments.values()))),
        _options_source(recipe),
        f"def run(kubeez: Kubeez, args: argparse.Namespace) -> None:\n{body}",
    ]
    source = _without_unused("\n\n".join(parts) + "\n" + _RECORD.format(others=_others(recipe)))
    source += "\n" + _MAIN.format(budget=f"float({budget})")
    used = [name for name in _MODULES if re.search(rf"\b{name}\.", source)]
    imports = "\n".join(f"import {name}" for name in used)
    imports += "".join(f"\nfrom {module} import {name}" for module, name in _NAMES)
    title, description = (told.replace("\\", "").replace('"', "'") for told in (recipe.title, recipe.description))
    head = _HEAD.format(title=title, description=description, name=recipe.name, version=recipe.version, imports=imports)
    return head + re.sub(r"\n{3,}(?=def |class |if __name__)", "\n\n\n", re.sub(r"\n\n(?=def )", "\n\n\n", source))


def _runtime_source() -> str:
    """What every script carries: how files are called, and the part of `runtime.py` that talks to the API."""
    told = (("kubeez_mcp_local.jobs", "naming.py"), ("kubeez_mcp_local.cookbook.export", "runtime.py"))
    texts = [(files(package) / name).read_text(encoding="utf-8") for package, name in told]
    inner = [text.split("# --8<-- ")[1].partition("\n")[2].strip() for text in texts]
    return re.sub(r"  # noqa: [A-Z0-9, ]+", "", "\n\n\n".join(inner))


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


def _step(step: Step, python: ToPython) -> str:
    if step.tool in IMPLIED_TOOLS:
        return f"    # {step.id}: {step.tool} – the script does this by itself"
    pad, made = "    ", variable(step.id)
    lines = [f"    # {step.id}: {step.tool}"]
    if step.for_each is not None:
        lines.append(f"    {made}: list[dict[str, Any]] = []")
        items = python.text(step.for_each) if isinstance(step.for_each, str) else python.value(step.for_each, 4)
        lines.append(f"    items = {items}")
        lines.append("    for index, (item, label) in enumerate(zip(items, told_apart(items))):")
        pad += "    "
    elif step.when is not None:
        lines.append(f'    {made}: dict[str, Any] = {{"outputs": [], "songs": [], "files": []}}')
    if step.when is not None:
        lines.append(f"{pad}if {python.condition(step.when)}:")
        pad += "    "
    call = _call(step, python, len(pad))
    if step.tool not in PAID_TOOLS:
        lines.append(f"{pad}{made} = {call}" if step.for_each is None else f"{pad}{made}.append({call})")
    elif step.for_each is None:
        lines.append(f"{pad}{made} = {call}\n{pad}kubeez.finish([{made}])")
    else:
        lines.append(f"{pad}{made}.append({call})")
        lines.append(f"    kubeez.finish({made})")
    return "\n".join(lines)


def _call(step: Step, python: ToPython, indent: int) -> str:
    values = dict(step.with_)
    values.pop("variant_count", None)
    name = f'"{step.id}"' if step.for_each is None else f'f"{step.id} {{index + 1}}"'
    if step.tool == "pick_model":
        return f"kubeez.once({name}, lambda: kubeez.pick_model({python.value(values, indent)}))"
    if step.tool == "get_balance":
        return f'kubeez.once({name}, lambda: kubeez.read("/v1/balance"))'
    operation = rest_call(step.tool)
    route = operation.route
    if step.with_.get("variant_count") not in (None, 1):
        raise NotExportableError(f"{step.id} uses variant_count; write it as for_each to export it.")
    path = f'kubeez.must_offer("{route.path}")' if route.evidence == "assumed" else f'"{route.path}"'
    model = f', model="{operation.model}"' if operation.model else ""
    at_most = f", at_most={step.at_most:g}" if step.at_most is not None else ""
    body = python.value(values, indent)
    label = '"", ""' if step.for_each is None else "*label"
    called = f', called=("{step.id}", {label}, "{operation.makes}")'
    return f'kubeez.start({name}, "{route.kind}", {path}, kubeez.{operation.script}, {body}{model}{at_most}{called})'
