"""Every change of a job's state, each a single guarded update: a job that has moved on is left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.jobs.job import State
from kubeez_mcp_local.jobs.money import is_amount, to_micro
from kubeez_mcp_local.jobs.rows import to_json
from kubeez_mcp_local.rest.amounts import price_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence


def accept(
    connection: sqlite3.Connection, job_id: str, generation_ids: Sequence[str], estimate: float | None, now: float
) -> bool:
    """The API took it. Its own estimate, where it gives one, replaces what was held back; zero is none."""
    known = to_micro(estimate) if estimate and price_of(estimate) is not None else None
    changed = connection.execute(
        "UPDATE jobs SET state = 'accepted', accepted_at = ?1, paced_at = ?1, settled_at = NULL, charged = NULL, "
        "error_code = NULL, error = NULL, reserved = COALESCE(?2, NULLIF(reserved, 0), quote, 0), "
        "quote_basis = CASE WHEN quote IS NULL AND ?2 IS NOT NULL THEN 'estimate' ELSE quote_basis END, "
        "quote = COALESCE(quote, ?2) WHERE id = ?3 AND state IN ('sending', 'unknown', 'not_accepted')",
        (now, known, job_id),
    ).rowcount
    if changed:
        connection.executemany(
            "INSERT INTO generations (account, generation_id, job, position) "
            "SELECT account, ?, id, ? FROM jobs WHERE id = ? ON CONFLICT DO NOTHING",
            [(generation_id, position, job_id) for position, generation_id in enumerate(generation_ids)],
        )
    return bool(changed)


def adopt(connection: sqlite3.Connection, job_id: str, generation_id: str, now: float) -> bool:
    """An unknown job turned up in the API's history. Only if nobody else has taken that id."""
    taken = connection.execute(
        "INSERT INTO generations (account, generation_id, job, position) SELECT account, ?, id, 0 FROM jobs "
        "WHERE id = ? AND state IN ('unknown', 'not_accepted') ON CONFLICT DO NOTHING",
        (generation_id, job_id),
    ).rowcount
    return bool(taken) and accept(connection, job_id, (), None, now)


def refuse(connection: sqlite3.Connection, job_id: str, code: str, message: str, now: float) -> bool:
    """Proven not accepted: the reservation is released."""
    return _end(connection, job_id, State.REFUSED, State.SENDING, now, 0, code, message)


def not_accepted(connection: sqlite3.Connection, job_id: str, message: str, now: float) -> bool:
    """An unknown job that never arrived: the reservation is released."""
    return _end(connection, job_id, State.NOT_ACCEPTED, State.UNKNOWN, now, 0, "not_accepted", message)


def lose(connection: sqlite3.Connection, job_id: str, charged: float, message: str, now: float) -> bool:
    """An unknown job of which nothing will come, and which counts as paid."""
    return _end(connection, job_id, State.LOST, State.UNKNOWN, now, to_micro(charged), "lost", message)


def doubt(connection: sqlite3.Connection, job_id: str, code: str, message: str, now: float) -> bool:
    """Sent, and no answer: the reservation stays until it is known."""
    return bool(
        connection.execute(
            "UPDATE jobs SET state = 'unknown', paced_at = ?, error_code = ?, error = ? "
            "WHERE id = ? AND state = 'sending'",
            (now, code, message, job_id),
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
    """The API is done with it. True for exactly one caller, who then saves the outputs.

    A price that stays unknown, or cannot be true, keeps its reservation for the day: it is not assumed to be zero.
    """
    micro = to_micro(charged) if charged is not None and is_amount(charged) else None
    return bool(
        connection.execute(
            "UPDATE jobs SET state = ?, charged = ?, reserved = CASE WHEN ? IS NULL THEN reserved ELSE 0 END, "
            "results = ?, error_code = ?, error = ?, saver = ?, settled_at = ? WHERE id = ? AND state = 'accepted'",
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
) -> bool:
    """A refusal counts for the API's rate limit from when it was answered; an unknown job has been counted before."""
    return bool(
        connection.execute(
            "UPDATE jobs SET state = ?, reserved = 0, charged = ?, settled_at = ?, error_code = ?, error = ?, "
            "paced_at = CASE WHEN sent_at IS NULL THEN NULL WHEN state = 'sending' THEN ? ELSE paced_at END "
            "WHERE id = ? AND state = ?",
            (state, charged, now, code, message, now, job_id, before),
        ).rowcount
    )
