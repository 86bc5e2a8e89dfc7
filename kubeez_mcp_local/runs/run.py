"""Runs a recipe's steps without an assistant, through the same tools an assistant would call."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.to_thread

from kubeez_mcp_local.cookbook.format import RecipeError, TemplateError
from kubeez_mcp_local.cookbook.price import Quotes
from kubeez_mcp_local.cookbook.steps import (
    PAID_TOOLS,
    Call,
    arguments_of,
    calls_of,
    dependencies,
    hints_of,
    number,
    read,
    scope_for,
    wanted,
)
from kubeez_mcp_local.errors import KubeezError, first_error_in
from kubeez_mcp_local.jobs.job import step_and_index
from kubeez_mcp_local.runs.journal import Journal, JournalError, NoJournal, RunTakenError
from kubeez_mcp_local.runs.payments import BUDGET_REACHED, Payer, charged

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from kubeez_mcp_local.cookbook.format import Recipe, Step
    from kubeez_mcp_local.cookbook.steps import Budget, ToolCaller
    from kubeez_mcp_local.runs.journal import Outcome, RunId
    from kubeez_mcp_local.runs.payments import Books

CallStatus = Literal["completed", "failed", "skipped", "stopped", "parked", "paused"]


@dataclass(frozen=True, slots=True)
class CallReport:
    """One call of a run: its step's id, with `[index]` in a loop, and the `credits` charged for it.

    It is `completed`; `failed`; `skipped` (by `when`, or as it needs what failed); `stopped` (by a limit); `paused`
    (until there is another yes); or `parked` (its fate is not known yet, and it may have been paid). `reason` tells why
    it did not complete, `code` is the error's, `again` whether it may fare better another time. It is `resumed` when
    the result comes from an earlier attempt at the same run. `label` says in words what it is about, in a loop.
    """

    key: str
    tool: str
    status: CallStatus
    credits: float = 0.0
    result: dict[str, Any] | None = None
    reason: str = ""
    resumed: bool = False
    label: str = ""
    again: bool = True
    code: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the files it saved."""
        found = (self.result or {}).get("files") or []
        return tuple(str(file["path"]) for file in found if isinstance(file, dict) and file.get("path"))


@dataclass(frozen=True, slots=True)
class RunEvent:
    """A moment of a run, for a progress bar: `done` of `total` calls known so far, `spent` credits."""

    kind: Literal["started"] | CallStatus
    key: str
    tool: str
    done: int
    total: int
    spent: float
    message: str = ""


@dataclass(frozen=True, slots=True)
class RunReport:
    """A run of a recipe, over.

    Attributes:
        status: `completed`, `failed` (some call failed or is parked), `stopped` (by budget, ceiling or balance) or
            `paused` (all is made that comes before a step for which there must be another yes).
        spent: Credits of all calls of this run id, earlier attempts included.
        budget: Credits it might have spent.
        notes: What the reader should know, one sentence each.
    """

    run_id: str
    recipe: str
    mode: str
    status: Outcome
    calls: tuple[CallReport, ...]
    spent: float
    budget: float
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(path for call in self.calls for path in call.files))

    @property
    def exit_code(self) -> int:
        """0 when everything completed or it paused, 1 when something failed, 3 when a limit stopped it."""
        return {"completed": 0, "paused": 0, "failed": 1, "stopped": 3}[self.status]

    def _reasons(self) -> list[str]:
        """Why calls did not complete, each reason once."""
        alike: dict[tuple[str, str], list[str]] = {}
        for call in self.calls:
            if call.reason:
                alike.setdefault((call.status, call.reason), []).append(call.key)
        return [
            f"- {keys[0]}{f' and {len(keys) - 1} more' if len(keys) > 1 else ''}: {status}: {reason}"
            for (status, reason), keys in alike.items()
        ]

    def summary(self) -> str:
        """The outcome in a few lines for people."""
        counts = Counter(call.status for call in self.calls)
        parts = ", ".join(f"{count} {status}" for status, count in counts.items()) or "nothing to do"
        spent = f"{number(self.spent)} of {number(self.budget)} credits"
        files = "1 file" if len(self.files) == 1 else f"{len(self.files)} files"
        lines = [f"{self.recipe}: {self.status} – {parts}; {spent}; {files}.", *self._reasons()[:20]]
        lines += [f"- {note}" for note in self.notes]
        return "\n".join(lines)


PARALLEL = 4
_TAKEN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Run:
    """A run, with checked arguments, as it can be carried out; `folder` keeps the records of runs.

    `budget` are the credits that it may cost, earlier attempts included. `pauses` are the steps before which it ends,
    to go on in another attempt. With a `row`, only that entry of each step's `for_each` is carried out, and no record
    is kept but the ledger's. `person` is whose work it is where that is not who carries it out.
    """

    recipe: Recipe
    arguments: Mapping[str, Any]
    id: RunId
    folder: Path
    budget: Budget
    pauses: frozenset[str] = frozenset()
    row: int | None = None
    person: str = ""

    async def carry_out(
        self,
        call: ToolCaller,
        books: Books,
        *,
        parallel: int = PARALLEL,
        on_event: Callable[[RunEvent], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
    ) -> RunReport:
        """Run all steps; independent ones side by side, at most `parallel` calls at once.

        Once more, it goes on where it was cut off: finished calls are skipped, and all others are made again under
        the same names, for which the ledger (`books`) gives the jobs that there are. While somebody else carries it
        out, it waits for them. `on_event` is told of each call that starts or ends.

        Raises:
            RecipeError: The steps cannot be planned.
            KubeezError: The run id belongs to another recipe, other arguments or the other mode (`run_mismatch`).
            JournalError: The record of the run cannot be written.
        """
        needs = dependencies(self.recipe)
        journal = NoJournal() if self.row is not None else await self._journal(sleep)
        try:
            before = await books.run_spend(self.id.in_ledger)
            payer = Payer(
                call,
                journal,
                Quotes(call),
                self.id.in_ledger,
                self.budget.credits,
                clock,
                sleep,
                spent=before.charged,
                person=self.person,
            )
            slots = anyio.CapacityLimiter(max(parallel, 1))
            runner = _Runner(self.recipe, self.arguments, payer, needs, on_event, slots, self.pauses, self.row)
            await runner.run()
            await payer.write(journal.over, runner.status, sorted(runner.paused))
        except BaseExceptionGroup as group:
            raise first_error_in(group) from None
        finally:
            await anyio.to_thread.run_sync(journal.close)
        notes = tuple(note for note in (self.budget.note, payer.stopped) if note)
        after = await books.run_spend(self.id.in_ledger)
        return RunReport(
            self.id.name,
            self.recipe.name,
            self.id.mode,
            runner.status,
            runner.in_order(),
            after.charged + after.reserved,
            self.budget.credits,
            notes,
        )

    async def _journal(self, sleep: Callable[[float], Awaitable[object]]) -> Journal:
        while True:
            try:
                return await anyio.to_thread.run_sync(Journal, self.folder, self.id)
            except RunTakenError:
                await sleep(_TAKEN_SECONDS)


@dataclass(slots=True)
class _Runner:
    recipe: Recipe
    arguments: Mapping[str, Any]
    payer: Payer
    needs: Mapping[str, frozenset[str]]
    on_event: Callable[[RunEvent], None] | None
    slots: anyio.CapacityLimiter
    pauses: frozenset[str] = frozenset()
    row: int | None = None
    paused: set[str] = field(default_factory=set)
    reports: dict[str, CallReport] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    over: dict[str, anyio.Event] = field(default_factory=dict)
    total: int = 0

    @property
    def status(self) -> Outcome:
        found = {report.status for report in self.reports.values()}
        if self.payer.stopped or "stopped" in found:
            return "stopped"
        return "failed" if found & {"failed", "parked"} else "paused" if self.paused else "completed"

    def in_order(self) -> tuple[CallReport, ...]:
        """The reports in the order of the steps."""
        order = {step.id: position for position, step in enumerate(self.recipe.steps)}
        return tuple(sorted(self.reports.values(), key=lambda report: _place(report.key, order)))

    async def run(self) -> None:
        self.over = {step.id: anyio.Event() for step in self.recipe.steps}
        async with anyio.create_task_group() as tasks:
            for step in self.recipe.steps:
                tasks.start_soon(self._run_step, step)

    async def _run_step(self, step: Step) -> None:
        for other in self.needs[step.id]:
            await self.over[other].wait()
        if self.needs[step.id] & self.paused:
            self.paused.add(step.id)
            self.results[step.id] = _nothing("paused")
            self.over[step.id].set()
            return
        try:
            calls = calls_of(self.recipe, step, scope_for(self.arguments, self.results))
        except RecipeError as error:
            call = Call(step.id, step)
            self._end(call, "skipped" if self._lacks(call) else "failed", reason=error.reason)
            self.results[step.id] = _nothing("failed")
        else:
            self.total += len(calls)
            if step.id in self.pauses and not any(self._lacks(call) for call in calls):
                self.paused.add(step.id)
                for call in calls:
                    self._end(call, "paused")
                calls = []
            found = [_nothing("skipped") for _ in calls]
            async with anyio.create_task_group() as tasks:
                for position, call in enumerate(calls):
                    if self.row in (None, position) or step.for_each is None:
                        tasks.start_soon(self._run_call, call, found, position)
            self.results[step.id] = found if step.for_each is not None or not found else found[0]
        self.over[step.id].set()

    async def _run_call(self, call: Call, found: list[dict[str, Any]], position: int) -> None:
        async with self.slots:
            try:
                found[position] = await self._made(call)
            except (TemplateError, RecipeError) as error:
                self._end(call, "skipped" if self._lacks(call) else "failed", reason=error.message, again=False)
            except JournalError:
                raise
            except KubeezError as error:
                found[position] = _nothing("failed")
                again = error.spent is None or error.retry_safe
                self._end(call, _status_after(error), reason=str(error), again=again, code=error.code)

    async def _made(self, call: Call) -> dict[str, Any]:
        """Make one call and follow it to its end; its result, with empty lists when it came to nothing."""
        known = self.payer.journal.results.get(call.key)
        if known is not None:
            self._end(call, "completed", known, resumed=True)
            return known
        scope = scope_for(self.arguments, self.results, call)
        if not wanted(call, scope):
            self._end(call, "skipped")
            return _nothing("skipped")
        arguments = arguments_of(self.recipe, call, scope)
        self._tell("started", call)
        if call.step.tool in PAID_TOOLS:
            result = await self.payer.pay(call, arguments, hints_of(call, scope))
        else:
            result = await read(self.payer.call, call.step.tool, arguments)
            await self.payer.write(self.payer.journal.finished, call.key, result)
        self._end(call, "completed", result)
        return result

    def _lacks(self, call: Call) -> bool:
        """Whether something this call builds on did not complete."""
        needs = self.needs[call.step.id]
        return any(report.status != "completed" and key.split("[")[0] in needs for key, report in self.reports.items())

    def _end(
        self,
        call: Call,
        status: CallStatus,
        result: dict[str, Any] | None = None,
        *,
        reason: str = "",
        resumed: bool = False,
        again: bool = True,
        code: str = "",
    ) -> None:
        cost = charged(result) if result and call.step.tool in PAID_TOOLS else 0.0
        known = (call.key, call.step.tool, status, cost, result, reason, resumed, call.label, again, code)
        self.reports[call.key] = CallReport(*known)
        self._tell(status, call, reason)

    def _tell(self, kind: Literal["started"] | CallStatus, call: Call, message: str = "") -> None:
        if self.on_event is not None:
            done, total = len(self.reports), max(self.total, len(self.reports))
            self.on_event(RunEvent(kind, call.key, call.step.tool, done, total, self.payer.spent, message))


def _status_after(error: KubeezError) -> CallStatus:
    """What a call is that ended in `error`. One whose fate is unknown is parked: the others go on without it."""
    if error.spent is None:
        return "parked"
    return "stopped" if error.code == BUDGET_REACHED else "failed"


def _nothing(status: str) -> dict[str, Any]:
    return {"status": status, "outputs": [], "songs": [], "files": []}


def _place(key: str, steps: Mapping[str, int]) -> tuple[int, int]:
    step, index = step_and_index(key)
    return steps.get(step, 0), index
