"""A recipe runs by itself: steps in order, money within the budget, nothing paid twice, and a report at the end."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

from kubeez_mcp_local.cookbook.arguments import check_arguments
from kubeez_mcp_local.cookbook.format import Origin, Recipe, RecipeError
from kubeez_mcp_local.cookbook.parse import parse_recipe
from kubeez_mcp_local.cookbook.steps import Budget, ToolCallError, budget_of, deciding
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.job import RunCall
from kubeez_mcp_local.runs.journal import Journal, JournalError, is_taken
from tests.recipe_tools import no_sleep, run_of

if TYPE_CHECKING:
    from pathlib import Path

    from kubeez_mcp_local.runs.run import RunEvent, RunReport

pytestmark = pytest.mark.anyio

HEAD = """---
name: plain
title: A plain recipe
description: One picture of one thing.
arguments:
  subject: {description: What is shown, default: tea}
  picture: {description: A picture, type: path}
  names: {description: Names, type: list}
  rows: {description: Rows, type: table}
tools: [estimate, generate_media, generate_music, pick_model, wait_for_generation]
steps:
"""
HERO = '  - {id: hero, tool: generate_media, with: {model: nano-banana-2, prompt: "A {{ args.subject }}"}}\n'


def recipe_of(steps: str) -> Recipe:
    return parse_recipe(f"{HEAD}{steps}---\nText about {{{{ subject }}}}\n", Origin("draft", "a test"), file="plain.md")


async def run(
    recipe: Recipe,
    tools: Any,
    folder: Path,
    *,
    books: Any = None,
    given: Any = (),
    budget: float | Budget = 1000.0,
    run_id: str = "r1",
    mode: str = "sandbox",
    **options: Any,
) -> RunReport:
    wanted = run_of(recipe, dict(given), folder, budget=budget, run_id=run_id, mode=mode)
    return await wanted.carry_out(tools, books or tools, **{"sleep": no_sleep, **options})


async def test_a_paid_step_ends_with_its_finished_job(tools: Any, tmp_path: Path) -> None:
    report = await run(recipe_of(HERO), tools, tmp_path)

    assert report.status == "completed"
    assert (report.spent, report.files, report.exit_code) == (14.0, ("/out/job-1.png",), 0)
    assert [name for name, _, _ in tools.calls] == ["generate_media", *["wait_for_generation"] * 2]
    assert tools.made()[0] == {"model": "nano-banana-2", "prompt": "A tea"}
    assert "1 completed; 14 of 1,000 credits; 1 file." in report.summary()


async def test_a_later_step_uses_what_an_earlier_one_made(tools: Any, tmp_path: Path) -> None:
    clip = (
        "  - {id: clip, tool: generate_media, with: {model: nano-banana-2, prompt: move, "
        'source_media_urls: ["{{ steps.hero.outputs[0].url }}"], seed: "{{ none }}"}}\n'
    )
    await run(recipe_of(HERO + clip), tools, tmp_path)
    assert tools.made()[1] == {
        "model": "nano-banana-2",
        "prompt": "move",
        "source_media_urls": ["https://media.example/job-1.png"],
    }


async def test_a_run_for_which_no_model_fits_says_so_and_makes_nothing(tools: Any, tmp_path: Path) -> None:
    choice = "  - {id: choice, tool: pick_model, with: {task: text-to-video, sound: true}}\n"
    clip = '  - {id: clip, tool: generate_media, with: {model: "{{ steps.choice.model }}", prompt: x}}\n'
    report = await run(recipe_of(choice + clip), tools, tmp_path)

    assert [(call.key, call.status) for call in report.calls] == [("choice", "failed"), ("clip", "skipped")]
    assert "choice: failed: Nothing fits. The nearest is z-image." in report.summary()
    assert tools.made() == []


async def test_for_each_makes_one_call_an_item_and_the_next_step_sees_all_results(tools: Any, tmp_path: Path) -> None:
    steps = (
        '  - id: each\n    tool: generate_media\n    for_each: "{{ args.names }}"\n'
        '    with: {model: nano-banana-2, prompt: "{{ index }}: {{ item }}"}\n'
        "  - id: all\n    tool: generate_media\n"
        "    with: {model: nano-banana-2, prompt: sheet, "
        "source_media_urls: \"{{ steps.each | outputs | pluck('url') }}\"}\n"
    )
    report = await run(recipe_of(steps), tools, tmp_path, given={"names": "ann, bob, cem"})

    assert sorted(made["prompt"] for made in tools.made()[:3]) == ["0: ann", "1: bob", "2: cem"]
    assert len(tools.made()[3]["source_media_urls"]) == 3
    assert [call.key for call in report.calls] == ["each[0]", "each[1]", "each[2]", "all"]


async def test_when_leaves_a_step_out(tools: Any, tmp_path: Path) -> None:
    steps = HERO.replace("with:", "when: \"args.subject == 'coffee'\", with:")
    report = await run(recipe_of(steps), tools, tmp_path)
    assert [call.status for call in report.calls] == ["skipped"]
    assert report.status == "completed"
    assert tools.made() == []


async def test_independent_steps_run_side_by_side_within_the_limit(tools: Any, tmp_path: Path) -> None:
    tools.waits = 3
    steps = "".join(HERO.replace("hero", f"step_{number}") for number in range(6))
    await run(recipe_of(steps), tools, tmp_path, parallel=3)
    assert tools.most_running == 3


async def test_the_budget_is_a_ceiling_for_the_whole_run(tools: Any, tmp_path: Path) -> None:
    steps = "".join(HERO.replace("hero", f"step_{number}") for number in range(5))
    report = await run(recipe_of(steps), tools, tmp_path, budget=30)

    assert (report.status, report.exit_code, report.spent) == ("stopped", 3, 28.0)
    assert len(tools.jobs) == 2
    stopped = [call for call in report.calls if call.status == "stopped"]
    assert len(stopped) == 3
    assert "costs 14 credits" in stopped[0].reason


async def test_a_reason_that_many_calls_share_is_told_once(tools: Any, tmp_path: Path) -> None:
    loop = (
        '  - {id: each, tool: generate_media, for_each: "{{ args.names }}", with: '
        '{model: nano-banana-2, prompt: "{{ item }}"}}\n'
    )
    report = await run(recipe_of(loop), tools, tmp_path, budget=0, given={"names": "a, b, c"})
    assert len([line for line in report.summary().splitlines() if "costs 14 credits" in line]) == 1
    assert "- each[0] and 2 more: stopped: It costs 14 credits" in report.summary()


async def test_an_unknown_price_is_never_taken_for_zero(tools: Any, tmp_path: Path) -> None:
    tools.prices = {}
    report = await run(recipe_of(HERO), tools, tmp_path)
    assert report.status == "stopped"
    assert tools.jobs == {}
    assert "price is unknown" in report.calls[0].reason

    allowed = HERO.replace("id: hero", "id: hero, at_most: 20")
    report = await run(recipe_of(allowed), tools, tmp_path, run_id="r2")
    assert report.status == "completed"


async def test_a_budget_above_the_ceiling_is_lowered_and_the_report_says_so(tools: Any, tmp_path: Path) -> None:
    recipe = parse_recipe(
        recipe_of(HERO).text.replace("tools:", "budget: 99999\ntools:"), Origin("draft", "x"), file="plain.md"
    )
    report = await run(recipe, tools, tmp_path, budget=budget_of(recipe, {}, ceiling=10), mode="live")
    assert (report.budget, report.status, tools.jobs) == (10, "stopped", {})
    assert report.notes == ("The recipe asks for 99,999 credits; your ceiling of 10 holds.",)


async def test_a_failed_job_costs_nothing_and_what_needs_it_is_skipped(tools: Any, tmp_path: Path) -> None:
    tools.trouble = {"tea": "failed"}
    clip = (
        "  - {id: clip, tool: generate_media, with: {model: nano-banana-2, prompt: move, "
        'source_media_urls: "{{ steps.hero.outputs[0].url }}"}}\n'
        "  - {id: other, tool: generate_media, with: {model: nano-banana-2, prompt: else}}\n"
    )
    report = await run(recipe_of(HERO + clip), tools, tmp_path)

    assert [(call.key, call.status) for call in report.calls] == [
        ("hero", "failed"),
        ("clip", "skipped"),
        ("other", "completed"),
    ]
    assert (report.status, report.spent, report.exit_code) == ("failed", 14.0, 1)
    assert "hero: failed: moderated" in report.summary()


async def test_in_a_loop_one_failure_leaves_the_other_items_alone(tools: Any, tmp_path: Path) -> None:
    tools.trouble = {"bob": "failed"}
    steps = (
        '  - id: each\n    tool: generate_media\n    for_each: "{{ args.names }}"\n'
        '    with: {model: nano-banana-2, prompt: "{{ item }}"}\n'
        '  - id: next\n    tool: generate_media\n    for_each: "{{ args.names }}"\n'
        '    with: {model: nano-banana-2, prompt: again, source_media_urls: "{{ steps.each[index].outputs[0].url }}"}\n'
    )
    report = await run(recipe_of(steps), tools, tmp_path, given={"names": "ann, bob, cem"})
    first, second = [call.status for call in report.calls[:3]], [call.status for call in report.calls[3:]]
    assert (first, second) == (["completed", "failed", "completed"], ["completed", "skipped", "completed"])


async def test_out_of_credits_stops_the_whole_run(tools: Any, tmp_path: Path) -> None:
    tools.trouble = {"tea": ToolCallError("Not enough credits.", code="insufficient_credits")}
    steps = "".join(HERO.replace("hero", f"step_{number}") for number in range(8))
    report = await run(recipe_of(steps), tools, tmp_path, parallel=1)
    assert report.status == "stopped"
    assert len(tools.made()) == 1
    assert "Not enough credits." in report.notes


async def test_a_call_of_unknown_fate_is_parked_and_the_others_go_on(tools: Any, tmp_path: Path) -> None:
    tools.trouble = {"bob": ToolCallError("The connection broke.", spent=None)}
    steps = (
        '  - {id: each, tool: generate_media, for_each: "{{ args.names }}", with: '
        '{model: nano-banana-2, prompt: "{{ item }}"}}\n'
    )
    report = await run(recipe_of(steps), tools, tmp_path, given={"names": "ann, bob, cem"})
    assert [call.status for call in report.calls] == ["completed", "parked", "completed"]
    assert (report.status, report.exit_code, report.spent) == ("failed", 1, 28.0)
    assert "1 parked" in report.summary()
    assert "each[1]: parked: The connection broke. Credits may have been spent" in report.summary()
    tools.trouble = {}
    assert (await run(recipe_of(steps), tools, tmp_path, given={"names": "ann, bob, cem"})).status == "completed"
    assert len(tools.jobs) == 3


async def test_the_same_run_again_pays_for_nothing(tools: Any, tmp_path: Path) -> None:
    await run(recipe_of(HERO), tools, tmp_path)
    again = await run(recipe_of(HERO), tools, tmp_path)

    assert len(tools.made()) == 1
    assert again.calls[0].resumed
    assert (again.spent, again.files) == (14.0, ("/out/job-1.png",))


async def test_a_run_that_was_cut_off_after_acceptance_follows_the_job(tools: Any, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    async def dies(tool: str, arguments: Any, *, run: RunCall | None = None) -> Any:
        if tool == "wait_for_generation":
            raise Killed
        return await tools(tool, arguments, run=run)

    with pytest.raises(Killed):
        await run(recipe_of(HERO), dies, tmp_path, books=tools)
    report = await run(recipe_of(HERO), tools, tmp_path)

    assert len(tools.jobs) == 1
    assert (report.status, report.spent) == ("completed", 14.0)


async def test_a_job_that_an_earlier_attempt_left_completed_and_unsaved_is_saved(tools: Any, tmp_path: Path) -> None:
    async def killed_before_saving(name: str, arguments: Any, **more: Any) -> Any:
        result = await tools(name, arguments, **more)
        if name != "generate_media":
            return result
        return {**result, "status": "completed", "files": [], "next_step": "Nothing new was made."}

    report = await run(recipe_of(HERO), killed_before_saving, tmp_path, books=tools)
    assert (report.status, report.files) == ("completed", ("/out/job-1.png",))


async def test_a_call_that_is_made_again_has_the_same_name_and_another_run_has_others(
    tools: Any, tmp_path: Path
) -> None:
    for folder, run_id in ((tmp_path / "one", "r1"), (tmp_path / "two", "r1"), (tmp_path / "two", "r2")):
        await run(recipe_of(HERO), tools, folder, run_id=run_id, budget=100)
    names = [run for tool, _, run in tools.calls if tool == "generate_media"]
    assert names[0] == names[1] == RunCall(names[0].run, "hero", 100)
    assert names[0].run.startswith("r1/")
    assert names[2].run.startswith("r2/")
    assert len(tools.jobs) == 2


async def test_whoever_finds_a_run_being_carried_out_waits_for_it_and_pays_nothing(tools: Any, tmp_path: Path) -> None:
    other = Journal(tmp_path, run_of(recipe_of(HERO), {}, tmp_path).id)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            other.finished("hero", {"status": "completed", "outputs": [], "cost": {"charged": 14}})
            other.close()

    report = await run(recipe_of(HERO), tools, tmp_path, sleep=sleep)
    assert (report.status, report.calls[0].resumed, tools.calls) == ("completed", True, [])
    assert len(slept) == 3


async def test_a_failed_call_is_made_again_by_the_next_attempt(tools: Any, tmp_path: Path) -> None:
    tools.trouble = {"tea": "failed"}
    assert (await run(recipe_of(HERO), tools, tmp_path)).status == "failed"
    tools.trouble, tools.by_key = {}, {}
    assert (await run(recipe_of(HERO), tools, tmp_path)).status == "completed"


async def test_a_torn_last_line_is_ignored(tools: Any, tmp_path: Path) -> None:
    await run(recipe_of(HERO), tools, tmp_path)
    path = tmp_path / "r1.jsonl"
    path.write_bytes(path.read_bytes() + b'{"event": "fini')
    report = await run(recipe_of(HERO), tools, tmp_path)
    assert report.status == "completed"
    assert len(tools.made()) == 1


@pytest.mark.parametrize("change", ["recipe", "arguments", "mode"])
async def test_a_run_id_belongs_to_one_recipe_its_arguments_and_its_mode(
    tools: Any, tmp_path: Path, change: str
) -> None:
    await run(recipe_of(HERO), tools, tmp_path)
    with pytest.raises(KubeezError, match="was begun with"):
        await run(
            recipe_of(HERO.replace("A {{", "The {{") if change == "recipe" else HERO),
            tools,
            tmp_path,
            given={"subject": "coffee"} if change == "arguments" else {},
            mode="live" if change == "mode" else "sandbox",
        )


async def test_nothing_is_paid_when_the_record_cannot_be_written(tools: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(JournalError):
        await run(recipe_of(HERO), tools, tmp_path / "file")
    assert tools.calls == []


async def test_a_disk_that_fills_up_stops_the_run_before_the_next_payment(
    tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise JournalError("The record of this run cannot be written: No space left on device.")

    monkeypatch.setattr(Journal, "finished", full)
    two = HERO + HERO.replace("hero", "second").replace("A {{ args.subject }}", "{{ steps.hero.outputs[0].url }}")
    with pytest.raises(JournalError, match="No space left"):
        await run(recipe_of(two), tools, tmp_path)
    assert len(tools.made()) == 1


async def test_a_recipe_cannot_name_a_file_itself(tools: Any, tmp_path: Path) -> None:
    for value in ("/home/ann/secret.png", "../secret.png", "~/.ssh/id_rsa", "file:///etc/passwd", "{{ args.subject }}"):
        steps = HERO.replace("prompt:", f'source_media_urls: ["{value}"], prompt:')
        report = await run(recipe_of(steps), tools, tmp_path, run_id=f"r{abs(hash(value))}")
        assert report.status == "failed"
        assert "only whoever runs the recipe may name a file" in report.calls[0].reason
    assert tools.made() == []


async def test_files_named_by_the_user_are_passed_on(tools: Any, tmp_path: Path) -> None:
    steps = HERO.replace("prompt:", 'source_media_urls: ["{{ args.picture }}", "{{ args.rows[0].file }}"], prompt:')
    given = {"picture": "~/a.png", "rows": "file\n/tmp/b.png"}
    report = await run(recipe_of(steps), tools, tmp_path, given=given)
    assert report.status == "completed"
    assert tools.made()[0]["source_media_urls"] == ["~/a.png", "/tmp/b.png"]


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (HERO.replace("A {{ args.subject }}", "{{ steps.hero.outputs }}"), "no earlier step"),
        (
            HERO.replace("A {{ args.subject }}", "{{ steps.later.x }}") + HERO.replace("hero", "later"),
            "no earlier step",
        ),
        (HERO.replace("A {{ args.subject }}", "{{ args.subject"), "missing or misplaced"),
    ],
)
async def test_steps_that_refer_to_what_is_not_there_are_refused_before_anything_runs(
    tools: Any, tmp_path: Path, steps: str, words: str
) -> None:
    with pytest.raises(RecipeError, match=words) as caught:
        await run(recipe_of(steps), tools, tmp_path)
    assert caught.value.line > 0
    assert tools.calls == []


async def test_for_each_must_be_a_list_of_sensible_length(tools: Any, tmp_path: Path) -> None:
    steps = HERO.replace("with:", 'for_each: "{{ args.subject }}", with:')
    report = await run(recipe_of(steps), tools, tmp_path)
    assert "must come to a list" in report.calls[0].reason


async def test_progress_is_told_call_by_call(tools: Any, tmp_path: Path) -> None:
    events: list[RunEvent] = []
    await run(recipe_of(HERO), tools, tmp_path, on_event=events.append)
    assert [(event.kind, event.key, event.done, event.total) for event in events] == [
        ("started", "hero", 0, 1),
        ("completed", "hero", 1, 1),
    ]
    assert events[-1].spent == 14.0


@pytest.mark.parametrize(
    ("code", "retry_after", "spent", "pause"), [("busy", 46.0, False, 46.0), ("took_too_long", None, None, 1.0)]
)
async def test_a_call_whose_turn_has_not_come_or_that_needs_more_time_is_repeated(
    tools: Any, tmp_path: Path, code: str, retry_after: float | None, spent: bool | None, pause: float
) -> None:
    later = ToolCallError("not now", code=code, spent=spent, retry_safe=True)
    later.retry_after = retry_after
    tools.trouble = {"tea": later}
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            tools.trouble = {}

    report = await run(recipe_of(HERO), tools, tmp_path, sleep=sleep)

    assert (report.status, report.spent) == ("completed", 14)
    assert slept[:3] == [pause] * 3
    assert {run.call for tool, _, run in tools.calls if tool == "generate_media"} == {"hero"}


async def test_five_hundred_rows_of_known_price_ask_for_none(tools: Any, tmp_path: Path) -> None:
    steps = HERO.replace("with:", 'for_each: "{{ args.rows }}", with:').replace("args.subject", "item.name")
    rows = "name\n" + "\n".join(f"row {number}" for number in range(500))
    report = await run(recipe_of(steps), tools, tmp_path, budget=10_000, given={"rows": rows})
    assert (report.status, report.spent) == ("completed", 7000.0)
    assert tools.made("estimate") == []


@pytest.mark.parametrize(
    ("prompt", "counts"),
    [
        ("tea", False),
        ("{{ args.max_credits }} cups", True),
        ("{{ max_credits }} cups", True),
        ("{{ args['max_' ~ 'credits'] }} cups", True),
        ("{{ args | length }} cups", True),
    ],
)
def test_an_argument_that_only_sets_the_budget_does_not_decide_what_is_made(
    prompt: str, counts: bool, plain: str
) -> None:
    text = plain.replace("A picture of {{ args.subject }}", prompt)
    recipe = parse_recipe(text, Origin("draft", "a test"))
    arguments = check_arguments(recipe.front, {"subject": "tea"})
    assert ("max_credits" in deciding(recipe, arguments)) is counts
    assert "aspect_ratio" in deciding(recipe, arguments)


async def test_a_folder_without_locks_keeps_nobody_from_running(
    tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(FileLock, "acquire", without)
    assert (await run(recipe_of(HERO), tools, tmp_path)).status == "completed"
    assert not is_taken(tmp_path, "r1")
