"""Ad-creative requests (API reference §2.11)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kubeez_mcp_local.catalogue.quotes import Quote, QuoteLine, flat_quote
from kubeez_mcp_local.catalogue.ratios import read_ratio
from kubeez_mcp_local.catalogue.refusals import blank_to_none, verify_text
from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.listing import Listing

MODEL_ID = "ad-copy"
# The API's own limits are not known; these keep a slip of the finger affordable.
MAX_VARIANTS = 10
MAX_PRODUCT_TEXT = 5_000
_RECORDED_CREDITS = 50.0


@dataclass(frozen=True)
class AdCopyRequest:
    """What `create_ad_copy` is asked for; every variant is paid."""

    reference_ad_url: str
    product_image_url: str | None = None
    product_text: str | None = None
    language: str = "en"
    variant_count: int = 1
    aspect_ratio: str = "9:16"


def check_ad_copy(listing: Listing, request: AdCopyRequest) -> AdCopyRequest:
    """`request` as it should be sent.

    Raises:
        InvalidArgumentError: The reference is missing, or a setting is out of range.
    """
    if not request.reference_ad_url.strip():
        raise InvalidArgumentError("reference_ad_url", "is empty.", next_step="Give the ad that should be followed.")
    verify_text("product_text", request.product_text, MAX_PRODUCT_TEXT)
    count = request.variant_count
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_VARIANTS:
        raise InvalidArgumentError("variant_count", f"is {count!r}; allowed: 1 to {MAX_VARIANTS}.")
    if not re.fullmatch(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,4})?", request.language.strip()):
        raise InvalidArgumentError("language", f"{request.language!r} is not a code such as en or de.")
    return replace(
        request,
        aspect_ratio=_ratio(listing, request.aspect_ratio),
        language=request.language.strip(),
        product_image_url=blank_to_none(request.product_image_url),
        product_text=blank_to_none(request.product_text),
    )


def quote_ad_copy(listing: Listing, request: AdCopyRequest) -> Quote:
    """The price of all variants: the row's, else the 50 credits each that were recorded in March and April 2026."""
    model = listing.find(MODEL_ID)
    if model is not None:
        return flat_quote(model, count=request.variant_count)
    line = QuoteLine(f"{request.variant_count} x {MODEL_ID}", _RECORDED_CREDITS * request.variant_count)
    note = "This catalogue has no row for it; 50 credits each were recorded in April 2026."
    return Quote(line.credits, "catalogue", None, (line,), note)


def _ratio(listing: Listing, ratio: str) -> str:
    wanted = read_ratio(ratio)
    model = listing.find(MODEL_ID)
    offered = model.ratios if model else ()
    if offered and wanted not in offered:
        raise InvalidArgumentError("aspect_ratio", f"{ratio!r} is not offered; allowed: {', '.join(offered)}.")
    if not re.fullmatch(r"[1-9]\d?:[1-9]\d?", wanted):
        raise InvalidArgumentError("aspect_ratio", f"{ratio!r} is not a ratio such as 9:16.")
    return wanted
