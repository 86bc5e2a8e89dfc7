"""A recipe as a goose recipe (YAML), which asks for the arguments and starts this server by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from kubeez_mcp_local.cookbook.arguments import as_text
from kubeez_mcp_local.cookbook.export.placeholders import body_with, budget_text, rules

if TYPE_CHECKING:
    from kubeez_mcp_local.cookbook.format import Argument, Recipe

_TYPES = {"integer": "number", "number": "number", "boolean": "boolean"}


def goose_recipe(recipe: Recipe) -> str:
    """The text of the goose recipe (goose's recipe reference, version 1.0.0).

    Raises:
        TemplateError: The body cannot be rendered.
    """
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
    kind = "select" if argument.choices else _TYPES.get(argument.type, "string")
    described: dict[str, Any] = {
        "key": name,
        "input_type": kind,
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
