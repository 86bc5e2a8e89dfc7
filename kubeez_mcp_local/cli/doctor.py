"""`kubeez-mcp-local doctor`: what makes people fail, looked at in one go."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import anyio
import click

from kubeez_mcp_local.cli.checks.finding import Finding, Level, problem, warning
from kubeez_mcp_local.cli.terminal import print_json, remarks, results

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubeez_mcp_local.cli.clients.machine import Machine
    from kubeez_mcp_local.cli.main import Options
    from kubeez_mcp_local.settings import Settings

_MARKS = {Level.OK: ("✓", "green"), Level.WARNING: ("!", "yellow"), Level.PROBLEM: ("✗", "red")}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Check what makes people fail: settings, key, network, folders, ledger, recipes, clients, and the server itself.

    Nothing is spent and nothing is written. Works without a key and offline. Exit code 1 when there is a problem.
    """
    from kubeez_mcp_local.logs import configure_logging

    configure_logging("error")
    with remarks().status("Looking …"):
        found = anyio.run(_examine, context.obj)
    worst = [one for one in found if one.level is Level.PROBLEM]
    if as_json:
        print_json({"ok": not worst, "findings": [one.as_json() for one in found]})
    else:
        _show(found)
    context.exit(1 if worst else 0)


async def _examine(options: Options) -> list[Finding]:
    from kubeez_mcp_local.cli.checks.configuration import check_sources
    from kubeez_mcp_local.cli.checks.connections import check_clients
    from kubeez_mcp_local.cli.checks.program import check_program
    from kubeez_mcp_local.cli.clients.machine import Machine
    from kubeez_mcp_local.settings import SettingsError

    machine = Machine.this()
    found = [*check_program(), *check_sources(options)]
    try:
        settings = options.settings()
    except SettingsError as error:
        if all(one.detail != error.message for one in found):
            found.append(problem("settings", error.message, error.next_step))
        found.append(warning("MCP", "not tried: the server does not start with these settings"))
    else:
        found += await _examine_with(settings, options, machine)
    return [*found, *check_clients(machine)]


async def _examine_with(settings: Settings, options: Options, machine: Machine) -> list[Finding]:
    """What depends on the settings; the slow parts side by side."""
    from kubeez_mcp_local.cli.checks.configuration import check_meaning
    from kubeez_mcp_local.cli.checks.connections import check_start
    from kubeez_mcp_local.cli.checks.network import check_api
    from kubeez_mcp_local.cli.checks.storage import check_catalogue, check_folders, check_ledger, check_recipes

    api: list[Finding] = []
    started: dict[int, Finding] = {}

    async def ask() -> None:
        api.extend(await check_api(settings))

    async def start(index: int) -> None:
        started[index] = await check_start(machine, options.as_arguments(), index)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        tasks.start_soon(start, 0)
        tasks.start_soon(start, 1)
    stored = itertools.chain(check_folders(settings), check_ledger(settings))
    return [
        *check_meaning(settings),
        *api,
        *stored,
        await check_catalogue(settings),
        *check_recipes(settings),
        started[0],
        started[1],
    ]


def _show(found: Sequence[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("", "check", "found", box=None, header_style="bold")
    table.columns[2].overflow = "fold"
    for one in found:
        mark, colour = _MARKS[one.level]
        told = Text(one.detail)
        if one.next_step and one.level is not Level.OK:
            told.append(f"\n→ {one.next_step}", "bold")
        table.add_row(Text(mark, colour), one.check, told)
    console = results()
    console.print(table)
    counts = {level: sum(one.level is level for one in found) for level in (Level.PROBLEM, Level.WARNING)}
    if not any(counts.values()):
        console.print("\nEverything is as it should be.")
    else:
        sums = [f"{counts[level]} {level}{'s' if counts[level] != 1 else ''}" for level in counts if counts[level]]
        console.print(f"\n{' and '.join(sums)}.")
