"""From JSON to the models of wire.py: finds ids, lists and wrappers under every spelling of rest-api.md §5.1."""

from __future__ import annotations

import json
from typing import Any

from kubeez_mcp_local.rest.amounts import balance_of
from kubeez_mcp_local.rest.wire import (
    MEDIA_ORIGIN,
    Accepted,
    Balance,
    Generation,
    Uploaded,
    refused_url,
    resolve_url,
)
from kubeez_mcp_local.text import without_half_characters

_ID = ("generation_id", "id", "separation_id", "job_id", "task_id")
_ID_LISTS = ("generation_ids", "ids", "generations", "jobs", "variants", "results")
_OUTPUT_URL = ("url", "media_url", "public_url", "file_url", "audio_url", "video_url", "image_url")
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
    return _whole(json.loads(text))


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return without_half_characters(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {without_half_characters(name): _whole(item) for name, item in value.items()}
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
    outputs = [_output(item) for item in _list(row.get("outputs"))]
    if not outputs and (url := row.get("result_url")):
        outputs = [{"url": url}]
    songs = [_song(item) for item in _list(row.get("songs"))]
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
    row = _unwrapped(payload, *_ID, *_ID_LISTS)
    ids = [found] if (found := _id_of(row)) else []
    for name in _ID_LISTS:
        ids += [text for item in _list(row.get(name)) if (text := _id_of(item))]
    if not ids:
        raise ParseError("it holds no generation id")
    return Accepted.model_validate({**row, "generation_ids": list(dict.fromkeys(ids)), "raw": row})


def read_uploaded(payload: object, media_origin: str = MEDIA_ORIGIN) -> Uploaded:
    row = _unwrapped(payload, *_UPLOAD_URL, *_UPLOAD_LISTS)
    candidate = first(row, *_UPLOAD_URL)
    if candidate is None:
        items = [item for name in _UPLOAD_LISTS for item in _list(row.get(name))]
        head = items[0] if items else None
        candidate = first(head, *_UPLOAD_URL) if isinstance(head, dict) else head
    url = resolve_url(candidate, media_origin)
    if url is None:
        raise ParseError("it holds no URL of the upload")
    return Uploaded(url=url)


def _output(item: object) -> dict[str, Any]:
    row = item if isinstance(item, dict) else {"url": item}
    return {**row, "url": first(row, *_OUTPUT_URL)}


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


def _list(value: object) -> list[Any]:
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
