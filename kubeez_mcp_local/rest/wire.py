"""The API's answers, read tolerantly: unknown fields ignored, known variants accepted (rest-api.md §2, §5.1).

A number that means money and cannot be true is unknown, and never rounded to something that could be: a charge of -14
taken for 0 would make every job free for the ceilings, and one of 10^12 would use up a day for nothing.
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo

from kubeez_mcp_local.text import cut, without_half_characters

MOST = 1_000_000_000.0
"""Credits that an account or a ceiling may hold: sums of thousands of them still fit into the ledger."""

MOST_FOR_A_JOB = 100_000.0
"""Credits that one request may cost. The dearest catalogue row asks for 960 (March 2026), and an hour of video at
the dearest rate on record, 25 credits a second, for 90,000; what is above is a mistake and not a price."""


def number_of(value: object) -> float | None:
    """A finite number, also from text such as `"12.5"` or `"5s"`; `None` for everything else."""
    if isinstance(value, str):
        try:
            value = float(value.strip().removesuffix("s"))
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def price_of(value: object) -> float | None:
    """What one request costs or cost, in credits; `None` for what is negative, no number or beyond all prices."""
    return _between(value, MOST_FOR_A_JOB)


def balance_of(value: object) -> float | None:
    """What an account holds, in credits; `None` for what is negative, no number or beyond all accounts."""
    return _between(value, MOST)


def _between(value: object, most: float) -> float | None:
    number = number_of(value)
    return number if number is not None and 0 <= number <= most else None


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
    language: Text = None
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
    try:
        seconds = number_of(text)
        if seconds is not None:
            return datetime.fromtimestamp(seconds / 1000 if seconds > 1e11 else seconds, UTC)
        time = datetime.fromisoformat(text or "")
    except (ValueError, OverflowError, OSError):
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


_ID = ("generation_id", "id", "separation_id", "job_id", "task_id")
_ID_LISTS = ("generation_ids", "ids", "generations", "jobs", "variants", "results")
_LISTS_OF_IDS = ("generation_ids", "ids")
_LONGEST_ID = 1000
_UNFIT_FOR_A_PATH = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]|(^|[/\\])\.{1,2}($|[/\\])")
_OUTPUT_URL = ("url", "media_url", "public_url", "file_url", "audio_url", "video_url", "image_url")
_LANGUAGE = ("language", "language_code", "target_language")
_UPLOAD_URL = ("url", "media_url", "public_url", "file_url", "uploaded_url")
_UPLOAD_LISTS = ("urls", "media_urls", "files")


class ParseError(ValueError):
    """The answer lacks what makes it useful; the message says what was missing, without quoting the answer."""


def from_json(text: str | bytes) -> Any:
    """What the JSON says, without halves of characters: nothing can store them, send them on or name a file by them.

    Raises:
        ValueError: It is not JSON.
        RecursionError: It is nested too deeply.
    """
    return _of_whole_characters(json.loads(text))


def object_in(text: str | bytes) -> dict[str, Any] | None:
    """The JSON object that the text is; `None` where it is something else."""
    try:
        found = from_json(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def unreadable(error: ValidationError) -> str:
    """Which fields of an answer cannot be read."""
    fields = ", ".join(str(item["loc"][0]) for item in error.errors(include_url=False) if item["loc"])
    return f"its {fields} cannot be read"


def _of_whole_characters(value: Any) -> Any:
    if isinstance(value, str):
        return without_half_characters(value)
    if isinstance(value, list):
        return [_of_whole_characters(item) for item in value]
    if isinstance(value, dict):
        return {without_half_characters(name): _of_whole_characters(item) for name, item in value.items()}
    return value


def first(row: dict[str, Any], *names: str) -> Any:
    """The first of these fields that holds something."""
    return next((row[name] for name in names if row.get(name) not in (None, "", [])), None)


def read_balance(payload: object) -> Balance:
    row = _unwrapped(payload, "credits", "balance", "total")
    amount = first(row, "credits", "balance", "total")
    if isinstance(amount, dict):
        amount = first(amount, "credits", "balance", "total")
    number = balance_of(amount)
    if number is None:
        raise ParseError("it holds no number of credits that an account can have")
    return Balance.model_validate({**row, "credits": number})


def read_models(payload: object) -> list[dict[str, Any]]:
    return [row for row in _rows(payload, "models") if first(row, "model_id", "id")]


def read_generations(payload: object, media_origin: str = MEDIA_ORIGIN) -> list[Generation]:
    """All rows; one that cannot be named has an empty id, so that nobody takes the list for complete without it."""
    rows = _rows(payload, "generations", others={})
    return [read_generation({"status": None, **row}, media_origin, job_id="") for row in rows]


def read_generation(payload: object, media_origin: str = MEDIA_ORIGIN, *, job_id: str | None = None) -> Generation:
    """Read a job; `job_id` stands in where a status answer does not repeat the id that was asked for."""
    row = _unwrapped(payload, "status", *_ID)
    found = _id_of(row) or job_id
    if found is None or not ("status" in row or "outputs" in row or "songs" in row):
        raise ParseError("it holds no job")
    outputs = [_output(item) for item in list_of(row.get("outputs"))]
    if not outputs and (url := row.get("result_url")):
        outputs = [{"url": url}]
    songs = [_song(item) for item in list_of(row.get("songs"))]
    addresses = [each["url"] for each in outputs] + [each["audio_url"] for each in songs]
    addresses += [row.get("vocals_url"), row.get("instrumental_url")]
    known = {
        **row,
        "id": found,
        "refused_urls": [refused for each in addresses if (refused := refused_url(each))],
        "error_message": _error_text(first(row, "error_message", "error", "failure_reason")),
        "outputs": outputs,
        "songs": songs,
        "raw": row,
    }
    return Generation.model_validate(known, context={"media_origin": media_origin})


def read_accepted(payload: object) -> Accepted:
    """The ids of what was started. What else an answer lists (names, addresses, outputs) is none, and an answer whose
    jobs cannot be followed is as good as no answer: the history has to tell what became of the request."""
    row = _unwrapped(payload, *_ID, *_ID_LISTS)
    ids = [found] if (found := _id_of(row)) else []
    for name in _ID_LISTS:
        for item in list_of(row.get(name)):
            is_job = not first(item, *_OUTPUT_URL) if isinstance(item, dict) else name in _LISTS_OF_IDS
            ids += [text] if is_job and (text := _id_of(item)) else []
    if not ids:
        raise ParseError("it holds no generation id")
    if not all(map(is_job_id, ids)):
        raise ParseError("it holds a generation id that cannot be asked for")
    return Accepted.model_validate({**row, "generation_ids": list(dict.fromkeys(ids)), "raw": row})


def is_job_id(text: str) -> bool:
    """Whether a job of this id can be asked for. Ids are opaque (rest-api.md §2); percent-encoded they can stand in a
    path, unless servers take them for steps in it."""
    return 0 < len(text.strip()) <= len(text) <= _LONGEST_ID and not _UNFIT_FOR_A_PATH.search(text)


def read_uploaded(payload: object, media_origin: str = MEDIA_ORIGIN) -> Uploaded:
    row = _unwrapped(payload, *_UPLOAD_URL, *_UPLOAD_LISTS)
    candidate = first(row, *_UPLOAD_URL)
    if candidate is None:
        items = [item for name in _UPLOAD_LISTS for item in list_of(row.get(name))]
        head = items[0] if items else None
        candidate = first(head, *_UPLOAD_URL) if isinstance(head, dict) else head
    url = resolve_url(candidate, media_origin)
    if url is None:
        raise ParseError("it holds no URL of the upload")
    return Uploaded(url=url)


def _output(item: object) -> dict[str, Any]:
    row = item if isinstance(item, dict) else {"url": item}
    return {**row, "url": first(row, *_OUTPUT_URL), "language": first(row, *_LANGUAGE)}


def _song(item: object) -> dict[str, Any]:
    row = item if isinstance(item, dict) else {"audio_url": item}
    return {
        **row,
        "audio_url": first(row, "audio_url", "url"),
        "stream_url": first(row, "stream_url", "stream_audio_url"),
        "cover_image_url": first(row, "cover_image_url", "cover_url", "image_url"),
    }


def _error_text(value: object) -> object:
    return first(value, "message", "detail", "error", "code") if isinstance(value, dict) else value


def _id_of(item: object) -> str | None:
    if isinstance(item, dict):
        item = first(item, *_ID)
    if isinstance(item, bool) or not isinstance(item, str | int):
        return None
    return str(item).strip() or None


def list_of(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _rows(payload: object, name: str, others: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """The objects in the list; with `others` in the place of what is none, else without that."""
    rows = payload
    if isinstance(payload, dict):
        rows = payload.get(name, payload.get("data", payload.get("items")))
        if isinstance(rows, dict):
            rows = rows.get(name)
    if not isinstance(rows, list):
        raise ParseError(f"it holds no list of {name}")
    found = [row if isinstance(row, dict) else others for row in rows]
    return [row for row in found if row is not None]


def _unwrapped(payload: object, *expected: str) -> dict[str, Any]:
    """The object that holds one of the expected fields: the answer itself, or its `data` or `generation`."""
    if not isinstance(payload, dict):
        raise ParseError("it is not a JSON object")
    if not any(name in payload for name in expected):
        for wrapper in ("data", "generation", "result"):
            if isinstance(payload.get(wrapper), dict):
                return dict(payload[wrapper])
    return payload
