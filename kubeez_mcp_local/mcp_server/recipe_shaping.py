"""From runs of recipes to structured results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.mcp_server.answers import link
from kubeez_mcp_local.mcp_server.results import Cost, FileItem, RunResult

if TYPE_CHECKING:
    from kubeez_mcp_local.jobs.failures import ConsentRequiredError
    from kubeez_mcp_local.mcp_server.call import Call
    from kubeez_mcp_local.runs.active import ActiveRun
    from kubeez_mcp_local.runs.run import CallReport

MAX_SHOWN = 30
"""Calls and files of a run that a result lists; a campaign has hundreds, and every conversation pays for them."""

_REHEARSED = "This was a rehearsal with play credits; the account was not touched."


async def run_result(call: Call, run: ActiveRun) -> RunResult:
    """The state of a run, or what it came to.

    Raises:
        KubeezError: It broke off.
    """
    run.told = run.over.is_set()
    if run.error is not None:
        raise run.error
    ready, report = run.prepared, run.report
    if report is None:
        return RunResult(
            mode=ready.run.id.mode,
            run_id=ready.run.id.name,
            recipe=ready.recipe.name,
            status="running",
            summary=f"{ready.recipe.name}: running; {run.news()}.",
            cost=await _cost(call, run, run.latest.spent if run.latest else ready.begun.spend.charged),
            budget=ready.run.budget.credits,
            next_step="Call run_recipe again with the same arguments to go on waiting; nothing is started twice.",
        )
    files = [file for one in report.calls for file in (one.result or {}).get("files") or []]
    for file in files[:MAX_SHOWN]:
        path = Path(str(file["path"]))
        call.blocks.append(link(path.as_uri(), path.name, file.get("media_type"), file.get("size_bytes")))
    return RunResult(
        mode=report.mode,
        run_id=report.run_id,
        recipe=report.recipe,
        status=report.status,
        summary=report.summary().split("\n", 1)[0],
        calls=[_call_row(one) for one in _most_telling(report.calls)],
        files=[FileItem(**file) for file in files[:MAX_SHOWN]],
        cost=await _cost(call, run, report.spent),
        budget=report.budget,
        notes=[
            *report.notes,
            *([_REHEARSED] if run.rehearsal else []),
            *_cut_notes(call, len(report.calls), len(files)),
        ],
        next_step=_next_step(report.status),
    )


async def quoted_run(call: Call, name: str, error: ConsentRequiredError) -> RunResult:
    """The answer when the whole run awaits the user's yes."""
    today = await call.bridge.today()
    question = error.question
    return RunResult(
        mode=call.mode,
        recipe=name,
        status="approval_required",
        summary=question.text,
        cost=Cost(quoted=question.credits, basis=question.basis, spent_today=today.spent, left_today=today.left),
        approval=error.approval,
        next_step=error.next_step,
    )


async def _cost(call: Call, run: ActiveRun, charged: float) -> Cost:
    today = await call.bridge.today()
    prices = run.prepared.prices
    quoted = prices.credits if prices is not None else None
    return Cost(quoted=quoted, charged=charged, spent_today=today.spent, left_today=today.left)


def _most_telling(calls: tuple[CallReport, ...]) -> list[CallReport]:
    """What failed first, then the rest, as many as fit."""
    return sorted(calls, key=lambda one: one.status not in ("failed", "stopped"))[:MAX_SHOWN]


def _call_row(one: CallReport) -> dict[str, Any]:
    result = one.result or {}
    row = {
        "step": one.key,
        "tool": one.tool,
        "status": one.status,
        "credits": one.credits,
        "generation_id": result.get("generation_id"),
        "url": next((output.get("url") for output in result.get("outputs") or [] if output.get("url")), None),
        "reason": one.reason,
    }
    return {name: value for name, value in row.items() if value not in (None, "")}


def _cut_notes(call: Call, calls: int, files: int) -> list[str]:
    if max(calls, files) <= MAX_SHOWN:
        return []
    folder = call.bridge.settings.output_dir
    return [f"Of {calls} calls and {files} files the first {MAX_SHOWN} are listed; all files are in {folder}."]


def _next_step(status: str) -> str:
    if status == "completed":
        return "Done; tell the user where the files are. For another run of the same, pass a new run_id."
    return "Tell the user what failed. The same call again tries what is missing; finished work is not paid for twice."
