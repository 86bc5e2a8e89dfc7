"""What the text of a result says of it: what one look has to tell, the most important first.

The structured content keeps everything; here each thing is said once, and what is empty, told elsewhere or of no use
for the next step is left out. The fields go through `answers.text_of` like any others, so nothing here quotes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.text import amount, extent, on_one_line, quoted, spoken

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Fields = dict[str, Any]

PROMPT_SHOWN = 60
"""Characters of a prompt that are enough to know the job by."""
_APART = ("title", "language", "part", "variant", "item", "voice", "seed")
"""What tells one output from another, where it is known."""
_EXACT = "catalogue"


def of_job(told: Mapping[str, Any]) -> Fields:
    """A job that one call started, or looked at."""
    status = f"{told['status']} ({told['mode']})"
    if told["status"] == "approval_required":
        question, *notes = told.get("notes") or [""]
        return _said(
            status=f"{status}: nothing has been sent", question=question, notes=notes, next_step=told.get("next_step")
        )
    outputs = [*_outputs(told)]
    next_step = told.get("next_step") or ""
    ids = told.get("generation_ids") or []
    named = len(ids) > 1 and any("generation_id" in output for output in outputs)
    ids = [] if named else [job_id for job_id in ids if job_id not in next_step]
    seconds = told.get("estimated_time_seconds")
    return _said(
        status=f"{status}, {len(outputs)} outputs" if len(outputs) > 1 else status,
        error_message=told.get("error_message"),
        **(outputs[0] if len(outputs) == 1 else {"outputs": outputs}),
        cost=cost_words(told.get("cost")),
        next_step=next_step,
        takes=f"about {seconds} s" if seconds and told["status"] in ("pending", "processing") else None,
        **({"generation_id": ids[0]} if len(ids) == 1 else {"generation_ids": ids}),
        **_how(told),
        notes=[*(told.get("notes") or []), *filter(None, [told.get("mode_note")])],
    )


def _how(told: Mapping[str, Any]) -> Fields:
    """What was asked for: in full where the job was asked for in full, else enough to know it by."""
    if told.get("id"):
        names = ("model", "prompt", "generation_type", "params", "created_at", "completed_at")
        return {name: told.get(name) for name in names}
    said = [on_one_line(told[name], PROMPT_SHOWN) for name in ("model", "settings") if told.get(name)]
    prompt = told.get("prompt")
    return {"job": ", ".join(said) + (f": {first_words(prompt)}" if prompt else "")}


def first_words(prompt: str) -> str:
    """The start of a prompt in quotation marks."""
    return quoted(prompt, PROMPT_SHOWN)


def cost_words(cost: Mapping[str, Any] | None) -> str | None:
    """What it cost, and where that leaves the day's ceiling."""
    if cost is None:
        return None
    quoted_, charged, basis = (cost.get(name) for name in ("quoted", "charged", "basis"))
    if charged is not None:
        said = f"{spoken(charged)} charged"
        said += "" if quoted_ in (None, charged) else f", {amount(quoted_)} were quoted"
    elif quoted_ is not None:
        said = price_words(quoted_, basis)
    else:
        said = "not known yet" if basis else ""
    left = f"{amount(cost['left_today'])} left today"
    return f"{said}; {left}" if said else left


def price_words(credits_: float, basis: str | None) -> str:
    """A price: `about` only where it may turn out otherwise."""
    return spoken(credits_) if basis in (None, _EXACT) else f"about {spoken(credits_)}"


def _outputs(told: Mapping[str, Any]) -> Iterator[Fields]:
    """Each output once: where it is, what it is, what tells it apart."""
    saved: list[Mapping[str, Any]] = told.get("files") or []
    at = {file.get("url"): file for file in saved} | {file.get("output_id"): file for file in saved}
    described = [
        *(told.get("outputs") or []),
        *({**song, "url": song.get("audio_url")} for song in told.get("songs") or []),
        *({"url": told[f"{part}_url"], "part": part} for part in ("vocals", "instrumental") if told.get(f"{part}_url")),
    ]
    several = len(described) > 1 or len(saved) > 1
    jobs = len(told.get("generation_ids") or []) > 1
    shown = []
    for output in described:
        file = at.get(output.get("url")) or at.get(output.get("id")) or {}
        shown.append(file.get("path"))
        yield _output({**output, **_filled(file)}, several=several, of_jobs=jobs, song="audio_url" in output)
    for file in saved:
        if file["path"] not in shown:
            yield _output(file, several=several, of_jobs=jobs, song=False)


def _output(output: Mapping[str, Any], *, several: bool, of_jobs: bool, song: bool) -> Fields:
    """One output. Its own id is needed where the job's does not name it, and of a song, whose voice can be kept."""
    own_id = output.get("output_id") or output.get("id")
    job = output.get("generation_id") if of_jobs else None
    return _said(
        path=output.get("path"),
        **{name: output.get(name) for name in _APART},
        size=_extent(output),
        url=output.get("url"),
        generation_id=job,
        id=own_id if song or (several and job is None) else None,
    )


def _extent(output: Mapping[str, Any]) -> str:
    return extent(
        width=output.get("width"),
        height=output.get("height"),
        seconds=output.get("duration"),
        sound=output.get("sound"),
        size=output.get("size_bytes") or output.get("file_size"),
    )


def _filled(fields: Mapping[str, Any]) -> Fields:
    return {name: value for name, value in fields.items() if value is not None}


def _said(**fields: Any) -> Fields:
    """Those of `fields` that say something."""
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}
