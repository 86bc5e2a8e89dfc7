"""What a job will cost, and how we know.

A quote never guesses low: where the evidence allows two readings the dearer one is quoted, and where there is no
evidence `credits` is `None` with basis `unknown`. What a job really cost is read back from the API afterwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kubeez_mcp_local.catalogue.check_settings import parse_seconds
from kubeez_mcp_local.catalogue.rates import depends_on_length, rate_of

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.media_request import MediaRequest
    from kubeez_mcp_local.catalogue.model import Model

Basis = Literal["catalogue", "rate", "unknown"]

# Models whose sound switch is documented as free, and whose editing has an own, unrecorded price.
_FREE_SOUND = ("seedance-2",)
_EDITING_PRICED_APART = ("flux-3-klein",)


@dataclass(frozen=True)
class QuoteLine:
    """One part of a price; `credits` is `None` where it is not known."""

    label: str
    credits: float | None
    detail: str = ""


@dataclass(frozen=True)
class Quote:
    """A price in credits for everything that was asked for, all variants included.

    Attributes:
        credits: The sum; `None`: not known, ask the user.
        basis: `catalogue`: the row's flat price; `rate`: computed from seconds; `unknown`: no evidence.
        seconds: Usual processing time of one job in seconds; `None`: not recorded.
        note: How sure this is, in words; empty for a plain catalogue price.
    """

    credits: float | None
    basis: Basis
    seconds: int | None = None
    breakdown: tuple[QuoteLine, ...] = ()
    note: str = ""


def quote_media(
    model: Model,
    request: MediaRequest,
    *,
    count: int = 1,
    reference_video_seconds: float | None = None,
    reference_audio_seconds: float | None = None,
) -> Quote:
    """The price of `count` runs of a request that `check_media` has returned.

    Args:
        reference_video_seconds: Length of all attached videos together.
        reference_audio_seconds: Length of all attached audio files together.
    """
    doubt = _doubt(model, request)
    if doubt:
        return unknown_quote(model, doubt)
    if not depends_on_length(model):
        return flat_quote(model, count=count)
    rate = rate_of(model)
    if rate is None:
        return unknown_quote(model, "its price depends on the length, and the rate is not recorded")
    seconds = _billed_seconds(model, request, reference_video_seconds, reference_audio_seconds)
    if seconds is None:
        return unknown_quote(model, "its price depends on a length that is not known yet")
    detail = f"{_plain(seconds)} s at {_plain(rate.per_second)} credits/s"
    if seconds * rate.per_second < rate.minimum:
        detail += f", at least the list price of {_plain(rate.minimum)}"
    each = max(rate.minimum, seconds * rate.per_second)
    return rate_quote(model, each, detail=detail, count=count, note=f"Rate from {rate.source}; an upper bound.")


def flat_quote(model: Model, *, count: int = 1, note: str = "") -> Quote:
    """`count` times the row's price; unknown if the row has none."""
    if model.credits is None:
        return unknown_quote(model, "the catalogue names no price")
    line = QuoteLine(_label(model, count), rounded(model.credits * count), f"{_plain(model.credits)} credits each")
    return Quote(line.credits, "catalogue", model.seconds, (line,), note)


def rate_quote(model: Model, each: float, *, detail: str, count: int = 1, note: str = "") -> Quote:
    """`count` times a price of `each` credits that was computed from a rate."""
    line = QuoteLine(_label(model, count), rounded(each * count), detail)
    return Quote(line.credits, "rate", model.seconds, (line,), note)


def unknown_quote(model: Model | None, why: str) -> Quote:
    """A quote that admits not to know, with the reference price if the row has one."""
    if model is None:
        return Quote(None, "unknown", note=f"Price not known: {why}.")
    reference = f" The catalogue's reference price is {_plain(model.credits)} credits." if model.credits else ""
    line = QuoteLine(model.id, None, why)
    return Quote(None, "unknown", model.seconds, (line,), f"Price not known: {why}.{reference}")


def rounded(amount: float) -> float:
    """Credits to the hundredth, upwards, so that binary fractions never lower a quote."""
    return math.ceil(round(amount * 100, 6)) / 100


def _doubt(model: Model, request: MediaRequest) -> str:
    """Why the row's price may not be the price of this request; empty if nothing speaks against it."""
    name = model.id.lower()
    if request.sound is True and not name.startswith(_FREE_SOUND):
        return "sound may cost extra, and the surcharge is not recorded"
    if request.resolution and request.resolution != "1K":
        return f"the price at {request.resolution} is not recorded"
    if request.quality and request.quality != "standard" and request.quality not in model.qualities:
        return f"the price at quality {request.quality} is not recorded"
    if name.startswith(_EDITING_PRICED_APART) and (request.generation_type or "").startswith("image-"):
        return "editing has a price of its own, which is not recorded"
    return ""


def _billed_seconds(
    model: Model, request: MediaRequest, video_seconds: float | None, audio_seconds: float | None
) -> float | None:
    clip = model.fixed_seconds or parse_seconds(request.duration)
    if model.id.lower() == "p-video" and "audio" in request.inputs:
        return audio_seconds
    if "video" not in request.inputs:
        return clip
    if video_seconds is None:
        return None
    return video_seconds if "motion-control" in model.id.lower() or clip is None else video_seconds + clip


def _label(model: Model, count: int) -> str:
    return model.id if count == 1 else f"{count} x {model.id}"


def _plain(number: float) -> str:
    return f"{number:g}" if number < 100_000 else f"{number:.2f}"
