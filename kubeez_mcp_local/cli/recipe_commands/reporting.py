"""What a run came to: what each step cost, the files, the outcome."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.cli.terminal import plain, results, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubeez_mcp_local.runs.run import CallReport, RunReport

_MOST_FILES = 20


def run_row(report: RunReport) -> dict[str, Any]:
    """A run for JSON."""
    return {
        "run_id": report.run_id,
        "recipe": report.recipe,
        "mode": report.mode,
        "status": report.status,
        "spent": report.spent,
        "budget": report.budget,
        "calls": [_call_row(call) for call in report.calls],
        "files": list(report.files),
        "notes": list(report.notes),
    }


def _call_row(call: CallReport) -> dict[str, Any]:
    return {
        "key": call.key,
        "tool": call.tool,
        "status": call.status,
        "credits": call.credits,
        "files": list(call.files),
        "reason": call.reason,
        "resumed": call.resumed,
    }


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
