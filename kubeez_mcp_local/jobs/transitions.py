"""Every change of a job's state, each a guarded update that says whether it changed anything.

A job that has moved on is left alone, with one exception: an id that the API gave is recorded whatever state the job
is in, since somebody paid for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.jobs.job import Job, State
from kubeez_mcp_local.jobs.money import is_amount, to_micro
from kubeez_mcp_local.jobs.rows import to_json
from kubeez_mcp_local.rest.amounts import price_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence


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
