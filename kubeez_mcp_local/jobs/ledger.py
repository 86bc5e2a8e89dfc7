"""The ledger: one file shared by every server of this user, or the database of a team. `LedgerFile` blocks; `Ledger` is
for async callers.

What is done in a transaction is described once, by the functions of `guard`, `rows`, `proof` and `budget`; here each
gets its place in a file and a thread.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

import anyio
from anyio import CapacityLimiter, to_thread

from kubeez_mcp_local.jobs import browsing, budget, guard, proof, rows
from kubeez_mcp_local.jobs.errors import LedgerError
from kubeez_mcp_local.jobs.job import to_micro
from kubeez_mcp_local.jobs.rows import Moment, Transaction
from kubeez_mcp_local.jobs.team import campaigns as campaigns_
from kubeez_mcp_local.jobs.team import schedules as schedules_

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence
    from pathlib import Path

    from kubeez_mcp_local.jobs.database import Database
    from kubeez_mcp_local.jobs.job import Job, Order
    from kubeez_mcp_local.jobs.ownership import Owner, Process
    from kubeez_mcp_local.jobs.rows import Connection
    from kubeez_mcp_local.jobs.team.beats import TeamOwner, Timing
    from kubeez_mcp_local.jobs.team.postgres import Postgres

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

FILE_NAME = "ledger.db"
_BUSY_SECONDS = 10.0
_CLOSE_SECONDS = 0.1


class _Operation(Generic[P, T]):
    """What can be done with the ledger: a method of `LedgerFile` that blocks, and one of `Ledger` that is awaited."""

    def __init__(self, work: Callable[Concatenate[LedgerFile, P], T], *, writes: bool = True) -> None:
        self._work = work
        self._writes = writes

    @overload
    def __get__(self, place: LedgerFile, _owner: type, /) -> Callable[P, T]: ...
    @overload
    def __get__(self, place: Ledger, _owner: type, /) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, place: LedgerFile | Ledger, _owner: type, /) -> Callable[P, T | Coroutine[Any, Any, T]]:
        if isinstance(place, LedgerFile):
            return partial(self._work, place)
        return partial(self._awaited, place)

    async def _awaited(self, ledger: Ledger, /, *arguments: P.args, **named: P.kwargs) -> T:
        try:
            return await ledger.run(lambda file: self._work(file, *arguments, **named))
        finally:
            if self._writes:
                ledger.tell()


def _reads(work: Callable[Concatenate[Transaction, P], T]) -> _Operation[P, T]:
    """A question."""

    def method(file: LedgerFile, /, *arguments: P.args, **named: P.kwargs) -> T:
        with file.reading() as tx:
            return work(tx, *arguments, **named)

    return _Operation(method, writes=False)


def _writes(
    work: Callable[Concatenate[Transaction, P], T], *, durable: bool = True, owns: bool = False
) -> _Operation[P, T]:
    """A change; `durable` and `owns` as in `LedgerFile.writing`."""

    def method(file: LedgerFile, /, *arguments: P.args, **named: P.kwargs) -> T:
        with file.writing(durable=durable, owns=owns) as tx:
            return work(tx, *arguments, **named)

    return _Operation(method)


def _look(file: LedgerFile, orders: Sequence[Order]) -> guard.Decision:
    """What a claim would say, without claiming; raises as it would."""
    return _claim(file, orders, claim=False)


def _claim(
    file: LedgerFile, orders: Sequence[Order], approval: guard.Approval | None = None, *, claim: bool = True
) -> guard.Decision:
    """Reserve for and write down all orders of one call, or none; see `guard`.

    Raises:
        KubeezError: The call is above a ceiling, or its approval does not count. Nothing was claimed.
    """
    decision: guard.Decision | None = None
    try:
        with file.writing(owns=claim) as tx:
            decision = guard.decide(_for(tx, orders), orders, file.ceilings, claim=claim, approval=approval)
    except LedgerError:
        file.give_up(decision)
        raise
    if decision.refusal is not None:
        raise decision.refusal
    return decision


def _for(tx: Transaction, orders: Sequence[Order]) -> Transaction:
    """On behalf of whom the orders are, in a team's ledger."""
    person = next((order.run.person for order in orders if order.run and order.run.person), "")
    return replace(tx, person=person, counted=person) if person and tx.counted else tx


def _take_over_saving(file: LedgerFile, job: Job) -> bool:
    """See `rows.take_over_saving`; nothing is written where nobody needs to save."""
    with file.reading() as tx:
        if rows.saver_of(tx, job.id) is None:
            return False
    with file.writing(owns=True) as tx:
        return rows.take_over_saving(tx, job)


class _Operations:
    look = _Operation(_look, writes=False)
    claim = _Operation(_claim)
    take_over_saving = _Operation(_take_over_saving)
    recover = _writes(guard.recover)
    kept_quote = _reads(guard.kept_quote)
    keep_quote = _writes(guard.keep_quote, durable=False)
    use_up_quote = _writes(guard.use_up_quote)
    issue_approval = _writes(guard.issue_approval, durable=False)
    redeem = _writes(guard.redeem)

    dispatch = _writes(guard.dispatch)
    take_back = _writes(guard.take_back, durable=False)
    pause = _writes(guard.pause, durable=False)
    take_reads = _writes(guard.take_reads, durable=False)

    accepted = _writes(rows.accepted)
    adopt = _writes(rows.adopt)
    refused = _writes(rows.refused)
    unknown = _writes(rows.unknown)
    forgotten = _writes(rows.forgotten)
    not_accepted = _writes(rows.not_accepted)
    lost = _writes(rows.lost)
    settle_by_hand = _writes(rows.settle_by_hand)
    settled = _writes(rows.settled)
    finished_late = _writes(rows.finished_late, owns=True)
    saved = _writes(rows.saved, durable=False)
    take_over = _writes(rows.take_over, owns=True)

    begin_look = _writes(proof.begin_look, durable=False)
    note_read = _writes(proof.note_read, durable=False)
    evidence = _reads(proof.evidence)
    balance_before = _reads(proof.balance_before)
    answer = _writes(proof.answer)

    version_for_others = _reads(rows.version_for_others)
    owner = _writes(rows.owner, owns=True)
    get = _reads(rows.get)
    recent = _reads(rows.recent)
    in_state = _reads(rows.in_state)
    unsaved = _reads(rows.unsaved)
    of_run = _reads(rows.of_run)
    saved_below = _reads(rows.saved_below)
    known_generations = _reads(rows.known_generations)
    hosted_accounts_of = _reads(rows.hosted_accounts_of)
    today = _reads(budget.today)
    team_ceiling = _reads(budget.team_ceiling)
    team_today = _reads(budget.team_today)
    set_team_ceiling = _writes(budget.set_team_ceiling)

    submit_campaign = _writes(campaigns_.submit)
    campaign = _reads(campaigns_.campaign)
    campaign_names = _reads(campaigns_.campaign_names)
    standings = _reads(campaigns_.standings)
    standing = _reads(campaigns_.standing)
    campaign_rows = _reads(campaigns_.campaign_rows)
    open_rows = _reads(campaigns_.open_rows)
    sweep_campaigns = _writes(campaigns_.sweep, durable=False, owns=True)
    renew_rows = _writes(campaigns_.renew)
    campaigns_of_other_keys = _reads(campaigns_.of_other_keys)
    ended_owners = _writes(campaigns_.ended_owners)
    take_row = _writes(campaigns_.take_row, owns=True)
    end_row = _writes(campaigns_.end_row)
    let_go_of_dead_rows = _writes(campaigns_.let_go_of_dead, owns=True)
    wake_settled_rows = _writes(campaigns_.wake_settled)
    add_schedule = _writes(schedules_.add_schedule)
    schedules = _reads(schedules_.schedules)
    remove_schedule = _writes(schedules_.remove_schedule)
    nights = _reads(schedules_.nights)
    note_night = _writes(schedules_.note_night)
    let_go_of_rows = _writes(campaigns_.let_go)
    retry_rows = _writes(campaigns_.retry)
    direct_campaign = _writes(campaigns_.direct)
    run_spend = _reads(budget.run_spend)
    spend_by = _reads(budget.spend_by)
    spend_since = _reads(budget.spend_since)
    holding = _reads(budget.holding)
    days = _reads(browsing.days)
    outputs = _reads(browsing.outputs)
    choices = _reads(browsing.choices)
    under_way = _reads(browsing.under_way)
    whichever = _reads(browsing.whichever)
    stamp = _reads(browsing.stamp)
    made = _reads(browsing.made)
    accept_clock = _writes(budget.accept_clock)


@dataclass(eq=False)
class LedgerFile(_Operations):
    """The ledger of one account, used by one thread at a time.

    Attributes:
        state_dir: Folder of the file, `ledger.db`, and of the owners' lock files.
        server: URL of a Postgres database that is the ledger instead, shared by several machines.
        person: Whose work is written down. In a team's ledger only this person's rows count towards `ceilings`; the
            team has its own ceiling there.
        timing: When a process of another machine counts as dead.
        account: Whose rows this object writes, see `account_of`.
        beside: The account of the other door, see `rows.Transaction`; both are decided about together.
        clock: Seconds since 1970; by default this machine's, and in a team's ledger that of its server.
        steady: Seconds of a clock that nobody sets, equal in all processes since this machine was started.
        boot: Names that start; by default as the system does.
        busy_seconds: How long to wait for other processes.
        process: What the ledger knows this process by; by default what the system says of it.
        start_of: When the process with a given id began; by default `ownership.start_of_process`.

    Raises:
        LedgerError: From here and from every method: the file cannot be used.
    """

    state_dir: Path
    account: str
    ceilings: budget.Ceilings
    _: KW_ONLY
    server: str = ""
    person: str = ""
    timing: Timing | None = None
    clock: Callable[[], float] | None = None
    steady: Callable[[], float] = time.monotonic
    boot: str = ""
    random_bytes: Callable[[int], bytes] = os.urandom
    busy_seconds: float = _BUSY_SECONDS
    process: Process | None = None
    start_of: Callable[[int], str | None] | None = None
    beside: str = ""
    _closed: bool = field(init=False, default=False)
    _never_sent: list[str] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        from kubeez_mcp_local.jobs.ownership import this_boot

        self.boot = self.boot or this_boot()
        self._database: Database | Postgres
        self._owner: Owner | TeamOwner
        if self.server:
            self._open_server()
        else:
            self._open_file()

    @property
    def path(self) -> Path:
        """The file, where no server is the ledger."""
        return self.state_dir / FILE_NAME

    def _open_server(self) -> None:
        from kubeez_mcp_local.jobs.team.beats import TeamOwner, Timing
        from kubeez_mcp_local.jobs.team.postgres import Address, Postgres, PostgresHeart

        address = Address.of(self.server)
        self._database = Postgres(address, self.account, beside=self.beside, busy_seconds=self.busy_seconds)
        self._owner = TeamOwner(
            PostgresHeart(address), self.timing or Timing(), process=self.process, steady=self.steady
        )

    def _open_file(self) -> None:
        from kubeez_mcp_local.jobs.database import Database
        from kubeez_mcp_local.jobs.ownership import Owner, start_of_process

        self._database = Database(self.path, busy_seconds=self.busy_seconds)
        try:
            self._owner = Owner(self.state_dir / "owners", self.process, start_of=self.start_of or start_of_process)
        except OSError as error:
            self._database.close()
            raise LedgerError(
                self.path,
                f"cannot be used because its folder is not writable: {error.strerror or error}",
                next_step="Make the folder writable, or set KUBEEZ_STATE_DIR to another one.",
                code="ledger_unwritable",
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
                self._owner.end(connection, self._now())
        except LedgerError as error:
            log.info("the end of this process is not noted in the ledger: %s", error.code)
            return False
        return True

    @contextlib.contextmanager
    def reading(self) -> Iterator[Transaction]:
        """One consistent view."""
        with self._database.read() as connection:
            yield self._transaction(connection)

    @contextlib.contextmanager
    def writing(self, *, durable: bool = True, owns: bool = False) -> Iterator[Transaction]:
        """One change, wholly or not at all.

        Args:
            durable: Whether the disk is waited for, so that it survives a power cut and not only a killed process.
            owns: Whether this process may come to own a job by it, and so must be known to the ledger.
        """
        with self._database.write(durable=durable) as connection:
            if owns:
                self._enrol(connection)
            tx = self._transaction(connection)
            for job_id in self._never_sent:
                rows.let_go(tx, job_id)
            yield tx
        self._never_sent.clear()
        self._owner.tidy()

    def give_up(self, decision: guard.Decision | None) -> None:
        """What was claimed is not sent, since nobody knows whether the ledger has it: if it has, it lets go of it."""
        claims = decision.claims if decision else ()
        self._never_sent += [claim.job.id for claim in claims if claim.job and not claim.repeated]

    def beat(self) -> None:
        """Show once that this process lives, in a team's ledger; see `beats.Timing.by_itself`."""
        self._owner.beat()

    def _now(self) -> float:
        return (self.clock or self._database.now)()

    def _when(self) -> tuple[float, Moment]:
        return self._now(), Moment(self.boot, self.steady())

    def _transaction(self, connection: Connection) -> Transaction:
        when = cache(self._when)
        return Transaction(
            connection,
            self.account,
            self._owner.id,
            when,
            to_micro(self.ceilings.per_call),
            self.person,
            self.person if self.server else "",
            lambda owner: self._owner.fate_of(connection, owner, when()[0]),
            self.random_bytes,
            self.beside,
        )

    def _enrol(self, connection: Connection) -> None:
        """Write this process down before its first job. One that was taken for ended goes on as another owner."""
        if not self._owner.enrol(connection, self._now):
            log.warning("another process took this one for ended; it goes on under another name")
            self._owner = self._owner.successor()
            self._owner.enrol(connection, self._now)


class Ledger(_Operations):
    """The ledger for async callers. A call that has begun is finished even if its caller is cancelled, so that what was
    decided is also written.

    Args:
        open_file: Opens the ledger file; called in a thread on first use, and again after it failed.
    """

    def __init__(self, open_file: Callable[[], LedgerFile]) -> None:
        self._open_file = open_file
        self._file: LedgerFile | None = None
        self._one_at_a_time = CapacityLimiter(1)
        self._listeners: list[Callable[[], None]] = []

    @contextlib.contextmanager
    def heard_by(self, listener: Callable[[], None]) -> Iterator[None]:
        """Meanwhile call `listener` after whatever may have changed the ledger through this object."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def tell(self) -> None:
        """Tell the listeners that something may have changed."""
        for listener in self._listeners:
            listener()

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


def open_ledger(
    state_dir: Path, account: str, ceilings: budget.Ceilings, *, server: str = "", person: str = "", beside: str = ""
) -> Ledger:
    """A ledger whose file or connection, and the engine itself, are opened only when first needed."""
    return Ledger(lambda: LedgerFile(state_dir, account, ceilings, server=server, person=person, beside=beside))
