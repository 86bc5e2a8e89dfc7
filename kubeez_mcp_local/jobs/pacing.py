"""Waits, before sending, until the API's limits allow it; in order, and together with every other process.

Why not a limiter library: pyrate-limiter 4.5 does share a SQLite bucket between processes, but only with filelock 3
(with filelock 4 every acquire fails), takes 0.15 s to import and 0.3 ms a permit, and has no place for what the API
also needs: pauses after a 429 and caps on running jobs. The ledger already holds all of that.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from typing import TYPE_CHECKING

import anyio

from kubeez_mcp_local.jobs.failures import BusyError
from kubeez_mcp_local.jobs.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from kubeez_mcp_local.jobs.job import Job
    from kubeez_mcp_local.jobs.ledger import Ledger

_LARGEST_READ_BLOCK = 8


class Pacer:
    """Lets paid requests and reads through at the rate the API allows.

    Args:
        ledger: Shared by all processes.
        limits: The API's limits, and how fast its clock runs.
        clock: Seconds since 1970.
        sleep: Waits that many seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        limits: Limits | None = None,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._ledger = ledger
        self._limits = limits or Limits()
        self._clock = clock
        self._sleep = sleep
        self._turns: defaultdict[str, anyio.Lock] = defaultdict(anyio.Lock)
        self._reading = anyio.Lock()
        self._permits = 0
        self._block = 1
        self._block_ends = -math.inf

    async def leave(self, job: Job, *, patience: float) -> None:
        """Return when `job` may be sent now; the ledger then says durably that it has been.

        Raises:
            BusyError: That would take longer than `patience` seconds.
        """
        turn = self._turns[job.bucket]
        with anyio.move_on_after(max(patience, 1.0)) as queueing:
            await turn.acquire()
        if queueing.cancelled_caught:
            raise BusyError(f"Other {job.bucket} requests of this program are waiting for their turn.", 10)
        try:
            await self._leave(job, patience)
        finally:
            turn.release()

    async def _leave(self, job: Job, patience: float) -> None:
        waited = 0.0
        while (wait := await self._ledger.dispatch(job, self._limits)) is not None:
            if waited + wait.seconds > patience:
                raise BusyError(wait.reason, max(wait.seconds, 5.0))
            await self._sleep(wait.seconds)
            waited += wait.seconds

    async def turned_away(self, job: Job, retry_after: float | None) -> float:
        """The API said 429: nobody sends to this bucket for a while. Returns for how many seconds.

        Without `Retry-After` that is until the API's next minute begins. A job that has been taken away meanwhile is
        stopped by `leave`.
        """
        window = self._limits.window
        seconds = retry_after
        if seconds is None:
            seconds = max(window - math.fmod(self._clock(), window), window / 12)
        await self._ledger.pause(job.bucket, seconds)
        await self._ledger.take_back(job.id)
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
        if self._permits <= 0 or self._clock() >= self._block_ends:
            return False
        self._permits -= 1
        return True

    async def _fetch_permits(self) -> None:
        busy = self._permits == 0 and self._clock() < self._block_ends
        self._block = min(self._block * 2, _LARGEST_READ_BLOCK) if busy else 1
        now = self._clock()
        self._permits, wait = await self._ledger.take_reads(self._block, self._limits)
        self._block_ends = now + self._limits.read_block
        if wait is not None:
            self._block_ends = -math.inf
            await self._sleep(wait.seconds)
