"""Recipes and their arguments as rows of a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kubeez_mcp_local.cookbook.format import Argument
    from kubeez_mcp_local.cookbook.library import Entry


def entry_row(entry: Entry) -> dict[str, Any]:
    """A recipe as a list shows it; required arguments have a star."""
    summary = entry.summary
    row: dict[str, Any] = {
        "name": entry.name,
        "title": summary.title,
        "description": summary.description,
        "arguments": ", ".join(name + "*" * argument.required for name, argument in summary.arguments.items()),
        "tags": ", ".join(summary.tags),
        "source": entry.origin.where,
    }
    if entry.overrides:
        row["overrides"] = ", ".join(entry.overrides)
    return row


def argument_row(name: str, argument: Argument) -> dict[str, Any]:
    """One argument with what is allowed."""
    row: dict[str, Any] = {"name": name, "type": argument.type, "description": argument.description}
    if argument.required:
        row["required"] = True
    if argument.choices:
        row["choices"] = list(argument.choices)
    for limit in ("default", "minimum", "maximum", "max_length"):
        if (value := getattr(argument, limit)) not in (None, ""):
            row[limit] = value
    return row
