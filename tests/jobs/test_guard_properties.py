"""No interleaving of calls, failures, refunds and processes exceeds a ceiling or pays for one intention twice."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.budget import Ceilings, reservations
from kubeez_mcp_local.jobs.errors import CeilingError
from kubeez_mcp_local.jobs.guard import Limits
from kubeez_mcp_local.jobs.job import Job, Order, State
from kubeez_mcp_local.jobs.ledger import LedgerFile
from kubeez_mcp_local.jobs.ownership import Process
from kubeez_mcp_local.jobs.team.beats import Timing
from tests.jobs.server import NO_SERVER, SERVER, team_ledger

NO_LIMITS = Limits(per_minute={}, at_once={})
IMPOSSIBLE = st.sampled_from([-14.0, -1e-9, float("nan"), float("inf"), float("-inf"), 1e300, 2e9])
"""Amounts that no API means; nothing may come of them."""
PRICES = st.one_of(st.none(), st.sampled_from([0.0, 0.1, 0.5, 3.0, 14.0, 40.0]))


@dataclass(frozen=True)
class Quoted:
    credits: float | None
    basis: str = "catalogue"
    seconds: int | None = None


async def _nothing() -> Any:
    raise AssertionError


ONE_DOOR = (("live-1", ""),) * 3
TWO_DOORS = (("live-1", "hosted-1"), ("hosted-1", "live-1"), ("live-1", "hosted-1"))
"""For each of three processes, the account that it spends from and the one beside it."""


def digests(intention: str, account: str) -> dict[str, Any]:
    """The digest of an intention at the door of an account, and at the other one."""
    here, there = (f"{intention}{mark}" for mark in (("", "'") if account == "live-1" else ("'", "")))
    return {"digest": here, "beside": there}


@dataclass
class Running:
    """A process: its ledger, what it is about to send, and what it has sent and not heard of."""

    pid: int
    file: LedgerFile
    waiting: list[Job] = field(default_factory=list)
    away: list[Job] = field(default_factory=list)


class Guard(RuleBasedStateMachine):
    """Three processes share one ledger, all at one door or at two; each rule is something that can happen to one."""

    sending = Bundle("sending")
    accepted = Bundle("accepted")
    failed = Bundle("failed")
    unknown = Bundle("unknown")

    @initialize(
        per_call=st.sampled_from([0.0, 10.0, 50.0]),
        per_day=st.sampled_from([0.0, 0.5, 60.0, 200.0]),
        doors=st.sampled_from([ONE_DOOR, TWO_DOORS]),
    )
    def begin(self, per_call: float, per_day: float, doors: tuple[tuple[str, str], ...]) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.ceilings = Ceilings(per_call, per_day)
        self.now = 1_800_000_000.0
        self.doors = doors
        self.files = [self._open(process) for process in range(3)]
        self.made = 0
        self.overrun = 0.0  # what the API charged beyond what was held back for it

    def _open(self, process: int) -> LedgerFile:
        account, beside = self.doors[process]
        server = self.server_of(self.folder)
        folder = Path(self.folder.name)
        return LedgerFile(folder, account, self.ceilings, clock=lambda: self.now, server=server, beside=beside)

    @staticmethod
    def server_of(_folder: tempfile.TemporaryDirectory[str]) -> str:
        """The database that is the ledger; a file in the folder where there is none."""
        return ""

    def teardown(self) -> None:
        if hasattr(self, "files"):
            for file in self.files:
                file.close()
            self.folder.cleanup()

    def _order(self, intention: str, price: float | None, process: int) -> Order:
        return Order(
            *("tool", "generate_media", "media", "media", "m", f"prompt {intention}"),
            quote=Quoted(price),
            build=_nothing,
            **digests(intention, self.doors[process][0]),
        )

    @rule(target=sending, process=st.integers(0, 2), prices=st.lists(PRICES, min_size=1, max_size=3))
    def claim(self, process: int, prices: list[float | None]) -> Any:
        orders = []
        for price in prices:
            self.made += 1
            orders.append(self._order(f"intention {self.made}", price, process))
        try:
            decision = self.files[process].claim(orders)
        except CeilingError as error:
            self._explained(error, orders, process)
            return multiple()
        assert not any(claim.repeated for claim in decision.claims)
        return multiple(*(claim.job for claim in decision.claims))

    def _explained(self, error: CeilingError, orders: list[Order], process: int) -> None:
        """A refusal is worth repeating if and only if there is room beside what is held back."""
        if "of the day's" not in error.message:
            assert not error.retry_safe
            return
        today = self.files[process].today()
        needed = sum(reservations(orders, self.ceilings)) / 1e6
        room = self.ceilings.per_day - today.spent - needed
        if abs(room) > 1e-6:
            assert error.retry_safe == (room > 0)
        holders = [job for job in self.files[process].recent(10_000) if job.id[:8] in error.message]
        assert bool(holders) == (today.reserved > 0)
        assert all(job.reserved > 0 for job in holders)
        assert error.retry_safe or not error.soon

    @rule(job=sending, process=st.integers(0, 2))
    def repeat(self, job: Job, process: int) -> None:
        before = self.files[process].get(job.id)
        if before.state in (State.SENDING, State.ACCEPTED):
            claim = self.files[process].claim([self._order(job.digest.rstrip("'"), 1.0, process)]).claims[0]
            assert claim.repeated
            assert claim.job is not None
            assert claim.job.id == job.id

    @rule(target=accepted, job=consumes(sending), process=st.integers(0, 2), estimate=IMPOSSIBLE | st.none())
    def accept(self, job: Job, process: int, estimate: float | None) -> Any:
        if not self._leaves(job, process):
            return multiple()
        done = self.files[process].accepted(job.id, [f"gen-{job.id}"], estimate)
        assert done.reserved == job.reserved
        return done

    @rule(job=consumes(sending), process=st.integers(0, 2))
    def refuse(self, job: Job, process: int) -> None:
        self.files[process].refused(job.id, "refused", "no")

    @rule(target=unknown, job=consumes(sending), process=st.integers(0, 2))
    def lose_the_answer(self, job: Job, process: int) -> Any:
        if not self._leaves(job, process):
            return multiple()
        return self.files[process].unknown(job.id, "ambiguous", "cut")

    def _leaves(self, job: Job, process: int) -> bool:
        """Whether its request may be sent; not after its process was found ended."""
        try:
            return self.files[process].dispatch(job, NO_LIMITS) is None
        except KubeezError as error:
            if error.code != "not_sent":
                raise
            return False

    @rule(job=unknown, process=st.integers(0, 2))
    def nothing_alike_passes_while_it_is_unknown(self, job: Job, process: int) -> None:
        if self.files[process].get(job.id).state is State.UNKNOWN:
            assert self.files[process].claim([self._order(job.digest.rstrip("'"), 0.0, process)]).blocked_by is not None

    @rule(target=accepted, job=consumes(unknown), process=st.integers(0, 2))
    def find(self, job: Job, process: int) -> Job:
        self.files[process].adopt(job.id, f"gen-{job.id}")
        return self.files[process].get(job.id)

    @rule(target=unknown, job=consumes(accepted), process=st.integers(0, 2))
    def forget(self, job: Job, process: int) -> Job:
        return self.files[process].forgotten(job.id, "gone")

    @rule(job=consumes(unknown), process=st.integers(0, 2))
    def give_up(self, job: Job, process: int) -> None:
        if self.files[process].get(job.id).state is State.UNKNOWN:
            self.files[process].lost(job.id, "gone")

    @rule(job=consumes(unknown), process=st.integers(0, 2), paid=st.booleans())
    def settle_by_hand(self, job: Job, process: int, paid: bool) -> None:
        if self.files[process].get(job.id).state is State.UNKNOWN:
            self.files[process].settle_by_hand(job.id, paid=paid)

    @rule(
        target=failed,
        job=accepted,
        process=st.integers(0, 2),
        share=st.sampled_from([None, 0.0, 0.5, 1.0]),
        state=st.sampled_from([State.FAILED, State.COMPLETED]),
    )
    def settle(self, job: Job, process: int, share: float | None, state: State) -> Any:
        charged = 0.0 if state is State.FAILED else None if share is None else job.reserved * share
        done, _ = self.files[process].settled(job.id, state, charged, [])
        return done if done.state is State.FAILED else multiple()

    @rule(target=failed, job=accepted, process=st.integers(0, 2), charged=IMPOSSIBLE, failed=st.booleans())
    def settle_with_an_impossible_charge(self, job: Job, process: int, charged: float, failed: bool) -> Any:
        before = self.files[process].get(job.id)
        done, ours = self.files[process].settled(job.id, State.FAILED if failed else State.COMPLETED, charged, [])
        if ours:
            assert (done.charged or 0) + done.reserved == (before.charged or 0) + before.reserved
        return done if done.state is State.FAILED else multiple()

    @rule(job=failed, process=st.integers(0, 2), charged=IMPOSSIBLE | st.none() | st.sampled_from([0.0, 3.0, 40.0]))
    def finish_what_had_failed(self, job: Job, process: int, charged: float | None) -> None:
        """The API's charge is the truth, also where others have been let through meanwhile."""
        before = self.files[process].get(job.id)
        done, ours = self.files[process].finished_late(job, charged, [{"id": f"gen-{job.id}"}])
        if ours:
            usable = charged is not None and 0 <= charged <= 40
            expected = charged if usable else before.charged or before.quote_credits
            assert (done.state, done.charged) == (State.COMPLETED, expected)
            counted = (done.charged or 0) + done.reserved - (before.charged or 0) - before.reserved
            self.overrun += max(counted, 0.0)

    @rule(process=st.integers(0, 2))
    def crash_and_restart(self, process: int) -> None:
        self.files[process].close()
        self.files[process] = self._open(process)
        self.files[process].recover()

    @rule(seconds=st.sampled_from([-90_000.0, -3600.0, 30.0, 700.0, 40_000.0, 90_000.0]))
    def move_the_clock(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def no_day_is_over_its_ceiling(self) -> None:
        if hasattr(self, "files"):
            for day in self.files[0].spend_by("day"):
                assert day.charged + day.reserved <= self.ceilings.per_day + self.overrun + 1e-9

    @invariant()
    def the_totals_are_the_sums_of_the_jobs(self) -> None:
        if hasattr(self, "files"):
            jobs = self.files[1].recent(10_000)
            totals = self.files[2].spend_by("day")
            assert sum(total.jobs for total in totals) == len(jobs)
            for attribute in ("charged", "reserved"):
                summed = sum(cast("float", getattr(job, attribute) or 0.0) for job in jobs)
                assert abs(sum(getattr(total, attribute) for total in totals) - summed) < 1e-6

    @invariant()
    def only_unfinished_or_unpriced_jobs_hold_reservations(self) -> None:
        if hasattr(self, "files"):
            for job in self.files[0].recent(10_000):
                if job.reserved:
                    assert not job.settled or (job.state in (State.COMPLETED, State.FAILED) and job.charged is None)


class GuardOnPostgres(Guard):
    """The same on a team's ledger."""

    @staticmethod
    def server_of(folder: tempfile.TemporaryDirectory[str]) -> str:
        return team_ledger(Path(folder.name).name)


TestGuard = Guard.TestCase
TestGuard.settings = settings(
    max_examples=settings().max_examples // 4, stateful_step_count=30, suppress_health_check=[HealthCheck.too_slow]
)


class Wire(RuleBasedStateMachine):
    """Processes that wait, send, are killed and lose their lock files. The API takes a request or does not; whatever
    happens, no intention is sent again while an earlier request for it may have been taken."""

    @initialize(doors=st.sampled_from([ONE_DOOR, TWO_DOORS]))
    def begin(self, doors: tuple[tuple[str, str], ...]) -> None:
        self.doors = doors
        self.folder = tempfile.TemporaryDirectory()
        self.pids = iter(range(1, 10_000))
        self.living: dict[int, str] = {}
        self.told = True
        self.may_be_paid: dict[str, set[str]] = {}
        self.processes = [self._start(process) for process in range(3)]

    def teardown(self) -> None:
        if hasattr(self, "processes"):
            for process in self.processes:
                process.file.close()
            self.folder.cleanup()

    def _start(self, process: int) -> Running:
        account, beside = self.doors[process]
        pid = next(self.pids)
        self.living[pid] = f"began {pid}"
        file = LedgerFile(
            Path(self.folder.name),
            account,
            Ceilings(1000, 100_000),
            beside=beside,
            process=Process("desk", "boot", "pid:[1]", pid, self.living[pid]),
            start_of=self._start_of,
            **self.options(),
        )
        return Running(pid, file)

    def options(self) -> dict[str, Any]:
        """What else a ledger is opened with."""
        return {}

    def _start_of(self, pid: int) -> str | None:
        return self.living.get(pid) if self.told else ""

    @rule(process=st.integers(0, 2), intention=st.sampled_from(["a", "b"]))
    def claim(self, process: int, intention: str) -> None:
        running = self.processes[process]
        order = Order(
            *("t", "generate_media", "media", "media", "m", f"prompt {intention}"),
            quote=Quoted(14.0),
            build=_nothing,
            **digests(intention, running.file.account),
        )
        decision = running.file.claim([order])
        if decision.blocked_by is None and not decision.claims[0].repeated:
            job = decision.claims[0].job
            assert job is not None
            running.waiting.append(job)

    @precondition(lambda self: any(process.waiting for process in self.processes))
    @rule(which=st.integers(0, 9))
    def leave(self, which: int) -> None:
        running = self._one_of([process for process in self.processes if process.waiting], which)
        job = running.waiting.pop()
        try:
            running.file.dispatch(job, NO_LIMITS)
        except KubeezError as error:
            if error.code != "not_sent":
                raise
            running.file.refused(job.id, "not_sent", "It did not leave.")
        else:
            self.may_be_paid.setdefault(job.prompt, set()).add(job.id)
            running.away.append(job)

    @precondition(lambda self: any(process.away for process in self.processes))
    @rule(
        which=st.integers(0, 9), answer=st.sampled_from(["accepted", "refused", "429", "cut", "cut on the way there"])
    )
    def answer(self, which: int, answer: str) -> None:
        running = self._one_of([process for process in self.processes if process.away], which)
        job = running.away.pop()
        if answer == "accepted":
            assert running.file.accepted(job.id, [f"gen-{job.id}"]).generation_ids == (f"gen-{job.id}",)
        elif answer == "refused":
            self.may_be_paid[job.prompt].remove(job.id)
            running.file.refused(job.id, "refused", "no")
        elif answer == "429":
            self.may_be_paid[job.prompt].remove(job.id)
            running.file.take_back(job.id)
            running.waiting.append(job)
        else:
            running.file.unknown(job.id, "ambiguous", "cut")
            if answer == "cut on the way there":
                self.may_be_paid[job.prompt].remove(job.id)

    @rule(process=st.integers(0, 2))
    def kill(self, process: int) -> None:
        """Requests that are away may have been taken; nothing is written any more, and the lock is let go."""
        killed = self.processes[process]
        killed.file._owner.close(noted=False)
        killed.file._database.close()
        killed.file._closed = True
        del self.living[killed.pid]
        self.processes[process] = self._start(process)

    @rule(process=st.integers(0, 2))
    def look(self, process: int) -> None:
        self.processes[process].file.recover()

    @rule()
    def somebody_tidies_up(self) -> None:
        for lock in (Path(self.folder.name) / "owners").glob("*.lock"):
            lock.unlink()

    @rule()
    def the_system_tells_more_or_less(self) -> None:
        self.told = not self.told

    @rule(process=st.integers(0, 2))
    def a_person_knows_what_was_not_paid(self, process: int) -> None:
        file = self.processes[process].file
        for job in file.in_state(State.UNKNOWN):
            if job.id not in self.may_be_paid.get(job.prompt, ()):
                file.settle_by_hand(job.id, paid=False)

    @invariant()
    def nothing_is_sent_while_the_same_may_have_been_paid(self) -> None:
        for intention, jobs in getattr(self, "may_be_paid", {}).items():
            assert len(jobs) <= 1, intention

    @staticmethod
    def _one_of(running: list[Running], which: int) -> Running:
        return running[which % len(running)]


TestWire = Wire.TestCase
TestWire.settings = settings(
    max_examples=settings().max_examples * 3 // 5, stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow]
)


class WireOnPostgres(Wire):
    """The same on a team's ledger, where an end is only seen by a beat that stands still while others watch."""

    @initialize(doors=st.sampled_from([ONE_DOOR, TWO_DOORS]))
    def begin(self, doors: tuple[tuple[str, str], ...]) -> None:
        self.time = 0.0
        super().begin(doors)

    def options(self) -> dict[str, Any]:
        timing = Timing(beat=2.0, dead=6.0, by_itself=False)
        return {
            "server": team_ledger(Path(self.folder.name).name),
            "timing": timing,
            "steady": lambda: self.time,
        }

    @rule(process=st.integers(0, 2))
    def somebody_is_stopped_for_a_while(self, process: int) -> None:
        """The others beat and watch; who was stopped is taken for dead, and goes on all the same."""
        for _ in range(5):
            self.time += 2.0
            for number, running in enumerate(self.processes):
                if number != process:
                    running.file.beat()

    @rule()
    def nobody_sees_anything_for_a_long_time(self) -> None:
        self.time += 1000.0
        for running in self.processes:
            running.file.beat()


on_postgres = pytest.mark.skipif(not SERVER, reason=NO_SERVER)
TestGuardOnPostgres = on_postgres(GuardOnPostgres.TestCase)
TestGuardOnPostgres.settings = settings(
    max_examples=settings().max_examples // 12, stateful_step_count=30, suppress_health_check=[HealthCheck.too_slow]
)

TestWireOnPostgres = on_postgres(WireOnPostgres.TestCase)
TestWireOnPostgres.settings = settings(
    max_examples=settings().max_examples // 12, stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow]
)
