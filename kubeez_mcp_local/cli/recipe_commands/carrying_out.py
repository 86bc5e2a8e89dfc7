"""`recipes run`: the steps of a recipe without an assistant, after one yes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from kubeez_mcp_local.cli.recipe_commands.command import Asked, RecipeCommand
from kubeez_mcp_local.cli.recipe_commands.pricing import price_table, shortfall
from kubeez_mcp_local.cli.recipe_commands.progress import progress
from kubeez_mcp_local.cli.recipe_commands.reporting import run_row, show_report
from kubeez_mcp_local.cli.recipe_commands.where import settings_for, where
from kubeez_mcp_local.cli.running import run as run_async
from kubeez_mcp_local.cli.terminal import can_ask, print_json, remarks, results
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.settings import SettingsError

if TYPE_CHECKING:
    from kubeez_mcp_local.cli.main import Options
    from kubeez_mcp_local.runs.prepare import Prepared
    from kubeez_mcp_local.runs.run import RunReport
    from kubeez_mcp_local.settings import Settings

_CLIENT = "kubeez-recipes"


class NobodyToAskError(KubeezError):
    """The run needs a yes, and no person sits at the terminal. Nothing was spent."""

    code = "consent_required"


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
        NobodyToAskError: There is nobody to ask.
    """
    from kubeez_mcp_local.jobs.consent import needs_consent

    if wish.yes:
        return True
    if prepared.complete or not needs_consent(prepared.due, settings.asks_above):
        return False
    if not can_ask():
        raise NobodyToAskError(
            "This run spends credits and nobody is at the terminal to agree. Nothing was spent.",
            next_step="Repeat the command with --yes, or rehearse it for free with `recipes rehearse`.",
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
