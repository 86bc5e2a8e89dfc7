"""The API's answers, read tolerantly: unknown fields ignored, known variants accepted (rest-api.md §2, §5.1)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from kubeez_mcp_local.rest.amounts import number_of, price_of
from kubeez_mcp_local.text import cut

Status = Literal["pending", "processing", "completed", "failed"]
MEDIA_ORIGIN = "https://media.kubeez.com"

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_LONGEST_REFUSED = 100
_SUCCESS = {"completed", "complete", "success", "succeeded", "ready", "done", "finished"}
_FAILURE = {"failed", "failure", "error", "errored", "cancelled", "canceled", "rejected", "expired"}
_WAITING = {"pending", "queued", "waiting", "submitted", "created", "scheduled"}


def status_of(word: object) -> Status:
    """One of the four documented states. An unknown word counts as still running, so that nobody gives up on it."""
    text = str(word or "").strip().lower()
    if text in _SUCCESS:
        return "completed"
    if text in _FAILURE:
        return "failed"
    return "pending" if text in _WAITING or not text else "processing"


def _whole(value: object) -> int | None:
    number = number_of(value)
    return None if number is None else int(number)


def _text(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value).strip() or None


def _flag(value: object) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower())
    return value if isinstance(value, bool) else None


def _url(value: object, info: ValidationInfo) -> str | None:
    return resolve_url(value, (info.context or {}).get("media_origin", MEDIA_ORIGIN))


def resolve_url(value: object, media_origin: str = MEDIA_ORIGIN) -> str | None:
    """An absolute http(s) URL; a root-relative path is resolved against `media_origin`, anything else is dropped."""
    text = _text(value)
    if text is None:
        return None
    if text.startswith("//"):
        text = f"https:{text}"
    elif text.startswith("/"):
        text = media_origin.rstrip("/") + text
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    return text if parts.scheme in ("http", "https") and parts.hostname else None


def refused_url(value: object) -> str | None:
    """What stands where a URL should be and is one of another kind than http(s), cut; `None` for anything else."""
    text = _text(value)
    found = _SCHEME.match(text) if text else None
    return cut(text, _LONGEST_REFUSED) if text and found and resolve_url(text) is None else None


Text = Annotated[str | None, BeforeValidator(_text)]
Number = Annotated[float | None, BeforeValidator(number_of)]
Price = Annotated[float | None, BeforeValidator(price_of)]
Whole = Annotated[int | None, BeforeValidator(_whole)]
Flag = Annotated[bool | None, BeforeValidator(_flag)]
Url = Annotated[str | None, BeforeValidator(_url)]


class Wire(BaseModel):
    """Base of everything received: unknown fields are ignored, a field of the wrong type counts as absent."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Balance(Wire):
    """What the account holds, in credits (may be fractional)."""

    credits: float
    message: Text = None
    purchase_url: Url = None


class Output(Wire):
    """One finished file. `url` is null while its copy is still running; `duration` is in seconds, sizes in bytes."""

    id: Text = None
    media_type: Text = None
    url: Url = None
    thumbnail_url: Url = None
    optimized_url: Url = None
    width: Whole = None
    height: Whole = None
    duration: Number = None
    format: Text = None
    file_size: Whole = None
    optimization_status: Text = None
    cdn_ready: Flag = None


class Song(Wire):
    """One song of a music job. `stream_url` plays while it is still rendering; done means `audio_url` is there."""

    id: Text = None
    title: Text = None
    audio_url: Url = None
    stream_url: Url = None
    cover_image_url: Url = None
    duration: Number = None


class Generation(Wire):
    """A job as the API sees it. `credits_deducted` in credits, `processing_time_ms` in milliseconds.

    `refused_urls` are addresses of outputs that nothing is fetched from, such as `file:` and `data:`, cut.
    """

    id: str
    status: Annotated[Status, BeforeValidator(status_of)] = "pending"
    model: Text = None
    prompt: Text = None
    generation_type: Text = None
    created_at: Text = None
    completed_at: Text = None
    processing_time_ms: Whole = None
    credits_deducted: Price = None
    error_message: Text = None
    outputs: list[Output] = []
    songs: list[Song] = []
    vocals_url: Url = None
    instrumental_url: Url = None
    refused_urls: list[str] = []
    cdn_ready: Flag = None
    raw: dict[str, Any] = Field(default_factory=dict, repr=False)

    @property
    def failed(self) -> bool:
        """Whether the job ended without a result."""
        return self.status == "failed" or any(
            output.url is None and (output.optimization_status or "").lower() == "failed" for output in self.outputs
        )

    @property
    def settled(self) -> bool:
        """Whether nothing more will come: failed, or completed with every URL there (rest-api.md §3.3)."""
        if self.failed:
            return True
        urls = self._urls()
        return self.status == "completed" and bool(urls) and urls.count(None) <= len(self.refused_urls)

    @property
    def created(self) -> datetime | None:
        """`created_at` as a time with a zone (UTC where the API names none)."""
        return moment(self.created_at)

    def _urls(self) -> list[str | None]:
        if self.songs:
            return [song.audio_url for song in self.songs]
        if self.outputs:
            return [output.url for output in self.outputs]
        if self.vocals_url or self.instrumental_url:
            return [self.vocals_url, self.instrumental_url]
        return []


class Accepted(Wire):
    """The API took a paid request: one id for each job it started."""

    generation_ids: list[str] = Field(min_length=1)
    status: Annotated[Status, BeforeValidator(status_of)] = "pending"
    model: Text = None
    estimated_cost_credits: Price = None
    message: Text = None
    raw: dict[str, Any] = Field(default_factory=dict, repr=False)

    @property
    def generation_id(self) -> str:
        return self.generation_ids[0]


class Uploaded(Wire):
    """An upload's public URL, fit for `source_media_urls`."""

    url: str


def moment(text: str | None) -> datetime | None:
    """An ISO 8601 time, or seconds or milliseconds since 1970, as a time with a zone; `None` if it is neither."""
    if text is None:
        return None
    try:
        seconds = number_of(text)
        if seconds is not None:
            return datetime.fromtimestamp(seconds / 1000 if seconds > 1e11 else seconds, UTC)
        time = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
