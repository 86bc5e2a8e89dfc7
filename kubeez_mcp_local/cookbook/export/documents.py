"""One recipe in other forms: chooses among them, and writes those that are documents.

A Python or shell script, an agent skill, a goose recipe, an editor's prompt file.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import yaml

from kubeez_mcp_local.cookbook.arguments import as_text
from kubeez_mcp_local.cookbook.export.python_script import python_script
from kubeez_mcp_local.cookbook.export.shell_script import shell_script
from kubeez_mcp_local.cookbook.export.to_python import NotExportableError
from kubeez_mcp_local.cookbook.format import near
from kubeez_mcp_local.cookbook.render import argument_lines, body_with, budget_text, rules
from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kubeez_mcp_local.cookbook.format import Argument, Recipe


FORMATS = ("python", "curl", "skill", "goose", "prompt")


def export_recipe(recipe: Recipe, form: str, arguments: Mapping[str, Any]) -> dict[str, str]:
    """The files of one recipe in another form, one of `FORMATS`, by relative path.

    `python` keeps the arguments as options; `curl` is written for these (checked) `arguments`.

    Raises:
        InvalidArgumentError: No such form.
        NotExportableError: The recipe does something that this form cannot.
        TemplateError: The body cannot be rendered.
    """
    match form:
        case "python":
            return {f"{recipe.name}.py": python_script(recipe)}
        case "curl":
            return {f"{recipe.name}.sh": shell_script(recipe, arguments)}
        case "skill":
            return skill_files(recipe)
        case "goose":
            return {f"{recipe.name}.yaml": _goose_recipe(recipe)}
        case "prompt":
            return {f"{recipe.name}.prompt.md": _prompt_file(recipe)}
    raise InvalidArgumentError("to", f"{form!r} is not a form; allowed: {', '.join(FORMATS)}.{near(form, FORMATS)}")


def write_files(folder: Path, files: Mapping[str, str], *, overwrite: bool = False) -> list[Path]:
    """Write exported files below `folder`; those that are there are replaced only with `overwrite`."""
    targets = {folder / name: text for name, text in files.items()}
    for path in targets:
        if path.exists() and not overwrite:
            raise InvalidArgumentError("folder", f"{path} is there already; choose another folder or --overwrite")
    try:
        for path, text in targets.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")  # bash takes no other, wherever it was written
            if text.startswith("#!"):
                path.chmod(0o755)
    except OSError as error:
        raise InvalidArgumentError("folder", f"{folder} cannot be written to: {error.strerror}") from None
    return list(targets)


_TYPES = {"integer": "number", "number": "number", "boolean": "boolean"}


def _goose_recipe(recipe: Recipe) -> str:
    """The text of the goose recipe (goose's recipe reference, version 1.0.0)."""
    instructions = rules(recipe, budget_text(recipe, _placeholder))
    content: dict[str, Any] = {
        "version": "1.0.0",
        "title": recipe.title,
        "description": recipe.description,
        "instructions": instructions,
        "prompt": body_with(recipe, _placeholder, instructions),
        "parameters": [_parameter(name, argument) for name, argument in recipe.arguments.items()],
        "extensions": [
            {
                "type": "stdio",
                "name": "kubeez",
                "cmd": "uvx",
                "args": ["kubeez-mcp-local"],
                "timeout": 300,
                "description": "Kubeez media generation",
                "env_keys": ["KUBEEZ_API_KEY"],
                "available_tools": list(recipe.tools),
            }
        ],
    }
    if not recipe.arguments:
        del content["parameters"]
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _placeholder(name: str) -> str:
    return "{{ " + name + " }}"


def _parameter(name: str, argument: Argument) -> dict[str, Any]:
    """goose wants a default for everything optional, and none for what is required."""
    described: dict[str, Any] = {
        "key": name,
        "input_type": "select" if argument.choices else _TYPES.get(argument.type, "string"),
        "requirement": "required" if argument.required else "optional",
        "description": argument.description,
    }
    if not argument.required:
        described["default"] = "" if argument.default is None else as_text(argument.default)
    if argument.choices:
        described["options"] = [str(choice) for choice in argument.choices]
    return described


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _prompt_file(recipe: Recipe) -> str:

    def asked(name: str) -> str:
        argument = recipe.arguments[name]
        hint = as_text(argument.default) if argument.default not in (None, "") else argument.description
        hint = re.sub(r"(?<=\d):(?=\d)", "x", hint)  # a colon ends the hint: 16:9 becomes 16x9
        return "${input:" + name + ":" + hint.replace("}", ")").replace(":", " ") + "}"

    front = {
        "name": recipe.name,
        "description": recipe.description,
        "agent": "agent",
        "tools": [f"kubeez/{tool}" for tool in recipe.tools],
    }
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=1000, default_flow_style=None)
    parts = [f"---\n{head}---", f"# {recipe.title}", rules(recipe, budget_text(recipe, asked))]
    parts.append(body_with(recipe, asked, parts[-1]))
    return "\n\n".join(parts) + "\n"


def skill_files(recipe: Recipe) -> dict[str, str]:
    """The files of the skill by relative path; the folder is called like the recipe."""
    name = recipe.name
    found = {f"{name}/SKILL.md": _skill_text(recipe), f"{name}/references/{name}.md": recipe.text}
    with suppress(NotExportableError):
        found[f"{name}/scripts/{name}.py"] = python_script(recipe)
    return found


def _skill_text(recipe: Recipe) -> str:
    when = f"{recipe.description.rstrip('.')}. Use when the user asks for: {recipe.title.lower()}."
    front = {
        "name": recipe.name,
        "description": when,
        "compatibility": "Needs the Kubeez MCP server (kubeez-mcp-local, or the hosted one).",
        "metadata": {"version": str(recipe.version), "source": f"kubeez recipe {recipe.name}"},
    }
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=1000)
    budget = budget_text(recipe, lambda name: f"`{name}`")
    parts = [f"---\n{head}---", f"# {recipe.title}", rules(recipe, budget)]
    if recipe.arguments:
        ask = "Find these in what the user said; ask for what is required and missing, use the defaults for the rest."
        parts += ["## What to know first", ask, "\n".join(argument_lines(recipe))]
    parts += ["## The work", body_with(recipe, lambda name: f"<{name}>", f"<{budget.strip('`')}>")]
    if recipe.steps:
        command = f"kubeez-mcp-local recipes run {recipe.name}"
        parts += [
            "## Without an assistant",
            f"The same work runs headless: `{command}`; see `references/` and `scripts/`.",
        ]
    return "\n\n".join(parts) + "\n"
