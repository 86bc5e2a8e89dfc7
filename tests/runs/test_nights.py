"""When a schedule begins, also in nights that are longer or shorter; and that each night is begun once, or named."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.jobs.ledger import Ledger, LedgerFile
from kubeez_mcp_local.jobs.team.campaigns import ROW_VERSION, RowState
from kubeez_mcp_local.jobs.team.schedules import Schedule
from kubeez_mcp_local.runs.campaigns import MISSED, Times, agreement, begin_due, due, held_by, unseen

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Machine = Callable[[str], LedgerFile]


def at(text: str) -> float:
    """A moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def utc(moments: list[float]) -> list[str]:
    return [f"{datetime.fromtimestamp(moment, UTC):%m-%d %H:%M}" for moment in moments]


@pytest.mark.parametrize(
    ("cron", "after", "until", "expected"),
    [
        ("0 2 * * *", "2026-11-30", "2026-12-02", ["11-30 02:00", "12-01 02:00"]),
        ("0 2 * * *", "2026-07-01", "2026-07-02", ["07-01 01:00"]),
        # On 25 October 2026 Lisbon's clock shows 01:00 to 02:00 twice: the first time counts.
        ("30 1 * * *", "2026-10-24T12", "2026-10-26T12", ["10-25 00:30", "10-26 01:30"]),
        ("*/30 1 * * *", "2026-10-24T12", "2026-10-25T12", ["10-25 00:00", "10-25 00:30"]),
        # On 28 March 2027 it leaves 01:00 to 02:00 out: what would be then is at 02:30, and what is at 02:30 is once.
        ("30 1 * * *", "2027-03-27T12", "2027-03-29T12", ["03-28 01:30", "03-29 00:30"]),
        ("30 1,2 * * *", "2027-03-27T12", "2027-03-28T12", ["03-28 01:30"]),
        ("0 0 * * mon", "2026-11-24", "2026-12-08", ["11-30 00:00", "12-07 00:00"]),
    ],
)
def test_times_are_those_of_the_zones_clock(cron: str, after: str, until: str, expected: list[str]) -> None:
    assert utc(Times(cron, "Europe/Lisbon").between(at(after), at(until))) == expected


def test_a_time_comes_after_the_moment_that_was_looked_at_and_no_later_than_now() -> None:
    times, two = Times("0 2 * * *", "UTC"), at("2026-11-30T02")
    assert times.between(two - 1, two) == [two]
    assert times.between(two, two + 1) == []


def test_what_comes_next_however_rare() -> None:
    assert utc(Times("0 2 * * *", "UTC").next(at("2026-11-30T03"), 2)) == ["12-01 02:00", "12-02 02:00"]
    (leap,) = Times("0 2 29 2 *", "UTC").next(at("2026-11-30"), 1)
    assert datetime.fromtimestamp(leap, UTC).year == 2028


@pytest.mark.parametrize(
    "cron",
    ["", "2", "0 2 * *", "0 2 * * * *", "61 2 * * *", "0 2 30 2 *", "@daily", "R 2 * * *", "H 2 * * *", "0 2 * * 5#2"],
)
def test_what_is_no_time_is_refused(cron: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        Times(cron, "UTC")
    assert refused.value.argument == "--cron"


@pytest.mark.parametrize("zone", ["", "Europe", "Europe/Lissabon", "../etc/passwd", "/etc/localtime", "WEST 1"])
def test_what_is_no_zone_is_refused(zone: str) -> None:
    with pytest.raises(InvalidArgumentError, match="there is no zone") as refused:
        Times("0 2 * * *", zone)
    assert refused.value.argument == "--tz"


def planned(**changes: Any) -> Schedule:
    """A schedule that was agreed to, of three rows at 02:00 UTC; looked after until 30 November, 00:00."""
    schedule = Schedule(
        name="cities-1f0c2d3e4b",
        cron="0 2 * * *",
        zone="UTC",
        recipe="text",
        given={"version": ROW_VERSION, "arguments": {"cities": ["Oslo", "Lisbon", "Rome"]}, "decided": "abc"},
        labels=["Oslo", "Lisbon", "Rome"],
        files={},
        budget=30.0,
        agreed=27.0,
        on_unknown="wait",
        person="ana",
        agreed_to="",
        looked_at=at("2026-11-30"),
    )
    schedule = replace(schedule, **changes)
    return replace(schedule, agreed_to=agreement(schedule))


def test_a_night_is_begun_in_time_or_missed() -> None:
    assert due(planned(), at("2026-11-30T01:59:59")) == []
    (night,) = due(planned(), at("2026-11-30T02:10"))
    assert (night.state, night.run) == ("begun", "cities-1f0c2d3e4b-2026-11-30-0200")
    late = due(planned(), at("2026-12-02T02:01"))
    assert [night.state for night in late] == ["missed", "missed", "begun"]
    assert {night.reason for night in late[:2]} == {MISSED}
    assert [night.due for night in unseen(planned(), at("2026-12-01T02:01"))] == [at("2026-11-30T02")]


def test_a_night_of_what_was_changed_is_refused(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("name\nOslo\n", "utf-8")
    schedule, now = planned(files=held_by([rows, tmp_path / "elsewhere.md"])), at("2026-11-30T02:10")
    schedule = planned(files={**schedule.files, str(tmp_path / "elsewhere.md"): "what another machine has"})
    assert [night.state for night in due(schedule, now)] == ["begun"]
    rows.write_text("name\nParis\n", "utf-8")
    (night,) = due(schedule, now)
    assert night.state == "refused"
    assert f"Changed since it was agreed to: {rows}." in night.reason
    for changes in ({"budget": 300.0}, {"cron": "0,5 2 * * *"}, {"recipe": "another"}, {"labels": ["Oslo"]}):
        (*_, night) = due(replace(planned(), **changes), now)
        assert (night.state, night.reason) == ("refused", "What stands in the ledger is not what was agreed to.")


@pytest.fixture
def machine_at(machine: Callable[..., LedgerFile]) -> Machine:
    """The same at a moment of the test's choice."""
    return lambda now: machine(clock=lambda: at(now))


async def begun_by(file: LedgerFile) -> list[str]:
    return await begin_due(Ledger(lambda: file), "live")


@pytest.mark.anyio
async def test_each_night_is_begun_once_however_many_workers_look(machine_at: Machine) -> None:
    machine_at("2026-11-30").add_schedule(planned())
    one, other = machine_at("2026-11-30T02:01"), machine_at("2026-11-30T02:02")
    _, (seen_before,) = other.schedules()
    await begun_by(one)
    await begun_by(other)
    (night,) = due(seen_before, at("2026-11-30T02:02"))  # one that had looked before the other had written
    assert not other.note_night(seen_before, night, one.campaign(night.run))
    assert one.campaign_names("cities") == {night.run}
    assert one.campaign(night.run).budget == 30.0
    assert [row.label for row in one.campaign_rows(night.run, tuple(RowState))] == ["Oslo", "Lisbon", "Rome"]
    assert [(night.run, night.state) for night in one.nights()] == [(night.run, "begun")]
    await begun_by(machine_at("2026-12-01T02:01"))
    assert len(one.campaign_names("cities")) == 2
    ids = {one.campaign(name).in_ledger for name in one.campaign_names("cities")}
    assert len(ids) == 2, "each night is paid for by itself"


@pytest.mark.anyio
async def test_a_night_without_a_worker_is_named_and_not_made_up_for(machine_at: Machine) -> None:
    machine_at("2026-11-30").add_schedule(planned())
    later = machine_at("2026-12-01T12")
    await begun_by(later)
    assert later.campaign_names("cities") == set()
    assert [(night.state, night.due) for night in later.nights()] == [
        ("missed", at("2026-12-01T02")),
        ("missed", at("2026-11-30T02")),
    ]


@pytest.mark.anyio
async def test_a_schedule_of_another_release_is_left_alone_and_told_of(machine_at: Machine) -> None:
    given = {**planned().given, "version": ROW_VERSION + 1}
    machine_at("2026-11-30").add_schedule(planned(given=given))
    file = machine_at("2026-11-30T02:01")
    assert await begun_by(file) == ["cities-1f0c2d3e4b"]
    assert file.nights() == []


@pytest.mark.anyio
async def test_a_schedule_begins_no_more_once_it_is_removed_and_counts_from_when_it_was_agreed_to(
    machine_at: Machine,
) -> None:
    first = machine_at("2026-11-30")
    assert first.add_schedule(planned())
    assert not first.add_schedule(planned())
    _, (before,) = first.schedules()
    assert first.remove_schedule("cities") == "cities-1f0c2d3e4b"
    later = machine_at("2026-11-30T02:01")
    (night,) = due(before, at("2026-11-30T02:01"))
    nothing: Any = None
    assert not later.note_night(before, night, nothing)
    with pytest.raises(KubeezError, match="No schedule is called 'cities'"):
        later.remove_schedule("cities")
    again = machine_at("2026-11-30T03")
    assert again.add_schedule(planned(budget=60.0))
    await begun_by(again)
    assert again.nights() == []
    await begun_by(machine_at("2026-12-01T02:01"))
    (standing,) = again.standings()
    assert standing.campaign.budget == 60.0


@pytest.mark.anyio
async def test_a_night_whose_name_is_taken_is_refused_and_the_next_one_begun(machine_at: Machine) -> None:
    first = machine_at("2026-11-30")
    first.add_schedule(planned())
    await begun_by(machine_at("2026-11-30T02:01"))
    (standing,) = first.standings()
    taken = replace(standing.campaign, run=standing.campaign.run.replace("11-30", "12-01"))
    first.submit_campaign(taken, ["Paris"])
    await begun_by(machine_at("2026-12-01T02:01"))
    await begun_by(machine_at("2026-12-02T02:01"))
    assert [night.state for night in first.nights()] == ["begun", "refused", "begun"]
