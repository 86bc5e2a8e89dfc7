"""The rows of the ledger: reading jobs, every change of a job's state, and what the API's history has shown."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from kubeez_mcp_local.jobs.errors import UnknownJobError
from kubeez_mcp_local.jobs.job import Job, SavedFile, State, is_amount, to_credits, to_micro
from kubeez_mcp_local.jobs.proof import Evidence, Read, Row, SentJob, needed_reads
from kubeez_mcp_local.rest.wire import price_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping, Sequence


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


def accept(
    connection: sqlite3.Connection,
    job_id: str,
    generation_ids: Sequence[str],
    estimate: float | None,
    now: float,
    most: int,
) -> str:
    """The API took it: its ids are recorded, whatever was thought of the job before. Returns whose ids they are.

    The API's own estimate, where it gives one, replaces what was held back; zero is none. A hold that was released
    because nobody believed in the job any more is taken again; one without a quote as `most` millionths. Ids that come
    on top of known ones are further work: they are held back for beside what the job holds or has cost already.

    Returns:
        The job itself; or another one, if that has all these ids already: then nothing new was made.
    """
    known = to_micro(estimate) if estimate and price_of(estimate) is not None else None
    new = sum(
        connection.execute(
            "INSERT INTO generations (account, generation_id, job, position) SELECT account, ?1, id, "
            "(SELECT COUNT(*) FROM generations WHERE job = ?2) FROM jobs WHERE id = ?2 ON CONFLICT DO NOTHING",
            (generation_id, job_id),
        ).rowcount
        for generation_id in generation_ids
    )
    holder = None if new else _holder(connection, job_id, generation_ids)
    if holder is not None:
        message = f"The API answered with what it had made for job {holder}; nothing new was made."
        for state in (State.SENDING, State.UNKNOWN):
            _end(connection, job_id, State.REFUSED, state, now, 0, "same_generation", message)
        return holder
    changed = _believe(connection, job_id, known, now, most)
    if new and not changed:
        _reopen(connection, job_id, known, now, most)
    return job_id


def _believe(connection: sqlite3.Connection, job_id: str, known: int | None, now: float, most: int) -> bool:
    """From a state in which nobody knew of an acceptance."""
    return bool(
        connection.execute(
            "UPDATE jobs SET state = 'accepted', accepted_at = ?1, paced_at = ?1, settled_at = NULL, "
            "error_code = NULL, error = NULL, verdict = NULL, charged = NULL, "
            "reserved = COALESCE(?2, NULLIF(reserved, 0), CASE WHEN state = 'lost' THEN charged END, quote, ?4), "
            "quote_basis = CASE WHEN quote IS NULL AND ?2 IS NOT NULL THEN 'estimate' ELSE quote_basis END, "
            "quote = COALESCE(quote, ?2) "
            "WHERE id = ?3 AND (state IN ('sending', 'unknown', 'not_accepted') OR "
            "(state IN ('refused', 'lost') AND EXISTS (SELECT 1 FROM generations WHERE job = ?3)))",
            (now, known, job_id, most),
        ).rowcount
    )


def _reopen(connection: sqlite3.Connection, job_id: str, known: int | None, now: float, most: int) -> None:
    """From a state in which other ids of it were followed, or had come to their end."""
    connection.execute(
        "UPDATE jobs SET state = 'accepted', accepted_at = ?1, settled_at = NULL, saver = NULL, saved_at = NULL, "
        "reserved = (CASE WHEN state = 'accepted' THEN reserved ELSE COALESCE(charged, reserved) END) "
        "+ COALESCE(?2, quote, ?4), charged = NULL "
        "WHERE id = ?3 AND state IN ('accepted', 'completed', 'failed', 'refunded')",
        (now, known, job_id, most),
    )


def _holder(connection: sqlite3.Connection, job_id: str, generation_ids: Sequence[str]) -> str | None:
    """The other job that has these ids; none where the job itself has one of them, or there are none."""
    holders = [
        row[0]
        for generation_id in generation_ids
        for row in connection.execute(
            "SELECT job FROM generations WHERE generation_id = ? AND account = (SELECT account FROM jobs WHERE id = ?)",
            (generation_id, job_id),
        )
    ]
    return None if not holders or job_id in holders else str(holders[0])


def adopt(connection: sqlite3.Connection, job_id: str, generation_id: str, now: float, most: int) -> bool:
    """An unknown job turned up in the API's history. Only if nobody else has taken that id."""
    taken = connection.execute(
        "INSERT INTO generations (account, generation_id, job, position) SELECT account, ?, id, 0 FROM jobs "
        "WHERE id = ? AND state IN ('unknown', 'not_accepted') ON CONFLICT DO NOTHING",
        (generation_id, job_id),
    ).rowcount
    return bool(taken) and _believe(connection, job_id, None, now, most)


def refuse(
    connection: sqlite3.Connection, job_id: str, code: str, message: str, verdict: str | None, now: float
) -> bool:
    """Proven not accepted, by the answer or because it never left: the reservation is released.

    Its sender knows that better than a process that took the sender for ended meanwhile.
    """
    return any(
        _end(connection, job_id, State.REFUSED, before, now, 0, code, message, verdict)
        for before in (State.SENDING, State.UNKNOWN)
    )


def not_accepted(connection: sqlite3.Connection, job_id: str, message: str, now: float) -> bool:
    """An unknown job that never arrived: the reservation is released."""
    return _end(connection, job_id, State.NOT_ACCEPTED, State.UNKNOWN, now, 0, "not_accepted", message)


def lose(connection: sqlite3.Connection, job_id: str, charged: float, message: str, now: float) -> bool:
    """An unknown job of which nothing will come, and which counts as paid."""
    return _end(connection, job_id, State.LOST, State.UNKNOWN, now, to_micro(charged), "lost", message)


def doubt(connection: sqlite3.Connection, job_id: str, code: str, message: str, now: float, most: int) -> bool:
    """Sent, and no answer: the reservation stays until it is known, or is taken again (see `accept`)."""
    return bool(
        connection.execute(
            "UPDATE jobs SET state = 'unknown', paced_at = ?1, error_code = ?2, error = ?3, verdict = NULL, "
            "settled_at = NULL, charged = NULL, "
            "reserved = CASE WHEN state = 'sending' THEN reserved ELSE COALESCE(NULLIF(reserved, 0), quote, ?5) END "
            "WHERE id = ?4 AND state IN ('sending', 'refused', 'not_accepted')",
            (now, code, message, job_id, most),
        ).rowcount
    )


def forget(connection: sqlite3.Connection, job_id: str, message: str) -> bool:
    """Accepted, and the API denies it now: the reservation stays until its history says the same."""
    return bool(
        connection.execute(
            "UPDATE jobs SET state = 'unknown', error_code = 'forgotten', error = ? "
            "WHERE id = ? AND state = 'accepted'",
            (message, job_id),
        ).rowcount
    )


def settle(
    connection: sqlite3.Connection,
    job_id: str,
    state: State,
    charged: float | None,
    results: Sequence[Mapping[str, Any]],
    error: str | None,
    saver: str,
    now: float,
) -> bool:
    """The API is done with it, whatever became of it in the meantime: its results say so. True for exactly one
    caller, who then saves the outputs. Results of fewer generations than it has by now are not its end.

    A price that stays unknown, or cannot be true, keeps its reservation for the day: it is not assumed to be zero.
    """
    micro = to_micro(charged) if charged is not None and is_amount(charged) else None
    return bool(
        connection.execute(
            "UPDATE jobs SET state = ?, charged = COALESCE(?, CASE WHEN state = 'lost' THEN charged END), "
            "reserved = CASE WHEN ? IS NULL THEN reserved ELSE 0 END, "
            "results = ?, error_code = ?, error = ?, saver = ?, settled_at = ?, verdict = NULL "
            "WHERE id = ? AND state IN ('accepted', 'unknown', 'lost') "
            "AND (? = 0 OR ? >= (SELECT COUNT(*) FROM generations WHERE job = jobs.id))",
            (
                state,
                micro,
                micro,
                to_json([dict(result) for result in results]),
                "generation_failed" if state in (State.FAILED, State.REFUNDED) else None,
                error,
                saver,
                now,
                job_id,
                len(results),
                len(results),
            ),
        ).rowcount
    )


def finish_late(
    connection: sqlite3.Connection,
    job: Job,
    charged: float | None,
    results: Sequence[Mapping[str, Any]],
    error: str | None,
    saver: str,
    now: float,
    most: int,
) -> bool:
    """A job that had ended, wholly or in part, without a result has one after all, as its answers say now.

    Its charge counts on the day of the job. True for exactly one caller, who then saves what is missing. Without a
    usable figure what was charged before stays, or for a failed job the quote, or else `most` millionths are held back.
    """
    micro = to_micro(charged) if charged is not None and is_amount(charged) else None
    return bool(
        connection.execute(
            "UPDATE jobs SET state = 'completed', results = ?1, error_code = NULL, error = ?2, saver = ?3, "
            "settled_at = ?4, saved_at = NULL, save_error = NULL, verdict = NULL, "
            "charged = COALESCE(?5, NULLIF(charged, 0), quote), "
            "reserved = CASE WHEN COALESCE(?5, NULLIF(charged, 0), quote) IS NULL THEN ?6 ELSE 0 END "
            "WHERE id = ?7 AND state IN ('completed', 'failed', 'refunded', 'lost') "
            "AND settled_at IS ?8 AND results <> ?1",
            (
                to_json([dict(result) for result in results]),
                error,
                saver,
                now,
                micro,
                most,
                job.id,
                job.settled_at,
            ),
        ).rowcount
    )


def _end(
    connection: sqlite3.Connection,
    job_id: str,
    state: State,
    before: State,
    now: float,
    charged: int,
    code: str,
    message: str,
    verdict: str | None = None,
) -> bool:
    """A refusal counts for the API's rate limit from when it was answered; an unknown job has been counted before."""
    return bool(
        connection.execute(
            "UPDATE jobs SET state = ?, reserved = 0, charged = ?, settled_at = ?, error_code = ?, error = ?, "
            "verdict = ?, "
            "paced_at = CASE WHEN sent_at IS NULL THEN NULL WHEN state = 'sending' THEN ? ELSE paced_at END "
            "WHERE id = ? AND state = ?",
            (state, charged, now, code, message, verdict, now, job_id, before),
        ).rowcount
    )


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
