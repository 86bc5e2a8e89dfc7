"""Credits as whole millionths, so that sums over years of fractional prices stay exact."""

from __future__ import annotations

import math

from kubeez_mcp_local.rest.amounts import MOST

MICRO = 1_000_000


def to_micro(amount: float) -> int:
    """Credits as a whole number of millionths; whatever costs anything costs at least one of them.

    Raises:
        ValueError: `amount` is negative, not a number, or more than anything costs.
    """
    if not is_amount(amount):
        raise ValueError(f"{amount!r} is not an amount of credits")
    return max(round(amount * MICRO), int(amount > 0))


def is_amount(amount: float) -> bool:
    """Whether this many credits can be paid."""
    return math.isfinite(amount) and 0 <= amount <= MOST


def to_credits(micro: int) -> float:
    """Millionths as credits."""
    return micro / MICRO
