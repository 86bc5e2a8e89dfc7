"""What is attached to a request: how many, of which kind, in which order, and the generation type that follows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kubeez_mcp_local.catalogue import ids
from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.media_request import MediaRequest
    from kubeez_mcp_local.catalogue.model import InputKind, Model

ARGUMENT = "source_media_urls"
KINDS: tuple[InputKind, ...] = ("image", "video", "audio")
_OMNI_SLOTS = 7


def settled_generation_type(request: MediaRequest, model: Model, *, asked: Model) -> MediaRequest:
    """The request with a generation type that `model` offers, inferred from the inputs if it was left out.

    Raises:
        InvalidArgumentError: The model does not offer the one that was given.
    """
    given = request.generation_type and request.generation_type.strip().lower().replace("_", "-")
    offered = model.generation_types
    moved_on = model.id != asked.id and given in asked.generation_types
    if given and offered and given not in offered and not moved_on:
        raise InvalidArgumentError(
            "generation_type", f"{given} is not offered by {model.id}; it offers {', '.join(offered)}."
        )
    if given and (given in offered or not offered):
        return replace(request, generation_type=given)
    return replace(request, generation_type=_inferred(request.inputs, offered))


def _inferred(inputs: Sequence[InputKind | None], offered: tuple[str, ...]) -> str | None:
    if not offered:
        return None
    from_text = [name for name in offered if name.startswith("text-")]
    from_inputs = [name for name in offered if not name.startswith("text-")]
    fitting = (from_inputs if inputs else from_text) or list(offered)
    return fitting[0]


def verify_inputs(request: MediaRequest, model: Model, listing: Listing) -> None:
    """Hold the attached inputs against the row and against what is known of its family.

    Raises:
        InvalidArgumentError: There are too few, too many, or they are of the wrong kind or in the wrong order.
    """
    inputs = request.inputs
    if not inputs:
        _verify_none_needed(request, model, listing)
        return
    for kind in KINDS:
        _verify_count(kind, inputs.count(kind), model, listing, inputs)
    _verify_total(inputs, model)
    _verify_family(inputs, model, characters=len(request.character_ids))


def _verify_none_needed(request: MediaRequest, model: Model, listing: Listing) -> None:
    kind = request.generation_type or ""
    if not model.needs_input and (not kind or kind.startswith("text-")):
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


def _verify_count(
    kind: InputKind, given: int, model: Model, listing: Listing, inputs: Sequence[InputKind | None]
) -> None:
    limit = model.limit(kind)
    if limit is None or given <= limit:
        return
    if limit:
        message = f"{model.id} takes at most {_count(limit, kind)}; {given} were given."
    else:
        takes = _takes(model)
        message = f"{model.id} takes no {kind} inputs" + (f"; it takes {takes}." if takes else ", only text.")
    alternatives = _models_taking(inputs, model, listing)
    hint = f"Attach fewer, or use a model that takes them, such as {', '.join(alternatives)}." if alternatives else ""
    raise InvalidArgumentError(ARGUMENT, message, next_step=hint)


def _verify_total(inputs: Sequence[InputKind | None], model: Model) -> None:
    limits = [model.limit(kind) for kind in KINDS]
    if None in limits:
        return
    total = sum(limit for limit in limits if limit is not None)
    if len(inputs) > total:
        raise InvalidArgumentError(ARGUMENT, f"{model.id} takes at most {total} inputs; {len(inputs)} were given.")


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
        and other.makes_media
        and all(inputs.count(kind) <= (other.limit(kind) or 0) for kind in KINDS)
    ]
    brand = model.id.split("-")[0]
    fitting.sort(key=lambda other: (other.family != model.family, not other.id.startswith(brand)))
    families = {other.family: other.id for other in reversed(fitting)}
    return [other.id for other in fitting if families[other.family] == other.id][:3]


def _takes(model: Model) -> str:
    parts: Iterable[tuple[InputKind, int | None]] = ((kind, model.limit(kind)) for kind in KINDS)
    return " and ".join(f"up to {_count(limit, kind)}" for kind, limit in parts if limit)


def _count(number: int, kind: str) -> str:
    return f"{number} {kind}" if number == 1 else f"{number} {kind}s"
