"""A recipe as an editor's prompt file (`.prompt.md`): the editor asks for the arguments and offers the tools."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import yaml

from kubeez_mcp_local.cookbook.arguments import as_text
from kubeez_mcp_local.cookbook.export.placeholders import body_with, budget_text, rules

if TYPE_CHECKING:
    from kubeez_mcp_local.cookbook.format import Recipe


def prompt_file(recipe: Recipe) -> str:
    """The text of the prompt file.

    Raises:
        TemplateError: The body cannot be rendered.
    """

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
