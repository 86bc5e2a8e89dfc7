"""The recipe library as the server uses it: found on first use, read off the event loop."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from kubeez_mcp_local.mcp_server.results import RecipeResult
from kubeez_mcp_local.mcp_server.rows import argument_row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.cookbook.format import Recipe
    from kubeez_mcp_local.cookbook.library import Index, Library, Stamps
    from kubeez_mcp_local.cookbook.render import PromptFacts
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

    async def remember(self) -> Stamps:
        """The files of the last list; what was read of them is kept for the next process."""
        await anyio.to_thread.run_sync(lambda: self.library.remember())
        return self.library.listed

    async def stamps(self) -> Stamps:
        """The files there are now."""
        return await anyio.to_thread.run_sync(lambda: self.library.stamps())

    async def get(self, name: str) -> Recipe:
        """One recipe in full.

        Raises:
            UnknownRecipeError: There is none of that name.
            RecipeError: It is there but cannot be used.
        """
        return await anyio.to_thread.run_sync(lambda: self.library.get(name))

    async def rendered(self, bridge: Bridge, recipe: Recipe, given: Mapping[str, Any]) -> str:
        """The prompt of a recipe, with its arguments and the facts of the moment filled in.

        Raises:
            InvalidArgumentError: An argument does not fit, or names a file that is not allowed.
            RecipeError: It cannot be rendered.
            LedgerError: What was spent today cannot be read.
        """
        from kubeez_mcp_local.cookbook.arguments import check_arguments, table_reader
        from kubeez_mcp_local.cookbook.render import render_prompt

        def checked() -> dict[str, Any]:
            return check_arguments(recipe.front, given, read_table=table_reader(bridge.settings.input_dirs))

        values = await anyio.to_thread.run_sync(checked)
        facts = await _facts(bridge)
        return await anyio.to_thread.run_sync(render_prompt, recipe, values, facts)

    async def told(self, bridge: Bridge, name: str, given: Mapping[str, Any]) -> RecipeResult:
        """Everything about one recipe; rendered once its required arguments are given. Raises as `get`, `rendered`."""
        recipe = await self.get(name)
        missing = [
            name
            for name, argument in recipe.arguments.items()
            if argument.required and given.get(name) in (None, "", [])
        ]
        text = None if missing else await self.rendered(bridge, recipe, given)
        entry = (await self.index()).entries[name]
        runs = " Or let run_recipe carry out its steps." if recipe.steps else ""
        return RecipeResult(
            mode=bridge.mode.value,
            name=recipe.name,
            title=recipe.title,
            description=recipe.description,
            version=recipe.version,
            source=recipe.origin.where,
            overrides=list(entry.overrides),
            arguments=[argument_row(name, argument) for name, argument in recipe.arguments.items()],
            tools=list(recipe.tools),
            steps=[f"{step.id}: {step.tool}" for step in recipe.steps],
            missing=missing,
            text=text,
            next_step=f"Carry out the text.{runs}"
            if text
            else f"Ask the user for {', '.join(missing)}; then call get_recipe again with arguments.",
        )


async def _facts(bridge: Bridge) -> PromptFacts:
    from kubeez_mcp_local.cookbook.render import PromptFacts

    settings = bridge.settings
    return PromptFacts(
        mode=bridge.mode.value,
        balance=await bridge.credits_if_known(),
        per_call=settings.max_credits_per_call,
        per_day=settings.max_credits_per_day,
        spent_today=(await bridge.today()).spent,
        ask_above=settings.asks_above,
    )
