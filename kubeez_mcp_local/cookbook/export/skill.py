"""A recipe as an Agent Skills folder: SKILL.md, the recipe itself, and its script where it has steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from kubeez_mcp_local.cookbook.export.calls_rest import NotExportableError
from kubeez_mcp_local.cookbook.export.placeholders import argument_lines, body_with, budget_text, rules
from kubeez_mcp_local.cookbook.export.python_script import python_script

if TYPE_CHECKING:
    from kubeez_mcp_local.cookbook.format import Recipe


def skill_files(recipe: Recipe) -> dict[str, str]:
    """The files of the skill by relative path; the folder is called like the recipe.

    Raises:
        TemplateError: The body cannot be rendered.
    """
    found = {f"{recipe.name}/SKILL.md": skill_text(recipe), f"{recipe.name}/references/{recipe.name}.md": recipe.text}
    try:
        found[f"{recipe.name}/scripts/{recipe.name}.py"] = python_script(recipe)
    except NotExportableError:
        return found
    return found


def skill_text(recipe: Recipe) -> str:
    """The text of SKILL.md.

    Raises:
        TemplateError: The body cannot be rendered.
    """
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
