"""Separation: the voice and the accompaniment of a song apart."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from kubeez_mcp_local.catalogue.prices import Quote, length_quote, rate_of, rate_quote
from kubeez_mcp_local.operations import Described, Draft, Operation, Sources
from kubeez_mcp_local.rest.routes import Route

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.listing import Listing

MODEL = "mvsep-40"
ROUTE = Route(
    *("generate_separation", "POST", "/v1/generate/separation", "generate:media", "media", "assumed"),
    kind="separation",
    spends=True,
    fields=("media_url",),
    called=(("separat",), ("stem",)),
)
STATUS = Route(
    *("separation_status", "GET", "/v1/generate/separation/{separation_id}", "read:generations", "read", "assumed"),
    kind="separation",
    called=(("separat",), ("stem",)),
    instead="See the job on https://kubeez.com.",
)


async def draft(
    sources: Sources,
    media_url: Annotated[str, Field(description="Audio: local path, or the URL of a Kubeez upload.")],
) -> Draft:
    """Start a job that splits a song into vocals and instrumental. Billed by the minute; the call asks first."""
    from kubeez_mcp_local.rest.errors import NotOfferedError

    song, seconds = await sources.file(media_url, "media_url", OPERATION.files["media_url"], sound_for="stems are made")
    try:
        await sources.contract.locate(STATUS)
    except NotOfferedError as error:  # then it must not be paid for
        raise NotOfferedError(ROUTE, f"its result could not be read: {error.reason}") from None
    quoted = price(await sources.catalogue.listing(), MODEL, seconds)
    described = Described(MODEL, audio_seconds=seconds)
    return Draft(ROUTE, {"media_url": song}, MODEL, quoted, described=described)


def price(listing: Listing, model_id: str, seconds: float | None, count: int = 1) -> Quote:
    """Per started minute unless the row states a rate, which covers both readings of its price: flat, or per minute."""
    model = listing.find(model_id)
    if model is None or seconds is None or model.credits is None or rate_of(model) is not None:
        return length_quote(model, seconds, count=count)
    minutes = max(1, math.ceil(seconds / 60))
    detail = f"{minutes} started minutes at {model.credits:g} credits"
    note = "The price may be flat; per minute is quoted, an upper bound."
    return replace(rate_quote(model, model.credits * minutes, detail=detail, count=count, note=note), upper_bound=True)


OPERATION = Operation(
    ROUTE,
    title="Separate a song",
    family="audio",
    draft=draft,
    quote=lambda listing, job: price(listing, job.model, job.file_seconds, job.count),
    job="separation",
    model=MODEL,
    ids="mvsep.*",
    types=("separation",),
    tasks={"separation": "the vocals and the accompaniment of a song apart"},
    about=lambda _model: {"returns": "two recordings: vocals and accompaniment"},
    files={"media_url": ("audio", "video")},
    names="media_url",
    by_length=True,
    also=(STATUS,),
)
