"""Bodies of the answers, for the OpenAPI document and for filling them in."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class Accepted(BaseModel):
    """A job was taken on and charged."""

    generation_id: str
    status: str
    model: str
    estimated_cost_credits: float
    billing_mode: str = "credits"
    message: str
    generation_ids: list[str] | None = None


class SeparationAccepted(BaseModel):
    """A separation was taken on and charged."""

    separation_id: str
    task_id: str
    status: str
    estimated_cost_credits: float


class Output(BaseModel):
    """One finished file."""

    id: str
    media_type: str
    url: str | None
    thumbnail_url: str | None
    optimized_url: str | None
    width: int | None
    height: int | None
    duration: float | None
    format: str | None
    file_size: int | None
    optimization_status: str | None
    cdn_ready: bool


class Generation(BaseModel):
    """State of a job."""

    id: str
    status: str
    model: str
    prompt: str
    generation_type: str
    created_at: str
    completed_at: str | None
    processing_time_ms: int | None
    credits_deducted: float
    error_message: str | None
    cdn_ready: bool
    result_url: str | None
    outputs: list[Output]


class Song(BaseModel):
    """One of a music job's songs."""

    id: str
    title: str
    audio_url: str | None
    stream_url: str | None
    cover_image_url: str | None


class MusicGeneration(BaseModel):
    """State of a music job."""

    id: str
    status: str
    model: str
    prompt: str
    generation_type: str
    created_at: str
    completed_at: str | None
    credits_deducted: float
    error_message: str | None
    songs: list[Song]


class Separation(BaseModel):
    """State of a separation."""

    separation_id: str
    status: str
    credits_deducted: float
    error_message: str | None
    vocals_url: str | None
    instrumental_url: str | None


class Generations(BaseModel):
    """History, newest first."""

    generations: list[Generation | MusicGeneration | Separation]


class Models(BaseModel):
    """The catalogue."""

    models: list[dict[str, Any]]
    total_count: int


class Balance(BaseModel):
    """Credits left."""

    credits: float
    message: str
    purchase_url: str


class Uploaded(BaseModel):
    """A stored input."""

    url: str


class Persona(BaseModel):
    """A kept voice."""

    persona_id: str
    name: str


class EstimateLine(BaseModel):
    """One part of a price."""

    label: str
    credits: float


class Estimate(BaseModel):
    """A price; nothing was charged."""

    model: str
    estimated_cost_credits: float
    estimated_time_seconds: float
    breakdown: list[EstimateLine]


class Health(BaseModel):
    """Liveness."""

    status: str
