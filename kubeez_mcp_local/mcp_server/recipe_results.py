"""The shapes of what recipe tools answer."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from kubeez_mcp_local.mcp_server.results import Cost, FileItem, Result


class RecipesResult(Result):
    """Recipes of this machine; `problems` are files that cannot be used."""

    published = ("recipes", "matching_count")

    recipes: list[dict[str, Any]]
    matching_count: int
    problems: list[str] = Field(default_factory=list)


class RecipeResult(Result):
    """One recipe. `text` is what to do, present once all required arguments are given."""

    published = ("name", "text", "arguments", "next_step")

    name: str
    title: str
    description: str
    version: int
    source: str
    overrides: list[str] = Field(default_factory=list)
    arguments: list[dict[str, Any]]
    tools: list[str]
    steps: list[str]
    missing: list[str] = Field(default_factory=list)
    text: str | None = None


class RunResult(Result):
    """A run of a recipe: how far it is, what it made, what it cost."""

    published = ("run_id", "status", "summary", "files", "cost", "next_step")

    run_id: str | None = None
    recipe: str
    status: str
    summary: str
    calls: list[dict[str, Any]] = Field(default_factory=list)
    files: list[FileItem] = Field(default_factory=list)
    cost: Cost | None = None
    budget: float | None = None
    approval: str | None = None


class SavedRecipeResult(Result):
    """A recipe that was written to disk."""

    published = ("name", "path")

    name: str
    path: str
    arguments: list[str]
