"""`kubeez-mcp-local contract`: the routes we use beside what the API publishes about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kubeez_mcp_local.cli.terminal import print_json, results, run_with_bridge, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from kubeez_mcp_local.cli.main import Options
    from kubeez_mcp_local.rest.contract import ContractRow, PublishedOperation, Snapshot
    from kubeez_mcp_local.settings import Settings

_ABOUT = {
    "documented": "Documented: used as Kubeez documents them",
    "assumed": "Assumed: used only as the API publishes them, else not at all",
}


@click.command()
@click.option("--strict", is_flag=True, help="Exit with 1 when a documented route does not fit, or one is missing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.pass_context
def contract(context: click.Context, strict: bool, as_json: bool) -> None:
    """Every API route this program uses, beside what the API's own /openapi.json says now. Free; sends no prompt.

    With --strict, optional fields that we do not use and fields that are never sent unless published do not count.
    """
    from kubeez_mcp_local.operations import routes
    from kubeez_mcp_local.rest.contract import compare

    options: Options = context.obj
    settings = options.settings()
    snapshot = run_with_bridge(settings, lambda bridge: bridge.contract.snapshot(max_age=0))
    rows = compare(snapshot.published, routes().values())
    facts = _facts(settings, snapshot)
    if as_json:
        print_json({**facts, "rows": [_row(row) for row in rows]})
    else:
        _show(facts, rows)
    if strict and not all(_as_wanted(row) for row in rows):
        context.exit(1)


def _as_wanted(row: ContractRow) -> bool:
    return row.fits if row.route.evidence == "documented" else row.published is not None


def _facts(settings: Settings, snapshot: Snapshot[PublishedOperation]) -> dict[str, Any]:
    mode = settings.effective_mode.value
    origin = settings.base_url if mode == "live" else settings.standalone_sandbox or "the built-in sandbox"
    return {
        "mode": mode,
        "origin": origin,
        "published_operations": len(snapshot.published),
        "document_age_seconds": round(snapshot.age_seconds),
    }


def _row(row: ContractRow) -> dict[str, Any]:
    told = {name: getattr(row.route, name) for name in ("name", "method", "path", "scope", "evidence")}
    return {**told, "published": row.published, "differences": list(row.differences)}


def _show(facts: dict[str, Any], rows: Sequence[ContractRow]) -> None:
    terminal = results()
    terminal.print(_heading(facts), markup=False)
    for evidence, about in _ABOUT.items():
        group = [row for row in rows if row.route.evidence == evidence]
        terminal.print(f"\n{about} ({sum(map(_as_wanted, group))} of {len(group)} fit)", style="bold")
        terminal.print(_table(group))


def _heading(facts: dict[str, Any]) -> str:
    where = f"{facts['origin']} ({facts['mode']})"
    if not facts["published_operations"]:
        return f"{where} publishes no /openapi.json: there is nothing to compare with, and assumed routes are not used."
    age = facts["document_age_seconds"]
    when = "read just now" if age < 2 else f"as it was {_ago(age)} ago, because it cannot be read now"
    return f"{where} publishes {facts['published_operations']} operations, {when}."


def _ago(seconds: int) -> str:
    size, unit = next(pair for pair in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")) if seconds >= pair[0])
    return f"{seconds // size} {unit}"


def _table(rows: Sequence[ContractRow]) -> Table:
    from rich.text import Text

    shown = table("", "route", "ours", "published", "scope")
    for row in rows:
        ours = f"{row.route.method} {row.route.path}"
        mark = Text("✓", "green") if _as_wanted(row) else Text("✗", "red")
        published = row.published if row.published != ours else "the same"
        shown.add_row(mark, row.route.name, Text(ours), Text(published or "–"), row.route.scope or "–")
        for line in row.differences:
            shown.add_row("", "", Text(f"  {line}", "dim"), "", "")
    return shown
