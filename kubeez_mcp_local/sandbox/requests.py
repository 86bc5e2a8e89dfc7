"""Bodies of the requests that start jobs, as far as they are known. Unknown fields are ignored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

Weight = Annotated[float, Field(ge=0, le=1)]


class MediaRequest(BaseModel):
    """Start an image or video job."""

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
    seed: Annotated[int, Field(ge=0)] | None = None
    fixed_lens: bool | None = Field(None, description="Fixed camera (assumed; has no effect here).")
    voice_id: str | None = Field(None, description="Gemini Omni voice (assumed; has no effect here).")
    character_ids: list[str] | None = Field(None, description="Gemini Omni characters (assumed; no effect here).")


class MusicRequest(BaseModel):
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


class Line(BaseModel):
    """What one voice says."""

    text: str
    voice: str | None = None


class DialogueRequest(BaseModel):
    """Start a speech job."""

    dialogue: list[Line]
    stability: Weight = 0.5
    language_code: str = "auto"
    provider: Literal["elevenlabs", "google", "gemini", "gemini-3.8", "seed"] = Field(
        "elevenlabs", description="Speech engine (assumed; the voice list holds for elevenlabs only)."
    )


class AdCopyRequest(BaseModel):
    """Start ad creatives after a reference ad."""

    reference_ad_url: str
    product_image_url: str | None = None
    product_text: str | None = None
    language: str = "en"
    variant_count: Annotated[int, Field(ge=1, le=4)] = 1
    aspect_ratio: str = "9:16"


class CaptionsRequest(BaseModel):
    """Burn captions into a video."""

    media_url: str
    quality: Literal["auto", "best"] = "auto"
    language: str | None = Field(None, description="ISO 639-1 code; needed for quality `best`.")
    style: str | None = None


class SeparationRequest(BaseModel):
    """Split a recording into vocals and the rest."""

    media_url: str


class DubbingRequest(BaseModel):
    """Translate and re-voice the speech of a video."""

    video_url: str
    languages: list[str]
    model: Literal["sonilo-dubbing", "elevenlabs-dubbing"] = "sonilo-dubbing"
    source_language: str | None = None
    cloning_strength: Annotated[float, Field(ge=0, le=10)] | None = None
    ducking: bool | None = None


class SoundRequest(BaseModel):
    """Make sound effects or instrumental music, from text or for a video."""

    model: str = "sonilo-text-to-sfx"
    prompt: str | None = None
    music_prompt: str | None = None
    sfx_prompt: str | None = None
    video_url: str | None = None
    duration: Annotated[float, Field(gt=0)] | None = Field(None, description="Seconds, for text models.")
    seed: Annotated[int, Field(ge=0)] | None = None


class RemoveBackgroundRequest(BaseModel):
    """Cut the subject of a picture out."""

    image_url: str


class PersonaRequest(BaseModel):
    """Keep the voice and manner of a finished song for later ones."""

    song_id: str
    name: Annotated[str, Field(min_length=1, max_length=80)]
    description: Annotated[str, Field(min_length=1, max_length=500)]
    style: str | None = None


class EstimateRequest(BaseModel):
    """Price a job without starting it."""

    model: str
    generation_type: str | None = None
    duration: str | None = None
    quality: str | None = None
    resolution: str | None = None
    sound: bool | None = None
    reference_video_seconds: Annotated[float, Field(ge=0)] | None = None
    reference_audio_seconds: Annotated[float, Field(ge=0)] | None = None
    count: Annotated[int, Field(ge=1, le=100)] = 1
