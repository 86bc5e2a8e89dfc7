"""Between ledger rows and jobs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.jobs.job import Job, SavedFile, State
from kubeez_mcp_local.jobs.money import to_credits

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

OPEN_JOBS = "jobs INDEXED BY jobs_open WHERE state IN ('sending', 'accepted', 'unknown')"
"""The few jobs that are under way. SQLite uses the index over them only when its condition stands in the query."""


def job_from(connection: sqlite3.Connection, row: sqlite3.Row) -> Job:
    """The job in `row`, with its generation ids."""
    ids = connection.execute("SELECT generation_id FROM generations WHERE job = ? ORDER BY position", (row["id"],))
    return Job(
        id=row["id"],
        account=row["account"],
        state=State(row["state"]),
        digest=row["digest"],
        tool=row["tool"],
        route=row["route"],
        bucket=row["bucket"],
        kind=row["kind"],
        model=row["model"],
        prompt=row["prompt"],
        generation_type=row["generation_type"],
        arguments=json.loads(row["arguments"]),
        recipe=row["recipe"] or None,
        client=row["client"],
        owner=row["owner"],
        quote_credits=_credits(row["quote"]),
        quote_basis=row["quote_basis"],
        expected_seconds=row["expected_seconds"],
        reserved=to_credits(row["reserved"]),
        charged=_credits(row["charged"]),
        generation_ids=tuple(found[0] for found in ids),
        results=tuple(json.loads(row["results"])),
        files=tuple(SavedFile(**file) for file in json.loads(row["files"])),
        error_code=row["error_code"],
        error=row["error"],
        save_error=row["save_error"],
        created_at=row["created_at"],
        sent_at=row["sent_at"],
        answered_at=row["paced_at"],
        accepted_at=row["accepted_at"],
        settled_at=row["settled_at"],
        verdict=None if row["verdict"] is None else json.loads(row["verdict"]),
    )


def jobs_from(connection: sqlite3.Connection, rows: Iterable[sqlite3.Row]) -> list[Job]:
    """The jobs in `rows`, in their order."""
    return [job_from(connection, row) for row in rows]


def job_with(connection: sqlite3.Connection, job_id: str) -> Job | None:
    """The job with the ledger id `job_id`."""
    row = connection.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
    return None if row is None else job_from(connection, row)


def files_json(files: Sequence[SavedFile]) -> str:
    """Saved files as the ledger keeps them."""
    return json.dumps([asdict(file) for file in files])


def to_json(value: Any) -> str:
    """Any JSON-like value as the ledger keeps it; what JSON cannot say becomes text."""
    return json.dumps(value, default=str, ensure_ascii=False)


def _credits(micro: int | None) -> float | None:
    return None if micro is None else to_credits(micro)
