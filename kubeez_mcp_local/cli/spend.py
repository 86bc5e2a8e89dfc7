"""`kubeez-mcp-local spend`: what was spent, by day, model, tool or recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kubeez_mcp_local.cli.terminal import print_json, results, run
from kubeez_mcp_local.text import on_one_line

if TYPE_CHECKING:
    from datetime import datetime

    from kubeez_mcp_local.bridge.bridge import Today
    from kubeez_mcp_local.cli.main import Options
    from kubeez_mcp_local.jobs.budget import Spend, SpendKey
    from kubeez_mcp_local.jobs.job import Job
    from kubeez_mcp_local.jobs.proof import Row
    from kubeez_mcp_local.settings import Settings

_BAR = 32


@click.command()
@click.option(
    "--by", type=click.Choice(["day", "model", "tool", "recipe"]), default="day", show_default=True, help="Grouping."
)
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="First UTC day to count, as 2026-11-23.")
@click.option("--accept-clock", is_flag=True, help="Believe the clock again after it ran ahead.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a chart.")
@click.pass_obj
def spend(options: Options, by: SpendKey, since: datetime | None, accept_clock: bool, as_json: bool) -> None:
    """What was spent, and what today's ceiling leaves. Credits; days are UTC."""
    settings = options.settings()
    since_day = since.strftime("%Y-%m-%d") if since else ""
    rows, today, unsettled, doubles = run(settings, lambda: _read(settings, by, since_day, accept_clock=accept_clock))
    if as_json:
        groups = [{by: row.key, "jobs": row.jobs, "charged": row.charged, "reserved": row.reserved} for row in rows]
        day = {"day": today.day, "spent_today": today.spent, "reserved": today.reserved, "left_today": today.left}
        print_json({"by": by, "groups": groups, **day, "unsettled_jobs": unsettled, **_pairs(doubles)})
        return
    _chart(rows, by)
    results().print(
        f"Today ({today.day}): {today.spent:g} spent, {today.reserved:g} of it reserved, {today.left:g} left "
        f"of {settings.max_credits_per_day:g}."
    )
    _mention(doubles)
    if unsettled:
        results().print(f"Perhaps paid, nobody knows yet: {', '.join(unsettled)}. See: kubeez-mcp-local jobs reconcile")


async def _read(
    settings: Settings, by: SpendKey, since: str, *, accept_clock: bool
) -> tuple[list[Spend], Today, list[str], list[tuple[Row, Job]]]:
    from kubeez_mcp_local.bridge import Bridge

    async with Bridge(settings) as bridge:
        if accept_clock:
            await bridge.ledger.accept_clock()
        spent, unsettled = await bridge.ledger.spend_by(by, since), await bridge.unsettled()
        return spent, await bridge.today(), unsettled, await bridge.reconciler.doubles()


def _mention(doubles: list[tuple[Row, Job]]) -> None:
    from kubeez_mcp_local.jobs.proof import told

    for row, job in doubles:
        line = f"The history has one more row like job {job.id[:8]}: {row.id} ({told([row])[0]}). Was it paid twice?"
        results().print(line, soft_wrap=True, markup=False)


def _pairs(doubles: list[tuple[Row, Job]]) -> dict[str, Any]:
    return {"perhaps_paid_twice": [{"generation_id": row.id, "job": job.id} for row, job in doubles]} if doubles else {}


def _chart(rows: list[Spend], by: str) -> None:
    from rich.bar import Bar
    from rich.table import Table

    if not rows:
        results().print("Nothing was spent.")
        return
    most = max(row.charged for row in rows) or 1
    table = Table(by, box=None, header_style="bold")
    table.add_column("jobs", justify="right")
    table.add_column("credits", justify="right")
    table.add_column("")
    for row in rows:
        table.add_row(
            on_one_line(row.key, 60) or "–", str(row.jobs), f"{row.charged:g}", Bar(most, 0, row.charged, width=_BAR)
        )
    results().print(table)
