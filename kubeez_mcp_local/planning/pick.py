"""Which model fits what is needed: a calculation over the catalogue, with a reason for every model that fell out."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast

from kubeez_mcp_local.catalogue import ids
from kubeez_mcp_local.catalogue.checks import one_of, parse_seconds, read_ratio, verify_number
from kubeez_mcp_local.catalogue.models import KINDS
from kubeez_mcp_local.catalogue.prices import Quote, flat_quote
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.operations import Described, Wish, media, sound
from kubeez_mcp_local.operations.media_check import (
    ARGUMENT,
    MediaRequest,
    check_media,
    sending_model,
    wanted_inputs,
)
from kubeez_mcp_local.operations.music import music_engines
from kubeez_mcp_local.planning.intent import TRIM, does_task, known_tasks, tasks

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.models import InputKind, Model
    from kubeez_mcp_local.operations import Operation

Preference = Literal["price", "speed", "tier"]
MAX_COUNT = 1000
LONGEST_SECONDS = 3600
"""Of a wish; what is longer has to be planned in parts."""


@dataclass(frozen=True)
class Needs:
    """What is wanted; everything but the task may be left open.

    Attributes:
        task: Any name of a kind of work (see `tasks_named`); once settled, the one of `tasks`.
        inputs: The kinds of the files that will be attached.
        duration: Length in seconds of what is made, or of the file that a job works on.
        sound: True: it must have sound; False: it must be silent.
        max_credits: Budget in credits for all `count` results together.
        prefer: `price`: cheapest first; `speed`: quickest first; `tier`: dearest first, price standing for quality.
        languages: Codes of the languages to dub into.
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
    languages: tuple[str, ...] = ()

    @property
    def seconds(self) -> int | None:
        """The length of settled needs."""
        return None if self.duration is None else int(self.duration)


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


def settled_needs(needs: Needs, listing: Listing) -> Needs:
    """The needs with their words in one spelling; an unknown task or a number out of range is refused."""
    named = known_tasks("task", needs.task, listing)
    from_text = [task for task in named if task.startswith("text-to-") != bool(needs.inputs)]
    task = (from_text if len(from_text) == 1 else named)[0]
    if task == TRIM:
        raise InvalidArgumentError("task", f"{TRIM} needs no model.", next_step="Call trim_video; it is free.")
    if len(named) > 1 and len(from_text) != 1:
        raise InvalidArgumentError(
            "task", f"{needs.task!r} may be {' or '.join(named)}.", next_step="Name one of them."
        )
    # The name of such work says that a picture goes in.
    inputs = needs.inputs or (("image",) if task.startswith("image-to-") else ())
    kinds = tuple(cast("InputKind", one_of("inputs", kind, KINDS)) for kind in inputs)
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


def held_against(model: Model, listing: Listing, needs: Needs, *, misfits: bool = True) -> Candidate | None:
    """The model as a candidate for settled needs; `None` where a sibling id stands for it.

    Without `misfits`, which take longer because of the price to compare them by, also where it does not fit.
    """
    if needs.task not in media.TASKS:
        return _job_held_against(tasks()[needs.task], model, listing, needs)
    misses = [*_setting_misses(model, needs), *_input_misses(model, needs)]
    if misses and not misfits:
        return None
    draft = _request(model, needs)
    if sending_model(model, listing, draft).id != model.id:
        return None
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
    unfit = operation.unfit(model.id, Wish(needs.inputs, needs.languages))
    misses = [unfit] if unfit else _file_misses(operation, model, listing, needs)
    misses += [] if unfit else _length_misses(operation, model, needs.seconds)
    if not operation.files:
        misses += _setting_misses(model, replace(needs, sound=None))
    plain = Candidate(model, None, flat_quote(model, count=needs.count))
    try:
        quote = operation.quote(listing, described(plain, replace(needs, duration=None) if misses else needs))
    except InvalidArgumentError as error:
        quote = plain.quote
        misses.append(_reason(error, model))
    return replace(plain, quote=quote, misses=(*dict.fromkeys(misses), *_budget_misses(quote, needs)))


def described(candidate: Candidate, needs: Needs) -> Described:
    """The job that a candidate's quote is the price of, as `estimate` takes it."""
    if candidate.request is not None:
        said = ("generation_type", "duration", "resolution", "quality", "sound")
        settings = {name: getattr(candidate.request, name) for name in said}
        return Described(candidate.model.id, **settings, count=needs.count)
    return Described(
        candidate.model.id,
        duration=None if needs.seconds is None else f"{needs.seconds}s",
        video_seconds=needs.seconds,
        languages=max(len(needs.languages), 1),
        count=needs.count,
    )


def _file_misses(operation: Operation, model: Model, listing: Listing, needs: Needs) -> list[str]:
    kinds, most = operation.takes(listing, model.id)
    misses = [f"takes no {kind}" for kind in dict.fromkeys(needs.inputs) if kind not in kinds]
    if not misses and len(needs.inputs) > most:
        misses.append(f"takes {most} file{'s' if most > 1 else ''} a call")
    return misses


def _length_misses(operation: Operation, model: Model, seconds: int | None) -> list[str]:
    bounds = operation.lengths(model.id)
    if seconds is None or bounds is None or bounds[0] <= seconds <= bounds[1]:
        return []
    return [f"takes at most {bounds[1]} s" if bounds[0] == 0 else f"makes {bounds[0]} to {bounds[1]} s"]


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
        summary: All of this in a sentence or two.
    """

    needs: Needs
    ranked: tuple[Candidate, ...]
    rejected: tuple[Rejection, ...]
    summary: str

    @property
    def chosen(self) -> Candidate | None:
        """The best fitting model; `None` if nothing fits."""
        return self.ranked[0] if self.ranked else None

    def priced(self, quote: Quote) -> Choice:
        """The same, where the price of the best model is `quote`, in words too."""
        ranked = (replace(self.ranked[0], quote=quote), *self.ranked[1:])
        return replace(self, ranked=ranked, summary=_summary(self.needs, ranked, self.rejected))


def pick(listing: Listing, needs: Needs) -> Choice:
    """The models that fit `needs`, ranked, and why the others do not.

    A fitting model's request has passed `check_media`; its quote is for all results together. Models without a
    known price rank last, and do not fit a budget.

    Raises:
        InvalidArgumentError: The needs themselves are malformed; the message lists what is allowed.
    """
    needs = settled_needs(needs, listing)
    held = candidates(listing, needs)
    ranked = tuple(sorted((one for one in held if not one.misses), key=lambda one: order(one, needs)))
    rejected = _grouped([one for one in held if one.misses], {one.model.family for one in ranked})
    return Choice(needs, ranked, rejected, _summary(needs, ranked, rejected))


def candidates(listing: Listing, needs: Needs) -> list[Candidate]:
    """Every model that does this kind of work, held against settled needs."""
    working = (model for model in in_standing_order(listing, needs.task) if does_task(model, needs.task))
    return [held for model in working if (held := held_against(model, listing, needs))]


def order(candidate: Candidate, needs: Needs) -> tuple[float, ...]:
    """What fitting candidates are sorted by; those made for logos stand last, their price says nothing about others."""
    return candidate.model.only_logos, *_ranks(candidate, needs.prefer)


def in_standing_order(listing: Listing, task: str) -> tuple[Model, ...]:
    """The order among equals: newest engine first for music, else by id."""
    if task == "text-to-music":
        return music_engines(listing)
    return tuple(sorted(listing.models, key=lambda model: model.id))


def height(tier: str) -> float:
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


def _grouped(misfits: Iterable[Candidate], fitting: Collection[str]) -> tuple[Rejection, ...]:
    """By reason; a family of which a member fits was not rejected."""
    by_reason: dict[str, list[Candidate]] = {}
    for candidate in misfits:
        for reason in candidate.misses:
            by_reason.setdefault(reason, []).append(candidate)
    rejections = [
        Rejection(
            reason,
            tuple(candidate.model.id for candidate in held),
            tuple(dict.fromkeys(one.model.family for one in held if one.model.family not in fitting)),
        )
        for reason, held in by_reason.items()
    ]
    return tuple(sorted(rejections, key=lambda rejection: (-len(rejection.models), rejection.reason)))


def _summary(needs: Needs, ranked: tuple[Candidate, ...], rejected: tuple[Rejection, ...]) -> str:
    fell_out = _fell_out(rejected)
    if ranked:
        others = len(ranked) - 1
        also = f" {others} other{'s' if others > 1 else ''} would do." if others else ""
        together = f" for {needs.count}" if needs.count > 1 else ""
        return f"{ranked[0].model.id} fits: {ranked[0].quote.said}{together}.{also}{fell_out}"
    if not rejected:
        return f"Nothing fits: no model in this catalogue does {needs.task}."
    return f"No model does it in one call.{fell_out}"


def _fell_out(rejected: tuple[Rejection, ...]) -> str:
    parts = [f"{rejection.reason} ({len(rejection.models)})" for rejection in rejected[:5]]
    return f" Why others fell out: {'; '.join(parts)}." if parts else ""


_USUAL: dict[str, tuple[str, ...]] = {
    "text-to-image": ("nano-banana-2", "nano-banana-2-2K", "nano-banana-2-4K", "seedream-v4-5"),
    "image-to-image": ("nano-banana-2", "nano-banana-edit", "nano-banana-2-2K", "nano-banana-2-4K"),
    "text-to-video": ("seedance-1-5-pro-720p-4s", "seedance-1-5-pro-720p-8s", "seedance-1-5-pro-720p-12s"),
    "image-to-video": ("seedance-1-5-pro-720p-4s", "seedance-1-5-pro-720p-8s", "seedance-1-5-pro-720p-12s"),
    "text-to-music": (),  # the newest engine
}
_VIDEO_REFERENCE = "gemini-omni-video-hd"


def recommended(choice: Choice, named: Model | None = None) -> Candidate | None:
    """The fitting candidate to recommend: the one that the user named if it fits; `None` if nothing fits."""
    by_name = next((held for held in choice.ranked if named and held.model.id == named.id), None)
    if choice.chosen is None or by_name:
        return by_name or choice.chosen
    if "video" in choice.needs.inputs and choice.needs.task in media.TASKS:
        follows = (held for held in choice.ranked if held.model.id.startswith(_VIDEO_REFERENCE))
        return next(follows, choice.chosen)
    task = choice.needs.task
    usual = _USUAL.get(task, (tasks()[task].model,))
    if task == "sound" and "video" in choice.needs.inputs:
        usual = (sound.ONTO_CLIP,)
    if choice.needs.sound:
        usual = tuple(f"{name}-audio" for name in usual)
    by_id = {held.model.id.lower(): held for held in choice.ranked}
    return next((by_id[name.lower()] for name in usual if name.lower() in by_id), choice.chosen)
