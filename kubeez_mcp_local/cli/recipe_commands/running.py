"""`recipes price`, `run` and `rehearse`: what a recipe costs, and its steps without an assistant, after one yes."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import click

from kubeez_mcp_local.cli.gallery import serve
from kubeez_mcp_local.cli.recipe_commands import afterwards, campaigns
from kubeez_mcp_local.cli.recipe_commands.afterwards import THEN_FAILED, Then
from kubeez_mcp_local.cli.recipe_commands.options import (
    Asked,
    RecipeCommand,
    live,
    sandbox,
    settings_for,
    shown_value,
    verify_writable,
)
from kubeez_mcp_local.cli.team import verify_team
from kubeez_mcp_local.cli.terminal import can_ask, print_json, remarks, results, run_with_bridge, shown, table
from kubeez_mcp_local.cli.terminal import run as run_async
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.text import cut, spoken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from rich.table import Table

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.cli.main import Options
    from kubeez_mcp_local.cookbook.format import Recipe
    from kubeez_mcp_local.cookbook.price import PriceList
    from kubeez_mcp_local.cookbook.steps import Budget
    from kubeez_mcp_local.jobs.team.campaigns import OnUnknown
    from kubeez_mcp_local.runs.client import Ask, LocalClient
    from kubeez_mcp_local.runs.prepare import Prepared
    from kubeez_mcp_local.runs.run import CallReport, RunEvent, RunReport
    from kubeez_mcp_local.settings import Settings


@contextmanager
def progress(title: str, calls: int) -> Iterator[Callable[[RunEvent], None]]:
    """A bar on stderr for the length of a `with` block, and what to call with each event of the run.

    `calls` is how many are expected, as far as is known.
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
    rows = [{**asdict(replace(call, result=None)), "files": list(call.files)} for call in report.calls]
    calls = [{name: value for name, value in row.items() if name != "result"} for row in rows]
    return {**asdict(replace(report, calls=())), "calls": calls, "files": list(report.files)}


def show_report(report: RunReport) -> None:
    """Print what a run came to, for people."""
    _costs(report)
    terminal = results()
    if report.files:
        terminal.print()
    for path in report.files[:_MOST_FILES]:
        terminal.print(shown(path), soft_wrap=True)
    if len(report.files) > _MOST_FILES:
        folder = shown(Path(report.files[-1]).parent)
        terminal.print(f"… and {len(report.files) - _MOST_FILES} more in {folder}", soft_wrap=True)
    terminal.print()
    for line in report.summary().splitlines():
        terminal.print(line, soft_wrap=True)


def _costs(report: RunReport) -> None:
    from kubeez_mcp_local.cookbook.steps import number
    from kubeez_mcp_local.jobs.job import step_and_index

    by_step: dict[str, list[CallReport]] = {}
    for call in report.calls:
        by_step.setdefault(step_and_index(call.key)[0], []).append(call)
    costs = table("step", "tool", "calls", "credits", "files", right=("credits", "files"))
    for step, calls in by_step.items():
        counts = Counter(call.status for call in calls)
        states = ", ".join(f"{count} {status}" for status, count in counts.items())
        files = sum(len(call.files) for call in calls)
        costs.add_row(step, calls[0].tool, states, number(sum(call.credits for call in calls)), str(files))
    if len(by_step) > 1:
        costs.add_section()
        costs.add_row("together", "", "", number(report.spent), str(len(report.files)))
    results().print(costs)


@asynccontextmanager
async def recipe_client(
    settings: Settings, recipe: Recipe, ask: Ask | None = None
) -> AsyncIterator[tuple[Bridge, LocalClient]]:
    """An open bridge, and a client of it that works for `recipe`."""
    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.mcp_server.server import KubeezServer
    from kubeez_mcp_local.runs.client import LocalClient

    bridge = Bridge(settings)
    bridge.key_page.unwanted = True  # a command names `login`, and opens no page
    async with (
        bridge,
        LocalClient(bridge, KubeezServer, name="kubeez-recipes", recipe=recipe.name, ask=ask, opened=True) as client,
    ):
        yield bridge, client


@click.command(cls=RecipeCommand, short_help="What each step costs, and whether it fits the budget.")
@sandbox
@live
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_context
def price(context: click.Context, asked: Asked, mode: str | None, as_json: bool) -> None:
    """What a recipe costs, step by step. Free: nothing is made. Exit code 1 when it does not fit into the budget.

    The range goes over the choices that you leave open.
    """
    settings = settings_for(context.obj, mode)
    prices, read = run_async(settings, lambda: _price_list(settings, asked))
    _say(read)
    if as_json:
        print_json({**price_row(prices), "mode": settings.effective_mode.value})
    else:
        results().print(price_table(prices))
        results().print(_verdict(prices), soft_wrap=True)
    context.exit(0 if prices.fits else 1)


async def _price_list(settings: Settings, asked: Asked) -> tuple[PriceList, tuple[str, ...]]:
    from kubeez_mcp_local.cookbook.format import RecipeError
    from kubeez_mcp_local.runs.prepare import price_of

    recipe = asked.recipe
    if not recipe.steps:
        reason = "this recipe has no steps, so it has no price of its own"
        raise RecipeError(recipe.file, 0, "steps", reason, next_step="Use it as a prompt: `recipes show … --prompt`.")
    async with recipe_client(settings, recipe) as (bridge, client):
        return await price_of(bridge, recipe, asked.given, client)


def price_row(prices: PriceList) -> dict[str, Any]:
    """A price list for JSON; credits, `null` where unknown."""
    return {
        **asdict(replace(prices, planned=())),
        "budget": prices.budget.credits,
        "fits": prices.fits,
        "note": prices.budget.note,
    }


def price_table(prices: PriceList) -> Table:
    """A price list for people."""
    from kubeez_mcp_local.cookbook.steps import PAID_TOOLS

    def spread(low: float | None, high: float | None) -> list[str]:
        return [_spread(low, high)] if ranges else []

    ranges = any(_spread(step.low, step.high) for step in prices.steps)
    columns = ("step", "tool", "model", "calls", "credits", *(["range"] if ranges else []), "")
    rows = table(*columns, right=("calls", "credits", "range"))
    for step in prices.steps:
        if step.tool in PAID_TOOLS:
            cost = [_priced_at(step.credits), *spread(step.low, step.high)]
            rows.add_row(step.id, step.tool, step.model, str(step.calls), *cost, step.note)
        else:
            rows.add_row(step.id, step.tool, "", "", "free")
    if len(prices.steps) > 1:
        rows.add_section()
        calls = str(sum(step.calls for step in prices.steps))
        rows.add_row("together", "", "", calls, _priced_at(prices.credits), *spread(prices.low, prices.high))
    return rows


def shortfall(credits_: float | None, budget: Budget) -> str:
    """How a price does not fit into a budget, in one sentence; empty when it does."""
    limit, note = _priced_at(budget.credits), f" {budget.note}" if budget.note else ""
    if credits_ is None:
        return f"The price is not known in advance; the budget is {limit} credits.{note}"
    if credits_ <= budget.credits:
        return ""
    return f"{_priced_at(credits_)} credits do not fit into the budget of {limit}.{note}"


def _verdict(prices: PriceList) -> str:
    budget = prices.budget
    note = f" {budget.note}" if budget.note else ""
    fits = f"{_priced_at(prices.credits)} credits; fits into the budget of {_priced_at(budget.credits)}.{note}"
    return shortfall(prices.credits, budget) or fits


def _priced_at(credits_: float | None) -> str:
    from kubeez_mcp_local.cookbook.steps import number

    return "unknown" if credits_ is None else number(credits_)


def _spread(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None or low == high else f"{_priced_at(low)}–{_priced_at(high)}"


@click.command(cls=RecipeCommand, short_help="Carry out the steps, after one yes.")
@sandbox
@live
@click.option("--run-id", default="", help="Name of the run; by default one made from recipe and arguments.")
@click.option("--new", "anew", is_flag=True, help="Begin another run, even if this one was begun or is complete.")
@click.option("--parallel", default=4, show_default=True, type=click.IntRange(1, 64), help="Most calls at once.")
@click.option("--yes", "-y", is_flag=True, help="Agree to the price without being asked.")
@click.option("--max-credits", type=click.FloatRange(min=0), help="Spend at most this; can only lower the budget.")
@click.option(
    "--on",
    "engine",
    type=click.Choice(["here", "team"]),
    default="here",
    help="Who carries it out: this process, or the team's workers (KUBEEZ_LEDGER), to whom it is only handed.",
)
@click.option(
    "--on-unknown",
    type=click.Choice(["wait", "skip"]),
    default="wait",
    show_default=True,
    help="With --on team: whether it counts as over while rows are of unknown fate.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@afterwards.options
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
    engine: str,
    on_unknown: OnUnknown,
    as_json: bool,
    then: str | None,
    then_each: bool,
    opens: bool,
) -> None:
    """Run a recipe's steps: price first, one yes, then everything; files and costs at the end.

    The same recipe with the same arguments is the same run: after Ctrl-C or a crash the same command goes on where it
    was, and nothing is paid twice. Before steps that want another yes it pauses, unless --yes says all at once. Exit
    code 0 when all is made or it paused, 1 when something failed, 3 when a limit stopped it, 4 when only the program of
    --then failed.
    """
    from kubeez_mcp_local.runs.prepare import prepare_run

    settings = settings_for(context.obj, mode)
    verify_writable(settings)
    if engine == "team":
        verify_team(settings)
    program = Then.of(then, each=then_each)

    async def prepare() -> Prepared:
        async with recipe_client(settings, asked.recipe) as (bridge, client):
            found = await prepare_run(
                bridge,
                asked.recipe,
                asked.given,
                client,
                run_id=run_id,
                anew=anew,
                pausing=not yes,
                on_team=engine == "team",
            )
        if engine == "team":
            campaigns.verify_by_rows(found)
        return found.lowered(max_credits)

    prepared = run_async(settings, prepare)
    announce(prepared, settings)
    agreed = _agreed(prepared, settings, yes=yes)
    if agreed is None:
        remarks().print("Nothing was spent.")
        context.exit(1)
    if engine == "team":
        campaigns.hand_over(settings, prepared, on_unknown)
        return
    name = prepared.run.id.name
    how = f"--run-id {name} in place of --new" if anew else f"it is the run {name}"
    go_on = f"Go on with the same command ({how}); nothing is paid twice."  # after Ctrl-C, when nothing was refused

    def show(report: RunReport) -> None:
        if as_json:
            print_json(run_row(report))
            return
        show_report(report)
        again = f"Run {report.run_id} is complete: running it again pays nothing. Begin another with --new."
        results().print(prepared.way_on(report, f"same command ({how})") or again, soft_wrap=True)

    try:
        report, sheet = run_async(settings, lambda: _carried_out(settings, prepared, parallel, show, agreed=agreed))
    except KeyboardInterrupt:
        remarks().print(f"Stopped. What was started goes on at Kubeez. {go_on}", soft_wrap=True)
        raise
    went_well = program is None or program.take_over(report, run_row(report), sheet)
    if opens:
        with suppress(KeyboardInterrupt):
            run_with_bridge(settings, lambda bridge: serve(bridge, {"run": name}, out=sys.stderr))
    context.exit(report.exit_code or (0 if went_well else THEN_FAILED))


def _say(notes: Sequence[str]) -> None:
    """Remarks that stand by themselves, on stderr."""
    for note in notes:
        remarks().print(note, soft_wrap=True)


def announce(prepared: Prepared, settings: Settings) -> None:
    """Say on stderr what is about to happen and what it costs."""
    said = remarks()
    _say(prepared.read)
    if prepared.prices is not None:
        said.print(price_table(prepared.prices))
        said.print()
    play = settings.effective_mode.value == "sandbox" and not prepared.complete
    said.print(f"{prepared.summary()}{' In the sandbox: play credits.' if play else ''}", soft_wrap=True)
    missing = shortfall(prepared.prices.credits, prepared.run.budget) if prepared.prices else ""
    if missing:
        said.print(f"{missing} The run stops when the budget is used up.", style="yellow", soft_wrap=True)


def _agreed(prepared: Prepared, settings: Settings, *, yes: bool) -> bool | None:
    """True after a yes, False when there is none and none is needed, None after a no; raises if nobody can be asked."""
    from kubeez_mcp_local.jobs.spender import needs_consent

    if yes:
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


async def _carried_out(
    settings: Settings, prepared: Prepared, parallel: int, show: Callable[[RunReport], None], *, agreed: bool
) -> tuple[RunReport, Path | None]:
    async def answer(_: str) -> bool:
        return agreed  # one yes is for everything the run asks, and without one the answer is no

    async with recipe_client(settings, prepared.recipe, answer) as (bridge, client):
        return await shown_run(bridge, client, prepared, show, parallel=parallel)


async def shown_run(
    bridge: Bridge, client: LocalClient, prepared: Prepared, show: Callable[[RunReport], None], *, parallel: int = 4
) -> tuple[RunReport, Path | None]:
    """Carry out a run with a progress bar, show what it came to, and then draw its sheet and say where that is."""
    with progress(prepared.recipe.name, prepared.paid_calls) as told:
        report = await prepared.run.carry_out(client, bridge.ledger, parallel=parallel, on_event=told)
    show(report)
    sheet = await bridge.sheets.of_run(prepared.run.id.in_ledger, prepared.recipe.title)
    if sheet is not None:
        remarks().print(f"Comparison sheet: {shown(sheet)}", soft_wrap=True)
    return report, sheet


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

    def show(report: RunReport) -> None:
        if as_json:
            print_json({**run_row(report), "folder": str(outputs)})
        else:
            show_report(report)
            results().print(f"A rehearsal, free, in {shown(outputs)}. Live it costs about {spoken(report.spent)}.")

    with TemporaryDirectory(prefix="kubeez-rehearsal-") as folder:
        report = run_async(settings, lambda: _rehearsed(settings, asked, Path(folder), outputs, parallel, show))
    context.exit(report.exit_code)


async def _rehearsed(
    settings: Settings,
    asked: Asked,
    folder: Path,
    outputs: Path,
    parallel: int,
    show: Callable[[RunReport], None],
) -> RunReport:
    from kubeez_mcp_local.cookbook.check import Samples, with_examples
    from kubeez_mcp_local.mcp_server.server import KubeezServer
    from kubeez_mcp_local.runs.client import rehearsal
    from kubeez_mcp_local.runs.prepare import prepare_run

    recipe, samples = asked.recipe, Samples(folder / "samples")
    given = await anyio.to_thread.run_sync(with_examples, recipe, asked.given, samples)
    taken = {name: value for name, value in given.items() if value != asked.given.get(name)}
    if taken:  # in the form of options to change
        options = " ".join(f"--{name.replace('_', '-')} {_quoted(value)}" for name, value in taken.items())
        remarks().print(f"With example values: {options}", soft_wrap=True)
    async with rehearsal(settings, KubeezServer, folder, recipe=recipe.name, outputs=outputs) as (bridge, client):
        prepared = await prepare_run(bridge, recipe, given, client)
        _say(prepared.remarks)
        return (await shown_run(bridge, client, prepared, show, parallel=parallel))[0]


def _quoted(value: Any) -> str:
    text = " ".join(shown_value(value).split())
    return shlex.quote(cut(text, 100))
