"""Numbers from the API that mean money. What cannot be true is unknown; it is never rounded to something that could be.

A charge of -14 taken for 0 would make every job free for the ceilings, and one of 10^12 would use up a day for nothing.
So the API's word counts within bounds, and outside of them what was known before stays in force.
"""

from __future__ import annotations

import math

MOST = 1_000_000_000.0
"""Credits that an account or a ceiling may hold: sums of thousands of them still fit into the ledger."""

MOST_FOR_A_JOB = 100_000.0
"""Credits that one request may cost. The dearest catalogue row asks for 960 (March 2026), and an hour of video at
the dearest rate on record, 25 credits a second, for 90,000; what is above is a mistake and not a price."""


def number_of(value: object) -> float | None:
    """A finite number, also from text such as `"12.5"` or `"5s"`; `None` for everything else."""
    if isinstance(value, str):
        try:
            value = float(value.strip().removesuffix("s"))
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def price_of(value: object) -> float | None:
    """What one request costs or cost, in credits; `None` for what is negative, no number or beyond all prices."""
    return _between(value, MOST_FOR_A_JOB)


def balance_of(value: object) -> float | None:
    """What an account holds, in credits; `None` for what is negative, no number or beyond all accounts."""
    return _between(value, MOST)


def _between(value: object, most: float) -> float | None:
    number = number_of(value)
    return number if number is not None and 0 <= number <= most else None
