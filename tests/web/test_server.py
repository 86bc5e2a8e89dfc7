"""The servers on this machine cannot be used up by guests who say nothing, half of something, or fetch nothing."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from kubeez_mcp_local.web.server import Bounds, LocalServer, listen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import SocketStream
    from starlette.requests import Request

pytestmark = pytest.mark.anyio

ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HALF_A_BODY = b"POST /swallow HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf"


@dataclass
class Serving:
    """A server with a clock of its own."""

    port: int = 0
    now: float = 0.0
    server: LocalServer = field(init=False)
    working: anyio.Event = field(default_factory=anyio.Event)
    finish: anyio.Event = field(default_factory=anyio.Event)

    async def connect(self, first: bytes = b"") -> SocketStream:
        guest = await anyio.connect_tcp("127.0.0.1", self.port)
        if first:
            await guest.send(first)
        return guest

    def after(self, seconds: float) -> None:
        self.now += seconds
        self.server.drop_overdue()

    async def seen(self, count: int) -> None:
        """Wait until the server knows that many guests."""
        with anyio.fail_after(60):
            while len(self.server.server_state.connections) != count:  # noqa: ASYNC110 - sockets set no event
                await anyio.sleep(0.002)

    def app(self) -> Starlette:
        async def hello(_: Request) -> PlainTextResponse:
            return PlainTextResponse("hello")

        async def swallow(request: Request) -> PlainTextResponse:
            self.working.set()
            return PlainTextResponse(f"{len(await request.body())}")

        async def work(_: Request) -> PlainTextResponse:
            self.working.set()
            await self.finish.wait()
            return PlainTextResponse("worked")

        async def flood(_: Request) -> StreamingResponse:
            async def drops() -> AsyncIterator[bytes]:
                self.working.set()
                while True:
                    await anyio.lowlevel.checkpoint()
                    yield bytes(1 << 16)

            return StreamingResponse(drops())

        return Starlette(
            routes=[
                Route("/", hello),
                Route("/swallow", swallow, methods=["POST"]),
                Route("/work", work),
                Route("/flood", flood),
            ]
        )


@asynccontextmanager
async def serving(bounds: Bounds | None = None, tick: float = 60) -> AsyncIterator[Serving]:
    listener = listen()
    page = Serving(listener.getsockname()[1])
    page.server = LocalServer(page.app(), bounds, clock=lambda: page.now, tick=tick)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(page.server.run_on, listener)
        with anyio.fail_after(60):
            yield page
        tasks.cancel_scope.cancel()


async def answer_to(guest: SocketStream) -> bytes:
    """What comes next; empty when the server has hung up."""
    try:
        return await guest.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return b""


async def test_three_hundred_silent_guests_keep_nobody_out() -> None:
    async with serving(Bounds(connections=32)) as page:
        guests = [await page.connect() for _ in range(300)]
        await page.seen(32)
        late = await page.connect(ASK)
        assert (await answer_to(late)).startswith(b"HTTP/1.1 200")
        page.after(9.9)
        await page.seen(32)
        page.after(0.2)
        await page.seen(0)
        assert {await answer_to(guest) for guest in guests} == {b""}


async def test_a_request_that_is_worked_on_is_never_the_one_to_go() -> None:
    async with serving(Bounds(connections=2)) as page:
        at_work = await page.connect(b"GET /work HTTP/1.1\r\nHost: x\r\n\r\n")
        await page.working.wait()
        for _ in range(10):
            await page.connect()
        page.after(1000)
        page.finish.set()
        assert (await answer_to(at_work)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("start", [b"", b"GET / HT", ASK[:-2]])
async def test_a_head_must_come_in_time_however_slowly_it_drips(start: bytes) -> None:
    async with serving() as page:
        guest = await page.connect(start)
        await page.seen(1)
        for _ in range(4):
            page.after(2)
            await guest.send(b"X-Drip: x\r\n"[:1] if start != ASK[:-2] else b"X-Drip: x\r\n")
        page.after(3)
        await page.seen(0)


async def test_a_body_may_be_slow_but_not_silent() -> None:
    async with serving() as page:
        guest = await page.connect(HALF_A_BODY)
        await page.working.wait()
        page.after(29)
        await page.seen(1)
        await guest.send(b"-more-")
        assert (await answer_to(guest)).startswith(b"HTTP/1.1 200")
        silent = await page.connect(HALF_A_BODY)
        page.working = anyio.Event()
        await page.working.wait()
        page.after(31)
        assert await answer_to(silent) == b""


async def test_who_goes_on_sending_after_the_answer_is_listened_to_for_a_while_only() -> None:
    async with serving() as page:
        guest = await page.connect(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
        assert (await answer_to(guest)).startswith(b"HTTP/1.1 404")
        for _ in range(4):
            page.after(2)
            await guest.send(bytes(1000))
        page.after(3)
        await page.seen(0)


async def test_an_answer_that_nobody_fetches_is_given_up() -> None:
    async with serving() as page:
        await page.connect(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")
        await page.working.wait()
        for _ in range(100):
            await anyio.sleep(0.001)  # lets it write until the socket is full
        page.after(29)
        await page.seen(1)
        page.after(2)
        await page.seen(0)


async def test_it_looks_by_itself() -> None:
    async with serving(tick=0.01) as page:
        await page.connect()
        await page.seen(1)
        page.now += 11
        await page.seen(0)


async def test_stopping_ends_it_at_once_from_any_thread() -> None:
    async with serving() as page:
        await page.connect()
        await page.seen(1)
        before = anyio.current_time()
        await anyio.to_thread.run_sync(page.server.stop)
        await page.seen(0)
        assert anyio.current_time() - before < 2
