"""Gets a run ready: checked arguments, a name, a price, a budget, and what earlier attempts have already spent.

The same recipe with the same arguments is the same run: asked for again, it goes on where it was cut off, or comes
back with what it made. A new one has to be asked for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from kubeez_mcp_local.cookbook.arguments import check_arguments
from kubeez_mcp_local.cookbook.budget import Budget, budget_of, number
from kubeez_mcp_local.cookbook.calls import PAID_TOOLS
from kubeez_mcp_local.cookbook.plan import deciding
from kubeez_mcp_local.cookbook.price import PriceList, price_recipe
from kubeez_mcp_local.cookbook.problems import RecipeError
from kubeez_mcp_local.cookbook.tables import table_reader
from kubeez_mcp_local.runs.journal import check_header, digest, file_of, header, read_record
from kubeez_mcp_local.runs.payments import charged
from kubeez_mcp_local.runs.run import PARALLEL, check_run_id, run_recipe

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.cookbook.calls import ToolCaller
    from kubeez_mcp_local.cookbook.format import Recipe
    from kubeez_mcp_local.cookbook.tables import Table
    from kubeez_mcp_local.runs.journal import Outcome, Record
    from kubeez_mcp_local.runs.run import RunEvent, RunReport


RUNS = "runs"
"""Folder of the records of runs, in the state folder; it has one folder for each account."""


def runs_folder(bridge: Bridge) -> Path:
    """Where the records of runs are kept: a folder for each account, so that no run is mistaken for another's."""
    return bridge.settings.state_dir / RUNS / bridge.account


@dataclass(frozen=True, slots=True)
class Begun:
    """What earlier attempts at a run came to, in credits; all empty for a new run.

    Attributes:
        spent: Charged for what is finished.
        promised: Held back for calls that were begun and are not finished.
        covered: The part of the run's price that needs no further yes: quotes of all calls whose jobs exist. A call
            that was cut off before its answer was recorded may have to be sent yet, so it is not among them.
        finished: How many calls are finished.
        outcome: How the last attempt ended; `None` when it was cut off, or when there was none.
    """

    spent: float = 0.0
    promised: float = 0.0
    covered: float = 0.0
    finished: int = 0
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that can start.

    Attributes:
        arguments: Typed and complete.
        prices: Of the whole run; `None` when it is over and nothing is to be paid any more.
        budget: Credits that the run may spend, earlier attempts included.
    """

    recipe: Recipe
    arguments: dict[str, Any]
    run_id: str
    run_dir: Path
    mode: str
    prices: PriceList | None
    budget: Budget
    begun: Begun

    @property
    def complete(self) -> bool:
        """Whether everything is made already, so that the run only reports."""
        return self.begun.outcome == "completed"

    @property
    def due(self) -> float | None:
        """Credits that are still to be paid, as far as is known; `None` when the price is unknown."""
        if self.prices is None:
            return 0.0
        if self.prices.credits is None:
            return None
        return max(self.prices.credits - self.begun.covered, 0.0)

    @property
    def paid_calls(self) -> int:
        """How many calls of the run cost credits."""
        return sum(step.calls for step in self.prices.steps if step.tool in PAID_TOOLS) if self.prices else 0

    @property
    def identity(self) -> str:
        """Names exactly this run in its present state, for the yes that is given to it."""
        begun = [self.begun.spent, self.begun.promised, self.begun.covered]
        state = [self.recipe.text, self.arguments, self.run_id, self.mode, *begun]
        return digest(json.dumps(state, sort_keys=True, default=str))

    async def run(
        self,
        call: ToolCaller,
        *,
        parallel: int = PARALLEL,
        on_event: Callable[[RunEvent], None] | None = None,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
    ) -> RunReport:
        """Carry it out, see `run_recipe`."""
        return await run_recipe(
            self.recipe,
            self.arguments,
            call,
            budget=self.budget,
            run_dir=self.run_dir,
            run_id=self.run_id,
            mode=self.mode,
            parallel=parallel,
            on_event=on_event,
            sleep=sleep,
        )

    def summary(self) -> str:
        """What is about to happen, in one sentence for whoever has to agree to it."""
        if self.complete:
            return f"The run {self.run_id} is complete; nothing more is paid."
        due = "a price that is not known in advance" if self.due is None else f"about {number(self.due)} credits"
        calls = f"{self.paid_calls} paid call{'' if self.paid_calls == 1 else 's'}"
        earlier = f", {number(self.begun.spent)} of them spent before" if self.begun.spent else ""
        return f"Recipe {self.recipe.name}: {calls} for {due}, at most {number(self.budget.credits)} in all{earlier}."


async def prepare(
    recipe: Recipe,
    given: Mapping[str, Any],
    call: ToolCaller,
    *,
    ceiling: float,
    run_dir: Path,
    mode: str,
    run_id: str = "",
    anew: bool = False,
    read_table: Callable[[str, str], Table] | None = None,
) -> Prepared:
    """Everything that is known of a run before it starts. Nothing is made or paid.

    Args:
        recipe: A recipe with steps.
        given: Its arguments as the caller gave them.
        call: Calls a tool; only free ones are called.
        ceiling: Credits the settings leave for today.
        run_dir: Where the records of runs are kept; one folder for each account.
        mode: `live` or `sandbox`.
        run_id: The run; by default the one of this recipe with these arguments.
        anew: Begin another run even if this one exists.
        read_table: Reads CSV files, see `check_arguments`.

    Raises:
        InvalidArgumentError: An argument or the run id does not fit.
        RecipeError, TemplateError: There are no steps, or they cannot be planned.
        RunMismatchError: The run id belongs to something else.
    """
    if not recipe.steps:
        reason = "this recipe has no steps, so it cannot run by itself"
        raise RecipeError(recipe.file, 0, "steps", reason, next_step="Use it as a prompt.")
    arguments = check_arguments(recipe.front, given, read_table=read_table)
    run_id = check_run_id(run_id) if run_id else default_run_id(recipe, arguments)
    if anew:
        run_id = await anyio.to_thread.run_sync(_unused, run_dir, run_id)
    record = await anyio.to_thread.run_sync(read_record, run_dir, run_id)
    if record.header:
        check_header(record, header(run_id, recipe.text, deciding(recipe, arguments), mode))
    begun = _begun(record)
    budget = budget_of(recipe, arguments, ceiling + begun.spent + begun.promised)
    over = begun.outcome == "completed"
    prices = None if over else await price_recipe(recipe, arguments, call, ceiling=budget.credits)
    return Prepared(recipe, arguments, run_id, run_dir, mode, prices, budget, begun)


def default_run_id(recipe: Recipe, arguments: Mapping[str, Any]) -> str:
    """The name of the run of exactly this recipe with exactly these arguments, such as `brand-series-1f0c2d3e4b`.

    Arguments that only set the budget do not count.
    """
    text = json.dumps([recipe.text, deciding(recipe, arguments)], sort_keys=True, default=str)
    return f"{recipe.name[:45].rstrip('-')}-{digest(text)[:10]}"


def _begun(record: Record) -> Begun:
    begun = [call for call in record.calls.values() if call.arguments is not None]
    finished = [call for call in record.calls.values() if call.result is not None]
    return Begun(
        spent=sum(charged(call.result, call.quote) for call in finished if call.result is not None),
        promised=sum(call.quote or 0.0 for call in begun if call.result is None),
        covered=sum(call.quote or 0.0 for call in begun if call.result is not None or call.ids),
        finished=len(finished),
        outcome=record.outcome,
    )


def _unused(run_dir: Path, run_id: str) -> str:
    number_ = 1
    while file_of(run_dir, name := run_id if number_ == 1 else f"{run_id}-{number_}").exists():
        number_ += 1
    return name


async def prepare_run(
    bridge: Bridge,
    recipe: Recipe,
    given: Mapping[str, Any],
    call: ToolCaller,
    *,
    run_id: str = "",
    anew: bool = False,
) -> Prepared:
    """A run of `recipe` on this bridge, ready to start; raises as `prepare`."""
    return await prepare(
        recipe,
        given,
        call,
        ceiling=(await bridge.today()).left,
        run_dir=runs_folder(bridge),
        mode=bridge.mode.value,
        run_id=run_id,
        anew=anew,
        read_table=table_reader(bridge.settings.input_dirs),
    )
