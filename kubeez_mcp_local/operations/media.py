"""Images and video: from a prompt, from files of the user, with characters of the local library."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from kubeez_mcp_local.catalogue.checks import parse_seconds, verify_variant_count
from kubeez_mcp_local.catalogue.models import KINDS
from kubeez_mcp_local.catalogue.prices import (
    Quote,
    depends_on_length,
    flat_quote,
    rate_of,
    rate_quote,
    unknown_quote,
)
from kubeez_mcp_local.catalogue.voices import omni_voice
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.media.library import NotInLibraryError
from kubeez_mcp_local.operations import Described, Draft, Operation, Sources, made_by
from kubeez_mcp_local.operations import parameters as p
from kubeez_mcp_local.operations.media_check import (
    ARGUMENT,
    MediaRequest,
    check_media,
    sending_model,
    telling_ratios,
    verify_ratio_for_tier,
    wanted_inputs,
)
from kubeez_mcp_local.rest.routes import Route
from kubeez_mcp_local.text import amount, on_one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.models import InputKind, Model
    from kubeez_mcp_local.media.library import Character
    from kubeez_mcp_local.operations import Input

MAX_VARIANTS = 4
MOST_FILES = 50
"""Files that a model takes whose limit is not recorded."""
TASKS = {
    "text-to-image": "a new picture",
    "image-to-image": "the user's pictures changed: restored, coloured, combined, redrawn larger",
    "text-to-video": "a new clip",
    "image-to-video": "a clip from the user's pictures, or one that follows the user's clip",
}
ROUTE = Route(
    *("generate_media", "POST", "/v1/generate/media", "generate:media", "media"),
    kind="media",
    spends=True,
    fields=(
        *("prompt", "model", "generation_type", "negative_prompt", "source_media_urls", "aspect_ratio", "duration"),
        *("quality", "resolution", "sound", "seed", "fixed_lens", "voice_id", "character_ids"),
    ),
    unproven=frozenset({"fixed_lens", "voice_id", "character_ids"}),
)
# Models whose sound switch is documented as free, and whose editing has an own, unrecorded price.
_FREE_SOUND = ("seedance-2",)
_EDITING_PRICED_APART = ("flux-3-klein",)
_LONGEST_RATIO = 32
_RATIOS_SHOWN = 120
_RATIO = re.compile(r"([1-9]\d{0,3}):([1-9]\d{0,3})", re.ASCII)
_TOLD = ("generation_type", "duration", "resolution", "quality", "sound")
"""Settings that decide the price."""


async def draft(
    sources: Sources,
    prompt: p.Prompt,
    model: p.ModelId,
    generation_type: p.GenerationType = "",
    source_media_urls: p.SourceMedia = [],  # noqa: B006 - a pydantic default, never shared
    aspect_ratio: p.AspectRatio = "",
    duration: p.Duration = "",
    quality: p.Quality = "",
    resolution: p.Resolution = "",
    sound: p.Sound = None,
    seed: p.Seed = None,
    negative_prompt: p.NegativePrompt = "",
    voice_id: Annotated[str, Field(description="Gemini Omni only.")] = "",
    character_ids: Annotated[p.Texts, Field(description="From list_gemini_omni_characters.")] = [],  # noqa: B006
    variant_count: p.VariantCount = 1,
) -> Draft:
    """Start an image or video job. Costs credits; the call asks first.

    Returns a generation_id at once; then call wait_for_generation. The request is checked against the model before
    anything is paid. Repeating the same call returns the same job instead of paying twice; for another take use a
    different seed or variant_count.
    """
    request = MediaRequest(
        prompt=prompt,
        model=model,
        generation_type=generation_type or None,
        negative_prompt=negative_prompt or None,
        aspect_ratio=aspect_ratio or None,
        duration=duration or None,
        quality=quality or None,
        resolution=resolution or None,
        sound=sound,
        seed=seed,
        voice_id=voice_id or None,
        character_ids=tuple(character_ids),
    )
    return await drafted(sources, request, source_media_urls, count=variant_count)


async def drafted(sources: Sources, request: MediaRequest, files: Sequence[str], *, count: int = 1) -> Draft:
    """`count` runs of a request, checked against its model and priced. `files` are paths, URLs or library names."""
    verify_variant_count(count, MAX_VARIANTS)
    listing = await sources.catalogue.listing()
    model = made_by(OPERATION, listing, request.model)
    request, files = await with_characters(sources, request, files)
    found = await sources.inputs.resolve_all(files, argument=ARGUMENT)
    checked = check_media(model, listing, replace(request, inputs=tuple(item.kind for item in found)))
    verify_ratio_for_tier(checked, listing.get(checked.model))
    chosen = listing.get(checked.model)
    said = {name: getattr(checked, name, None) for name in ROUTE.fields}
    described = Described(
        **{name: getattr(checked, name) for name in ("model", *_TOLD)},
        video_seconds=_total(found, "video"),
        audio_seconds=_total(found, "audio"),
    )
    return Draft(
        ROUTE,
        {**said, ARGUMENT: tuple(found) or None, "character_ids": checked.character_ids or None},
        checked.model,
        price(chosen, checked, described),
        implied=tuple(_implied(chosen, checked, found)),
        described=described,
        prompt=checked.prompt,
        generation_type=checked.generation_type,
        notes=checked.notes,
        count=count,
    )


def _implied(model: Model, request: MediaRequest, files: Sequence[Input]) -> Iterator[str]:
    """What the model's id settles, and which shape comes of the user's picture."""
    if model.type == "video":
        if model.fixed_seconds and not request.duration:
            yield f"{model.fixed_seconds} s"
        if request.sound is None and model.sound in ("included", "none"):
            yield "with sound" if model.sound == "included" else "without sound"
    pictures = [file for file in files if file.kind == "image"]
    if pictures and not request.aspect_ratio:
        yield _shape_left_open(model, pictures)


def _shape_left_open(model: Model, pictures: Sequence[Input]) -> str:
    """What is known of the result's shape where no ratio is chosen: what is on offer, and what is nearest."""
    shape = _shape(pictures[0])
    whose = "your" if len({_shape(picture) for picture in pictures}) == 1 else "your first picture's"
    if not model.ratios:
        return f"shape: not settable with this model, may differ from {f'{whose} {shape}' if shape else 'your picture'}"
    said = f"shape: the model's default; it offers {on_one_line(', '.join(model.ratios), _RATIOS_SHOWN)}"
    keeps = next((ratio for ratio in model.ratios if ratio.lower() in ("auto", "adaptive")), None)
    if keeps:
        yours = f"; {'your picture' if whose == 'your' else 'your first picture'} is {shape}" if shape else ""
        return f"{said}{yours}; aspect_ratio='{keeps}' leaves it to the picture"
    nearest = _nearest(pictures[0], model.ratios)
    if nearest is None:
        return said
    return (
        f"{said}; {nearest} is {whose} shape"
        if nearest == shape
        else f"{said}; nearest to {whose} {shape} is {nearest}"
    )


def _nearest(picture: Input, ratios: Sequence[str]) -> str | None:
    """The ratio that changes the picture's shape least; `None` where the pixels, or every ratio, are unknown."""
    width, tall = picture.measured.width, picture.measured.height
    sides = {ratio: _RATIO.fullmatch(ratio) for ratio in ratios}
    known = {ratio: int(found[1]) / int(found[2]) for ratio, found in sides.items() if found}
    if not width or not tall or not known:
        return None
    return min(known, key=lambda ratio: abs(math.log(known[ratio] * tall / width)))


def _shape(file: Input) -> str:
    """Of a picture: `3:4`, or its pixels where that is no short ratio; empty if they are not known."""
    width, tall = file.measured.width, file.measured.height
    if not width or not tall:
        return ""
    common = math.gcd(width, tall)
    return f"{width // common}:{tall // common}" if max(width, tall) // common <= _LONGEST_RATIO else f"{width}×{tall}"


def _total(files: Sequence[Input], kind: InputKind) -> float | None:
    """Length of all files of a kind in seconds; `None` where there is none, or any that is not known."""
    lengths = [file.measured.seconds for file in files if file.kind == kind]
    known = [length for length in lengths if length is not None]
    return sum(known) if lengths and len(known) == len(lengths) else None


async def with_characters(
    sources: Sources, request: MediaRequest, files: Sequence[str]
) -> tuple[MediaRequest, list[str]]:
    """The request and its files with local characters put in.

    Saved characters of kubeez.com have no public API. A local one is sent as what it consists of: its picture as one
    more input, its description in the prompt, its voice where the model takes one. Any other id is passed on as it is.
    An unknown voice is refused as `invalid_voice_id`.
    """
    if request.voice_id:
        request = replace(request, voice_id=omni_voice(request.voice_id).id)
    elsewhere: list[str] = []
    all_files = list(files)
    for wanted in request.character_ids:
        try:
            character = await sources.library.character(wanted)
        except NotInLibraryError:
            elsewhere.append(wanted)
            continue
        if character.image is not None:
            all_files.append(character.reference)
        request = await _with(sources, request, character)
    return replace(request, character_ids=tuple(elsewhere)), all_files


async def _with(sources: Sources, request: MediaRequest, character: Character) -> MediaRequest:
    parts = "its picture and description" if character.image else "its description"
    request = replace(request, prompt=f"{request.prompt}\n\n{character.name}: {character.description}")
    request = request.noting(f"The local character {character.name} was put in as {parts}.")
    if not character.voice_id or request.voice_id or not request.model.lower().startswith("gemini-omni"):
        return request
    if await sources.contract.takes(ROUTE, "voice_id"):
        return replace(request, voice_id=character.voice_id)
    return request.noting(f"Its voice {character.voice_id} is left out: the API publishes no field for it.")


def price(model: Model, request: MediaRequest, lengths: Described | None = None, *, count: int = 1) -> Quote:
    """The price of `count` runs of what `check_media` has returned, whose files have these `lengths` together."""
    lengths = lengths or Described(model.id)
    why = _doubt(model, request)
    if not why and not depends_on_length(model):
        return flat_quote(model, count=count)
    rate = rate_of(model)
    if not why and rate is None:
        why = "its price depends on the length, and the rate is not recorded"
    lacking = _lacks_length(model, request, lengths)
    seconds = None if why or lacking else _billed_seconds(model, request, lengths)
    if rate is None or seconds is None:
        why = why or "its price depends on a length that is not known yet"
        return replace(unknown_quote(model, why), lacks_length=lacking)
    detail = f"{amount(seconds)} s at {amount(rate.per_second)} credits/s"
    if seconds * rate.per_second < rate.minimum:
        detail += f", at least the list price of {amount(rate.minimum)}"
    each = max(rate.minimum, seconds * rate.per_second)
    bound = "" if rate.stated else "; an upper bound"
    quoted = rate_quote(model, each, detail=detail, count=count, note=f"Rate from {rate.source}{bound}.")
    return replace(quoted, upper_bound=not rate.stated)


def _doubt(model: Model, request: MediaRequest) -> str:
    """Why the row's price may not be the price of this request; empty if nothing speaks against it."""
    name = model.id.lower()
    if request.sound is True and not name.startswith(_FREE_SOUND):
        return "sound may cost extra, and the surcharge is not recorded"
    if request.resolution and request.resolution != "1K":
        return f"the price at {request.resolution} is not recorded"
    if request.quality and request.quality != "standard" and request.quality not in model.qualities:
        return f"the price at quality {request.quality} is not recorded"
    if name.startswith(_EDITING_PRICED_APART) and (request.generation_type or "").startswith("image-"):
        return "editing has a price of its own, which is not recorded"
    return ""


def _follows(model: Model) -> bool:
    """Whether it works on a clip, and is billed by its length."""
    name = model.id.lower()
    return name.endswith("-video-ref") or "motion-control" in name


def _lacks_length(model: Model, request: MediaRequest, lengths: Described) -> bool:
    """Whether a file that is billed by its length is, or may be, there without a known length."""
    sound = "audio" in request.inputs and model.id.lower() == "p-video"
    if lengths.video_seconds is None and ("video" in request.inputs or _follows(model)):
        return True
    if lengths.audio_seconds is None and sound:
        return True
    unlooked = None in request.inputs and model.type == "video"
    return unlooked and any(model.limit(kind) != 0 for kind in ("video", "audio"))


def _billed_seconds(model: Model, request: MediaRequest, lengths: Described) -> float | None:
    clip = model.fixed_seconds or parse_seconds(request.duration)
    if model.id.lower() == "p-video" and "audio" in request.inputs:
        return lengths.audio_seconds
    if "video" not in request.inputs or lengths.video_seconds is None:
        return clip
    if clip is None or "motion-control" in model.id.lower():
        return lengths.video_seconds
    return lengths.video_seconds + clip


def quote(listing: Listing, job: Described) -> Quote:
    """The price with the likeliest inputs that make the model accept it."""
    model = listing.get(job.model)
    refusal: InvalidArgumentError | None = None
    said = {name: getattr(job, name) for name in _TOLD}
    for inputs in likely_inputs(model, job):
        try:
            checked = check_media(model, listing, MediaRequest("x", model.id, inputs=inputs, **said))
        except InvalidArgumentError as error:
            refusal = refusal if refusal and refusal.argument != "source_media_urls" else error
            continue
        return price(listing.get(checked.model), checked, job, count=job.count)
    assert refusal is not None
    raise refusal


def likely_inputs(model: Model, job: Described) -> Iterator[tuple[InputKind, ...]]:
    """Sets of inputs that the described job may have, the likeliest first."""
    lengths: tuple[tuple[InputKind, float | None], ...] = (("video", job.video_seconds), ("audio", job.audio_seconds))
    attached = tuple(kind for kind, seconds in lengths if seconds is not None)
    from_inputs = model.needs_input or (job.generation_type or "").startswith("image")
    if not from_inputs or attached:
        yield attached
    yield ("image", *attached)
    yield ("image", "image", *attached)
    yield ("image", "video")


def _stand_ins(model: Model, given: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """A ratio moves no price, but some pictures cannot be had without one."""
    if "resolution" not in given or "aspect_ratio" in given or not (ratios := telling_ratios(model)):
        return {"prompt": "x"}, ""
    return {"prompt": "x", "aspect_ratio": ratios[0]}, ""


def accepts(listing: Listing, model_id: str) -> tuple[tuple[InputKind, ...], int]:
    """Attached files move a text-only id to its edit twin."""
    model = listing.get(model_id)
    model = sending_model(model, listing, MediaRequest("x", model.id, inputs=("image",)))
    if model.only_from_text:
        return (), 0
    kinds = tuple(kind for kind in KINDS if model.limit(kind) != 0 and kind in (model.input_types or KINDS))
    limits = [model.limit(kind) for kind in kinds]
    known = [limit for limit in limits if limit is not None]
    return kinds, sum(known) if len(known) == len(limits) else MOST_FILES


def about(model: Model) -> dict[str, str]:
    """What comes back, and which inputs must be there where numbers alone do not say it."""
    returns = "a picture" if model.type == "image" else f"a clip{_HEARD.get(model.sound, '')}"
    name = model.id.lower()
    slots = "up to 7 inputs in all; a clip counts as 2" if name.startswith("gemini-omni") else ""
    exactly = wanted_inputs(model) if "motion-control" in name or "first-and-last" in name else ""
    return {"returns": returns, "takes": exactly or slots}


_HEARD = {"included": " with sound", "toggle": ", with sound if asked for", "none": " without sound"}


OPERATION = Operation(
    ROUTE,
    title="Make an image or video",
    family="media",
    draft=draft,
    quote=quote,
    job="media",
    types=("image", "video"),
    tasks=TASKS,
    files={ARGUMENT: KINDS},
    names="prompt",
    core=True,
    stand_ins=_stand_ins,
    likely=lambda model, job: ({ARGUMENT: kinds} for kinds in likely_inputs(model, job)),
    accepts=accepts,
    about=about,
    script="media",
)
