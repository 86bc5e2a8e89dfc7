"""Loopback servers that misbehave on purpose, and retries that do not wait."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

import pytest
import stamina

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    Handler = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
    RawHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(autouse=True)
def retries_do_not_wait() -> Iterator[None]:
    with stamina.set_testing(True, attempts=5, cap=True):
        yield


@pytest.fixture
def sleeps() -> list[float]:
    """What a `RestClient(sleep=…)` of a test was asked to wait, in seconds."""
    return []


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    return head + (await reader.readexactly(int(length.group(1))) if length else b"")


@pytest.fixture
def serve(serve_bytes: Callable[[RawHandler], Awaitable[str]]) -> Callable[[Handler], Awaitable[str]]:
    """Start a server whose handler gets each whole request and the raw connection; returns its origin.

    The connection is cut when the handler returns.
    """

    async def start(handler: Handler) -> str:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.IncompleteReadError):
                await handler(await read_request(reader), writer)

        return f"http://{await serve_bytes(connected)}"

    return start


@pytest.fixture
async def serve_bytes() -> AsyncIterator[Callable[[RawHandler], Awaitable[str]]]:
    """The same for what speaks no HTTP; returns host and port. The connection is closed when the handler returns."""
    async with AsyncExitStack() as stack:

        async def start(handler: RawHandler) -> str:
            async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                with suppress(ConnectionError):
                    await handler(reader, writer)
                    await writer.drain()
                writer.close()

            server = await asyncio.start_server(connected, "127.0.0.1", 0)
            stack.callback(server.close)
            return f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

        yield start


@pytest.fixture
def unused_origin() -> str:
    """A loopback origin where nothing listens."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
