"""Campaigns: runs of recipes whose rows are carried out by workers on several machines that share a team's ledger.

A row is one entry of the recipe's loop. It is carried out as in a run on this machine, under the same names, so whether
it is paid is decided by the same ledger, whoever has it and however often.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.cookbook.format import Origin
from kubeez_mcp_local.cookbook.parse import parse_recipe
from kubeez_mcp_local.cookbook.steps import PAID_TOOLS, Budget, calls_of, scope_for
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.team.campaigns import Campaign
from kubeez_mcp_local.runs.journal import RunId
from kubeez_mcp_local.runs.prepare import runs_folder
from kubeez_mcp_local.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.cookbook.format import Recipe, Step
    from kubeez_mcp_local.jobs.team.campaigns import OnUnknown
    from kubeez_mcp_local.runs.prepare import Prepared


def row_labels(recipe: Recipe, arguments: Mapping[str, Any]) -> list[str]:
    """What each row of a campaign is about.

    Raises:
        KubeezError: The recipe's steps cannot be carried out row by row (`not_by_rows`).
        RecipeError: Its loop cannot be planned.
    """
    loops = [step for step in recipe.steps if step.for_each is not None]
    why = next((reason for step in recipe.steps if (reason := _why_not(step, loops))), "")
    if why or not loops:
        raise KubeezError(
            f"{recipe.name} cannot be spread over workers: {why or 'none of its steps has a for_each'}.",
            next_step="Run it on this machine (without --on team), or give each paid step the same for_each.",
            code="not_by_rows",
        )
    calls = calls_of(recipe, loops[0], scope_for(arguments, {}))
    return [call.label or call.key for call in calls]


_OF_A_ROW = re.compile(r"steps\.\w+\[index\]|steps\[[^]]*\]\[index\]")


def _why_not(step: Step, loops: Sequence[Step]) -> str:
    """Why a step cannot be carried out for one row alone; empty if it can."""
    if step.pause:
        return f"its step {step.id} waits for another yes"
    if step.for_each is None:
        return f"its paid step {step.id} has no for_each" if step.tool in PAID_TOOLS else ""
    earlier = {f"{{{{steps.{other.id}}}}}" for other in loops[: loops.index(step)]}
    over = re.sub(r"\s", "", str(step.for_each))
    if step is not loops[0] and over not in earlier | {re.sub(r"\s", "", str(loops[0].for_each))}:
        return f"its step {step.id} goes over something else than its rows"
    if "steps" in _OF_A_ROW.sub("", f"{step.with_} {step.when}"):
        return f"its step {step.id} uses results of other rows"
    return ""


async def submit(bridge: Bridge, prepared: Prepared, on_unknown: OnUnknown) -> int:
    """Write a prepared run into the team's ledger, with a row for each entry of its loop; how many rows are new.

    The yes was given to exactly this recipe, these arguments and this price; they go into the ledger with it.
    """
    run = prepared.run
    labels = row_labels(run.recipe, run.arguments)
    campaign = Campaign(
        run=run.id.name,
        in_ledger=run.id.in_ledger,
        state="running",
        recipe=run.recipe.text,
        given={"arguments": dict(run.arguments), "decided": run.id.arguments},
        budget=run.budget.credits,
        agreed=prepared.due,
        on_unknown=on_unknown,
        person=bridge.settings.who,
    )
    return await bridge.ledger.submit_campaign(campaign, labels)


def run_named(name: str, recipe_text: str, decided: str, mode: str) -> RunId:
    """The run called `name`; `decided` is the digest of the arguments that decide what is made."""
    return replace(RunId.of(name, recipe_text, {}, mode), arguments=decided)


def run_of(campaign: Campaign, bridge: Bridge) -> Run:
    """What a worker carries out of a campaign, row by row."""
    recipe = parse_recipe(campaign.recipe, Origin("added", "the team's ledger"), file=f"{campaign.run}.md")
    arguments = dict(campaign.given["arguments"])
    named = run_named(campaign.run, campaign.recipe, str(campaign.given["decided"]), bridge.mode.value)
    return Run(recipe, arguments, named, runs_folder(bridge), Budget(campaign.budget), person=campaign.person)
