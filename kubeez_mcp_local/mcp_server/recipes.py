"""The recipe library as the server uses it: found on first use, read off the event loop."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import anyio.to_thread

if TYPE_CHECKING:
    from kubeez_mcp_local.cookbook.format import Recipe
    from kubeez_mcp_local.cookbook.library import Index, Library
    from kubeez_mcp_local.settings import Settings


class Recipes:
    """The pack, the user's folders, and what was added.

    Args:
        settings: Name the folders.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def library(self) -> Library:
        """The library itself; its methods block."""
        from kubeez_mcp_local.cookbook.library import Library

        settings = self._settings
        return Library.of(settings.recipes, settings.state_dir, own=settings.own_recipes)

    async def index(self) -> Index:
        """All recipes as they are on disk now."""
        return await anyio.to_thread.run_sync(lambda: self.library.index())

    async def get(self, name: str) -> Recipe:
        """One recipe in full.

        Raises:
            UnknownRecipeError: There is none of that name.
            RecipeError: It is there but cannot be used.
        """
        return await anyio.to_thread.run_sync(lambda: self.library.get(name))
