"""Ceilings, and which day's budget a job belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kubeez_mcp_local.jobs.failures import (
    CeilingError,
    UnusableQuoteError,
    of_unknown_price,
    over_call_ceiling,
    over_day_ceiling,
)
from kubeez_mcp_local.jobs.money import is_amount, to_credits, to_micro
from kubeez_mcp_local.rest.amounts import MOST

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from kubeez_mcp_local.jobs.order import Order


@dataclass(frozen=True)
class Ceilings:
    """What may be spent, in credits; from settings only.

    Raises:
        ValueError: A ceiling is negative, not a number, or beyond all prices.
    """

    per_call: float
    per_day: float

    def __post_init__(self) -> None:
        for name in ("per_call", "per_day"):
            value = getattr(self, name)
            if not is_amount(value):
                raise ValueError(f"{name} is {value!r}; a ceiling is a number of credits, 0 to {MOST:.0f}")


@dataclass(frozen=True)
class Today:
    """The budget day, and what of it is used up (credits)."""

    day: str
    clock_day: str
    spent: float
    reserved: float


def utc_day(moment: float) -> str:
    """The UTC date of `moment`, as the ledger writes it."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d")


def budget_day(connection: sqlite3.Connection, now: float) -> str:
    """The day whose budget counts: never earlier than a day seen before, so that a clock set back opens no new one."""
    row = connection.execute("SELECT day FROM latest_day").fetchone()
    return max(utc_day(now), row[0]) if row else utc_day(now)


def remember_day(connection: sqlite3.Connection, day: str) -> None:
    """Note that `day` has been seen."""
    connection.execute(
        "INSERT INTO latest_day VALUES (0, ?) ON CONFLICT DO UPDATE SET day = MAX(day, excluded.day)", (day,)
    )


def accept_clock(connection: sqlite3.Connection, now: float) -> None:
    """Believe the clock again after it ran ahead: what was spent on days to come counts towards today."""
    day = utc_day(now)
    connection.execute("UPDATE latest_day SET day = ?", (day,))
    connection.execute(
        "INSERT INTO spend SELECT account, ?, tool, model, recipe, SUM(jobs), SUM(charged), SUM(reserved) FROM spend "
        "WHERE day > ? GROUP BY account, tool, model, recipe ON CONFLICT DO UPDATE SET jobs = jobs + excluded.jobs, "
        "charged = charged + excluded.charged, reserved = reserved + excluded.reserved",
        (day, day),
    )
    connection.execute("DELETE FROM spend WHERE day > ?", (day,))
    connection.execute("UPDATE jobs SET day = ? WHERE day > ?", (day, day))


def used_today(connection: sqlite3.Connection, account: str, now: float) -> Today:
    """What is spent and reserved on the budget day, over all processes."""
    day = budget_day(connection, now)
    charged, reserved = connection.execute(
        "SELECT COALESCE(SUM(charged), 0), COALESCE(SUM(reserved), 0) FROM spend WHERE account = ? AND day = ?",
        (account, day),
    ).fetchone()
    return Today(day, utc_day(now), to_credits(charged), to_credits(reserved))


def reservations(orders: Sequence[Order], ceilings: Ceilings) -> list[int]:
    """How much to hold back for each order of one call, in millionths of a credit.

    An unknown price holds back whatever the ceiling per call leaves, because that is the most the user allowed this
    call to cost: whatever it turns out to be up to there, the day's ceiling holds.

    Raises:
        CeilingError: The call is above the ceiling per call.
        UnusableQuoteError: A quote is negative, infinite or not a number.
    """
    try:
        known = [None if order.quote.credits is None else to_micro(order.quote.credits) for order in orders]
    except ValueError as error:
        raise UnusableQuoteError(
            f"The quote cannot be used: {error}.", next_step="Refresh the catalogue and try again."
        ) from None
    ceiling, total = to_micro(ceilings.per_call), sum(amount or 0 for amount in known)
    unknown = sum(amount is None for amount in known)
    if total > ceiling or (unknown and ceiling == 0):
        raise over_call_ceiling(to_credits(total), ceilings.per_call)
    share = (ceiling - total) // unknown if unknown else 0
    if unknown and share == 0:
        raise CeilingError(
            "The ceiling for one call leaves no room for the part of this call whose price is unknown.",
            next_step="Send that part in a call of its own.",
        )
    return [share if amount is None else amount for amount in known]


def day_refusal(
    connection: sqlite3.Connection, account: str, now: float, needed: int, ceilings: Ceilings, *, certain: bool
) -> CeilingError | None:
    """Why `needed` millionths do not fit into the day's ceiling any more, or `None`; `certain` if that is the price."""
    today = used_today(connection, account, now)
    used = to_micro(today.spent) + to_micro(today.reserved)
    if needed == 0 or used + needed <= to_micro(ceilings.per_day):
        return None
    error = over_day_ceiling(
        to_credits(needed), today.spent, today.reserved, ceilings.per_day, today.day, today.clock_day
    )
    return error if certain else of_unknown_price(error)
