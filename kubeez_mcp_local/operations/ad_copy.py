"""Ad creatives in the manner of a reference ad (API reference §2.11)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from kubeez_mcp_local.catalogue.checks import blank_to_none, read_ratio, verify_text, verify_variant_count
from kubeez_mcp_local.catalogue.prices import Quote, QuoteLine, flat_quote
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.operations import Described, Draft, Operation, Sources
from kubeez_mcp_local.rest.routes import Route

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.listing import Listing

MODEL = "ad-copy"
# The API's own limits are not known; these keep a slip of the finger affordable.
MAX_VARIANTS = 10
MAX_PRODUCT_TEXT = 5_000
_RECORDED_CREDITS = 50.0
ROUTE = Route(
    *("create_ad_copy", "POST", "/v1/generate/ad-copy", "generate:ads", "ads"),
    kind="media",  # followed on the media routes (§2.11)
    spends=True,
    fields=("reference_ad_url", "product_image_url", "product_text", "language", "variant_count", "aspect_ratio"),
)


@dataclass(frozen=True)
class AdCopyRequest:
    """What is asked for; every variant is paid."""

    reference_ad_url: str
    product_image_url: str | None = None
    product_text: str | None = None
    language: str = "en"
    variant_count: int = 1
    aspect_ratio: str = "9:16"


async def draft(
    sources: Sources,
    reference_ad_url: Annotated[str, Field(description="The ad to follow: https URL or local path.")],
    product_image_url: Annotated[str, Field(description="Your product: https URL or local path.")] = "",
    product_text: Annotated[str, Field(description="What the ad should say; at most 5000 characters.")] = "",
    language: Annotated[str, Field(description="Such as en or de.")] = "en",
    variant_count: Annotated[int, Field(description="1 to 10 variants; each is paid.", ge=1, le=10)] = 1,
    aspect_ratio: Annotated[str, Field(description="Such as 9:16 or 1:1.")] = "9:16",
) -> Draft:
    """Start ad creatives in the manner of a reference ad. Costs credits per variant; the call asks first."""
    listing = await sources.catalogue.listing()
    request = check(
        listing,
        AdCopyRequest(reference_ad_url, product_image_url, product_text, language, variant_count, aspect_ratio),
    )
    files = {
        name: (await sources.file(given, name, kinds))[0]
        for name, kinds in OPERATION.files.items()
        if (given := getattr(request, name))
    }
    quoted = price(listing, request.variant_count)
    described = Described(MODEL, count=request.variant_count)
    return Draft(ROUTE, {**vars(request), **files}, MODEL, quoted, request.product_text or "", described=described)


def check(listing: Listing, request: AdCopyRequest) -> AdCopyRequest:
    """`request` as it should be sent; refused if the reference is missing or a setting is out of range."""
    if not request.reference_ad_url.strip():
        raise InvalidArgumentError("reference_ad_url", "is empty.", next_step="Give the ad that should be followed.")
    verify_text("product_text", request.product_text, MAX_PRODUCT_TEXT)
    verify_variant_count(request.variant_count, MAX_VARIANTS)
    if not re.fullmatch(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,4})?", request.language.strip()):
        raise InvalidArgumentError("language", f"{request.language!r} is not a code such as en or de.")
    return replace(
        request,
        aspect_ratio=_ratio(listing, request.aspect_ratio),
        language=request.language.strip(),
        product_image_url=blank_to_none(request.product_image_url),
        product_text=blank_to_none(request.product_text),
    )


def price(listing: Listing, count: int) -> Quote:
    """The price of so many variants: the row's, else the 50 credits each that were recorded in March and April 2026."""
    model = listing.find(MODEL)
    if model is not None:
        return flat_quote(model, count=count)
    line = QuoteLine(f"{count} x {MODEL}", _RECORDED_CREDITS * count)
    note = "This catalogue has no row for it; 50 credits each were recorded in April 2026."
    return Quote(line.credits, "rate", None, (line,), note)


def _ratio(listing: Listing, ratio: str) -> str:
    wanted = read_ratio(ratio)
    model = listing.find(MODEL)
    offered = model.ratios if model else ()
    if offered and wanted not in offered:
        raise InvalidArgumentError("aspect_ratio", f"{ratio!r} is not offered; allowed: {', '.join(offered)}.")
    if not re.fullmatch(r"[1-9]\d?:[1-9]\d?", wanted):
        raise InvalidArgumentError("aspect_ratio", f"{ratio!r} is not a ratio such as 9:16.")
    return wanted


OPERATION = Operation(
    ROUTE,
    title="Make ads after a reference",
    family="ads",
    draft=draft,
    quote=lambda listing, job: price(listing, job.count),
    job="ad_copy",
    model=MODEL,
    ids=f"{MODEL}.*",
    tasks={"ad-copy": "ads in the manner of a reference ad"},
    about=lambda _model: {"returns": "a picture for each variant", "takes": f"1 to {MAX_VARIANTS} variants a call"},
    files={"reference_ad_url": ("image", "video"), "product_image_url": ("image",)},
    names="reference_ad_url",
    makes="ad",
)
