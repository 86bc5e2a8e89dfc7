"""Which model fits what is needed: a calculation over the catalogue, with a reason for every model that fell out."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Literal, cast

from kubeez_mcp_local.catalogue import ids
from kubeez_mcp_local.catalogue.checks import one_of, parse_seconds, read_ratio, verify_number
from kubeez_mcp_local.catalogue.models import KINDS
from kubeez_mcp_local.catalogue.prices import Quote, flat_quote
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.operations import Described, by_model, media, operations
from kubeez_mcp_local.operations.media_check import (
    ARGUMENT,
    MediaRequest,
    check_media,
    sending_model,
    wanted_inputs,
)
from kubeez_mcp_local.operations.music import music_engines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.models import InputKind, Model
    from kubeez_mcp_local.operations import Operation
    from kubeez_mcp_local.planning.intent import Intent

Preference = Literal["price", "speed", "tier"]
_SHORT_NAMES = {"music": "text-to-music", "speech": "text-to-dialogue", "dialogue": "text-to-dialogue"}
MAX_COUNT = 1000


@cache
def tasks() -> dict[str, Operation]:
    """What can be picked for, and the operation that does it."""
    return {task: operation for operation in operations().values() for task in operation.tasks}


@dataclass(frozen=True)
class Needs:
    """What is wanted; everything but the task may be left open.

    Attributes:
        task: A generation type, or just `image`, `video`, `music`, `speech`; or a job on a file, such as `captions`.
        inputs: The kinds of the files that will be attached.
        duration: Length in seconds of what is made, or of the file that a job works on.
        sound: True: it must have sound; False: it must be silent.
        max_credits: Budget in credits for all `count` results together.
        prefer: `price`: cheapest first; `speed`: quickest first; `tier`: dearest first, price standing for quality.
        logo: Whether a logo is wanted; models made for logos rank behind the others otherwise.
    """

    task: str
    inputs: tuple[InputKind, ...] = ()
    aspect_ratio: str | None = None
    duration: int | str | None = None
    sound: bool | None = None
    resolution: str | None = None
    max_credits: float | None = None
    count: int = 1
    prefer: Preference = "price"
    logo: bool = False


@dataclass(frozen=True)
class Candidate:
    """A model held against what is needed.

    Attributes:
        request: The request that would be sent; `None` for audio jobs and where it would be refused.
        quote: The price of all results together.
        misses: What keeps it from fitting, in words that follow "it"; empty if it fits.
    """

    model: Model
    request: MediaRequest | None
    quote: Quote
    misses: tuple[str, ...] = ()


def settled_needs(needs: Needs) -> Needs:
    """The needs with their words in one spelling; an unknown task or a number out of range is refused."""
    task = needs.task.strip().lower().replace("_", "-")
    if task in ("image", "video"):
        task = f"{'image' if needs.inputs else 'text'}-to-{task}"
    task = _SHORT_NAMES.get(task, task)
    if task not in tasks():
        raise InvalidArgumentError(
            "task", f"{needs.task!r} is not one of image, video, music, speech, {', '.join(tasks())}."
        )
    kinds = tuple(cast("InputKind", one_of("inputs", kind, KINDS)) for kind in needs.inputs)
    verify_number("count", needs.count, 1, MAX_COUNT)
    verify_number("max_credits", needs.max_credits, 0, float("inf"))
    prefer = cast("Preference", one_of("prefer", needs.prefer, ("price", "speed", "tier")))
    ratio = read_ratio(needs.aspect_ratio) if needs.aspect_ratio and needs.aspect_ratio.strip() else None
    return replace(
        needs,
        task=task,
        inputs=kinds,
        aspect_ratio=None if ratio == "auto" else ratio,
        duration=parse_seconds(needs.duration),
        resolution=ids.wanted_tier(needs.resolution),
        prefer=prefer,
    )


def does_task(model: Model, task: str) -> bool:
    """Whether the model does this kind of work at all."""
    operation = by_model(model)
    if model.website_only or operation is None or operation is not tasks()[task]:
        return False
    return task in model.generation_types if task in media.TASKS else not model.id.lower().startswith("suno-")


def held_against(model: Model, listing: Listing, needs: Needs) -> Candidate | None:
    """The model as a candidate for settled needs; `None` where a sibling id stands for it."""
    if needs.task not in media.TASKS:
        return _job_held_against(tasks()[needs.task], model, listing, needs)
    draft = _request(model, needs)
    if sending_model(model, listing, draft).id != model.id:
        return None
    misses = [*_setting_misses(model, needs), *_input_misses(model, needs)]
    request: MediaRequest | None = None
    try:
        request = check_media(model, listing, draft)
    except InvalidArgumentError as error:
        if not misses:
            misses.append(_reason(error, model))
    fits = request is not None and not misses
    quote = media.price(model, request, count=needs.count) if request and fits else _usual_quote(model, listing, needs)
    misses.extend(_budget_misses(quote, needs))
    return Candidate(model, request, quote, tuple(dict.fromkeys(misses)))


def _job_held_against(operation: Operation, model: Model, listing: Listing, needs: Needs) -> Candidate:
    seconds = None if needs.duration is None else int(needs.duration)
    unfit = operation.unfit(model.id, needs.inputs, seconds)
    misses = [unfit] if unfit else []
    if not operation.files:
        misses += _setting_misses(model, replace(needs, sound=None))
    length = None if unfit or seconds is None else f"{seconds}s"
    quote = operation.quote(listing, Described(model.id, duration=length, video_seconds=seconds, count=needs.count))
    return Candidate(model, None, quote, (*misses, *_budget_misses(quote, needs)))


def _usual_quote(model: Model, listing: Listing, needs: Needs) -> Quote:
    """The price of what comes nearest to the needs, to compare misfits by."""
    likely = MediaRequest(
        "x",
        model.id,
        inputs=needs.inputs,
        duration=needs.duration if needs.duration in model.durations else None,
        resolution=needs.resolution if needs.resolution in model.resolutions else None,
    )
    try:
        request = check_media(model, listing, likely)
    except InvalidArgumentError:
        return flat_quote(model, count=needs.count)
    return media.price(model, request, count=needs.count)


def _request(model: Model, needs: Needs) -> MediaRequest:
    # 1K is what image models make when nothing is said, so saying it would only cast doubt on the price.
    unsaid = needs.resolution == "1K" and model.type == "image" and model.tier is None
    return MediaRequest(
        prompt="x",
        model=model.id,
        generation_type=needs.task,
        inputs=needs.inputs,
        aspect_ratio=needs.aspect_ratio,
        duration=needs.duration,
        resolution=None if unsaid else needs.resolution,
        sound=needs.sound,
    )


def _setting_misses(model: Model, needs: Needs) -> list[str]:
    misses = []
    if needs.aspect_ratio and needs.aspect_ratio not in (ratio.lower() for ratio in model.ratios):
        misses.append(f"does not offer {needs.aspect_ratio}" if model.ratios else "has no ratio control")
    if needs.duration and needs.duration != model.fixed_seconds:
        known = model.fixed_seconds is not None or bool(model.durations)
        if not known:
            misses.append("offers no choice of length")
        elif model.fixed_seconds is not None or needs.duration not in model.durations:
            misses.append(f"makes no clips of {needs.duration} s")
    if needs.resolution and not _has_resolution(model, needs.resolution):
        misses.append(f"has no {needs.resolution} on record")
    if needs.sound is True and model.sound not in ("included", "toggle"):
        misses.append("has no sound on record")
    if needs.sound is False and model.sound == "included":
        misses.append("always makes sound")
    return misses


def _has_resolution(model: Model, resolution: str) -> bool:
    if model.tier is not None or model.resolutions:
        return resolution == model.tier or resolution in model.resolutions
    return resolution == "1K" and model.type == "image"


def _input_misses(model: Model, needs: Needs) -> list[str]:
    misses = []
    for kind in KINDS:
        given, limit = needs.inputs.count(kind), model.limit(kind)
        if limit is not None and given > limit:
            misses.append(f"does not take {given} {kind}{'s' if given > 1 else ''}")
    if not needs.inputs and model.needs_input:
        misses.append(f"needs {wanted_inputs(model)}")
    return misses


def _reason(error: InvalidArgumentError, model: Model) -> str:
    if error.argument == ARGUMENT:
        return f"needs {wanted_inputs(model)}"
    return f"would refuse {error.argument} ({error.message.removeprefix(f'{error.argument}: ').rstrip('.')})"


def _budget_misses(quote: Quote, needs: Needs) -> tuple[str, ...]:
    if needs.max_credits is None:
        return ()
    if quote.credits is None:
        return ("has no known price",)
    return (f"costs more than {needs.max_credits:g} credits",) if quote.credits > needs.max_credits else ()


_UNKNOWN = float("inf")


@dataclass(frozen=True)
class Rejection:
    """One reason, in words that follow "it", and the models that it applies to."""

    reason: str
    models: tuple[str, ...]
    families: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """The answer to what is needed.

    Attributes:
        needs: The needs as they were understood.
        ranked: All fitting models, best first.
        rejected: Why the others of the same kind of work fell out, the commonest reason first.
        nearest: Where nothing fits, the model that misses least.
        summary: All of this in a sentence or two.
    """

    needs: Needs
    ranked: tuple[Candidate, ...]
    rejected: tuple[Rejection, ...]
    nearest: Candidate | None
    summary: str

    @property
    def chosen(self) -> Candidate | None:
        """The best fitting model; `None` if nothing fits."""
        return self.ranked[0] if self.ranked else None


def pick(listing: Listing, needs: Needs) -> Choice:
    """The models that fit `needs`, ranked, and why the others do not.

    A fitting model's request has passed `check_media`; its quote is for all results together. Models without a
    known price rank last, and do not fit a budget.

    Raises:
        InvalidArgumentError: The needs themselves are malformed; the message lists what is allowed.
    """
    needs = settled_needs(needs)
    working = [model for model in _in_standing_order(listing, needs.task) if does_task(model, needs.task)]
    held = [held for model in working if (held := held_against(model, listing, needs))]

    def order(candidate: Candidate) -> tuple[float, ...]:
        return candidate.model.only_logos and not needs.logo, *_ranks(candidate, needs.prefer)

    ranked = tuple(sorted((candidate for candidate in held if not candidate.misses), key=order))
    misfits = [candidate for candidate in held if candidate.misses]
    nearest = None
    if not ranked and misfits:
        nearest = min(misfits, key=lambda held: (len(held.misses), *_gaps(held, needs), *_ranks(held, "price")))
    rejected = _grouped(misfits)
    return Choice(needs, ranked, rejected, nearest, _summary(needs, ranked, rejected, nearest))


def _in_standing_order(listing: Listing, task: str) -> tuple[Model, ...]:
    """The order among equals: newest engine first for music, else by id."""
    if task == "text-to-music":
        return music_engines(listing)
    return tuple(sorted(listing.models, key=lambda model: model.id))


def _gaps(candidate: Candidate, needs: Needs) -> tuple[float, float]:
    """How far the lengths and resolutions on offer are from those that were wished for."""
    model = candidate.model
    lengths = [model.fixed_seconds] if model.fixed_seconds else list(model.durations)
    tiers = [tier for tier in (model.tier, *model.resolutions) if tier] or ["1K"]
    return (
        _gap(int(needs.duration) if needs.duration else None, lengths),
        _gap(_lines(needs.resolution) if needs.resolution else None, [_lines(tier) for tier in tiers]),
    )


def _gap(wished: float | None, offered: Iterable[float]) -> float:
    return 0 if wished is None else min((abs(one - wished) for one in offered), default=_UNKNOWN)


def _lines(tier: str) -> float:
    """The height of a picture of this tier, near enough to compare `1080p` and `4K`."""
    number = re.match(r"\d+(\.\d+)?", tier)
    size = float(number.group()) if number else 0.0
    return size * 540 if tier.upper().endswith("K") else size


def _ranks(candidate: Candidate, prefer: Preference) -> tuple[float, float]:
    price = _UNKNOWN if candidate.quote.credits is None else candidate.quote.credits
    seconds = candidate.model.seconds or _UNKNOWN
    if prefer == "tier":
        return price if price == _UNKNOWN else -price, seconds
    return (price, seconds) if prefer == "price" else (seconds, price)


def _grouped(misfits: Iterable[Candidate]) -> tuple[Rejection, ...]:
    by_reason: dict[str, list[Candidate]] = {}
    for candidate in misfits:
        for reason in candidate.misses:
            by_reason.setdefault(reason, []).append(candidate)
    rejections = [
        Rejection(
            reason,
            tuple(candidate.model.id for candidate in candidates),
            tuple(dict.fromkeys(candidate.model.family for candidate in candidates)),
        )
        for reason, candidates in by_reason.items()
    ]
    return tuple(sorted(rejections, key=lambda rejection: (-len(rejection.models), rejection.reason)))


def _summary(
    needs: Needs, ranked: tuple[Candidate, ...], rejected: tuple[Rejection, ...], nearest: Candidate | None
) -> str:
    fell_out = _fell_out(rejected)
    if ranked:
        others = len(ranked) - 1
        also = f" {others} other{'s' if others > 1 else ''} would do." if others else ""
        return f"{ranked[0].model.id} fits: {_price(ranked[0], needs.count)}.{also}{fell_out}"
    if nearest is None:
        return f"Nothing fits: no model in this catalogue does {needs.task}."
    misses = " and it ".join(nearest.misses)
    return (
        f"Nothing fits. The nearest is {nearest.model.id} ({_price(nearest, needs.count)}), but it {misses}.{fell_out}"
    )


def _price(candidate: Candidate, count: int) -> str:
    known = candidate.quote.credits
    together = f" for {count}" if count > 1 else ""
    return "price not known" if known is None else f"{known:g} credits{together}"


def _fell_out(rejected: tuple[Rejection, ...]) -> str:
    parts = [f"{rejection.reason} ({len(rejection.models)})" for rejection in rejected[:5]]
    return f" Why others fell out: {'; '.join(parts)}." if parts else ""


_USUAL: dict[str, tuple[str, ...]] = {
    "text-to-image": ("nano-banana-2", "nano-banana-2-2K", "nano-banana-2-4K", "seedream-v4-5"),
    "image-to-image": ("nano-banana-2", "nano-banana-edit", "nano-banana-2-2K", "nano-banana-2-4K"),
    "text-to-video": ("seedance-1-5-pro-720p-4s", "seedance-1-5-pro-720p-8s", "seedance-1-5-pro-720p-12s"),
    "image-to-video": ("seedance-1-5-pro-720p-4s", "seedance-1-5-pro-720p-8s", "seedance-1-5-pro-720p-12s"),
}
_LOGO = "Logo-maker"
_VIDEO_REFERENCE = "gemini-omni-video-hd"


def recommended(choice: Choice, intent: Intent, named: Model | None = None) -> Candidate | None:
    """The fitting candidate to recommend: the one that the user named if it fits; `None` if nothing fits."""
    by_name = next((held for held in choice.ranked if named and held.model.id == named.id), None)
    if choice.chosen is None or by_name or intent.prefer is not None:
        return by_name or choice.chosen
    if "video" in choice.needs.inputs:
        follows = (held for held in choice.ranked if held.model.id.startswith(_VIDEO_REFERENCE))
        return next(follows, choice.chosen)
    usual = _USUAL.get(choice.needs.task, ())
    if intent.logo and choice.needs.task == "text-to-image":
        usual = (_LOGO, *usual)
    elif intent.sound:
        usual = tuple(f"{name}-audio" for name in usual)
    by_id = {held.model.id.lower(): held for held in choice.ranked}
    return next((by_id[name.lower()] for name in usual if name.lower() in by_id), choice.chosen)
