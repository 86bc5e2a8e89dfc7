"""`recipes worker`, `status`, `pause`, `resume`, `cancel` and `retry`: runs that a team's workers carry out."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.to_thread
import click

from kubeez_mcp_local.cli.recipe_commands.options import settings_for, verify_writable
from kubeez_mcp_local.cli.team import verify_team
from kubeez_mcp_local.cli.terminal import print_json, remarks, results, run, run_with_bridge, shown, table
from kubeez_mcp_local.jobs.errors import AWAY, LedgerError
from kubeez_mcp_local.jobs.team.campaigns import RowState
from kubeez_mcp_local.text import amount, on_one_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.cli.main import Options
    from kubeez_mcp_local.jobs.team.campaigns import Campaign, CampaignRow, OnUnknown, Standing
    from kubeez_mcp_local.jobs.team.postgres import Address
    from kubeez_mcp_local.jobs.team.schedules import Night, Schedule
    from kubeez_mcp_local.runs.campaigns import Times
    from kubeez_mcp_local.runs.prepare import Prepared
    from kubeez_mcp_local.runs.worker import Engine
    from kubeez_mcp_local.settings import Settings

_STUCK = (RowState.PARKED, RowState.UNKNOWN, RowState.FAILED)
_MOST_ROWS = 20
_PAGE = 1000
_WATCH_SECONDS = 5.0
_RECENT_SECONDS = 7 * 86_400.0


def verify_by_rows(prepared: Prepared) -> None:
    """Raise `not_by_rows` where workers cannot carry a run out row by row; before anybody is asked about it."""
    from kubeez_mcp_local.runs.campaigns import row_labels

    row_labels(prepared.run.recipe, prepared.run.arguments)


def hand_over(settings: Settings, prepared: Prepared, on_unknown: OnUnknown) -> None:
    """Write a run that was agreed to into the team's ledger, and say how to see it."""
    from kubeez_mcp_local.runs.campaigns import submit

    new = run_with_bridge(settings, lambda bridge: submit(bridge, prepared, on_unknown))
    name = prepared.run.id.name
    told = f"{new} rows are in the ledger" if new else "Its rows were in the ledger already"
    results().print(f"{told}. See how it stands with: kubeez-mcp-local recipes status {name}", soft_wrap=True)


@click.command(short_help="Carry out rows of the team's campaigns, until it is stopped.")
@click.option("--parallel", default=6, show_default=True, type=click.IntRange(1, 64), help="Most rows in hand at once.")
@click.option("--until-idle", is_flag=True, help="End when no row is left to do.")
@click.option(
    "--engine",
    type=click.Choice(["dbos", "local"]),
    default="dbos",
    show_default=True,
    help="Who hands rows out: DBOS, to all workers, or this process to itself, which is enough for one worker.",
)
@click.pass_obj
def worker(options: Options, parallel: int, until_idle: bool, engine: str) -> None:
    """Carry out rows that `recipes run NAME --on team` has handed to the team, on this machine.

    As many workers as you like may run, on as many machines, each under a supervisor that starts it again. Ctrl-C gives
    back what is in hand; a worker that is killed is noticed by the others within seconds. Workers also begin what
    `recipes schedule` has planned.
    """
    settings = settings_for(options, None)
    verify_writable(settings)
    verify_team(settings)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # supervisors end a worker so, and rows are given back
    run(settings, lambda: _work(settings, parallel, until_idle, engine))


async def _work(settings: Settings, parallel: int, until_idle: bool, engine: str) -> None:
    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.jobs.team.postgres import Address
    from kubeez_mcp_local.mcp_server.server import KubeezServer
    from kubeez_mcp_local.runs.client import LocalClient
    from kubeez_mcp_local.runs.worker import Worker, enrolled

    async def agreed(_: str) -> bool:
        return True  # who submitted the campaign has said yes to all its rows at once

    bridge = Bridge(settings)
    bridge.key_page.unwanted = True  # nobody sits at a worker's browser
    async with (
        bridge,
        LocalClient(bridge, KubeezServer, name="kubeez-worker", ask=agreed, opened=True) as client,
    ):
        address = Address.of(settings.team_ledger)
        owner = await enrolled(bridge.ledger)
        remarks().print(f"Working for {address} as {settings.who}; {parallel} rows at once.", soft_wrap=True)
        others = await bridge.ledger.campaigns_of_other_keys()
        if others:
            told = f"Campaigns of other keys in this ledger: {others}. They wait for workers with their own key."
            remarks().print(told, soft_wrap=True)
        hands_out = _engine(engine, address, bridge.account, owner, parallel)
        tell = partial(remarks().print, soft_wrap=True, markup=False)
        await Worker(bridge, client, hands_out, parallel, tell=tell).work(until_idle=until_idle)


def _engine(name: str, address: Address, account: str, owner: str, parallel: int) -> Engine:
    if name == "local":
        from kubeez_mcp_local.runs.engines.local import LocalEngine

        return LocalEngine(parallel)
    from kubeez_mcp_local.runs.engines.dbos import DbosEngine

    return DbosEngine(address, account, owner, parallel)


@click.command(short_help="How campaigns stand.")
@click.argument("name", metavar="[RUN]", default="")
@click.option("--watch", is_flag=True, help="Look again until it is over.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table; names the rows, too.")
@click.option(
    "--from",
    "first",
    default=0,
    type=click.IntRange(0),
    metavar="ROW",
    help="First row that --json names; 1000 at most.",
)
@click.pass_obj
def status(options: Options, name: str, watch: bool, as_json: bool, first: int) -> None:
    """How a campaign stands, or without RUN which there are. Exit code 1 when rows failed, are parked or unknown."""
    settings = options.settings()
    verify_team(settings)
    if not name:
        _list(run_with_bridge(settings, _overview), as_json, settings)
        return
    while True:
        standing, stuck, rows = run_with_bridge(
            settings, lambda bridge: _look(bridge, name, first if as_json else None, patient=watch)
        )
        if as_json:
            print_json(_in_json(standing, stuck, rows))
        else:
            _show(standing, stuck)
        if not watch or standing.over:
            break
        time.sleep(_WATCH_SECONDS)
    click.get_current_context().exit(1 if stuck else 0)


async def _look(
    bridge: Bridge, name: str, first: int | None, *, patient: bool
) -> tuple[Standing, list[CampaignRow], list[CampaignRow]]:
    """How it stands; while its database is away, that is said, and who is `patient` waits."""
    while True:
        try:
            standing = await bridge.ledger.standing(name)
            run_ = standing.campaign.run
            stuck = await bridge.ledger.campaign_rows(run_, _STUCK, _MOST_ROWS)
            rows = [] if first is None else await bridge.ledger.campaign_rows(run_, tuple(RowState), _PAGE + 1, first)
        except LedgerError as error:
            if not patient or error.code not in AWAY:
                raise
            remarks().print(f"{error}", soft_wrap=True, markup=False)
            await anyio.sleep(_WATCH_SECONDS)
        else:
            return standing, stuck, rows


@dataclass(frozen=True)
class _Overview:
    campaigns: list[Standing]
    of_other_keys: int
    planned: list[Schedule]
    not_begun: list[Night]


async def _overview(bridge: Bridge) -> _Overview:
    now, planned, nights = await look_at_nights(bridge)
    not_begun = [night for night in nights if night.state != "begun" and now - night.due < _RECENT_SECONDS]
    others = await bridge.ledger.campaigns_of_other_keys()
    return _Overview(await bridge.ledger.standings(), others, planned, not_begun)


def _list(found: _Overview, as_json: bool, settings: Settings) -> None:
    if as_json:
        by_name = {each.name: each for each in found.planned}
        nights = [night_row(night, by_name[night.schedule]) for night in found.not_begun]
        campaigns = [_standing_row(standing) for standing in found.campaigns]
        print_json({"campaigns": campaigns, "of_other_keys": found.of_other_keys, "nights_not_begun": nights})
        return
    if found.campaigns:
        rows = table("run", "state", "rows", "by", "credits", right=("credits",))
        for standing in found.campaigns:
            campaign = standing.campaign
            rows.add_row(
                campaign.run, _state(standing), _counts(standing), on_one_line(campaign.person, 40), _spent(standing)
            )
        results().print(rows)
    else:
        whose = f"the sandbox at {settings.base_url} without a key" if settings.standalone_sandbox else "this key"
        told = f"No campaign was handed to the team for {whose}. Do it with: recipes run NAME --on team"
        results().print(told, soft_wrap=True, markup=False)
    if found.of_other_keys and not found.campaigns:
        told = f"Campaigns of other keys that run in this ledger: {found.of_other_keys}. Is KUBEEZ_API_KEY the team's?"
        remarks().print(told, soft_wrap=True)
    show_nights(found.planned, found.not_begun)


async def look_at_nights(bridge: Bridge) -> tuple[float, list[Schedule], list[Night]]:
    """What time it is by the ledger, what is planned, and the nights that there were, newest first: those too that no
    worker has begun, and of which none has said so yet."""
    from kubeez_mcp_local.runs.campaigns import unseen

    now, found = await bridge.ledger.schedules()
    missed = [night for each in found for night in await anyio.to_thread.run_sync(unseen, each, now)]
    nights = [*missed, *await bridge.ledger.nights()]
    return now, found, sorted(nights, key=lambda night: -night.due)


def show_nights(planned: Sequence[Schedule], nights: Sequence[Night]) -> None:
    """One line for each of these nights, for people."""
    by_name = {each.name: each for each in planned}
    for night in nights:
        known = by_name[night.schedule]
        when = f"{times_of(known).told(night.due)} {known.zone}"
        what = f"begun as {night.run}" if night.state == "begun" else f"{night.state}: {night.reason}"
        style = "" if night.state == "begun" else "yellow"
        results().print(f"- {known.name}, {when}: {what}", soft_wrap=True, markup=False, style=style)


def night_row(night: Night, planned: Schedule) -> dict[str, Any]:
    """A night for JSON; `due` as the clock of its zone shows it."""
    return {**vars(night), "due": times_of(planned).told(night.due), "zone": planned.zone}


def times_of(planned: Schedule) -> Times:
    """When it begins."""
    from kubeez_mcp_local.runs.campaigns import Times

    return Times(planned.cron, planned.zone)


def _campaign_row(campaign: Campaign) -> dict[str, Any]:
    told = {name: getattr(campaign, name) for name in ("run", "state", "budget", "agreed", "on_unknown", "person")}
    return told | {"created_at": campaign.created_at}


def _standing_row(standing: Standing) -> dict[str, Any]:
    counts = {state.value: count for state, count in standing.rows.items()}
    told = {"over": standing.over, "rows": counts, "credits": standing.credits}
    return _campaign_row(standing.campaign) | told


def _in_json(standing: Standing, stuck: list[CampaignRow], rows: list[CampaignRow]) -> dict[str, Any]:
    return {
        **_standing_row(standing),
        "stuck": [_row(row) for row in stuck],
        "each": [_row(row) for row in rows[:_PAGE]],
        "next_from": rows[_PAGE].number if len(rows) > _PAGE else None,
    }


def _state(standing: Standing) -> str:
    return f"{standing.campaign.state}{', over' if standing.over else ''}"


def _counts(standing: Standing) -> str:
    return ", ".join(f"{standing.rows[state]} {state}" for state in RowState if standing.rows.get(state))


def _spent(standing: Standing) -> str:
    return f"{amount(standing.credits)} of {amount(standing.campaign.budget)}"


def _show(standing: Standing, stuck: list[CampaignRow]) -> None:
    campaign = standing.campaign
    results().print(f"{campaign.run}: {_state(standing)}; rows: {_counts(standing)}; {_spent(standing)} credits.")
    for reason, count in standing.reasons[:5]:
        results().print(f"- {count} × {on_one_line(reason, 300)}", soft_wrap=True, markup=False)
    for row in stuck:
        place = f" on {row.host}" if row.host else ""
        results().print(f"  row {row.number} ({on_one_line(row.label, 60)}): {row.state}{place}", markup=False)
    if stuck:
        results().print(f"Once that is settled: kubeez-mcp-local recipes retry {campaign.run}", soft_wrap=True)


def _row(row: CampaignRow) -> dict[str, Any]:
    told = {name: getattr(row, name) for name in ("label", "host", "reason", "attempt", "credits")}
    return {"row": row.number, "state": row.state.value, **told, "files": [shown(path) for path in row.files]}


def _directed(options: Options, work: Callable[[Bridge], Awaitable[str]]) -> None:
    settings = options.settings()
    verify_team(settings)
    results().print(run_with_bridge(settings, work), soft_wrap=True)


def _direct(options: Options, name: str, state: Literal["running", "paused", "cancelled"], told: str) -> None:
    async def work(bridge: Bridge) -> str:
        campaign = await bridge.ledger.campaign(name)
        cancelled = await bridge.ledger.direct_campaign(campaign.run, state)
        return f"{campaign.run} {told}{f' {cancelled} waiting rows are cancelled.' if state == 'cancelled' else ''}"

    _directed(options, work)


@click.command(short_help="Let no further row of a campaign begin.")
@click.argument("name", metavar="RUN")
@click.pass_obj
def pause(options: Options, name: str) -> None:
    """Let no further row of a campaign begin. Rows in hand are finished."""
    _direct(options, name, "paused", "is paused; rows in hand are finished.")


@click.command(short_help="Let a paused campaign go on.")
@click.argument("name", metavar="RUN")
@click.pass_obj
def resume(options: Options, name: str) -> None:
    """Let a paused campaign go on."""
    _direct(options, name, "running", "goes on.")


@click.command(short_help="End a campaign: rows that wait are not begun.")
@click.argument("name", metavar="RUN")
@click.pass_obj
def cancel(options: Options, name: str) -> None:
    """End a campaign. Rows that wait are not begun; rows in hand are finished, and what is paid stays paid."""
    _direct(options, name, "cancelled", "is cancelled; rows in hand are finished.")


@click.command(short_help="Try a campaign's failed and parked rows again.")
@click.argument("name", metavar="RUN")
@click.pass_obj
def retry(options: Options, name: str) -> None:
    """Try the rows of a campaign again that failed, were parked, or are of unknown fate.

    Nothing that may have been paid is sent again: of such a row a person first says what became of it, with
    `jobs reconcile`.
    """

    async def work(bridge: Bridge) -> str:
        campaign = await bridge.ledger.campaign(name)
        return f"{await bridge.ledger.retry_rows(campaign.run)} rows of {campaign.run} wait again."

    _directed(options, work)
