"""A run is known before it starts: its name, its price, its budget, and what earlier attempts have spent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.cookbook.arguments import check_arguments
from kubeez_mcp_local.cookbook.format import Origin, Recipe, RecipeError
from kubeez_mcp_local.cookbook.parse import parse_recipe
from kubeez_mcp_local.cookbook.steps import ToolCallError
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.jobs.errors import CeilingError
from kubeez_mcp_local.jobs.job import RunCall
from kubeez_mcp_local.runs.journal import Journal
from kubeez_mcp_local.runs.prepare import Checked, Prepared, prepare
from tests.recipe_tools import no_sleep

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
GIVEN = {"subject": "a kite"}


def recipe_of(text: str) -> Recipe:
    return parse_recipe(text, Origin("draft", "a test"), file="plain.md")


async def ready(plain: str, tools: Any, folder: Path, given: Any = None, **options: Any) -> Prepared:
    recipe = recipe_of(plain)
    options = {"left_today": 1000, "ceiling": 1000, "mode": "sandbox", "folder": folder, **options}
    checked = Checked(check_arguments(recipe.front, given or GIVEN))
    return await prepare(recipe, checked, tools, tools, **options)


async def carried_out(prepared: Prepared, tools: Any) -> str:
    report = await prepared.run.carry_out(tools, tools, sleep=no_sleep)
    return report.status


async def test_a_new_run_is_priced_and_named_and_nothing_is_made(plain: str, tools: Any, tmp_path: Path) -> None:
    prepared = await ready(plain, tools, tmp_path)

    assert prepared.summary() == (
        "Recipe plain: 1 paid call for about 14 credits, at most 60 in all. Calls: nano-banana-2 1:1."
    )
    assert (prepared.due, prepared.paid_calls, prepared.complete) == (14, 1, False)
    assert prepared.run.id.name.startswith("plain-")
    assert not (tmp_path / f"{prepared.run.id.name}.jsonl").exists()
    assert tools.made() == []


async def test_the_same_arguments_are_the_same_run_whatever_the_budget(plain: str, tools: Any, tmp_path: Path) -> None:
    first = await ready(plain, tools, tmp_path)
    assert (await ready(plain, tools, tmp_path, {**GIVEN, "max_credits": 100})).run.id.name == first.run.id.name
    assert (await ready(plain, tools, tmp_path, {"subject": "a boat"})).run.id.name != first.run.id.name
    assert (await ready(plain.replace("A picture of", "A photo of"), tools, tmp_path)).run.id.name != first.run.id.name
    used = plain.replace("A picture of {{ args.subject }}", "{{ args.subject }} {{ args.max_credits }}")
    one, other = [await ready(used, tools, tmp_path, {**GIVEN, "max_credits": number}) for number in (20, 30)]
    assert one.run.id.name != other.run.id.name


async def test_a_yes_is_for_exactly_this_run_in_its_present_state(plain: str, tools: Any, tmp_path: Path) -> None:
    first = await ready(plain, tools, tmp_path)
    assert (await ready(plain, tools, tmp_path)).identity == first.identity
    assert (await ready(plain, tools, tmp_path, {**GIVEN, "max_credits": 100})).identity != first.identity
    assert (await ready(plain, tools, tmp_path, run_id="other")).identity != first.identity


async def test_a_complete_run_has_nothing_left_to_pay(plain: str, tools: Any, tmp_path: Path) -> None:
    assert await carried_out(await ready(plain, tools, tmp_path), tools) == "completed"

    again = await ready(plain, tools, tmp_path, left_today=0)

    assert (again.complete, again.due, again.earlier.spend.charged) == (True, 0, 14)
    assert "nothing more is paid" in again.summary()
    another = await ready(plain, tools, tmp_path, anew=True)
    assert (another.run.id.name, another.complete) == (f"{again.run.id.name}-2", False)


async def test_a_run_that_its_budget_stopped_goes_on_with_a_larger_one(plain: str, tools: Any, tmp_path: Path) -> None:
    assert await carried_out(await ready(plain, tools, tmp_path, left_today=5), tools) == "stopped"
    larger = await ready(plain, tools, tmp_path, {**GIVEN, "max_credits": 20})
    assert await carried_out(larger, tools) == "completed"
    assert len(tools.jobs) == 1


async def test_what_a_run_has_spent_today_does_not_count_against_it_twice(
    plain: str, tools: Any, tmp_path: Path
) -> None:
    two = plain.replace(
        "steps:\n", "steps:\n  - {id: first, tool: generate_media, with: {model: nano-banana-2, prompt: x}}\n"
    )
    tools.trouble = {"kite": "failed"}
    assert await carried_out(await ready(two, tools, tmp_path, left_today=28), tools) == "failed"
    tools.trouble = {}
    tools.by_key.clear()  # as the ledger does with failed jobs

    again = await ready(two, tools, tmp_path, left_today=14)  # of 28 a day 14 are spent

    assert (again.earlier.spend.charged, again.due, again.run.budget.credits) == (14, 14, 28)
    assert "14 of them spent before" in again.summary()
    assert await carried_out(again, tools) == "completed"


async def test_a_yes_is_needed_for_what_the_ledger_does_not_have_yet(plain: str, tools: Any, tmp_path: Path) -> None:
    two = plain.replace(
        "steps:\n", "steps:\n  - {id: first, tool: generate_media, with: {model: nano-banana-2, prompt: x}}\n"
    )
    first = await ready(two, tools, tmp_path)
    await tools("generate_media", {"model": "nano-banana-2"}, run=RunCall(first.run.id.in_ledger, "first", 60))
    accepted = await ready(two, tools, tmp_path)
    assert (accepted.earlier.spend.reserved, first.due, accepted.due) == (14, 28, 14)
    tools.jobs["job-1"] |= {"price": 30, "over": True}
    finished = await ready(two, tools, tmp_path)
    assert (finished.earlier.spend.charged, finished.run.budget.credits) == (30, 60)
    assert len({first.identity, accepted.identity, finished.identity}) == 3


async def test_what_is_above_the_ceiling_for_one_run_is_refused_like_a_call(
    plain: str, tools: Any, tmp_path: Path
) -> None:
    given = {**GIVEN, "max_credits": 500}
    with pytest.raises(
        CeilingError, match=r"costs 14 credits, and of the ceiling for one run .*, 13 credits"
    ) as refused:
        await ready(plain, tools, tmp_path, given, ceiling=13)
    assert "KUBEEZ_MAX_CREDITS_PER_RUN" in refused.value.next_step
    assert (await ready(plain, tools, tmp_path, given, ceiling=14)).run.budget.credits == 14


async def test_a_run_that_somebody_carries_out_is_not_asked_about(plain: str, tools: Any, tmp_path: Path) -> None:
    journal = Journal(tmp_path, (await ready(plain, tools, tmp_path)).run.id)
    taken = await ready(plain, tools, tmp_path)
    journal.close()
    assert (taken.earlier.taken, taken.due) == (True, 0)
    assert "carried out already" in taken.summary()
    assert not (await ready(plain, tools, tmp_path)).earlier.taken


async def test_a_run_that_another_version_left_unfinished_is_not_gone_on_with(
    plain: str, tools: Any, tmp_path: Path
) -> None:
    run = (await ready(plain, tools, tmp_path)).run.id
    record = tmp_path / f"{run.name}.jsonl"
    old = {name: value for name, value in run.header.items() if name != "version"}
    record.write_text(json.dumps(old) + '\n{"event": "accepted", "key": "hero", "ids": ["job-1"]}\n', "utf-8")
    with pytest.raises(KubeezError, match="another version"):
        await ready(plain, tools, tmp_path)
    with record.open("a", encoding="utf-8") as file:
        file.write('{"event": "over", "outcome": "completed"}\n')
    assert (await ready(plain, tools, tmp_path)).complete


async def test_an_unknown_price_is_due_in_unknown_height(plain: str, tools: Any, tmp_path: Path) -> None:
    tools.prices = {"nano-banana-2": None}
    prepared = await ready(plain, tools, tmp_path)
    assert prepared.due is None
    assert "a price that is not known in advance" in prepared.summary()


async def test_what_cannot_run_is_refused(plain: str, tools: Any, tmp_path: Path) -> None:
    for run_id in ("../up", "a/b", "a b", "x" * 65):
        with pytest.raises(InvalidArgumentError, match="run_id"):
            await ready(plain, tools, tmp_path, run_id=run_id)
    without = plain[: plain.index("steps:")] + plain[plain.index("---\nMake") :]
    with pytest.raises(RecipeError, match="no steps"):
        await ready(without, tools, tmp_path)
    await carried_out(await ready(plain, tools, tmp_path, run_id="mine"), tools)
    with pytest.raises(KubeezError, match="other arguments"):
        await ready(plain, tools, tmp_path, {"subject": "a boat"}, run_id="mine")
    with pytest.raises(KubeezError, match="the other mode"):
        await ready(plain, tools, tmp_path, run_id="mine", mode="live")


TWO_YESES = """---
name: two
title: Two yeses
description: A still, then a clip of it.
arguments:
  max_credits: {description: Ceiling, type: integer, default: 60}
budget: "{{ max_credits }}"
tools: [estimate, generate_media]
steps:
  - {id: still, tool: generate_media, with: {model: nano-banana-2, prompt: a fox}}
  - id: clip
    tool: generate_media
    pause: true
    with: {model: seedance, prompt: it runs, source_media_urls: ["{{ steps.still.outputs[0].url }}"]}
  - {id: more, tool: generate_media, with: {model: nano-banana-2, prompt: "{{ steps.clip.outputs[0].url }}"}}
---
Text.
"""
BOTH = {"nano-banana-2": 14.0, "seedance": 30.0}


async def test_a_run_pauses_before_a_step_that_wants_another_yes(tools: Any, tmp_path: Path) -> None:
    tools.prices = dict(BOTH)
    first = await ready(TWO_YESES, tools, tmp_path, {"max_credits": 60}, pausing=True)
    assert (first.due, first.paid_calls) == (14, 1)
    assert first.summary() == (
        "Recipe two: about 58 credits in all: 14 now (1 paid call), 44 after another yes before clip (2 calls), "
        "at most 60. Calls: 2 × nano-banana-2, seedance."
    )
    assert first.whole == 58
    report = await first.run.carry_out(tools, tools, sleep=no_sleep)
    assert (report.status, report.exit_code) == ("paused", 0)
    assert [(call.key, call.status) for call in report.calls] == [("still", "completed"), ("clip", "paused")]
    assert first.way_on(report, "same call") == (
        "Show what there is so far. After a yes the same call goes on: 2 calls left, about 44 credits."
    )

    second = await ready(TWO_YESES, tools, tmp_path, {"max_credits": 60}, pausing=True)
    assert (second.due, second.complete) == (44, False)
    report = await second.run.carry_out(tools, tools, sleep=no_sleep)
    assert (report.status, len(tools.made())) == ("completed", 3)
    assert second.way_on(report, "same call") == ""


async def test_who_does_not_pause_makes_all_at_once(tools: Any, tmp_path: Path) -> None:
    tools.prices = dict(BOTH)
    prepared = await ready(TWO_YESES, tools, tmp_path, {"max_credits": 60})
    assert prepared.due == 58
    assert await carried_out(prepared, tools) == "completed"


async def test_what_cannot_be_finished_within_its_budget_is_refused_before_anybody_is_asked(
    tools: Any, tmp_path: Path
) -> None:
    tools.prices = dict(BOTH)
    for pausing in (True, False):
        with pytest.raises(KubeezError) as caught:
            await ready(TWO_YESES, tools, tmp_path, {"max_credits": 57}, pausing=pausing)
        assert caught.value.code == "over_budget"
        assert str(caught.value).endswith(
            "Raise its argument max_credits to at least 58, or choose less work or cheaper models."
        )
    with pytest.raises(KubeezError, match="Raise --max-credits to at least 58"):
        (await ready(TWO_YESES, tools, tmp_path, {"max_credits": 60})).lowered(20)


async def test_a_day_that_is_nearly_spent_only_stops_a_run_which_goes_on_another_day(
    tools: Any, tmp_path: Path
) -> None:
    tools.prices = dict(BOTH)
    prepared = await ready(TWO_YESES, tools, tmp_path, {"max_credits": 60}, left_today=20)
    report = await prepared.run.carry_out(tools, tools, sleep=no_sleep)
    assert report.status == "stopped"
    assert prepared.way_on(report, "same command") == (
        "Once that is settled, the same command goes on and only the rest is paid: 2 calls left, about 44 credits."
    )


async def test_what_would_be_refused_again_is_not_called_a_way_on(tools: Any, tmp_path: Path) -> None:
    tools.prices = dict(BOTH)
    tools.trouble = {"fox": ToolCallError("prompt: is not allowed.", code="invalid_argument")}
    prepared = await ready(TWO_YESES, tools, tmp_path, {"max_credits": 60})
    report = await prepared.run.carry_out(tools, tools, sleep=no_sleep)
    assert report.status == "failed"
    assert prepared.way_on(report, "same call") == (
        "The same call would be refused again: change what the reasons name. "
        "What is made stays made (3 calls left, about 58 credits)."
    )

    tools.trouble = {"fox": "failed"}
    report = await prepared.run.carry_out(tools, tools, sleep=no_sleep)
    assert prepared.way_on(report, "same call").startswith("The same call tries what is missing and only the rest")


async def test_what_was_read_and_measured_is_remarked(plain: str, tools: Any, tmp_path: Path) -> None:
    checked = Checked(check_arguments(recipe_of(plain).front, GIVEN), ("subject was read from the file a.txt.",))
    prepared = await prepare(
        recipe_of(plain), checked, tools, tools, left_today=1000, ceiling=1000, mode="sandbox", folder=tmp_path
    )
    assert prepared.remarks == ("subject was read from the file a.txt.",)
