"""The rows of the ledger: reading jobs, and every change of a job's state.

Each change is a guarded update. A job that has moved on is left alone, with one exception: an id that the API gave is
recorded whatever state the job is in, since somebody paid for it.
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from kubeez_mcp_local.jobs.errors import UnknownJobError, wrong_state
from kubeez_mcp_local.jobs.job import SANDBOX, Job, Labels, SavedFile, State, door_of, is_amount, to_credits, to_micro
from kubeez_mcp_local.rest.wire import price_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

log = logging.getLogger(__name__)

Fate = Literal["alive", "ended", "unsure"]
"""What is known of the process that owns a job."""

OPEN_JOBS = "jobs INDEXED BY jobs_open WHERE state IN ('sending', 'accepted', 'unknown')"
"""The few jobs that are under way. SQLite uses the index over them only when its condition stands in the query."""

_TIMED = re.compile(r":(now|boot|at)\b")

_AS_THEY_ARE = (
    *("id", "account", "digest", "tool", "route", "bucket", "kind", "model", "prompt", "generation_type", "client"),
    *("owner", "quote_basis", "expected_seconds", "error_code", "error", "save_error", "created_at", "sent_at"),
    *("accepted_at", "settled_at"),
    *("run", "place", "person"),
)


class Found(Protocol):
    """What a statement has found, or changed."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """An open transaction of the database. Statements name their values: `:name`. What was found by `execute` is looked
    at before the next statement; by `ask`, whenever that is."""

    def execute(self, statement: str, values: Mapping[str, Any] = MappingProxyType({}), /) -> Found: ...
    def ask(self, statement: str, values: Mapping[str, Any], /) -> Found: ...
    def executemany(self, statement: str, values: Iterable[Mapping[str, Any]], /) -> object: ...


@dataclass(frozen=True)
class Moment:
    """A moment of one boot's steady clock, in seconds. That clock counts from the start of a machine and means nothing
    on another one or after a restart, so every moment is kept with the boot it belongs to."""

    boot: str
    at: float


@dataclass(frozen=True)
class Transaction:
    """One transaction of the ledger: on whose behalf and when it happens.

    Attributes:
        owner: This process, as the ledger knows it.
        when: Seconds since 1970 as the transaction begins, and the same by the steady clock.
        most: What is held back for a job without a quote, in millionths of a credit.
        person: Whose work this is.
        counted: The person whose rows count towards the day's ceiling; empty for everybody's.
        fate_of: What is known of another owner; noted in this transaction if it has ended.
        random_bytes: Source of approval codes.
        beside: The account of the other door, where two are open: its rows count towards ceilings and are found with
            those of `account`, but how fast and what the history shows is each account's own.
    """

    connection: Connection
    account: str
    owner: str
    when: Callable[[], tuple[float, Moment]]
    most: int
    person: str
    counted: str
    fate_of: Callable[[str], Fate]
    random_bytes: Callable[[int], bytes]
    beside: str = ""

    @property
    def now(self) -> float:
        return self.when()[0]

    @property
    def moment(self) -> Moment:
        return self.when()[1]

    def always(self, statement: str) -> dict[str, Any]:
        """What every statement may name: `:account`, `:beside`, `:owner`, `:most`, `:counted`, `:now`, and the
        moment's `:boot` and `:at`. A server that is far away is asked for the time only by those that do."""
        told: dict[str, Any] = {"account": self.account, "beside": self.beside, "owner": self.owner}
        told |= {"most": self.most, "counted": self.counted}
        if _TIMED.search(statement) is None:
            return told
        return told | {"now": self.now, "boot": self.moment.boot, "at": self.moment.at}

    def execute(self, statement: str, /, **values: Any) -> Found:
        return self.connection.execute(statement, self.always(statement) | values)

    def ask(self, statement: str, /, **values: Any) -> Found:
        """A question whose answer is looked at later: what is asked together goes to a server as one message."""
        return self.connection.ask(statement, self.always(statement) | values)

    def execute_for_each(self, statement: str, each: Iterable[Mapping[str, Any]]) -> None:
        always = self.always(statement)
        self.connection.executemany(statement, [{**always, **values} for values in each])

    def change(self, statement: str, /, **values: Any) -> bool:
        """Whether it has changed anything; in a guarded write, nothing changed means stop."""
        return self.execute(statement, **values).rowcount > 0

    def jobs(self, query: str, /, **values: Any) -> list[Job]:
        """The jobs that `query` finds, in its order."""
        return self.jobs_in(self.execute(with_generations(query), **values))

    def ask_jobs(self, query: str, /, **values: Any) -> Found:
        """The same, for `jobs_in` to look at later."""
        return self.ask(with_generations(query), **values)

    def jobs_in(self, found: Found) -> list[Job]:
        return [self.job_in(row) for row in found]

    def job(self, job_id: str) -> Job:
        """The job with this ledger id, or `UnknownJobError`."""
        found = self.jobs("SELECT * FROM jobs WHERE id = :job", job=job_id)
        if not found:
            raise UnknownJobError(job_id)
        return found[0]

    @staticmethod
    def job_in(row: Any) -> Job:
        """The job in a row that was found `with_generations`."""
        return Job(
            **{name: row[name] for name in _AS_THEY_ARE},
            state=State(row["state"]),
            arguments=json.loads(row["arguments"]),
            recipe=row["recipe"] or None,
            quote_credits=None if row["quote"] is None else to_credits(row["quote"]),
            reserved=to_credits(row["reserved"]),
            charged=None if row["charged"] is None else to_credits(row["charged"]),
            generation_ids=tuple(json.loads(row["generation_ids"] or "[]")),
            results=tuple(json.loads(row["results"])),
            files=tuple(SavedFile(**file) for file in json.loads(row["files"])),
            answered_at=row["paced_at"],
            verdict=None if row["verdict"] is None else json.loads(row["verdict"]),
            labels=Labels.of_told(json.loads(row["labels"])),
        )


def with_generations(query: str) -> str:
    """The rows of jobs that `query` finds, in its order, each with the ids that the API gave it."""
    ids = "SELECT generation_id, position FROM generations WHERE job = found.id ORDER BY position"
    named = f"(SELECT json_group_array(generation_id) FROM ({ids}) AS its) AS generation_ids"
    return f"SELECT found.*, {named} FROM ({query}) AS found"


def to_json(value: Any) -> str:
    """Any JSON-like value as the ledger keeps it; what JSON cannot say becomes text."""
    return json.dumps(value, default=str, ensure_ascii=False)


# Questions

_ENOUGH_PREFIX = 4


def version_for_others(tx: Transaction) -> int:
    """A number that is another one once another connection, of any process, has changed the file. It is read from
    memory that all of them share (`PRAGMA data_version` of SQLite)."""
    return int(tx.execute("PRAGMA data_version").fetchone()[0])


def owner(tx: Transaction) -> str:
    """What the ledger knows this process by."""
    return tx.owner


def recent(tx: Transaction, limit: int = 20, *, own: bool = False) -> list[Job]:
    """The newest jobs, newest first; only the `own` ones of this account, or those of both doors."""
    query = with_generations("SELECT * FROM jobs WHERE account = :of ORDER BY seq DESC LIMIT :limit")
    accounts = [tx.account] if own or not tx.beside else [tx.account, tx.beside]  # over both no index has the order
    rows = [row for account in accounts for row in tx.execute(query, of=account, limit=limit)]
    return [tx.job_in(row) for row in sorted(rows, key=lambda row: -int(row["seq"]))[:limit]]


def in_state(tx: Transaction, state: State) -> list[Job]:
    """The jobs that are `sending`, `accepted` or `unknown` (states in which few are at a time), oldest first."""
    return tx.jobs(f"SELECT * FROM {OPEN_JOBS} AND account = :account AND state = :state ORDER BY seq", state=state)


def unsaved(tx: Transaction, within_seconds: float) -> list[Job]:
    """Jobs completed lately whose outputs were never saved."""
    return tx.jobs(
        "SELECT * FROM jobs WHERE account = :account AND state = 'completed' AND saved_at IS NULL "
        "AND settled_at >= :since ORDER BY settled_at",
        since=tx.now - within_seconds,
    )


def of_run(tx: Transaction, run: str) -> list[Job]:
    """The jobs of a run of a recipe (`Job.run`), oldest first."""
    query = "SELECT * FROM jobs WHERE account IN (:account, :beside) AND run = :run AND run <> '' ORDER BY seq"
    return tx.jobs(query, run=run)


def saved_below(tx: Transaction, start: str, limit: int = 200) -> list[Job]:
    """The newest jobs with a file whose path begins with `start`, newest first."""
    return tx.jobs(
        "SELECT * FROM jobs WHERE account IN (:account, :beside) AND files <> replace(files, :start, '') "
        "ORDER BY seq DESC LIMIT :limit",
        start=f'"path": {to_json(start)[:-1]}',
        limit=limit,
    )


def get(tx: Transaction, wanted: str) -> Job:
    """The job with this ledger id, generation id, or unambiguous beginning (4 characters or more) of either; an
    `UnknownJobError` if there is none, or more than one."""
    found = tx.jobs(
        "SELECT * FROM jobs WHERE account IN (:account, :beside) AND id = :wanted UNION ALL SELECT jobs.* "
        "FROM generations JOIN jobs ON jobs.id = generations.job "
        "WHERE generations.account IN (:account, :beside) AND generation_id = :wanted "
        "LIMIT 1",
        wanted=wanted,
    )
    if not found and len(wanted) >= _ENOUGH_PREFIX:
        found = tx.jobs(
            # Said this way, the account keeps no engine from finding the id: it would walk through all its jobs.
            "SELECT * FROM jobs WHERE account || '' IN (:account, :beside) AND id >= :wanted AND id < :behind "
            "UNION SELECT jobs.* FROM generations JOIN jobs ON jobs.id = generations.job "
            "WHERE generations.account IN (:account, :beside) AND generation_id >= :wanted "
            "AND generation_id < :behind LIMIT 5",
            wanted=wanted,
            behind=wanted[:-1] + chr(ord(wanted[-1]) + 1),
        )
    if len(found) != 1:
        raise UnknownJobError(wanted, ambiguous=len(found))
    return found[0]


def known_generations(tx: Transaction, ids: Sequence[str], *, own: bool = False) -> dict[str, Job]:
    """Which of the API's `ids` the ledger knows, and the job of each; of both doors, unless only the `own` ones count.

    Key and token may be of one person: then the history of one door shows what the other has started.
    """
    accounts = ":account" if own else ":account, :beside"
    found = tx.execute(
        "SELECT generation_id, job FROM generations "
        f"WHERE account IN ({accounts}) AND generation_id IN (SELECT value FROM json_each(:ids))",
        ids=json.dumps(list(ids)),
    ).fetchall()
    jobs = {job_id: tx.job(job_id) for job_id in {row["job"] for row in found}}
    return {row["generation_id"]: jobs[row["job"]] for row in found}


def hosted_accounts_of(tx: Transaction, ids: Sequence[str]) -> list[str]:
    """The hosted server's accounts, of all in the ledger, that have started one of `ids`; that of the newest job first.

    Without what sets those of the sandbox apart: a name is one account wherever it signed in.
    """
    found = tx.execute(
        "SELECT jobs.account FROM generations JOIN jobs ON jobs.id = generations.job "
        "WHERE generation_id IN (SELECT value FROM json_each(:ids)) ORDER BY jobs.seq DESC",
        ids=json.dumps(list(ids)),
    )
    named = [row["account"] for row in found.fetchall()]
    return list(dict.fromkeys(name.removeprefix(f"{SANDBOX}-") for name in named if door_of(name) == "hosted"))


# What became of a job

_FREE = "NOT EXISTS (SELECT 1 FROM generations WHERE account IN (:account, :beside) AND generation_id = :generation)"
"""Whether no job of either door has this id of the API; within one account its index holds that by itself."""


def accepted(tx: Transaction, job_id: str, generation_ids: Sequence[str], estimate: float | None = None) -> Job:
    """The API took it: its ids are recorded, whatever was thought of the job before. Returns whose ids they are.

    The API's own estimate, where it gives one, replaces what was held back; zero is none. A hold that was released
    because nobody believed in the job any more is taken again; one without a quote as `most`. Ids that come
    on top of known ones are further work: they are held back for beside what the job holds or has cost already.

    Returns:
        The job itself; or another one, if that has all these ids already: then nothing new was made.
    """
    known = to_micro(estimate) if estimate and price_of(estimate) is not None else None
    new = sum(
        tx.execute(
            "INSERT INTO generations (account, generation_id, job, position) SELECT account, :generation, id, "
            "(SELECT COUNT(*) FROM generations WHERE job = :job) FROM jobs "
            f"WHERE id = :job AND {_FREE} ON CONFLICT DO NOTHING",
            generation=generation_id,
            job=job_id,
        ).rowcount
        for generation_id in generation_ids
    )
    holder = None if new else _holder(tx, job_id, generation_ids)
    if holder is not None:
        message = f"The API answered with what it had made for job {holder}; nothing new was made."
        _end(tx, job_id, State.REFUSED, "same_generation", message)
        return tx.job(holder)
    if not _believe(tx, job_id, known) and new:
        _reopen(tx, job_id, known)
    return tx.job(job_id)


def _believe(tx: Transaction, job_id: str, known: int | None) -> bool:
    """From a state in which nobody knew of an acceptance."""
    return tx.change(
        "UPDATE jobs SET state = 'accepted', accepted_at = :now, paced_at = :now, settled_at = NULL, "
        "error_code = NULL, error = NULL, verdict = NULL, charged = NULL, "
        "reserved = COALESCE(:known, NULLIF(reserved, 0), CASE WHEN state = 'lost' THEN charged END, quote, :most), "
        "quote_basis = CASE WHEN quote IS NULL AND :known IS NOT NULL THEN 'estimate' ELSE quote_basis END, "
        "quote = COALESCE(quote, :known) "
        "WHERE id = :job AND (state IN ('sending', 'unknown', 'not_accepted') OR "
        "(state IN ('refused', 'lost') AND EXISTS (SELECT 1 FROM generations WHERE job = :job)))",
        known=known,
        job=job_id,
    )


def _reopen(tx: Transaction, job_id: str, known: int | None) -> None:
    """From a state in which other ids of it were followed, or had come to their end."""
    tx.execute(
        "UPDATE jobs SET state = 'accepted', accepted_at = :now, settled_at = NULL, saver = NULL, saved_at = NULL, "
        "reserved = (CASE WHEN state = 'accepted' THEN reserved ELSE COALESCE(charged, reserved) END) "
        "+ COALESCE(:known, quote, :most), charged = NULL "
        "WHERE id = :job AND state IN ('accepted', 'completed', 'failed', 'refunded')",
        known=known,
        job=job_id,
    )


def _holder(tx: Transaction, job_id: str, generation_ids: Sequence[str]) -> str | None:
    """The other job that has these ids; none where the job itself has one of them, or there are none."""
    holders = [
        row[0]
        for generation_id in generation_ids
        for row in tx.execute(
            "SELECT job FROM generations WHERE generation_id = :generation "
            "AND account IN ((SELECT account FROM jobs WHERE id = :job), :account, :beside)",
            generation=generation_id,
            job=job_id,
        )
    ]
    return None if not holders or job_id in holders else str(holders[0])


def adopt(tx: Transaction, job_id: str, generation_id: str) -> bool:
    """An unknown job turned up in the API's history. Only if nobody else has taken that id."""
    taken = tx.change(
        "INSERT INTO generations (account, generation_id, job, position) SELECT account, :generation, id, 0 FROM jobs "
        f"WHERE id = :job AND state IN ('unknown', 'not_accepted') AND {_FREE} ON CONFLICT DO NOTHING",
        generation=generation_id,
        job=job_id,
    )
    return taken and _believe(tx, job_id, None)


def refused(tx: Transaction, job_id: str, code: str, message: str, verdict: Mapping[str, Any] | None = None) -> Job:
    """Proven not accepted, by the answer or because it never left: the reservation is released. `verdict` is what its
    caller is told. Its sender knows that better than a process that took the sender for ended meanwhile."""
    _end(tx, job_id, State.REFUSED, code, message, verdict=None if verdict is None else to_json(verdict))
    return _moved(tx, job_id, State.REFUSED)


def let_go(tx: Transaction, job_id: str) -> None:
    """A job that was claimed, if the ledger has it at all, and is not sent: its reservation is released."""
    _end(tx, job_id, State.REFUSED, "not_sent", "The ledger was lost while it was written down. Nothing was sent.")


def not_accepted(tx: Transaction, job_id: str, message: str) -> Job:
    """An unknown job that provably never arrived: the reservation is released."""
    _end(tx, job_id, State.NOT_ACCEPTED, "not_accepted", message)
    return _moved(tx, job_id, State.NOT_ACCEPTED)


def lost(tx: Transaction, job_id: str, message: str) -> Job:
    """An unknown job of which nothing will come, and which counts as paid."""
    _end(tx, job_id, State.LOST, "lost", message, charged=to_micro(tx.job(job_id).reserved))
    return _moved(tx, job_id, State.LOST)


def settle_by_hand(tx: Transaction, job_id: str, *, paid: bool) -> Job:
    """The user says what became of an unknown job, and of no other."""
    job = tx.job(job_id)
    if job.state is not State.UNKNOWN:
        raise wrong_state(job, State.UNKNOWN)
    if paid:
        return lost(tx, job_id, "Settled by hand: it was paid.")
    return not_accepted(tx, job_id, "Settled by hand: it was not paid.")


def unknown(tx: Transaction, job_id: str, code: str, message: str) -> Job:
    """Sent, and no answer: the reservation stays until its fate is known, or is taken again (see `accepted`)."""
    tx.execute(
        "UPDATE jobs SET state = 'unknown', paced_at = :now, error_code = :code, error = :message, verdict = NULL, "
        "settled_at = NULL, charged = NULL, "
        "reserved = CASE WHEN state = 'sending' THEN reserved ELSE COALESCE(NULLIF(reserved, 0), quote, :most) END "
        "WHERE id = :job AND state IN ('sending', 'refused', 'not_accepted')",
        code=code,
        message=message,
        job=job_id,
    )
    restart_watch(tx, job_id)
    return _moved(tx, job_id, State.UNKNOWN)


def forgotten(tx: Transaction, job_id: str, message: str) -> Job:
    """Accepted, and the API denies it now: the reservation stays until its history says the same."""
    tx.execute(
        "UPDATE jobs SET state = 'unknown', error_code = 'forgotten', error = :message "
        "WHERE id = :job AND state = 'accepted'",
        message=message,
        job=job_id,
    )
    note_sent(tx, job_id)
    return _moved(tx, job_id, State.UNKNOWN)


def settled(
    tx: Transaction,
    job_id: str,
    state: State,
    charged: float | None,
    results: Sequence[Mapping[str, Any]],
    error: str | None = None,
) -> tuple[Job, bool]:
    """The API is done with it, whatever became of it in the meantime: its results say so. True for exactly one
    caller, who then saves the outputs. Results of fewer generations than it has by now are not its end.

    A price that stays unknown, or cannot be true, keeps its reservation for the day: it is not assumed to be zero.
    """
    micro = to_micro(charged) if charged is not None and is_amount(charged) else None
    code, count = "generation_failed" if state in (State.FAILED, State.REFUNDED) else None, len(results)
    ours = tx.change(
        "UPDATE jobs SET state = :state, charged = COALESCE(:charged, CASE WHEN state = 'lost' THEN charged END), "
        "reserved = CASE WHEN :charged IS NULL THEN reserved ELSE 0 END, "
        "results = :results, error_code = :code, error = :error, saver = :owner, settled_at = :now, verdict = NULL "
        "WHERE id = :job AND state IN ('accepted', 'unknown', 'lost') "
        "AND (:count = 0 OR :count >= (SELECT COUNT(*) FROM generations WHERE job = jobs.id))",
        state=state,
        charged=micro,
        results=to_json([dict(result) for result in results]),
        code=code,
        error=error,
        job=job_id,
        count=count,
    )
    if ours:
        restart_watch(tx, job_id)
    return tx.job(job_id), ours


def finished_late(
    tx: Transaction,
    job: Job,
    charged: float | None,
    results: Sequence[Mapping[str, Any]],
    error: str | None = None,
) -> tuple[Job, bool]:
    """A job that had ended, wholly or in part, without a result has one after all, as its answers say now.

    Its charge counts on the day of the job. True for exactly one caller, who then saves what is missing. Without a
    usable figure what was charged before stays, or for a failed job the quote, or else `most` is held back.
    """
    micro = to_micro(charged) if charged is not None and is_amount(charged) else None
    words = to_json([dict(result) for result in results])
    ours = tx.change(
        "UPDATE jobs SET state = 'completed', results = :results, error_code = NULL, error = :error, saver = :owner, "
        "settled_at = :now, saved_at = NULL, save_error = NULL, verdict = NULL, "
        "charged = COALESCE(:charged, NULLIF(charged, 0), quote), "
        "reserved = CASE WHEN COALESCE(:charged, NULLIF(charged, 0), quote) IS NULL THEN :most ELSE 0 END "
        "WHERE id = :job AND state IN ('completed', 'failed', 'refunded', 'lost') "
        "AND COALESCE(settled_at, -1) = :settled AND results <> :results",
        results=words,
        error=error,
        charged=micro,
        job=job.id,
        settled=-1 if job.settled_at is None else job.settled_at,
    )
    if ours:
        restart_watch(tx, job.id)
    return tx.job(job.id), ours


def _end(
    tx: Transaction, job_id: str, state: State, code: str, message: str, *, charged: int = 0, verdict: str | None = None
) -> None:
    """The end of an unknown job, or by a refusal of one that is being sent.

    A refusal counts for the API's rate limit from when it was answered; an unknown job has been counted before.
    """
    tx.execute(
        "UPDATE jobs SET state = :state, reserved = 0, charged = :charged, settled_at = :now, error_code = :code, "
        "error = :message, verdict = :verdict, "
        "paced_at = CASE WHEN sent_at IS NULL THEN NULL WHEN state = 'sending' THEN :now ELSE paced_at END "
        "WHERE id = :job AND (state = 'unknown' OR (state = 'sending' AND :state = 'refused'))",
        state=state,
        charged=charged,
        code=code,
        message=message,
        verdict=verdict,
        job=job_id,
    )


def _moved(tx: Transaction, job_id: str, wanted: State) -> Job:
    """The job after an update that moved it to `wanted`, or found it in a state that says something better."""
    job = tx.job(job_id)
    if job.state is not wanted:
        log.warning("job %s is %s and does not become %s any more", job.id, job.state, wanted)
    return job


def saved(tx: Transaction, job_id: str, files: Sequence[SavedFile], error: str | None = None) -> Job:
    """Outputs are on the disk, or `error` says why not; then they can be saved again later.

    Somebody who failed does not undo what somebody else has saved meanwhile.
    """
    tx.execute(
        "UPDATE jobs SET files = :files, save_error = :error, saved_at = :saved_at "
        "WHERE id = :job AND (:error IS NULL OR saved_at IS NULL)",
        files=to_json([asdict(file) for file in files]),
        error=error,
        saved_at=None if error else tx.now,
        job=job_id,
    )
    return tx.job(job_id)


def take_over(tx: Transaction, job: Job) -> bool:
    """Become the one who follows `job`, if the process that did has ended, or is nowhere to be seen."""
    if tx.fate_of(job.owner) == "alive":
        return job.owner == tx.owner
    return _exchange(tx, "owner", job.id, job.owner)


def saver_of(tx: Transaction, job_id: str) -> str | None:
    """Who is to save the outputs of a completed job that nobody has saved; `None` where nobody needs to."""
    row = tx.execute(
        "SELECT saver FROM jobs WHERE id = :job AND state = 'completed' AND saved_at IS NULL", job=job_id
    ).fetchone()
    return None if row is None else str(row["saver"])


def take_over_saving(tx: Transaction, job: Job) -> bool:
    """Become the one who saves the outputs of `job`, if the process that should have has ended or failed."""
    saver = saver_of(tx, job.id)
    if saver is None or not (job.save_error or tx.fate_of(saver) != "alive"):
        return False
    return _exchange(tx, "saver", job.id, saver)


def _exchange(tx: Transaction, column: str, job_id: str, before: str) -> bool:
    query = f"UPDATE jobs SET {column} = :owner WHERE id = :job AND {column} = :before"
    return tx.change(query, job=job_id, before=before)


# When it was sent, as the API's history is looked through


def note_sent(tx: Transaction, job_id: str) -> None:
    """The request leaves now, or its answer was given up now: what is known of the history is from before it."""
    tx.execute(
        "UPDATE jobs SET reads_before = COALESCE((SELECT MAX(number) FROM history_reads "
        "WHERE history_reads.account = jobs.account), 0) WHERE id = :job",
        job=job_id,
    )
    restart_watch(tx, job_id)


def restart_watch(tx: Transaction, job_id: str) -> None:
    """What is counted from the last event of this job (it may have left as late as now; it is done) begins anew."""
    tx.execute("DELETE FROM watches WHERE job = :job", job=job_id)
    tx.execute("INSERT INTO watches (job, boot, since) VALUES (:job, :boot, :at)", job=job_id)


def insert(connection: Connection, table: str, values: Mapping[str, Any], ending: str = "") -> None:
    """A new row of `table`, its columns by their names."""
    places = ", ".join(f":{name}" for name in values)
    connection.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places}) {ending}", values)
