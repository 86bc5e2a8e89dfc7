"""What somebody wants made, and what keeps a model from making it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast

from kubeez_mcp_local.catalogue import ids
from kubeez_mcp_local.catalogue.check_inputs import ARGUMENT, KINDS, wanted_inputs
from kubeez_mcp_local.catalogue.check_media import check_media, sending_model
from kubeez_mcp_local.catalogue.check_settings import parse_seconds
from kubeez_mcp_local.catalogue.job_quotes import file_job_of, quote_job
from kubeez_mcp_local.catalogue.media_request import MediaRequest
from kubeez_mcp_local.catalogue.quotes import Quote, flat_quote, quote_media
from kubeez_mcp_local.catalogue.ratios import read_ratio
from kubeez_mcp_local.catalogue.refusals import one_of, verify_number
from kubeez_mcp_local.catalogue.sound import SOUND_MODELS
from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.job_quotes import FileJob
    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.model import InputKind, Model

Preference = Literal["price", "speed", "tier"]
MEDIA_TASKS = ("text-to-image", "image-to-image", "text-to-video", "image-to-video")
_TYPE_OF_TASK = {"text-to-music": "music", "text-to-dialogue": "speech"}
_FILE_JOBS: dict[str, FileJob] = {
    "sound": "sound",
    "captions": "captions",
    "separation": "separation",
    "dubbing": "dubbing",
    "remove-background": "remove_background",
}
TASKS = (*MEDIA_TASKS, *_TYPE_OF_TASK, *_FILE_JOBS)
_SHORT_NAMES = {"music": "text-to-music", "speech": "text-to-dialogue", "dialogue": "text-to-dialogue"}
MAX_COUNT = 1000


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
    if task not in TASKS:
        raise InvalidArgumentError(
            "task", f"{wish.task!r} is not one of image, video, music, speech, {', '.join(TASKS)}."
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
    if model.website_only:
        return False
    if task in MEDIA_TASKS:
        return model.makes_media and task in model.generation_types
    if task in _FILE_JOBS:
        return file_job_of(model.id) == _FILE_JOBS[task]
    return model.type == _TYPE_OF_TASK[task] and not model.id.lower().startswith(("auto-caption", "suno-"))


def held_against(model: Model, listing: Listing, wish: Wish) -> Candidate | None:
    """The model as a candidate for a settled wish; `None` where a sibling id stands for it."""
    if wish.task in _FILE_JOBS:
        return _file_job_held_against(model, listing, wish)
    if wish.task not in MEDIA_TASKS:
        quote = flat_quote(model, count=wish.count)
        misses = _setting_misses(model, replace(wish, sound=None))
        return Candidate(model, None, quote, (*misses, *_budget_misses(quote, wish)))
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
    quote = quote_media(model, request, count=wish.count) if request and fits else _usual_quote(model, listing, wish)
    misses.extend(_budget_misses(quote, wish))
    return Candidate(model, request, quote, tuple(dict.fromkeys(misses)))


def _file_job_held_against(model: Model, listing: Listing, wish: Wish) -> Candidate:
    job = _FILE_JOBS[wish.task]
    seconds = None if wish.duration is None else int(wish.duration)
    misses = []
    if job == "sound":
        known = next((sound for sound in SOUND_MODELS if sound.id == model.id.lower()), None)
        if known and known.from_video != ("video" in wish.inputs):
            misses.append("works on a clip" if known.from_video else "works from text alone")
        elif known and seconds and not known.shortest <= seconds <= known.longest:
            misses.append(f"makes {known.shortest} to {known.longest} s")
    quote = quote_job(job, listing, model_id=model.id, seconds=seconds, count=wish.count)
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
    return quote_media(model, request, count=wish.count)


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
