"""Workers: each carries out rows of a team's campaigns on its machine, and begins the nights that are due.

An engine only says whose turn it is. The ledger says whose row it is and what is paid; progress is read from it alone.
"""

from __future__ import annotations

import logging
import shutil
import socket
import tempfile
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import anyio
import anyio.to_thread

from kubeez_mcp_local.cookbook.steps import PAID_TOOLS, Budget
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.errors import AWAY, LedgerError
from kubeez_mcp_local.jobs.team.campaigns import RowState
from kubeez_mcp_local.runs.campaigns import begin_due, run_of
from kubeez_mcp_local.runs.client import OnBehalf
from kubeez_mcp_local.runs.payments import job_ids
from kubeez_mcp_local.runs.prepare import verify_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence
    from pathlib import Path

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.jobs.ledger import Ledger
    from kubeez_mcp_local.jobs.team.campaigns import CampaignRow
    from kubeez_mcp_local.runs.client import LocalClient
    from kubeez_mcp_local.runs.run import CallReport, Run

log = logging.getLogger(__name__)
T = TypeVar("T")

SWEEP_SECONDS = 1.0
_NIGHTS_EVERY = 10
"""How many sweeps there are for each look at what is due."""
_AHEAD = 4
"""How many rows wait in the engine for each that is carried out."""
_AGAIN_SECONDS = 2.0
LEAST_FREE = 500_000_000
"""Bytes that must be free where outputs are saved before a row is begun: a row in hand may make a film."""


class Engine(Protocol):
    """Says which worker has which row, as often as it likes. It pays nothing and keeps no books: whose row it is, and
    what is paid, the ledger says. There are `engines.local` and `engines.dbos`."""

    async def prepare(self) -> None:
        """Make sure that it can work here; called first.

        Raises:
            KubeezError: It cannot.
        """

    async def work(self, carry_out: Callable[[str, int, int], Awaitable[None]]) -> None:
        """From now on hand out rows to this process: call `carry_out` with a row's run, number and attempt. Comes back
        at once."""

    async def submit(self, rows: Sequence[CampaignRow]) -> list[CampaignRow]:
        """Hand these rows out, once for each attempt, however often it is asked; returns those that it has handed out
        to the end, so that in this attempt nobody will get them any more."""

    async def take_over(self, ended: Callable[[Sequence[str]], Awaitable[Collection[str]]]) -> None:
        """Hand out anew what processes had in hand that have `ended`, which tells of names of the ledger."""

    async def schedule(self, look: Callable[[], Awaitable[bool]], seconds: float) -> None:
        """Call `look` about that often, until it says that there is nothing more to look after."""

    async def withdraw(self) -> None:
        """Hand out no more to this process, and wait for nothing; what it has in hand is for others."""


async def enrolled(ledger: Ledger, sleep: Callable[[float], Awaitable[object]] = anyio.sleep) -> str:
    """Make this process known to the others, as soon as the database can be reached; by what name it is known.

    Raises:
        LedgerError: The database refuses it, which waiting does not change.
    """
    while True:
        try:
            return await ledger.owner()
        except LedgerError as error:
            if error.code not in AWAY:
                raise
            log.warning("the ledger cannot be reached; it is tried again")
            await sleep(_AGAIN_SECONDS)


def unsaveable(folder: Path, least: int = LEAST_FREE) -> str:
    """Why nothing can be saved in `folder`, or too little; empty if all is well. Blocking."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        return f"{folder} cannot be written to: {error.strerror or type(error).__name__}."
    if free < least:
        return f"{folder}: only {free / 1e6:,.0f} MB are free; a row is begun with {least / 1e6:,.0f} MB or more."
    return ""


@dataclass
class Worker:
    """Carries out rows of campaigns, one process on some machine.

    Attributes:
        client: Calls the tools; every question about credits was answered when the campaign was submitted.
        parallel: Most rows in hand at once.
        unsaveable: Tells why nothing can be saved in a folder.
        tell: Is told what a person should know, one sentence each.
    """

    bridge: Bridge
    client: LocalClient
    engine: Engine
    parallel: int
    sleep: Callable[[float], Awaitable[object]] = anyio.sleep
    unsaveable: Callable[[Path], str] = unsaveable
    tell: Callable[[str], object] = log.warning
    _unfit: KubeezError | None = field(init=False, default=None)
    _planned: dict[str, Run] = field(default_factory=dict)
    _in_hand: set[tuple[str, int, int]] = field(default_factory=set)
    _sweeps: int = field(init=False, default=0)
    _of_other_releases: dict[str, int] = field(init=False, default_factory=dict)

    async def work(self, *, until_idle: bool = False) -> None:
        """Carry out rows for ever, or until no row waits or is in anybody's hand.

        Raises:
            KubeezError: What is made could not be saved here, or the key is not taken. No further row is begun.
        """
        await verify_key(self.bridge)
        await self._verify_room()
        if self._unfit:
            raise self._unfit
        await self.engine.prepare()
        await self.engine.work(self.carry_out)
        try:
            await self.engine.schedule(partial(self._look_after, until_idle=until_idle), SWEEP_SECONDS)
        finally:
            with anyio.move_on_after(10, shield=True):
                await self.engine.withdraw()
                await self.bridge.ledger.let_go_of_rows()

    async def _look_after(self, *, until_idle: bool) -> bool:
        """Whether there is, or may come, something to look after again."""
        try:
            left = await self._sweep()
        except LedgerError as error:
            log.warning("the ledger cannot be used: %s", error.code)
            left = True
        if self._unfit:
            raise self._unfit
        return left or not until_idle

    async def _sweep(self) -> bool:
        """Begin what is due, give new life to what ended processes left behind, and hand out what waits; whether
        anything is left to do."""
        ledger = self.bridge.ledger
        if self._sweeps % _NIGHTS_EVERY == 0:
            self._tell_of_others("Schedules", len(await begin_due(ledger, self.bridge.mode.value)))
        self._sweeps += 1
        found = await ledger.sweep_campaigns(self.parallel * _AHEAD)
        await self.engine.take_over(ledger.ended_owners)
        spent = await self.engine.submit(found.waiting)
        lost = {(row.run, row.number, row.attempt) for row in spent} | (found.own - self._in_hand)
        if lost:
            await ledger.renew_rows(lost)
        self._tell_of_others("Campaigns", found.of_other_releases)
        return bool(found.waiting) or found.in_hand > 0

    def _tell_of_others(self, what: str, count: int) -> None:
        if count > self._of_other_releases.get(what, 0):
            self.tell(f"{what} of another release: {count}. They are left alone; update this worker, or them.")
        self._of_other_releases[what] = count

    async def _verify_room(self) -> None:
        why = await anyio.to_thread.run_sync(self.unsaveable, self.bridge.settings.output_dir)
        if why:
            self._unfit = _not_saved(why)

    async def carry_out(self, run: str, number: int, attempt: int) -> None:
        """Carry out one row, and write down what came of it. Never raises for what is only waiting."""
        row = (run, number, attempt)
        if row in self._in_hand:
            return
        self._in_hand.add(row)
        try:
            await self._carry_out(run, number, attempt)
        finally:
            self._in_hand.discard(row)

    async def _carry_out(self, run: str, number: int, attempt: int) -> None:
        ledger = self.bridge.ledger
        if not self._unfit:
            await self._verify_room()
        if self._unfit:
            await (
                anyio.sleep_forever()
            )  # the row stays handed out until this process has ended, and goes to another then
        if not await self._insist(lambda: ledger.take_row(run, number, attempt, socket.gethostname())):
            return
        state, reason, calls = await self._outcome(run, number)
        spent = round(sum(call.credits for call in calls), 6)
        files = [path for call in calls for path in call.files]
        row = (run, number, attempt)
        await self._insist(lambda: ledger.end_row(row, state, reason, spent, files))

    async def _outcome(self, run: str, number: int) -> tuple[RowState, str, tuple[CallReport, ...]]:
        while True:
            try:
                planned = await self._plan(run)
                caller = OnBehalf(self.client, planned.recipe.name)
                report = await replace(planned, row=number).carry_out(caller, self.bridge.ledger, parallel=1)
            except LedgerError:
                await self.sleep(_AGAIN_SECONDS)
            except KubeezError as error:
                return RowState.FAILED, str(error), ()
            except Exception as error:
                log.exception("row %s of %s", number, run)
                return RowState.FAILED, f"{type(error).__name__} happened; the worker's log has it.", ()
            else:
                state, reason = _state_of(report.calls)
                if state is RowState.COMPLETED and (unsaved := await self._unsaved(report.calls)):
                    self._unfit = _not_saved(unsaved)
                    state, reason = RowState.PARKED, unsaved
                if any(call.code in _KEY_REFUSED for call in report.calls):
                    self._unfit = KubeezError(reason, next_step=_THEN_RETRY, code="unauthorized")
                return state, reason, report.calls

    async def _unsaved(self, calls: Sequence[CallReport]) -> str:
        """Why something that is paid could not be saved here; empty if all is saved."""
        for call in calls:
            for job_id in job_ids(call.result or {}) if call.tool in PAID_TOOLS else ():
                job = await self._insist(partial(self.bridge.ledger.get, job_id))
                if job.save_error:
                    return str(job.save_error)
        return ""

    async def _plan(self, run: str) -> Run:
        campaign = await self.bridge.ledger.campaign(run)  # each time: its budget may have been raised
        if run not in self._planned:
            self._planned[run] = run_of(campaign, self.bridge)
        return replace(self._planned[run], budget=Budget(campaign.budget))

    async def _insist(self, record: Callable[[], Awaitable[T]]) -> T:
        """Ask the ledger for as long as its database is away."""
        while True:
            try:
                return await record()
            except LedgerError as error:
                log.warning("the ledger cannot be used: %s", error.code)
                await self.sleep(_AGAIN_SECONDS)


_THEN_RETRY = "Then: kubeez-mcp-local recipes retry RUN. What is paid is saved, and not paid again."


def _not_saved(why: str) -> KubeezError:
    told = f"What is made cannot be saved on this machine, so it takes no rows: {why}"
    step = f"Make room, or choose another KUBEEZ_OUTPUT_DIR. {_THEN_RETRY}"
    return KubeezError(told, next_step=step, code="not_saved")


def _state_of(calls: Sequence[CallReport]) -> tuple[RowState, str]:
    """Where a row stands after its calls, and why it is not done."""
    for status, state in (
        ("parked", RowState.UNKNOWN),
        ("stopped", RowState.PARKED),
        ("failed", RowState.FAILED),
    ):
        reason = next((call.reason for call in calls if call.status == status), None)
        if reason is not None:
            return _kept_waiting(state, calls), reason
    return RowState.COMPLETED, ""


def _kept_waiting(state: RowState, calls: Sequence[CallReport]) -> RowState:
    """A failure that only a ceiling or a balance caused is no failure of the row."""
    stopped = any(call.code in _PARKING for call in calls if call.status == "failed")
    return RowState.PARKED if state is RowState.FAILED and stopped else state


_PARKING = frozenset({"ceiling_reached", "budget_reached", "insufficient_credits", "unauthorized", "missing_scope"})
_KEY_REFUSED = frozenset({"unauthorized", "missing_scope"})
