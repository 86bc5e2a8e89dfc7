"""Background removal: a picture's subject on a clear background."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import Field

from kubeez_mcp_local.catalogue.checks import verify_media_kind
from kubeez_mcp_local.catalogue.prices import Quote, depends_on_length, flat_quote, length_quote
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.media.inputs import LocalInput
from kubeez_mcp_local.media.sniff import by_extension
from kubeez_mcp_local.operations import Described, Draft, Operation, Sources
from kubeez_mcp_local.rest.routes import Route

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.listing import Listing

MODEL = "remove-background"
MAX_BYTES = 5 * 1024 * 1024
MIME_TYPES = ("image/jpeg", "image/png", "image/webp")
ROUTE = Route(
    *("remove_background", "POST", "/v1/generate/remove-background", "generate:media", "media", "assumed", "media"),
    spends=True,
    fields=("image_url",),
    called=(("background", "remov"), ("bg", "remov"), ("rembg",)),
)


async def draft(
    sources: Sources,
    image_url: Annotated[str, Field(description="JPEG, PNG or WebP, at most 5 MB: https URL or local path.")],
) -> Draft:
    """Start a job that returns a PNG of the subject with a clear background. Costs credits; the call asks first."""
    image = await sources.inputs.resolve(image_url, argument="image_url")
    if isinstance(image, LocalInput):
        check(image.kind, image.media_type.mime, image.size)
    else:
        media_type = by_extension(urlsplit(image.url).path)
        check(image.kind, media_type.mime if media_type else None, None)
    quoted = price(await sources.catalogue.listing())
    return Draft(ROUTE, {"image_url": image}, MODEL, quoted, described=Described(MODEL))


def check(kind: str | None, mime: str | None, size: int | None) -> None:
    """Refuse anything but a JPEG, PNG or WebP of at most 5 MB (`size` in bytes); `None` is what is not known."""
    if mime is not None and mime not in MIME_TYPES:
        raise InvalidArgumentError("image_url", f"is {mime}; allowed: JPEG, PNG or WebP.")
    verify_media_kind("image_url", kind, ("image",))
    if size is not None and size > MAX_BYTES:
        raise InvalidArgumentError("image_url", f"has {size / 1024 / 1024:.1f} MB; at most 5 MB are allowed.")


def price(listing: Listing, count: int = 1) -> Quote:
    model = listing.find(MODEL)
    if model is None or depends_on_length(model):
        return length_quote(model, None, count=count)
    return flat_quote(model, count=count)


OPERATION = Operation(
    ROUTE,
    title="Remove a background",
    family="media",
    draft=draft,
    quote=lambda listing, job: price(listing, job.count),
    job="remove_background",
    model=MODEL,
    ids=f"{MODEL}.*",
    tasks={MODEL: "the subject of a picture cut out, on a clear background"},
    about=lambda _model: {"returns": "a PNG of the subject on a clear background"},
    files={"image_url": ("image",)},
    names="image_url",
    makes="cutout",
)
