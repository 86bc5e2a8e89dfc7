"""Recipes: finding, reading, running and recording them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from kubeez_mcp_local.mcp_server.call import Call
from kubeez_mcp_local.mcp_server.inventory import tool
from kubeez_mcp_local.mcp_server.recipe_shaping import quoted_run, run_result
from kubeez_mcp_local.mcp_server.results import RecipeResult, RecipesResult, RunResult, SavedRecipeResult
from kubeez_mcp_local.mcp_server.rows import entry_row
from kubeez_mcp_local.mcp_server.tools import parameters as p

RUN_PATIENCE = 35.0
"""Seconds a call waits for a run; clients give up on calls that last a minute."""


def _as_mapping(value: Any) -> Any:
    """Objects that a host sent as JSON text."""
    if not isinstance(value, str):
        return value
    import json

    try:
        return json.loads(value or "{}")
    except ValueError:
        return value


RecipeName = Annotated[str, Field(description="Name from list_recipes.")]
Arguments = Annotated[
    dict[str, Any],
    BeforeValidator(_as_mapping),
    Field(description="The recipe's arguments by name; see get_recipe."),
]


@tool(title="Recipes", family="recipes", result=RecipesResult, remote=False)
async def list_recipes(
    call: Call,
    query: Annotated[str, Field(description="Words that name, title, description or tags must contain.")] = "",
    limit: Annotated[int, Field(description="At most this many rows, 1 to 200.", ge=1, le=200)] = 50,
) -> RecipesResult:
    """Ready workflows on this machine: the pack, the user's own, a team's. The same as the server's prompts. Free."""
    index = await call.recipes.index()
    words = query.lower().split()
    found = [entry for entry in index.entries.values() if all(word in _text(entry.summary) for word in words)]
    return RecipesResult(
        mode=call.mode,
        recipes=[entry_row(entry) for entry in found[:limit]],
        matching_count=len(found),
        problems=[str(problem) for problem in index.problems[:20]],
        next_step="get_recipe(name) tells what it needs; * marks required arguments.",
    )


@tool(title="One recipe", family="recipes", result=RecipeResult)
async def get_recipe(call: Call, name: RecipeName, arguments: Arguments = {}) -> RecipeResult:  # noqa: B006
    """A recipe's arguments and, once the required ones are given, its instructions to carry out. Free.

    The instructions state budget, balance and when to ask. Recipes with steps can be run by run_recipe instead.
    """
    return await call.recipes.told(call.bridge, name, arguments)


@tool(title="Run a recipe", family="recipes", result=RunResult, effect="spend")
async def run_recipe(
    call: Call,
    name: RecipeName,
    arguments: Arguments = {},  # noqa: B006 - a pydantic default, never shared
    rehearse: Annotated[bool, Field(description="In the sandbox first: free, marked stand-in files.")] = False,
    run_id: Annotated[str, Field(description="A name of your own for another run of the same arguments.")] = "",
    approval: p.Approval = "",
) -> RunResult:
    """Run all steps of a recipe within its budget. Costs credits: priced as a whole, one yes for all of it.

    Waits up to 35 seconds; if it still runs, the same call goes on waiting. The same arguments are the same run:
    nothing is paid twice, and a run that was cut off goes on.
    """
    from kubeez_mcp_local.jobs.failures import ConsentRequiredError

    recipe = await call.recipes.get(name)
    try:
        run = await call.runs.start(recipe, arguments, call.caller(approval), run_id=run_id, rehearse=rehearse)
    except ConsentRequiredError as error:
        return await quoted_run(call, recipe.name, error)
    await run.wait(RUN_PATIENCE, call.progress)
    return await run_result(call, run)


@tool(title="Save jobs as a recipe", family="recipes", result=SavedRecipeResult, effect="write", remote=False)
async def save_recipe(
    call: Call,
    name: Annotated[str, Field(description="Of the new recipe: lower-case letters, digits, hyphens.")],
    job_ids: Annotated[p.Texts, Field(description="generation_ids of completed jobs of this machine, 1 to 40.")],
    title: Annotated[str, Field(description="A few words.")] = "",
    description: Annotated[str, Field(description="What it makes, in one sentence.")] = "",
) -> SavedRecipeResult:
    """Turn finished jobs into a recipe that makes the like again; prompts become its arguments. Free."""
    import anyio.to_thread

    from kubeez_mcp_local.cookbook.drafts import recipe_folder, refuse_hiding, save_draft

    await anyio.to_thread.run_sync(refuse_hiding, call.bridge.settings, name)
    folder = recipe_folder(call.bridge)
    path = await save_draft(call.bridge, job_ids, name, title=title, description=description, folder=folder)
    recipe = await call.recipes.get(name)
    return SavedRecipeResult(
        mode=call.mode,
        name=name,
        path=str(path),
        arguments=list(recipe.arguments),
        next_step=f"run_recipe('{name}', rehearse=true) tries it for free. The user can edit the file.",
    )


def _text(summary: Any) -> str:
    return " ".join((summary.name, summary.title, summary.description, *summary.tags)).lower()
