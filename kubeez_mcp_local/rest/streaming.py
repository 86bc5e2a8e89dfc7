"""A job's server-sent events (rest-api.md §2.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
from httpx_sse import EventSource, SSEError

from kubeez_mcp_local.rest.failures import StreamFailedError
from kubeez_mcp_local.rest.parsing import ParseError, from_json, read_generation

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from httpx_sse import ServerSentEvent

    from kubeez_mcp_local.rest.answers import Interpreter
    from kubeez_mcp_local.rest.wire import Generation


async def results(
    response: httpx.Response, *, job_id: str, media_origin: str, interpreter: Interpreter
) -> AsyncGenerator[Generation, None]:
    """Yield the job when its `result` comes, then end. A stream that breaks off, or is none, simply ends.

    Raises:
        StreamFailedError: The API sent an `error` event.
    """
    try:
        async for event in EventSource(response).aiter_sse():
            if event.event not in ("result", "error"):
                continue
            generation = _generation(event, job_id, media_origin)
            if generation is not None and (event.event == "result" or generation.failed):
                yield generation
                return
            if event.event == "error":
                raise _failure(event, interpreter)
    except (httpx.HTTPError, httpx.StreamError, SSEError):
        return


def _generation(event: ServerSentEvent, job_id: str, media_origin: str) -> Generation | None:
    try:
        return read_generation(from_json(event.data), media_origin, job_id=job_id)
    except (ParseError, ValueError, RecursionError):
        return None


def _failure(event: ServerSentEvent, interpreter: Interpreter) -> StreamFailedError:
    words = interpreter.words_of(event.data) or "no reason given"
    return StreamFailedError(
        f"The stream of this job reported an error: {words}", next_step="Read the job's status.", retry_safe=True
    )
