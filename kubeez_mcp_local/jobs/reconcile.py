"""Finds out what became of requests whose answer never came, from the API's own history.

A request is *found* when the history holds a generation of the same prompt, model and type from the right time that
no other job of the ledger owns. It is *absent* only on proof: the API has had time to show it, the list reaches back
beyond the attempt, and jobs of this kind can be recognised in the history at all. Without either it stays unknown.
A request that was accepted and whose id the API denies later is found by that id or not at all.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import anyio

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.job import Job, State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from kubeez_mcp_local.jobs.api import JobsApi
    from kubeez_mcp_local.jobs.ledger import Ledger
    from kubeez_mcp_local.rest.wire import Generation

log = logging.getLogger(__name__)

GRACE_SECONDS = 60.0
"""How long the API may take to show a job it accepted (early 404s last about that long), in its own time."""

_SKEW = 300.0
_LATEST_ARRIVAL = 900.0
_DOUBTED_FOR = 3600.0
_PAGE = 25
_WHOLE_HISTORY = 10  # no API pages by fewer rows than this, so a shorter list is all there is
_SURELY_LISTED = ("generate_media",)
_EVERY = 3.0
_SELDOM = 60.0


class Reconciler:
    """Settles unknown jobs.

    Args:
        api: Whose history is read.
        ledger: Whose unknown jobs are settled.
        speed: How many times faster than life the API's clock runs; 1 except in the sandbox.
        on_accepted: Called with every job that turns out to have been accepted.
        clock: Seconds since 1970.
        sleep: Waits that many seconds.
    """

    def __init__(
        self,
        api: JobsApi,
        ledger: Ledger,
        *,
        speed: float = 1.0,
        on_accepted: Callable[[Job], None] = lambda _job: None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._api = api
        self._ledger = ledger
        self._speed = speed
        self._on_accepted = on_accepted
        self._clock = clock
        self._sleep = sleep
        self._one_pass = anyio.Lock()
        self._keeping_at_it = False

    async def settle(self, job: Job, *, patience: float) -> Job:
        """Try for up to `patience` seconds to settle `job`; returns it as it stands then. Never raises for the API."""
        with anyio.move_on_after(patience):
            return await self._settled(job, patience)
        return await self._ledger.get(job.id)

    async def settle_all(self) -> None:
        """Look now, and less and less often for as long as any job is unknown. Returns at once if that goes on already.

        Raises:
            LedgerError: The ledger cannot be read.
        """
        if self._keeping_at_it:
            return
        self._keeping_at_it = True
        try:
            pause = _EVERY
            await self._try()
            while await self._ledger.in_state(State.UNKNOWN):
                await self._sleep(pause / self._speed)
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
            job = await self._ledger.get(job.id)
            pause = _EVERY / self._speed
            if job.state is not State.UNKNOWN or waited + pause > patience:
                return job
            await self._sleep(pause)
            waited += pause

    async def reconcile(self) -> list[Job]:
        """One look at the history; returns the jobs that it settled.

        Raises:
            KubeezError: The history or the ledger cannot be read.
        """
        async with self._one_pass:
            await self._ledger.recover()
            unknown = await self._ledger.in_state(State.UNKNOWN)
            doubted = await self._ledger.doubted(_DOUBTED_FOR)
            if not unknown and not doubted:
                return []
            settled = []
            history = await self._api.generations(limit=_PAGE)
            for model in sorted({job.model for job in unknown}):
                settled += await self._look_through(history, [job for job in unknown if job.model == model])
            settled += await self._look_through(history, doubted)
            for model in sorted({job.model for job in unknown} if len(history) >= _WHOLE_HISTORY else ()):
                still = [job for job in await self._ledger.in_state(State.UNKNOWN) if job.model == model]
                if still:
                    of_model = await self._api.generations(limit=_PAGE, model=model)
                    settled += await self._look_through(of_model, still, beside=history)
            return settled

    async def _look_through(
        self, history: Sequence[Generation], jobs: Sequence[Job], *, beside: Sequence[Generation] = ()
    ) -> list[Job]:
        """Settle what `history`, newest first and read before this call, settles of `jobs`.

        Args:
            beside: Other rows, which show how the API tells jobs.
        """
        shown = [*history, *beside]
        known = await self._ledger.known_generations([row.id for row in shown])
        sending = [job for job in await self._ledger.in_state(State.SENDING) if job.sent_at is not None]
        free = [row for row in history if row.id not in known]
        settled = []
        for job in sorted(jobs, key=lambda job: job.sent_at or job.created_at):
            if any(other.prompt == job.prompt and other.model == job.model for other in sending):
                continue  # what looks like ours may be the other one's, whose answer is still on its way
            if any(row.id in job.generation_ids for row in history):
                settled.append(await self._ledger.accepted(job.id, ()))
                self._on_accepted(settled[-1])
                continue
            found = None if job.generation_ids else _match(job, free)
            if found is not None:
                free.remove(found)
                if await self._ledger.adopt(job.id, found.id):
                    settled.append(await self._ledger.get(job.id))
                    self._on_accepted(settled[-1])
            elif job.state is State.UNKNOWN and self._absent(job, history, shown, known):
                settled.append(await self._ended(job))
        return settled

    async def _ended(self, job: Job) -> Job:
        """A job that the API gave an id counts as paid, even though the API denies it now."""
        if job.generation_ids:
            return await self._ledger.lost(job.id, "The API accepted it and does not know it any more.")
        return await self._ledger.not_accepted(job.id, "The API's history does not know it.")

    def _absent(
        self, job: Job, history: Sequence[Generation], shown: Sequence[Generation], known: dict[str, Job]
    ) -> bool:
        sent = job.sent_at or job.created_at
        since = job.answered_at or sent
        if self._clock() - since < GRACE_SECONDS / self._speed:
            return False
        return self._would_be_seen(job, shown, known) and self._reaches_back(history, known, sent)

    @staticmethod
    def _would_be_seen(job: Job, shown: Sequence[Generation], known: dict[str, Job]) -> bool:
        """Whether the history tells jobs like this one so that they can be recognised: those that it lists prove it."""
        listed = [(row, known[row.id]) for row in shown if row.id in known and known[row.id].route == job.route]
        if job.route in _SURELY_LISTED and not listed:
            return True
        return any(
            _alike(other, row) and (job.route in _SURELY_LISTED or _given(other) == _given(job))
            for row, other in listed
        )

    @staticmethod
    def _reaches_back(history: Sequence[Generation], known: dict[str, Job], sent: float) -> bool:
        return len(history) < _WHOLE_HISTORY or any(_is_before(row, known.get(row.id), sent) for row in history)


def _is_before(row: Generation, known: Job | None, sent: float) -> bool:
    """Whether `row` is older than an attempt at `sent`: surely, by our own clock, or by more than clocks may differ."""
    if known is not None and known.accepted_at is not None:
        return known.accepted_at < sent
    return row.created is not None and row.created.timestamp() < sent - _SKEW


def _match(job: Job, rows: Sequence[Generation]) -> Generation | None:
    """The row that is this job, nearest in time; without a prompt to tell by, only if there is no other."""
    sent = job.sent_at or job.created_at
    found = []
    for row in rows:
        if row.created is None or not _alike(job, row):
            continue
        late = row.created.timestamp() - sent
        if -_SKEW <= late <= _LATEST_ARRIVAL:
            found.append((abs(late), row))
    if not found or (not job.prompt and len(found) > 1):
        return None
    return min(found, key=lambda pair: pair[0])[1]


def _given(job: Job) -> set[str]:
    """Which settings it was asked for with: the history may tell a song with lyrics otherwise than one without."""
    return {name for name, value in job.arguments.items() if value is not None}


def _alike(job: Job, row: Generation) -> bool:
    if row.generation_type and job.generation_type and row.generation_type != job.generation_type:
        return False
    if job.kind == "music" and job.arguments.get("model") is None:  # the API chose the engine
        same_model = "music" in (row.generation_type or "music")
    else:
        same_model = row.model == job.model
    return same_model and _plain(row.prompt or "") in {_plain(text) for text in _prompts(job)}


def _prompts(job: Job) -> list[str]:
    """What the history may call its prompt; which part of a song's wishes that is, is not documented."""
    if job.kind != "music":
        return [job.prompt]
    parts = [job.arguments.get(name) for name in ("lyrics", "song_description", "title")]
    return [job.prompt, *(part for part in parts if isinstance(part, str))]


def _plain(text: str) -> str:
    return " ".join(text.split())
