"""`recipes schedule`: campaigns that begin anew every night, or whenever, after one yes; `list` and `remove`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio.to_thread
import click

from kubeez_mcp_local.cli.recipe_commands.campaigns import look_at_nights, night_row, show_nights, times_of
from kubeez_mcp_local.cli.recipe_commands.options import (
    Asked,
    RecipeCommand,
    live,
    sandbox,
    settings_for,
    verify_writable,
)
from kubeez_mcp_local.cli.recipe_commands.running import announce, recipe_client
from kubeez_mcp_local.cli.team import verify_team
from kubeez_mcp_local.cli.terminal import can_ask, print_json, remarks, results, run_with_bridge, table
from kubeez_mcp_local.cli.terminal import run as run_async
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.text import amount, spoken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubeez_mcp_local.cli.main import Options
    from kubeez_mcp_local.jobs.team.campaigns import OnUnknown
    from kubeez_mcp_local.jobs.team.schedules import Night, Schedule
    from kubeez_mcp_local.runs.prepare import Prepared
    from kubeez_mcp_local.settings import Settings

_SHOWN_NIGHTS = 5
_NEXT = 3


class _OrRecipe(click.Group):
    """What is none of its commands is the name of a recipe."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            return "", _new, args
        return super().resolve_command(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, "NAME --cron … --tz … | list | remove")


class _Planning(RecipeCommand):
    """Has no name of its own between the group's and that of the recipe."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path.rstrip(), " ".join(self.collect_usage_pieces(ctx)))


@click.group(
    cls=_OrRecipe,
    invoke_without_command=True,
    short_help="Hand a recipe to the team anew every night; list, remove.",
)
@click.pass_context
def schedule(context: click.Context) -> None:
    """Hand a recipe to the team's workers at certain times, such as every night at 02:00; `list` shows what is planned
    and what became of it, `remove` ends it.

    NAME is a recipe's name, or the path of its file; its arguments are options, as with `recipes run`. There is one
    yes, for every night: to this recipe, these rows, these times and this much a night. What was changed afterwards is
    not run, and says so.
    """
    if context.invoked_subcommand is None:
        context.invoke(list_, as_json=False)


@click.command(cls=_Planning, short_help="Carry it out at these times, after one yes.")
@sandbox
@live
@click.option("--cron", required=True, metavar='"M H D M W"', help='When: "0 2 * * *" is 02:00 every night.')
@click.option("--tz", "zone", required=True, metavar="ZONE", help="By which clock, such as Europe/Lisbon or UTC.")
@click.option("--yes", "-y", is_flag=True, help="Agree to the price of every night without being asked.")
@click.option(
    "--max-credits", type=click.FloatRange(min=0), help="Spend at most this each night; only lowers the budget."
)
@click.option("--on", type=click.Choice(["team"]), default="team", expose_value=False, help="Who carries it out.")
@click.option(
    "--on-unknown",
    type=click.Choice(["wait", "skip"]),
    default="wait",
    show_default=True,
    help="Whether a night counts as over while rows are of unknown fate.",
)
@click.pass_context
def _new(
    context: click.Context,
    asked: Asked,
    mode: str | None,
    cron: str,
    zone: str,
    yes: bool,
    max_credits: float | None,
    on_unknown: OnUnknown,
) -> None:
    """Hand a recipe to the team's workers at these times."""
    settings = settings_for(context.obj, mode)
    verify_writable(settings)
    verify_team(settings)
    planned, prepared, now = run_async(settings, lambda: _planned(settings, asked, cron, zone, max_credits, on_unknown))
    announce(prepared, settings)
    remarks().print(_question(planned, now), soft_wrap=True, markup=False)
    if not yes and not _agreed():
        remarks().print("Nothing was planned.")
        context.exit(1)
    new = run_with_bridge(settings, lambda bridge: bridge.ledger.add_schedule(planned))
    told = f"{planned.name} is planned" if new else f"{planned.name} was planned already"
    results().print(f"{told}. Workers begin it; see what becomes of it with: kubeez-mcp-local recipes schedule list")


async def _planned(
    settings: Settings, asked: Asked, cron: str, zone: str, max_credits: float | None, on_unknown: OnUnknown
) -> tuple[Schedule, Prepared, float]:
    from kubeez_mcp_local.runs.campaigns import Times, schedule_of
    from kubeez_mcp_local.runs.prepare import prepare_run

    times = Times(cron, zone)
    async with recipe_client(settings, asked.recipe) as (bridge, client):
        prepared = await prepare_run(bridge, asked.recipe, asked.given, client, anew=True, on_team=True)
        prepared = prepared.lowered(max_credits)
        planned = await anyio.to_thread.run_sync(schedule_of, prepared, asked.given, times, on_unknown, settings.who)
        now, _ = await bridge.ledger.schedules()
    return planned, prepared, now


def _question(planned: Schedule, now: float) -> str:
    times = times_of(planned)
    first = ", ".join(times.told(moment) for moment in times.next(now, _NEXT))
    price = "a price that is not known in advance" if planned.agreed is None else spoken(planned.agreed)
    return (
        f"Each time anew, until it is removed: {len(planned.labels)} rows, {price}, at most {spoken(planned.budget)}. "
        f"First at {first} ({planned.zone})."
    )


def _agreed() -> bool:
    if not can_ask():
        raise KubeezError(
            "This spends credits again and again, and nobody is at the terminal to agree. Nothing was planned.",
            next_step="Repeat the command with --yes.",
            code="consent_required",
        )
    return click.confirm("Go ahead, every time?", err=True)


@schedule.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_obj
def list_(options: Options, as_json: bool) -> None:
    """What is planned, when it begins next, and what became of the last times: begun, refused, or missed."""
    settings = options.settings()
    verify_team(settings)
    now, found, nights = run_with_bridge(settings, look_at_nights)
    if as_json:
        print_json({"schedules": [_in_json(each, now, nights) for each in found]})
        return
    if not found:
        results().print("Nothing is planned. Do it with: recipes schedule NAME --cron … --tz …")
        return
    rows = table("schedule", "when", "next", "by", "a time", right=("a time",))
    for each in found:
        times = times_of(each)
        next_ = ", ".join(times.told(moment) for moment in times.next(now, 1))
        rows.add_row(each.name, f"{each.cron} {each.zone}", next_, each.person, f"at most {amount(each.budget)}")
    results().print(rows)
    for each in found:
        show_nights([each], [night for night in nights if night.schedule == each.name][:_SHOWN_NIGHTS])


def _in_json(planned: Schedule, now: float, nights: Sequence[Night]) -> dict[str, Any]:
    told = {name: getattr(planned, name) for name in ("name", "cron", "zone", "budget", "agreed", "person")}
    times = times_of(planned)
    return {
        **told,
        "rows": len(planned.labels),
        "next": [times.told(moment) for moment in times.next(now, _NEXT)],
        "nights": [night_row(night, planned) for night in nights if night.schedule == planned.name],
    }


@schedule.command()
@click.argument("name", metavar="SCHEDULE")
@click.pass_obj
def remove(options: Options, name: str) -> None:
    """Begin a schedule no more. Campaigns that it has begun go on; end them with `recipes cancel`."""
    settings = options.settings()
    verify_team(settings)
    removed = run_with_bridge(settings, lambda bridge: bridge.ledger.remove_schedule(name))
    results().print(f"{removed} is removed; campaigns that it has begun go on.")
