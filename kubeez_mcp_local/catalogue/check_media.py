"""Is this image or video request one that its model accepts? If so, in exactly which spelling?

Rules: API reference §2.5 and §4.4. Nothing is refused for want of a row's evidence; the API has the last word then.
A checked request passes the check again unchanged.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kubeez_mcp_local.catalogue import ids
from kubeez_mcp_local.catalogue.check_inputs import settled_generation_type, verify_inputs
from kubeez_mcp_local.catalogue.check_settings import (
    settled_duration,
    settled_quality,
    settled_ratio,
    settled_resolution,
    settled_seed,
    settled_sound,
)
from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.media_request import MediaRequest
    from kubeez_mcp_local.catalogue.model import Model

MAX_VARIANTS = 4

_OTHER_TOOLS = {
    "music": "generate_music",
    "speech": "generate_dialogue",
    "separation": "generate_separation",
    "dubbing": "generate_dubbing",
    "sound": "generate_sound",
    "other": "generate_captions",
}
# Rows that say in words that they take no negative prompt (API reference §4.4).
_NO_NEGATIVE_PROMPT = ("5-lite-image-to-image",)


def check_media(model: Model, listing: Listing, request: MediaRequest) -> MediaRequest:
    """`request` as it should be sent to `model`, or to the sibling id that the request calls for.

    Inputs move a text-only id to its edit twin; `resolution` and `sound` move to the id that encodes them. The
    result's `model` is the id to send and its `notes` say what changed.

    Raises:
        InvalidArgumentError: The request cannot work; the message lists what would.
    """
    _verify_tool(model)
    _verify_prompt(request.prompt)
    target = sending_model(model, listing, request)
    settled = _moved(request, target, asked=model)
    _verify_length(settled.prompt, target)
    settled = settled_generation_type(settled, target, asked=model)
    verify_inputs(settled, target, listing)
    settled = settled_ratio(settled, target)
    settled = settled_duration(settled, target, listing)
    settled = settled_resolution(settled, target, listing)
    settled = settled_quality(settled, target)
    settled = settled_sound(settled, target, listing)
    settled = settled_seed(settled)
    settled = _settled_negative_prompt(settled, target)
    _verify_omni_fields(settled, target)
    return settled


def sending_model(model: Model, listing: Listing, request: MediaRequest) -> Model:
    """The model that `request` goes to: `model`, or the sibling whose id its inputs, resolution or sound call for."""
    target = _edit_twin(model, listing, request)
    return _audio_twin(_tier_id(target, listing, request), listing, request)


def check_variant_count(count: int) -> int:
    """`count` if that many variants can be asked for at once.

    Raises:
        InvalidArgumentError: It is not from 1 to 4.
    """
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_VARIANTS:
        raise InvalidArgumentError("variant_count", f"is {count!r}; allowed: 1 to {MAX_VARIANTS}.")
    return count


def _verify_tool(model: Model) -> None:
    if model.makes_media:
        return
    special = {"ad-copy": "create_ad_copy", "remove-background": "remove_background"}
    tool = special.get(model.id.lower()) or _OTHER_TOOLS.get(model.type, "another tool")
    raise InvalidArgumentError(
        "model",
        f"generate_media does not run {model.id}, which makes no pictures or clips from a prompt.",
        next_step=f"Use {tool}.",
    )


def _verify_prompt(prompt: str) -> None:
    if not isinstance(prompt, str) or not prompt.strip():
        raise InvalidArgumentError("prompt", "is empty.", next_step="Describe what should be made.")


def _verify_length(prompt: str, model: Model) -> None:
    if model.prompt_max is not None and len(prompt) > model.prompt_max:
        raise InvalidArgumentError(
            "prompt",
            f"has {len(prompt)} characters; {model.id} takes at most {model.prompt_max}.",
            next_step="Shorten it, or choose a model that takes more.",
        )


def _edit_twin(model: Model, listing: Listing, request: MediaRequest) -> Model:
    if not request.inputs or not model.only_from_text:
        return model
    twin = listing.first_of(ids.edit_twins(model.id))
    return twin if twin and twin.makes_media and not twin.only_from_text else model


def _tier_id(model: Model, listing: Listing, request: MediaRequest) -> Model:
    wanted = ids.spell_tier("1K" if _is_standard(request.resolution) else request.resolution or "")
    if not wanted or model.tier == wanted or (model.tier is None and wanted in model.resolutions):
        return model
    if not ids.is_tier(wanted):
        return model
    return listing.first_of(ids.tier_siblings(model.id, wanted)) or model


def _is_standard(resolution: str | None) -> bool:
    return isinstance(resolution, str) and resolution.strip().lower() == "standard"


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


def _settled_negative_prompt(request: MediaRequest, model: Model) -> MediaRequest:
    if request.negative_prompt is None:
        return request
    if not request.negative_prompt.strip():
        return replace(request, negative_prompt=None)
    if model.id.lower() in _NO_NEGATIVE_PROMPT:
        note = f"negative_prompt is left out: {model.id} takes none."
        return replace(request, negative_prompt=None).noting(note)
    return request


def _verify_omni_fields(request: MediaRequest, model: Model) -> None:
    if model.id.lower().startswith("gemini-omni"):
        return
    for argument, value in (("voice_id", request.voice_id), ("character_ids", request.character_ids)):
        if value:
            raise InvalidArgumentError(argument, f"only Gemini Omni models take it; {model.id} does not.")
