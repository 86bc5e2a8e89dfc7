"""The ledger: one file shared by every server of this user. `LedgerFile` blocks; `Ledger` is for async callers."""

from __future__ import annotations

import logging
import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from kubeez_mcp_local.jobs import budget, guard, rows
from kubeez_mcp_local.jobs.errors import LedgerError, UnknownJobError, UnwritableLedgerError, WrongStateError
from kubeez_mcp_local.jobs.job import Job, SavedFile, State, to_micro

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from pathlib import Path

    from kubeez_mcp_local.jobs.guard import Limits, Wait
    from kubeez_mcp_local.jobs.job import Order
    from kubeez_mcp_local.jobs.ownership import Fate, Process
    from kubeez_mcp_local.jobs.proof import Evidence, Row

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

FILE_NAME = "ledger.db"
_BUSY_SECONDS = 10.0
_CLOSE_SECONDS = 0.1


class LedgerFile:
    """The ledger of one account, used by one thread at a time.

    Args:
        state_dir: Folder of the file, `ledger.db`, and of the owners' lock files.
        account: Whose rows this object sees and writes, see `account_of`.
        ceilings: What may be spent; from settings only.
        clock: Seconds since 1970.
        steady: Seconds of a clock that nobody sets, equal in all processes since this machine was started.
        boot: Names that start; by default as the system does.
        random_bytes: Source of approval codes.
        busy_seconds: How long to wait for other processes.
        process: What the ledger knows this process by; by default what the system says of it.
        start_of: When the process with a given id began; by default `ownership.start_of_process`.

    Raises:
        LedgerError: From here and from every method: the file cannot be used.
    """

    def __init__(
        self,
        state_dir: Path,
        account: str,
        ceilings: budget.Ceilings,
        *,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
        boot: str | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
        busy_seconds: float = _BUSY_SECONDS,
        process: Process | None = None,
        start_of: Callable[[int], str | None] | None = None,
    ) -> None:
        from kubeez_mcp_local.jobs.database import Database
        from kubeez_mcp_local.jobs.ownership import Owner, start_of_process, this_boot

        self.path = state_dir / FILE_NAME
        self.account = account
        self.ceilings = ceilings
        self._clock = clock
        self._steady = steady
        self._boot = this_boot() if boot is None else boot
        self._random_bytes = random_bytes
        self._closed = False
        self._database = Database(self.path, busy_seconds=busy_seconds)
        try:
            self._owner = Owner(state_dir / "owners", process, start_of=start_of or start_of_process)
        except OSError as error:
            self._database.close()
            raise UnwritableLedgerError(
                self.path,
                f"cannot be used because its folder is not writable: {error.strerror or error}",
                next_step="Make the folder writable, or set KUBEEZ_STATE_DIR to another one.",
            ) from None

    def close(self) -> None:
        """Let go of the file. Jobs still `sending` count as those of an ended process from now on."""
        if not self._closed:
            self._closed = True
            self._owner.close(noted=self._note_end())
            self._database.close()

    def _note_end(self) -> bool:
        """Whether the ledger knows that this owner sends nothing more. Nobody waits long for that at the end."""
        if not self._owner.enrolled:
            return True
        try:
            with self._database.write(durable=False, busy_seconds=_CLOSE_SECONDS) as connection:
                self._owner.end(connection, self._clock())
        except LedgerError as error:
            log.info("the end of this process is not noted in the ledger: %s", error.code)
            return False
        return True

    # The guard

    def look(self, orders: Sequence[Order]) -> guard.Decision:
        """What a claim would say, without claiming.

        Raises:
            CeilingError, UnusableQuoteError: A claim would be refused.
        """
        return self._decide(orders, claim=False)

    def claim(self, orders: Sequence[Order], approval: guard.Approval | None = None) -> guard.Decision:
        """Reserve for and write down all orders of one call, or none; see `guard`.

        Raises:
            CeilingError, UnusableQuoteError, ApprovalError: Nothing was claimed.
        """
        return self._decide(orders, claim=True, approval=approval)

    def _decide(
        self, orders: Sequence[Order], *, claim: bool, approval: guard.Approval | None = None
    ) -> guard.Decision:
        with self._database.write() as connection:
            if claim:
                self._enrol(connection)
            decision = guard.decide(
                connection,
                orders,
                self._caller(connection),
                self.ceilings,
                self._clock(),
                claim=claim,
                approval=approval,
            )
        self._owner.tidy()
        if decision.refusal is not None:
            raise decision.refusal
        return decision

    def recover(self) -> None:
        """Settle what ended processes left in `sending`."""
        with self._database.write() as connection:
            guard.recover(connection, self._caller(connection), self._clock())
        self._owner.tidy()

    # Consent

    def frozen_quote(self, digest: str, current: float | None) -> guard.FrozenQuote | None:
        """The quote that was shown for this call within the last ten minutes."""
        with self._database.read() as connection:
            return guard.frozen_quote(connection, self.account, digest, current, self._clock())

    def freeze(self, digest: str, quote: guard.FrozenQuote) -> guard.FrozenQuote:
        """Keep a quote for ten minutes; one that another process froze meanwhile wins."""
        with self._database.write(durable=False) as connection:
            kept = guard.frozen_quote(connection, self.account, digest, quote.credits, self._clock())
            return kept or guard.freeze(connection, self.account, digest, quote, self._clock())

    def use_up(self, digest: str) -> None:
        """A yes to the quote frozen for `digest` has been used; the next call like it is asked about anew."""
        with self._database.write() as connection:
            guard.use_up(connection, self.account, digest)

    def issue_approval(self, digest: str, quote: float | None) -> str:
        """A new approval code for exactly this call at this price."""
        with self._database.write(durable=False) as connection:
            return guard.issue(
                connection,
                account=self.account,
                digest=digest,
                quote=quote,
                now=self._clock(),
                random_bytes=self._random_bytes,
            )

    def redeem(self, approval: guard.Approval) -> None:
        """Use up a code that stands for a whole run.

        Raises:
            ApprovalError: It does not count.
        """
        with self._database.write() as connection:
            refusal = guard.redeem(connection, approval, self._clock(), of_run=True)
        if refusal is not None:
            raise refusal

    # Sending

    def dispatch(self, job: Job, allowed: Limits) -> Wait | None:
        """Note, durably, that the request leaves now; or say how long the API's limits make it wait.

        Raises:
            NotSentError: The job is not waiting to be sent any more; it must not leave.
        """
        with self._database.write() as connection:
            wait = guard.dispatch(connection, job, allowed, self._clock())
            if wait is None:
                rows.note_sent(connection, job.id, self._moment())
            return wait

    def take_back(self, job_id: str) -> bool:
        """Note that the API turned the request away (429). False if the job must not be sent again."""
        with self._database.write(durable=False) as connection:
            return guard.take_back(connection, job_id)

    def pause(self, bucket: str, seconds: float) -> None:
        """Let no process send to `bucket` for `seconds`."""
        with self._database.write(durable=False) as connection:
            guard.pause(connection, self.account, bucket, seconds, self._clock())

    def take_reads(self, wanted: int, allowed: Limits) -> tuple[int, Wait | None]:
        """Up to `wanted` read permits, or how long to wait for one."""
        with self._database.write(durable=False) as connection:
            return guard.take_reads(connection, self.account, wanted, allowed, self._clock())

    # What became of it

    def accepted(self, job_id: str, generation_ids: Sequence[str], estimate: float | None = None) -> Job:
        """The API took it, whatever state the job is in; see `rows.accept`. Returns whose these ids are."""
        with self._database.write() as connection:
            holder = rows.accept(connection, job_id, generation_ids, estimate, self._clock(), self._most)
            return self._job(connection, holder)

    def adopt(self, job_id: str, generation_id: str) -> bool:
        """An unknown job was found in the API's history. False if the job or the id has found its match already."""
        with self._database.write() as connection:
            return rows.adopt(connection, job_id, generation_id, self._clock(), self._most)

    def refused(self, job_id: str, code: str, message: str, verdict: Mapping[str, Any] | None = None) -> Job:
        """Proven not accepted; the reservation is released. `verdict` is what its caller is told."""
        with self._database.write() as connection:
            words = None if verdict is None else rows.to_json(verdict)
            changed = rows.refuse(connection, job_id, code, message, words, self._clock())
            return self._moved(connection, job_id, changed, State.REFUSED)

    def unknown(self, job_id: str, code: str, message: str) -> Job:
        """Sent, and its fate is open; the reservation stays."""
        with self._database.write() as connection:
            changed = rows.doubt(connection, job_id, code, message, self._clock(), self._most)
            rows.restart_watch(connection, job_id, self._moment())
            return self._moved(connection, job_id, changed, State.UNKNOWN)

    def forgotten(self, job_id: str, message: str) -> Job:
        """The API gave it an id and does not know that id any more; the reservation stays."""
        with self._database.write() as connection:
            changed = rows.forget(connection, job_id, message)
            rows.note_sent(connection, job_id, self._moment())
            return self._moved(connection, job_id, changed, State.UNKNOWN)

    def not_accepted(self, job_id: str, message: str) -> Job:
        """An unknown job that provably never arrived; the reservation is released."""
        with self._database.write() as connection:
            changed = rows.not_accepted(connection, job_id, message, self._clock())
            return self._moved(connection, job_id, changed, State.NOT_ACCEPTED)

    def lost(self, job_id: str, message: str) -> Job:
        """An unknown job of which nothing will come, and which counts as paid."""
        with self._database.write() as connection:
            held = self._job(connection, job_id).reserved
            changed = rows.lose(connection, job_id, held, message, self._clock())
            return self._moved(connection, job_id, changed, State.LOST)

    def settle_by_hand(self, job_id: str, *, paid: bool) -> Job:
        """The user says what became of an unknown job.

        Raises:
            WrongStateError: It is not unknown.
        """
        with self._database.write() as connection:
            job = self._job(connection, job_id)
            if job.state is not State.UNKNOWN:
                raise WrongStateError(job, State.UNKNOWN)
            if paid:
                rows.lose(connection, job.id, job.reserved, "Settled by hand: it was paid.", self._clock())
            else:
                rows.not_accepted(connection, job.id, "Settled by hand: it was not paid.", self._clock())
            return self._job(connection, job_id)

    def settled(
        self,
        job_id: str,
        state: State,
        charged: float | None,
        results: Sequence[Mapping[str, Any]],
        error: str | None = None,
    ) -> tuple[Job, bool]:
        """The API is done with it. The flag is true for exactly one caller, whose task the saving is."""
        with self._database.write() as connection:
            ours = rows.settle(connection, job_id, state, charged, results, error, self._owner.id, self._clock())
            return self._job(connection, job_id), ours

    def finished_late(
        self, job: Job, charged: float | None, results: Sequence[Mapping[str, Any]], error: str | None = None
    ) -> tuple[Job, bool]:
        """A job that had ended without a result has one after all; see `rows.finish_late`."""
        with self._database.write() as connection:
            self._enrol(connection)
            ours = rows.finish_late(connection, job, charged, results, error, self._owner.id, self._clock(), self._most)
            return self._job(connection, job.id), ours

    def saved(self, job_id: str, files: Sequence[SavedFile], error: str | None = None) -> Job:
        """Outputs are on the disk, or `error` says why not; then they can be saved again later.

        Somebody who failed does not undo what somebody else has saved meanwhile.
        """
        with self._database.write(durable=False) as connection:
            connection.execute(
                "UPDATE jobs SET files = ?1, save_error = ?2, saved_at = ?3 "
                "WHERE id = ?4 AND (?2 IS NULL OR saved_at IS NULL)",
                (rows.files_json(files), error, None if error else self._clock(), job_id),
            )
            return self._job(connection, job_id)

    def take_over(self, job: Job) -> bool:
        """Become the one who follows `job`, if the process that did has ended, or is nowhere to be seen."""
        with self._database.write() as connection:
            if self._fate_of(connection, job.owner) == "alive":
                return job.owner == self._owner.id
            return self._exchange(connection, "owner", job.id, job.owner)

    def take_over_saving(self, job: Job) -> bool:
        """Become the one who saves the outputs of `job`, if the process that should have has ended or failed."""
        with self._database.read() as connection:
            if self._unsaved(connection, job.id) is None:
                return False
        with self._database.write() as connection:
            row = self._unsaved(connection, job.id)
            if row is None or not (job.save_error or self._fate_of(connection, row["saver"]) != "alive"):
                return False
            return self._exchange(connection, "saver", job.id, row["saver"])

    @staticmethod
    def _unsaved(connection: sqlite3.Connection, job_id: str) -> Any:
        return connection.execute(
            "SELECT saver FROM jobs WHERE id = ? AND state = 'completed' AND saved_at IS NULL", (job_id,)
        ).fetchone()

    def _exchange(self, connection: sqlite3.Connection, column: str, job_id: str, before: str) -> bool:
        self._enrol(connection)
        changed = connection.execute(
            f"UPDATE jobs SET {column} = ? WHERE id = ? AND {column} = ?", (self._owner.id, job_id, before)
        )
        return changed.rowcount > 0

    # What the API's history shows

    def begin_look(self) -> rows.Moment:
        """A read of the history begins now; for jobs that this boot looks for the first time, observed time does."""
        with self._database.write(durable=False) as connection:
            moment = self._moment()
            rows.begin_look(connection, self.account, moment)
            return moment

    def note_read(
        self, began: rows.Moment, shown: Sequence[Row], arrival_seconds: float, balance: float | None = None
    ) -> Evidence:
        """The read that began then showed these rows; what is known now of the jobs whose fate is open."""
        with self._database.write(durable=False) as connection:
            rows.note_read(connection, self.account, began, shown, balance)
            found = rows.evidence(connection, self.account, arrival_seconds)
            rows.tidy(connection, self.account, found)
            return found

    def evidence(self, arrival_seconds: float) -> Evidence:
        """What is known of the jobs whose fate is open."""
        with self._database.read() as connection:
            return rows.evidence(connection, self.account, arrival_seconds)

    def balance_before(self, reads_before: int) -> float | None:
        """Credits in the account shortly before a send, where they were looked up."""
        with self._database.read() as connection:
            return rows.balance_before(connection, self.account, reads_before)

    def answer(
        self, accepted: Mapping[str, str], absent: Sequence[str], denied: Sequence[str], asked: Sequence[str]
    ) -> list[Job]:
        """What a person said of unknown jobs, all of it or nothing.

        Args:
            accepted: The job of each row that is one.
            absent: Jobs that are none of the rows.
            denied: Rows that are none of the jobs `asked` about.
            asked: All jobs that the person was told of.

        Returns:
            The jobs that it settled; those that found their fate meanwhile keep it.
        """
        now = self._clock()
        with self._database.write() as connection:
            rows.deny(connection, asked, denied)
            settled = [job for row, job in accepted.items() if rows.adopt(connection, job, row, now, self._most)]
            message = "A person said that the history's rows are not it."
            settled += [job for job in absent if rows.not_accepted(connection, job, message, now)]
            return [self._job(connection, job) for job in settled]

    def _moment(self) -> rows.Moment:
        return rows.Moment(self._boot, self._steady())

    # Questions

    def get(self, wanted: str) -> Job:
        """The job with this ledger id, generation id, or unambiguous beginning of either.

        Raises:
            UnknownJobError: There is none, or more than one.
        """
        with self._database.read() as connection:
            return rows.find(connection, self.account, wanted)

    def recent(self, limit: int = 20) -> list[Job]:
        """The newest jobs, newest first."""
        with self._database.read() as connection:
            return rows.recent(connection, self.account, limit)

    def in_state(self, state: State) -> list[Job]:
        """Every job that is `sending`, `accepted` or `unknown`, oldest first."""
        with self._database.read() as connection:
            return rows.in_state(connection, self.account, state)

    def unsaved(self, within_seconds: float) -> list[Job]:
        """Jobs completed lately whose outputs were never saved."""
        with self._database.read() as connection:
            return rows.unsaved(connection, self.account, self._clock() - within_seconds)

    def known_generations(self, ids: Sequence[str]) -> dict[str, Job]:
        """Which of the API's ids the ledger knows, and the job of each."""
        with self._database.read() as connection:
            return rows.known_generations(connection, self.account, list(ids))

    def today(self) -> budget.Today:
        """What is spent and reserved on the budget day, over all processes."""
        with self._database.read() as connection:
            return budget.used_today(connection, self.account, self._clock())

    def run_spend(self, run: str) -> budget.RunSpend:
        """What one run of a recipe has cost and holds back, over all processes and attempts."""
        with self._database.read() as connection:
            return budget.run_spend(connection, self.account, run)

    def spend_by(self, key: rows.SpendKey, since_day: str = "") -> list[rows.Spend]:
        """What was spent, by day, model, tool or recipe, since a UTC day (`YYYY-MM-DD`)."""
        with self._database.read() as connection:
            return rows.spend_by(connection, self.account, key, since_day)

    def accept_clock(self) -> None:
        """Believe the clock after it was set back; see `budget.accept_clock`."""
        with self._database.write() as connection:
            budget.accept_clock(connection, self._clock())

    @property
    def _most(self) -> int:
        """What is held back for a job without a quote, in millionths of a credit."""
        return to_micro(self.ceilings.per_call)

    def _caller(self, connection: sqlite3.Connection) -> guard.Caller:
        return guard.Caller(self.account, self._owner.id, partial(self._fate_of, connection), self._moment())

    def _fate_of(self, connection: sqlite3.Connection, owner_id: str) -> Fate:
        return self._owner.fate_of(connection, owner_id, self._clock())

    def _enrol(self, connection: sqlite3.Connection) -> None:
        """Write this process down before its first job. One that was taken for ended goes on as another owner."""
        if not self._owner.enrol(connection, self._clock()):
            log.warning("another process took this one for ended; it goes on under another name")
            self._owner = self._owner.successor()
            self._owner.enrol(connection, self._clock())

    def _moved(self, connection: sqlite3.Connection, job_id: str, changed: bool, wanted: State) -> Job:
        """The job as it stands after an update that `changed` it, or found it in a state that says something better."""
        job = self._job(connection, job_id)
        if not changed and job.state is not wanted:
            log.warning("job %s is %s and does not become %s any more", job.id, job.state, wanted)
        return job

    @staticmethod
    def _job(connection: sqlite3.Connection, job_id: str) -> Job:
        job = rows.job_with(connection, job_id)
        if job is None:
            raise UnknownJobError(job_id)
        return job


def _awaited(
    method: Callable[[LedgerFile], Callable[P, T]],
) -> Callable[Concatenate[Ledger, P], Coroutine[Any, Any, T]]:
    """A method of `LedgerFile`, in a thread."""

    async def call(self: Ledger, /, *arguments: P.args, **named: P.kwargs) -> T:
        return await self.run(lambda file: method(file)(*arguments, **named))

    return call


class Ledger:
    """Async face of `LedgerFile`; see there for what each method does and raises.

    A call that has begun is finished even if its caller is cancelled, so that what was decided is also written.

    Args:
        open_file: Opens the ledger file; called in a thread on first use, and again after it failed.
    """

    def __init__(self, open_file: Callable[[], LedgerFile]) -> None:
        self._open_file = open_file
        self._file: LedgerFile | None = None
        self._one_at_a_time = CapacityLimiter(1)

    async def run(self, work: Callable[[LedgerFile], T]) -> T:
        """Do `work` with the file in a thread, when it is its turn."""
        return await to_thread.run_sync(lambda: work(self._opened()), limiter=self._one_at_a_time)

    def _opened(self) -> LedgerFile:
        if self._file is None:
            self._file = self._open_file()
        return self._file

    async def aclose(self) -> None:
        """Let go of the file."""
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self._close, limiter=self._one_at_a_time)

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    look = _awaited(lambda file: file.look)
    claim = _awaited(lambda file: file.claim)
    recover = _awaited(lambda file: file.recover)
    frozen_quote = _awaited(lambda file: file.frozen_quote)
    freeze = _awaited(lambda file: file.freeze)
    use_up = _awaited(lambda file: file.use_up)
    issue_approval = _awaited(lambda file: file.issue_approval)
    redeem = _awaited(lambda file: file.redeem)
    dispatch = _awaited(lambda file: file.dispatch)
    take_back = _awaited(lambda file: file.take_back)
    pause = _awaited(lambda file: file.pause)
    take_reads = _awaited(lambda file: file.take_reads)
    accepted = _awaited(lambda file: file.accepted)
    adopt = _awaited(lambda file: file.adopt)
    refused = _awaited(lambda file: file.refused)
    unknown = _awaited(lambda file: file.unknown)
    forgotten = _awaited(lambda file: file.forgotten)
    not_accepted = _awaited(lambda file: file.not_accepted)
    lost = _awaited(lambda file: file.lost)
    settle_by_hand = _awaited(lambda file: file.settle_by_hand)
    settled = _awaited(lambda file: file.settled)
    finished_late = _awaited(lambda file: file.finished_late)
    saved = _awaited(lambda file: file.saved)
    begin_look = _awaited(lambda file: file.begin_look)
    note_read = _awaited(lambda file: file.note_read)
    evidence = _awaited(lambda file: file.evidence)
    balance_before = _awaited(lambda file: file.balance_before)
    answer = _awaited(lambda file: file.answer)
    take_over = _awaited(lambda file: file.take_over)
    take_over_saving = _awaited(lambda file: file.take_over_saving)
    get = _awaited(lambda file: file.get)
    recent = _awaited(lambda file: file.recent)
    in_state = _awaited(lambda file: file.in_state)
    unsaved = _awaited(lambda file: file.unsaved)
    known_generations = _awaited(lambda file: file.known_generations)
    today = _awaited(lambda file: file.today)
    run_spend = _awaited(lambda file: file.run_spend)
    spend_by = _awaited(lambda file: file.spend_by)
    accept_clock = _awaited(lambda file: file.accept_clock)


def open_ledger(state_dir: Path, account: str, ceilings: budget.Ceilings) -> Ledger:
    """A ledger whose file, and SQLite itself, are opened only when first needed."""
    return Ledger(lambda: LedgerFile(state_dir, account, ceilings))
