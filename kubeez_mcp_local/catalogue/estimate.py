"""The price of a job that is only described, not yet written: what `estimate` answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubeez_mcp_local.catalogue.ad_copy import MODEL_ID as AD_MODEL
from kubeez_mcp_local.catalogue.ad_copy import AdCopyRequest, quote_ad_copy
from kubeez_mcp_local.catalogue.check_media import check_media, check_variant_count
from kubeez_mcp_local.catalogue.check_settings import parse_seconds
from kubeez_mcp_local.catalogue.job_quotes import file_job_of, quote_job
from kubeez_mcp_local.catalogue.media_request import MediaRequest
from kubeez_mcp_local.catalogue.quotes import flat_quote, quote_media
from kubeez_mcp_local.catalogue.sound import SOUND_MODELS, SoundRequest, check_sound
from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.model import InputKind, Model
    from kubeez_mcp_local.catalogue.quotes import Quote


@dataclass(frozen=True)
class Described:
    """A job in outline; what was left out takes the model's default.

    Attributes:
        video_seconds: Length of all attached clips together.
        audio_seconds: Length of all attached audio together.
        count: How many of it.
    """

    model: str
    generation_type: str | None = None
    duration: str | None = None
    resolution: str | None = None
    quality: str | None = None
    sound: bool | None = None
    video_seconds: float | None = None
    audio_seconds: float | None = None
    count: int = 1


def estimate(listing: Listing, job: Described) -> Quote:
    """The price of `job`.

    Raises:
        InvalidArgumentError: The model does not exist, or does not offer what was described.
    """
    check_variant_count(job.count)
    model = listing.get(job.model)
    if model.id == AD_MODEL:
        return quote_ad_copy(listing, AdCopyRequest(reference_ad_url="https://example.com", variant_count=job.count))
    if model.makes_media:
        return _media(listing, model, job)
    kind = file_job_of(model.id)
    if kind is None:
        return flat_quote(model, count=job.count)
    seconds = next((given for given in (job.video_seconds, job.audio_seconds) if given is not None), None)
    if kind == "sound":
        seconds = _sound_seconds(model.id, job, seconds)
    return quote_job(kind, listing, model_id=model.id, seconds=seconds, count=job.count)


def lacks_length(listing: Listing, job: Described) -> bool:
    """Whether the price depends on the length of a file that was not given, so that any price would be a guess."""
    if job.video_seconds is not None or job.audio_seconds is not None:
        return False
    name = listing.get(job.model).id.lower()
    works_on_file = file_job_of(name) not in (None, "remove_background") and "-text-to-" not in name
    return works_on_file or name.endswith("-video-ref") or "motion-control" in name


def _sound_seconds(model_id: str, job: Described, clip_seconds: float | None) -> float | None:
    """The length of the clip, or of the sound that a text model makes: its usual one if none is chosen."""
    known = next((model for model in SOUND_MODELS if model.id == model_id.lower()), None)
    if known is None:
        return clip_seconds or parse_seconds(job.duration)
    if known.from_video:
        return clip_seconds
    return check_sound(SoundRequest(known.id, "x", duration=parse_seconds(job.duration))).duration


def _media(listing: Listing, model: Model, job: Described) -> Quote:
    refusal: InvalidArgumentError | None = None
    for inputs in _likely_inputs(model, job):
        request = MediaRequest(
            prompt="x",
            model=model.id,
            generation_type=job.generation_type,
            inputs=inputs,
            duration=job.duration,
            resolution=job.resolution,
            quality=job.quality,
            sound=job.sound,
        )
        try:
            checked = check_media(model, listing, request)
        except InvalidArgumentError as error:
            refusal = refusal if refusal and refusal.argument != "source_media_urls" else error
            continue
        return quote_media(
            listing.get(checked.model),
            checked,
            count=job.count,
            reference_video_seconds=job.video_seconds,
            reference_audio_seconds=job.audio_seconds,
        )
    assert refusal is not None
    raise refusal


def _likely_inputs(model: Model, job: Described) -> Iterator[tuple[InputKind, ...]]:
    """Sets of inputs that the described job may have, the likeliest first."""
    attached: tuple[InputKind, ...] = ()
    if job.video_seconds is not None:
        attached += ("video",)
    if job.audio_seconds is not None:
        attached += ("audio",)
    from_inputs = model.needs_input or (job.generation_type or "").startswith("image")
    if not from_inputs or attached:
        yield attached
    yield ("image", *attached)
    yield ("image", "image", *attached)
    yield ("image", "video")
