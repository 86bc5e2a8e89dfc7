"""Follows jobs to their end: one follower a job, however many wait for it, and none of them lost at a restart."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

import anyio

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.job import SANDBOX, Job, State
from kubeez_mcp_local.jobs.outputs import sources_of
from kubeez_mcp_local.rest.errors import MissingScopeError, NotFoundError, UnauthorizedError
from kubeez_mcp_local.rest.wire import price_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kubeez_mcp_local.jobs.job import JobsApi
    from kubeez_mcp_local.jobs.ledger import Ledger
    from kubeez_mcp_local.jobs.outputs import OutputStore
    from kubeez_mcp_local.jobs.sending import Background
    from kubeez_mcp_local.rest.wire import Generation


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rhythm:
    """When to look (rest-api.md §3.2), in seconds of the API's time.

    Attributes:
        image, slow, separation: First look at an image, at a video, sound or song, and at a separation.
        every: Between looks.
        beside_stream: Between looks while an event stream is open, in case something on the way holds it back.
        worst: Longest pause between looks when reading fails again and again.
        forgotten: How long a job may be unheard of; a new one is for up to a minute.
        missing_urls: How long a completed job may be without its URLs.
        stream_tries: How often a stream is opened.
    """

    image: float = 10.0
    slow: float = 30.0
    separation: float = 20.0
    every: float = 5.0
    beside_stream: float = 30.0
    worst: float = 60.0
    forgotten: float = 600.0
    missing_urls: float = 600.0
    stream_tries: int = 3

    def first(self, job: Job) -> float:
        """How long the first look can wait."""
        if job.kind == "separation":
            return self.separation
        return self.image if "image" in (job.generation_type or "").rpartition("-to-")[2] else self.slow


class GaveUpError(Exception):
    """The API says that there is no such job, and has done so for far longer than it takes to show a new one."""


@dataclass(eq=False)
class Watch:
    """One generation being watched.

    Attributes:
        follower: Where, how often and by which clock to look.
        job: Whose generation it is.
        generation_id: The API's id.
        say: Called with a few words whenever there is something new to tell.
        denied: Called with whether the last look was refused for want of a key, token or scope, which nobody but a
            person mends.
    """

    follower: Follower
    job: Job
    generation_id: str
    say: Callable[[str], None]
    denied: Callable[[bool], None]
    _streaming: bool = field(init=False, default=True)
    _result: Generation | None = field(init=False, default=None)
    _found: anyio.Event = field(init=False, default_factory=anyio.Event)

    async def result(self) -> Generation:
        """The settled generation, however long it takes and however often reading fails.

        Raises:
            GaveUpError: There is no such job any more.
        """
        async with anyio.create_task_group() as group:
            group.start_soon(self._stream)
            group.start_soon(self._poll)
            await self._found.wait()
            group.cancel_scope.cancel()
        if self._result is None:
            raise GaveUpError
        return self._result

    def _end(self, generation: Generation | None) -> None:
        self._result = generation
        self._found.set()

    async def _wait(self, seconds: float) -> None:
        await self.follower.sleep(seconds / self.follower.speed)

    async def _stream(self) -> None:
        for _ in range(self.follower.rhythm.stream_tries):
            try:
                await self.follower.before_read()
                async with aclosing(self.follower.api.events(self.job.kind, self.generation_id)) as events:
                    async for generation in events:
                        self.say(generation.status)
                        if generation.settled:
                            self._end(generation)
                            return
            except NotFoundError:
                await self._wait(self.follower.rhythm.every / 2)
                continue
            except KubeezError as error:
                log.info("no event stream for a job: %s", error.code)
            break
        self._streaming = False

    async def _poll(self) -> None:
        rhythm = self.follower.rhythm
        waited, heard_of = rhythm.first(self.job), 0.0
        await self._wait(waited)
        failures, since_completed = 0, 0.0
        while True:
            try:
                await self.follower.before_read()
                generation = await self.follower.api.status(self.job.kind, self.generation_id)
            except KubeezError as error:
                missing = isinstance(error, NotFoundError)
                if missing and waited - heard_of > rhythm.forgotten:
                    self._end(None)
                    return
                if not missing:
                    failures += 1
                    self.say(f"cannot be read at the moment ({error.code})")
                self.denied(isinstance(error, UnauthorizedError | MissingScopeError))
                pause = min(rhythm.every * 2 ** min(failures, 6), rhythm.worst)
            else:
                failures, heard_of = 0, waited
                self.denied(False)
                self.say(generation.status)
                if generation.settled or (generation.status == "completed" and since_completed >= rhythm.missing_urls):
                    self._end(generation)
                    return
                pause = rhythm.beside_stream if self._streaming else rhythm.every
                if generation.status == "completed":
                    since_completed += (pause := rhythm.every)
            await self._wait(pause)
            waited += pause


OnProgress = Callable[[float, float | None, str], Awaitable[None]]
"""Called with seconds since acceptance, expected seconds (or `None`) and a few words."""

_PROGRESS_EVERY = 2.0
_LOOK_AT_LEDGER_EVERY = 0.25
_LOOK_AGAIN_SECONDS = 3.0
_RESAVE_WITHIN = 30 * 86_400.0
_OTHER_SAVER_PATIENCE = 30.0


def query_for_work(account: str, arrival_seconds: float, beside: str = "") -> str:
    """A query that has a row if `Follower.resume_all` or `Reconciler.settle_all` may find something to do.

    Jobs that nothing but a person can settle are left out: those of which a read told that began late enough. Of live
    accounts all count as one, since the key that decides between them may be another one when the query is used.
    """
    of_account = (
        f"account IN ('{account}', '{beside}')" if account.startswith(SANDBOX) else f"account NOT LIKE '{SANDBOX}%'"
    )
    return f"""
        SELECT 1 FROM jobs WHERE {of_account} AND (
            state IN ('sending', 'accepted')
            OR (state = 'completed' AND saved_at IS NULL AND settled_at >= strftime('%s', 'now') - {_RESAVE_WITHIN:.0f})
            OR (state = 'unknown' AND NOT EXISTS (
                SELECT 1 FROM watches JOIN history_reads USING (boot)
                WHERE watches.job = jobs.id AND history_reads.account = jobs.account
                    AND history_reads.number > jobs.reads_before
                    AND history_reads.began - watches.since >= {arrival_seconds!r}))) LIMIT 1"""


@dataclass
class _Following:
    done: anyio.Event = field(default_factory=anyio.Event)
    words: str = "accepted"
    denied: bool = False


async def _no_wait() -> None:
    return None


def _nobody_told(_: Job) -> None:
    return None


@dataclass(eq=False)
class Follower:
    """Follows accepted jobs, settles them in the ledger and saves their outputs.

    Attributes:
        background: Where following goes on while nobody waits.
        speed: How many times faster than life the API's clock runs; 1 except in the sandbox.
        before_read: Awaited before each read, to keep the API's read limit (`Pacer.read`).
        on_saved: Told of each job that has come to its end, once its outputs are on the disk.
    """

    api: JobsApi
    ledger: Ledger
    outputs: OutputStore
    background: Background
    _: KW_ONLY
    speed: float = 1.0
    before_read: Callable[[], Awaitable[None]] = _no_wait
    on_saved: Callable[[Job], None] = _nobody_told
    rhythm: Rhythm = field(default_factory=Rhythm)
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    _followed: dict[str, _Following] = field(init=False, default_factory=dict)
    _saving: dict[str, anyio.Event] = field(init=False, default_factory=dict)

    def follow(self, job: Job) -> None:
        """Follow an accepted job from now on, if nobody does yet."""
        if job.state is State.ACCEPTED and job.id not in self._followed and self.background.running:
            self._followed[job.id] = _Following()
            self.background.start(self._follow, job)

    async def wait(self, job: Job, *, timeout: float, on_progress: OnProgress | None = None) -> Job:
        """Wait for a job until it is settled and saved, or for `timeout` seconds; returns it as it stands then.

        Reports progress at once and then every two seconds. A wait that runs out ends nothing: the job is followed on.
        It ends early when a look is refused that only a person can get allowed; whoever looks then is told why.
        """
        if job.id in self._followed:
            self._followed[job.id].denied = False  # the next look tells
        with anyio.move_on_after(timeout):
            while job.id in self._followed or job.state in (State.SENDING, State.ACCEPTED):
                self.follow(job)
                await self._wait_for_news(job, on_progress)
                before, job = job.state, await self.ledger.get(job.id)
                following = self._followed.get(job.id)
                if before is job.state is State.ACCEPTED and (following is None or following.denied):
                    break  # given up, or to be allowed by a person; following it again at once would change nothing
            await self._files_of(await self.look_again(job))
        job = await self.ledger.get(job.id)
        if job.files:
            self.on_saved(job)  # whoever saved them may have ended before it was told
        return job

    async def resume_all(self) -> list[Job]:
        """Pick up what ended processes left unfinished: follow accepted jobs, save unsaved outputs.

        Jobs of processes that are alive are theirs. Returns what was picked up.
        """
        await self.ledger.recover()
        taken = []
        for job in await self.ledger.in_state(State.ACCEPTED):
            if job.id not in self._followed and await self.ledger.take_over(job):
                self.follow(job)
                taken.append(job)
        return taken + [job for job in await self.ledger.unsaved(_RESAVE_WITHIN) if await self._take_on_saving(job)]

    async def look_again(self, job: Job) -> Job:
        """A job that ended without a result, as the API tells it now; as it was where the API cannot be read.

        Some jobs that are called failed are finished later. Then the charge is written down and the outputs are saved
        in the background.
        """
        unfinished = self._without_result(job)
        if not unfinished:
            return job
        found: dict[str, Generation] = {}
        with anyio.move_on_after(_LOOK_AGAIN_SECONDS):
            for generation_id in job.generation_ids:
                generation = await self._as_told_now(job, generation_id)
                if generation is not None:
                    found[generation_id] = generation
        if not any(found[each].settled and not found[each].failed for each in unfinished & found.keys()):
            return job
        return await self._finish_late(job, found)

    async def notice(self, rows: Sequence[Generation]) -> None:
        """Look again at jobs of this ledger that `rows`, read from the account's history, show to have a result."""
        try:
            done = [row.id for row in rows if row.status == "completed" and not row.failed]
            known = await self.ledger.known_generations(done, own=True) if done else {}
            for job in {job.id: job for found, job in known.items() if found in self._without_result(job)}.values():
                await self.look_again(job)
        except KubeezError as error:
            log.info("what the history shows cannot be held against the ledger: %s", error.code)

    def _without_result(self, job: Job) -> set[str]:
        """Which generations of an ended job have brought nothing, as far as the ledger knows."""
        if job.state not in (State.COMPLETED, State.FAILED, State.REFUNDED, State.LOST):
            return set()
        return set(job.generation_ids) - {row.id for row in self.outputs.generations_of(job) if not row.failed}

    async def _finish_late(self, job: Job, found: Mapping[str, Generation]) -> Job:
        before = {generation.id: generation for generation in self.outputs.generations_of(job)}
        generations = [found.get(each) or before.get(each) or _forgotten(each) for each in job.generation_ids]
        with anyio.CancelScope(shield=True):  # what is settled here is also saved here
            finished, ours = await self.ledger.finished_late(
                job, charge_of(job, generations), _answers(generations), _errors(generations)
            )
            if ours:
                log.warning("job %s was called %s, and the API has finished it after all", job.id, job.state)
                self._saving[job.id] = anyio.Event()
                self.background.start(self._save_in_background, job.id)
        return finished

    async def save_again(self, job: Job) -> None:
        """Save those outputs of a completed job that are not on the disk; what fails is noted in the ledger."""
        await self._save(job, [await self._with_files(job, each) for each in self.outputs.generations_of(job)])

    async def _with_files(self, job: Job, generation: Generation) -> Generation:
        """A generation that named no file that can be fetched, as the API tells it now."""
        if generation.failed or any(source.url not in generation.refused_urls for source in sources_of(generation)):
            return generation
        return await self._as_told_now(job, generation.id) or generation

    async def _as_told_now(self, job: Job, generation_id: str) -> Generation | None:
        try:
            await self.before_read()
            return await self.api.status(job.kind, generation_id)
        except KubeezError as error:
            log.info("generation %s cannot be looked at again: %s", generation_id, error.code)
            return None

    async def _wait_for_news(self, job: Job, on_progress: OnProgress | None) -> None:
        """Return when the job's follower is done, or when it is time to look at the ledger again."""
        following = self._followed.get(job.id)
        started = job.accepted_at or job.created_at
        while True:
            if on_progress is not None:
                words = following.words if following else job.state.value
                passed = max(self.clock() - started, 0.0)
                total = max(job.expected_seconds / self.speed, passed) if job.expected_seconds else None
                await on_progress(passed, total, words)
            if following is None:
                await self.sleep(_LOOK_AT_LEDGER_EVERY)
                return
            with anyio.move_on_after(_PROGRESS_EVERY):
                await following.done.wait()
                return
            if following.denied:
                return

    async def _follow(self, job: Job) -> None:
        following = self._followed[job.id]
        try:
            while True:
                generations = await self._results(job, following)
                settled, ours = await self._settle(job, generations)
                if settled.state is not State.ACCEPTED:
                    break
                job = settled  # it has got further ids meanwhile
            if ours:
                await self._save(settled, generations)
            else:
                await self._saved_by_other(settled)
        except GaveUpError:
            await self.ledger.forgotten(job.id, "The API does not know this job any more.")
        finally:
            del self._followed[job.id]
            following.done.set()

    async def _results(self, job: Job, following: _Following) -> list[Generation]:
        """What became of each generation; one that the API has forgotten counts as failed, unless all of them are."""
        found: dict[str, Generation] = {}

        def say(words: str) -> None:
            following.words = words

        def denied(now: bool) -> None:
            following.denied = now

        async def watch(generation_id: str) -> None:
            try:
                found[generation_id] = await Watch(self, job, generation_id, say, denied).result()
            except GaveUpError:
                log.warning("the API does not know generation %s any more", generation_id)

        async with anyio.create_task_group() as group:
            for generation_id in job.generation_ids:
                group.start_soon(watch, generation_id)
        if not found:
            raise GaveUpError
        return [found.get(each) or _forgotten(each) for each in job.generation_ids]

    async def _settle(self, job: Job, generations: Sequence[Generation]) -> tuple[Job, bool]:
        results, errors = _answers(generations), _errors(generations)
        charged, state = charge_of(job, generations), end_state(generations)
        while True:
            try:
                return await self.ledger.settled(job.id, state, charged, results, errors)
            except KubeezError as error:
                log.warning("job %s cannot be settled in the ledger yet: %s", job.id, error)
                await self.sleep(self.rhythm.every)

    async def _save(self, job: Job, generations: Sequence[Generation]) -> None:
        if job.state is State.COMPLETED:
            saved = await self.outputs.save(job, generations)
            try:
                job = await self.ledger.saved(job.id, saved.files, saved.error)
            except KubeezError as error:
                log.warning("the saved files of job %s cannot be noted in the ledger: %s", job.id, error)
                return
        self.on_saved(job)

    async def _files_of(self, job: Job) -> None:
        """Wait until a completed job is saved; if whoever should have saved it has ended or failed, save it here."""
        await self._take_on_saving(job)
        if job.id in self._saving:
            await self._saving[job.id].wait()
        else:
            await self._saved_by_other(job)

    async def _take_on_saving(self, job: Job) -> bool:
        """Save a completed job in the background, where nobody does; whether that is so."""
        if job.id in self._saving or not await self.ledger.take_over_saving(job) or job.id in self._saving:
            return False
        self._saving[job.id] = anyio.Event()
        self.background.start(self._save_in_background, job.id)
        return True

    async def _save_in_background(self, job_id: str) -> None:
        try:
            await self.save_again(await self.ledger.get(job_id))
        finally:
            self._saving.pop(job_id).set()

    async def _saved_by_other(self, job: Job) -> None:
        """Somebody else saves it; give them the time for that."""
        waited = 0.0
        while job.state is State.COMPLETED and not job.files and not job.save_error and waited < _OTHER_SAVER_PATIENCE:
            await self.sleep(_LOOK_AT_LEDGER_EVERY)
            waited += _LOOK_AT_LEDGER_EVERY
            job = await self.ledger.get(job.id)


def end_state(generations: Sequence[Generation]) -> State:
    """What a job has come to. One request may have started several generations; one success is a success."""
    if not all(row.failed for row in generations):
        return State.COMPLETED
    refunded = all(_told(row) is not None and price_of(_told(row)) == 0 for row in generations)
    return State.REFUNDED if refunded else State.FAILED


def charge_of(job: Job, generations: Sequence[Generation]) -> float | None:
    """What a job really cost: the API's own figures, else the quote; nothing for what failed (rest-api.md §3.4).

    A failed job whose figure cannot be true is `None`: whether the API kept anything of the quote is not known.
    """
    figures = [0.0 if row.failed and _told(row) is None else price_of(_told(row)) for row in generations]
    known = [figure for figure in figures if figure is not None]
    if len(known) == len(figures):
        return sum(known)
    if job.quote_credits is None or job.settled or all(row.failed for row in generations):
        return None
    return job.reserved


def _forgotten(generation_id: str) -> Generation:
    from kubeez_mcp_local.rest.wire import Generation

    return Generation(id=generation_id, status="failed", error_message="The API does not know it any more.")


def _answers(generations: Sequence[Generation]) -> list[dict[str, Any]]:
    """As the ledger keeps them."""
    return [row.model_dump(mode="json", exclude={"raw"}, exclude_none=True) for row in generations]


def _errors(generations: Sequence[Generation]) -> str | None:
    return "; ".join(row.error_message or "no reason given" for row in generations if row.failed) or None


def _told(row: Generation) -> object:
    """The API's figure as it came, or `None` if it gave none."""
    return row.raw.get("credits_deducted", row.credits_deducted)
