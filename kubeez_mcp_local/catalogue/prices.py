"""What a job will cost, and how we know. Of two readings the dearer is quoted; without evidence `credits` is `None`.

Rates (API reference §4.4, §5.1; hosted tool reference §1.3):

- Kling 3.0 is billed per second, 17 (std) and 21 (pro) credits by an audit of 17 April 2026, while the list prices
  of 28 March, 105 and 125, would be 21 and 25 a second at 5 s. The higher of the two readings is quoted, and never
  less than the list price, so that no quote is too low.
- Video-reference models charge (reference seconds + clip seconds) x rate; P-Video with audio charges the audio's
  seconds. Their rates are not recorded unless the row's `cost_note` states one.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from kubeez_mcp_local.rest.wire import price_of
from kubeez_mcp_local.text import amount, spoken

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.models import Model

_AUDITED_PER_SECOND = {"kling-3-0-std": 17.0, "kling-3-0-pro": 21.0}
_LIST_PRICE_SECONDS = 5

_STATED = re.compile(
    r"(\d+(?:\.\d+)?)\s*credits?\s*(?:per|/|a)\s*(?:output\s+)?(seconds?|secs?|s|minutes?|mins?)\b", re.IGNORECASE
)
_BY_LENGTH = re.compile(
    r"per[\s-]*(?:\w+[\s-]+)?(?:second|sec|minute|min)|/\s*(?:s|sec|min)|\bduration\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Rate:
    """Credits per second, the least that is charged, and where both come from; `stated`: from the row itself."""

    per_second: float
    minimum: float
    source: str
    stated: bool = True


def rate_of(model: Model) -> Rate | None:
    """The per-second price of `model`, if one is known."""
    stated = _STATED.findall(model.cost_note)
    if len(stated) == 1:
        price, unit = price_of(stated[0][0]), stated[0][1]
        if price is None:
            return None
        per_second = price / (60 if unit.lower().startswith("m") else 1)
        return Rate(per_second, 0.0, "the model's cost note")
    audited = _AUDITED_PER_SECOND.get(model.id.lower())
    if audited is None or stated:
        return None
    list_price = model.credits or 0.0
    per_second = max(audited, list_price / _LIST_PRICE_SECONDS)
    return Rate(per_second, list_price, "list price at 5 s and an audit of April 2026, the higher of the two", False)


def depends_on_length(model: Model) -> bool:
    """Whether the price is known, or must be assumed, to depend on the length of what goes in or comes out."""
    name = model.id.lower()
    return (
        rate_of(model) is not None
        or bool(_BY_LENGTH.search(model.cost_note))
        or "motion-control" in name
        or name.endswith("-video-ref")
        or name == "p-video"
        or (model.fixed_seconds is None and len(model.durations) > 1)
    )


Basis = Literal["catalogue", "rate", "api", "unknown"]


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
        basis: `catalogue`: the row's flat price; `rate`: computed from seconds; `api`: the API's own
            estimate; `unknown`: no evidence.
        seconds: Usual processing time of one job in seconds; `None`: not recorded.
        note: How sure this is, in words; empty for a plain catalogue price.
        upper_bound: Whether it is the dearer of two readings of the catalogue.
        lacks_length: Whether only the length of a file is missing, so that any price would be a guess.
    """

    credits: float | None
    basis: Basis
    seconds: int | None = None
    breakdown: tuple[QuoteLine, ...] = ()
    note: str = ""
    lacks_length: bool = False
    upper_bound: bool = False

    @property
    def exact(self) -> bool:
        """Whether it is the row's own flat price, and nothing speaks against it."""
        return self.basis == "catalogue" and not self.note

    @property
    def how(self) -> str:
        """How a price by length was reckoned, such as `12 s at 0.5 credits/s`; empty for any other."""
        reckoned = (line.detail for line in self.breakdown if self.basis == "rate" and " at " in line.detail)
        return "; ".join(reckoned)

    @property
    def said(self) -> str:
        """For people: `14 credits exactly`, `about 91 credits`."""
        if self.credits is None:
            return "price not known"
        return f"{spoken(self.credits)} exactly" if self.exact else f"about {spoken(self.credits)}"


def flat_quote(model: Model, *, count: int = 1, note: str = "") -> Quote:
    """`count` times the row's price; unknown if the row has none."""
    if model.credits is None:
        return unknown_quote(model, "the catalogue names no price")
    detail = f"{spoken(model.credits)} each"
    return replace(rate_quote(model, model.credits, detail=detail, count=count, note=note), basis="catalogue")


def rate_quote(model: Model, each: float, *, detail: str, count: int = 1, note: str = "") -> Quote:
    """`count` times a price of `each` credits that was computed from a rate."""
    label = model.id if count == 1 else f"{count} x {model.id}"
    line = QuoteLine(label, rounded(each * count), detail)
    return Quote(line.credits, "rate", model.seconds, (line,), note)


def length_quote(
    model: Model | None, seconds: float | None, *, least: float = 0, times: int = 1, spread: str = "", count: int = 1
) -> Quote:
    """`count` times a job that is billed by the seconds of what goes in or comes out, where its row states a rate.

    `least` seconds are billed at least, all of it so many `times` as `spread` says, such as once for each language.
    """
    if model is None:
        return unknown_quote(None, "the catalogue has no row for it")
    if seconds is None:
        why = "its price depends on the length of the file, which is not known yet"
        return replace(unknown_quote(model, why), lacks_length=True)
    rate = rate_of(model)
    if rate is None:
        return unknown_quote(model, "its price depends on the length, and the rate is not recorded")
    billed = max(seconds, least)
    detail = f"{amount(billed)} s at {amount(rate.per_second)} credits/s{spread}"
    each = billed * rate.per_second * times
    return rate_quote(model, each, detail=detail, count=count, note=f"Rate from {rate.source}.")


def unknown_quote(model: Model | None, why: str) -> Quote:
    """A quote that admits not to know, with the reference price if the row has one."""
    if model is None:
        return Quote(None, "unknown", note=f"Price not known: {why}.")
    reference = f" The catalogue's reference price is {spoken(model.credits)}." if model.credits else ""
    line = QuoteLine(model.id, None, why)
    return Quote(None, "unknown", model.seconds, (line,), f"Price not known: {why}.{reference}")


def rounded(credits_: float) -> float:
    """Credits to the hundredth, upwards, so that binary fractions never lower a quote."""
    return math.ceil(round(credits_ * 100, 6)) / 100
