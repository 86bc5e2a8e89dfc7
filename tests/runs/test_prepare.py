"""A run is known before it starts: its name, its price, its budget, and what earlier attempts have spent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.cookbook.format import Origin, Recipe
from kubeez_mcp_local.cookbook.parse import parse_recipe
from kubeez_mcp_local.cookbook.plan import deciding
from kubeez_mcp_local.cookbook.problems import RecipeError
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.runs.journal import Journal, RunMismatchError
from kubeez_mcp_local.runs.prepare import Prepared, prepare

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
GIVEN = {"subject": "a kite"}


async def no_sleep(_: float) -> None:
    return None


def recipe_of(text: str) -> Recipe:
    return parse_recipe(text, Origin("draft", "a test"), file="plain.md")


async def ready(plain: str, tools: Any, folder: Path, given: Any = None, **options: Any) -> Prepared:
    options = {"ceiling": 1000, "mode": "sandbox", "run_dir": folder, **options}
    return await prepare(recipe_of(plain), given or GIVEN, tools, **options)


async def carried_out(prepared: Prepared, tools: Any) -> str:
    report = await prepared.run(tools, sleep=no_sleep)
    return report.status


async def test_a_new_run_is_priced_and_named_and_nothing_is_made(plain: str, tools: Any, tmp_path: Path) -> None:
    prepared = await ready(plain, tools, tmp_path)

    assert prepared.summary() == "Recipe plain: 1 paid call for about 14 credits, at most 60 in all."
    assert (prepared.due, prepared.paid_calls, prepared.complete) == (14, 1, False)
    assert prepared.run_id.startswith("plain-")
    assert not (tmp_path / f"{prepared.run_id}.jsonl").exists()
    assert tools.made() == []


async def test_the_same_arguments_are_the_same_run_whatever_the_budget(plain: str, tools: Any, tmp_path: Path) -> None:
    first = await ready(plain, tools, tmp_path)
    assert (await ready(plain, tools, tmp_path, {**GIVEN, "max_credits": 100})).run_id == first.run_id
    assert (await ready(plain, tools, tmp_path, {"subject": "a boat"})).run_id != first.run_id
    assert (await ready(plain.replace("A picture of", "A photo of"), tools, tmp_path)).run_id != first.run_id
    used = plain.replace("A picture of {{ args.subject }}", "{{ args.subject }} {{ args.max_credits }}")
    one, other = [await ready(used, tools, tmp_path, {**GIVEN, "max_credits": number}) for number in (10, 20)]
    assert one.run_id != other.run_id


async def test_a_yes_is_for_exactly_this_run_in_its_present_state(plain: str, tools: Any, tmp_path: Path) -> None:
    first = await ready(plain, tools, tmp_path)
    assert (await ready(plain, tools, tmp_path)).identity == first.identity
    assert (await ready(plain, tools, tmp_path, {**GIVEN, "max_credits": 100})).identity != first.identity
    assert (await ready(plain, tools, tmp_path, run_id="other")).identity != first.identity


async def test_a_complete_run_has_nothing_left_to_pay(plain: str, tools: Any, tmp_path: Path) -> None:
    assert await carried_out(await ready(plain, tools, tmp_path), tools) == "completed"

    again = await ready(plain, tools, tmp_path, ceiling=0)

    assert (again.complete, again.due, again.begun.spent) == (True, 0, 14)
    assert "nothing more is paid" in again.summary()
    another = await ready(plain, tools, tmp_path, anew=True)
    assert (another.run_id, another.complete) == (f"{again.run_id}-2", False)


async def test_a_run_that_its_budget_stopped_goes_on_with_a_larger_one(plain: str, tools: Any, tmp_path: Path) -> None:
    assert await carried_out(await ready(plain, tools, tmp_path, {**GIVEN, "max_credits": 5}), tools) == "stopped"
    larger = await ready(plain, tools, tmp_path, {**GIVEN, "max_credits": 20})
    assert await carried_out(larger, tools) == "completed"
    assert len(tools.made()) == 1


async def test_what_a_run_has_spent_today_does_not_count_against_it_twice(
    plain: str, tools: Any, tmp_path: Path
) -> None:
    two = plain.replace(
        "steps:\n", "steps:\n  - {id: first, tool: generate_media, with: {model: nano-banana-2, prompt: x}}\n"
    )
    tools.trouble = {"kite": "failed"}
    assert await carried_out(await ready(two, tools, tmp_path, ceiling=28), tools) == "failed"
    tools.trouble = {}
    tools.by_key.clear()  # as the ledger does with failed jobs

    again = await ready(two, tools, tmp_path, ceiling=14)  # of 28 a day 14 are spent

    assert (again.begun.spent, again.due, again.budget.credits) == (14, 14, 28)
    assert "14 of them spent before" in again.summary()
    assert await carried_out(again, tools) == "completed"


async def test_a_call_whose_fate_is_not_recorded_is_asked_about_again_and_one_that_was_accepted_is_not(
    plain: str, tools: Any, tmp_path: Path
) -> None:
    first = await ready(plain, tools, tmp_path)
    journal = Journal(tmp_path, first.run_id, first.recipe.text, deciding(first.recipe, first.arguments), "sandbox")
    journal.started("hero", "generate_media", {"model": "nano-banana-2", "prompt": "A picture of a kite"}, 14)
    cut_off = await ready(plain, tools, tmp_path)
    assert (cut_off.begun.promised, cut_off.due) == (14, 14)
    journal.accepted("hero", ["job-1"])
    accepted = await ready(plain, tools, tmp_path)
    journal.close()
    assert (accepted.begun.promised, accepted.due) == (14, 0)
    assert len({first.identity, cut_off.identity, accepted.identity}) == 3


async def test_a_finished_call_that_cost_more_than_its_quote_does_not_pay_for_the_next(
    plain: str, tools: Any, tmp_path: Path
) -> None:
    two = plain.replace(
        "steps:\n", "steps:\n  - {id: first, tool: generate_media, with: {model: nano-banana-2, prompt: x}}\n"
    )
    first = await ready(two, tools, tmp_path)
    journal = Journal(tmp_path, first.run_id, two, deciding(first.recipe, first.arguments), "sandbox")
    journal.started("first", "generate_media", {"model": "nano-banana-2", "prompt": "x"}, 14)
    journal.accepted("first", ["job-1"])
    journal.finished("first", {"status": "completed", "cost": {"charged": 30}})
    journal.close()
    again = await ready(two, tools, tmp_path)
    assert (again.begun.spent, again.due) == (30, 14)


async def test_an_unknown_price_is_due_in_unknown_height(plain: str, tools: Any, tmp_path: Path) -> None:
    tools.prices = {"nano-banana-2": None}
    prepared = await ready(plain, tools, tmp_path)
    assert prepared.due is None
    assert "a price that is not known in advance" in prepared.summary()


async def test_what_cannot_run_is_refused(plain: str, tools: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="subject"):
        await prepare(recipe_of(plain), {}, tools, ceiling=10, run_dir=tmp_path, mode="sandbox")
    with pytest.raises(InvalidArgumentError, match="run_id"):
        await ready(plain, tools, tmp_path, run_id="../up")
    without = plain[: plain.index("steps:")] + plain[plain.index("---\nMake") :]
    with pytest.raises(RecipeError, match="no steps"):
        await ready(without, tools, tmp_path)
    await carried_out(await ready(plain, tools, tmp_path, run_id="mine"), tools)
    with pytest.raises(RunMismatchError, match="other arguments"):
        await ready(plain, tools, tmp_path, {"subject": "a boat"}, run_id="mine")
    with pytest.raises(RunMismatchError, match="the other mode"):
        await ready(plain, tools, tmp_path, run_id="mine", mode="live")
