"""Loaded by Schemathesis: real ids and URLs in half of what it makes, so that requests get past the first check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zlib import crc32

import schemathesis

from kubeez_mcp_local.sandbox import assumed_jobs
from kubeez_mcp_local.sandbox.catalogue import Catalogue

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROWS = {row["model_id"]: row for row in Catalogue(assumed_jobs.MODELS, assumed_jobs.PRICES).served()}
_URLS = [f"https://example.com/a.{kind}" for kind in ("png", "mp4", "mp3", "bin")]


def map_body(context: object, body: Any) -> Any:
    """The same body, with likely values in place of texts; what has the wrong type stays."""
    half, mark = divmod(crc32(repr(body).encode("utf-8", "replace")), 2)
    if not isinstance(body, dict) or mark:
        return body

    def one_of(values: Sequence[str]) -> str:
        return values[half % len(values)]

    row = _ROWS[one_of(sorted(_ROWS))]
    able = row["capabilities"]
    likely = {name: one_of(_URLS) for name in body if name.endswith("_url")} | {
        "model": row["model_id"],
        "generation_type": one_of(row["generation_types"] or ["text-to-image"]),
        "duration": one_of(able.get("duration_options") or ["5s"]),
        "aspect_ratio": one_of(able.get("aspect_ratio_options") or ["9:16"]),
        "resolution": one_of(able.get("resolution") or ["1K"]),
    }
    return {name: likely.get(name, value) if isinstance(value, str) else value for name, value in body.items()}


schemathesis.hook(map_body)
