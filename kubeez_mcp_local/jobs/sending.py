"""Sends one claimed request and writes down what came of it, whatever happens on the way.

Before the request leaves, every failure and every cancellation releases the claim. Once it has left, it is awaited in
the background, so that a caller who gives up does not turn a paid job into a lost one. Whatever does not prove that
nothing was accepted makes the job `unknown`.
"""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from contextlib import asynccontextmanager, suppress
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, Self

import anyio

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.errors import LedgerError, UnsettledJobError, busy, not_accepted, not_sent, verdict_of
from kubeez_mcp_local.jobs.guard import Limits
from kubeez_mcp_local.jobs.job import Job, State
from kubeez_mcp_local.rest import errors as api_errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from anyio.abc import TaskGroup

    from kubeez_mcp_local.jobs.job import JobsApi, Order
    from kubeez_mcp_local.jobs.ledger import Ledger
    from kubeez_mcp_local.jobs.reconcile import Reconciler
    from kubeez_mcp_local.rest.routes import Request
    from kubeez_mcp_local.rest.wire import Accepted


log = logging.getLogger(__name__)


class Background:
    """A nursery for the life of the process: enter it once, start work from anywhere, leave to cancel what still runs.

    Work that fails is logged and takes nothing else down with it. What is started while it ends is cancelled with the
    rest, at its first wait.
    """

    def __init__(self) -> None:
        self._group: TaskGroup | None = None
        self._ending = False

    async def __aenter__(self) -> Self:
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._group is None:
            return
        self._ending = True
        self._group.cancel_scope.cancel()
        try:
            await self._group.__aexit__(None, None, None)
        finally:
            self._group, self._ending = None, False

    @property
    def running(self) -> bool:
        """Whether work can be started that will be done."""
        return self._group is not None and not self._ending

    def start(self, work: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Run `work(*args)` beside everything else.

        Raises:
            RuntimeError: The background is not running, or not any more.
        """
        if self._group is None:
            raise RuntimeError("the background is not running")
        self._group.start_soon(_guarded, work, args)


async def _guarded(work: Callable[..., Awaitable[None]], args: tuple[Any, ...]) -> None:
    try:
        await work(*args)
    except KubeezError as error:
        log.warning("background work failed: %s", error.code)
    except Exception:
        log.exception("background work failed")


_LARGEST_READ_BLOCK = 8
LATEST_SECONDS = 10.0
"""A request leaves within this time of the ledger's saying so, or not at all; see `beats.Timing`."""


@dataclass(eq=False)
class Pacer:
    """Lets paid requests and reads through at the rate the API allows, in order, together with every other process.

    No limiter library has a place for pauses after a 429 and caps on running jobs; the ledger holds all of that.
    """

    ledger: Ledger
    limits: Limits = field(default_factory=Limits)
    _: KW_ONLY
    clock: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    _turns: defaultdict[str, anyio.Lock] = field(init=False, default_factory=lambda: defaultdict(anyio.Lock))
    _reading: anyio.Lock = field(init=False, default_factory=anyio.Lock)
    _permits: int = field(init=False, default=0)
    _block: int = field(init=False, default=1)
    _block_ends: float = field(init=False, default=-math.inf)

    async def leave(self, job: Job, *, patience: float) -> tuple[float, float]:
        """Return when `job` may be sent now; the ledger then says durably that it has been. Returns since when at most,
        by the steady clock and by the other one.

        Raises:
            KubeezError: That would take longer than `patience` seconds.
        """
        turn = self._turns[job.bucket]
        with anyio.move_on_after(max(patience, 1.0)) as queueing:
            await turn.acquire()
        if queueing.cancelled_caught:
            raise busy(f"Other {job.bucket} requests of this program are waiting for their turn.", 10)
        try:
            waited = 0.0
            while True:
                asked_at = self.steady(), self.clock()
                wait = await self.ledger.dispatch(job, self.limits)
                if wait is None:
                    return asked_at
                if waited + wait.seconds > patience:
                    raise busy(wait.reason, max(wait.seconds, 5.0))
                await self.sleep(wait.seconds)
                waited += wait.seconds
        finally:
            turn.release()

    async def turned_away(self, job: Job, retry_after: float | None) -> float:
        """The API said 429: nobody sends to this bucket for a while. Returns for how many seconds.

        Without `Retry-After` that is until the API's next minute begins. A job that has been taken away meanwhile is
        stopped by `leave`.
        """
        window = self.limits.window
        seconds = retry_after
        if seconds is None:
            seconds = max(window - math.fmod(self.clock(), window), window / 12)
        await self.ledger.pause(job.bucket, seconds)
        await self.ledger.take_back(job.id)
        return seconds

    async def read(self) -> None:
        """Return when one free request may be sent.

        Permits are fetched from the ledger in blocks that grow while reads come thick and fast, so that a read
        costs a counter and a lone one takes nothing away from other processes.
        """
        if self._take_permit():
            return
        async with self._reading:
            while not self._take_permit():
                await self._fetch_permits()

    def _take_permit(self) -> bool:
        if self._permits <= 0 or self.clock() >= self._block_ends:
            return False
        self._permits -= 1
        return True

    async def _fetch_permits(self) -> None:
        busy = self._permits == 0 and self.clock() < self._block_ends
        self._block = min(self._block * 2, _LARGEST_READ_BLOCK) if busy else 1
        now = self.clock()
        self._permits, wait = await self.ledger.take_reads(self._block, self.limits)
        self._block_ends = now + self.limits.read_block
        if wait is not None:
            self._block_ends = -math.inf
            await self.sleep(wait.seconds)


_NOTHING_ACCEPTED = (
    api_errors.UnauthorizedError,
    api_errors.MissingScopeError,
    api_errors.InsufficientCreditsError,
    api_errors.RefusedError,
    api_errors.NotFoundError,
    api_errors.RateLimitedError,
    api_errors.UnexpectedAnswerError,
    api_errors.UnreachableError,
    api_errors.UnusableUrlError,
    api_errors.NotOfferedError,
)
"""Proof that a paid request was not accepted. Every other failure of sending leaves its fate open."""


class _TooLateError(Exception):
    """Others may take this process for dead by now."""


_TRIES = 3  # for a request that the API turns away with 429
_RECORD_DELAYS = (0.1, 0.3, 0.9)


@dataclass
class _OutgoingRequest:
    """A request on its way: the answer is awaited by its caller, who may leave before it comes."""

    job: Job
    request: Request
    left_at: float = 0.0
    left_at_clock: float = 0.0
    answered: anyio.Event = field(default_factory=anyio.Event)
    error: KubeezError | None = None
    retry_seconds: float | None = None
    abandoned: bool = False
    tries_left: int = 0


@dataclass(eq=False)
class Sender:
    """Sends claimed jobs.

    Attributes:
        background: Where a request lives on when its caller is cancelled.
        on_accepted: Called with every job the API took.
        patience: Longest wait for the API's limits, in seconds.
        settling: Longest wait for the history to show a job whose answer never came, in seconds.
        sleep: Waits between attempts to write down what happened.
    """

    api: JobsApi
    ledger: Ledger
    pacer: Pacer
    reconciler: Reconciler
    background: Background
    _: KW_ONLY
    on_accepted: Callable[[Job], None] = lambda _job: None
    patience: float = 30.0
    settling: float = 10.0
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    _unwritten: list[Callable[[], Awaitable[Job]]] = field(init=False, default_factory=list)
    _catching_up: anyio.Lock = field(init=False, default_factory=anyio.Lock)

    async def send(self, order: Order, job: Job) -> Job:
        """Build, pace and send; returns the accepted job.

        Raises:
            UnsettledJobError: It left, and its fate is open.
            KubeezError: `job_unrecorded` if it was accepted and the ledger cannot be written any more; with any other
                code it was not accepted.
        """
        async with self._released_on_failure(job):
            request = await order.build()
        patience = self.patience
        for tries_left in reversed(range(_TRIES)):
            outgoing = _OutgoingRequest(job, request, tries_left=tries_left)
            async with self._released_on_failure(job):
                outgoing.left_at, outgoing.left_at_clock = await self.pacer.leave(job, patience=patience)
                self.background.start(self._deliver, outgoing)
            await self._answer(outgoing)
            if outgoing.retry_seconds is None:
                break
            patience -= outgoing.retry_seconds
        if outgoing.error is None:
            return outgoing.job
        if outgoing.job.state is State.UNKNOWN:
            return await self._settled_soon(outgoing.job, outgoing.error)
        raise outgoing.error

    @asynccontextmanager
    async def _released_on_failure(self, job: Job) -> AsyncIterator[None]:
        """Around everything that happens before the request leaves: if it fails or is cancelled, nothing was sent."""
        try:
            yield
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                await self._refuse(job, error)
            raise

    async def _answer(self, outgoing: _OutgoingRequest) -> None:
        """Wait for the answer. A caller who leaves takes nothing back: the request lives on in the background."""
        try:
            await outgoing.answered.wait()
        except BaseException as error:
            outgoing.abandoned = True
            if outgoing.job.state is State.UNKNOWN:
                self._keep_at_it()
            if outgoing.retry_seconds is not None:
                with anyio.CancelScope(shield=True):
                    await self._refuse(outgoing.job, error)
            raise

    async def _deliver(self, outgoing: _OutgoingRequest) -> None:
        """Send, and write the answer down, whatever it is."""
        try:
            if self._seconds_since(outgoing) > LATEST_SECONDS:
                raise _TooLateError
            accepted = await self.api.start(outgoing.request)
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                if isinstance(error, _TooLateError):
                    stopped = "This program was stopped before the request left, and others may have taken it over."
                    await self._turned_down(outgoing, not_sent(f"{stopped} Nothing was sent.", by_chance=True))
                elif isinstance(error, _NOTHING_ACCEPTED):
                    await self._turned_down(outgoing, error)
                else:
                    await self._in_doubt(outgoing, error)
            if not isinstance(error, Exception):
                raise
        else:
            with anyio.CancelScope(shield=True):
                await self._taken(outgoing, accepted)
        finally:
            outgoing.answered.set()

    def _seconds_since(self, outgoing: _OutgoingRequest) -> float:
        """Since the ledger said that it may leave. A steady clock may stand still while a machine sleeps; the other one
        does not."""
        return max(self.pacer.steady() - outgoing.left_at, self.pacer.clock() - outgoing.left_at_clock)

    async def _taken(self, outgoing: _OutgoingRequest, accepted: Accepted) -> None:
        ids, estimate = accepted.generation_ids, accepted.estimated_cost_credits
        try:
            outgoing.job = await self._insist(lambda: self.ledger.accepted(outgoing.job.id, ids, estimate))
        except LedgerError as error:
            outgoing.error = KubeezError(
                f"The API accepted the request as {', '.join(ids)}, but the ledger {error.place} could not note it.",
                next_step=f"Keep the id. {error.next_step}",
                spent=True,
                code="job_unrecorded",
            )
            return
        self.on_accepted(outgoing.job)

    async def _turned_down(self, outgoing: _OutgoingRequest, error: KubeezError) -> None:
        outgoing.error = error
        if isinstance(error, api_errors.RateLimitedError):
            with suppress(LedgerError):  # where it would not take the pause, the job must be let go
                seconds = await self.pacer.turned_away(outgoing.job, error.retry_after)
                if not outgoing.abandoned and outgoing.tries_left > 0:
                    outgoing.retry_seconds = seconds
                    return
        outgoing.job = await self._refuse(outgoing.job, error)

    async def _in_doubt(self, outgoing: _OutgoingRequest, error: BaseException) -> None:
        outgoing.error = error if isinstance(error, KubeezError) else api_errors.AmbiguousError(_words(error))
        code, message = outgoing.error.code, outgoing.error.message
        outgoing.job = await self._insist(lambda: self.ledger.unknown(outgoing.job.id, code, message))
        if outgoing.job.generation_ids and outgoing.job.state is not State.UNKNOWN:
            outgoing.error = None  # somebody has found it meanwhile
            self.on_accepted(outgoing.job)
        elif outgoing.abandoned:
            self._keep_at_it()

    async def _refuse(self, job: Job, error: BaseException) -> Job:
        known = error if isinstance(error, KubeezError) else not_sent(_words(error))
        return await self._insist(lambda: self.ledger.refused(job.id, known.code, known.message, verdict_of(known)))

    async def _settled_soon(self, job: Job, error: KubeezError) -> Job:
        """The answer is missing; perhaps the API's history already knows."""
        try:
            job = await self.reconciler.settle(job, patience=self.settling)
        finally:
            if job.state is State.UNKNOWN:
                self._keep_at_it()
        if job.generation_ids:
            return job
        if job.state is State.NOT_ACCEPTED:
            raise not_accepted(job) from error
        raise UnsettledJobError(job, await self.reconciler.how_it_stands(job)) from error

    def _keep_at_it(self) -> None:
        """Look for it until it is found, so that its outputs are saved even if nobody ever asks for it again."""
        if self.background.running:
            self.background.start(self.reconciler.settle_all)

    async def _insist(self, record: Callable[[], Awaitable[Job]]) -> Job:
        """Write down what has happened, however unwilling the disk; what fails now is written before anything else."""
        for delay in _RECORD_DELAYS:
            try:
                return await record()
            except LedgerError:
                await self.sleep(delay)
        try:
            return await record()
        except LedgerError:
            self._unwritten.append(record)
            raise

    async def write_what_is_unwritten(self) -> None:
        """Catch up on what the ledger would not take before, or raise what it says now."""
        async with self._catching_up:  # else two callers would write one record, and strike out two
            while self._unwritten:
                await self._unwritten[0]()
                del self._unwritten[0]


def _words(error: BaseException) -> str:
    """What an unexpected failure is called in the ledger; its text may hold anything and is left out."""
    return "The call was cancelled." if not isinstance(error, Exception) else f"{type(error).__name__} happened."
