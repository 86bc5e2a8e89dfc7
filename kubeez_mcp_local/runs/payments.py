"""Makes one paid call of a run exactly once: priced, reserved, recorded, sent, followed, settled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from kubeez_mcp_local.cookbook.budget import number
from kubeez_mcp_local.cookbook.calls import ToolCallError
from kubeez_mcp_local.errors import KubeezError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from kubeez_mcp_local.cookbook.calls import ToolCaller
    from kubeez_mcp_local.cookbook.plan import Call
    from kubeez_mcp_local.cookbook.price import Quotes
    from kubeez_mcp_local.runs.journal import Journal

MAX_JOB_SECONDS = 3_600
MAX_QUEUE_SECONDS = 3 * 3_600
"""How long one call waits its turn while the API's limits are used up: 1,000 rows at 30 a minute take half an hour."""
# Refusals that every further paid call would meet as well: there is no point in going on.
_STOPPING = frozenset(
    {"insufficient_credits", "unauthorized", "missing_scope", "ceiling_reached"}
    | {"declined", "consent_cancelled", "approval_required"}
)
PAUSE_SECONDS = 2.0
_OVER = ("completed", "failed")
_LISTS = ("outputs", "songs", "files")


class BudgetReached(Exception):  # noqa: N818 - stops a run, which is a normal end; the report tells
    """The next call does not fit into what is left."""


@dataclass(slots=True)
class Purse:
    """Credits of one run. Used from one event loop, so that check and reservation are one step."""

    budget: float
    spent: float = 0.0
    _held: dict[str, float] = field(default_factory=dict)

    def reserve(self, key: str, credits_: float | None) -> None:
        """Hold back the price of a call.

        Raises:
            BudgetReached: It does not fit, or the price is unknown.
        """
        if credits_ is None:
            raise BudgetReached(
                "its price is unknown, so the budget cannot be kept; give the step an `at_most` in the recipe"
            )
        held = sum(self._held.values())
        if self.spent + held + credits_ > self.budget + 1e-9:
            raise BudgetReached(
                f"it costs {number(credits_)} credits, and {number(max(self.budget - self.spent - held, 0))} of the "
                f"budget of {number(self.budget)} are left"
            )
        self._held[key] = credits_

    def hold(self, key: str, credits_: float) -> None:
        """Hold back what an earlier attempt has already promised, whether it fits or not."""
        self._held[key] = credits_

    def settle(self, key: str, charged: float) -> None:
        """The call is over and cost this much."""
        self._held.pop(key, None)
        self.spent += charged

    def give_back(self, key: str) -> None:
        """The call cost nothing."""
        self._held.pop(key, None)

    def keep(self, key: str) -> None:
        """Nobody knows whether the call was charged: count it as spent."""
        self.spent += self._held.pop(key, 0.0)


@dataclass(frozen=True, slots=True)
class Paid:
    """A paid call that is over: its result, its credits, and why it failed if it did."""

    result: dict[str, Any]
    credits: float = 0.0
    failure: str = ""


@dataclass(slots=True)
class Payer:
    """Makes the paid calls of one run.

    Attributes:
        stopped: Why no further call is paid for; empty while there is no reason.
    """

    call: ToolCaller
    journal: Journal
    purse: Purse
    quotes: Quotes
    run_id: str
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]]
    stopped: str = ""
    _writing: anyio.Lock = field(default_factory=anyio.Lock)

    def take_over(self) -> None:
        """Count what earlier attempts at this run spent, and hold back what they promised."""
        for key, progress in self.journal.calls.items():
            if progress.result is not None:
                self.purse.spent += charged(progress.result, progress.quote)
            elif progress.arguments is not None:
                self.purse.hold(key, progress.quote or 0.0)

    async def pay(self, call: Call, arguments: dict[str, Any], hints: Mapping[str, Any]) -> Paid:
        """Make the call, or go on with it where an earlier attempt was cut off.

        Raises:
            BudgetReached: It does not fit into the budget, or a limit has stopped the run.
            JournalError: It cannot be recorded, so it was not sent.
            KubeezError: The tool refused it, or its fate is unknown.
        """
        earlier = self.journal.calls.get(call.key)
        if earlier is not None and earlier.ids:
            quote = earlier.quote
            started: Mapping[str, Any] = {"generation_ids": earlier.ids, "status": "pending"}
        elif earlier is not None and earlier.arguments is not None:
            quote = earlier.quote
            started = await self._send(call, earlier.arguments)
        else:
            quote = await self._reserve(call, arguments, hints)
            await self.write(self.journal.started, call.key, call.step.tool, arguments, quote)
            started = await self._send(call, arguments)
        try:
            result = await follow(self.call, started, clock=self.clock, sleep=self.sleep, seconds=MAX_JOB_SECONDS)
        except KubeezError:
            self.purse.keep(call.key)  # the job exists: its credits are as good as spent
            raise
        return await self._settle(call, result, quote)

    async def write(self, record: Callable[..., None], *arguments: Any) -> None:
        """Write to the journal, in a thread and one at a time."""
        async with self._writing:
            await anyio.to_thread.run_sync(record, *arguments)

    async def _reserve(self, call: Call, arguments: Mapping[str, Any], hints: Mapping[str, Any]) -> float | None:
        quote = await self.quotes.of(call.step.tool, arguments, hints)
        if self.stopped:
            raise BudgetReached(self.stopped)
        if quote is None:
            quote = call.step.at_most
        self.purse.reserve(call.key, quote)
        return quote

    async def _send(self, call: Call, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send it: a refusal gives the credits back, an unknown fate keeps them."""
        try:
            started = await self._in_turn(call, arguments)
            ids = job_ids(started)
            if not ids and started.get("status") != "completed":
                raise ToolCallError(str(started.get("next_step") or "the tool started no job"), code=_no_job(started))
        except KubeezError as error:
            if error.code in _STOPPING:
                self.stopped = self.stopped or error.message
            if error.spent is None:
                self.purse.keep(call.key)
            else:
                self.purse.give_back(call.key)
                await self.write(self.journal.refused, call.key)
            raise
        await self.write(self.journal.accepted, call.key, ids)
        return started

    async def _in_turn(self, call: Call, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Call the tool; again, for as long as it says that its turn has not come or that it needs more time."""
        deadline = self.clock() + MAX_QUEUE_SECONDS
        while True:
            try:
                return await self.call(call.step.tool, arguments, key=f"{self.run_id}/{call.key}")
            except KubeezError as error:
                pause = _pause_after(error)
                if pause is None or self.stopped or self.clock() > deadline:
                    raise
                await self.sleep(pause)

    async def _settle(self, call: Call, result: dict[str, Any], quote: float | None) -> Paid:
        if result["status"] != "completed":
            self.purse.give_back(call.key)
            await self.write(self.journal.refused, call.key)
            return Paid(result, failure=str(result.get("error_message") or "the job failed"))
        cost = charged(result, quote)
        self.purse.settle(call.key, cost)
        await self.write(self.journal.finished, call.key, result)
        return Paid(result, cost)


def _pause_after(error: KubeezError) -> float | None:
    """Seconds after which the same call is worth repeating; `None` when it is not."""
    if error.code == "took_too_long":  # its key makes the repeat safe even if the request has left
        return 1.0
    if error.retry_safe and error.spent is False and error.retry_after is not None:  # the limits are used up
        return min(max(error.retry_after, 0.5), 60.0)
    return None


def _no_job(answer: Mapping[str, Any]) -> str:
    return "approval_required" if answer.get("approval") else ""


def job_ids(result: Mapping[str, Any]) -> list[str]:
    """The job ids of a tool's result."""
    ids = result.get("generation_ids") or [result.get("generation_id") or result.get("separation_id")]
    return [str(job_id) for job_id in ids if job_id]


def charged(result: Mapping[str, Any], quote: float | None) -> float:
    """Credits a finished result cost: what was charged, else what was quoted."""
    cost = result.get("cost")
    told = cost if isinstance(cost, dict) else {}
    for value in (told.get("charged"), result.get("credits_deducted"), told.get("quoted"), quote):
        if isinstance(value, (int, float)):
            return float(value)
    return 0.0


async def follow(
    call: ToolCaller,
    started: Mapping[str, Any],
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[object]],
    seconds: float,
) -> dict[str, Any]:
    """The finished result of everything `started` began.

    Args:
        call: Calls a tool; `wait_for_generation` is the one that is called here.
        started: What the paid tool answered.
        clock: Seconds.
        sleep: Waits that many seconds; used when a wait comes back at once.
        seconds: How long one call may take in all.

    Raises:
        ToolCallError: A job does not end in time; its credits may be spent.
        KubeezError: What `wait_for_generation` raises.
    """
    if started.get("status") in _OVER:
        return dict(started)
    ids = list(started.get("generation_ids") or []) or [started.get("generation_id") or started.get("separation_id")]
    deadline = clock() + seconds
    results = []
    for job_id in ids:
        while True:
            asked = clock()
            result = await call("wait_for_generation", {"id": str(job_id)})
            if result.get("status") in _OVER:
                results.append(result)
                break
            if clock() > deadline:
                raise ToolCallError(
                    f"The job {job_id} was not over after {seconds / 60:g} minutes.",
                    next_step="Run again with the same run id to go on waiting.",
                    spent=None,
                )
            if clock() - asked < PAUSE_SECONDS:
                await sleep(PAUSE_SECONDS)
    return merge(results)


def merge(results: list[Mapping[str, Any]]) -> dict[str, Any]:
    """One result of several jobs: their outputs in order, their costs summed, failed when all of them failed."""
    if len(results) == 1:
        return dict(results[0])
    merged = dict(results[0])
    for name in _LISTS:
        merged[name] = [entry for result in results for entry in result.get(name) or []]
    merged["generation_ids"] = [result.get("generation_id") for result in results]
    merged["status"] = "completed" if any(result.get("status") == "completed" for result in results) else "failed"
    costs = [result["cost"] for result in results if isinstance(result.get("cost"), dict)]
    if costs:
        names = {name for cost in costs for name in cost if name in ("quoted", "charged")}
        merged["cost"] = {name: sum(cost.get(name) or 0 for cost in costs) for name in names}
    return merged
