"""`plan`: from a sentence to a model, a price and the steps. Deterministic; asks no model and spends nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from kubeez_mcp_local.catalogue.prices import unknown_quote
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.operations import Described, Operation, operations, sound
from kubeez_mcp_local.operations.media import MAX_VARIANTS
from kubeez_mcp_local.planning.intent import Intent, exactly_named, named_models, read_intent
from kubeez_mcp_local.planning.pick import Needs, does_task, pick, recommended, tasks

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.models import InputKind, Model
    from kubeez_mcp_local.catalogue.prices import Basis
    from kubeez_mcp_local.planning.pick import Candidate, Choice, Preference

_SKILLS = ("model-selection", "billing-confirmation", "media-upload", "polling")
_WAIT = "wait_for_generation(id): the finished files are saved and their paths returned."
_CONFIRM = "Tell the user the price and wait for a yes."


def generation_steps(best: Candidate, needs: Needs, ratio: str | None) -> tuple[str, ...]:
    """Steps to make `needs.count` results with the model of `best`."""
    operation = tasks()[needs.task]
    variants = needs.count if 1 < needs.count <= MAX_VARIANTS and operation.core else None
    arguments = _arguments(operation, best, needs, ratio, variants)
    steps = [
        f"estimate({_listed([('model', best.model.id), *_sizing(best), ('variant_count', variants)])}): the price.",
        _CONFIRM,
        f"{operation.name}({arguments}){_repeated(operation, needs.count, variants)}.",
        _WAIT,
    ]
    if needs.inputs:
        files = " and then the ".join(needs.inputs)
        steps.insert(0, f"Ask for the {files} if it is not there yet: a local path or an https URL.")
    if needs.task.endswith("image"):
        steps.append("view_media(output_id): look at the result before offering changes.")
    return tuple(steps)


def nothing_fits_steps(choice: Choice) -> tuple[str, ...]:
    """What to do when no model does what is wanted."""
    steps = [f"Tell the user: {choice.summary}"]
    nearest, wanted = choice.nearest, choice.needs.duration
    if nearest and wanted:
        longest = nearest.model.fixed_seconds or max(nearest.model.durations, default=0)
        if 0 < longest < int(wanted):
            steps.append("Offer several shorter clips; each can begin with the last frame of the one before.")
    return tuple(steps)


def _job_steps(operation: Operation, model_id: str | None, seconds: int | None, *, has_file: bool) -> tuple[str, ...]:
    """Steps for a job on one file, or for a sound; `seconds` is its length where that is known."""
    if not has_file:
        arguments = _listed([("model", model_id), ("duration", seconds)])
        return (f"estimate({arguments}): the price.", _CONFIRM, f"{operation.name}(prompt, {arguments}).", _WAIT)
    steps = [f"Ask for the file if it is not there yet: a local path or an https URL ({operation.names})."]
    if model_id:
        kind = next(iter(operation.files.values()))[0]
        sized = f", reference_{kind}_seconds={seconds or '…'}" if operation.by_length else ""
        steps.append(f"estimate(model={model_id!r}{sized}): the price.")
    chosen = f"model={model_id!r}, " if "model" in operation.route.fields else ""
    return (*steps, _CONFIRM, f"{operation.name}({chosen}{operation.names}).", _WAIT)


def _sizing(best: Candidate) -> list[tuple[str, object]]:
    """What moves the price."""
    names = ("generation_type", "duration", "resolution", "sound")
    return [(name, getattr(best.request, name)) for name in names] if best.request else []


def _arguments(operation: Operation, best: Candidate, needs: Needs, ratio: str | None, variants: int | None) -> str:
    if not operation.core:
        return operation.names
    named = _listed([("model", best.model.id), *_sizing(best), ("aspect_ratio", ratio), ("variant_count", variants)])
    urls = f", source_media_urls=[{', '.join(needs.inputs)}]" if needs.inputs else ""
    return f"{operation.names}, {named}{urls}"


def _listed(named: list[tuple[str, object]]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in named if value is not None)


def _repeated(operation: Operation, count: int, variants: int | None) -> str:
    """The same call twice is one job, so that whoever wants more has to change something."""
    if count == 1 or variants:
        return ""
    if operation.core:
        return f", {count} in all: variant_count up to {MAX_VARIANTS} a call, each call with another seed"
    return f", {count} times, each with words of its own"


LONGEST_INTENT = 4000
_NOT_NAMED = (
    "The intent names no kind of work that is known here, so a picture is assumed. If that is wrong, call plan again "
    "and name it in English: image, video, music, speech, sound, captions, dubbing …"
)
_NO_LENGTH = {
    "music": "The music engines choose the length; generate_sound with sonilo-text-to-music takes one (instrumental).",
    "speech": "The length follows from the text.",
}


@dataclass(frozen=True)
class Plan:
    """What to do about an intent; field names as the hosted server has them, ours behind.

    Attributes:
        recommended_model: The id to use; `None` if nothing fits.
        estimated_credits: For all results together; `None` if not known, `price_basis` says why.
        estimated_seconds: Usual processing time of one result.
        requires_upload: Whether a file of the user goes in. Local paths are uploaded when they are used.
        task: What the intent was taken for.
        count: How many results.
        reason: Why this model, or why none.
        alternatives: Other fitting ids.
    """

    task: str
    workflow_steps: tuple[str, ...]
    skills_to_fetch: tuple[str, ...] = ()
    recommended_model: str | None = None
    estimated_credits: float | None = None
    estimated_seconds: int | None = None
    requires_upload: bool = False
    suggested_aspect_ratio: str | None = None
    count: int = 1
    price_basis: Basis = "unknown"
    reason: str = ""
    alternatives: tuple[str, ...] = ()


def plan(intent: str, listing: Listing, *, has_local_files: bool = False, has_video_reference: bool = False) -> Plan:
    """A plan for `intent`.

    Args:
        has_local_files: The user has pictures or sounds that should go in.
        has_video_reference: The user has a video that should be changed or followed.

    Raises:
        InvalidArgumentError: The intent is empty or longer than 4,000 characters.
    """
    if not intent.strip():
        raise InvalidArgumentError("intent", "is empty.", next_step="Say in a sentence what should be made.")
    if len(intent) > LONGEST_INTENT:
        raise InvalidArgumentError("intent", f"has {len(intent)} characters; at most {LONGEST_INTENT} are allowed.")
    understood = read_intent(intent)
    if understood.job == "image" and has_video_reference:
        understood = replace(understood, job="video", named=True)
    if understood.job in ("image", "video", "music", "speech"):
        inputs = _inputs(understood, has_local_files, has_video_reference)
        return _generation_plan(
            understood, _named(intent, understood, listing), inputs, exactly_named(intent, listing.models)
        )
    if understood.job == "trim":
        return replace(_TRIM, count=understood.count)
    return _file_job(understood, listing, has_file=has_local_files or has_video_reference)


def _named(text: str, intent: Intent, listing: Listing) -> Listing:
    """The listing, narrowed to the models that the user names."""
    wanted = [task for task in tasks() if task.endswith("dialogue" if intent.job == "speech" else intent.job)]
    named = named_models(text, [model for model in listing.models if any(does_task(model, task) for task in wanted)])
    return replace(listing, models=named) if named else listing


def _inputs(intent: Intent, has_local_files: bool, has_video_reference: bool) -> tuple[InputKind, ...]:
    if intent.job not in ("image", "video"):
        return ()
    to_sound = intent.job == "video" and has_local_files and intent.own_sound
    a_picture = has_local_files and (intent.own_picture or not to_sound)
    files: list[InputKind] = ["image"] * max(intent.from_inputs, int(a_picture))
    files += ["video"] if intent.job == "video" and has_video_reference else []
    return (*files, "audio") if to_sound else tuple(files)


def _generation_plan(intent: Intent, listing: Listing, inputs: tuple[InputKind, ...], named: Model | None) -> Plan:
    seen = intent.job in ("image", "video")
    needs = Needs(
        task=intent.job,
        inputs=inputs,
        aspect_ratio=intent.ratio if seen else None,
        duration=intent.seconds if intent.job == "video" else None,
        sound=intent.sound if intent.job == "video" else None,
        resolution=intent.resolution if seen else None,
        max_credits=intent.max_credits,
        count=intent.count,
        prefer=cast("Preference", intent.prefer or "price"),
        logo=intent.logo,
    )
    choice = pick(listing, needs)
    notes = [] if intent.named else [_NOT_NAMED]
    if choice.chosen is None and inputs == ("video",):
        choice = pick(listing, replace(needs, inputs=("image", "video")))
        notes.append("A picture is needed beside the video.")
    if intent.seconds and intent.job in ("music", "speech"):
        notes.append(_NO_LENGTH[intent.job])
    best = recommended(choice, intent, named)
    ratio = choice.needs.aspect_ratio or _usual_ratio(best, choice.needs)
    return Plan(
        recommended_model=best.model.id if best else None,
        estimated_credits=best.quote.credits if best else None,
        estimated_seconds=best.quote.seconds if best else None,
        requires_upload=bool(choice.needs.inputs),
        suggested_aspect_ratio=ratio,
        workflow_steps=generation_steps(best, choice.needs, ratio) if best else nothing_fits_steps(choice),
        skills_to_fetch=_skills(bool(choice.needs.inputs)),
        task=choice.needs.task,
        count=intent.count,
        price_basis=best.quote.basis if best else "unknown",
        reason=" ".join([_reason(choice, best), *notes]),
        alternatives=tuple(held.model.id for held in choice.ranked if held != best)[:5],
    )


def _reason(choice: Choice, best: Candidate | None) -> str:
    if best is None or best == choice.chosen:
        return choice.summary
    cheapest = choice.chosen.model.id if choice.chosen else ""
    return f"{best.model.id} is a good default for {choice.needs.task}; the first by the numbers is {cheapest}."


def _usual_ratio(best: Candidate | None, needs: Needs) -> str | None:
    """What goes with inputs keeps their shape where the model can; else video is wide and pictures are square."""
    if best is None or not best.model.ratios:
        return None
    if needs.inputs:
        return next((ratio for ratio in best.model.ratios if ratio.lower() in ("auto", "adaptive")), None)
    usual = "16:9" if best.model.type == "video" else "1:1"
    return usual if usual in best.model.ratios else best.model.ratios[0]


def _file_job(intent: Intent, listing: Listing, *, has_file: bool) -> Plan:
    operation = next(each for each in operations().values() if each.job == intent.job)
    needs_file = intent.job != "sound" or has_file
    model_id = sound.ONTO_CLIP if intent.job == "sound" and has_file else operation.model
    length = None if needs_file or intent.seconds is None else f"{intent.seconds}s"
    try:
        quote = operation.quote(
            listing, Described(model_id, duration=length, video_seconds=intent.seconds, count=intent.count)
        )
    except InvalidArgumentError as error:
        quote = unknown_quote(None, error.message)
    # Only a model that the tool takes can be recommended.
    recommended_id = model_id if intent.job != "ad_copy" else None
    return Plan(
        recommended_model=recommended_id,
        estimated_credits=quote.credits,
        estimated_seconds=quote.seconds,
        requires_upload=needs_file,
        suggested_aspect_ratio=intent.ratio if "aspect_ratio" in operation.route.fields else None,
        workflow_steps=_job_steps(operation, recommended_id, intent.seconds, has_file=needs_file),
        skills_to_fetch=_skills(needs_file),
        task=intent.job,
        count=intent.count,
        price_basis=quote.basis,
        reason=quote.note or "The job was named in the intent.",
    )


_TRIM = Plan(
    task="trim",
    workflow_steps=(
        "Ask which part to keep.",
        "trim_video(source_url, start_s, end_s): cut on this machine, no credits.",
    ),
    estimated_credits=0.0,
    price_basis="catalogue",
    reason="Trimming is local and free.",
)


def _skills(with_files: bool) -> tuple[str, ...]:
    return tuple(name for name in _SKILLS if with_files or name != "media-upload")
