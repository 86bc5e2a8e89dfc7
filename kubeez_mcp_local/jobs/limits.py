"""The API's rate limits and concurrency caps, kept before sending, for all processes of this machine together.

The ledger already knows every paid request of the last minute and every running job, so the limits need no books of
their own: the same transaction that notes "this request leaves now" checks them. A request counts from the moment its
answer came, not from when it left: the API counted it somewhere in between, so the next one can never arrive early.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from kubeez_mcp_local.jobs.failures import NotSentError
from kubeez_mcp_local.jobs.rows import OPEN_JOBS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from kubeez_mcp_local.jobs.job import Job

_READ_BLOCK_SECONDS = 5.0
_SHORTEST_READ_BLOCK = 0.25  # else a fast sandbox's permits would expire before they come back from the ledger
_STALE_SECONDS = 1800.0
_LONGEST_PAUSE = 3600.0
_PER_MINUTE = MappingProxyType({"media": 30, "music": 10, "dialogue": 10, "ads": 5, "read": 120})
_AT_ONCE = MappingProxyType({"media": 10, "music": 5, "dialogue": 5})


@dataclass(frozen=True)
class Limits:
    """How fast and how many (rest-api.md §1.5).

    Args:
        per_minute: Requests a minute by bucket; a bucket that is missing is not limited.
        at_once: Running jobs by bucket.
        speed: How many times faster than life the API's clock runs; 1 except in the sandbox.
    """

    per_minute: Mapping[str, int] = field(default_factory=lambda: _PER_MINUTE)
    at_once: Mapping[str, int] = field(default_factory=lambda: _AT_ONCE)
    speed: float = 1.0

    @property
    def window(self) -> float:
        """A minute of the API, in seconds."""
        return 60.0 / self.speed

    @property
    def read_block(self) -> float:
        """How long a block of read permits may be used, in seconds."""
        return max(_READ_BLOCK_SECONDS / self.speed, _SHORTEST_READ_BLOCK)


@dataclass(frozen=True)
class Wait:
    """Not yet. `seconds` is when to look again; `reason` is for people."""

    seconds: float
    reason: str


def dispatch(connection: sqlite3.Connection, job: Job, limits: Limits, now: float) -> Wait | None:
    """Note that `job` leaves now, if the limits allow it; else say how long to wait. Runs in a write transaction.

    Raises:
        NotSentError: It is not waiting to be sent any more, so it must not leave.
    """
    row = connection.execute("SELECT state FROM jobs WHERE id = ?", (job.id,)).fetchone()
    if row is None or row[0] != "sending":
        raise _taken_away(job, row)
    wait = (
        _paused(connection, job.account, job.bucket, now)
        or _rate(connection, job.account, job.bucket, limits, now)
        or _running(connection, job.account, job.bucket, limits, now)
    )
    if wait is not None:
        return wait
    changed = connection.execute(
        "UPDATE jobs SET sent_at = ?, paced_at = ? WHERE id = ? AND state = 'sending'", (now, now, job.id)
    ).rowcount
    if not changed:
        raise _taken_away(job, row)
    return None


def _taken_away(job: Job, row: sqlite3.Row | None) -> NotSentError:
    state = "unheard of" if row is None else row[0]
    return NotSentError(
        f"Job {job.id} was about to be sent, but the ledger has it as {state}: another server of this machine took "
        "this one for ended. Nothing was sent."
    )


def take_back(connection: sqlite3.Connection, job_id: str) -> bool:
    """Note that the API turned the request away (429) and that it has not been sent again yet.

    False if the job is not being sent any more; then it must not be sent again.
    """
    return bool(
        connection.execute(
            "UPDATE jobs SET sent_at = NULL, paced_at = NULL WHERE id = ? AND state = 'sending'", (job_id,)
        ).rowcount
    )


def pause(connection: sqlite3.Connection, account: str, bucket: str, seconds: float, now: float) -> None:
    """Let nobody send to `bucket` for a while."""
    connection.execute(
        "INSERT INTO pauses VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET until = excluded.until "
        "WHERE until < excluded.until OR until > ?",
        (account, bucket, now + min(max(seconds, 0.0), _LONGEST_PAUSE), now + _LONGEST_PAUSE),
    )


def take_reads(
    connection: sqlite3.Connection, account: str, wanted: int, limits: Limits, now: float
) -> tuple[int, Wait | None]:
    """Up to `wanted` read permits, usable for `limits.read_block` seconds, or how long to wait for one."""
    per_minute = limits.per_minute.get("read")
    if per_minute is None:
        return wanted, None
    paused = _paused(connection, account, "read", now)
    if paused:
        return 0, paused
    lifetime = limits.read_block
    connection.execute(
        "DELETE FROM reads WHERE account = ? AND (valid_until < ? OR valid_until > ?)",
        (account, now - limits.window, now + lifetime),
    )
    taken, oldest = connection.execute(
        "SELECT COALESCE(SUM(permits), 0), MIN(valid_until) FROM reads WHERE account = ?", (account,)
    ).fetchone()
    granted = min(wanted, per_minute - taken)
    if granted <= 0:
        return 0, Wait(max(oldest + limits.window - now, 0.001), _words(per_minute, "read"))
    connection.execute("INSERT INTO reads VALUES (?, ?, ?)", (account, now + lifetime, granted))
    return granted, None


def _paused(connection: sqlite3.Connection, account: str, bucket: str, now: float) -> Wait | None:
    row = connection.execute("SELECT until FROM pauses WHERE account = ? AND bucket = ?", (account, bucket)).fetchone()
    if row is None or not now < row[0] <= now + _LONGEST_PAUSE:
        return None
    return Wait(row[0] - now, f"The API asked for fewer {bucket} requests.")


def _rate(connection: sqlite3.Connection, account: str, bucket: str, limits: Limits, now: float) -> Wait | None:
    """Requests on their way count as if they arrived now, however long they have been; those from a future that the
    clock has been set back from do not count."""
    allowed = limits.per_minute.get(bucket)
    if allowed is None:
        return None
    room = (
        allowed
        - connection.execute(
            f"SELECT COUNT(*) FROM {OPEN_JOBS} AND account = ? AND bucket = ? AND state = 'sending' "
            "AND ABS(? - sent_at) < ?",
            (account, bucket, now, _STALE_SECONDS),
        ).fetchone()[0]
    )
    if room <= 0:
        return Wait(1.0 / limits.speed, _words(allowed, bucket))
    rows = connection.execute(
        "SELECT MIN(paced_at, ?) FROM jobs INDEXED BY jobs_paced WHERE account = ? AND bucket = ? AND paced_at <= ? "
        "AND state <> 'sending' ORDER BY paced_at DESC LIMIT ?",
        (now, account, bucket, now + limits.window, room),
    ).fetchall()
    if len(rows) < room:
        return None
    wait = rows[-1][0] + limits.window - now
    return Wait(wait, _words(allowed, bucket)) if wait > 0 else None


def _running(connection: sqlite3.Connection, account: str, bucket: str, limits: Limits, now: float) -> Wait | None:
    """Jobs that nobody has seen the end of for half an hour are taken to have ended."""
    allowed = limits.at_once.get(bucket)
    if allowed is None:
        return None
    running = connection.execute(
        f"SELECT COUNT(*) FROM {OPEN_JOBS} AND account = ? AND bucket = ? "
        "AND state IN ('sending', 'accepted') "
        "AND sent_at IS NOT NULL AND ABS(? - sent_at) < ?",
        (account, bucket, now, _STALE_SECONDS),
    ).fetchone()[0]
    if running < allowed:
        return None
    return Wait(1.0 / limits.speed, f"{running} {bucket} jobs are running; the API allows {allowed} at once.")


def _words(per_minute: int, bucket: str) -> str:
    return f"The API allows {per_minute} {bucket} requests a minute, and they are used up."
