"""What the text of a result says of it: what one look has to tell, the most important first.

The structured content keeps everything; here each thing is said once, and what is empty, told elsewhere or of no use
for the next step is left out. The fields go through `answers.text_of` like any others, so nothing here quotes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.catalogue.models import KINDS
from kubeez_mcp_local.jobs.job import EXACT, outputs_in
from kubeez_mcp_local.operations.music import NEWEST
from kubeez_mcp_local.text import amount, extent, on_one_line, quoted, spoken

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Fields = dict[str, Any]

PROMPT_SHOWN = 60
"""Characters of a prompt that are enough to know the job by."""
_APART = ("title", "item", "language", "label")
"""What tells one output from another, where it is known."""


def of_job(told: Mapping[str, Any]) -> Fields:
    """A job that one call started, or looked at."""
    status = f"{told['status']} ({told['mode']})"
    if told["status"] == "approval_required":
        question, *notes = told.get("notes") or [""]
        return _said(
            status=f"{status}: nothing has been sent", question=question, notes=notes, next_step=told.get("next_step")
        )
    outputs, jobs = [*_outputs(told)], told.get("jobs") or []
    next_step = told.get("next_step") or ""
    ids = told.get("generation_ids") or []
    named = len(ids) > 1 and (len(outputs) > 1 or bool(jobs))
    ids = [] if named else [job_id for job_id in ids if job_id not in next_step]
    seconds = told.get("estimated_time_seconds")
    status += f", {len(outputs)} outputs" if len(outputs) > 1 else ""
    status += ", of an earlier call; not paid again" if told.get("repeated") else ""
    return _said(
        status=status,
        error_message=told.get("error_message"),
        **(outputs[0] if len(outputs) == 1 else {"outputs": _output_lines(outputs, jobs)}),
        jobs=[] if _alike(jobs) else [_job_line(job) for job in jobs if not _told_by(outputs, job)],
        sheet=told.get("sheet"),
        answer=told.get("answer"),
        cost=cost_words(told.get("cost")),
        door=told.get("door"),
        next_step=next_step,
        takes=f"about {seconds} s" if seconds and told["status"] in ("pending", "processing") else None,
        **({"generation_id": ids[0]} if len(ids) == 1 else {"generation_ids": ids}),
        **(_how(told) if _alike(jobs) else {}),
        notes=[*(told.get("notes") or []), *filter(None, [told.get("mode_note")])],
    )


def _how(told: Mapping[str, Any]) -> Fields:
    """What was asked for: in full where the job was asked for in full, else enough to know it by."""
    if told.get("id"):
        names = ("model", "prompt", "generation_type", "params", "created_at", "completed_at")
        return {name: told.get(name) for name in names}
    said = [on_one_line(told[name], PROMPT_SHOWN) for name in ("model", "settings") if told.get(name)]
    prompt = told.get("prompt") or ""
    in_lines = all(line in told.get("settings", "") for line in prompt.split("\n"))  # of a dialogue, with the voices
    return {"job": ", ".join(said) + ("" if in_lines else f": {first_words(prompt)}")}


def _alike(jobs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether they are takes of one request, as far as there are several."""
    return len({(job["model"], job.get("settings"), job.get("prompt")) for job in jobs}) < 2


def _told_by(outputs: Sequence[Fields], job: Mapping[str, Any]) -> bool:
    return any(output.get("generation_id") == job["generation_id"] for output in outputs)


def _job_line(job: Mapping[str, Any]) -> str:
    """One of several jobs that has no file yet: its id, what it is, its price."""
    said = [job["model"], job.get("settings") or "", job_price(job)]
    words = f" {first_words(job['prompt'])}" if job.get("prompt") else ""
    error = f" {quoted(job['error'], 200)}" if job.get("error") else ""
    return on_one_line(f"{job['generation_id']} {', '.join(filter(None, said))}{words}{error}", 1_000)


def job_price(job: Mapping[str, Any]) -> str:
    """What one of several jobs costs: what was charged, else what was quoted."""
    if job.get("charged") is not None:
        return spoken(job["charged"])
    return "price not known" if job.get("quoted") is None else price_words(job["quoted"], job.get("basis"))


def _output_lines(outputs: Sequence[Fields], jobs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each of several outputs on one line. Where it is saved its address is left out: the path works as well."""
    prices = {job["generation_id"]: job_price(job) for job in jobs}
    lines, seen = [], set()
    for output in outputs:
        job = output.get("generation_id")
        price = "" if job not in prices else "same job" if job in seen else prices[job]
        seen.add(job)
        words = [quoted(str(output[name])) for name in ("title", "item") if output.get(name)]
        facts = [*words, *(output.get(name) for name in _OF_A_LINE)]
        ids = [output.get("generation_id"), f"id {output['id']}" if output.get("id") else ""]
        said = "; ".join(str(fact) for fact in [*facts, price, *ids] if fact)
        lines.append(on_one_line(f"{output.get('path') or output.get('url') or ''} {said}".strip(), 1_000))
    return lines


_OF_A_LINE = ("language", "label", "size", "model")


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
    return spoken(credits_) if basis in (None, EXACT) else f"about {spoken(credits_)}"


def of_models(told: Mapping[str, Any]) -> Fields:
    """The catalogue, a line for each model."""
    rows = told["models"]
    return {**told, "models": [model_line(row, brief=len(rows) > _MANY_ROWS) for row in rows]}


_MANY_ROWS = 12


def model_line(row: Mapping[str, Any], *, brief: bool = False) -> str:
    """A model's row in one line, its id first; `brief`: without what seldom decides which one to take."""
    able: Mapping[str, Any] = row.get("capabilities") or {}
    price, seconds, adds = row.get("cost_per_generation"), row.get("estimated_time_seconds"), row.get("sound_adds")
    inputs = [f"{able[f'max_input_{kind}s']} {kind}s" for kind in KINDS if able.get(f"max_input_{kind}s")]
    lengths = [str(one).removesuffix("s") for one in able.get("duration_options") or []]
    spans = f"{lengths[0]}-{lengths[-1]} s" if len(lengths) > 4 else f"{', '.join(lengths)} s" if lengths else ""
    heard = {"included": "always with sound"}.get(str(able.get("video_audio")), "")
    told = [
        ", ".join(row.get("generation_types") or [str(row.get("model_type"))]),
        f"about {seconds} s of work" if seconds else "",
        f"makes {spans}" if spans else "",
        " ".join(able.get("aspect_ratio_options") or []),
        " ".join([*(able.get("resolution") or []), *(able.get("quality") or [])]),
        f"inputs: {', '.join(inputs)} at most" if inputs else "",
        "sound: price unknown" if adds == "unknown" else f"sound: +{adds:g}" if adds is not None else heard,
        f"takes {row['takes']}" if row.get("takes") else "",
        f"returns {row['returns']}" if row.get("returns") and row.get("model_type") not in ("image", "video") else "",
        f"prompt at most {able['prompt_max_chars']}" if able.get("prompt_max_chars") and not brief else "",
        *(row.get(name, "") for name in ("cost_note", "usage_notes")),
        *(f"{name}: {said}" for name, said in (row.get("voices") or {}).items()),
    ]
    costs = "price not known" if price is None else spoken(price)
    return f"{row['model_id']}, {costs}: {'; '.join(filter(None, told))}"


def of_plan(told: Mapping[str, Any]) -> Fields:
    """A plan, whose prices stand in its notes; where the kind of work is asked for, the list to choose from."""
    if told.get("tasks"):
        return _said(**{name: told.get(name) for name in ("notes", "workflow_steps", "tasks", "mode")})
    offered = [offer["says"] for offer in told.get("offers") or []]
    names = ("workflow_steps", "skills_to_fetch", "alternatives", "recipes", "next_step", "mode")
    first = {"task": told.get("task"), "model": told.get("recommended_model"), "notes": told.get("notes")}
    return _said(**first, offers=offered, **{name: told.get(name) for name in names})


def of_choice(told: Mapping[str, Any]) -> Fields:
    """The summary, which has the offers too where nothing fits, and the others that would do."""
    ranked = [
        f"{one['model']} ({'?' if one.get('credits') is None else amount(one['credits'])})" for one in told["ranked"]
    ]
    return _said(**{name: told.get(name) for name in ("summary", "model", "credits", "mode")}, ranked=ranked)


def _outputs(told: Mapping[str, Any]) -> Iterator[Fields]:
    """Each output once: where it is, what it is, what tells it apart."""
    saved: list[Mapping[str, Any]] = told.get("files") or []
    at = {file.get("url"): file for file in saved} | {file.get("output_id"): file for file in saved}
    described = outputs_in(told)
    several = len(described) > 1 or len(saved) > 1
    jobs = len(told.get("generation_ids") or []) > 1
    models = len({file.get("model") for file in saved}) > 1
    shown = []
    for output in described:
        file = at.get(output.get("url")) or at.get(output.get("id")) or {}
        shown.append(file.get("path"))
        yield _output(
            {**output, **_filled(file)}, several=several, of_jobs=jobs, of_models=models, song="audio_url" in output
        )
    for file in saved:
        if file["path"] not in shown:
            yield _output(file, several=several, of_jobs=jobs, of_models=models)


def _output(
    output: Mapping[str, Any], *, several: bool, of_jobs: bool, of_models: bool = False, song: bool = False
) -> Fields:
    """One output. Its own id is needed where the job's does not name it, and of a song, whose voice can be kept."""
    own_id = output.get("output_id") or output.get("id")
    job = output.get("generation_id") if of_jobs else None
    named, doubt = output.get("path") or "", output.get("language_doubt")
    return _said(
        path=named,
        # what the file's own name says need not be said again, unless it may be wrong
        **{name: output.get(name) for name in _APART if f"-{output.get(name)}." not in named},
        **({"language": f"{output.get('language')} ({doubt})"} if doubt else {}),
        model=output.get("model") if of_models else None,
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


def of_cut(told: Mapping[str, Any]) -> Fields:
    """A cut or joined video: where it is and what it is."""
    size = extent(seconds=told.get("duration_s"), sound=told.get("sound"), size=told.get("size_bytes"))
    first = {"status": f"{told['status']} ({told['mode']})", "path": told.get("path"), "size": size}
    return _said(**first, **{name: told.get(name) for name in ("url", "next_step", "notes")})


def of_estimate(told: Mapping[str, Any]) -> Fields:
    """A price, and whether it is exact."""
    price, basis, seconds = (told.get(name) for name in ("credits", "basis", "estimated_time_seconds"))
    known = "not known" if price is None else price_words(price, basis) + (", exact" if basis == EXACT else "")
    return _said(
        price=f"{known} ({told['mode']})",
        door=told.get("door"),
        model=told.get("model"),
        because=[line["detail"] for line in told.get("breakdown") or () if line.get("detail")],
        takes=f"about {seconds} s" if seconds else None,
        next_step=told.get("next_step"),
        notes=told.get("notes"),
        arguments=told.get("arguments"),
    )


def of_run(told: Mapping[str, Any]) -> Fields:
    """A run of a recipe: one line a call, with its file and what it cost."""
    calls = told.get("calls") or []
    paths = [path for call in calls for path in call.get("paths") or ()]
    others = [file["path"] for file in told.get("files") or () if file["path"] not in paths]
    folder = _common_folder([*paths, *others])
    rest = {name: value for name, value in told.items() if name not in _OF_A_RUN}
    return _said(
        status=f"{told['status']} ({told['mode']})" + (": nothing has been sent" if told.get("approval") else ""),
        summary=told.get("summary"),
        files_in=folder,
        calls=[_run_row(call, folder) for call in calls],
        files=[path.removeprefix(folder) for path in others],
        cost=cost_words(told.get("cost")) if calls or paths else None,
        next_step=told.get("next_step"),
        run_id=told.get("run_id"),
        **rest,
    )


_OF_A_RUN = (
    *("mode", "status", "summary", "calls", "files", "cost", "next_step", "run_id"),
    *("recipe", "budget", "approval"),  # which the summary and the next step name
)


def _run_row(call: Mapping[str, Any], folder: str) -> str:
    """One call of a run: its file or its state, what it is about, credits, id."""
    files = [path.removeprefix(folder) for path in call.get("paths") or ()]
    reason = call.get("reason")
    said = [
        *([] if call.get("status") in (None, "completed") else [str(call.get("status"))]),
        *files,
        *([quoted(call["label"], PROMPT_SHOWN)] if call.get("label") else [str(call.get("step"))]),
        *([spoken(call["credits"])] if call.get("credits") is not None else []),
        str(call.get("generation_id") or ""),
        *([quoted(reason, 200)] if reason else []),
    ]
    return on_one_line(" ".join(filter(None, said)), 1_000)


def _common_folder(paths: Sequence[str]) -> str:
    """The folder in which all of these files are, with its slash; empty if there is none."""
    starts = [path.replace("\\", "/").rpartition("/")[0] for path in paths]
    return f"{starts[0]}/" if starts and len(set(starts)) == 1 else ""


_MOST_OF_HISTORY = 3_600
"""Bytes of the rows of a list of jobs."""
_PROMPTS_OF_ROWS = (60, 40, 24, 0)
_COLUMNS = " (completed unless said; time in UTC, credits, model, prompt or source, file, id)"


def of_history(told: Mapping[str, Any]) -> Fields:
    """Jobs, one line each; the more of them, the less of their prompts."""
    folder = told["folder"].rstrip("/") + "/"
    rows: list[str] = []
    for longest in _PROMPTS_OF_ROWS:
        rows = [_history_row(row, folder, longest) for row in told["generations"]]
        if sum(len(row.encode()) + 5 for row in rows) <= _MOST_OF_HISTORY:
            break
    return _said(
        mode=told["mode"],
        count=(f"{told['count']} of {told['total']}" if told["total"] > told["count"] else str(told["count"]))
        + _COLUMNS,
        next_step=told.get("next_step"),
        files_in=folder if any(row.get("files") for row in told["generations"]) else None,
        generations=rows,
        notes=told.get("notes"),
        charged=_charged_in(told["generations"], told["total"]),
    )


def _charged_in(rows: Sequence[Mapping[str, Any]], total: int) -> str | None:
    """The sum of the charges of several rows, and of how many of them it is."""
    known = [row["credits_deducted"] for row in rows if row.get("credits_deducted") is not None]
    if len(rows) < 2 or not known:
        return None
    these = f"these {len(rows)}" if total <= len(rows) else f"these {len(rows)} of {total}"
    open_ = f"; of {len(rows) - len(known)} not known yet" if len(known) < len(rows) else ""
    return f"{spoken(round(sum(known), 6))} for {these}{open_}"


def _history_row(row: Mapping[str, Any], folder: str, longest: int) -> str:
    """One job: when, what became of it, for how much, by which model, of what; its file, its door, and its id last."""
    status, charged = row.get("status", ""), row.get("credits_deducted")
    price = [] if charged is None else [f"charged {amount(charged)}" if status == "failed" else amount(charged)]
    model = row.get("known_as") or row.get("model") or row.get("tool") or ""
    words = row.get("prompt") or ", ".join(str(one).rpartition("/")[2] for one in row.get("inputs") or ())
    files = [file.removeprefix(folder) for file in row.get("files") or ()]
    error = row.get("error_message") if status == "failed" else None
    said = [
        str(row.get("created_at", ""))[5:16].replace("T", " "),
        *([] if status == "completed" else [status]),
        *price,
        on_one_line(model, _MODEL_SHOWN),
        *([quoted(words, longest)] if words and longest else []),
        *([f"{quoted(error, 60)}"] if error else []),
        *([files[0] + (f" +{len(files) - 1}" if len(files) > 1 else "")] if files else []),
        *(["hosted"] if row.get("door") == "hosted" else []),
        str(row.get("id", "")),
    ]
    return on_one_line(" ".join(filter(None, said)), 1_000)


_MODEL_SHOWN = 40


def of_balance(told: Mapping[str, Any]) -> Fields:
    """What is left, and where today's credits went."""
    held = sum(one.get("held_back", 0) for one in told.get("spent_today_on") or ())
    return _said(
        credits=f"{amount(told['credits'])} ({told['mode']})",
        accounts=[
            f"{one['door']} {amount(one['credits']) if 'credits' in one else 'not known now'}"
            for one in told.get("accounts") or ()
        ],
        spent_today=amount(told["spent_today"])
        + (f", {amount(held)} of it held back for jobs that run" if held else ""),
        spent_today_on=[
            ("songs (engine not told)" if one["model"] == NEWEST else on_one_line(one["model"], _MODEL_SHOWN))
            + f" {amount(one.get('credits', 0))}"
            + (f" ({one['jobs']} jobs)" if one["jobs"] > 1 else "")
            for one in told.get("spent_today_on") or ()
        ],
        left_today=told["left_today"],
        ceilings=f"{amount(told['max_credits_per_call'])} a call, {amount(told['max_credits_per_day'])} a day",
        message=told.get("message"),
        purchase_url=told.get("purchase_url"),
        next_step=told.get("next_step"),
        notes=told.get("notes"),
    )


def _filled(fields: Mapping[str, Any]) -> Fields:
    return {name: value for name, value in fields.items() if value is not None}


def _said(**fields: Any) -> Fields:
    """Those of `fields` that say something."""
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}


def of_recipe(told: Mapping[str, Any]) -> Fields:
    """One recipe: what it asks for on a line each, then what it would send and what to do."""
    names = ("name", "description", "source", "overrides", "next_step", "missing", "price")
    arguments = [_asked_for(row) for row in told["arguments"]]
    calls = [_planned(row) for row in told.get("calls") or []]
    steps = None if calls else told["steps"]
    last = {"calls": calls, "steps": steps, "tools": None if told.get("text") else told["tools"]}
    return _said(**{name: told.get(name) for name in names}, arguments=arguments, **last, text=told.get("text"))


def _asked_for(row: Mapping[str, Any]) -> str:
    """`rows* (table: name*, idea*, ratio): CSV file …`; a star is for what is required."""
    kind = f"{row['type']} of {row['of']}" if row.get("of") else str(row["type"])
    columns = ", ".join(column["name"] + "*" * bool(column.get("required")) for column in row.get("columns") or [])
    facts = [f"{kind}: {columns}" if columns else "" if kind == "string" else kind]
    facts += [f"one of {', '.join(map(str, row['choices']))}"] if row.get("choices") else []
    low, high = row.get("minimum"), row.get("maximum")
    if high is not None:
        facts.append(f"at most {high:g}" if low is None else f"{low:g} to {high:g}")
    elif low is not None:
        facts.append(f"at least {low:g}")
    facts += [f"at most {row['max_length']} characters"] if row.get("max_length") else []
    facts += (
        [f"default {on_one_line(str(row['default']), PROMPT_SHOWN)}"] if row.get("default") not in (None, "") else []
    )
    told = "; ".join(filter(None, facts))
    return f"{row['name']}{'*' * bool(row.get('required'))}{f' ({told})' if told else ''}: {row['description']}"


def _planned(row: Mapping[str, Any]) -> str:
    """A call that would be made, with the words that would be sent."""
    price = "price unknown" if row.get("credits") is None else spoken(row["credits"])
    model = f", {row['model']}" if row.get("model") else ""
    return f"{row['step']} ({row['tool']}{model}, {price}): {quoted(row.get('prompt') or '', 240)}"


def of_views(told: Mapping[str, Any]) -> Fields:
    """Several files that were looked at: each in one line, in the order of the sheet."""
    views = [
        _said(
            file=view.get("path") or view.get("url") or view["output_id"],
            about=view.get("about"),
            note=view.get("note"),
        )
        for view in told["views"]
    ]
    return _said(preview=told.get("preview"), views=views, notes=told.get("notes"))
