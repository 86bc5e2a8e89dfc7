"""Captions: a video with its words burned in (hosted tool reference §1.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from kubeez_mcp_local.catalogue.checks import blank_to_none, one_of, verify_length
from kubeez_mcp_local.catalogue.prices import Quote, length_quote
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.operations import Described, Draft, Operation, Sources
from kubeez_mcp_local.rest.routes import Route

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.listing import Listing

MODEL = "auto-caption"
QUALITIES = ("auto", "best")
MAX_SECONDS = 30 * 60
ROUTE = Route(
    *("generate_captions", "POST", "/v1/generate/captions", "generate:media", "media", "assumed", "media", True),
    fields=("media_url", "quality", "language", "style"),
    called=(("caption",), ("subtitle",)),
)


async def draft(
    sources: Sources,
    media_url: Annotated[str, Field(description="Video: https URL or local path, at most 30 minutes.")],
    quality: Annotated[
        Literal["auto", "best"], Field(description="best is more accurate and needs language.")
    ] = "auto",
    language: Annotated[str, Field(description="Spoken language such as en; needed for best.")] = "",
) -> Draft:
    """Start a job that burns word-timed captions into a video. Billed per second; the call asks first."""
    video, seconds = await sources.file(
        media_url, "media_url", OPERATION.files["media_url"], sound_for="captions are made"
    )
    chosen, spoken = check(seconds, quality, language)
    body = {"media_url": video, "quality": chosen, "language": spoken}
    described = Described(MODEL, video_seconds=seconds)
    return Draft(ROUTE, body, MODEL, price(await sources.catalogue.listing(), MODEL, seconds), described=described)


def check(seconds: float | None, quality: str = "auto", language: str | None = None) -> tuple[str, str | None]:
    """The quality and language to send; a video of more than 30 minutes, or `best` without a language, is refused."""
    verify_length("media_url", seconds, MAX_SECONDS)
    chosen = one_of("quality", quality, QUALITIES)
    spoken = blank_to_none(language)
    if chosen == "best" and spoken is None:
        raise InvalidArgumentError("language", "is needed for quality best.", next_step="Name it, or use quality auto.")
    return chosen, spoken


def price(listing: Listing, model_id: str, seconds: float | None, count: int = 1) -> Quote:
    return length_quote(listing.find(model_id), seconds, count=count)


OPERATION = Operation(
    ROUTE,
    title="Caption a video",
    family="audio",
    draft=draft,
    quote=lambda listing, job: price(listing, job.model, job.file_seconds, job.count),
    job="captions",
    model=MODEL,
    ids="auto-caption.*",
    tasks={"captions": "the words spoken in a clip written into its picture"},
    lengths=lambda _model: (0, MAX_SECONDS),
    about=lambda _model: {"returns": "the clip with captions burned in, in the language spoken"},
    files={"media_url": ("video",)},
    names="media_url",
    by_length=True,
    makes="captioned",
)
