"""What the stand-in answers: the bodies of success, for filling in and for the OpenAPI document, and those of errors.

Shapes and status codes of errors: public client code and documentation; which route uses which shape is not documented.
"""

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


class JobState(BaseModel):
    """What every state of a job says."""

    status: str
    credits_deducted: float
    error_message: str | None


class MadeFromPrompt(JobState):
    """What jobs with a prompt say besides."""

    id: str
    model: str
    prompt: str
    generation_type: str
    created_at: str
    completed_at: str | None


class Generation(MadeFromPrompt):
    processing_time_ms: int | None
    cdn_ready: bool
    result_url: str | None
    outputs: list[Output]


class Song(BaseModel):
    id: str
    title: str
    audio_url: str | None
    stream_url: str | None
    cover_image_url: str | None


class MusicGeneration(MadeFromPrompt):
    songs: list[Song]


class Separation(JobState):
    separation_id: str
    vocals_url: str | None
    instrumental_url: str | None


AnyGeneration = Generation | MusicGeneration | Separation


class Generations(BaseModel):
    """History, newest first."""

    generations: list[AnyGeneration]


class Models(BaseModel):
    models: list[dict[str, Any]]
    total_count: int


class Balance(BaseModel):
    credits: float
    message: str
    purchase_url: str


class Uploaded(BaseModel):
    url: str


class Persona(BaseModel):
    persona_id: str
    name: str


class EstimateLine(BaseModel):
    label: str
    credits: float


class Estimate(BaseModel):
    """A price; nothing was charged."""

    model: str
    estimated_cost_credits: float
    estimated_time_seconds: float
    breakdown: list[EstimateLine]


class Health(BaseModel):
    status: str


class ApiError(Exception):
    """An answer other than success: `status`, and a JSON `body` or the text of its `detail`."""

    def __init__(self, status: int, body: dict[str, Any] | str) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = {"detail": body} if isinstance(body, str) else body


def not_found(what: str = "Not found") -> ApiError:
    """404: unknown route or id."""
    return ApiError(404, what)


def invalid(message: str) -> ApiError:
    """400: the request contradicts the model's catalogue row."""
    return ApiError(400, message)
