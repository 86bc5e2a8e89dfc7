"""`plan`: from a sentence to a model, a price and the steps. Deterministic; asks no model and spends nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast

from kubeez_mcp_local.catalogue.ad_copy import AdCopyRequest, quote_ad_copy
from kubeez_mcp_local.catalogue.intent import Intent, read_intent
from kubeez_mcp_local.catalogue.job_quotes import quote_job
from kubeez_mcp_local.catalogue.naming import exactly_named, named_models
from kubeez_mcp_local.catalogue.pick import pick
from kubeez_mcp_local.catalogue.quotes import unknown_quote
from kubeez_mcp_local.catalogue.recommended import recommended
from kubeez_mcp_local.catalogue.steps import SKILLS, job_steps, making_steps, nothing_fits_steps
from kubeez_mcp_local.catalogue.wish import TASKS, Wish, does_task
from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.job_quotes import FileJob
    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.model import InputKind, Model
    from kubeez_mcp_local.catalogue.pick import Choice
    from kubeez_mcp_local.catalogue.quotes import Quote
    from kubeez_mcp_local.catalogue.wish import Candidate, Preference

LONGEST_INTENT = 4000
Basis = Literal["catalogue", "rate", "unknown"]
_FILE_JOB_MODELS = {
    "captions": "auto-caption",
    "separation": "mvsep-40",
    "dubbing": "sonilo-dubbing",
    "sound": "sonilo-text-to-sfx",
    "remove_background": "remove-background",
}

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

    recommended_model: str | None
    estimated_credits: float | None
    estimated_seconds: int | None
    requires_upload: bool
    suggested_aspect_ratio: str | None
    workflow_steps: tuple[str, ...]
    skills_to_fetch: tuple[str, ...]
    task: str
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
        return _making(understood, _named(intent, understood, listing), inputs, exactly_named(intent, listing.models))
    return _file_job(understood, listing, has_file=has_local_files or has_video_reference)


def _named(text: str, intent: Intent, listing: Listing) -> Listing:
    """The listing, narrowed to the models that the user names."""
    tasks = [task for task in TASKS if task.endswith("dialogue" if intent.job == "speech" else intent.job)]
    named = named_models(text, [model for model in listing.models if any(does_task(model, task) for task in tasks)])
    return replace(listing, models=named) if named else listing


def _inputs(intent: Intent, has_local_files: bool, has_video_reference: bool) -> tuple[InputKind, ...]:
    if intent.job not in ("image", "video"):
        return ()
    to_sound = intent.job == "video" and has_local_files and intent.own_sound
    a_picture = has_local_files and (intent.own_picture or not to_sound)
    files: list[InputKind] = ["image"] * max(intent.from_inputs, int(a_picture))
    files += ["video"] if intent.job == "video" and has_video_reference else []
    return (*files, "audio") if to_sound else tuple(files)


def _making(intent: Intent, listing: Listing, inputs: tuple[InputKind, ...], named: Model | None) -> Plan:
    seen = intent.job in ("image", "video")
    wish = Wish(
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
    choice = pick(listing, wish)
    notes = [] if intent.named else [_NOT_NAMED]
    if choice.chosen is None and inputs == ("video",):
        choice = pick(listing, replace(wish, inputs=("image", "video")))
        notes.append("A picture is needed beside the video.")
    if intent.seconds and intent.job in ("music", "speech"):
        notes.append(_NO_LENGTH[intent.job])
    best = recommended(choice, intent, named)
    ratio = choice.wish.aspect_ratio or _usual_ratio(best, choice.wish)
    return Plan(
        recommended_model=best.model.id if best else None,
        estimated_credits=best.quote.credits if best else None,
        estimated_seconds=best.quote.seconds if best else None,
        requires_upload=bool(choice.wish.inputs),
        suggested_aspect_ratio=ratio,
        workflow_steps=making_steps(best, choice.wish, ratio) if best else nothing_fits_steps(choice),
        skills_to_fetch=_skills(bool(choice.wish.inputs)),
        task=choice.wish.task,
        count=intent.count,
        price_basis=best.quote.basis if best else "unknown",
        reason=" ".join([_reason(choice, best), *notes]),
        alternatives=tuple(held.model.id for held in choice.ranked if held != best)[:5],
    )


def _reason(choice: Choice, best: Candidate | None) -> str:
    if best is None or best == choice.chosen:
        return choice.summary
    cheapest = choice.chosen.model.id if choice.chosen else ""
    return f"{best.model.id} is a good default for {choice.wish.task}; the first by the numbers is {cheapest}."


def _usual_ratio(best: Candidate | None, wish: Wish) -> str | None:
    """What goes with inputs keeps their shape where the model can; else video is wide and pictures are square."""
    if best is None or not best.model.ratios:
        return None
    if wish.inputs:
        return next((ratio for ratio in best.model.ratios if ratio.lower() in ("auto", "adaptive")), None)
    usual = "16:9" if best.model.type == "video" else "1:1"
    return usual if usual in best.model.ratios else best.model.ratios[0]


def _file_job(intent: Intent, listing: Listing, *, has_file: bool) -> Plan:
    needs_file = intent.job != "sound" or has_file
    onto_clip = intent.job == "sound" and has_file
    model_id = "sonilo-video-to-video-sfx" if onto_clip else _FILE_JOB_MODELS.get(intent.job)
    quote = _file_quote(intent, listing, model_id)
    return Plan(
        recommended_model=model_id,
        estimated_credits=quote.credits,
        estimated_seconds=quote.seconds,
        requires_upload=needs_file and intent.job != "trim",
        suggested_aspect_ratio=intent.ratio if intent.job == "ad_copy" else None,
        workflow_steps=job_steps(intent.job, model_id, intent.seconds),
        skills_to_fetch=() if intent.job == "trim" else _skills(needs_file),
        task=intent.job,
        count=intent.count,
        price_basis=quote.basis,
        reason=quote.note or "The job was named in the intent.",
    )


def _file_quote(intent: Intent, listing: Listing, model_id: str | None) -> Quote:
    if intent.job == "trim":
        return replace(unknown_quote(None, ""), credits=0.0, basis="catalogue", note="Trimming is local and free.")
    if intent.job == "ad_copy":
        return quote_ad_copy(listing, AdCopyRequest("-", variant_count=intent.count))
    job = cast("FileJob", intent.job)
    return quote_job(job, listing, model_id=model_id, seconds=intent.seconds, count=intent.count)


def _skills(with_files: bool) -> tuple[str, ...]:
    return tuple(name for name in SKILLS if with_files or name != "media-upload")
