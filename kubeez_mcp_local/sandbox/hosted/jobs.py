"""Hosted tools that start jobs, price them, and say what became of them: on the rules and books of the REST routes."""

import json
from typing import Annotated, Any, Literal

from fastapi.responses import JSONResponse
from pydantic import Field

from kubeez_mcp_local.sandbox import assumed_jobs, documented_jobs, free_routes
from kubeez_mcp_local.sandbox.answers import invalid, not_found
from kubeez_mcp_local.sandbox.books import Job
from kubeez_mcp_local.sandbox.hosted.tools import READS, WRITES, Asked, Call, Nothing, Toolbox
from kubeez_mcp_local.sandbox.service import moment

box = Toolbox()

Length = Annotated[str | float, Field(description='Seconds, as "5s" or as a number.')]
Urls = str | list[str]


def _seconds(duration: str | float | None) -> str | None:
    return f"{duration:g}s" if isinstance(duration, float | int) else duration


def _started(call: Call, answer: JSONResponse) -> dict[str, Any]:
    accepted: dict[str, Any] = json.loads(bytes(answer.body))
    row = call.service.row(accepted["model"])
    kept = ("generation_id", "generation_ids", "status", "model", "estimated_cost_credits")
    shown = {name: accepted[name] for name in kept if name in accepted}
    return {**shown, "estimated_time_seconds": row["estimated_time_seconds"]}


# Before a job


class GetModels(Asked):
    model_type: str | None = None


@box.add(None, READS)
def get_models(call: Call, asked: GetModels) -> dict[str, Any]:
    """List models with what each takes and costs. Assumed: that no scope is needed, and the frame around the rows."""
    rows = call.service.catalogue.served(asked.model_type)
    return {"models": rows, "total_count": len(rows)}


@box.add("read:balance", READS)
def get_balance(call: Call, asked: Nothing) -> dict[str, Any]:
    """Credits left. Assumed: the names of the answer's fields."""
    return free_routes.get_balance(call.service, call.caller).model_dump()


class Estimate(Asked):
    model: str
    generation_type: str | None = None
    duration: Length | None = None
    quality: str | None = None
    resolution: str | None = None
    sound: bool | None = None
    reference_video_seconds: float | None = None
    reference_audio_seconds: float | None = None


@box.add(None, READS)
def estimate(call: Call, asked: Estimate) -> dict[str, Any]:
    """Preview credits and processing time; nothing is deducted. Assumed: the names of the answer's fields."""
    given = {**asked.model_dump(exclude_none=True), "duration": _seconds(asked.duration)}
    body = assumed_jobs.EstimateRequest.model_validate(given)
    return assumed_jobs.estimate(body, call.service, call.caller).model_dump()


# Starting one


class GenerateMedia(Asked):
    prompt: str
    model: str
    generation_type: str = "text-to-image"
    negative_prompt: str | None = None
    source_media_urls: Urls | None = None
    aspect_ratio: str | None = None
    duration: Length | None = None
    quality: str | None = None
    resolution: str | None = None
    sound: bool | None = None
    seed: documented_jobs.Seed | None = None
    voice_id: str | None = None
    character_ids: list[str] | None = None


@box.add("generate:media", None, "media")
def generate_media(call: Call, asked: GenerateMedia) -> dict[str, Any]:
    """Start an image or video job; poll get_status. Takes public HTTPS URLs only. Annotations unknown: none given."""
    given = {**asked.model_dump(exclude_none=True), "duration": _seconds(asked.duration)}
    body = documented_jobs.MediaRequest.model_validate(given)
    return _started(call, documented_jobs.generate_media(body, call.service, call.caller))


class Regenerate(Asked):
    id: str
    prompt: str | None = None
    seed: documented_jobs.Seed | None = None
    aspect_ratio: str | None = None
    negative_prompt: str | None = None
    variant_count: Annotated[int, Field(ge=1, le=4)] = 1


@box.add("generate:media", WRITES, "media")
def regenerate(call: Call, asked: Regenerate) -> dict[str, Any]:
    """Run a media job of yours again, with changes; costs as much as a new one. Not for music, separation or speech."""
    job = _own(call, asked.id)
    if job.kind != "media" or "generation_type" not in job.request:
        raise invalid("Only image and video jobs can be regenerated")
    changes = asked.model_dump(exclude_none=True, exclude={"id", "variant_count"})
    body = documented_jobs.MediaRequest.model_validate({**job.request, **changes})
    drafts = [documented_jobs.media_job(call.service, call.caller, body) for _ in range(asked.variant_count)]
    return _started(call, call.service.take_on(*drafts))


class GenerateMusic(Asked):
    prompt: str | None = None
    instrumental: bool = False
    model: str | None = None
    title: str | None = None
    style: str | None = None
    vocal_gender: Literal["m", "f", "random"] | None = None
    song_description: str | None = None
    lyrics: str | None = None
    negative_tags: str | None = None
    style_weight: documented_jobs.Weight | None = None
    weirdness_constraint: documented_jobs.Weight | None = None
    audio_weight: documented_jobs.Weight | None = None


@box.add("generate:music", WRITES, "music")
def generate_music(call: Call, asked: GenerateMusic) -> dict[str, Any]:
    """Start a music job: a prompt of at most 400 characters, or title and style with lyrics or a description."""
    given, note = asked.model_dump(exclude_none=True), None
    if asked.title and asked.style and asked.song_description and not (asked.instrumental or asked.lyrics):
        prompt = f"{asked.title}, {asked.style}: {asked.song_description}"
        given, note = {"prompt": prompt[: documented_jobs.SIMPLE_PROMPT_MAX]}, "Rerouted to simple mode: no lyrics."
    body = documented_jobs.MusicRequest.model_validate(given)
    started = _started(call, documented_jobs.generate_music(body, call.service, call.caller))
    return {**started, "mode_note": note} if note else started


class GenerateSound(Asked):
    model: str = "sonilo-text-to-sfx"
    video_url: str | None = None
    prompt: str | None = None
    music_prompt: str | None = None
    sfx_prompt: str | None = None
    duration: Annotated[float, Field(gt=0)] | None = None


@box.add("generate:media", WRITES, "media")
def generate_sound(call: Call, asked: GenerateSound) -> dict[str, Any]:
    """Start a job of sound effects or instrumental music, from text or against a clip. Assumed: the default model."""
    body = assumed_jobs.SoundRequest.model_validate(asked.model_dump(exclude_none=True))
    return _started(call, assumed_jobs.generate_sound(body, call.service, call.caller))


class GenerateDialogue(Asked):
    text: str
    provider: Literal["elevenlabs", "google", "gemini", "gemini-3.8", "seed"] = "elevenlabs"
    voice: str | None = Field(None, description="Assumed name.")
    stability: documented_jobs.Weight | None = Field(None, description="Assumed name.")
    language_code: str | None = None


@box.add("generate:speech", WRITES, "dialogue")
def generate_dialogue(call: Call, asked: GenerateDialogue) -> dict[str, Any]:
    """Start a speech job that says the text, 5 to 5000 characters; poll get_status."""
    given = asked.model_dump(exclude_none=True, exclude={"text", "voice"})
    line = {"text": asked.text, "voice": asked.voice}
    body = documented_jobs.DialogueRequest.model_validate({**given, "dialogue": [line]})
    return _started(call, documented_jobs.generate_dialogue(body, call.service, call.caller))


class GenerateDubbing(Asked):
    video_url: str
    languages: list[str] = Field(description="Assumed name.")
    model: Literal["sonilo-dubbing", "elevenlabs-dubbing"] = "sonilo-dubbing"
    source_language: str | None = None
    cloning_strength: Annotated[float, Field(ge=0, le=10)] | None = None
    ducking: bool | None = Field(None, description="Assumed name.")


@box.add("generate:media", WRITES, "media")
def generate_dubbing(call: Call, asked: GenerateDubbing) -> dict[str, Any]:
    """Translate the speech of a video of at most 300 s, one MP4 for each language; poll get_status."""
    body = assumed_jobs.DubbingRequest.model_validate(asked.model_dump(exclude_none=True))
    return _started(call, assumed_jobs.generate_dubbing(body, call.service, call.caller))


class GenerateCaptions(Asked):
    media_url: str
    quality: Literal["auto", "best"] = "auto"
    language: str | None = Field(None, description="Assumed name: the language, needed for quality best.")


@box.add("generate:media", WRITES, "media")
def generate_captions(call: Call, asked: GenerateCaptions) -> dict[str, Any]:
    """Burn word-timed captions into a video of at most 30 min. Assumed: that it is polled with get_status."""
    body = assumed_jobs.CaptionsRequest.model_validate(asked.model_dump(exclude_none=True))
    return _started(call, assumed_jobs.generate_captions(body, call.service, call.caller))


class GenerateSeparation(Asked):
    media_url: str


@box.add("generate:media", WRITES, "media")
def generate_separation(call: Call, asked: GenerateSeparation) -> dict[str, Any]:
    """Split a Kubeez upload into vocals and instrumental; poll get_status with the separation_id."""
    body = assumed_jobs.SeparationRequest(media_url=asked.media_url)
    accepted = json.loads(bytes(assumed_jobs.generate_separation(body, call.service, call.caller).body))
    return {name: accepted[name] for name in ("separation_id", "task_id", "status")}


class RemoveBackground(Asked):
    image_url: str


@box.add("generate:media", WRITES, "media")
def remove_background(call: Call, asked: RemoveBackground) -> dict[str, Any]:
    """Cut the subject of a picture out, as a PNG with alpha; poll get_status."""
    body = assumed_jobs.RemoveBackgroundRequest(image_url=asked.image_url)
    started = _started(call, assumed_jobs.remove_background(body, call.service, call.caller))
    return {name: started[name] for name in ("generation_id", "status")}


# What became of it


class GetStatus(Asked):
    id: str
    kind: Literal["media", "music", "separation"] | None = None


@box.add("read:generations", READS)
def get_status(call: Call, asked: GetStatus) -> dict[str, Any]:
    """State of a job: kind, status, and its outputs, songs or stems once they are made. Done when URLs are there."""
    job, shown = _seen(call, asked.id, asked.kind)
    return {"kind": job.kind, "id": job.id, **shown}


class GetGeneration(Asked):
    id: str


@box.add("read:generations", READS.model_copy(update={"open_world_hint": False}))
def get_generation(call: Call, asked: GetGeneration) -> dict[str, Any]:
    """One row of the history: prompt, model, parameters, status, outputs, credits deducted."""
    return _row(*_seen(call, asked.id))


class GetGenerations(Asked):
    limit: int = Field(free_routes.MOST_ROWS, description="1 to 25; more are cut to 25.")
    model: str | None = None
    status: str | None = None
    generation_type: str | None = None


@box.add("read:generations", READS)
def get_generations(call: Call, asked: GetGenerations) -> dict[str, Any]:
    """The history, newest first, at most 25 rows. Assumed: how a separation looks in it."""
    found = free_routes.list_generations(call.service, call.viewer, call.caller, **asked.model_dump())
    return {"generations": [_row(_own(call, _id(row)), row) for row in found.model_dump()["generations"]]}


def _id(shown: dict[str, Any]) -> str:
    return str(shown.get("id") or shown["separation_id"])


def _own(call: Call, job_id: str) -> Job:
    job = call.service.books.job(call.caller.id, job_id)
    if job is None:
        raise not_found("Generation not found")
    return job


def _seen(call: Call, job_id: str, kind: str | None = None) -> tuple[Job, dict[str, Any]]:
    """A job of the caller's, of that kind, as it is to be seen now."""
    job = _own(call, job_id)
    shown = call.viewer.read(job) if kind in (None, job.kind) else None
    if shown is None:
        raise not_found("Generation not found")
    return job, shown.model_dump()


def _row(job: Job, shown: dict[str, Any]) -> dict[str, Any]:
    """What a row of the history always has, whatever kind of job it is."""
    always: dict[str, Any] = {
        "id": job.id,
        "prompt": job.prompt,
        "model": job.model,
        "generation_type": job.generation_type,
        "created_at": moment(job.created_at),
        "completed_at": None,
        "processing_time_ms": None,
        "outputs": [],
    }
    return {**always, **shown}
