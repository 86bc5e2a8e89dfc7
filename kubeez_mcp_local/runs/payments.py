"""Makes one paid call of a run: sent under its name, followed to its end, its result written down.

What it may cost, and that it is paid once, is decided by the ledger: a call of a run that is made again gets the job
of the first, and one that does not fit into the run's budget or the ceilings is refused before anything is sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import anyio.to_thread

from kubeez_mcp_local.cookbook.steps import ToolCallError
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.job import RunCall

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from kubeez_mcp_local.cookbook.price import Quotes
    from kubeez_mcp_local.cookbook.steps import Call, ToolCaller
    from kubeez_mcp_local.jobs.budget import RunSpend
    from kubeez_mcp_local.runs.journal import Journal, NoJournal

MAX_JOB_SECONDS = 3_600
MAX_QUEUE_SECONDS = 3 * 3_600
"""How long one call waits its turn while the API's limits are used up: 1,000 rows at 30 a minute take half an hour."""
PAUSE_SECONDS = 2.0
BUDGET_REACHED = "budget_reached"
# Refusals that every further paid call would meet as well: there is no point in going on.
_STOPPING = frozenset(
    {"insufficient_credits", "unauthorized", "missing_scope", "ceiling_reached"}
    | {"declined", "consent_cancelled", "consent_pending", "approval_required"}
)
_OVER = ("completed", "failed")
_DATABASE_GONE = frozenset({"ledger_unreachable", "ledger_in_doubt", "ledger_locked", "job_unrecorded"})
"""A team's database is away for a while. The call's name makes its repeat safe; what is unwritten is written first."""
_LISTS = ("outputs", "songs", "files")


class Books(Protocol):
    """The ledger, as far as runs ask it."""

    async def run_spend(self, run: str) -> RunSpend: ...


@dataclass(slots=True)
class Payer:
    """Makes the paid calls of one run.

    Attributes:
        run: What the ledger calls the run.
        budget: Credits that the whole run may cost.
        spent: Credits of finished calls, earlier attempts included.
        stopped: Why no further call is paid for; empty while there is no reason.
        person: Whose work it is, where that is not who makes the calls.
    """

    call: ToolCaller
    journal: Journal | NoJournal
    quotes: Quotes
    run: str
    budget: float
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]]
    spent: float = 0.0
    stopped: str = ""
    person: str = ""
    _writing: anyio.Lock = field(default_factory=anyio.Lock)

    async def pay(self, call: Call, arguments: dict[str, Any], hints: Mapping[str, Any]) -> dict[str, Any]:
        """The finished result of the call; sent now, or by an earlier attempt.

        Raises `JournalError` if it cannot be recorded, `KubeezError` if it was refused or failed, or if its fate is
        unknown (`spent=None`).
        """
        if self.stopped:
            raise ToolCallError(self.stopped, code=BUDGET_REACHED)
        at_most = call.step.at_most
        if at_most is None and hints:
            at_most = (await self.quotes.of(call.step.tool, arguments, hints)).credits
        named = RunCall(self.run, call.key, self.budget, at_most, call.label, call.part, self.person)
        try:
            started = await self._in_turn(call, arguments, named)
        except KubeezError as error:
            if error.code in _STOPPING:
                self.stopped = self.stopped or error.message
            raise
        if not job_ids(started) and started.get("status") != "completed":
            raise ToolCallError(str(started.get("next_step") or "the tool started no job"))
        result = await self._followed(started)
        if result["status"] != "completed":
            raise ToolCallError(
                str(result.get("error_message") or "the job failed"), code="job_failed", retry_safe=True
            )
        self.spent += charged(result)
        await self.write(self.journal.finished, call.key, result)
        return result

    async def write(self, record: Callable[..., None], *arguments: Any) -> None:
        """Write to the journal, in a thread and one at a time."""
        async with self._writing:
            await anyio.to_thread.run_sync(record, *arguments)

    async def _in_turn(self, call: Call, arguments: Mapping[str, Any], named: RunCall) -> Mapping[str, Any]:
        """Call the tool; again, for as long as it says that its turn has not come or that it needs more time."""
        deadline = self.clock() + MAX_QUEUE_SECONDS
        while True:
            try:
                return await self.call(call.step.tool, arguments, run=named)
            except KubeezError as error:
                pause = _pause_after(error)
                if pause is None or self.stopped or self.clock() > deadline:
                    raise
                await self.sleep(pause)

    async def _waited(self, job_id: str) -> Mapping[str, Any]:
        try:
            return await self.call("wait_for_generation", {"id": job_id})
        except KubeezError as error:
            if error.code not in _DATABASE_GONE:
                raise
            return {"status": "unknown"}

    async def _followed(self, started: Mapping[str, Any]) -> dict[str, Any]:
        """The finished result of everything that a paid tool has started, its files saved.

        A job of an earlier attempt may be completed and not saved, if that one was killed in between; waiting saves it.
        """
        if started.get("status") == "failed" or started.get("files") or not job_ids(started):
            return dict(started)
        deadline = self.clock() + MAX_JOB_SECONDS
        results = []
        for job_id in job_ids(started):
            while True:
                asked = self.clock()
                result = await self._waited(job_id)
                if result.get("status") in _OVER:
                    results.append(result)
                    break
                if self.clock() > deadline:
                    raise ToolCallError(
                        f"The job {job_id} was not over after {MAX_JOB_SECONDS / 60:g} minutes.",
                        next_step="Run again with the same run id to go on waiting.",
                        spent=None,
                    )
                if self.clock() - asked < PAUSE_SECONDS:  # the wait came back at once
                    await self.sleep(PAUSE_SECONDS)
        return _merged(results)


def _pause_after(error: KubeezError) -> float | None:
    """Seconds after which the same call is worth repeating; `None` when it is not."""
    if error.code == "took_too_long":  # its name makes the repeat safe even if the request has left
        return 1.0
    if error.code in _DATABASE_GONE:
        return PAUSE_SECONDS
    if error.retry_safe and error.spent is False and error.retry_after is not None:  # the limits are used up
        return min(max(error.retry_after, 0.5), 60.0)
    return None


def job_ids(result: Mapping[str, Any]) -> list[str]:
    """The ids of the jobs that a paid tool has started."""
    ids = result.get("generation_ids") or [result.get("generation_id") or result.get("separation_id")]
    return [str(job_id) for job_id in ids if job_id]


def charged(result: Mapping[str, Any]) -> float:
    """Credits a finished result cost: what was charged, else what was quoted."""
    cost = result.get("cost")
    told = cost if isinstance(cost, dict) else {}
    for value in (told.get("charged"), result.get("credits_deducted"), told.get("quoted")):
        if isinstance(value, int | float):
            return float(value)
    return 0.0


def _merged(results: list[Mapping[str, Any]]) -> dict[str, Any]:
    """One result of several jobs: their outputs in order, their costs summed, failed when all of them failed."""
    merged = dict(results[0])
    if len(results) == 1:
        return merged
    for name in _LISTS:
        merged[name] = [entry for result in results for entry in result.get(name) or []]
    merged["generation_ids"] = [result.get("generation_id") for result in results]
    merged["status"] = "completed" if any(result.get("status") == "completed" for result in results) else "failed"
    costs = [result["cost"] for result in results if isinstance(result.get("cost"), dict)]
    if costs:
        names = {name for cost in costs for name in cost if name in ("quoted", "charged")}
        merged["cost"] = {name: sum(cost.get(name) or 0 for cost in costs) for name in names}
    return merged
