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


class ApiError(Exception):
    """An answer other than success: `status` and a JSON `body`, with optional response headers."""

    def __init__(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body
        self.headers = headers


def unauthorized(reason: str) -> ApiError:
    """401: no key, an unknown key or a revoked one."""
    return ApiError(401, {"detail": reason})


def missing_scope(scope: str) -> ApiError:
    """403: the key lacks `scope`."""
    return ApiError(403, {"detail": f"API key is missing the required scope: {scope}"})


def not_found(what: str = "Not found") -> ApiError:
    """404: unknown route or id."""
    return ApiError(404, {"detail": what})


def invalid(message: str) -> ApiError:
    """400: the request contradicts the model's catalogue row."""
    return ApiError(400, {"detail": message})


def invalid_model(model: str) -> ApiError:
    """400: no such model."""
    return ApiError(400, {"error": "invalid_model", "message": f"Unknown model: {model}"})


def insufficient_credits(status: int, needed: float, left: float) -> ApiError:
    """400 or 402, as the knob says: the balance does not cover the price, both in credits."""
    if status == 400:
        return ApiError(400, {"error": "insufficient_credits"})
    return ApiError(
        status,
        {
            "error": "insufficient_credits",
            "message": f"Insufficient credits: this costs {needed:g}, your balance is {left:g}.",
            "purchase_url": "https://kubeez.com/billing",
        },
    )


def too_many(reason: str, retry_after: float | None = None) -> ApiError:
    """429: a per-minute bucket or a concurrency cap is full; `retry_after` in seconds becomes a header."""
    headers = None if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    return ApiError(429, {"detail": reason}, headers)
