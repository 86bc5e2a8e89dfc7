"""Server-sent events of one job: heartbeats, then the result, then the end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio
from anyio.to_thread import run_sync

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from kubeez_mcp_local.sandbox.desk import Desk
    from kubeez_mcp_local.sandbox.views import Viewer

_LONGEST_NAP = 0.2


async def job_events(
    desk: Desk,
    viewer: Viewer,
    account: str,
    job_id: str,
    *,
    beat_clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
) -> AsyncIterator[str]:
    """Text of the events, block by block; ends after the result."""
    yield _event("heartbeat", "{}")
    last_beat = beat_clock()
    while True:
        job = await run_sync(desk.books.job, account, job_id)
        if job is None:
            yield _event("error", '{"message": "Generation not found"}')
            return
        now = desk.books.clock()
        if job.status(now) in ("completed", "failed"):
            shown = await run_sync(viewer.read, job)
            if shown is not None:
                yield _event("result", shown.model_dump_json())
                return
        if beat_clock() - last_beat >= desk.panel.knobs.heartbeat_seconds:
            yield _event("heartbeat", "{}")
            last_beat = beat_clock()
        await sleep(min(max(job.due_at - now, 0.005), _LONGEST_NAP))


def _event(name: str, data: str) -> str:
    return f"event: {name}\ndata: {data}\n\n"
