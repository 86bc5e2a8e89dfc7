"""`kubeez-mcp-local team`: what whoever owns a team's ledger does with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio.to_thread
import click

from kubeez_mcp_local.cli.terminal import results, run_with_bridge
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.errors import LedgerError

if TYPE_CHECKING:
    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.cli.main import Options
    from kubeez_mcp_local.settings import Settings


@click.group()
def team() -> None:
    """A ledger on Postgres that a team shares (KUBEEZ_LEDGER); see docs/team.md."""


@team.command()
@click.argument("per_day", metavar="[CREDITS]", required=False, type=click.FloatRange(0, 1_000_000_000))
@click.option("--none", "lifted", is_flag=True, help="Lift it.")
@click.pass_obj
def ceiling(options: Options, per_day: float | None, lifted: bool) -> None:
    """Show, or set to CREDITS, what all persons together may spend on one UTC day.

    Each person's own KUBEEZ_MAX_CREDITS_PER_DAY holds beside it.
    """
    settings = options.settings()
    verify_team(settings)
    if per_day is not None and lifted:
        raise click.UsageError("Give CREDITS or --none, not both.")

    async def work(bridge: Bridge) -> float | None:
        if per_day is not None or lifted:
            try:
                await bridge.ledger.set_team_ceiling(per_day)
            except LedgerError as error:
                raise await anyio.to_thread.run_sync(_not_set, settings, error) from None
        return await bridge.ledger.team_ceiling()

    now = run_with_bridge(settings, work)
    told = "no ceiling" if now is None else f"at most {now:g} credits a UTC day"
    results().print(f"The team: {told}.", highlight=False)


def _not_set(settings: Settings, error: LedgerError) -> KubeezError:
    """The error, or that only others set the ceiling, if so. Blocking."""
    from kubeez_mcp_local.jobs.team.postgres import Address, inspect_server

    if error.code != "ledger_unwritable" or not (facts := inspect_server(Address.of(settings.team_ledger))).may_write:
        return error
    if facts.may_set_ceiling:
        return error
    return KubeezError(
        "This role may not set the team's ceiling; workers have no say in it.",
        next_step="Have who owns the database do it, with the owner's KUBEEZ_LEDGER.",
        code="ledger_unwritable",
    )


@team.command()
@click.argument("role")
@click.pass_obj
def allow(options: Options, role: str) -> None:
    """Let the database role ROLE work with the ledger and as a worker, without a say in the team's ceiling."""
    from kubeez_mcp_local.jobs.team.postgres import Address
    from kubeez_mcp_local.jobs.team.postgres import allow as allow_role
    from kubeez_mcp_local.runs.engines.dbos import allow as allow_engine

    settings = options.settings()
    verify_team(settings)
    address = Address.of(settings.team_ledger)
    allow_role(address, role)
    allow_engine(address, role)
    results().print(f"{role} may use {address}.", markup=False, highlight=False)


@team.command()
@click.pass_obj
def move(options: Options) -> None:
    """Copy what this machine's own ledger knows of its accounts to the team's. Again is no harm; nothing is removed."""
    from kubeez_mcp_local.jobs.job import accounts_of
    from kubeez_mcp_local.jobs.ledger import FILE_NAME
    from kubeez_mcp_local.jobs.team.moving import move_ledger

    settings = options.settings()
    verify_team(settings)
    source = settings.state_dir / FILE_NAME
    if not source.exists():
        raise KubeezError(
            f"There is no ledger at {source}.",
            next_step="Set KUBEEZ_STATE_DIR to the folder that has one.",
            code="nothing_to_move",
        )
    accounts = accounts_of(settings).values()
    moved = [move_ledger(source, settings.team_ledger, account, settings.who) for account in accounts]
    found, new = sum(each.found for each in moved), sum(each.jobs for each in moved)
    results().print(f"{new} of {found} jobs were copied; {found - new} were there already.", highlight=False)


def verify_team(settings: Settings) -> None:
    """Raise `no_team` where there is no team's ledger."""
    if settings.team_ledger:
        return
    raise KubeezError(
        "There is no team's ledger: KUBEEZ_LEDGER is not set."
        if settings.ledger is None
        else "The built-in sandbox keeps a ledger of its own; the team's counts in live mode.",
        next_step="Set KUBEEZ_LEDGER to an address like postgresql://user:password@host/database, and a key; "
        "see docs/team.md.",
        code="no_team",
    )
