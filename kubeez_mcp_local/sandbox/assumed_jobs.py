"""Operations that the real API is said to offer, at paths and with fields that are our guesses, each marked as assumed.

Known from the hosted MCP server's tools of the same names. Everything about one stands together here: its models with
their invented prices, its request, its rules, its route, and the files that it makes.
"""

import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import Field

from kubeez_mcp_local.sandbox.answers import (
    NO_JOB,
    NO_STATE,
    Accepted,
    Body,
    Estimate,
    EstimateLine,
    Persona,
    Separation,
    SeparationAccepted,
    invalid,
    not_found,
    refusals,
)
from kubeez_mcp_local.sandbox.books import Placed, Work, WorkKind
from kubeez_mcp_local.sandbox.catalogue import (
    ASSUMED_SECONDS,
    Row,
    Source,
    billed_seconds,
    check_duration,
    check_prompt,
    clip_size,
    look_up,
    price,
)
from kubeez_mcp_local.sandbox.documented_jobs import MediaRequest, Seed, media_job
from kubeez_mcp_local.sandbox.service import (
    AnyCaller,
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
from kubeez_mcp_local.sandbox.studio.sounds import sound_extension

TAG = "Assumed"
router = APIRouter(prefix="/v1", tags=[TAG])


def _model(
    model_id: str,
    name: str,
    provider: str,
    kind: str,
    makes: str,
    credits_: float,
    note: str,
    seconds: int,
    **notes: Any,
) -> tuple[str, Row]:
    """A model that only the sandbox has, with its reference price and the usual seconds until it is done.

    It `makes` a generation type, such as `video-to-sound`; what stands before `-to-` is what it needs, but for text.
    Of further `notes`, what begins with `_` is never served.
    """
    needs = [needed for needed in [makes.partition("-to-")[0]] if needed != "text"]
    limits: dict[str, Any] = {"prompt_max_chars": 2000} if kind == "sound" else {}
    row = {
        "model_id": model_id,
        "display_name": name,
        "model_type": kind,
        "provider": provider,
        "cost_per_generation": credits_,
        "cost_note": f"{note} Sandbox price, invented for rehearsal.".strip(),
        "estimated_time_seconds": seconds,
        "generation_types": [makes],
        "requires_input_media": bool(needs),
        "input_media_types": needs,
        "capabilities": {**limits, **{f"max_input_{needed}s": 1 for needed in needs}},
        "_facts": {"evidence": "id published", "price": "invented"},
        **notes,
    }
    return model_id, row


def _video(service: Service, url: str, most: float) -> Source:
    """A video that is at most that many seconds long."""
    source = look_up(service.books, url)
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


# Captions

_CAPTIONS_MOST = 30 * 60
_CAPTIONS_PRICE = {
    "cost_note": "0.5 credits per second of video (the unit is invented for rehearsal).",
    "_pricing": {"per_second": 0.5},
}


class CaptionsRequest(Body):
    media_url: str
    quality: Literal["auto", "best"] = "auto"
    language: str | None = Field(None, description="ISO 639-1 code; needed for quality `best`.")
    style: str | None = None


@router.post("/generate/captions", response_model=Accepted, responses=refusals(*NO_JOB, taken=Accepted))
def generate_captions(body: CaptionsRequest, service: TheService, caller: MediaCaller) -> JSONResponse:
    """Burn captions into a video; poll the media route."""
    if body.quality == "best" and not body.language:
        raise invalid("language is required for quality 'best'")
    row = service.row("auto-caption")
    source = _video(service, body.media_url, _CAPTIONS_MOST)
    works = with_thumbnail(_retake("auto-caption", source, "Captions appear here, word by word", "captions"))
    return service.take_on(service.draft(caller, row, body, "captions", works, seconds=source.seconds))


# Dubbing

_DUBBING_MOST = 300
_DUBBING_LANGUAGES = [
    *("en", "zh_cn", "ja", "ko", "pt", "pt_br", "es", "es_419", "de"),
    *("fr", "it", "ru", "th", "ar", "tr", "vi", "id"),
]
_DUBBING = [
    _model(
        "sonilo-dubbing", "Sonilo Dubbing", "Sonilo", "dubbing", "video-to-video", 30.0,
        "3 credits per second and language, at least 10 s.", 90,
        usage_notes=f"Languages: {', '.join(_DUBBING_LANGUAGES)}.",
        _pricing={"per_second": 3, "minimum_seconds": 10}, _languages=_DUBBING_LANGUAGES,
    ),
    _model(
        "elevenlabs-dubbing", "ElevenLabs Dubbing", "ElevenLabs", "dubbing", "video-to-video", 20.0,
        "2 credits per second and language.", 90,
        usage_notes="Over 90 target languages by ISO code; source_language auto by default.",
        _pricing={"per_second": 2},
    ),
]  # fmt: skip


class DubbingRequest(Body):
    video_url: str
    languages: list[str]
    model: Literal["sonilo-dubbing", "elevenlabs-dubbing"] = "sonilo-dubbing"
    source_language: str | None = None
    cloning_strength: Annotated[float, Field(ge=0, le=10)] | None = None
    ducking: bool | None = None


@router.post("/generate/dubbing", response_model=Accepted, responses=refusals(*NO_JOB, taken=Accepted))
def generate_dubbing(body: DubbingRequest, service: TheService, caller: SpeechCaller) -> JSONResponse:
    """Translate a video's speech, one MP4 for each language; poll the media route."""
    row = service.row(body.model)
    allowed = row.get("_languages")
    if not body.languages:
        raise invalid("languages must name at least one target language")
    for language in body.languages:
        if not re.fullmatch("[a-z]{2,3}([_-][A-Za-z0-9]{2,8})?", language):
            raise invalid(f"languages must be codes such as de or pt_br, got {language!r:.40}")
        if allowed and language not in allowed:
            raise invalid(f"Invalid language '{language}' for {body.model}. Allowed: {', '.join(allowed)}")
    foreign = ("source_language", "cloning_strength") if body.model == "sonilo-dubbing" else ("ducking",)
    for name in foreign:
        if getattr(body, name) is not None:
            raise invalid(f"{name} is not an option of {body.model}")
    source = _video(service, body.video_url, _DUBBING_MOST)
    works = [
        placed
        for position, language in enumerate(body.languages)
        for placed in with_thumbnail(_retake(body.model, source, f"Dubbed: {language}", language), position)
    ]
    pieces = len(body.languages)
    return service.take_on(
        service.draft(caller, row, body, "dubbing", works, bucket="dialogue", seconds=source.seconds, pieces=pieces)
    )


# Sound

_SOUND_VIDEO_MOST = 360
_SOUND = [
    _model(
        f"sonilo-{makes}-{what.lower()}", f"Sonilo {name} {what}", "Sonilo", "sound",
        "video-to-video" if "video-to-video" in makes else makes.replace("-to", "-to-sound"),
        10.0 * each, f"{each:g} credit{'s' if each != 1 else ''} per second of video.", seconds,
        _pricing={"per_second": each},
    )
    for makes, name, seconds in (("video-to", "Video to", 30), ("video-to-video", "Video to Video", 40))
    for what, each in (("SFX", 1), ("Music", 1), ("Sound", 1.5))
]  # fmt: skip
_SOUND += [
    _model(
        "sonilo-text-to-sfx", "Sonilo Text to SFX", "Sonilo", "sound", "text-to-sound", 5.0,
        "1 credit per second, at least 3 s.", 20,
        _pricing={"per_second": 1, "minimum_seconds": 3}, _seconds={"least": 1, "most": 180, "default": 5},
    ),
    _model(
        "sonilo-text-to-music", "Sonilo Text to Music", "Sonilo", "sound", "text-to-sound", 30.0,
        "0.5 credits per second, at least 10 s.", 30,
        _pricing={"per_second": 0.5, "minimum_seconds": 10}, _seconds={"least": 5, "most": 360, "default": 60},
    ),
]  # fmt: skip


class SoundRequest(Body):
    model: str = "sonilo-text-to-sfx"
    prompt: str | None = None
    music_prompt: str | None = None
    sfx_prompt: str | None = None
    video_url: str | None = None
    duration: Annotated[float, Field(gt=0)] | None = Field(None, description="Seconds, for text models.")
    seed: Seed | None = None


@router.post("/generate/sound", response_model=Accepted, responses=refusals(*NO_JOB, taken=Accepted))
def generate_sound(body: SoundRequest, service: TheService, caller: MediaCaller) -> JSONResponse:
    """Make sound effects or instrumental music; poll the media route."""
    row = service.row(body.model)
    if row["model_type"] != "sound":
        raise invalid(f"{body.model} is not a sound model")
    prompt = _sound_prompt(row, body)
    source = None
    if row["requires_input_media"]:
        if not body.video_url:
            raise invalid(f"{body.model} needs video_url")
        source = _video(service, body.video_url, _SOUND_VIDEO_MOST)
        seconds = source.seconds or ASSUMED_SECONDS
    else:
        seconds = _sound_seconds(row, body.duration)
    if source is not None and "video-to-video" in body.model:
        works = with_thumbnail(_retake(body.model, source, prompt, "sound"))
    else:
        kind: WorkKind = "music" if body.model.endswith("-music") else "effect"
        seed = service.seed(body.seed)
        works = [Placed("output", 0, Work(kind, sound_extension(), body.model, prompt, seed, prompt, seconds=seconds))]
    makes = row["generation_types"][0]
    return service.take_on(service.draft(caller, row, body, makes, works, prompt=prompt, seconds=seconds))


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


def _sound_seconds(row: Row, wanted: float | None) -> float:
    allowed = row["_seconds"]
    seconds = allowed["default"] if wanted is None else wanted
    if not allowed["least"] <= seconds <= allowed["most"]:
        raise invalid(f"duration must be {allowed['least']} to {allowed['most']} seconds, got {seconds:g}")
    return float(seconds)


# Remove background

_BACKGROUND = _model(
    "remove-background", "Remove Background", "Kubeez", "image", "image-to-image", 5.0, "", 10,
    _facts={"evidence": "name only", "price": "invented"},
)  # fmt: skip


class RemoveBackgroundRequest(Body):
    image_url: str


@router.post("/generate/remove-background", response_model=Accepted, responses=refusals(*NO_JOB, taken=Accepted))
def remove_background(body: RemoveBackgroundRequest, service: TheService, caller: MediaCaller) -> JSONResponse:
    """Cut the subject of a picture out, as a PNG with alpha; poll the media route."""
    request = MediaRequest(
        prompt="", model="remove-background", generation_type="image-to-image", source_media_urls=[body.image_url]
    )
    return service.take_on(media_job(service, caller, request))


# Separation

_SEPARATION_PRICE = {
    "cost_note": "6 credits per started minute (the unit is invented for rehearsal).",
    "_pricing": {"per_minute": 6},
}
_STEM_SECONDS_MOST = 30.0


class SeparationRequest(Body):
    media_url: str


@router.post(
    "/generate/separation", response_model=SeparationAccepted, responses=refusals(*NO_JOB, taken=SeparationAccepted)
)
def generate_separation(body: SeparationRequest, service: TheService, caller: MediaCaller) -> JSONResponse:
    """Split a recording into vocals and the rest; poll the separation route."""
    row = service.row("mvsep-40")
    source = look_up(service.books, body.media_url)
    if source.name is None:
        raise invalid("media_url must be a Kubeez upload")
    if source.kind == "image":
        raise invalid("media_url must be audio or video, got image")
    seconds = min(source.seconds or ASSUMED_SECONDS, _STEM_SECONDS_MOST)
    stems: tuple[WorkKind, ...] = ("vocals", "instrumental")
    works = [
        Placed(stem, position, Work(stem, sound_extension(), "mvsep-40", "", 1, seconds=seconds))
        for position, stem in enumerate(stems)
    ]
    draft = service.draft(caller, row, body, "separation", works, kind="separation", seconds=source.seconds)
    job = service.accept([draft])[0]
    answer = SeparationAccepted(
        separation_id=job.id, task_id=job.id, status="pending", estimated_cost_credits=job.credits
    )
    return JSONResponse(answer.model_dump(), service.panel.knobs.success_code)


@router.get("/generate/separation/{separation_id}", responses=refusals(*NO_STATE))
def get_separation(separation_id: JobId, viewer: TheViewer, caller: HistoryCaller) -> Separation:
    """State of a separation."""
    return viewer.status(caller, separation_id, "separation", Separation)


# Free of charge: personas and estimates


class PersonaRequest(Body):
    song_id: str
    name: Annotated[str, Field(min_length=1, max_length=80)]
    description: Annotated[str, Field(min_length=1, max_length=500)]
    style: str | None = None


@router.post("/generate/music/persona", responses=refusals(400, 413, *NO_STATE))
def generate_music_persona(body: PersonaRequest, service: TheService, caller: MusicCaller) -> Persona:
    """Keep the voice of a finished song; free."""
    song = service.books.file_with_id(body.song_id)
    if song is None or song.account != caller.id or song.role != "song":
        raise not_found("Song not found")
    return Persona(persona_id=f"persona-{song.id}", name=body.name)


ReferenceSeconds = Annotated[float, Field(ge=0, le=86_400)]


class EstimateRequest(Body):
    model: str
    generation_type: str | None = None
    duration: str | None = None
    quality: str | None = None
    resolution: str | None = None
    sound: bool | None = None
    reference_video_seconds: ReferenceSeconds | None = None
    reference_audio_seconds: ReferenceSeconds | None = None
    count: Annotated[int, Field(ge=1, le=100)] = 1


@router.post("/estimate", responses=refusals(400, 401, 413, 429))
def estimate(body: EstimateRequest, service: TheService, caller: AnyCaller) -> Estimate:
    """Price a job; nothing is charged."""
    row = service.row(body.model)
    if row["_facts"].get("no_route"):
        raise invalid(f"{body.model} is listed, but no route of this API runs it")
    video, audio = body.reference_video_seconds or 0, body.reference_audio_seconds or 0
    seconds = billed_seconds(row, check_duration(row, body.duration), video=video, audio=audio)
    each = price(row, seconds=seconds, resolution=body.resolution)
    label = row["display_name"] if body.count == 1 else f"{row['display_name']} x {body.count}"
    cost = round(each * body.count, 2)
    return Estimate(
        model=body.model,
        estimated_cost_credits=cost,
        estimated_time_seconds=float(row["estimated_time_seconds"]),
        breakdown=[EstimateLine(label=label, credits=cost)],
    )


PATHS = tuple(route.path for route in router.routes if isinstance(route, APIRoute) and "{" not in route.path)
"""Where they are, for switching them off."""

MODELS: dict[str, Row] = dict([*_DUBBING, *_SOUND, _BACKGROUND])
PRICES: dict[str, Row] = {"auto-caption": _CAPTIONS_PRICE, "mvsep-40": _SEPARATION_PRICE}
"""What they add to models that the real catalogue has."""
