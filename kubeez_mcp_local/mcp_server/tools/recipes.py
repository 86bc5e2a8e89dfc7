"""Recipes: finding, reading, running and recording them."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from kubeez_mcp_local.bridge.sheets import sheet_of_run
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.mcp_server.answers import link
from kubeez_mcp_local.mcp_server.call import Call
from kubeez_mcp_local.mcp_server.inventory import tool
from kubeez_mcp_local.mcp_server.results import (
    Cost,
    FileItem,
    RecipeResult,
    RecipesResult,
    RunResult,
    SavedRecipeResult,
)
from kubeez_mcp_local.mcp_server.rows import entry_row, known
from kubeez_mcp_local.mcp_server.shaping import cost_of
from kubeez_mcp_local.operations import parameters as p
from kubeez_mcp_local.text import cut

if TYPE_CHECKING:
    from kubeez_mcp_local.cookbook.price import Planned
    from kubeez_mcp_local.jobs.errors import ConsentRequiredError
    from kubeez_mcp_local.runs.active import ActiveRun
    from kubeez_mcp_local.runs.prepare import Prepared
    from kubeez_mcp_local.runs.run import CallReport


MAX_SHOWN = 30
"""Calls and files of a run that a result lists; a campaign has hundreds, and every conversation pays for them."""

_REHEARSED = "This was a rehearsal with play credits; the account was not touched."


async def run_result(call: Call, run: ActiveRun) -> RunResult:
    """As `run_state`, told to the caller that started it or waits for it."""
    run.told = run.over.is_set()
    result = await run_state(call, run)
    await call.show([(file.path, file.media_type) for file in result.files])
    return result


async def run_state(call: Call, run: ActiveRun) -> RunResult:
    """The state of a run, or what it came to.

    Raises:
        KubeezError: It broke off.
    """
    if run.error is not None:
        raise run.error
    ready, report = run.prepared, run.report
    if report is None:
        return RunResult(
            mode=ready.run.id.mode,
            run_id=ready.run.id.name,
            recipe=ready.recipe.name,
            status="running",
            summary=f"{ready.recipe.name}: running; {run.news()}.",
            cost=await _cost(call, run, run.latest.spent if run.latest else ready.earlier.spend.charged),
            budget=ready.run.budget.credits,
            next_step="Call run_recipe again with the same arguments to go on waiting; nothing is started twice.",
        )
    files = [file for one in report.calls for file in (one.result or {}).get("files") or []]
    for file in files[:MAX_SHOWN]:
        path = Path(str(file["path"]))
        call.blocks.append(link(path.as_uri(), path.name, file.get("media_type"), file.get("size_bytes")))
    sheet = sheet_of_run([(str(file["path"]), str(file.get("media_type"))) for file in files])
    return RunResult(
        mode=report.mode,
        run_id=report.run_id,
        recipe=report.recipe,
        status=report.status,
        summary=report.summary().split("\n", 1)[0],
        calls=[_call_row(one) for one in _most_telling(report.calls)],
        files=[FileItem(**file) for file in files[:MAX_SHOWN]],
        sheet=str(sheet) if sheet and call.bridge.sheets.on else None,
        cost=await _cost(call, run, report.spent),
        budget=report.budget,
        notes=[
            *report.notes,
            *ready.remarks,
            *([_REHEARSED] if run.rehearsal else []),
            *_cut_notes(call, len(report.calls), len(files)),
        ],
        next_step=ready.way_on(report, "same call") or _DONE,
    )


async def run_quote(call: Call, ready: Prepared) -> RunResult:
    """What a run would be: its price, and the first of the calls that it would make."""
    return RunResult(
        mode=ready.run.id.mode,
        run_id=ready.run.id.name,
        recipe=ready.recipe.name,
        status="quoted",
        summary=ready.summary(),
        calls=_planned_rows(ready),
        cost=await cost_of(call, quoted=ready.whole, basis="unknown" if ready.whole is None else ready.basis),
        budget=ready.run.budget.credits,
        notes=list(ready.remarks),
        next_step="Nothing was started. Tell the user the price; the same call without quote_only runs it.",
    )


def _planned_rows(ready: Prepared) -> list[dict[str, Any]]:
    planned = ready.prices.planned if ready.prices else ()
    return [known(step=one.key, tool=one.tool, credits=one.credits, **_sent(one)) for one in planned[:MAX_SHOWN]]


def _sent(one: Planned) -> dict[str, str]:
    """The model and the words of a call that is planned."""
    words = one.arguments.get("prompt") or one.arguments.get("text") or ""
    return {"model": str(one.arguments.get("model") or ""), "prompt": cut(str(words), 400)}


async def quoted_run(call: Call, name: str, error: ConsentRequiredError) -> RunResult:
    """The answer when the whole run awaits the user's yes."""
    question = error.question
    return RunResult(
        mode=call.mode,
        recipe=name,
        status="approval_required",
        summary=question.text,
        cost=await cost_of(call, quoted=question.credits, basis=question.basis),
        approval=error.approval,
        next_step=error.next_step,
    )


async def _cost(call: Call, run: ActiveRun, charged: float) -> Cost:
    prices = run.prepared.prices
    return await cost_of(call, quoted=prices.credits if prices else None, charged=charged)


def _most_telling(calls: tuple[CallReport, ...]) -> list[CallReport]:
    """What failed first, then the rest, as many as fit."""
    return sorted(calls, key=lambda one: one.status not in ("failed", "stopped", "parked"))[:MAX_SHOWN]


def _call_row(one: CallReport) -> dict[str, Any]:
    result = one.result or {}
    return known(
        step=one.key,
        label=one.label or None,
        tool=one.tool,
        status=one.status,
        credits=one.credits,
        paths=list(one.files) or None,
        generation_id=result.get("generation_id"),
        url=next((output.get("url") for output in result.get("outputs") or [] if output.get("url")), None),
        reason=one.reason,
    )


def _cut_notes(call: Call, calls: int, files: int) -> list[str]:
    if max(calls, files) <= MAX_SHOWN:
        return []
    folder = call.bridge.settings.output_dir
    return [f"Of {calls} calls and {files} files the first {MAX_SHOWN} are listed; all files are in {folder}."]


_DONE = "Done; tell the user where the files are. For another run of the same, pass a new run_id."


RUN_PATIENCE = 35.0
"""Seconds a call waits for a run; clients give up on calls that last a minute."""


def _as_mapping(value: Any) -> Any:
    """Objects that a host sent as JSON text."""
    if isinstance(value, str):
        with suppress(ValueError):
            return json.loads(value or "{}")
    return value


RecipeName = Annotated[str, Field(description="Name from list_recipes.")]
Arguments = Annotated[
    dict[str, Any],
    BeforeValidator(_as_mapping),
    Field(description="By name; see get_recipe."),
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
    found = await call.recipes.details(call.bridge, name, arguments)
    if found.text is None or not found.steps:
        return found
    try:
        ready = await call.runs.quoted(await call.recipes.get(name), arguments, call.caller("").client)
    except KubeezError as error:
        return found.model_copy(update={"price": f"Not to be had: {error}"})
    return found.model_copy(update={"price": ready.summary(), "calls": _planned_rows(ready)})


@tool(title="Run a recipe", family="recipes", result=RunResult, effect="spend", app=True)
async def run_recipe(
    call: Call,
    name: RecipeName,
    arguments: Arguments = {},  # noqa: B006 - a pydantic default, never shared
    rehearse: Annotated[bool, Field(description="In the sandbox: free, marked stand-ins.")] = False,
    quote_only: Annotated[bool, Field(description="Only check and price it.")] = False,
    run_id: Annotated[str, Field(description="Names another run of the same arguments.")] = "",
    approval: p.Approval = "",
) -> RunResult:
    """Run all steps of a recipe within its budget. Costs credits: priced as a whole, one yes for all of it.

    Waits up to 35 seconds; if it still runs, the same call goes on waiting. The same arguments are the same run:
    nothing is paid twice, and a run that was cut off goes on.
    """
    from kubeez_mcp_local.jobs.errors import ConsentRequiredError

    recipe = await call.recipes.get(name)
    if quote_only:
        caller = call.caller(approval)
        return await run_quote(call, await call.runs.quoted(recipe, arguments, caller.client, run_id=run_id))
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

    from kubeez_mcp_local.cookbook.drafts import fixed_in, recipe_folder, refuse_hiding, save_draft

    await anyio.to_thread.run_sync(refuse_hiding, call.bridge.settings, name)
    folder = recipe_folder(call.bridge)
    path = await save_draft(call.bridge, job_ids, name, folder=folder, title=title, description=description)
    recipe = await call.recipes.get(name)
    fixed = fixed_in(recipe)
    return SavedRecipeResult(
        mode=call.mode,
        name=name,
        path=str(path),
        arguments=list(recipe.arguments),
        notes=[f"Fixed in its steps: {'; '.join(fixed[:8])}."] if fixed else [],
        next_step=f"run_recipe('{name}', rehearse=true) tries it for free. The user can edit the file; "
        "get_skill('recipe-writing') tells how, and how to share it.",
    )


def _text(summary: Any) -> str:
    return " ".join((summary.name, summary.title, summary.description, *summary.tags)).lower()
