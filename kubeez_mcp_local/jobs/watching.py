"""Watches one generation until the API is done with it: server-sent events first, polling beside them."""

from __future__ import annotations

import logging
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.rest.failures import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from kubeez_mcp_local.jobs.api import JobsApi
    from kubeez_mcp_local.jobs.job import Job
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


class Watch:
    """One generation being watched.

    Args:
        api: Where to look.
        job: Whose generation it is.
        generation_id: The API's id.
        before_read: Awaited before each request, to keep the read limit.
        say: Called with a few words whenever there is something new to tell.
    """

    def __init__(
        self,
        api: JobsApi,
        job: Job,
        generation_id: str,
        *,
        rhythm: Rhythm,
        speed: float,
        sleep: Callable[[float], Awaitable[None]],
        before_read: Callable[[], Awaitable[None]],
        say: Callable[[str], None],
    ) -> None:
        self._api = api
        self._job = job
        self._id = generation_id
        self._rhythm = rhythm
        self._speed = speed
        self._sleep = sleep
        self._before_read = before_read
        self._say = say
        self._streaming = True
        self._result: Generation | None = None
        self._found = anyio.Event()

    async def result(self) -> Generation:
        """The settled generation, however long it takes and however often reading fails.

        Raises:
            GaveUpError: There is no such job any more.
        """
        lost: list[GaveUpError] = []

        async def poll() -> None:
            try:
                await self._poll()
            except GaveUpError as error:
                lost.append(error)
                self._found.set()

        async with anyio.create_task_group() as group:
            group.start_soon(self._stream)
            group.start_soon(poll)
            await self._found.wait()
            group.cancel_scope.cancel()
        if self._result is None:
            raise lost[0]
        return self._result

    def _settle(self, generation: Generation) -> None:
        self._result = generation
        self._found.set()

    async def _wait(self, seconds: float) -> None:
        await self._sleep(seconds / self._speed)

    async def _stream(self) -> None:
        for _ in range(self._rhythm.stream_tries):
            try:
                await self._before_read()
                async with aclosing(self._api.events(self._job.kind, self._id)) as events:
                    async for generation in events:
                        self._say(generation.status)
                        if generation.settled:
                            self._settle(generation)
                            return
            except NotFoundError:
                await self._wait(self._rhythm.every / 2)
                continue
            except KubeezError as error:
                log.info("no event stream for a job: %s", error.code)
            break
        self._streaming = False

    async def _poll(self) -> None:
        rhythm = self._rhythm
        waited, heard_of = rhythm.first(self._job), 0.0
        await self._wait(waited)
        failures, since_completed = 0, 0.0
        while True:
            try:
                await self._before_read()
                generation = await self._api.status(self._job.kind, self._id)
            except KubeezError as error:
                missing = isinstance(error, NotFoundError)
                if missing and waited - heard_of > rhythm.forgotten:
                    raise GaveUpError from error
                if not missing:
                    failures += 1
                    self._say(f"cannot be read at the moment ({error.code})")
                pause = min(rhythm.every * 2 ** min(failures, 6), rhythm.worst)
            else:
                failures, heard_of = 0, waited
                self._say(generation.status)
                if generation.settled or (generation.status == "completed" and since_completed >= rhythm.missing_urls):
                    self._settle(generation)
                    return
                pause = rhythm.beside_stream if self._streaming else rhythm.every
                if generation.status == "completed":
                    since_completed += (pause := rhythm.every)
            await self._wait(pause)
            waited += pause
