"""`recipes price`, `run` and `rehearse`: what a recipe costs, and its steps without an assistant, after one yes."""

from __future__ import annotations

import shlex
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import click

from kubeez_mcp_local.cli.recipe_commands.options import Asked, RecipeCommand, settings_for, shown_value, where
from kubeez_mcp_local.cli.terminal import can_ask, plain, print_json, remarks, results, shown
from kubeez_mcp_local.cli.terminal import run as run_async
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.settings import SettingsError
from kubeez_mcp_local.text import cut, spoken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rich.table import Table

    from kubeez_mcp_local.cli.main import Options
    from kubeez_mcp_local.cookbook.price import PriceList
    from kubeez_mcp_local.cookbook.steps import Budget
    from kubeez_mcp_local.runs.prepare import Prepared
    from kubeez_mcp_local.runs.run import CallReport, RunEvent, RunReport
    from kubeez_mcp_local.settings import Settings


@contextmanager
def progress(title: str, calls: int) -> Iterator[Callable[[RunEvent], None]]:
    """A bar on stderr for the length of a `with` block; call what it gives with each event of the run.

    Args:
        title: What runs.
        calls: How many calls are expected, as far as is known.
    """
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = remarks()
    state = TextColumn("{task.completed}/{task.total} calls · {task.fields[state]}", markup=False)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), state)
    with Progress(
        *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal, transient=True
    ) as bars:
        bar = bars.add_task(title, total=max(calls, 1), state="starting")

        def told(event: RunEvent) -> None:
            words = f"{spoken(event.spent)} · {event.key} {event.kind}"
            bars.update(bar, completed=event.done, total=max(event.total, calls, 1), state=words)

        yield told


_MOST_FILES = 20


def run_row(report: RunReport) -> dict[str, Any]:
    """A run for JSON."""
    rows = [{**asdict(replace(call, result=None)), "files": list(call.files)} for call in report.calls]
    calls = [{name: value for name, value in row.items() if name != "result"} for row in rows]
    return {**asdict(replace(report, calls=())), "calls": calls, "files": list(report.files)}


def show_report(report: RunReport) -> None:
    """Print what a run came to, for people."""
    _costs(report)
    terminal = results()
    here = Path.cwd()
    if report.files:
        terminal.print()
    for path in report.files[:_MOST_FILES]:
        terminal.print(plain(shown(Path(path), here)), soft_wrap=True)
    if len(report.files) > _MOST_FILES:
        folder = shown(Path(report.files[-1]).parent, here)
        terminal.print(f"… and {len(report.files) - _MOST_FILES} more in {folder}", soft_wrap=True)
    terminal.print()
    lines = report.summary().splitlines()
    for line in lines if report.status == "completed" else lines[:-1]:  # the last one says how to go on, for tools
        terminal.print(plain(line), soft_wrap=True)


def _costs(report: RunReport) -> None:
    from rich.table import Table

    from kubeez_mcp_local.cookbook.steps import number

    table = Table("step", "tool", "calls", box=None, header_style="bold")
    table.add_column("credits", justify="right")
    table.add_column("files", justify="right")
    for step, calls in _by_step(report.calls).items():
        files = sum(len(call.files) for call in calls)
        credits_ = sum(call.credits for call in calls)
        table.add_row(step, calls[0].tool, _counted(calls), number(credits_), str(files))
    if len({call.key.partition("[")[0] for call in report.calls}) > 1:
        table.add_section()
        table.add_row("together", "", "", number(report.spent), str(len(report.files)))
    results().print(table)


def _by_step(calls: Sequence[CallReport]) -> dict[str, list[CallReport]]:
    found: dict[str, list[CallReport]] = {}
    for call in calls:
        found.setdefault(call.key.partition("[")[0], []).append(call)
    return found


def _counted(calls: Sequence[CallReport]) -> str:
    counts = Counter(call.status for call in calls)
    return ", ".join(f"{count} {status}" for status, count in counts.items())


@click.command(cls=RecipeCommand, short_help="What each step costs, and whether it fits the budget.")
@where
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_context
def price(context: click.Context, asked: Asked, mode: str | None, as_json: bool) -> None:
    """What a recipe costs, step by step. Free: nothing is made. Exit code 1 when it does not fit into the budget.

    The range goes over the choices that you leave open.
    """
    options: Options = context.obj
    settings = settings_for(options, mode)
    prices = run_async(settings, lambda: _price_list(settings, asked))
    if as_json:
        print_json({**price_row(prices), "mode": settings.effective_mode.value})
    else:
        results().print(price_table(prices))
        results().print(_verdict(prices), soft_wrap=True)
    context.exit(0 if prices.fits else 1)


async def _price_list(settings: Settings, asked: Asked) -> PriceList:
    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.cookbook.arguments import check_arguments, table_reader
    from kubeez_mcp_local.cookbook.format import RecipeError
    from kubeez_mcp_local.cookbook.price import price_recipe
    from kubeez_mcp_local.mcp_server.server import KubeezServer
    from kubeez_mcp_local.runs.client import LocalClient

    recipe = asked.recipe
    if not recipe.steps:
        reason = "this recipe has no steps, so it has no price of its own"
        raise RecipeError(recipe.file, 0, "steps", reason, next_step="Use it as a prompt: `recipes show … --prompt`.")
    bridge = Bridge(settings)
    async with (
        bridge,
        LocalClient(bridge, KubeezServer, name="kubeez-recipes", recipe=recipe.name, opened=True) as client,
    ):
        values = check_arguments(recipe.front, asked.given, read_table=table_reader(bridge.settings.input_dirs))
        left_open = [name for name in recipe.arguments if asked.given.get(name) in (None, "", [])]
        today = await bridge.today()
        return await price_recipe(recipe, values, client, ceiling=today.left, left_open=left_open)


def price_row(prices: PriceList) -> dict[str, Any]:
    """A price list for JSON; credits, `null` where unknown."""
    return {**asdict(prices), "budget": prices.budget.credits, "fits": prices.fits, "note": prices.budget.note}


def price_table(prices: PriceList) -> Table:
    """A price list for people."""
    from rich.table import Table

    from kubeez_mcp_local.cookbook.steps import PAID_TOOLS

    ranges = any(_spread(step.low, step.high) for step in prices.steps)
    table = Table("step", "tool", "model", box=None, header_style="bold")
    for heading in ("calls", "credits", *(["range"] if ranges else [])):
        table.add_column(heading, justify="right")
    table.add_column("")

    def row(first: str, tool: str, model: str, calls: str, credits_: str, spread: str, note: str) -> None:
        table.add_row(first, tool, model, calls, credits_, *([spread] if ranges else []), note)

    for step in prices.steps:
        if step.tool in PAID_TOOLS:
            spread = _spread(step.low, step.high)
            cost = _priced_at(step.credits)
            row(step.id, step.tool, plain(step.model), str(step.calls), cost, spread, plain(step.note))
        else:
            row(step.id, step.tool, "", "", "free", "", "")
    if len(prices.steps) > 1:
        table.add_section()
        calls = str(sum(step.calls for step in prices.steps))
        row("together", "", "", calls, _priced_at(prices.credits), _spread(prices.low, prices.high), "")
    return table


def shortfall(credits_: float | None, budget: Budget) -> str:
    """How a price does not fit into a budget, in one sentence; empty when it does."""
    from kubeez_mcp_local.cookbook.steps import number

    note = f" {budget.note}" if budget.note else ""
    if credits_ is None:
        return f"The price is not known in advance; the budget is {number(budget.credits)} credits.{note}"
    if credits_ <= budget.credits:
        return ""
    return f"{number(credits_)} credits do not fit into the budget of {number(budget.credits)}.{note}"


def _verdict(prices: PriceList) -> str:
    from kubeez_mcp_local.cookbook.steps import number

    missing = shortfall(prices.credits, prices.budget)
    if missing:
        return missing
    note = f" {prices.budget.note}" if prices.budget.note else ""
    return f"{_priced_at(prices.credits)} credits; fits into the budget of {number(prices.budget.credits)}.{note}"


def _priced_at(credits_: float | None) -> str:
    from kubeez_mcp_local.cookbook.steps import number

    return "unknown" if credits_ is None else number(credits_)


def _spread(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None or low == high else f"{_priced_at(low)}–{_priced_at(high)}"


_CLIENT = "kubeez-recipes"


@dataclass(frozen=True)
class Wish:
    """How a run is wanted, beside recipe and arguments."""

    run_id: str
    anew: bool
    parallel: int
    yes: bool
    max_credits: float | None


@click.command(cls=RecipeCommand, short_help="Carry out the steps, after one yes.")
@where
@click.option("--run-id", default="", help="Name of the run; by default one made from recipe and arguments.")
@click.option("--new", "anew", is_flag=True, help="Begin another run, even if this one was begun or is complete.")
@click.option("--parallel", default=4, show_default=True, type=click.IntRange(1, 64), help="Most calls at once.")
@click.option("--yes", "-y", is_flag=True, help="Agree to the price without being asked.")
@click.option("--max-credits", type=click.FloatRange(min=0), help="Spend at most this; can only lower the budget.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@click.pass_context
def run(
    context: click.Context,
    asked: Asked,
    mode: str | None,
    run_id: str,
    anew: bool,
    parallel: int,
    yes: bool,
    max_credits: float | None,
    as_json: bool,
) -> None:
    """Run a recipe's steps: price first, one yes, then everything; files and costs at the end.

    The same recipe with the same arguments is the same run: after Ctrl-C or a crash the same command goes on where it
    was, and nothing is paid twice. Exit code 0 when all is made, 1 when something failed, 3 when a limit stopped it.
    """
    options: Options = context.obj
    settings = settings_for(options, mode)
    if settings.read_only:
        raise SettingsError(
            "KUBEEZ_READ_ONLY is on, so nothing can be made.", next_step="Switch it off to run recipes."
        )
    wish = Wish(run_id, anew, parallel, yes, max_credits)
    prepared = run_async(settings, lambda: _prepared(settings, asked, wish))
    _announce(prepared, settings)
    agreed = _agreed(prepared, settings, wish)
    if agreed is None:
        remarks().print("Nothing was spent.")
        context.exit(1)
    try:
        report = run_async(settings, lambda: _carried_out(settings, prepared, wish, agreed=agreed is True))
    except KeyboardInterrupt:
        remarks().print(f"Stopped. What was started goes on at Kubeez. {_go_on(prepared, wish)}", soft_wrap=True)
        raise
    if as_json:
        print_json(run_row(report))
    else:
        show_report(report)
        results().print(_next(report, prepared, wish), soft_wrap=True)
    context.exit(report.exit_code)


async def _prepared(settings: Settings, asked: Asked, wish: Wish) -> Prepared:
    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.mcp_server.server import KubeezServer
    from kubeez_mcp_local.runs.client import LocalClient
    from kubeez_mcp_local.runs.prepare import prepare_run

    bridge = Bridge(settings)
    async with (
        bridge,
        LocalClient(bridge, KubeezServer, name=_CLIENT, recipe=asked.recipe.name, opened=True) as client,
    ):
        prepared = await prepare_run(bridge, asked.recipe, asked.given, client, run_id=wish.run_id, anew=wish.anew)
    return prepared.lowered(wish.max_credits)


def _announce(prepared: Prepared, settings: Settings) -> None:
    """Say on stderr what is about to happen and what it costs."""
    said = remarks()
    if prepared.prices is not None:
        said.print(price_table(prepared.prices))
        said.print()
    play = settings.effective_mode.value == "sandbox" and not prepared.complete
    said.print(f"{prepared.summary()}{' In the sandbox: play credits.' if play else ''}", soft_wrap=True)
    missing = shortfall(prepared.prices.credits, prepared.run.budget) if prepared.prices else ""
    if missing:
        said.print(f"{missing} The run stops when the budget is used up.", style="yellow", soft_wrap=True)


def _agreed(prepared: Prepared, settings: Settings, wish: Wish) -> bool | None:
    """True after a yes, False when there is none and none is needed, None after a no.

    Raises:
        KubeezError: There is nobody to ask.
    """
    from kubeez_mcp_local.jobs.spender import needs_consent

    if wish.yes:
        return True
    if prepared.complete or not needs_consent(prepared.due, settings.asks_above):
        return False
    if not can_ask():
        raise KubeezError(
            "This run spends credits and nobody is at the terminal to agree. Nothing was spent.",
            next_step="Repeat the command with --yes, or rehearse it for free with `recipes rehearse`.",
            code="consent_required",
        )
    return True if click.confirm("Go ahead?", err=True) else None


async def _carried_out(settings: Settings, prepared: Prepared, wish: Wish, *, agreed: bool) -> RunReport:
    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.mcp_server.server import KubeezServer
    from kubeez_mcp_local.runs.client import LocalClient

    async def answer(_: str) -> bool:
        return agreed  # one yes is for everything the run asks, and without one the answer is no

    recipe, bridge = prepared.recipe, Bridge(settings)
    async with (
        bridge,
        LocalClient(bridge, KubeezServer, name=_CLIENT, recipe=recipe.name, ask=answer, opened=True) as client,
    ):
        with progress(recipe.name, prepared.paid_calls) as told:
            return await prepared.run.carry_out(client, bridge.ledger, parallel=wish.parallel, on_event=told)


def _next(report: RunReport, prepared: Prepared, wish: Wish) -> str:
    if report.status != "completed":
        return _go_on(prepared, wish)
    again = f"Run {report.run_id} is complete: running it again pays nothing."
    return f"{again} Begin another with --new."


def _go_on(prepared: Prepared, wish: Wish) -> str:
    how = f"--run-id {prepared.run.id.name} in place of --new" if wish.anew else f"it is the run {prepared.run.id.name}"
    return f"Go on with the same command ({how}); nothing is paid twice."


@click.command(cls=RecipeCommand, short_help="The same in a sandbox of its own: free, without a key.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the files go; default: ./kubeez-rehearsal/NAME.",
)
@click.option("--parallel", default=4, show_default=True, type=click.IntRange(1, 64), help="Most calls at once.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@click.pass_context
def rehearse(context: click.Context, asked: Asked, output: Path | None, parallel: int, as_json: bool) -> None:
    """Run a recipe in a sandbox of its own: free, without a key, with marked stand-in files.

    Required arguments that you leave out are taken from the recipe's own examples. Exit codes as those of `run`.
    """
    options: Options = context.obj
    outputs = (output or Path("kubeez-rehearsal") / asked.recipe.name).absolute()
    settings = options.settings(mode="sandbox")
    with TemporaryDirectory(prefix="kubeez-rehearsal-") as folder:
        report = run_async(settings, lambda: _rehearsed(settings, asked, Path(folder), outputs, parallel))
    if as_json:
        print_json({**run_row(report), "folder": str(outputs)})
    else:
        show_report(report)
        price = f"{spoken(report.spent)}"
        results().print(f"A rehearsal, free, in {shown(outputs, Path.cwd())}. Live it costs about {price}.")
    context.exit(report.exit_code)


async def _rehearsed(settings: Settings, asked: Asked, folder: Path, outputs: Path, parallel: int) -> RunReport:
    from kubeez_mcp_local.cookbook.check import Samples, with_examples
    from kubeez_mcp_local.mcp_server.server import KubeezServer
    from kubeez_mcp_local.runs.client import rehearsal
    from kubeez_mcp_local.runs.prepare import prepare_run

    recipe, samples = asked.recipe, Samples(folder / "samples")
    given = await anyio.to_thread.run_sync(with_examples, recipe, asked.given, samples)
    _tell_examples({name: value for name, value in given.items() if value != asked.given.get(name)})
    async with rehearsal(settings, KubeezServer, folder, recipe=recipe.name, outputs=outputs) as (bridge, client):
        prepared = await prepare_run(bridge, recipe, given, client)
        with progress(recipe.name, prepared.paid_calls) as told:
            return await prepared.run.carry_out(client, bridge.ledger, parallel=parallel, on_event=told)


def _tell_examples(taken: Mapping[str, Any]) -> None:
    """Say which values were not the caller's, in the form of options to change."""
    if taken:
        options = " ".join(f"--{name.replace('_', '-')} {_quoted(value)}" for name, value in taken.items())
        remarks().print(f"With example values: {plain(options)}", soft_wrap=True)


def _quoted(value: Any) -> str:
    text = " ".join(shown_value(value).split())
    return shlex.quote(cut(text, 100))
