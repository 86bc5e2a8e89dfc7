"""The recipes of this machine as the server uses them: found on first use, offered as prompts with completion."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
from mcp import MCPError
from mcp.types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    Completion,
    CompletionArgument,
    CompletionContext,
    GetPromptResult,
    Prompt,
    PromptArgument,
    PromptMessage,
    PromptReference,
    ResourceTemplateReference,
    TextContent,
)

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.mcp_server.results import RecipeResult
from kubeez_mcp_local.mcp_server.rows import argument_row
from kubeez_mcp_local.text import on_one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.cookbook.format import Argument, Recipe, Summary
    from kubeez_mcp_local.cookbook.library import Index, Library, Stamps
    from kubeez_mcp_local.settings import Settings

_MAX_COMPLETIONS = 100


@dataclass
class Recipes:
    """The pack, the folders that the settings name, and what was added."""

    settings: Settings

    @cached_property
    def library(self) -> Library:
        """The library itself; its methods block."""
        from kubeez_mcp_local.cookbook.library import Library

        return Library.of(self.settings.recipes, self.settings.state_dir, own=self.settings.own_recipes)

    async def index(self) -> Index:
        return await anyio.to_thread.run_sync(lambda: self.library.index())

    async def remember(self) -> Stamps:
        """The files of the last list; what was read of them is kept for the next process."""
        await anyio.to_thread.run_sync(lambda: self.library.remember())
        return self.library.listed

    async def stamps(self) -> Stamps:
        return await anyio.to_thread.run_sync(lambda: self.library.stamps())

    async def get(self, name: str) -> Recipe:
        """One recipe in full.

        Raises:
            KubeezError: There is none of that name.
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
        from kubeez_mcp_local.cookbook.render import PromptFacts, render_prompt
        from kubeez_mcp_local.runs.prepare import checked_arguments

        values = (await checked_arguments(bridge, recipe, given)).values
        settings = bridge.settings
        facts = PromptFacts(
            mode=bridge.mode.value,
            balance=await bridge.credits_if_known(),
            per_call=settings.max_credits_per_call,
            per_day=settings.max_credits_per_day,
            spent_today=(await bridge.today()).spent,
            ask_above=settings.asks_above,
        )
        return await anyio.to_thread.run_sync(render_prompt, recipe, values, facts)

    async def details(self, bridge: Bridge, name: str, given: Mapping[str, Any]) -> RecipeResult:
        """Everything about one recipe; rendered once its required arguments are given. Raises as `get`, `rendered`."""
        recipe = await self.get(name)
        required = [name for name, argument in recipe.arguments.items() if argument.required]
        missing = [name for name in required if given.get(name) in (None, "", [])]
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


@dataclass(frozen=True)
class Prompts:
    """Recipes as prompts. Files are read when a client asks, so an edit shows on the next list.

    Attributes:
        skills: The names that completion knows skills by.
    """

    bridge: Bridge
    recipes: Recipes
    skills: Callable[[], list[str]]

    async def listing(self) -> list[Prompt]:
        return [_prompt(entry.summary) for entry in (await self.recipes.index()).entries.values()]

    async def get(self, name: str, arguments: dict[str, Any]) -> GetPromptResult:
        """The recipe `name` with `arguments` filled in.

        Raises:
            MCPError: Unknown recipe, or an argument that does not fit (invalid params); or the ledger cannot be read.
        """
        from kubeez_mcp_local.jobs.errors import LedgerError

        try:
            recipe = await self.recipes.get(name)
            text = await self.recipes.rendered(self.bridge, recipe, arguments)
        except LedgerError as error:  # no fault of the arguments
            raise MCPError(code=INTERNAL_ERROR, message=str(error)) from None
        except KubeezError as error:
            raise MCPError(code=INVALID_PARAMS, message=str(error)) from None
        message = PromptMessage(role="user", content=TextContent(type="text", text=text))
        return GetPromptResult(description=recipe.description, messages=[message])

    async def complete(
        self,
        ref: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        context: CompletionContext | None,
    ) -> Completion | None:
        """Values that fit what has been typed so far; nothing for names that do not exist."""
        if isinstance(ref, PromptReference):
            values = await self._recipe_argument(ref.name, argument)
        else:
            values = await self._template_variable(ref.uri, argument)
        values = [value for value in values if value == on_one_line(value)]  # nobody can type the others
        return Completion(values=values[:_MAX_COMPLETIONS], total=len(values), has_more=len(values) > _MAX_COMPLETIONS)

    async def _recipe_argument(self, name: str, argument: CompletionArgument) -> list[str]:
        from kubeez_mcp_local.cookbook.arguments import complete

        index = await self.recipes.index()
        entry = index.entries.get(name)
        declared = entry.summary.arguments.get(argument.name) if entry else None
        if entry is None or declared is None:
            return []
        kind = declared.of if declared.type == "list" else declared.type
        known = await self._known() if kind in ("model", "ratio", "voice") and not declared.choices else {}
        return complete(entry.summary, argument.name, argument.value, known)

    async def _template_variable(self, uri: str, argument: CompletionArgument) -> list[str]:
        if uri == "kubeez://recipes/{name}":
            names = list((await self.recipes.index()).entries)
        elif uri == "kubeez://models/{id}":
            names = [model.id for model in (await self.bridge.catalogue.listing()).models]
        elif uri == "kubeez://skills/{name}":
            names = self.skills()
        elif uri == "kubeez://jobs/{id}":
            names = [job.generation_id or job.id for job in await self.bridge.ledger.recent(_MAX_COMPLETIONS)]
        else:
            return []
        return [name for name in names if name.lower().startswith(argument.value.lower())]

    async def _known(self) -> dict[str, list[str]]:
        models = (await self.bridge.catalogue.listing()).models
        return {
            "model": [model.id for model in models],
            "ratio": list(dict.fromkeys(ratio for model in models for ratio in model.ratios)),
            "voice": list(dict.fromkeys(voice for model in models for voice in model.voices)),
        }


def _prompt(summary: Summary) -> Prompt:
    return Prompt(
        name=summary.name,
        title=summary.title,
        description=summary.description,
        arguments=[
            PromptArgument(name=name, description=_described(argument), required=argument.required)
            for name, argument in summary.arguments.items()
        ],
    )


def _described(argument: Argument) -> str:
    """The description with what clients would otherwise not see: choices, limits and default."""
    from kubeez_mcp_local.cookbook.arguments import as_text
    from kubeez_mcp_local.cookbook.format import limits_in_words

    extras = []
    if argument.choices:
        extras.append(f"one of {', '.join(map(str, argument.choices))}")
    if limits := limits_in_words(argument):
        extras.append(limits)
    if argument.default not in (None, ""):
        extras.append(f"default {as_text(argument.default)}")
    return f"{argument.description} ({'; '.join(extras)})" if extras else argument.description
