"""Prices of the jobs that are billed by the length of a file: captions, separation, dubbing, sound, background.

Their units are not in the recorded rows. Where a row's `cost_note` states a rate it is used; separation is quoted per
started minute, which covers both readings of its price (flat, or per minute); the rest is unknown without a rate.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from kubeez_mcp_local.catalogue.clips import BACKGROUND_MODEL, CAPTION_MODEL, SEPARATION_MODEL
from kubeez_mcp_local.catalogue.quotes import Quote, flat_quote, rate_quote, unknown_quote
from kubeez_mcp_local.catalogue.rates import depends_on_length, rate_of
from kubeez_mcp_local.catalogue.sound import SOUND_MODELS

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.model import Model

FileJob = Literal["captions", "separation", "dubbing", "sound", "remove_background"]
_MODELS: dict[str, str] = {
    "captions": CAPTION_MODEL,
    "separation": SEPARATION_MODEL,
    "dubbing": "sonilo-dubbing",
    "sound": "sonilo-text-to-sfx",
    "remove_background": BACKGROUND_MODEL,
}
_LEAST_BILLED = {"sonilo-dubbing": 10, **{model.id: model.least_billed for model in SOUND_MODELS}}


def file_job_of(model_id: str) -> FileJob | None:
    """The job on a file that this model does; `None` for models that make something from a prompt."""
    name = model_id.strip().lower()
    if name.endswith("-dubbing"):
        return "dubbing"
    if name.startswith("sonilo-"):
        return "sound"
    starts: dict[str, FileJob] = {
        "auto-caption": "captions",
        "mvsep": "separation",
        BACKGROUND_MODEL: "remove_background",
    }
    return next((job for start, job in starts.items() if name.startswith(start)), None)


def quote_job(
    kind: FileJob,
    listing: Listing,
    *,
    model_id: str | None = None,
    seconds: float | None = None,
    languages: int = 1,
    count: int = 1,
) -> Quote:
    """The price of `count` such jobs.

    Args:
        model_id: The model, where the job has a choice; default the usual one.
        seconds: Length of the file that goes in, or of the sound that comes out.
        languages: Target languages of a dubbing; each is billed.
    """
    name = model_id or _MODELS[kind]
    model = listing.find(name)
    if model is None:
        return unknown_quote(None, f"the catalogue has no row for {name}")
    if kind == "remove_background" and not depends_on_length(model):
        return flat_quote(model, count=count)
    return _by_length(kind, model, seconds, languages, count)


def _by_length(kind: FileJob, model: Model, seconds: float | None, languages: int, count: int) -> Quote:
    if seconds is None:
        return unknown_quote(model, "its price depends on the length of the file, which is not known yet")
    rate = rate_of(model)
    if rate is not None:
        billed = max(seconds, _LEAST_BILLED.get(model.id.lower(), 0))
        each = billed * rate.per_second * languages
        spread = f" x {languages} languages" if languages > 1 else ""
        detail = f"{billed:g} s at {rate.per_second:g} credits/s{spread}"
        one = " For one target language." if kind == "dubbing" and languages == 1 else ""
        return rate_quote(model, each, detail=detail, count=count, note=f"Rate from {rate.source}.{one}")
    if kind == "separation" and model.credits is not None:
        minutes = max(1, math.ceil(seconds / 60))
        detail = f"{minutes} started minutes at {model.credits:g} credits"
        note = "The price may be flat; per minute is quoted, an upper bound."
        return rate_quote(model, model.credits * minutes, detail=detail, count=count, note=note)
    return unknown_quote(model, "its price depends on the length, and the rate is not recorded")
