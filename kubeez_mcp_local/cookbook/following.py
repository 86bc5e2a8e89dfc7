"""Follows the jobs of a paid call to their end, and merges what they came to into one result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.cookbook.calls import ToolCallError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from kubeez_mcp_local.cookbook.calls import ToolCaller

PAUSE_SECONDS = 2.0
_OVER = ("completed", "failed")
_LISTS = ("outputs", "songs", "files")


async def follow(
    call: ToolCaller,
    started: Mapping[str, Any],
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[object]],
    seconds: float,
) -> dict[str, Any]:
    """The finished result of everything `started` began.

    Args:
        call: Calls a tool; `wait_for_generation` is the one that is called here.
        started: What the paid tool answered.
        clock: Seconds.
        sleep: Waits that many seconds; used when a wait comes back at once.
        seconds: How long one call may take in all.

    Raises:
        ToolCallError: A job does not end in time; its credits may be spent.
        KubeezError: What `wait_for_generation` raises.
    """
    if started.get("status") in _OVER:
        return dict(started)
    ids = list(started.get("generation_ids") or []) or [started.get("generation_id") or started.get("separation_id")]
    deadline = clock() + seconds
    results = []
    for job_id in ids:
        while True:
            asked = clock()
            result = await call("wait_for_generation", {"id": str(job_id)})
            if result.get("status") in _OVER:
                results.append(result)
                break
            if clock() > deadline:
                raise ToolCallError(
                    f"The job {job_id} was not over after {seconds / 60:g} minutes.",
                    next_step="Run again with the same run id to go on waiting.",
                    spent=None,
                )
            if clock() - asked < PAUSE_SECONDS:
                await sleep(PAUSE_SECONDS)
    return merge(results)


def merge(results: list[Mapping[str, Any]]) -> dict[str, Any]:
    """One result of several jobs: their outputs in order, their costs summed, failed when all of them failed."""
    if len(results) == 1:
        return dict(results[0])
    merged = dict(results[0])
    for name in _LISTS:
        merged[name] = [entry for result in results for entry in result.get(name) or []]
    merged["generation_ids"] = [result.get("generation_id") for result in results]
    merged["status"] = "completed" if any(result.get("status") == "completed" for result in results) else "failed"
    costs = [result["cost"] for result in results if isinstance(result.get("cost"), dict)]
    if costs:
        names = {name for cost in costs for name in cost if name in ("quoted", "charged")}
        merged["cost"] = {name: sum(cost.get(name) or 0 for cost in costs) for name in names}
    return merged
