"""What the ledger keeps of the API's history: reads, the rows they showed, and how long each open job has been watched.

The steady clock counts from the start of a machine and means nothing on another one or after a restart, so every
moment is kept with the boot it belongs to.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.jobs.proof import Evidence, Read, Row, SentJob, needed_reads
from kubeez_mcp_local.jobs.rows import OPEN_JOBS, job_from
from kubeez_mcp_local.jobs.summary import known_generations

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True)
class Moment:
    """A moment of one boot's steady clock, in seconds."""

    boot: str
    at: float


def note_sent(connection: sqlite3.Connection, job_id: str, moment: Moment) -> None:
    """The request leaves now, or its answer was given up now: what is known of the history is from before it."""
    connection.execute(
        "UPDATE jobs SET reads_before = COALESCE((SELECT MAX(number) FROM history_reads "
        "WHERE history_reads.account = jobs.account), 0) WHERE id = ?",
        (job_id,),
    )
    restart_watch(connection, job_id, moment)


def restart_watch(connection: sqlite3.Connection, job_id: str, moment: Moment) -> None:
    """The request may have left as late as now."""
    connection.execute("DELETE FROM watches WHERE job = ?", (job_id,))
    connection.execute("INSERT INTO watches (job, boot, since) VALUES (?, ?, ?)", (job_id, moment.boot, moment.at))


def begin_look(connection: sqlite3.Connection, account: str, moment: Moment) -> None:
    """A read begins. For unknown jobs that this boot has never looked for, observed time begins with it."""
    connection.execute(
        "INSERT INTO watches (job, boot, since) "
        f"SELECT id, ?, ? FROM {OPEN_JOBS} AND account = ? AND state = 'unknown' "
        "ON CONFLICT (job, boot) DO UPDATE SET since = excluded.since WHERE watches.since > excluded.since",
        (moment.boot, moment.at, account),
    )


def note_read(
    connection: sqlite3.Connection, account: str, began: Moment, rows: Sequence[Row], balance: float | None
) -> None:
    """A read has ended, and showed `rows`. What a row does not show any more is remembered as it was shown before."""
    connection.execute(
        "INSERT INTO history_reads (account, boot, began, ids, balance) VALUES (?, ?, ?, ?, ?)",
        (account, began.boot, began.at, json.dumps(sorted({row.id for row in rows})), balance),
    )
    connection.executemany(
        "INSERT INTO history_rows (account, id, prompt, model, generation_type, created_at, credits) "
        "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (account, id) DO UPDATE SET "
        "prompt = COALESCE(excluded.prompt, history_rows.prompt), "
        "model = COALESCE(excluded.model, history_rows.model), "
        "generation_type = COALESCE(excluded.generation_type, history_rows.generation_type), "
        "created_at = COALESCE(excluded.created_at, history_rows.created_at), "
        "credits = COALESCE(excluded.credits, history_rows.credits)",
        [
            (account, row.id, row.prompt, row.model, row.generation_type, row.created_at, row.credits)
            for row in {row.id: row for row in rows}.values()
        ],
    )


def evidence(connection: sqlite3.Connection, account: str, arrival_seconds: float) -> Evidence:
    """Everything that is known about the jobs whose fate is open."""
    reads = [
        Read(row["number"], row["boot"], row["began"], frozenset(json.loads(row["ids"])))
        for row in connection.execute("SELECT * FROM history_reads WHERE account = ? ORDER BY number", (account,))
    ]
    rows = {
        row["id"]: Row(
            row["id"], row["prompt"], row["model"], row["generation_type"], row["created_at"], row["credits"]
        )
        for row in connection.execute("SELECT * FROM history_rows WHERE account = ?", (account,))
    }
    return Evidence(
        unknown=_sent(connection, account, "state = 'unknown'"),
        sending=_sent(connection, account, "state = 'sending' AND sent_at IS NOT NULL"),
        reads=reads,
        rows=rows,
        owners=known_generations(connection, account, list(rows)),
        arrival_seconds=arrival_seconds,
    )


def tidy(connection: sqlite3.Connection, account: str, found: Evidence) -> None:
    """Forget the reads that no judgement needs any more, and the rows that only they showed."""
    needed = needed_reads(found)
    unneeded = [read.number for read in found.reads if read.number not in needed]
    if not unneeded:
        return
    shown = {name for read in found.reads if read.number in needed for name in read.ids}
    connection.executemany("DELETE FROM history_reads WHERE number = ?", [(number,) for number in unneeded])
    connection.executemany(
        "DELETE FROM history_rows WHERE account = ? AND id = ?",
        [(account, name) for name in found.rows if name not in shown],
    )


def deny(connection: sqlite3.Connection, jobs: Iterable[str], rows: Iterable[str]) -> None:
    """A person said that none of these rows is one of these jobs."""
    shown = list(rows)
    connection.executemany(
        "INSERT INTO denied_rows (job, generation_id) VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(job, row) for job in jobs for row in shown],
    )


def balance_before(connection: sqlite3.Connection, account: str, reads_before: int) -> float | None:
    """Credits in the account when the history was last read before a send, if they were looked up with it."""
    row = connection.execute(
        "SELECT balance FROM history_reads WHERE account = ? AND number <= ? AND balance IS NOT NULL "
        "ORDER BY number DESC LIMIT 1",
        (account, reads_before),
    ).fetchone()
    return None if row is None else row[0]


def _sent(connection: sqlite3.Connection, account: str, condition: str) -> list[SentJob]:
    found = connection.execute(f"SELECT * FROM {OPEN_JOBS} AND account = ? AND {condition} ORDER BY seq", (account,))
    return [
        SentJob(
            job_from(connection, row),
            row["reads_before"],
            _pairs(connection, "SELECT boot, since FROM watches WHERE job = ?", row["id"]),
            frozenset(_pairs(connection, "SELECT generation_id, 1 FROM denied_rows WHERE job = ?", row["id"])),
        )
        for row in found.fetchall()
    ]


def _pairs(connection: sqlite3.Connection, query: str, job_id: str) -> Mapping[str, Any]:
    return {row[0]: row[1] for row in connection.execute(query, (job_id,))}
