"""Runs a recipe's steps without an assistant, through the same tools an assistant would call."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.to_thread

from kubeez_mcp_local.cookbook.budget import number
from kubeez_mcp_local.cookbook.calls import PAID_TOOLS, read
from kubeez_mcp_local.cookbook.plan import (
    Call,
    arguments_of,
    calls_of,
    deciding,
    dependencies,
    hints_of,
    scope_for,
    wanted,
)
from kubeez_mcp_local.cookbook.price import Quotes
from kubeez_mcp_local.cookbook.problems import RecipeError, TemplateError
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.runs.journal import Journal, JournalError
from kubeez_mcp_local.runs.payments import BudgetReached, Payer, Purse, charged

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from kubeez_mcp_local.cookbook.budget import Budget
    from kubeez_mcp_local.cookbook.calls import ToolCaller
    from kubeez_mcp_local.cookbook.format import Recipe, Step

CallStatus = Literal["completed", "failed", "skipped", "stopped"]


@dataclass(frozen=True, slots=True)
class CallReport:
    """One call of a run.

    Attributes:
        key: The step's id, with `[index]` in a loop.
        tool: The tool that was called.
        status: `completed`; `failed`; `skipped` (by `when`, or as it needs what failed); `stopped` (by a limit).
        credits: Credits charged.
        result: The tool's result, empty when there is none.
        reason: Why it did not complete.
        resumed: Whether the result comes from an earlier attempt at the same run.
    """

    key: str
    tool: str
    status: CallStatus
    credits: float = 0.0
    result: dict[str, Any] | None = None
    reason: str = ""
    resumed: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the files it saved."""
        found = (self.result or {}).get("files") or []
        return tuple(str(file["path"]) for file in found if isinstance(file, dict) and file.get("path"))


@dataclass(frozen=True, slots=True)
class RunEvent:
    """A moment of a run, for a progress bar: `done` of `total` calls known so far, `spent` credits."""

    kind: Literal["started", "completed", "failed", "skipped", "stopped"]
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
        status: `completed`, `failed` (some call failed) or `stopped` (by budget, ceiling or balance).
        spent: Credits of all calls of this run id, earlier attempts included.
        budget: Credits it might have spent.
        notes: What the reader should know, one sentence each.
    """

    run_id: str
    recipe: str
    mode: str
    status: Literal["completed", "failed", "stopped"]
    calls: tuple[CallReport, ...]
    spent: float
    budget: float
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(path for call in self.calls for path in call.files))

    @property
    def exit_code(self) -> int:
        """0 when everything completed, 1 when something failed, 3 when a limit stopped it."""
        return {"completed": 0, "failed": 1, "stopped": 3}[self.status]

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
        counts: dict[str, int] = {}
        for call in self.calls:
            counts[call.status] = counts.get(call.status, 0) + 1
        parts = ", ".join(f"{count} {status}" for status, count in counts.items()) or "nothing to do"
        spent = f"{number(self.spent)} of {number(self.budget)} credits"
        files = "1 file" if len(self.files) == 1 else f"{len(self.files)} files"
        lines = [f"{self.recipe}: {self.status} – {parts}; {spent}; {files}."]
        lines += self._reasons()[:20]
        lines += [f"- {note}" for note in self.notes]
        if self.status != "completed":
            lines.append(f"Run again with the run id {self.run_id} to go on; finished work is not paid for twice.")
        return "\n".join(lines)


PARALLEL = 4
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")


async def run_recipe(
    recipe: Recipe,
    arguments: Mapping[str, Any],
    call: ToolCaller,
    *,
    budget: Budget,
    run_dir: Path,
    run_id: str,
    mode: str,
    parallel: int = PARALLEL,
    on_event: Callable[[RunEvent], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
) -> RunReport:
    """Run all steps of a recipe; independent ones side by side.

    Running again with the same `run_id` goes on where it was cut off: finished calls are skipped, accepted jobs are
    followed, and a call that may or may not have been sent is repeated with the same arguments and the same key.

    Args:
        recipe: The recipe.
        arguments: Its checked arguments (`check_arguments`).
        call: Calls a tool.
        budget: Credits the whole run may spend (`budget_of`).
        run_dir: Where the records of runs are kept.
        run_id: Name of this run: letters, digits, `-` and `_`, at most 64.
        mode: `live` or `sandbox`; a run cannot change it.
        parallel: Most calls at once.
        on_event: Told of each call that starts or ends.
        clock: Seconds.
        sleep: Waits that many seconds.

    Raises:
        InvalidArgumentError: The run id.
        RecipeError: The recipe has no steps, or they cannot be planned.
        RunMismatchError: The run id belongs to another recipe, other arguments or the other mode.
        JournalError: The record of the run cannot be written.
    """
    check_run_id(run_id)
    if not recipe.steps:
        reason = "this recipe has no steps, so it cannot run by itself"
        raise RecipeError(recipe.file, 0, "steps", reason, next_step="Use it as a prompt.")
    needs = dependencies(recipe)
    decided = deciding(recipe, arguments)
    journal = await anyio.to_thread.run_sync(Journal, run_dir, run_id, recipe.text, decided, mode)
    payer = Payer(call, journal, Purse(budget.credits), Quotes(call), run_id, clock, sleep)
    runner = _Runner(recipe, arguments, payer, needs, on_event, anyio.CapacityLimiter(max(parallel, 1)))
    try:
        await runner.run()
        await payer.write(journal.over, runner.status)
    except BaseExceptionGroup as group:
        raise _first(group) from None
    finally:
        await anyio.to_thread.run_sync(journal.close)
    notes = tuple(note for note in (budget.note, payer.stopped) if note)
    calls = runner.in_order()
    return RunReport(run_id, recipe.name, mode, runner.status, calls, payer.purse.spent, budget.credits, notes)


def check_run_id(run_id: str) -> str:
    """The name of a run, if it can be one.

    Raises:
        InvalidArgumentError: It cannot.
    """
    if not _RUN_ID.match(run_id):
        raise InvalidArgumentError("run_id", f"{run_id!r}: use up to 64 letters, digits, - and _")
    return run_id


@dataclass(slots=True)
class _Runner:
    recipe: Recipe
    arguments: Mapping[str, Any]
    payer: Payer
    needs: Mapping[str, frozenset[str]]
    on_event: Callable[[RunEvent], None] | None
    slots: anyio.CapacityLimiter
    reports: dict[str, CallReport] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    over: dict[str, anyio.Event] = field(default_factory=dict)
    total: int = 0

    @property
    def status(self) -> Literal["completed", "failed", "stopped"]:
        found = {report.status for report in self.reports.values()}
        if self.payer.stopped or "stopped" in found:
            return "stopped"
        return "failed" if "failed" in found else "completed"

    def in_order(self) -> tuple[CallReport, ...]:
        """The reports in the order of the steps."""
        order = {step.id: position for position, step in enumerate(self.recipe.steps)}
        return tuple(sorted(self.reports.values(), key=lambda report: _place(report.key, order)))

    async def run(self) -> None:
        self.payer.take_over()
        self.over = {step.id: anyio.Event() for step in self.recipe.steps}
        async with anyio.create_task_group() as tasks:
            for step in self.recipe.steps:
                tasks.start_soon(self._run_step, step)

    async def _run_step(self, step: Step) -> None:
        for other in self.needs[step.id]:
            await self.over[other].wait()
        try:
            calls = calls_of(self.recipe, step, scope_for(self.arguments, self.results))
        except RecipeError as error:
            call = Call(step.id, step)
            self._end(call, "skipped" if self._lacks(call) else "failed", reason=error.reason)
            self.results[step.id] = _nothing("failed")
        else:
            self.total += len(calls)
            found = [_nothing("skipped") for _ in calls]
            async with anyio.create_task_group() as tasks:
                for position, call in enumerate(calls):
                    tasks.start_soon(self._run_call, call, found, position)
            self.results[step.id] = found[0] if step.for_each is None else found
        self.over[step.id].set()

    async def _run_call(self, call: Call, found: list[dict[str, Any]], position: int) -> None:
        async with self.slots:
            try:
                found[position] = await self._made(call)
            except BudgetReached as reached:
                self._end(call, "stopped", reason=str(reached))
            except (TemplateError, RecipeError) as error:
                self._end(call, "skipped" if self._lacks(call) else "failed", reason=error.message)
            except JournalError:
                raise  # without a record nothing more may be paid for
            except KubeezError as error:
                found[position] = _nothing("failed")
                self._end(call, "failed", reason=str(error))

    async def _made(self, call: Call) -> dict[str, Any]:
        """Make one call and follow it to its end; its result, with empty lists when it came to nothing."""
        earlier = self.payer.journal.calls.get(call.key)
        if earlier is not None and earlier.result is not None:
            self._end(call, "completed", earlier.result, charged(earlier.result, earlier.quote), resumed=True)
            return earlier.result
        scope = scope_for(self.arguments, self.results, call)
        if not wanted(call, scope):
            self._end(call, "skipped")
            return _nothing("skipped")
        arguments = arguments_of(self.recipe, call, scope)
        self._tell("started", call)
        if call.step.tool not in PAID_TOOLS:
            result = await read(self.payer.call, call.step.tool, arguments)
            await self.payer.write(self.payer.journal.finished, call.key, result)
            self._end(call, "completed", result)
            return result
        paid = await self.payer.pay(call, arguments, hints_of(call, scope))
        if paid.failure:
            self._end(call, "failed", paid.result, reason=paid.failure)
            return _nothing("failed")
        self._end(call, "completed", paid.result, paid.credits)
        return paid.result

    def _lacks(self, call: Call) -> bool:
        """Whether something this call builds on did not complete."""
        needs = self.needs[call.step.id]
        return any(report.status != "completed" and key.split("[")[0] in needs for key, report in self.reports.items())

    def _end(
        self,
        call: Call,
        status: CallStatus,
        result: dict[str, Any] | None = None,
        credits_: float = 0.0,
        *,
        reason: str = "",
        resumed: bool = False,
    ) -> None:
        self.reports[call.key] = CallReport(call.key, call.step.tool, status, credits_, result, reason, resumed)
        self._tell(status, call, reason)

    def _tell(self, kind: Literal["started"] | CallStatus, call: Call, message: str = "") -> None:
        if self.on_event is not None:
            done = len(self.reports)
            spent = self.payer.purse.spent
            self.on_event(RunEvent(kind, call.key, call.step.tool, done, max(self.total, done), spent, message))


def _nothing(status: str) -> dict[str, Any]:
    return {"status": status, "outputs": [], "songs": [], "files": []}


def _place(key: str, steps: Mapping[str, int]) -> tuple[int, int]:
    name, _, index = key.partition("[")
    return steps.get(name, 0), int(index.rstrip("]") or 0)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one exception of nested task groups that the caller should see."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
