"""Approval codes, for clients that cannot ask the user themselves.

A code stands for one yes to one quoted call: bound to the account, to exactly these arguments and to the quote,
valid for ten minutes, good once. Only its hash is kept.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubeez_mcp_local.jobs.failures import ApprovalError
from kubeez_mcp_local.jobs.money import to_micro

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

VALID_SECONDS = 600.0
_CLOCK_TOLERANCE = 60.0
_ENTROPY_BYTES = 15


@dataclass(frozen=True)
class Approval:
    """A code as it came back, and what it is held against."""

    code: str
    account: str
    digest: str
    quote: float | None


def issue(
    connection: sqlite3.Connection,
    *,
    account: str,
    digest: str,
    quote: float | None,
    now: float,
    random_bytes: Callable[[int], bytes],
) -> str:
    """A new code such as `ok-ABCD-EFGH-…` (120 random bits). Codes that nobody can use any more are cleared away."""
    connection.execute(  # those from before the clock was set back would count when their time comes again
        "DELETE FROM approvals WHERE issued_at NOT BETWEEN ? AND ?", (now - 24 * 3600, now + _CLOCK_TOLERANCE)
    )
    letters = base64.b32encode(random_bytes(_ENTROPY_BYTES)).decode()
    code = "ok-" + "-".join(letters[start : start + 4] for start in range(0, len(letters), 4))
    connection.execute(
        "INSERT INTO approvals (code_hash, account, digest, quote, issued_at) VALUES (?, ?, ?, ?, ?)",
        (_hash(code), account, digest, _micro(quote), now),
    )
    return code


def redeem(
    connection: sqlite3.Connection, approval: Approval, now: float, *, of_run: bool = False
) -> ApprovalError | None:
    """Use up a code; the reason why it does not count, or `None` if it does.

    One for a whole run counts `of_run` as often as it comes: each call of a run is paid once anyway.
    """
    row = connection.execute("SELECT * FROM approvals WHERE code_hash = ?", (_hash(approval.code),)).fetchone()
    if row is None or row["account"] != approval.account:
        return _refused("is not one that this server gave out")
    if row["used_at"] is not None and not (of_run and row["digest"] == approval.digest):
        return _refused("was used before; a code is good for one call")
    if row["digest"] != approval.digest:
        return _refused("was given for other arguments")
    if not -_CLOCK_TOLERANCE <= now - row["issued_at"] <= VALID_SECONDS:
        return _refused(f"has expired; a code is valid for {VALID_SECONDS / 60:.0f} minutes")
    if row["quote"] != _micro(approval.quote):
        return _refused("was given for another price")
    changed = connection.execute(
        "UPDATE approvals SET used_at = ? WHERE code_hash = ? AND used_at IS NULL", (now, row["code_hash"])
    ).rowcount
    return None if changed else _refused("was used before; a code is good for one call")


def _refused(why: str) -> ApprovalError:
    return ApprovalError(
        f"This approval code {why}. Nothing was sent.",
        next_step="Call again without `approval` to get the quote and a new code, and ask the user.",
    )


def _hash(code: str) -> str:
    return hashlib.sha256(code.strip().upper().encode()).hexdigest()


def _micro(quote: float | None) -> int | None:
    return None if quote is None else to_micro(quote)
