"""Looking at jobs: state, waiting, history."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from kubeez_mcp_local.bridge.history import SHOWN_BY_API, Wanted
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.mcp_server.call import Call
from kubeez_mcp_local.mcp_server.inventory import tool
from kubeez_mcp_local.mcp_server.results import GenerationsResult, JobResult
from kubeez_mcp_local.mcp_server.rows import job_params
from kubeez_mcp_local.mcp_server.shaping import job_result
from kubeez_mcp_local.operations.parameters import JobId
from kubeez_mcp_local.rest.wire import moment
from kubeez_mcp_local.text import LONGEST_NAME, cut

Kind = Annotated[
    Literal["", "media", "music", "separation"],
    Field(description="media, music or separation; leave out to have it found."),
]
Status = Annotated[
    Literal["", "pending", "processing", "completed", "failed"],
    BeforeValidator(lambda value: value.strip().lower() if isinstance(value, str) else value),
    Field(description="Only pending, processing, completed or failed."),
]
MAX_WAIT_SECONDS = 45
LONGEST_WAIT = 41.0
"""What is really waited, so that the answer is there before the 45 seconds are over."""


@tool(
    title="Job status",
    family="media",
    result=JobResult,
    route="media_status",
    core=True,
    aliases=("get_generation_status", "get_music_status", "get_separation_status"),
)
async def get_status(call: Call, id: JobId, kind: Kind = "") -> JobResult:  # noqa: A002 - the hosted tool's name
    """State of one job now: pending, processing, completed or failed, with its outputs once they are there.

    Free. Prefer wait_for_generation, which returns as soon as the job is done and saves the files.
    """
    return await job_result(call, await call.bridge.history.status(id, kind or None))


@tool(title="Wait for a job", family="media", result=JobResult, route="media_stream", core=True, app=True)
async def wait_for_generation(
    call: Call,
    id: Annotated[  # noqa: A002 - as get_status
        str,
        Field(
            description="generation_id (or separation_id); of several jobs with commas.", min_length=1, max_length=2000
        ),
    ],
    timeout_seconds: Annotated[
        int, Field(description="1 to 45 seconds; then the state so far is returned.", ge=1, le=MAX_WAIT_SECONDS)
    ] = 40,
) -> JobResult:
    """Wait until a job is done, save its files and return them. Free, and safe to repeat.

    Returns after at most 45 seconds; if the job still runs, call it again with the same id. Nothing is lost meanwhile.
    """
    seconds = min(timeout_seconds, LONGEST_WAIT)
    ids = list(dict.fromkeys(filter(None, map(str.strip, id.split(",")))))
    return await job_result(call, *await call.bridge.history.wait_for_all(ids or [id], seconds, call.progress))


@tool(title="One job in full", family="media", result=JobResult, route="generations", core=True, app=True)
async def get_generation(call: Call, id: JobId) -> JobResult:  # noqa: A002 - the hosted tool's name
    """One job with prompt, model, settings, outputs, credits and error. For a bare state use get_status."""
    seen = await call.bridge.history.status(id, None)
    result = await job_result(call, seen)
    return result.model_copy(update={"id": result.generation_id, "params": job_params(seen.job)})


@tool(title="Job history", family="media", result=GenerationsResult, route="generations", core=True)
async def get_generations(
    call: Call,
    limit: Annotated[int, Field(description="1 to 25 rows; more is cut to 25.", ge=1)] = 25,
    model: Annotated[str, Field(description="Only models called like this.")] = "",
    status: Status = "",
    generation_type: Annotated[str, Field(description="Only this type, such as text-to-image.")] = "",
    since: Annotated[str, Field(description="today, or a UTC date or time.")] = "",
    before: Annotated[str, Field(description="Likewise; for older rows.")] = "",
) -> GenerationsResult:
    """Your account's jobs, newest first, with files, credits and prompts. Also finds jobs of other programs."""
    wanted = Wanted(
        model.strip() or None,
        status or None,
        generation_type.strip().lower().replace("_", "-") or None,
        _moment("since", since),
        _moment("before", before),
    )
    found = await call.bridge.history.generations(wanted, limit=min(limit, SHOWN_BY_API))
    more = found.total - len(found.rows)
    steps = ["view_media(id) shows a file, get_generation(id) a whole job."]
    if more:
        steps.insert(0, f"{more} more: the same call with before='{found.rows[-1]['created_at']}'.")
    return GenerationsResult(
        mode=call.mode,
        generations=found.rows,
        count=len(found.rows),
        total=found.total,
        folder=str(call.bridge.settings.output_dir),
        next_step=" ".join(steps) if found.rows else "No such jobs; a filter may leave out too much.",
        notes=[*found.unread, *([_NOT_ALL] if found.more else [])],
    )


_NOT_ALL = f"Of other programs' jobs the API shows the newest {SHOWN_BY_API} only."


def _moment(argument: str, text: str) -> datetime | None:
    """The time that `text` names, UTC."""
    text = text.strip()
    if not text:
        return None
    if text.lower() == "today":
        return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    found = moment(text)
    if found is None:
        raise InvalidArgumentError(
            argument, f"{cut(text, LONGEST_NAME)!r} is no time; allowed: today, 2026-11-29 or 2026-11-29T14:00:00Z."
        )
    return found
