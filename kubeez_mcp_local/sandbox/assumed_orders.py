"""From an assumed request to the job it starts. Rules follow the hosted MCP server's tools of the same names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubeez_mcp_local.sandbox.frames import clip_size
from kubeez_mcp_local.sandbox.inputs import look_up
from kubeez_mcp_local.sandbox.orders import Placed, draft, order_media, with_thumbnail
from kubeez_mcp_local.sandbox.pricing import ASSUMED_SECONDS, price
from kubeez_mcp_local.sandbox.refusals import invalid, not_found
from kubeez_mcp_local.sandbox.requests import MediaRequest
from kubeez_mcp_local.sandbox.studio.sounds import sound_extension
from kubeez_mcp_local.sandbox.studio.work import Work, WorkKind
from kubeez_mcp_local.sandbox.validation import check_duration, check_prompt

if TYPE_CHECKING:
    from kubeez_mcp_local.sandbox.catalogue import Row
    from kubeez_mcp_local.sandbox.desk import Desk
    from kubeez_mcp_local.sandbox.inputs import Source
    from kubeez_mcp_local.sandbox.records import JobDraft
    from kubeez_mcp_local.sandbox.requests import (
        CaptionsRequest,
        DubbingRequest,
        EstimateRequest,
        PersonaRequest,
        RemoveBackgroundRequest,
        SeparationRequest,
        SoundRequest,
    )

CAPTIONS_MOST = 30 * 60
DUBBING_MOST = 300
SOUND_VIDEO_MOST = 360


def _video(desk: Desk, url: str, most: float) -> Source:
    """A video that is at most that many seconds long."""
    source = look_up(desk.books, url)
    if source.kind not in ("video", None):
        raise invalid(f"Expected a video, got {source.kind}: {url}")
    if source.seconds and source.seconds > most:
        raise invalid(f"The video is too long: {source.seconds:g} s, at most {most:g} s")
    return source


def _retake(model: str, source: Source, prompt: str, label: str, *, sound: bool = True) -> Work:
    """The source's clip once more, with something added."""
    width, height = clip_size("auto", source.size or (16, 9))
    seconds = source.seconds or ASSUMED_SECONDS
    names = (source.name,) if source.name else ()
    return Work("retake", "mp4", model, prompt, 1, label, width, height, seconds=seconds, inputs=names, sound=sound)


def order_captions(desk: Desk, account: str, body: CaptionsRequest) -> JobDraft:
    """A captioned copy of a video, billed by its seconds."""
    if body.quality == "best" and not body.language:
        raise invalid("language is required for quality 'best'")
    row = desk.row("auto-caption")
    source = _video(desk, body.media_url, CAPTIONS_MOST)
    work = _retake("auto-caption", source, "Captions appear here, word by word", "captions")
    return draft(
        desk, account, row, kind="media", bucket="media", prompt="", generation_type="captions",
        request=body.model_dump(exclude_none=True), credits_=price(row, seconds=source.seconds),
        works=with_thumbnail(work),
    )  # fmt: skip


def order_dubbing(desk: Desk, account: str, body: DubbingRequest) -> JobDraft:
    """Dubbed copies of a video, billed by its seconds and the number of languages."""
    row = desk.row(body.model)
    allowed = row.get("_languages")
    if not body.languages:
        raise invalid("languages must name at least one target language")
    for language in body.languages:
        if allowed and language not in allowed:
            raise invalid(f"Invalid language '{language}' for {body.model}. Allowed: {', '.join(allowed)}")
    foreign = ("source_language", "cloning_strength") if body.model == "sonilo-dubbing" else ("ducking",)
    for name in foreign:
        if getattr(body, name) is not None:
            raise invalid(f"{name} is not an option of {body.model}")
    source = _video(desk, body.video_url, DUBBING_MOST)
    works = [
        placed
        for position, language in enumerate(body.languages)
        for placed in with_thumbnail(_retake(body.model, source, f"Dubbed: {language}", language), position)
    ]
    return draft(
        desk, account, row, kind="media", bucket="dialogue", prompt="", generation_type="dubbing",
        request=body.model_dump(exclude_none=True), works=works,
        credits_=price(row, seconds=source.seconds, pieces=len(body.languages)),
    )  # fmt: skip


def order_sound(desk: Desk, account: str, body: SoundRequest) -> JobDraft:
    """Sound from text or for a video, billed by its seconds."""
    row = desk.row(body.model)
    if row["model_type"] != "sound":
        raise invalid(f"{body.model} is not a sound model")
    prompt = _sound_prompt(row, body)
    source = None
    if row["requires_input_media"]:
        if not body.video_url:
            raise invalid(f"{body.model} needs video_url")
        source = _video(desk, body.video_url, SOUND_VIDEO_MOST)
        seconds = source.seconds or ASSUMED_SECONDS
    else:
        seconds = _text_seconds(row, body.duration)
    if source is not None and "video-to-video" in body.model:
        works = with_thumbnail(_retake(body.model, source, prompt, "sound"))
    else:
        kind: WorkKind = "music" if body.model.endswith("-music") else "effect"
        seed = desk.seed(body.seed)
        works = [Placed("output", 0, Work(kind, sound_extension(), body.model, prompt, seed, prompt, seconds=seconds))]
    return draft(
        desk, account, row, kind="media", bucket="media", prompt=prompt, generation_type=row["generation_types"][0],
        request=body.model_dump(exclude_none=True), credits_=price(row, seconds=seconds), works=works,
    )  # fmt: skip


def _sound_prompt(row: Row, body: SoundRequest) -> str:
    if row["model_id"].endswith("-sound"):
        prompts = [text for text in (body.music_prompt, body.sfx_prompt) if text]
        if not prompts and body.prompt:
            raise invalid(f"{body.model} takes music_prompt and sfx_prompt, not prompt")
    else:
        prompts = [body.prompt] if body.prompt else []
    for text in prompts:
        check_prompt(row, text)
    if not prompts and not row["requires_input_media"]:
        raise invalid("prompt is required")
    return " / ".join(prompts)


def _text_seconds(row: Row, wanted: float | None) -> float:
    allowed = row["_seconds"]
    seconds = allowed["default"] if wanted is None else wanted
    if not allowed["least"] <= seconds <= allowed["most"]:
        raise invalid(f"duration must be {allowed['least']} to {allowed['most']} seconds, got {seconds:g}")
    return float(seconds)


def order_cutout(desk: Desk, account: str, body: RemoveBackgroundRequest) -> JobDraft:
    """A picture without its background."""
    request = MediaRequest(
        prompt="",
        model="remove-background",
        generation_type="image-to-image",
        source_media_urls=[body.image_url],
    )
    return order_media(desk, account, request)


def order_separation(desk: Desk, account: str, body: SeparationRequest) -> JobDraft:
    """Two stems of a recording, billed by the minute."""
    row = desk.row("mvsep-40")
    source = look_up(desk.books, body.media_url)
    if source.name is None:
        raise invalid("media_url must be a Kubeez upload")
    if source.kind == "image":
        raise invalid("media_url must be audio or video, got image")
    seconds = min(source.seconds or ASSUMED_SECONDS, 30.0)
    works = [
        Placed("vocals", 0, Work("vocals", sound_extension(), "mvsep-40", "", 1, seconds=seconds)),
        Placed("instrumental", 1, Work("instrumental", sound_extension(), "mvsep-40", "", 1, seconds=seconds)),
    ]
    return draft(
        desk, account, row, kind="separation", bucket="media", prompt="", generation_type="separation",
        request=body.model_dump(), credits_=price(row, seconds=source.seconds), works=works,
    )  # fmt: skip


def keep_persona(desk: Desk, account: str, body: PersonaRequest) -> str:
    """A persona's id, made from a finished song of the same account.

    Raises:
        Refusal: 404 for a song that the account does not have.
    """
    song = desk.books.file_with_id(body.song_id)
    if song is None or song.account != account or song.role != "song":
        raise not_found("Song not found")
    return f"persona-{song.id}"


def estimate_of(row: Row, body: EstimateRequest) -> list[tuple[str, float]]:
    """Lines of a price: label and credits each."""
    reference = (body.reference_video_seconds or 0) + (body.reference_audio_seconds or 0)
    duration = check_duration(row, body.duration)
    seconds = reference + (duration or 0) if reference or duration else None
    each = price(row, seconds=seconds, resolution=(body.resolution or "").upper())
    label = row["display_name"] if body.count == 1 else f"{row['display_name']} x {body.count}"
    return [(label, round(each * body.count, 2))]
