"""Two doors, one purse: ceilings, repeats and unknown fates hold over both accounts; the rest is each one's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from kubeez_mcp_local.jobs.budget import Ceilings
from kubeez_mcp_local.jobs.errors import CeilingError, UnknownJobError
from kubeez_mcp_local.jobs.guard import Limits
from kubeez_mcp_local.jobs.job import Job, Order, RunCall, State, door_of
from kubeez_mcp_local.jobs.ledger import LedgerFile
from kubeez_mcp_local.jobs.proof import Row, judge
from tests.jobs.server import NO_SERVER, SERVER, team_ledger

if TYPE_CHECKING:
    from pathlib import Path
    from types import SimpleNamespace

Orders = Callable[..., Order]
Doors = tuple[LedgerFile, LedgerFile]
KEY, TOKEN = "live-1", "hosted-1"


def at(file: LedgerFile, order: Order) -> Order:
    """The order as it is at a door: each has a digest of its own for the same intention."""
    beside = KEY if file.account == TOKEN else TOKEN
    return replace(order, digest=f"{order.digest} at {file.account}", beside=f"{order.digest} at {beside}")


def claimed(file: LedgerFile, order: Order) -> Job:
    job = file.claim([at(file, order)]).claims[0].job
    assert job is not None
    return job


def accepted(file: LedgerFile, order: Order, generation_id: str) -> Job:
    job = claimed(file, order)
    assert file.dispatch(job, Limits()) is None
    return file.accepted(job.id, [generation_id])


@pytest.fixture(params=["file", pytest.param("server", marks=pytest.mark.skipif(not SERVER, reason=NO_SERVER))])
def doors(open_file: Callable[..., LedgerFile], request: pytest.FixtureRequest) -> Doors:
    """The ledger as the doors of one process have it, with a ceiling of 20 credits a day."""
    more = {"server": team_ledger(uuid4().hex)} if request.param == "server" else {}
    return (
        open_file(KEY, beside=TOKEN, per_day=20, **more),
        open_file(TOKEN, beside=KEY, per_day=20, **more),
    )


def test_a_day_s_ceiling_holds_over_both(doors: Doors, order: Orders) -> None:
    rest, hosted = doors
    claimed(rest, order("a", price=14))
    with pytest.raises(CeilingError, match=r"of the day's 20 credits .* 14 credits are reserved"):
        hosted.claim([at(hosted, order("b", price=14))])
    claimed(hosted, order("c", price=6))
    assert rest.today().reserved == hosted.today().reserved == 20
    assert [(one.key, one.reserved) for one in rest.spend_by("door")] == [("hosted", 6), ("rest", 14)]
    assert {(one.door, one.reserved) for one in hosted.spend_since("")} == {("hosted", 6), ("rest", 14)}
    assert len(rest.holding()) == 2


def test_the_budget_of_a_run_holds_over_both(doors: Doors, order: Orders) -> None:
    rest, hosted = doors
    calls = [RunCall("run", name, 15) for name in ("one", "two")]
    job = claimed(rest, order("a", price=14, run=calls[0]))
    with pytest.raises(CeilingError):
        hosted.claim([at(hosted, order("b", price=2, run=calls[1]))])
    assert hosted.of_run("run") == [job]


@pytest.mark.parametrize("state", ["sending", "accepted", "completed"])
def test_the_same_intention_is_paid_at_one_door_only(doors: Doors, order: Orders, state: str) -> None:
    rest, hosted = doors
    job = claimed(rest, order()) if state == "sending" else accepted(rest, order(), "gen-1")
    if state == "completed":
        job, _ = rest.settled(job.id, State.COMPLETED, 14, [])
    again = hosted.claim([at(hosted, order())]).claims[0]
    assert again.repeated
    assert again.job == job


def test_the_ledger_tells_whose_a_history_is(doors: Doors, order: Orders) -> None:
    rest, hosted = doors
    accepted(rest, order("a", price=5), "gen-1")
    accepted(hosted, order("b", price=5), "gen-2")
    assert rest.hosted_accounts_of(["gen-1"]) == []
    assert rest.hosted_accounts_of(["gen-0", "gen-1", "gen-2"]) == [TOKEN]


def test_ten_minutes_after_its_end_the_same_may_be_ordered_at_the_other_door(
    doors: Doors, order: Orders, clock: SimpleNamespace
) -> None:
    rest, hosted = doors
    job = accepted(rest, order(price=5), "gen-1")
    rest.settled(job.id, State.COMPLETED, 5, [])
    clock.now += 601
    assert not hosted.claim([at(hosted, order(price=5))]).claims[0].repeated


def test_an_unknown_fate_at_one_door_blocks_the_same_at_the_other(doors: Doors, order: Orders) -> None:
    rest, hosted = doors
    captions = order("c", price=5, route="generate_captions", prompt="", arguments={"media_url": "/tmp/a.mp4"})
    job = claimed(hosted, captions)
    hosted.dispatch(job, Limits())
    hosted.unknown(job.id, "ambiguous", "cut")
    blocked_by = rest.claim([at(rest, captions)]).blocked_by
    assert blocked_by is not None
    assert blocked_by.id == job.id
    other = replace(captions, digest="d", arguments={"media_url": "/tmp/b.mp4"})
    assert rest.claim([at(rest, other)]).blocked_by is None


def test_what_an_ended_process_sent_at_one_door_is_unknown_at_the_other(
    open_file: Callable[..., LedgerFile], order: Orders
) -> None:
    ended, rest = open_file(TOKEN, beside=KEY), open_file(KEY, beside=TOKEN)
    job = claimed(ended, order())
    ended.dispatch(job, Limits())
    ended.close()
    blocked_by = rest.claim([at(rest, order())]).blocked_by
    assert blocked_by is not None
    assert (blocked_by.id, blocked_by.state) == (job.id, State.UNKNOWN)


def test_jobs_are_found_and_listed_at_either_door(doors: Doors, order: Orders) -> None:
    rest, hosted = doors
    first = accepted(hosted, order("a", price=5), "gen-abcd")
    second = accepted(rest, order("b", price=5), "gen-efgh")
    for file in doors:
        assert file.recent() == [second, first]
        assert file.recent(1) == [second]
        assert [file.get(name) for name in (first.id, "gen-abcd", "gen-ab", second.id[:8])] == [*[first] * 3, second]
        assert file.known_generations(["gen-abcd", "gen-efgh", "other"]) == {"gen-abcd": first, "gen-efgh": second}
    assert rest.known_generations(["gen-abcd", "gen-efgh"], own=True) == {"gen-efgh": second}
    assert (hosted.recent(own=True), hosted.in_state(State.ACCEPTED)) == ([first], [first])
    assert [door_of(job.account) for job in rest.recent()] == ["rest", "hosted"]


def test_with_one_door_closed_nothing_of_it_is_seen(open_file: Callable[..., LedgerFile], order: Orders) -> None:
    hosted, alone = open_file(TOKEN, beside=KEY), open_file(KEY)
    job = accepted(hosted, order(), "gen-1")
    assert (alone.recent(), alone.today().reserved) == ([], 0)
    with pytest.raises(UnknownJobError):
        alone.get(job.id)


def test_each_door_keeps_its_own_pace_and_pauses(doors: Doors, order: Orders) -> None:
    rest, hosted = doors
    rest.pause("media", 30)
    job = claimed(rest, order("a", price=5))
    assert rest.dispatch(job, Limits()) is not None
    assert hosted.dispatch(claimed(hosted, order("b", price=5)), Limits()) is None


def test_a_row_of_the_history_that_the_other_door_has_started_is_no_suspect(
    doors: Doors, order: Orders, clock: SimpleNamespace
) -> None:
    rest, hosted = doors
    accepted(rest, order("a", price=5), "gen-rest")
    job = claimed(hosted, order("b", price=5))
    hosted.note_read(hosted.begin_look(), [Row("old")], 900)
    hosted.dispatch(job, Limits())
    hosted.unknown(job.id, "ambiguous", "cut")
    clock.now += 1000
    evidence = hosted.note_read(hosted.begin_look(), [Row("gen-rest"), Row("old")], 900)
    (verdict,) = judge(evidence)
    assert verdict.suspects == ()
    assert verdict.outcome == "person"  # that the other door's jobs are listed says nothing of this door's
    assert not hosted.adopt(job.id, "gen-rest")


def test_an_answer_with_an_id_of_the_other_door_is_nothing_new(doors: Doors, order: Orders) -> None:
    rest, hosted = doors
    there = accepted(rest, order("a", price=5), "gen-1")
    job = claimed(hosted, order("b", price=5))
    hosted.dispatch(job, Limits())
    assert hosted.accepted(job.id, ["gen-1"]).id == there.id
    assert hosted.get(job.id).state is State.REFUSED


@pytest.mark.skipif(not SERVER, reason=NO_SERVER)
def test_a_team_s_ceiling_is_one_for_both_doors(tmp_path: Path, order: Orders) -> None:
    server = team_ledger(uuid4().hex)
    options: dict[str, Any] = {"server": server, "person": "ada"}
    rest = LedgerFile(tmp_path, KEY, Ceilings(500, 2000), beside=TOKEN, **options)
    hosted = LedgerFile(tmp_path, TOKEN, Ceilings(500, 2000), beside=KEY, **options)
    try:
        rest.set_team_ceiling(10)
        claimed(rest, order("a", price=6))
        assert hosted.team_ceiling() == 10
        with pytest.raises(CeilingError, match="team"):
            hosted.claim([at(hosted, order("b", price=6))])
        hosted.set_team_ceiling(None)
        assert rest.team_ceiling() is None
    finally:
        rest.close()
        hosted.close()
