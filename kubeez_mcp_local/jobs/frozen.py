"""Frozen quotes: a question about the same call stays the same question for ten minutes.

A client of the 2026-07-28 protocol repeats the whole call with the user's answer, and the question made for the
repeat must equal the one that was answered. So its price and balance are kept from the first time. A price that has
*risen* since is the one exception: then the old answer does not count and the new price is asked about. A payment
uses the quote up, so that one yes is one payment: whoever brings the same answer again is asked anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kubeez_mcp_local.jobs.money import to_credits, to_micro

if TYPE_CHECKING:
    import sqlite3

FROZEN_SECONDS = 600.0


@dataclass(frozen=True)
class FrozenQuote:
    """What one call was quoted at when it was first asked about, in credits; `balance` is the account's then."""

    credits: float | None
    basis: str
    balance: float | None
    frozen_at: float = 0.0


def frozen_quote(
    connection: sqlite3.Connection, account: str, digest: str, current: float | None, now: float
) -> FrozenQuote | None:
    """The quote frozen for `digest`, unless it is too old or below the `current` price."""
    row = connection.execute(
        "SELECT * FROM frozen_quotes WHERE account = ? AND digest = ?", (account, digest)
    ).fetchone()
    if row is None or abs(now - row["frozen_at"]) > FROZEN_SECONDS:
        return None
    if (row["quote"] is None) != (current is None) or (current is not None and to_micro(current) > row["quote"]):
        return None
    amount = None if row["quote"] is None else to_credits(row["quote"])
    return FrozenQuote(amount, row["basis"], row["balance"], row["frozen_at"])


def use_up(connection: sqlite3.Connection, account: str, digest: str) -> None:
    """The call is paid for: the next question about it is another one."""
    connection.execute("DELETE FROM frozen_quotes WHERE account = ? AND digest = ?", (account, digest))


def freeze(connection: sqlite3.Connection, account: str, digest: str, quote: FrozenQuote, now: float) -> FrozenQuote:
    """Keep `quote` for the next ten minutes, and clear away the ones that are over."""
    connection.execute("DELETE FROM frozen_quotes WHERE ABS(frozen_at - ?) > ?", (now, FROZEN_SECONDS))
    connection.execute(
        "INSERT INTO frozen_quotes VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET quote = excluded.quote, "
        "basis = excluded.basis, balance = excluded.balance, frozen_at = excluded.frozen_at",
        (account, digest, None if quote.credits is None else to_micro(quote.credits), quote.basis, quote.balance, now),
    )
    return replace(quote, frozen_at=now)
