"""Which model fits a wish: a calculation over the catalogue, with a reason for every model that fell out."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Literal, cast

from kubeez_mcp_local.catalogue import ids
from kubeez_mcp_local.catalogue.checks import one_of, parse_seconds, read_ratio, verify_number
from kubeez_mcp_local.catalogue.prices import Quote, flat_quote
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.operations import Described, by_model, media, operations
from kubeez_mcp_local.operations.media_check import (
    ARGUMENT,
    KINDS,
    MediaRequest,
    check_media,
    sending_model,
    wanted_inputs,
)
from kubeez_mcp_local.operations.music import music_engines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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
class Wish:
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
    prompt: str = "x"
    provider: str | None = None
    max_credits: float | None = None
    count: int = 1
    prefer: Preference = "price"
    logo: bool = False


@dataclass(frozen=True)
class Candidate:
    """A model held against a wish.

    Attributes:
        request: The request that would be sent; `None` for audio jobs and where it would be refused.
        quote: The price of all results together.
        misses: What keeps it from fitting, in words that follow "it"; empty if it fits.
    """

    model: Model
    request: MediaRequest | None
    quote: Quote
    misses: tuple[str, ...] = ()


def settled_wish(wish: Wish) -> Wish:
    """The wish with its words in one spelling.

    Raises:
        InvalidArgumentError: The task does not exist, or a number is out of range.
    """
    task = wish.task.strip().lower().replace("_", "-")
    if task in ("image", "video"):
        task = f"{'image' if wish.inputs else 'text'}-to-{task}"
    task = _SHORT_NAMES.get(task, task)
    if task not in tasks():
        raise InvalidArgumentError(
            "task", f"{wish.task!r} is not one of image, video, music, speech, {', '.join(tasks())}."
        )
    kinds = tuple(cast("InputKind", one_of("inputs", kind, KINDS)) for kind in wish.inputs)
    verify_number("count", wish.count, 1, MAX_COUNT)
    verify_number("max_credits", wish.max_credits, 0, float("inf"))
    if wish.prefer not in ("price", "speed", "tier"):
        raise InvalidArgumentError("prefer", f"{wish.prefer!r} is not one of price, speed, tier.")
    ratio = read_ratio(wish.aspect_ratio) if wish.aspect_ratio and wish.aspect_ratio.strip() else None
    return replace(
        wish,
        task=task,
        inputs=kinds,
        aspect_ratio=None if ratio == "auto" else ratio,
        duration=parse_seconds(wish.duration),
        resolution=_tier(wish.resolution),
        prompt=wish.prompt if wish.prompt.strip() else "x",
    )


def _tier(resolution: str | None) -> str | None:
    if resolution is None or not resolution.strip():
        return None
    return "1K" if resolution.strip().lower() == "standard" else ids.spell_tier(resolution)


def does_task(model: Model, task: str) -> bool:
    """Whether the model does this kind of work at all."""
    operation = by_model(model)
    if model.website_only or operation is None or operation is not tasks()[task]:
        return False
    return task in model.generation_types if task in media.TASKS else not model.id.lower().startswith("suno-")


def held_against(model: Model, listing: Listing, wish: Wish) -> Candidate | None:
    """The model as a candidate for a settled wish; `None` where a sibling id stands for it."""
    if wish.task not in media.TASKS:
        return _job_held_against(tasks()[wish.task], model, listing, wish)
    draft = _request(model, wish)
    if sending_model(model, listing, draft).id != model.id:
        return None
    misses = [*_setting_misses(model, wish), *_input_misses(model, wish)]
    request: MediaRequest | None = None
    try:
        request = check_media(model, listing, draft)
    except InvalidArgumentError as error:
        if not misses:
            misses.append(_reason(error, model))
    fits = request is not None and not misses
    quote = media.price(model, request, count=wish.count) if request and fits else _usual_quote(model, listing, wish)
    misses.extend(_budget_misses(quote, wish))
    return Candidate(model, request, quote, tuple(dict.fromkeys(misses)))


def _job_held_against(operation: Operation, model: Model, listing: Listing, wish: Wish) -> Candidate:
    seconds = None if wish.duration is None else int(wish.duration)
    unfit = operation.unfit(model.id, wish.inputs, seconds)
    misses = [unfit] if unfit else []
    if not operation.files:
        misses += _setting_misses(model, replace(wish, sound=None))
    length = None if unfit or seconds is None else f"{seconds}s"
    quote = operation.quote(listing, Described(model.id, duration=length, video_seconds=seconds, count=wish.count))
    return Candidate(model, None, quote, (*misses, *_budget_misses(quote, wish)))


def _usual_quote(model: Model, listing: Listing, wish: Wish) -> Quote:
    """The price of what comes nearest to the wish, to compare misfits by."""
    likely = MediaRequest(
        "x",
        model.id,
        inputs=wish.inputs,
        duration=wish.duration if wish.duration in model.durations else None,
        resolution=wish.resolution if wish.resolution in model.resolutions else None,
    )
    try:
        request = check_media(model, listing, likely)
    except InvalidArgumentError:
        return flat_quote(model, count=wish.count)
    return media.price(model, request, count=wish.count)


def _request(model: Model, wish: Wish) -> MediaRequest:
    # 1K is what image models make when nothing is said, so saying it would only cast doubt on the price.
    unsaid = wish.resolution == "1K" and model.type == "image" and model.tier is None
    return MediaRequest(
        prompt=wish.prompt,
        model=model.id,
        generation_type=wish.task,
        inputs=wish.inputs,
        aspect_ratio=wish.aspect_ratio,
        duration=wish.duration,
        resolution=None if unsaid else wish.resolution,
        sound=wish.sound,
    )


def _setting_misses(model: Model, wish: Wish) -> list[str]:
    misses = []
    if wish.provider and wish.provider.strip().lower() not in model.provider.lower():
        misses.append(f"is not from {wish.provider.strip()}")
    if model.prompt_max is not None and len(wish.prompt) > model.prompt_max:
        misses.append(f"takes no prompt of {len(wish.prompt)} characters")
    if wish.aspect_ratio and wish.aspect_ratio not in (ratio.lower() for ratio in model.ratios):
        misses.append(f"does not offer {wish.aspect_ratio}" if model.ratios else "has no ratio control")
    if wish.duration and wish.duration != model.fixed_seconds:
        known = model.fixed_seconds is not None or bool(model.durations)
        if not known:
            misses.append("offers no choice of length")
        elif model.fixed_seconds is not None or wish.duration not in model.durations:
            misses.append(f"makes no clips of {wish.duration} s")
    if wish.resolution and not _has_resolution(model, wish.resolution):
        misses.append(f"has no {wish.resolution} on record")
    if wish.sound is True and model.sound not in ("included", "toggle"):
        misses.append("has no sound on record")
    if wish.sound is False and model.sound == "included":
        misses.append("always makes sound")
    return misses


def _has_resolution(model: Model, resolution: str) -> bool:
    if model.tier is not None or model.resolutions:
        return resolution == model.tier or resolution in model.resolutions
    return resolution == "1K" and model.type == "image"


def _input_misses(model: Model, wish: Wish) -> list[str]:
    misses = []
    for kind in KINDS:
        given, limit = wish.inputs.count(kind), model.limit(kind)
        if limit is not None and given > limit:
            misses.append(f"does not take {given} {kind}{'s' if given > 1 else ''}")
    if not wish.inputs and model.needs_input:
        misses.append(f"needs {wanted_inputs(model)}")
    return misses


def _reason(error: InvalidArgumentError, model: Model) -> str:
    if error.argument == ARGUMENT:
        return f"needs {wanted_inputs(model)}"
    return f"would refuse {error.argument} ({error.message.removeprefix(f'{error.argument}: ').rstrip('.')})"


def _budget_misses(quote: Quote, wish: Wish) -> tuple[str, ...]:
    if wish.max_credits is None:
        return ()
    if quote.credits is None:
        return ("has no known price",)
    return (f"costs more than {wish.max_credits:g} credits",) if quote.credits > wish.max_credits else ()


_UNKNOWN = float("inf")


@dataclass(frozen=True)
class Rejection:
    """One reason, in words that follow "it", and the models that it applies to."""

    reason: str
    models: tuple[str, ...]
    families: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """The answer to a wish.

    Attributes:
        wish: The wish as it was understood.
        chosen: The best fitting model; `None` if nothing fits.
        ranked: All fitting models, best first.
        rejected: Why the others of the same kind of work fell out, the commonest reason first.
        nearest: Where nothing fits, the model that misses least.
        summary: All of this in a sentence or two.
    """

    wish: Wish
    chosen: Candidate | None
    ranked: tuple[Candidate, ...]
    rejected: tuple[Rejection, ...]
    nearest: Candidate | None
    summary: str


def pick(listing: Listing, wish: Wish) -> Choice:
    """The models that fit `wish`, ranked, and why the others do not.

    A fitting model's request has passed `check_media`; its quote is for all results together. Models without a
    known price rank last, and do not fit a budget.

    Raises:
        InvalidArgumentError: The wish itself is malformed; the message lists what is allowed.
    """
    wish = settled_wish(wish)
    working = [model for model in _in_standing_order(listing, wish.task) if does_task(model, wish.task)]
    held = [held for model in working if (held := held_against(model, listing, wish))]
    order = _order(wish)
    ranked = tuple(sorted((candidate for candidate in held if not candidate.misses), key=order))
    misfits = [candidate for candidate in held if candidate.misses]
    nearest = None
    if not ranked and misfits:
        nearest = min(misfits, key=lambda held: (len(held.misses), *_gaps(held, wish), *_by_price(held)))
    rejected = _grouped(misfits)
    chosen = ranked[0] if ranked else None
    return Choice(wish, chosen, ranked, rejected, nearest, _summary(wish, ranked, rejected, nearest))


def _in_standing_order(listing: Listing, task: str) -> tuple[Model, ...]:
    """The order among equals: newest engine first for music, else by id."""
    if task == "text-to-music":
        return music_engines(listing)
    return tuple(sorted(listing.models, key=lambda model: model.id))


def _gaps(candidate: Candidate, wish: Wish) -> tuple[float, float]:
    """How far the lengths and resolutions on offer are from those that were wished for."""
    model = candidate.model
    lengths = [model.fixed_seconds] if model.fixed_seconds else list(model.durations)
    tiers = [tier for tier in (model.tier, *model.resolutions) if tier] or ["1K"]
    return (
        _gap(int(wish.duration) if wish.duration else None, lengths),
        _gap(_lines(wish.resolution) if wish.resolution else None, [_lines(tier) for tier in tiers]),
    )


def _gap(wished: float | None, offered: Iterable[float]) -> float:
    return 0 if wished is None else min((abs(one - wished) for one in offered), default=_UNKNOWN)


def _lines(tier: str) -> float:
    """The height of a picture of this tier, near enough to compare `1080p` and `4K`."""
    number = re.match(r"\d+(\.\d+)?", tier)
    size = float(number.group()) if number else 0.0
    return size * 540 if tier.upper().endswith("K") else size


def _by_price(candidate: Candidate) -> tuple[float, float]:
    return _credits(candidate), candidate.model.seconds or _UNKNOWN


def _order(wish: Wish) -> Callable[[Candidate], tuple[float, ...]]:
    def by_speed(candidate: Candidate) -> tuple[float, float]:
        return candidate.model.seconds or _UNKNOWN, _credits(candidate)

    def by_tier(candidate: Candidate) -> tuple[float, float]:
        known = candidate.quote.credits
        return _UNKNOWN if known is None else -known, candidate.model.seconds or _UNKNOWN

    preferred = {"price": _by_price, "speed": by_speed, "tier": by_tier}[wish.prefer]
    return lambda candidate: (candidate.model.only_logos and not wish.logo, *preferred(candidate))


def _credits(candidate: Candidate) -> float:
    return _UNKNOWN if candidate.quote.credits is None else candidate.quote.credits


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
    wish: Wish, ranked: tuple[Candidate, ...], rejected: tuple[Rejection, ...], nearest: Candidate | None
) -> str:
    fell_out = _fell_out(rejected)
    if ranked:
        best = ranked[0]
        others = len(ranked) - 1
        also = f" {others} other{'s' if others > 1 else ''} would do." if others else ""
        return f"{best.model.id} fits: {_price(best, wish.count)}.{also}{fell_out}"
    if nearest is None:
        return f"Nothing fits: no model in this catalogue does {wish.task}."
    misses = " and it ".join(nearest.misses)
    return (
        f"Nothing fits. The nearest is {nearest.model.id} ({_price(nearest, wish.count)}), but it {misses}.{fell_out}"
    )


def _price(candidate: Candidate, count: int) -> str:
    known = candidate.quote.credits
    together = f" for {count}" if count > 1 else ""
    return "price not known" if known is None else f"{known:g} credits{together}"


def _fell_out(rejected: tuple[Rejection, ...]) -> str:
    if not rejected:
        return ""
    counts = Counter({rejection.reason: len(rejection.models) for rejection in rejected})
    parts = [f"{reason} ({number})" for reason, number in counts.most_common(5)]
    return f" Why others fell out: {'; '.join(parts)}."


_USUAL: dict[str, tuple[str, ...]] = {
    "text-to-image": ("nano-banana-2", "nano-banana-2-2K", "nano-banana-2-4K", "seedream-v4-5"),
    "image-to-image": ("nano-banana-2", "nano-banana-edit", "nano-banana-2-2K", "nano-banana-2-4K"),
    "text-to-video": ("seedance-1-5-pro-720p-4s", "seedance-1-5-pro-720p-8s", "seedance-1-5-pro-720p-12s"),
    "image-to-video": ("seedance-1-5-pro-720p-4s", "seedance-1-5-pro-720p-8s", "seedance-1-5-pro-720p-12s"),
}
_LOGO = ("Logo-maker",)
_VIDEO_REFERENCE = "gemini-omni-video-hd"


def recommended(choice: Choice, intent: Intent, named: Model | None = None) -> Candidate | None:
    """The fitting candidate to recommend: the one that the user named if it fits; `None` if nothing fits."""
    by_name = next((held for held in choice.ranked if named and held.model.id == named.id), None)
    if choice.chosen is None or by_name or intent.prefer is not None:
        return by_name or choice.chosen
    if "video" in choice.wish.inputs:
        follows = (held for held in choice.ranked if held.model.id.startswith(_VIDEO_REFERENCE))
        return next(follows, choice.chosen)
    usual = _usual(choice.wish.task, intent)
    by_id = {held.model.id.lower(): held for held in choice.ranked}
    return next((by_id[name.lower()] for name in usual if name.lower() in by_id), choice.chosen)


def _usual(task: str, intent: Intent) -> tuple[str, ...]:
    plain = _USUAL.get(task, ())
    if intent.logo and task == "text-to-image":
        return (*_LOGO, *plain)
    return tuple(f"{name}-audio" for name in plain) if intent.sound else plain
