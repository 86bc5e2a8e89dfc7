"""Ratio, length, resolution, quality, sound and seed: read leniently, sent exactly as the row spells them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from kubeez_mcp_local.catalogue import ids
from kubeez_mcp_local.catalogue.ratios import read_ratio
from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.media_request import MediaRequest
    from kubeez_mcp_local.catalogue.model import Model

MAX_SEED = 2**32 - 1
_USUAL_SECONDS = 5
_LONGEST_SECONDS = 3600


def settled_ratio(request: MediaRequest, model: Model) -> MediaRequest:
    """The request with a ratio that the row lists, or none. Without one the model decides (`auto` on Veo)."""
    if request.aspect_ratio is None or not request.aspect_ratio.strip():
        return replace(request, aspect_ratio=None)
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
        return _without_choice(request, wanted, model, listing)
    if wanted is None:
        usual = _USUAL_SECONDS if _USUAL_SECONDS in model.durations else min(model.durations)
        chosen = replace(request, duration=model.duration_spellings.get(usual, f"{usual}s"))
        return chosen.noting(f"No duration was given; {usual} s is asked for.") if len(model.durations) > 1 else chosen
    if wanted not in model.durations:
        raise _wrong_length(wanted, model, listing, f"it offers {_seconds_list(model.durations)}")
    return replace(request, duration=model.duration_spellings.get(wanted, f"{wanted}s"))


def parse_seconds(duration: str | float | None) -> int | None:
    """Whole seconds from 5, "5" or "5s"; `None` stays `None`.

    Raises:
        InvalidArgumentError: It is not a whole number of seconds from 1 to 3600.
    """
    if duration is None or (isinstance(duration, str) and not duration.strip()):
        return None
    seconds: float = 0
    if isinstance(duration, str):
        found = re.fullmatch(r"(\d{1,4})(?:\.0+)?\s*(?:s|secs?|seconds?)?", duration.strip().lower(), re.ASCII)
        seconds = int(found.group(1)) if found else 0
    elif not isinstance(duration, bool):
        seconds = duration
    if not 1 <= seconds <= _LONGEST_SECONDS or seconds != int(seconds):
        raise InvalidArgumentError("duration", f'{duration!r} is not a whole number of seconds such as 5 or "5s".')
    return int(seconds)


def _without_choice(request: MediaRequest, wanted: int | None, model: Model, listing: Listing) -> MediaRequest:
    if wanted is None:
        return replace(request, duration=None)
    if model.type == "video" and listing.first_of(ids.length_siblings(model.id, wanted)):
        raise _wrong_length(wanted, model, listing, "its length cannot be chosen")
    note = f"duration is left out: {model.id} offers no choice of length."
    return replace(request, duration=None).noting(note)


def _wrong_length(wanted: int | None, model: Model, listing: Listing, why: str) -> InvalidArgumentError:
    sibling = listing.first_of(ids.length_siblings(model.id, wanted)) if wanted else None
    return InvalidArgumentError(
        "duration",
        f"{wanted} s does not suit {model.id}: {why}.",
        next_step=f"Use {sibling.id}." if sibling and sibling.id != model.id else "Leave it out or change the model.",
    )


def _seconds_list(durations: tuple[int, ...]) -> str:
    return f"{', '.join(str(seconds) for seconds in sorted(durations))} s"


def settled_resolution(request: MediaRequest, model: Model, listing: Listing) -> MediaRequest:
    """The request with a resolution in the API's spelling; none where the id encodes it.

    The id for the wanted tier has been chosen before; what is left over is refused or sent.
    """
    if request.resolution is None or not request.resolution.strip():
        return replace(request, resolution=None)
    wanted = _spelled_resolution(request.resolution)
    if model.tier:
        if wanted == model.tier:
            return replace(request, resolution=None)
        raise InvalidArgumentError(
            "resolution",
            f"{wanted} contradicts {model.id}, whose id fixes {model.tier}.",
            next_step="Leave it out or change the model.",
        )
    if model.resolutions and wanted not in model.resolutions:
        raise InvalidArgumentError(
            "resolution", f"{wanted} is not offered by {model.id}; it offers {', '.join(model.resolutions)}."
        )
    siblings = [
        other for other in listing.models if other.tier and other.id.lower() == f"{model.id}-{other.tier}".lower()
    ]
    if siblings and not model.resolutions:
        return _base_of_tiers(request, wanted, model, siblings)
    return replace(request, resolution=wanted)


def _base_of_tiers(request: MediaRequest, wanted: str, model: Model, siblings: list[Model]) -> MediaRequest:
    if wanted == "1K":
        return replace(request, resolution=None)
    tiers = ", ".join(f"{other.tier} ({other.id})" for other in siblings)
    raise InvalidArgumentError("resolution", f"{wanted} is not offered; there are 1K ({model.id}), {tiers}.")


def _spelled_resolution(text: str) -> str:
    cleaned = text.strip()
    if cleaned.lower() == "standard":
        return "1K"
    if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z. x-]{0,15}", cleaned):
        raise InvalidArgumentError("resolution", f"{text!r} is not a resolution such as 1K, 2K, 4K or 720p.")
    return ids.spell_tier(cleaned)


def settled_quality(request: MediaRequest, model: Model) -> MediaRequest:
    """The request with a quality that the row lists; the API's default `standard` is dropped elsewhere."""
    if request.quality is None or not request.quality.strip():
        return replace(request, quality=None)
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
    if request.sound is False and model.sound == "included":
        return _without_sound(request, model, listing)
    return replace(request, sound=None)


def _without_sound(request: MediaRequest, model: Model, listing: Listing) -> MediaRequest:
    silent = listing.find(model.id[: -len("-audio")]) if ids.has_audio_suffix(model.id) else None
    if silent:
        raise InvalidArgumentError(
            "sound", f"false contradicts {model.id}, whose id includes sound.", next_step=f"Use {silent.id}."
        )
    return replace(request, sound=None).noting(f"{model.id} always makes sound; sound=false has no effect.")


def settled_seed(request: MediaRequest) -> MediaRequest:
    """The request if its seed is a whole number from 0 (the provider picks) to 2³² - 1."""
    seed = request.seed
    if seed is None:
        return request
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        raise InvalidArgumentError("seed", f"is {seed!r}; allowed: a whole number from 0 (random) to {MAX_SEED}.")
    return request
