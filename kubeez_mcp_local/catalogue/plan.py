"""`plan`: from a sentence to a model, a price and the steps. Deterministic; asks no model and spends nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast

from kubeez_mcp_local.catalogue.ad_copy import AdCopyRequest, quote_ad_copy
from kubeez_mcp_local.catalogue.intent import Intent, read_intent
from kubeez_mcp_local.catalogue.job_quotes import quote_job
from kubeez_mcp_local.catalogue.pick import pick
from kubeez_mcp_local.catalogue.quotes import unknown_quote
from kubeez_mcp_local.catalogue.recommended import recommended
from kubeez_mcp_local.catalogue.steps import SKILLS, job_steps, making_steps
from kubeez_mcp_local.catalogue.wish import Wish
from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.job_quotes import FileJob
    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.model import InputKind
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
    if understood.job in ("image", "video", "music", "speech"):
        inputs = _inputs(understood, has_local_files, has_video_reference)
        return _making(understood, listing, inputs)
    return _file_job(understood, listing, has_file=has_local_files or has_video_reference)


def _inputs(intent: Intent, has_local_files: bool, has_video_reference: bool) -> tuple[InputKind, ...]:
    if intent.job not in ("image", "video"):
        return ()
    if intent.job == "video" and has_video_reference:
        # The models that follow a video need a picture too, as far as the recorded rows go.
        return ("image", "video") if has_local_files or intent.from_input else ("video",)
    return ("image",) if has_local_files or intent.from_input else ()


def _making(intent: Intent, listing: Listing, inputs: tuple[InputKind, ...]) -> Plan:
    wish = Wish(
        task=intent.job,
        inputs=inputs,
        aspect_ratio=intent.ratio if intent.job in ("image", "video") else None,
        duration=intent.seconds,
        sound=intent.sound,
        resolution=intent.resolution if intent.job in ("image", "video") else None,
        max_credits=intent.max_credits,
        count=intent.count,
        prefer=cast("Preference", intent.prefer or "price"),
    )
    choice = pick(listing, wish)
    relaxed = ""
    if choice.chosen is None and inputs == ("video",):
        choice, relaxed = (
            pick(listing, replace(wish, inputs=("image", "video"))),
            " A picture is needed beside the video.",
        )
    best = recommended(choice, intent)
    task = choice.wish.task
    ratio = choice.wish.aspect_ratio
    steps = making_steps(task, best, choice.wish, ratio) if best else (f"Tell the user: {choice.summary}",)
    return Plan(
        recommended_model=best.model.id if best else None,
        estimated_credits=best.quote.credits if best else None,
        estimated_seconds=best.quote.seconds if best else None,
        requires_upload=bool(choice.wish.inputs),
        suggested_aspect_ratio=ratio or _default_ratio(best),
        workflow_steps=steps,
        skills_to_fetch=_skills(bool(choice.wish.inputs)),
        task=task,
        count=intent.count,
        price_basis=best.quote.basis if best else "unknown",
        reason=_reason(choice, best) + relaxed,
        alternatives=tuple(held.model.id for held in choice.ranked if held != best)[:5],
    )


def _reason(choice: Choice, best: Candidate | None) -> str:
    if best is None or best == choice.chosen:
        return choice.summary
    cheapest = choice.chosen.model.id if choice.chosen else ""
    return f"{best.model.id} is a good default for {choice.wish.task}; the first by the numbers is {cheapest}."


def _default_ratio(best: Candidate | None) -> str | None:
    if best is None or not best.model.ratios:
        return None
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
        workflow_steps=job_steps(intent.job, model_id),
        skills_to_fetch=_skills(needs_file),
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
    # A sound made from text has a length of its own choosing; every other job has that of its file.
    seconds = intent.seconds if intent.job == "sound" and model_id == _FILE_JOB_MODELS["sound"] else None
    return quote_job(cast("FileJob", intent.job), listing, model_id=model_id, seconds=seconds, count=intent.count)


def _skills(with_files: bool) -> tuple[str, ...]:
    return tuple(name for name in SKILLS if with_files or name != "media-upload")
