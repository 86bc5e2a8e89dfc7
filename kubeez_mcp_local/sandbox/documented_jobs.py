"""Operations that the API documents: each with its request, its rules, its route, and the files that it makes."""

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import Field

from kubeez_mcp_local.sandbox.answers import (
    EVENTS,
    NO_JOB,
    NO_STATE,
    Accepted,
    Body,
    Generation,
    MusicGeneration,
    invalid,
    refusals,
)
from kubeez_mcp_local.sandbox.books import Account, JobDraft, Placed, Work
from kubeez_mcp_local.sandbox.catalogue import (
    ASSUMED_SECONDS,
    DEFAULT_MUSIC_MODEL,
    Row,
    Source,
    billed_seconds,
    check_duration,
    check_generation_type,
    check_one_of,
    check_prompt,
    check_ratio,
    check_resolution,
    check_sources,
    clip_size,
    look_up_all,
    picture_size,
    tier_of,
)
from kubeez_mcp_local.sandbox.knobs import LARGEST
from kubeez_mcp_local.sandbox.service import (
    AdsCaller,
    HistoryCaller,
    JobId,
    MediaCaller,
    MusicCaller,
    Service,
    SpeechCaller,
    TheService,
    TheViewer,
    with_thumbnail,
)
from kubeez_mcp_local.sandbox.studio.sounds import sound_extension, speech_seconds

router = APIRouter(prefix="/v1/generate")

Seed = Annotated[int, Field(ge=0, le=LARGEST)]
Weight = Annotated[float, Field(ge=0, le=1)]

# Images and videos

CLIP_SECONDS = 5.0


class MediaRequest(Body):
    prompt: str
    model: str
    generation_type: str = "text-to-image"
    negative_prompt: str | None = None
    source_media_urls: list[str] | str | None = None
    aspect_ratio: str | None = None
    duration: str | None = Field(None, description='One of the model\'s duration options, e.g. "5s".')
    quality: str | None = None
    resolution: str | None = None
    sound: bool | None = None
    seed: Seed | None = None
    fixed_lens: bool | None = Field(None, description="Fixed camera (assumed; has no effect here).")
    voice_id: str | None = Field(None, description="Gemini Omni voice (assumed; has no effect here).")
    character_ids: list[str] | None = Field(None, description="Gemini Omni characters (assumed; no effect here).")


@router.post("/media", tags=["Media"], response_model=Accepted, responses=refusals(*NO_JOB, taken=Accepted))
def generate_media(body: MediaRequest, service: TheService, caller: MediaCaller) -> JSONResponse:
    """Start an image or video job."""
    return service.take_on(media_job(service, caller, body))


@router.get("/media/{generation_id}", tags=["Media"], responses=refusals(*NO_STATE))
def get_media_generation(generation_id: JobId, viewer: TheViewer, caller: HistoryCaller) -> Generation:
    """State of a media, speech or ad job."""
    return viewer.status(caller, generation_id, "media", Generation)


@router.get(
    "/media/{generation_id}/stream",
    tags=["Streaming"],
    response_class=StreamingResponse,
    responses=EVENTS | refusals(*NO_STATE),
)
def stream_media_generation(generation_id: JobId, viewer: TheViewer, caller: HistoryCaller) -> StreamingResponse:
    """The same as events: heartbeats, then `result`."""
    return viewer.events(caller, generation_id, "media")


def media_job(service: Service, caller: Account, body: MediaRequest) -> JobDraft:
    """An image or video job.

    Raises:
        ApiError: 400 when the request does not fit the row.
    """
    row = service.row(body.model)
    if row["model_type"] not in ("image", "video") or row["model_id"] == "ad-copy":
        raise invalid(f"{body.model} is not an image or video model")
    check_generation_type(row, body.generation_type)
    check_prompt(row, body.prompt)
    sources = look_up_all(service.books, body.source_media_urls)
    check_sources(row, body.generation_type, sources)
    ratio = check_ratio(row, body.aspect_ratio)
    check_resolution(row, body.resolution, body.aspect_ratio)
    seconds = check_duration(row, body.duration)
    works = with_thumbnail(_media_work(service, row, body, sources, ratio, seconds))
    billed = billed_seconds(row, seconds, video=_total(sources, "video"), audio=_total(sources, "audio"))
    return service.draft(
        caller, row, body, body.generation_type, works, prompt=body.prompt, seconds=billed, resolution=body.resolution
    )


def _total(sources: Sequence[Source], kind: str) -> float:
    return sum(source.seconds or ASSUMED_SECONDS for source in sources if source.kind == kind)


def _media_work(
    service: Service, row: Row, body: MediaRequest, sources: Sequence[Source], ratio: str, seconds: int | None
) -> Work:
    model = row["model_id"]
    natural = next((source.size for source in sources if source.size), None)
    names = tuple(source.name for source in sources if source.name and source.kind in ("image", "video"))
    seed = service.seed(body.seed)
    if model == "remove-background":
        width, height = natural or (1024, 1024)
        return Work("cutout", "png", model, body.prompt, seed, width=width, height=height, inputs=names)
    if row["model_type"] == "video":
        followed = next((source.seconds for source in sources if source.kind == "video" and source.seconds), None)
        width, height = clip_size(ratio, natural)
        loud = row["capabilities"].get("video_audio") == "included" or model.endswith("-audio") or bool(body.sound)
        length = float(seconds or followed or CLIP_SECONDS)
        return Work(
            "clip", "mp4", model, body.prompt, seed, "", width, height, seconds=length, inputs=names, sound=loud
        )
    tier = tier_of(model, body.resolution, body.quality)
    width, height = picture_size(ratio, tier, natural)
    extension = "jpg" if row["provider"] == "ByteDance" else "png"
    return Work("picture", extension, model, body.prompt, seed, width=width, height=height, inputs=names)


# Music

SONG_SECONDS = 14.0
SIMPLE_PROMPT_MAX = 400


class MusicRequest(Body):
    """Start a music job: `prompt` alone, or `title` and `style` with lyrics or a description."""

    prompt: str | None = None
    instrumental: bool = False
    model: str | None = None
    title: str | None = None
    style: str | None = None
    vocal_gender: Literal["m", "f", "random"] | None = None
    song_description: str | None = None
    lyrics: str | None = None
    negative_tags: str | None = None
    style_weight: Weight | None = None
    weirdness_constraint: Weight | None = None
    audio_weight: Weight | None = None
    persona_id: str | None = None


@router.post("/music", tags=["Music"], response_model=Accepted, responses=refusals(*NO_JOB, taken=Accepted))
def generate_music(body: MusicRequest, service: TheService, caller: MusicCaller) -> JSONResponse:
    """Start a music job of two songs. An unknown engine is silently the default one, as the API does it."""
    row = service.catalogue.get(body.model or "")
    if row is None or row["model_type"] != "music" or row["_facts"].get("no_route"):
        row = service.row(DEFAULT_MUSIC_MODEL)
    prompt = _music_text(body)
    title, seed, model = body.title or prompt[:40].title(), service.seed(None), row["model_id"]
    works = []
    for number in (0, 1):
        song = Work("music", sound_extension(), model, prompt, seed + number, title, seconds=SONG_SECONDS)
        cover = Work("picture", "jpg", model, title, seed + number, width=512, height=512)
        works += [Placed("song", number, song), Placed("cover", number, cover)]
    return service.take_on(
        service.draft(caller, row, body, "text-to-music", works, prompt=prompt, kind="music", bucket="music")
    )


@router.get("/music/{generation_id}", tags=["Music"], responses=refusals(*NO_STATE))
def get_music_generation(generation_id: JobId, viewer: TheViewer, caller: HistoryCaller) -> MusicGeneration:
    """State of a music job, with its songs."""
    return viewer.status(caller, generation_id, "music", MusicGeneration)


@router.get(
    "/music/{generation_id}/stream",
    tags=["Streaming"],
    response_class=StreamingResponse,
    responses=EVENTS | refusals(*NO_STATE),
)
def stream_music_generation(generation_id: JobId, viewer: TheViewer, caller: HistoryCaller) -> StreamingResponse:
    """The same as events: heartbeats, then `result`."""
    return viewer.events(caller, generation_id, "music")


def _music_text(body: MusicRequest) -> str:
    if bool(body.title) != bool(body.style):
        raise invalid("title and style belong together: give both for advanced mode, or neither")
    if not body.title:
        if not (body.prompt or "").strip():
            raise invalid("prompt is required in simple mode")
        prompt = body.prompt or ""
        if len(prompt) > SIMPLE_PROMPT_MAX:
            raise invalid(f"prompt is too long: {len(prompt)} characters, at most {SIMPLE_PROMPT_MAX} in simple mode")
        return prompt
    if bool(body.lyrics) == bool(body.song_description):
        raise invalid("advanced mode takes exactly one of lyrics and song_description")
    if body.instrumental and body.lyrics:
        raise invalid("an instrumental has no lyrics: use song_description")
    if not body.instrumental and body.vocal_gender is None:
        raise invalid("vocal_gender is required in advanced mode: m, f or random")
    return body.lyrics or body.song_description or ""


# Speech


class Line(Body):
    text: str
    voice: str | None = None


class DialogueRequest(Body):
    dialogue: list[Line]
    stability: Weight = 0.5
    language_code: str = "auto"
    provider: Literal["elevenlabs", "google", "gemini", "gemini-3.8", "seed"] = Field(
        "elevenlabs", description="Speech engine (assumed; the voice list holds for elevenlabs only)."
    )


@router.post("/dialogue", tags=["Speech"], response_model=Accepted, responses=refusals(*NO_JOB, taken=Accepted))
def generate_dialogue(body: DialogueRequest, service: TheService, caller: SpeechCaller) -> JSONResponse:
    """Start a speech job, each line a turn of its voice; poll the media route."""
    row = service.row("text-to-dialogue-v3")
    for line in body.dialogue:
        if body.provider == "elevenlabs" and line.voice is not None:
            check_one_of(row, "voice", line.voice, row.get("voice_allowlist", []))
    total = sum(len(line.text) for line in body.dialogue)
    if not 5 <= total <= 5000:
        raise invalid(f"dialogue must have 5 to 5000 characters in total, got {total}")
    text = "\n".join(line.text.replace("\n", " ") for line in body.dialogue)
    voices = "\n".join(line.voice or "Rachel" for line in body.dialogue)
    work = Work("speech", sound_extension(), row["model_id"], text, 1, voices, seconds=speech_seconds(text))
    works = [Placed("output", 0, work)]
    return service.take_on(
        service.draft(caller, row, body, "text-to-dialogue", works, prompt=text, bucket="dialogue", characters=total)
    )


# Ads


AD_RATIOS = ("9:16", "16:9", "1:1", "4:5", "5:4", "3:4", "4:3", "2:3", "3:2", "21:9")  # assumed


class AdCopyRequest(Body):
    reference_ad_url: str
    product_image_url: str | None = None
    product_text: str | None = None
    language: str = "en"
    variant_count: Annotated[int, Field(ge=1, le=10)] = 1
    aspect_ratio: str = "9:16"


@router.post("/ad-copy", tags=["Ads"], response_model=Accepted, responses=refusals(*NO_JOB, taken=Accepted))
def generate_ad_copy(body: AdCopyRequest, service: TheService, caller: AdsCaller) -> JSONResponse:
    """Start ad creatives, one job for each variant; poll the media route."""
    row = service.row("ad-copy")
    check_one_of(row, "aspect_ratio", body.aspect_ratio, AD_RATIOS)
    urls = [body.reference_ad_url, *([body.product_image_url] if body.product_image_url else [])]
    names = tuple(source.name for source in look_up_all(service.books, urls) if source.name)
    width, height = picture_size(body.aspect_ratio)
    prompt, seed = body.product_text or "Ad after a reference", service.seed(None)
    drafts = []
    for number in range(body.variant_count):
        label = f"Variant {number + 1}" if body.variant_count > 1 else ""
        work = Work("picture", "png", "ad-copy", prompt, seed + number, label, width=width, height=height, inputs=names)
        works = with_thumbnail(work)
        drafts.append(service.draft(caller, row, body, "image-to-image", works, prompt=prompt, bucket="ads"))
    return service.take_on(*drafts)
