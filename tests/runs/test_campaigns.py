"""Which recipes can be spread over workers, and how a campaign's rows move in the ledger."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from kubeez_mcp_local.cookbook.format import Origin
from kubeez_mcp_local.cookbook.parse import parse_recipe
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.team import campaigns
from kubeez_mcp_local.jobs.team.campaigns import Campaign, RowState
from kubeez_mcp_local.runs.campaigns import row_labels

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubeez_mcp_local.cookbook.format import Recipe
    from kubeez_mcp_local.jobs.ledger import LedgerFile

HEAD = """---
name: cities
title: Cities
description: Pictures of cities.
version: 1
tags: [image]
arguments:
  cities: {description: Which, type: list, required: true}
budget: "100"
tools: [generate_media, edit_image, wait_for_generation]
steps:
"""


def recipe(steps: str) -> Recipe:
    return parse_recipe(f"{HEAD}{steps}---\nPictures.\n", Origin("draft", "a test"))


PICTURES = """  - id: pictures
    tool: generate_media
    for_each: "{{ args.cities }}"
    with: {model: z-image, prompt: "{{ item }}"}
"""


def test_each_entry_of_the_loop_is_a_row() -> None:
    assert row_labels(recipe(PICTURES), {"cities": ["Oslo", "Lisbon"]}) == ["Oslo", "Lisbon"]


@pytest.mark.parametrize(
    "chained",
    [
        '    for_each: "{{ steps.pictures }}"\n    with: {prompt: "warmer {{ item.url }}"}\n',
        '    for_each: "{{args.cities}}"\n    with: {prompt: "{{ steps.pictures[index].outputs[0].url }}"}\n',
    ],
)
def test_a_later_step_may_go_over_the_same_rows(chained: str) -> None:
    steps = f"{PICTURES}  - id: warmer\n    tool: edit_image\n{chained}"
    assert len(row_labels(recipe(steps), {"cities": ["Oslo", "Lisbon"]})) == 2


def step(name: str, *, loop: str = "", prompt: str = "again", pause: bool = False) -> str:
    lines = [f"  - id: {name}", "    tool: generate_media", f"    with: {{prompt: '{prompt}'}}"]
    lines += [f"    for_each: '{loop}'"] if loop else []
    return "\n".join([*lines, *(["    pause: true"] if pause else []), ""])


ROWS = "{{ args.cities }}"


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (step("one"), "its paid step one has no for_each"),
        (step("all", loop=ROWS, prompt="{{ steps.pictures | length }}"), "its step all uses results of other rows"),
        (
            step("twice", loop="{{ args.cities + args.cities }}"),
            "its step twice goes over something else than its rows",
        ),
        (step("late", loop=ROWS, pause=True), "its step late waits for another yes"),
    ],
)
def test_what_one_row_alone_cannot_carry_out_is_refused_before_anything_is_written(more: str, why: str) -> None:
    with pytest.raises(KubeezError, match=why) as refused:
        row_labels(recipe(PICTURES + more), {"cities": ["Oslo"]})
    assert refused.value.code == "not_by_rows"


CAMPAIGN = Campaign("cities-1", "cities-1/abc", "running", "text", {"arguments": {}}, 100.0, 20.0, "wait", "ana")
ALL = tuple(RowState)


def states(file: LedgerFile) -> list[RowState]:
    return [row.state for row in file.campaign_rows("cities-1", ALL)]


def test_a_campaign_that_is_submitted_twice_is_one(machine: Callable[..., LedgerFile]) -> None:
    file = machine()
    assert file.submit_campaign(CAMPAIGN, ["Oslo", "Lisbon"]) == 2
    assert file.submit_campaign(CAMPAIGN, ["Oslo", "Lisbon"]) == 0
    assert [row.label for row in file.open_rows(10)] == ["Oslo", "Lisbon"]
    assert file.campaign("cities").run == "cities-1"
    with pytest.raises(KubeezError, match="No campaign is called 'towns'"):
        file.campaign("towns")
    file.submit_campaign(replace(CAMPAIGN, run="cities-2"), ["Oslo"])
    with pytest.raises(KubeezError, match="Several campaigns' names begin with 'cities', such as cities-"):
        file.campaign("cities")


def test_a_row_is_one_workers_in_the_attempt_that_it_is_at(machine: Callable[..., LedgerFile]) -> None:
    one, other = machine(), machine()
    one.submit_campaign(CAMPAIGN, ["Oslo", "Lisbon"])
    assert one.take_row("cities-1", 0, 1, "desk")
    assert not other.take_row("cities-1", 0, 1, "attic")
    assert not other.take_row("cities-1", 1, 2, "attic")
    assert not other.end_row(("cities-1", 0, 1), RowState.FAILED, "not mine", 0, [])
    assert not one.end_row(("cities-1", 0, 2), RowState.FAILED, "not this attempt", 0, [])
    assert one.end_row(("cities-1", 0, 1), RowState.COMPLETED, "", 4.0, ["/out/oslo.png"])
    standing = other.standing("cities-1")
    assert (standing.rows, standing.credits, standing.over) == ({"completed": 1, "waiting": 1}, 4.0, False)
    assert [row.number for row in other.campaign_rows("cities-1", ALL, 10, 1)] == [1]


def test_all_campaigns_at_a_glance(machine: Callable[..., LedgerFile]) -> None:
    file = machine()
    file.submit_campaign(CAMPAIGN, ["Oslo", "Lisbon"])
    file.submit_campaign(replace(CAMPAIGN, run="towns-1"), ["Bath"])
    for number, credits_ in enumerate((4.0, 5.0)):
        assert file.take_row("cities-1", number, 1, "desk")
        file.end_row(("cities-1", number, 1), RowState.COMPLETED, "", credits_, [])
    found = {each.campaign.run: (each.rows, each.credits, each.over) for each in file.standings()}
    assert found == {"cities-1": ({"completed": 2}, 9.0, True), "towns-1": ({"waiting": 1}, 0.0, False)}


def test_a_name_is_not_given_to_other_rows_and_a_higher_budget_counts(machine: Callable[..., LedgerFile]) -> None:
    file = machine()
    file.submit_campaign(CAMPAIGN, ["Oslo", "Lisbon"])
    with pytest.raises(KubeezError, match="with another recipe, other rows or other arguments") as refused:
        file.submit_campaign(replace(CAMPAIGN, in_ledger="cities-1/def"), ["Oslo", "Lisbon", "Rome"])
    assert refused.value.code == "run_mismatch"
    assert len(states(file)) == 2
    file.submit_campaign(replace(CAMPAIGN, budget=50.0), ["Oslo", "Lisbon"])
    assert file.campaign("cities-1").budget == 100.0
    file.submit_campaign(replace(CAMPAIGN, budget=300.0), ["Oslo", "Lisbon"])
    assert file.campaign("cities-1").budget == 300.0
    file.direct_campaign("cities-1", "cancelled")
    with pytest.raises(KubeezError, match="was cancelled"):
        file.submit_campaign(CAMPAIGN, ["Oslo", "Lisbon"])
    assert file.campaign_names("cities") == {"cities-1"}
    assert file.campaign_names("towns") == set()


def test_rows_of_other_keys_are_not_seen_but_told_of(machine: Callable[..., LedgerFile]) -> None:
    mine, theirs = machine(), machine(uuid4().hex)
    before = mine.campaigns_of_other_keys()
    theirs.submit_campaign(CAMPAIGN, ["Oslo"])
    assert mine.campaigns_of_other_keys() == before + 1
    assert mine.sweep_campaigns(10).waiting == ()
    assert not mine.take_row("cities-1", 0, 1, "desk")
    assert theirs.take_row("cities-1", 0, 1, "desk")
    theirs.end_row(("cities-1", 0, 1), RowState.COMPLETED, "", 4.0, ())
    assert mine.campaigns_of_other_keys() == before


def test_rows_of_another_release_are_left_alone_and_told_of(
    machine: Callable[..., LedgerFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = machine()
    with monkeypatch.context() as patch:
        patch.setattr(campaigns, "ROW_VERSION", campaigns.ROW_VERSION + 1)
        file.submit_campaign(CAMPAIGN, ["Oslo"])
        found = file.sweep_campaigns(10)
        assert found.of_other_releases == 0
    found = file.sweep_campaigns(10)
    assert (found.waiting, found.of_other_releases) == ((), 1)
    assert not file.take_row("cities-1", 0, 1, "desk")
    assert states(file) == ["waiting"]
    with monkeypatch.context() as patch:
        patch.setattr(campaigns, "ROW_VERSION", campaigns.ROW_VERSION + 1)
        assert file.take_row("cities-1", 0, 1, "desk")
        file.end_row(("cities-1", 0, 1), RowState.COMPLETED, "", 4.0, ())
    assert file.sweep_campaigns(10).of_other_releases == 0


def test_what_nobody_is_at_work_on_any_more_waits_in_a_new_attempt(machine: Callable[..., LedgerFile]) -> None:
    one, other = machine(), machine()
    one.submit_campaign(CAMPAIGN, ["Oslo", "Lisbon", "Rome", "Paris"])
    one.take_row("cities-1", 0, 1, "desk")
    other.take_row("cities-1", 1, 1, "attic")
    one.take_row("cities-1", 2, 1, "desk")
    one.end_row(("cities-1", 2, 1), RowState.COMPLETED, "", 4.0, [])
    found = one.sweep_campaigns(10)
    assert ([row.number for row in found.waiting], found.in_hand) == ([3], 2)
    assert found.own == {("cities-1", 0, 1)}
    one.renew_rows([("cities-1", number, 1) for number in range(4)])
    assert [(row.state, row.attempt) for row in one.campaign_rows("cities-1", ALL)] == [
        ("waiting", 2),
        ("working", 1),
        ("completed", 1),
        ("waiting", 2),
    ]


def test_a_row_that_comes_back_to_a_cancelled_campaign_is_cancelled(machine: Callable[..., LedgerFile]) -> None:
    file = machine()
    file.submit_campaign(CAMPAIGN, ["Oslo"])
    file.take_row("cities-1", 0, 1, "desk")
    file.direct_campaign("cities-1", "cancelled")
    assert not file.standing("cities-1").over
    file.renew_rows([("cities-1", 0, 1)])
    assert file.sweep_campaigns(10).waiting == ()
    assert states(file) == ["cancelled"]
    assert file.standing("cities-1").over


def test_who_does_not_know_whether_the_row_was_taken_takes_it_again(machine: Callable[..., LedgerFile]) -> None:
    file, other = machine(), machine()
    file.submit_campaign(CAMPAIGN, ["Oslo"])
    assert file.take_row("cities-1", 0, 1, "desk")
    file.direct_campaign("cities-1", "paused")
    assert file.take_row("cities-1", 0, 1, "desk")
    assert not other.take_row("cities-1", 0, 1, "attic")


def test_rows_of_a_dead_worker_wait_again_and_its_late_word_does_not_count(machine: Callable[..., LedgerFile]) -> None:
    time = iter(range(0, 1000, 2))
    dead, alive = machine(), machine(steady=lambda: float(next(time)))
    dead.submit_campaign(CAMPAIGN, ["Oslo"])
    dead.take_row("cities-1", 0, 1, "desk")
    assert alive.let_go_of_dead_rows() == []
    for _ in range(6):
        alive.beat()
    assert len(alive.let_go_of_dead_rows()) == 1
    (row,) = alive.open_rows(10)
    assert (row.attempt, row.state) == (2, "waiting")
    assert not dead.end_row(("cities-1", 0, 1), RowState.COMPLETED, "", 4.0, [])


def test_pausing_cancelling_and_trying_again(machine: Callable[..., LedgerFile]) -> None:
    file = machine()
    file.submit_campaign(CAMPAIGN, ["Oslo", "Lisbon", "Rome", "Paris"])
    for number, state in enumerate((RowState.FAILED, RowState.PARKED, RowState.UNKNOWN)):
        file.take_row("cities-1", number, 1, "desk")
        file.end_row(("cities-1", number, 1), state, "a reason", 0, [])
    file.direct_campaign("cities-1", "paused")
    assert file.open_rows(10) == []
    assert not file.take_row("cities-1", 3, 1, "desk")
    file.direct_campaign("cities-1", "running")
    assert [row.attempt for row in file.open_rows(10)] == [2], "what was handed out while it was paused came to nothing"
    assert file.standing("cities-1").reasons[0][0].endswith("a reason")
    assert file.retry_rows("cities-1") == 3
    assert {row.attempt for row in file.open_rows(10)} == {2}
    file.take_row("cities-1", 0, 2, "desk")
    assert file.direct_campaign("cities-1", "cancelled") == 3
    assert states(file) == ["working", "cancelled", "cancelled", "cancelled"]
    assert file.end_row(("cities-1", 0, 2), RowState.COMPLETED, "", 4.0, [])
    assert file.standing("cities-1").over
    with pytest.raises(KubeezError, match="was cancelled"):
        file.direct_campaign("cities-1", "running")


def test_a_campaign_waits_for_rows_of_unknown_fate_only_if_it_is_told_to(machine: Callable[..., LedgerFile]) -> None:
    file = machine()
    file.submit_campaign(CAMPAIGN, ["Oslo"])
    file.take_row("cities-1", 0, 1, "desk")
    file.end_row(("cities-1", 0, 1), RowState.UNKNOWN, "perhaps paid", 0, [])
    assert not file.standing("cities-1").over
    file.wake_settled_rows()  # no job of it is unknown, so its fate is known by now
    assert states(file) == ["waiting"]


def test_ten_thousand_rows_are_one_statement(machine: Callable[..., LedgerFile]) -> None:
    file = machine()
    assert file.submit_campaign(CAMPAIGN, [f"City {number}" for number in range(10_000)]) == 10_000
    assert file.standing("cities-1").rows == {"waiting": 10_000}


@pytest.mark.parametrize("seed", range(3))
def test_whatever_people_and_workers_do_a_row_has_one_worker_and_one_end(
    machine: Callable[..., LedgerFile], seed: int
) -> None:
    """Two campaigns and three workers, which come and go; people pause, resume, retry and cancel with rows in hand."""
    chance, person = random.Random(seed), machine()
    runs = ["cities-1", "towns-1"]
    for run in runs:
        person.submit_campaign(replace(CAMPAIGN, run=run, in_ledger=f"{run}/a"), ["a", "b", "c", "d"])
    workers = [machine() for _ in range(3)]
    held: dict[tuple[str, int], tuple[LedgerFile, int]] = {}
    done: set[tuple[str, int]] = set()

    def take(worker: LedgerFile) -> None:
        found = worker.sweep_campaigns(8).waiting
        if not found:
            return
        row = chance.choice(found)
        assert (row.run, row.number) not in held.keys() | done
        assert worker.take_row(row.run, row.number, row.attempt, "desk")
        held[row.run, row.number] = (worker, row.attempt)

    def end(state: RowState) -> None:
        if held:
            place = chance.choice(sorted(held))
            worker, attempt = held.pop(place)
            other = chance.choice([each for each in workers if each is not worker])
            assert not other.end_row((*place, attempt), RowState.FAILED, "not theirs", 0, [])
            assert worker.end_row((*place, attempt), state, "", 1.0, [])
            if state is RowState.COMPLETED:
                done.add(place)

    def leave(worker: LedgerFile) -> None:
        worker.let_go_of_rows()
        for place in [place for place, (owner, _) in held.items() if owner is worker]:
            del held[place]

    def direct() -> None:
        with suppress(KubeezError):  # one that is cancelled stays so
            person.direct_campaign(
                chance.choice(runs), chance.choices(("paused", "running", "cancelled"), (4, 5, 1))[0]
            )

    for _ in range(60):
        act = chance.randrange(8)
        if act < 3:
            take(chance.choice(workers))
        elif act < 5:
            end(chance.choice((RowState.COMPLETED, RowState.FAILED, RowState.PARKED)))
        elif act == 5:
            leave(chance.choice(workers))
        elif act == 6:
            direct()
        else:
            with suppress(KubeezError):
                person.retry_rows(chance.choice(runs))
    for run in runs:
        with suppress(KubeezError):
            person.direct_campaign(run, "running")
            person.retry_rows(run)
    while held or person.open_rows(1):
        take(workers[0])
        end(RowState.COMPLETED)
    for run in runs:
        found = person.standing(run)
        assert found.over
        if found.campaign.state == "running":
            assert found.rows == {RowState.COMPLETED: 4}
        completed = {(row.run, row.number) for row in person.campaign_rows(run, [RowState.COMPLETED])}
        assert completed == {place for place in done if place[0] == run}
