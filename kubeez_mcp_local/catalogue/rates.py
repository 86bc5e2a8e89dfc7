"""Prices that depend on length: where a rate is known, and where only the fact is.

Evidence (API reference §4.4, §5.1; hosted tool reference §1.3):

- Kling 3.0 is billed per second, 17 (std) and 21 (pro) credits by an audit of 17 April 2026, while the list prices
  of 28 March, 105 and 125, would be 21 and 25 a second at 5 s. The higher of the two readings is quoted, and never
  less than the list price, so that no quote is too low.
- Video-reference models charge (reference seconds + clip seconds) x rate; P-Video with audio charges the audio's
  seconds. Their rates are not recorded unless the row's `cost_note` states one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubeez_mcp_local.rest.amounts import price_of

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.model import Model

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
    """Credits per second, the least that is charged, and where both come from."""

    per_second: float
    minimum: float
    source: str


def rate_of(model: Model) -> Rate | None:
    """The per-second price of `model`, if one is known."""
    stated = _STATED.findall(model.cost_note)
    if len(stated) == 1:
        amount, unit = price_of(stated[0][0]), stated[0][1]
        if amount is None:
            return None
        per_second = amount / (60 if unit.lower().startswith("m") else 1)
        return Rate(per_second, 0.0, "the model's cost note")
    audited = _AUDITED_PER_SECOND.get(model.id.lower())
    if audited is None or stated:
        return None
    list_price = model.credits or 0.0
    per_second = max(audited, list_price / _LIST_PRICE_SECONDS)
    return Rate(per_second, list_price, "list price at 5 s and an audit of April 2026, the higher of the two")


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
