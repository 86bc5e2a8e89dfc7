"""What the stand-in answers: the bodies of success, for filling in and for the OpenAPI document, and those of errors.

Shapes and status codes of errors: public client code and documentation; which route uses which shape is not documented.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, model_validator


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


class Body(BaseModel):
    """What a request says, in JSON. That has no NaN, infinity or half a character, which Python's parser lets in."""

    @model_validator(mode="before")
    @classmethod
    def _can_be_said(cls, said: object) -> object:
        for name, value in said.items() if isinstance(said, dict) else ():
            try:
                json.dumps([name, value], allow_nan=False, ensure_ascii=False, default=repr).encode()
            except (ValueError, RecursionError):
                raise ValueError(f"{name!a:.60} holds what JSON cannot say") from None
        return said


class Refusal(BaseModel):
    """Why a request was not carried out; nothing was charged."""

    detail: str


class CodedRefusal(BaseModel):
    """The same with a code to act upon."""

    error: str
    message: str | None = None
    purchase_url: str | None = None


_REFUSALS: dict[int, tuple[str, Any]] = {
    400: ("The request contradicts the model's row, cannot be read, or is refused", Refusal | CodedRefusal),
    401: ("The key is missing, unknown or revoked", Refusal),
    402: ("The balance does not suffice", CodedRefusal),
    403: ("The key lacks the scope", Refusal),
    404: ("There is no such thing, or it is not to be seen yet", Refusal),
    413: ("The body is too large", Refusal),
    421: ("This server does not answer for that host", Refusal),
    424: ("The sandbox's own books or files cannot be used", CodedRefusal),
    429: ("Too many requests, or too many jobs at once", Refusal),
}
Responses = dict[int | str, dict[str, Any]]


def refusals(*statuses: int, taken: type[BaseModel] | None = None) -> Responses:
    """What an operation's entry in the OpenAPI document says of these; jobs may also be `taken` on with 202."""
    said: Responses = {202: {"model": taken, "description": "Accepted"}} if taken else {}
    for status in statuses:
        description, model = _REFUSALS[status]
        said[status] = {"description": description, "model": model}
    return said


NO_JOB = (400, 401, 402, 403, 413, 429)
"""How the start of a job is refused, beside 422."""
NO_STATE = (401, 403, 404, 429)
"""How a look at one is."""
EVENTS: Responses = {
    200: {
        "description": "Server-sent events: `heartbeat`s, then one `result` with what the status route answers",
        "content": {"text/event-stream": {}},  # no schema: OpenAPI 3.1 has none for the events of a stream
    }
}


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
