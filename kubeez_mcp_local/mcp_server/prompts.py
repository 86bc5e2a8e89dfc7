"""Recipes as MCP prompts, with completion of their arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
from kubeez_mcp_local.text import on_one_line

if TYPE_CHECKING:
    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.cookbook.format import Argument
    from kubeez_mcp_local.cookbook.library import Entry
    from kubeez_mcp_local.mcp_server.recipes import Recipes

_MAX_COMPLETIONS = 100


class Prompts:
    """Recipes as prompts. Files are read when a client asks, so an edit shows on the next list.

    Args:
        bridge: For balance, ceilings and what completion offers.
        recipes: The recipes.
    """

    def __init__(self, bridge: Bridge, recipes: Recipes) -> None:
        self._bridge = bridge
        self._recipes = recipes

    async def listing(self) -> list[Prompt]:
        """Every recipe as a prompt."""
        index = await self._recipes.index()
        return [_prompt(entry) for entry in index.entries.values()]

    async def get(self, name: str, arguments: dict[str, Any]) -> GetPromptResult:
        """The recipe `name` with `arguments` filled in.

        Raises:
            MCPError: Unknown recipe, or an argument that does not fit (invalid params); or the ledger cannot be read.
        """
        from kubeez_mcp_local.jobs.failures import LedgerError

        try:
            recipe = await self._recipes.get(name)
            text = await self._recipes.rendered(self._bridge, recipe, arguments)
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

        index = await self._recipes.index()
        entry = index.entries.get(name)
        declared = entry.summary.arguments.get(argument.name) if entry else None
        if entry is None or declared is None:
            return []
        known = await self._known() if declared.type in ("model", "ratio", "voice") and not declared.choices else {}
        return complete(entry.summary, argument.name, argument.value, known)

    async def _template_variable(self, uri: str, argument: CompletionArgument) -> list[str]:
        if uri == "kubeez://recipes/{name}":
            names = list((await self._recipes.index()).entries)
        elif uri == "kubeez://models/{id}":
            names = [model.id for model in (await self._bridge.catalogue.listing()).models]
        elif uri == "kubeez://jobs/{id}":
            names = [job.generation_id or job.id for job in await self._bridge.ledger.recent(_MAX_COMPLETIONS)]
        else:
            return []
        return [name for name in names if name.lower().startswith(argument.value.lower())]

    async def _known(self) -> dict[str, list[str]]:
        models = (await self._bridge.catalogue.listing()).models
        return {
            "model": [model.id for model in models],
            "ratio": list(dict.fromkeys(ratio for model in models for ratio in model.ratios)),
            "voice": list(dict.fromkeys(voice for model in models for voice in model.voices)),
        }


def _prompt(entry: Entry) -> Prompt:
    summary = entry.summary
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
