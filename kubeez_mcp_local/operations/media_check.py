"""Is this image or video request one that its model accepts? If so, in exactly which spelling?

Rules: API reference §2.5 and §4.4. Nothing but a resolution is refused for want of a row's evidence; the API has the
last word then.
A checked request passes the check again unchanged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.catalogue import ids
from kubeez_mcp_local.catalogue.checks import blank_to_none, parse_seconds, read_ratio
from kubeez_mcp_local.catalogue.models import KINDS
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.text import spoken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.models import InputKind, Model


@dataclass(frozen=True)
class MediaRequest:
    """What is asked for; `check_media` returns the same type, ready to send.

    Attributes:
        inputs: The kind of each input, in order; `None` where a URL's kind is not known.
        duration: Seconds, as 5, "5" or "5s"; after the check exactly as the model's row spells it.
        notes: What the check changed or left out, in words for the user.
    """

    prompt: str
    model: str
    generation_type: str | None = None
    negative_prompt: str | None = None
    inputs: tuple[InputKind | None, ...] = ()
    aspect_ratio: str | None = None
    duration: str | int | float | None = None
    quality: str | None = None
    resolution: str | None = None
    sound: bool | None = None
    seed: int | None = None
    voice_id: str | None = None
    character_ids: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def noting(self, note: str) -> MediaRequest:
        """The same request with one more note, unless it is there already."""
        return self if note in self.notes else replace(self, notes=(*self.notes, note))


_TEXTS = ("aspect_ratio", "resolution", "quality", "negative_prompt")
# Rows that say in words that they take no negative prompt (API reference §4.4).
_NO_NEGATIVE_PROMPT = ("5-lite-image-to-image",)


def check_media(model: Model, listing: Listing, request: MediaRequest) -> MediaRequest:
    """`request` as it should be sent to `model`, or to the sibling id that the request calls for.

    Inputs move a text-only id to its edit twin; `resolution` and `sound` move to the id that encodes them. The
    result's `model` is the id to send and its `notes` say what changed.

    Raises:
        InvalidArgumentError: The request cannot work; the message lists what would.
    """
    if not isinstance(request.prompt, str) or not request.prompt.strip():
        raise InvalidArgumentError("prompt", "is empty.", next_step="Describe what should be made.")
    blanks: dict[str, Any] = {name: blank_to_none(getattr(request, name)) for name in _TEXTS}
    request = replace(request, **blanks)
    target = sending_model(model, listing, request)
    settled = _moved(request, target, asked=model)
    if target.prompt_max is not None and len(settled.prompt) > target.prompt_max:
        raise InvalidArgumentError(
            "prompt",
            f"has {len(settled.prompt)} characters; {target.id} takes at most {target.prompt_max}.",
            next_step="Shorten it, or choose a model that takes more.",
        )
    settled = settled_generation_type(settled, target, asked=model)
    verify_inputs(settled, target, listing)
    settled = settled_ratio(settled, target)
    settled = settled_duration(settled, target, listing)
    settled = settled_resolution(settled, target, listing)
    settled = settled_quality(settled, target)
    settled = settled_sound(settled, target, listing)
    _verify_seed(settled.seed)
    if settled.negative_prompt is not None and target.id.lower() in _NO_NEGATIVE_PROMPT:
        note = f"negative_prompt is left out: {target.id} takes none."
        settled = replace(settled, negative_prompt=None).noting(note)
    _verify_omni_fields(settled, target)
    return settled


def sending_model(model: Model, listing: Listing, request: MediaRequest) -> Model:
    """The model that `request` goes to: `model`, or the sibling whose id its inputs, resolution or sound call for."""
    target = _edit_twin(model, listing, request)
    return _audio_twin(_tier_id(target, listing, request), listing, request)


def _edit_twin(model: Model, listing: Listing, request: MediaRequest) -> Model:
    if not request.inputs or not model.only_from_text:
        return model
    twin = listing.first_of(ids.edit_twins(model.id))
    return twin if twin and twin.type == model.type and not twin.only_from_text else model


def _tier_id(model: Model, listing: Listing, request: MediaRequest) -> Model:
    wanted = ids.wanted_tier(request.resolution)
    if not wanted or model.tier == wanted or (model.tier is None and wanted in model.resolutions):
        return model
    return listing.first_of(ids.tier_siblings(model.id, wanted)) or model


def _audio_twin(model: Model, listing: Listing, request: MediaRequest) -> Model:
    if request.sound is not True or model.sound == "included":
        return model
    return listing.find(f"{model.id}-audio") or model


def _moved(request: MediaRequest, target: Model, *, asked: Model) -> MediaRequest:
    moved = replace(request, model=target.id)
    if target.id == asked.id:
        return moved
    reasons = []
    if request.inputs and asked.only_from_text:
        reasons.append("it takes inputs")
    if target.tier != asked.tier:
        reasons.append(f"it is the id for {target.tier or '1K'}")
    if target.sound == "included" and asked.sound != "included" and request.sound:
        reasons.append("it is the id with sound")
    return moved.noting(f"{target.id} is used instead of {asked.id}: {', '.join(reasons)}.")


def _verify_omni_fields(request: MediaRequest, model: Model) -> None:
    if model.id.lower().startswith("gemini-omni"):
        return
    for argument, value in (("voice_id", request.voice_id), ("character_ids", request.character_ids)):
        if value:
            raise InvalidArgumentError(argument, f"only Gemini Omni models take it; {model.id} does not.")


ARGUMENT = "source_media_urls"
_OMNI_SLOTS = 7


def settled_generation_type(request: MediaRequest, model: Model, *, asked: Model) -> MediaRequest:
    """The request with a generation type that `model` offers, inferred from the inputs if it was left out."""
    given = request.generation_type and request.generation_type.strip().lower().replace("_", "-")
    offered = model.generation_types
    moved_on = model.id != asked.id and given in asked.generation_types
    if given and offered and given not in offered and not moved_on:
        raise InvalidArgumentError(
            "generation_type", f"{given} is not offered by {model.id}; it offers {', '.join(offered)}."
        )
    if given and (given in offered or not offered):
        return replace(request, generation_type=given)
    fitting = (name for name in offered if name.startswith("text-") != bool(request.inputs))
    return replace(request, generation_type=next(fitting, offered[0] if offered else None))


def verify_inputs(request: MediaRequest, model: Model, listing: Listing) -> None:
    """Hold number, kinds and order of the inputs against the row and against what is known of its family."""
    inputs = request.inputs
    if not inputs:
        _verify_none_needed(request, model, listing)
        return
    for kind in KINDS:
        _verify_count(kind, inputs, model, listing)
    limits = [model.limit(kind) for kind in KINDS]
    total = sum(limit for limit in limits if limit is not None)
    if None not in limits and len(inputs) > total:
        raise InvalidArgumentError(ARGUMENT, f"{model.id} takes at most {total} inputs; {len(inputs)} were given.")
    _verify_family(inputs, model, characters=len(request.character_ids))


def _verify_none_needed(request: MediaRequest, model: Model, listing: Listing) -> None:
    if not model.needs_input and (request.generation_type or "text-").startswith("text-"):
        return
    twin = listing.first_of(ids.text_twins(model.id))
    from_text = twin if twin and not twin.needs_input else None
    raise InvalidArgumentError(
        ARGUMENT,
        f"{model.id} needs {wanted_inputs(model)}, and none was given.",
        next_step="Attach a local path or an https URL"
        + (f", or use {from_text.id} to work from text alone." if from_text else "."),
    )


def wanted_inputs(model: Model) -> str:
    """What must be attached, in words."""
    name = model.id.lower()
    if "motion-control" in name:
        return "one image and one video, in this order"
    if "first-and-last" in name:
        return "two images, the first frame and the last"
    kinds = " or ".join(model.input_types) or "image or video"
    return f"at least one {kinds}"


def _verify_count(kind: InputKind, inputs: Sequence[InputKind | None], model: Model, listing: Listing) -> None:
    given, limit = inputs.count(kind), model.limit(kind)
    if limit is None or given <= limit:
        return
    if limit:
        message = f"{model.id} takes at most {_count(limit, kind)}; {given} were given."
    else:
        allowed = [(limit, other) for other in KINDS if (limit := model.limit(other))]
        takes = " and ".join(f"up to {_count(limit, other)}" for limit, other in allowed)
        message = f"{model.id} takes no {kind} inputs" + (f"; it takes {takes}." if takes else ", only text.")
    alternatives = _models_taking(inputs, model, listing)
    hint = f"Attach fewer, or use a model that takes them, such as {', '.join(alternatives)}." if alternatives else ""
    raise InvalidArgumentError(ARGUMENT, message, next_step=hint)


def _verify_family(inputs: Sequence[InputKind | None], model: Model, *, characters: int) -> None:
    name = model.id.lower()
    if "motion-control" in name:
        _verify_motion_control(inputs, model)
    if "first-and-last" in name and len(inputs) < 2:
        raise InvalidArgumentError(
            ARGUMENT, f"{model.id} needs two images, the first frame and then the last; {len(inputs)} was given."
        )
    if name.endswith("-video-ref") and not any(kind in ("video", None) for kind in inputs):
        raise InvalidArgumentError(ARGUMENT, f"{model.id} works on a video, and none was given.")
    if name.startswith("gemini-omni"):
        used = sum(2 if kind == "video" else 1 for kind in inputs) + characters
        if used > _OMNI_SLOTS:
            raise InvalidArgumentError(
                ARGUMENT,
                f"{model.id} has {_OMNI_SLOTS} input slots; {used} would be used "
                "(a video takes 2, an image 1, a character 1).",
            )


def _verify_motion_control(inputs: Sequence[InputKind | None], model: Model) -> None:
    wanted = ("image", "video")
    if len(inputs) != 2 or any(kind not in (None, want) for kind, want in zip(inputs, wanted, strict=True)):
        given = ", ".join(kind or "unknown" for kind in inputs)
        raise InvalidArgumentError(
            ARGUMENT,
            f"{model.id} takes exactly one image and then one video; given: {given}.",
            next_step="Put the picture of the character first and the video with the motion second.",
        )


def _models_taking(inputs: Sequence[InputKind | None], model: Model, listing: Listing) -> list[str]:
    fitting = [
        other
        for other in listing.models
        if other.type == model.type
        and other.generation_types
        and all(inputs.count(kind) <= (other.limit(kind) or 0) for kind in KINDS)
    ]
    brand = model.id.split("-")[0]
    fitting.sort(key=lambda other: (other.family != model.family, not other.id.startswith(brand)))
    families = {other.family: other.id for other in reversed(fitting)}
    return [other.id for other in fitting if families[other.family] == other.id][:3]


def _count(number: int, kind: str) -> str:
    return f"{number} {kind}" if number == 1 else f"{number} {kind}s"


# Families that take `resolution` (API reference §2.5, hosted tool reference §1.3).
_K = ("1K", "2K", "4K")
_TAKE_RESOLUTION: tuple[tuple[str, tuple[str, ...]], ...] = (
    *(("gpt-image-2", _K), ("nano-banana-2", _K), ("nano-banana-pro", _K), ("flux-3-klein", _K)),
    *(("flux-2", ("1K", "2K")), ("seedream-5-5", ("1.5K", "2K"))),
)
MAX_SEED = 2**32 - 1
_USUAL_SECONDS = 5


def settled_ratio(request: MediaRequest, model: Model) -> MediaRequest:
    """The request with a ratio that the row lists, or none. Without one the model decides (`auto` on Veo)."""
    if request.aspect_ratio is None:
        return request
    wanted = read_ratio(request.aspect_ratio)
    if not model.ratios:
        note = f"aspect_ratio is left out: {model.id} has no ratio control."
        return replace(request, aspect_ratio=None).noting(note)
    spelled = {ratio.lower(): ratio for ratio in model.ratios}
    if wanted == "auto" and "auto" not in spelled:
        if "adaptive" in spelled:
            return replace(request, aspect_ratio=spelled["adaptive"])
        if model.id.lower().startswith("veo"):
            return replace(request, aspect_ratio=None)
    if wanted not in spelled:
        raise InvalidArgumentError(
            "aspect_ratio",
            f"{request.aspect_ratio!r} is not offered by {model.id}; it offers {', '.join(model.ratios)}.",
            next_step="Choose one of these, or leave it out and the model decides.",
        )
    return replace(request, aspect_ratio=spelled[wanted])


def telling_ratios(model: Model) -> list[str]:
    """The ratios of the model that are neither its choice nor square."""
    return [ratio for ratio in model.ratios if ratio not in ("1:1", "auto")]


def verify_ratio_for_tier(request: MediaRequest, model: Model) -> None:
    """Hold a checked request against the one model that makes large pictures only in a ratio said outright.

    By the official skill (API reference §8). Not part of `check_media`, so that a job without a ratio can be priced.
    """
    fitting = telling_ratios(model)
    if model.id.lower() != "gpt-image-2" or request.resolution in (None, "1K") or not fitting:
        return
    if request.aspect_ratio not in fitting:
        raise InvalidArgumentError(
            "aspect_ratio",
            f"{model.id} at {request.resolution} needs one, and not 1:1; it offers {', '.join(fitting)}.",
            next_step="Choose one of these, or leave resolution out.",
        )


def settled_duration(request: MediaRequest, model: Model, listing: Listing) -> MediaRequest:
    """The request with a length as the row spells it; none where the id or the model fixes it.

    A choice that was left open is made here, because the API's default is not known and the price depends on it.
    """
    wanted = parse_seconds(request.duration)
    if model.fixed_seconds is not None:
        if wanted in (None, model.fixed_seconds):
            return replace(request, duration=None)
        raise _wrong_length(wanted, model, listing, f"its id fixes {model.fixed_seconds} s")
    if not model.durations:
        if wanted is None:
            return replace(request, duration=None)
        if model.type == "video" and listing.first_of(ids.length_siblings(model.id, wanted)):
            raise _wrong_length(wanted, model, listing, "its length cannot be chosen")
        note = f"duration is left out: {model.id} offers no choice of length."
        return replace(request, duration=None).noting(note)
    if wanted is None:
        usual = _USUAL_SECONDS if _USUAL_SECONDS in model.durations else min(model.durations)
        chosen = replace(request, duration=model.duration_spellings.get(usual, f"{usual}s"))
        return chosen.noting(f"No duration was given; {usual} s is asked for.") if len(model.durations) > 1 else chosen
    if wanted not in model.durations:
        raise _wrong_length(wanted, model, listing, f"it offers {', '.join(map(str, sorted(model.durations)))} s")
    return replace(request, duration=model.duration_spellings.get(wanted, f"{wanted}s"))


def _wrong_length(wanted: int | None, model: Model, listing: Listing, why: str) -> InvalidArgumentError:
    sibling = listing.first_of(ids.length_siblings(model.id, wanted)) if wanted else None
    return InvalidArgumentError(
        "duration",
        f"{wanted} s does not suit {model.id}: {why}.",
        next_step=f"Use {sibling.id}." if sibling and sibling.id != model.id else "Leave it out or change the model.",
    )


def settled_resolution(request: MediaRequest, model: Model, listing: Listing) -> MediaRequest:
    """The request with a resolution in the API's spelling; none where the id encodes it.

    The id for the wanted tier has been chosen before. What neither the row nor the documentation offers is refused,
    else somebody would be asked to pay a price that nobody knows.
    """
    if request.resolution is None:
        return request
    wanted = ids.wanted_tier(request.resolution) or ""
    if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z. x-]{0,15}", wanted):
        raise InvalidArgumentError(
            "resolution", f"{request.resolution!r} is not a resolution such as 1K, 2K, 4K or 720p."
        )
    if model.tier:
        if wanted == model.tier:
            return replace(request, resolution=None)
        raise InvalidArgumentError(
            "resolution",
            f"{wanted} contradicts {model.id}, whose id fixes {model.tier}.",
            next_step="Leave it out or change the model.",
        )
    offered = model.resolutions or _documented_resolutions(model)
    siblings = [
        other for other in listing.models if other.tier and other.id.lower() == f"{model.id}-{other.tier}".lower()
    ]
    if siblings and not model.resolutions:
        if wanted == "1K":
            return replace(request, resolution=None)
        tiers = ", ".join(f"{other.tier} ({other.id})" for other in siblings)
        raise InvalidArgumentError("resolution", f"{wanted} is not offered; there are 1K ({model.id}), {tiers}.")
    if wanted in offered or (wanted == "1K" and not offered and model.type == "image"):
        return replace(request, resolution=wanted)
    offers = f"it offers {', '.join(offered)}" if offered else "its row offers no choice of resolution"
    making = [f"{other.id} ({spoken(other.credits or 0)})" for other in _models_making(wanted, request, model, listing)]
    raise InvalidArgumentError(
        "resolution",
        f"{wanted} is not offered by {model.id}; {offers}.",
        next_step=(f"Use {' or '.join(making)}, or leave" if making else "Leave") + " resolution out.",
    )


def _documented_resolutions(model: Model) -> tuple[str, ...]:
    """Of families that take `resolution` by the documentation, whether or not the row lists it."""
    name = model.id.lower()
    return next((tiers for start, tiers in _TAKE_RESOLUTION if name == start or name.startswith(f"{start}-")), ())


def _models_making(wanted: str, request: MediaRequest, model: Model, listing: Listing) -> list[Model]:
    """The cheapest three of this resolution that take the same inputs."""
    fitting = [
        other
        for other in listing.models
        if other.type == model.type
        and wanted in (other.tier, *other.resolutions)
        and request.generation_type in other.generation_types
        and other.credits is not None
        and not other.website_only
        and all(request.inputs.count(kind) <= (other.limit(kind) or 0) for kind in KINDS)
    ]
    return sorted(fitting, key=lambda other: (other.credits or 0, other.id))[:3]


def settled_quality(request: MediaRequest, model: Model) -> MediaRequest:
    """The request with a quality that the row lists; the API's default `standard` is dropped elsewhere."""
    if request.quality is None:
        return request
    wanted = request.quality.strip().lower()
    if model.qualities and wanted not in model.qualities:
        if wanted == "standard":
            return replace(request, quality=None)
        raise InvalidArgumentError(
            "quality", f"{wanted!r} is not offered by {model.id}; it offers {', '.join(model.qualities)}."
        )
    return replace(request, quality=wanted)


def settled_sound(request: MediaRequest, model: Model, listing: Listing) -> MediaRequest:
    """The request with `sound` said outright where the model has the switch, and left out elsewhere."""
    if model.sound == "toggle":
        return replace(request, sound=bool(request.sound))
    if model.sound == "unknown":
        return request
    if request.sound is True and model.sound == "none":
        raise InvalidArgumentError(
            "sound", f"{model.id} makes no sound.", next_step="Leave it out, or choose a model with sound."
        )
    if request.sound is not False or model.sound != "included":
        return replace(request, sound=None)
    silent = listing.find(model.id[: -len("-audio")]) if model.id.lower().endswith("-audio") else None
    if silent:
        raise InvalidArgumentError(
            "sound", f"false contradicts {model.id}, whose id includes sound.", next_step=f"Use {silent.id}."
        )
    return replace(request, sound=None).noting(f"{model.id} always makes sound; sound=false has no effect.")


def _verify_seed(seed: int | None) -> None:
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED):
        raise InvalidArgumentError("seed", f"is {seed!r}; allowed: a whole number from 0 (random) to {MAX_SEED}.")
