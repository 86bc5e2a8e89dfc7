"""Finds out what became of requests whose answer never came, from the API's own history; `proof` holds the rule.

This is the part that acts: it reads the history, has the ledger keep what it showed, and carries out what is proven.
What cannot be proven is put to a person, in one question about all such jobs; until then nothing like them is sent.
"""

from __future__ import annotations

import logging
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING

import anyio

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs import proof
from kubeez_mcp_local.jobs.job import Job, State
from kubeez_mcp_local.rest.errors import UnauthorizedError
from kubeez_mcp_local.rest.wire import moment
from kubeez_mcp_local.text import quoted, spoken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence
    from datetime import datetime

    from kubeez_mcp_local.jobs.job import JobsApi
    from kubeez_mcp_local.jobs.ledger import Ledger
    from kubeez_mcp_local.rest.wire import Generation

log = logging.getLogger(__name__)

_EVERY = 3.0
_SELDOM = 60.0
_FRESH_SECONDS = 300.0
_BEFORE_PAYING_SECONDS = 5.0
_SHOWN = 20
_NAMED = 4
_COMPARED_JOBS = 1000


@dataclass(frozen=True)
class AccountLook:
    """The account's history beside this ledger.

    Attributes:
        shown: How many rows could be seen.
        oldest: When the oldest of them was made, as the API tells it; `None` where it tells no time.
        doubles: Rows of nobody's that look as if the API had taken a job twice, with that job.
        others: How many more rows belong to no job of this ledger: other programs, other machines.
    """

    shown: int
    oldest: datetime | None
    doubles: tuple[tuple[proof.Row, Job], ...]
    others: int


async def unknown_balance() -> float | None:
    return None


async def told_balance(balance: Callable[[], Awaitable[float | None]]) -> float | None:
    """What `balance` says, or nothing where it cannot: the balance helps a person to decide, and decides nothing.

    Raises:
        UnauthorizedError: There is no key that the API takes, so there is nothing to decide.
    """
    try:
        return await balance()
    except UnauthorizedError:
        raise
    except KubeezError as error:
        log.info("the balance is left out: %s", error.code)
        return None


@dataclass(eq=False)
class Reconciler:
    """Settles unknown jobs. Raises the errors of the ledger, and of the API where it is read for its own sake.

    Attributes:
        ledger: Its steady clock says how long they have been looked for.
        speed: How many times faster than life the API's clock runs; 1 except in the sandbox.
        on_accepted: Called with every job that turns out to have been accepted.
        balance: Credits in the account, as evidence; `None` or a `KubeezError` leaves it out.
    """

    api: JobsApi
    ledger: Ledger
    _: KW_ONLY
    speed: float = 1.0
    on_accepted: Callable[[Job], None] = lambda _job: None
    balance: Callable[[], Awaitable[float | None]] = unknown_balance
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    _one_pass: anyio.Lock = field(init=False, default_factory=anyio.Lock)
    _keeping_at_it: bool = field(init=False, default=False)
    _last_read: float | None = field(init=False, default=None)
    _for_a_person: frozenset[str] = field(init=False, default=frozenset())

    @property
    def arrival_seconds(self) -> float:
        """How long arriving and being listed may take, in seconds of this machine."""
        return proof.ARRIVAL_SECONDS / self.speed

    async def look_before_paying(self) -> None:
        """See to it that there is a row known before the send. Without one, absence can only be said by a person."""
        with anyio.move_on_after(_BEFORE_PAYING_SECONDS):
            async with self._one_pass:
                began = await self.ledger.begin_look()
                if self._last_read is not None and 0 <= began.at - self._last_read < _FRESH_SECONDS:
                    return
                try:
                    balance = await told_balance(self.balance)
                    rows = await self._history()
                except KubeezError as error:
                    log.info("the history cannot be read before paying: %s", error.code)
                    return
                if rows is not None:
                    await self.ledger.note_read(began, rows, self.arrival_seconds, balance)
                    self._last_read = began.at if rows else None  # an empty list is soon a better one

    async def settle(self, job: Job, *, patience: float) -> Job:
        """Try for up to `patience` seconds to settle `job`; returns it as it stands then. Never raises for the API."""
        with anyio.move_on_after(patience):
            return await self._settled(job, patience)
        return await self.ledger.get(job.id)

    async def settle_all(self) -> None:
        """Look now, and less and less often for as long as any job is unknown. Returns at once if it is at it."""
        if self._keeping_at_it:
            return
        self._keeping_at_it = True
        try:
            pause = _EVERY
            await self._try()
            while unknown := await self.ledger.in_state(State.UNKNOWN):
                if {job.id for job in unknown} <= self._for_a_person:
                    pause = _FRESH_SECONDS
                await self.sleep(pause / self.speed)
                pause = min(pause * 2, _SELDOM)
                await self._try()
        finally:
            self._keeping_at_it = False

    async def _try(self) -> None:
        try:
            await self.reconcile()
        except KubeezError as error:
            log.info("the history cannot be read now: %s", error.code)

    async def _settled(self, job: Job, patience: float) -> Job:
        waited = 0.0
        while True:
            await self._try()
            job = await self.ledger.get(job.id)
            pause = _EVERY / self.speed
            if job.state is not State.UNKNOWN or job.id in self._for_a_person or waited + pause > patience:
                return job
            await self.sleep(pause)
            waited += pause

    async def reconcile(self) -> list[Job]:
        """One look at the history; returns the jobs that it settled."""
        async with self._one_pass:
            await self.ledger.recover()
            if not await self.ledger.in_state(State.UNKNOWN):
                return []
            began = await self.ledger.begin_look()
            rows = await self._history()
            if rows is None:
                return []
            self._last_read = began.at if rows else None
            evidence = await self.ledger.note_read(began, rows, self.arrival_seconds)
            verdicts = proof.judge(evidence)
            self._for_a_person = frozenset(verdict.job.id for verdict in verdicts if verdict.outcome == "person")
            settled = [await self._carried_out(verdict) for verdict in verdicts]
            return [job for job in settled if job is not None]

    async def _carried_out(self, verdict: proof.Verdict) -> Job | None:
        job = verdict.job
        if verdict.outcome == "accepted" and verdict.row is not None:
            if job.generation_ids:
                found = await self.ledger.accepted(job.id, ())
            elif not await self.ledger.adopt(job.id, verdict.row):
                return None
            else:
                found = await self.ledger.get(job.id)
            self.on_accepted(found)
            return found
        if verdict.outcome != "absent":
            return None
        if job.generation_ids:  # counts as paid, even though the API denies it now
            return await self.ledger.lost(job.id, "The API accepted it and does not know it any more.")
        return await self.ledger.not_accepted(job.id, "The API's history proves that it never arrived.")

    async def _history(self) -> list[proof.Row] | None:
        """The rows that the API shows now; `None` if one of them cannot be told from others, so that it may be any."""
        shown = await self.api.generations()
        if not all(row.id for row in shown):
            log.info("the history has rows without an id, so it proves nothing")
            return None
        return [_row(row) for row in shown]

    async def doubles(self) -> list[tuple[proof.Row, Job]]:
        """Rows of the reads kept in the ledger that look as if the API had taken a job twice, with that job."""
        evidence = await self.ledger.evidence(self.arrival_seconds)
        return await self._doubles([row for row in evidence.rows.values() if row.id not in evidence.owners])

    async def look_at_account(self, since: datetime | None) -> AccountLook:
        """What the account's history shows now, as far back as it goes, without rows that say they are older."""
        rows = [_row(row) for row in await self.api.generations() if row.id]
        times = [at for row in rows if (at := moment(row.created_at)) is not None]
        owned = await self.ledger.known_generations([row.id for row in rows])
        wanted = [row for row in rows if since is None or (moment(row.created_at) or since) >= since]
        unowned = [row for row in wanted if row.id not in owned]
        doubles = await self._doubles(unowned)
        return AccountLook(len(rows), min(times, default=None), tuple(doubles), len(unowned) - len(doubles))

    async def _doubles(self, rows: Sequence[proof.Row]) -> list[tuple[proof.Row, Job]]:
        unknown = {job.id for job in await self.ledger.in_state(State.UNKNOWN)}
        jobs = [job for job in await self.ledger.recent(_COMPARED_JOBS, own=True) if job.id not in unknown]
        return proof.doubles(rows, jobs)

    async def question(self) -> proof.OpenQuestion | None:
        """The one question about all jobs that reads cannot decide any more; `None` while there is none."""
        verdicts = proof.judge(await self.ledger.evidence(self.arrival_seconds))
        undecided = [verdict for verdict in verdicts if verdict.outcome == "person" and not verdict.job.generation_ids]
        if not undecided:
            return None
        still_open = [verdict for verdict in verdicts if verdict.outcome == "waiting" and verdict.suspects]
        rows = {row.id: row for verdict in (*undecided, *still_open) for row in verdict.suspects}
        shown = tuple(rows.values())[:_SHOWN]
        jobs, watched = (tuple(verdict.job for verdict in part) for part in (undecided, still_open))
        text = await self._text(undecided, list(rows.values()), watched)
        return proof.OpenQuestion(jobs, shown, text, len(rows) - len(shown), watched)

    async def answer(self, question: proof.OpenQuestion, mine: Collection[str]) -> list[Job]:
        """A person says that of the rows in `question` exactly these are ours; with none, all its jobs end as not
        accepted, but those that a row may be which was not in the question. Returns the jobs that it settled.

        Raises:
            LedgerError: The ledger cannot be written; nothing was decided.
        """
        evidence = await self.ledger.evidence(self.arrival_seconds)
        ours = [row for row in question.rows if row.id in mine]
        asked, watched = ({job.id for job in part} for part in (question.jobs, question.watched))
        first = [sent for sent in evidence.unknown if sent.job.id in asked]
        others = [sent for sent in evidence.unknown if sent.job.id in watched and not sent.job.generation_ids]
        accepted = proof.assign([*first, *others], ours)
        shown = {row.id for row in question.rows}
        answered = {
            verdict.job.id
            for verdict in proof.judge(evidence)
            if verdict.outcome == "person" and shown.issuperset(row.id for row in verdict.suspects)
        }
        absent = [job for job in asked & answered if job not in accepted.values() and not question.more]
        denied = [row.id for row in question.rows if row.id not in mine]
        settled = await self.ledger.answer(accepted, absent, denied, [*asked, *watched])
        for job in settled:
            if job.state is State.ACCEPTED:
                self.on_accepted(job)
        return settled

    async def how_it_stands(self, job: Job) -> str:
        """Why `job` is not settled, in words; with the question where it waits for a person."""
        question = await self.question()
        if question is not None and any(one.id == job.id for one in question.jobs):
            return question.text
        minutes = max(1, round(self.arrival_seconds / 60))
        after = "1 minute" if minutes == 1 else f"{minutes} minutes"
        return (
            f"The API's history is being watched for it; what it shows {after} after it was sent, counted "
            "while this program can see it, decides."
        )

    async def _text(self, undecided: Sequence[proof.Verdict], rows: Sequence[proof.Row], watched: Sequence[Job]) -> str:
        open_jobs = [*(verdict.job for verdict in undecided), *watched]
        jobs = "; ".join([_told(job) for job in open_jobs[:_NAMED]] + _and_more(len(open_jobs)))
        parts = [f"No answer ever came for {len(open_jobs)} paid request{'s' * (len(open_jobs) > 1)}: {jobs}."]
        if rows:
            lines = [f"{place}) {line}" for place, line in enumerate(proof.in_lines(rows[:_NAMED]), 1)]
            parts.append(
                f"Which of these rows of the account's history are they? {'; '.join(lines + _and_more(len(rows)))}."
            )
        else:
            parts.append("No row of the account's history looks like one of them.")
        if not all(verdict.covered for verdict in undecided):
            parts.append("It could not be watched without a gap, so a row may have been missed.")
        elif not all(verdict.listed for verdict in undecided):
            parts.append("Whether such jobs are listed there at all is not known.")
        return " ".join([*parts, *await self._balances(undecided)])

    async def _balances(self, undecided: Sequence[proof.Verdict]) -> list[str]:
        before = await self.ledger.balance_before(min(verdict.sent.reads_before for verdict in undecided))
        now = await told_balance(self.balance)
        told = [f"{spoken(before)} before"] if before is not None else []
        told += [f"{spoken(now)} now"] if now is not None else []
        return [f"Balance: {', '.join(told)}."] if told else []


def _row(row: Generation) -> proof.Row:
    return proof.Row(row.id, row.prompt, row.model, row.generation_type, row.created_at, row.credits_deducted)


def _and_more(count: int) -> list[str]:
    return [f"and {count - _NAMED} more"] if count > _NAMED else []


def _told(job: Job) -> str:
    about = f", {quoted(job.prompt, 60)}" if job.prompt else ""
    price = "price unknown" if job.quote_credits is None else spoken(job.quote_credits)
    return f"job {job.id[:8]} ({job.tool}, {job.model}{about}, {job.created:%Y-%m-%d %H:%M} UTC, {price})"
