"""Which recipe is meant: a name of the library, or a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from kubeez_mcp_local.cli.terminal import shown

if TYPE_CHECKING:
    from kubeez_mcp_local.cookbook.format import Recipe
    from kubeez_mcp_local.cookbook.library import Library
    from kubeez_mcp_local.settings import Settings


def library_of(settings: Settings) -> Library:
    """The pack, the user's folders, and what was added."""
    from kubeez_mcp_local.mcp_server.recipes import Recipes

    return Recipes(settings).library


def find_recipe(settings: Settings, wanted: str) -> Recipe:
    """The recipe `wanted`: its name, or the path of its file.

    Raises:
        UnknownRecipeError: There is none of that name.
        RecipeError: It is there but cannot be used.
    """
    from kubeez_mcp_local.cookbook.library import read_recipe

    if is_path(wanted):
        return read_recipe(Path(os.path.expanduser(wanted)).absolute())  # noqa: PTH111 - never raises
    return library_of(settings).get(wanted)


def is_path(wanted: str) -> bool:
    """Whether `wanted` is a path rather than a name."""
    return wanted.endswith(".md") or os.sep in wanted or "/" in wanted or wanted in (".", "..")


def reference(settings: Settings, path: Path, name: str) -> str:
    """How to name the recipe in `path` on the command line: by its name where that finds it."""
    entry = library_of(settings).index().entries.get(name)
    found = (
        entry is not None
        and entry.origin.path is not None
        and os.path.realpath(entry.origin.path) == os.path.realpath(path)
    )
    return name if found else shown(path, Path.cwd())
