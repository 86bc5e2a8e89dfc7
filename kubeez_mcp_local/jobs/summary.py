"""Questions to the ledger: what ran, and what it cost."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kubeez_mcp_local.jobs.failures import UnknownJobError
from kubeez_mcp_local.jobs.money import to_credits
from kubeez_mcp_local.jobs.rows import OPEN_JOBS, job_from, jobs_from

if TYPE_CHECKING:
    import sqlite3

    from kubeez_mcp_local.jobs.job import Job, State

SpendKey = Literal["day", "model", "tool", "recipe"]
_ENOUGH_PREFIX = 4


@dataclass(frozen=True)
class Spend:
    """What one day, model, tool or recipe cost, in credits. `jobs` counts every attempt, also refused ones."""

    key: str
    jobs: int
    charged: float
    reserved: float


def recent(connection: sqlite3.Connection, account: str, limit: int) -> list[Job]:
    """The newest jobs, newest first."""
    rows = connection.execute(
        "SELECT * FROM jobs WHERE account = ? ORDER BY seq DESC LIMIT ?", (account, limit)
    ).fetchall()
    return jobs_from(connection, rows)


def in_state(connection: sqlite3.Connection, account: str, state: State) -> list[Job]:
    """The jobs that are `sending`, `accepted` or `unknown` (states in which few are at a time), oldest first."""
    rows = connection.execute(
        f"SELECT * FROM {OPEN_JOBS} AND account = ? AND state = ? ORDER BY seq",
        (account, state),
    ).fetchall()
    return jobs_from(connection, rows)


def unsaved(connection: sqlite3.Connection, account: str, since: float) -> list[Job]:
    """Completed jobs whose outputs were never saved."""
    rows = connection.execute(
        "SELECT * FROM jobs WHERE account = ? AND state = 'completed' AND saved_at IS NULL AND settled_at >= ? "
        "ORDER BY settled_at",
        (account, since),
    ).fetchall()
    return jobs_from(connection, rows)


def find(connection: sqlite3.Connection, account: str, wanted: str) -> Job:
    """The job with this ledger id, generation id, or unambiguous beginning (4 characters or more) of either.

    Raises:
        UnknownJobError: There is none, or more than one.
    """
    row = connection.execute(
        "SELECT * FROM jobs WHERE account = ?1 AND id = ?2 UNION ALL SELECT jobs.* FROM generations "
        "JOIN jobs ON jobs.id = generations.job WHERE generations.account = ?1 AND generation_id = ?2 LIMIT 1",
        (account, wanted),
    ).fetchone()
    if row is not None:
        return job_from(connection, row)
    rows = _beginning_with(connection, account, wanted) if len(wanted) >= _ENOUGH_PREFIX else []
    if len(rows) != 1:
        raise UnknownJobError(wanted, ambiguous=len(rows))
    return job_from(connection, rows[0])


def known_generations(connection: sqlite3.Connection, account: str, ids: list[str]) -> dict[str, Job]:
    """Which of the API's `ids` the ledger knows, and the job of each."""
    rows = connection.execute(
        "SELECT generation_id, jobs.* FROM generations JOIN jobs ON jobs.id = job "
        "WHERE generations.account = ? AND generation_id IN (SELECT value FROM json_each(?))",
        (account, json.dumps(ids)),
    ).fetchall()
    return {row["generation_id"]: job_from(connection, row) for row in rows}


def spend_by(connection: sqlite3.Connection, account: str, key: SpendKey, since_day: str = "") -> list[Spend]:
    """What was spent, grouped; days in order, everything else dearest first."""
    order = "grouped" if key == "day" else "SUM(charged) DESC, grouped"
    column = {"day": "day", "model": "model", "tool": "tool", "recipe": "recipe"}[key]
    rows = connection.execute(
        f"SELECT {column} AS grouped, SUM(jobs), SUM(charged), SUM(reserved) FROM spend "
        f"WHERE account = ? AND day >= ? GROUP BY grouped ORDER BY {order}",
        (account, since_day),
    )
    return [Spend(row[0], row[1], to_credits(row[2]), to_credits(row[3])) for row in rows]


def _beginning_with(connection: sqlite3.Connection, account: str, wanted: str) -> list[sqlite3.Row]:
    after = wanted[:-1] + chr(ord(wanted[-1]) + 1)
    return connection.execute(
        # The plus signs keep SQLite from walking through all jobs of the account instead of the few with such an id.
        "SELECT * FROM jobs WHERE +account = ?1 AND id >= ?2 AND id < ?3 UNION SELECT jobs.* FROM generations "
        "JOIN jobs ON jobs.id = generations.job "
        "WHERE generations.account = ?1 AND generation_id >= ?2 AND generation_id < ?3 LIMIT 5",
        (account, wanted, after),
    ).fetchall()
