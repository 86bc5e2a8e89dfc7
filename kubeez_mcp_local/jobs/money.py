"""Credits as whole millionths, so that sums over years of fractional prices stay exact."""

from __future__ import annotations

import math

MICRO = 1_000_000
MOST = 1_000_000_000.0
"""Credits that anything may cost; whatever is above cannot be true, and sums of it would not fit into the ledger."""


def to_micro(amount: float) -> int:
    """Credits as a whole number of millionths.

    Raises:
        ValueError: `amount` is negative, not a number, or more than anything costs.
    """
    if not is_amount(amount):
        raise ValueError(f"{amount!r} is not an amount of credits")
    return round(amount * MICRO)


def is_amount(amount: float) -> bool:
    """Whether this many credits can be paid."""
    return math.isfinite(amount) and 0 <= amount <= MOST


def to_credits(micro: int) -> float:
    """Millionths as credits."""
    return micro / MICRO


def spoken(amount: float) -> str:
    """An amount for people: `14 credits`, `0.5 credits`, `1 credit`."""
    return f"{amount:.6f}".rstrip("0").rstrip(".") + (" credit" if amount == 1 else " credits")
