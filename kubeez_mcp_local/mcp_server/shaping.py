"""From jobs to structured results with the hosted server's field names."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.bridge.history import STATUS_OF
from kubeez_mcp_local.bridge.orders import sent_arguments
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.errors import ConsentRequiredError
from kubeez_mcp_local.jobs.guard import REPEAT_SECONDS
from kubeez_mcp_local.jobs.job import door_of, outputs_in, settings_words
from kubeez_mcp_local.jobs.outputs import distinctions
from kubeez_mcp_local.mcp_server.answers import link
from kubeez_mcp_local.mcp_server.results import Cost, EstimateResult, FileItem, JobResult
from kubeez_mcp_local.mcp_server.rows import known
from kubeez_mcp_local.media.measure import measure
from kubeez_mcp_local.rest.wire import Generation
from kubeez_mcp_local.text import spoken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Mapping, Sequence

    from kubeez_mcp_local.bridge.doors import Door
    from kubeez_mcp_local.bridge.history import Seen
    from kubeez_mcp_local.bridge.hosted_calls import Called
    from kubeez_mcp_local.jobs.job import Job, SavedFile
    from kubeez_mcp_local.mcp_server.call import Call
    from kubeez_mcp_local.operations import Draft

_TOLD = (Generation.model_fields.keys() & JobResult.model_fields.keys()) - {"id"}
"""What the API tells of a job and its result repeats."""


async def started_result(
    call: Call, door: Door, draft: Awaitable[Draft], approval: str, name: str = ""
) -> JobResult | EstimateResult:
    """The jobs that a draft starts through `door`. A quote that awaits the user's yes is an answer too, not an error.

    `name` is what their files shall be called, if that was said. A call that only wants the price (`orders.QUOTE`) ends
    with it.
    """
    if call.quoting:
        priced = await door.orders.priced(draft)
        return quoted_result(call, door, priced, status="quoted", arguments=sent_arguments(priced))
    try:
        started = await door.orders.submit(draft, call.caller(approval, name))
    except ConsentRequiredError as error:
        return await approval_result(call, door, error)
    jobs = [submission.job for submission in started.submissions]
    failures = [str(submission.error) for submission in started.submissions if submission.error]
    failures += started.errors
    again = sum(submission.repeated for submission in started.submissions)
    partly = [f"{again} of {len(jobs)} jobs were there already; they are not paid for again."]
    return await _result(
        call,
        jobs,
        answers=[answer for job in jobs for answer in job.results],
        repeated=again == len(jobs) or None,
        notes=[
            *started.draft.notes,
            *(partly if 0 < again < len(jobs) else []),
            *failures,
            *([started.draft.quote.note] if started.draft.quote.note else []),
        ],
        mode_note=started.draft.mode_note,
    )


async def approval_result(call: Call, door: Door, error: ConsentRequiredError) -> JobResult:
    """A call that waits for the user's yes."""
    question = error.question
    return JobResult(
        mode=call.mode,
        door=call.named(door),
        status="approval_required",
        model=question.model,
        estimated_cost_credits=question.credits,
        cost=await cost_of(call, quoted=question.credits, basis=question.basis),
        approval=error.approval,
        next_step=error.next_step,
        notes=[question.text],
    )


async def called_result(call: Call, called: Called) -> JobResult:
    """What a tool of the hosted server answered, as data, and the jobs that it has started."""
    job, answer, again = called.submission.job, called.answer, called.submission.repeated
    result = await _result(call, [job], answers=job.results, repeated=again or None)
    told: Any = None
    if answer is not None:
        told = answer.text if answer.structured is None else answer.structured
    changes: dict[str, Any] = {"answer": told}
    if not job.generation_ids:
        held = f" {spoken(job.reserved)} stay held back today, since nobody told its price." if job.reserved else ""
        kept = "" if answer else " Its answer is not kept any more."
        changes["next_step"] = f"Answered; it named no job to follow.{kept}{held}"
    return result.model_copy(update=changes)


def quoted_result(call: Call, door: Door, draft: Draft, **more: Any) -> EstimateResult:
    """The price of a draft at `door`, all its runs together."""
    quote, lines = draft.quote, [asdict(line) for line in draft.quote.breakdown]
    for line in lines if draft.count > 1 else ():
        line["label"] = f"{draft.count} x {line['label']}"
        line["credits"] = None if line["credits"] is None else round(line["credits"] * draft.count, 6)
    return EstimateResult(
        mode=call.mode,
        door=call.named(door),
        model=draft.model,
        credits=draft.credits,
        basis=quote.basis,
        estimated_time_seconds=quote.seconds,
        breakdown=lines,
        count=draft.count if draft.count > 1 or call.quoting else None,
        lacks_length=quote.lacks_length or None,
        notes=[*draft.notes, *([quote.note] if quote.note else [])],
        **more,
    )


async def job_result(call: Call, *looks: Seen) -> JobResult:
    """The answer to a call that looks at a job, or at several of this machine."""
    jobs = list({seen.job.id: seen.job for seen in looks if seen.job is not None}.values())
    seen = looks[0]
    if jobs:
        answers = {str(answer.get("id")): answer for seen in looks for answer in seen.answers}
        return await _result(call, jobs, answers=answers.values(), kind=seen.kind)
    job_id, status, kept = (seen.answers[0].get(name) for name in ("id", "status", "credits_deducted"))
    return JobResult(
        mode=call.mode,
        door=seen.door if call.bridge.names_doors else None,
        generation_id=job_id,
        generation_ids=[str(job_id)],
        separation_id=job_id if seen.kind == "separation" else None,
        next_step=_next_step(str(status), [str(job_id)], saved=False, kept=kept),
        **_facts(seen.answers, seen.kind),
    )


async def _result(
    call: Call,
    jobs: Sequence[Job],
    *,
    answers: Iterable[Mapping[str, Any]],
    kind: str | None = None,
    repeated: bool | None = None,
    notes: Sequence[str] = (),
    mode_note: str | None = None,
) -> JobResult:
    first, answers = jobs[0], list(answers)
    ids = [generation_id for job in jobs for generation_id in job.generation_ids]
    files = [file for job in jobs for file in job.files]
    facts = _facts(answers, kind or first.kind)
    facts["status"] = _status(jobs, facts.get("status"))
    for file in files:
        call.blocks.append(link(Path(file.path).as_uri(), Path(file.path).name, file.media_type, file.size))
    if facts["status"] == "completed":
        await call.show([(file.path, file.media_type) for file in files])
    quotes = [job.quote_credits for job in jobs]
    quoted = None if any(quote is None for quote in quotes) else sum(quote or 0 for quote in quotes)
    charges = [job.charged for job in jobs if job.charged is not None]
    alike = len({(job.model, job.prompt) for job in jobs}) == 1
    bases = {job.quote_basis for job in jobs}
    facts.update(
        model=", ".join(dict.fromkeys(job.model for job in jobs)),
        prompt=(first.prompt or None) if alike else None,
        generation_type=first.generation_type if alike else None,
        error_message=facts.get("error_message") or next((job.error for job in jobs if job.error), None),
    )
    doors = dict.fromkeys(door_of(job.account) for job in jobs)
    return JobResult(
        mode=call.mode,
        door=", ".join(doors) if call.bridge.names_doors else None,
        generation_id=ids[0] if ids else first.id,
        generation_ids=ids or [job.id for job in jobs],
        estimated_cost_credits=quoted,
        estimated_time_seconds=first.expected_seconds,
        settings=("; ".join(settings_words(first.arguments, prompt=first.prompt)) or None) if alike else None,
        files=[item for job in jobs for item in await _files_of(job, answers)],
        jobs=[_job_row(job) for job in jobs] if len(jobs) > 1 else [],
        sheet=str(sheet) if (sheet := await call.bridge.sheets.of_call(jobs)) else None,
        cost=await cost_of(
            call,
            quoted=quoted,
            basis=bases.pop() if len(bases) == 1 else "rate",
            charged=sum(charges) if charges else None,
        ),
        repeated=repeated,
        mode_note=mode_note,
        separation_id=first.generation_id if first.kind == "separation" else None,
        next_step=_next_step(
            facts["status"],
            ids or [first.id],
            saved=bool(files),
            failed_to_save=any(job.save_error for job in jobs),
            kept=sum(charges) if len(charges) == len(jobs) else None,
            repeats=first.route if repeated else None,
        ),
        notes=[*notes, *(f"Saving failed: {job.save_error}" for job in jobs if job.save_error)],
        **facts,
    )


def _job_row(job: Job) -> dict[str, Any]:
    """What one of several jobs is and costs; `charged` once that is known."""
    settings = "; ".join(settings_words(job.arguments, prompt=job.prompt))
    return known(
        generation_id=job.generation_id or job.id,
        model=job.model,
        settings=settings or None,
        prompt=job.prompt or None,
        quoted=job.quote_credits,
        basis=job.quote_basis,
        charged=job.charged,
        error=job.error,
    )


async def _files_of(job: Job, answers: Sequence[Mapping[str, Any]]) -> list[FileItem]:
    """The saved files of a job with what the API says of each; what it does not say is measured, if it can be."""
    described: dict[str, dict[str, Any]] = {}
    for answer in answers:
        for row in outputs_in(answer):
            described[str(row.get("url"))] = {**row, "generation_id": answer.get("id")}
    return [await _file_item(job, file, described.get(file.url, {})) for file in job.files]


async def _file_item(job: Job, file: SavedFile, said: Mapping[str, Any]) -> FileItem:
    names = ("generation_id", "width", "height", "duration", "title")
    facts = {name: said[name] for name in names if said.get(name) is not None}
    film = file.media_type.startswith("video/")
    if film or not {"width", "duration"} & facts.keys():
        with suppress(KubeezError, OSError):
            found = await measure(Path(file.path))
            seen = {"width": found.width, "height": found.height, "duration": found.seconds}
            facts = seen | facts | ({"sound": found.has_sound} if film else {})
    facts.setdefault("generation_id", job.generation_id)
    apart = {name: value for name, value in distinctions(job, file).items() if name in FileItem.model_fields}
    return FileItem(
        path=file.path,
        media_type=file.media_type,
        size_bytes=file.size,
        output_id=file.output_id,
        url=file.url,
        model=job.model,
        **facts,
        **apart,
    )


def _facts(answers: Sequence[Mapping[str, Any]], kind: str) -> dict[str, Any]:
    """The fields that come from the API, taken together over all generations of a job."""
    if not answers:
        return {"kind": kind}
    deducted = [answer["credits_deducted"] for answer in answers if answer.get("credits_deducted") is not None]
    statuses = {str(answer.get("status")) for answer in answers}
    return {
        **{name: value for name, value in answers[0].items() if name in _TOLD},
        "kind": kind,
        "status": statuses.pop() if len(statuses) == 1 else "processing",
        "credits_deducted": sum(deducted) if deducted else None,
        "outputs": [item for answer in answers for item in answer.get("outputs", ())],
        "songs": [item for answer in answers for item in answer.get("songs", ())],
    }


def _status(jobs: Sequence[Job], said: str | None) -> str:
    states = {STATUS_OF[job.state] for job in jobs}
    if states == {"pending"}:
        return said or "pending"
    if "pending" in states:
        return "processing"
    return next(status for status in ("unknown", "completed", "failed", "refused") if status in states)


def _next_step(
    status: str,
    ids: Sequence[str],
    *,
    saved: bool,
    kept: float | None,
    failed_to_save: bool = False,
    repeats: str | None = None,
) -> str:
    """What to do now; `repeats` is the route of a job that was there before the call."""
    if status in ("pending", "processing"):
        return f"wait_for_generation(id='{','.join(ids)}') returns the finished files; call it again while it runs."
    if status == "completed" and failed_to_save:
        return f"Done, but not all could be saved; mend that, then wait_for_generation(id='{ids[0]}') saves the rest."
    if status == "completed" and repeats == "generate_media":
        return f"Nothing new was made. Another take: regenerate(id='{ids[0]}'), or this call with another seed."
    if status == "completed" and repeats:
        return (
            "Nothing new was made. Another take: this call with something changed, or the same call again in "
            f"{REPEAT_SECONDS / 60:.0f} minutes."
        )
    if status == "completed":
        return "Done; tell the user where the files are." if saved else "Done; view_media shows an output."
    if status == "unknown":
        return (
            "Nobody knows yet whether this was paid. Do not repeat it; ask get_status again in a minute. If it stays "
            "so, have the user run kubeez-mcp-local jobs reconcile, which shows the rows of the account that may be "
            "it, and the command with which the user answers."
        )
    if kept is None:
        gone = "The API does not say whether credits were kept"
    else:
        gone = f"{spoken(kept)} were kept" if kept else "Nothing was kept of the credits"
    return f"{gone}; see error_message and change the request."


async def cost_so_far(call: Call) -> Cost | None:
    """Where a call that was refused leaves the day's ceiling; `None` if the ledger cannot tell."""
    try:
        return await cost_of(call)
    except KubeezError:
        return None


async def cost_of(
    call: Call, *, quoted: float | None = None, basis: str | None = None, charged: float | None = None
) -> Cost:
    """These credits, and where they leave the day's ceiling."""
    today = await call.bridge.today()
    return Cost(quoted=quoted, basis=basis, charged=charged, spent_today=today.spent, left_today=today.left)
