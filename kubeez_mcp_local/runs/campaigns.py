"""Campaigns: runs of recipes whose rows are carried out by workers on several machines that share a team's ledger.

A row is one entry of the recipe's loop. It is carried out as in a run on this machine, under the same names, so whether
it is paid is decided by the same ledger, whoever has it and however often. The engine only says whose turn it is.
"""

from __future__ import annotations

import logging
import re
import socket
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import anyio

from kubeez_mcp_local.cookbook.format import Origin
from kubeez_mcp_local.cookbook.parse import parse_recipe
from kubeez_mcp_local.cookbook.steps import PAID_TOOLS, Budget, calls_of, scope_for
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.errors import LedgerError
from kubeez_mcp_local.jobs.team.campaigns import Campaign, RowState
from kubeez_mcp_local.runs.client import OnBehalf
from kubeez_mcp_local.runs.journal import RunId
from kubeez_mcp_local.runs.payments import job_ids
from kubeez_mcp_local.runs.prepare import runs_folder
from kubeez_mcp_local.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.cookbook.format import Recipe, Step
    from kubeez_mcp_local.jobs.ledger import Ledger
    from kubeez_mcp_local.jobs.team.campaigns import CampaignRow, OnUnknown
    from kubeez_mcp_local.runs.client import LocalClient
    from kubeez_mcp_local.runs.prepare import Prepared
    from kubeez_mcp_local.runs.run import CallReport

log = logging.getLogger(__name__)
T = TypeVar("T")

SWEEP_SECONDS = 2.0
_AHEAD = 4
"""How many rows wait in the engine for each that is carried out."""
_AGAIN_SECONDS = 2.0


class Engine(Protocol):
    """Says which worker has which row: `work` is called with a row's run, number and attempt, as often as it likes."""

    async def prepare(self, work: Callable[[str, int, int], Awaitable[None]]) -> None:
        """Begin to hand out rows to this process.

        Raises:
            KubeezError: It cannot work here.
        """

    async def submit(self, rows: Sequence[CampaignRow]) -> None:
        """Hand these rows out, once for each attempt, however often it is asked."""

    async def owners(self) -> set[str]:
        """The processes, called as in the ledger, that have rows in hand, as far as the engine knows."""

    async def take_over(self, dead: Sequence[str]) -> None:
        """Hand out anew what these processes had in hand."""

    async def close(self) -> None:
        """Hand out no more, and wait for nothing."""


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


async def enrolled(ledger: Ledger, sleep: Callable[[float], Awaitable[object]] = anyio.sleep) -> str:
    """Make this process known to the others, as soon as the database can be reached; by what name it is known.

    Raises:
        LedgerError: The database refuses it, which waiting does not change.
    """
    while True:
        try:
            return await ledger.owner()
        except LedgerError as error:
            if error.code not in ("ledger_unreachable", "ledger_locked"):
                raise
            log.warning("the ledger cannot be reached; it is tried again")
            await sleep(_AGAIN_SECONDS)


@dataclass
class Worker:
    """Carries out rows of campaigns, one process on some machine.

    Attributes:
        client: Calls the tools; every question about credits was answered when the campaign was submitted.
        parallel: Most rows in hand at once.
    """

    bridge: Bridge
    client: LocalClient
    engine: Engine
    parallel: int
    sleep: Callable[[float], Awaitable[object]] = anyio.sleep
    _full: str = field(init=False, default="")
    _planned: dict[str, Run] = field(default_factory=dict)
    _submitted: set[tuple[str, int, int]] = field(default_factory=set)
    _in_hand: set[tuple[str, int, int]] = field(default_factory=set)

    async def work(self, *, until_idle: bool = False) -> None:
        """Carry out rows for ever, or until no row waits or is in anybody's hand."""
        await self.engine.prepare(self.carry_out)
        try:
            while True:
                try:
                    waiting = await self._sweep()
                except LedgerError as error:
                    log.warning("the ledger cannot be used: %s", error.code)
                    waiting = True
                if self._full:
                    raise KubeezError(
                        f"What is made cannot be saved on this machine, so it takes no more rows: {self._full}",
                        next_step="Then: kubeez-mcp-local recipes retry RUN. It saves what is paid and pays nothing.",
                        code="not_saved",
                    )
                if until_idle and not waiting:
                    return
                await self.sleep(SWEEP_SECONDS)
        finally:
            with anyio.move_on_after(10, shield=True):
                await self.engine.close()
                await self.bridge.ledger.let_go_of_rows()

    async def _sweep(self) -> bool:
        """Give new life to what dead processes left behind, and hand out what waits; whether anything is left to do."""
        ledger = self.bridge.ledger
        await ledger.let_go_of_dead_rows()
        await ledger.wake_settled_rows()
        others = await self.engine.owners()
        dead = await ledger.ended_owners(sorted(others))
        if dead:
            await self.engine.take_over(dead)
        rows = await ledger.open_rows(self.parallel * _AHEAD)
        fresh = [row for row in rows if (row.run, row.number, row.attempt) not in self._submitted]
        await self.engine.submit(fresh)
        self._submitted.update((row.run, row.number, row.attempt) for row in fresh)
        return bool(rows) or await ledger.rows_in_hand() > 0

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
        if self._full:
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
                    self._full = unsaved
                    state, reason = RowState.PARKED, unsaved
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
        if run not in self._planned:
            campaign = await self.bridge.ledger.campaign(run)
            self._planned[run] = _run_of(campaign, self.bridge)
        return self._planned[run]

    async def _insist(self, record: Callable[[], Awaitable[T]]) -> T:
        """Ask the ledger for as long as its database is away."""
        while True:
            try:
                return await record()
            except LedgerError as error:
                log.warning("the ledger cannot be used: %s", error.code)
                await self.sleep(_AGAIN_SECONDS)


def _run_of(campaign: Campaign, bridge: Bridge) -> Run:
    recipe = parse_recipe(campaign.recipe, Origin("added", "the team's ledger"), file=f"{campaign.run}.md")
    arguments = dict(campaign.given["arguments"])
    named = RunId.of(campaign.run, campaign.recipe, {}, bridge.mode.value)
    named = replace(named, arguments=str(campaign.given["decided"]))
    budget = Budget(campaign.budget, "")
    return Run(recipe, arguments, named, runs_folder(bridge), budget, person=campaign.person)


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
