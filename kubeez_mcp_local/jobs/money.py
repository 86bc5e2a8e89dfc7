"""Credits as whole millionths, so that sums over years of fractional prices stay exact."""

from __future__ import annotations

import math

MICRO = 1_000_000


def to_micro(amount: float) -> int:
    """Credits as a whole number of millionths.

    Raises:
        ValueError: `credits` is negative, infinite or not a number.
    """
    if not math.isfinite(amount) or amount < 0:
        raise ValueError(f"{amount!r} is not an amount of credits")
    return round(amount * MICRO)


def to_credits(micro: int) -> float:
    """Millionths as credits."""
    return micro / MICRO


def spoken(amount: float) -> str:
    """An amount for people: `14 credits`, `0.5 credits`, `1 credit`."""
    return f"{amount:.6f}".rstrip("0").rstrip(".") + (" credit" if amount == 1 else " credits")
