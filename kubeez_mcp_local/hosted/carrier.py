"""Carries the SDK's requests over the pools of `rest/`, with the token, and writes down what happened to each POST.

The SDK would follow redirects with the request, and lets one broken connection end the whole session; here a redirect
is an answer like any other, and a broken way the end of one request. Loaded late: it brings the SDK's HTTP library.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import anyio
import httpx2

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.hosted.answers import CURRENT, Exchange
from kubeez_mcp_local.rest.errors import UnexpectedAnswerError, UnreachableError
from kubeez_mcp_local.rest.pools import BROKEN, LONGEST_ANSWER, timeouts, whole
from kubeez_mcp_local.rest.wire import from_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from pydantic import SecretStr

    from kubeez_mcp_local.rest.pools import Answer, Pools

# What belongs to one connection or to the library that made the request.
_NOT_CARRIED = {"host", "connection", "user-agent", "accept-encoding", "content-length", "authorization", "cookie"}
_CARRIED_BACK = ("content-type", "mcp-session-id", "allow")
_SILENCE = 330.0
"""Seconds without a byte after which a stream is given up; how long an answer may take is counted by the session."""


@dataclass(eq=False)
class Carrier(httpx2.AsyncBaseTransport):
    """The way to one hosted server.

    Attributes:
        token: The bearer token for the next request.
        refused: Another token, after a 401 came for this one.
        retry_after: Reads `Retry-After`, in seconds.
        clock: Seconds that only go forward.
    """

    url: str
    pools: Pools
    token: Callable[[], Awaitable[SecretStr]]
    refused: Callable[[SecretStr], Awaitable[SecretStr]]
    retry_after: Callable[[Answer], float | None]
    clock: Callable[[], float]
    connect_s: float

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The answer to `request`; for a POST that has none, one that ends it alone."""
        exchange = CURRENT.get() if request.method == "POST" else None
        exchange = exchange or Exchange(self.url, request.method)
        if exchange.failure is not None:
            return _none(request)
        try:
            response = await self._send(request, exchange)
            return await self._given_back(request, response, exchange)
        except KubeezError as error:
            exchange.failure = error
        except BROKEN as error:
            exchange.broke = f"The connection broke ({type(error).__name__})"
        return _none(request)

    async def _send(self, request: httpx2.Request, exchange: Exchange) -> Answer:
        """The answer from where the server really is, such as behind a slash: that is learned while the connection is
        opened. What can cost credits is not sent to a second place."""
        response = await self._sent(request, exchange)
        exchange.location = response.headers.get("location", "")
        if response.status_code not in (307, 308) or exchange.spends or not self._moves_to(exchange.location):
            return response
        await response.aclose()
        return await self._sent(request, exchange)

    def _moves_to(self, location: str) -> bool:
        try:
            here, there = urlsplit(self.url), urlsplit(urljoin(self.url, location))
        except ValueError:
            return False
        if (here.scheme, here.netloc) != (there.scheme, there.netloc) or here.path == there.path:
            return False
        self.url = there.geturl()
        return True

    async def _sent(self, request: httpx2.Request, exchange: Exchange) -> Answer:
        """Sent once, and once more with another token if the answer to it is 401: then nobody took it."""
        content = await request.aread()
        headers = [(name, value) for name, value in request.headers.multi_items() if name.lower() not in _NOT_CARRIED]
        exchange.in_session = "mcp-session-id" in request.headers
        token = await self.token()
        for last in (False, True):
            exchange.tokens.add(token.get_secret_value())
            self._leaving(exchange)
            response = await self.pools.send(
                request.method,
                self.url,
                stream=True,
                content=content,
                headers=[*headers, ("Authorization", f"Bearer {token.get_secret_value()}")],
                timeout=timeouts(self.connect_s, _SILENCE),
            )
            exchange.status = response.status_code
            if response.status_code != 401 or last:
                break
            await response.aclose()
            token = await self.refused(token)
        return response

    def _leaving(self, exchange: Exchange) -> None:
        if exchange.leave_by is not None and self.clock() > exchange.leave_by:
            raise UnreachableError(
                "Getting ready to send this took too long. Nothing was sent.", next_step="Try again.", retry_safe=True
            )
        exchange.posted, exchange.status = True, None

    async def _given_back(self, request: httpx2.Request, response: Answer, exchange: Exchange) -> httpx2.Response:
        kind = response.headers.get("content-type", "").lower()
        headers = [(name, response.headers[name]) for name in _CARRIED_BACK if name in response.headers]
        if response.status_code == 200 and kind.startswith("text/event-stream"):
            return httpx2.Response(200, headers=headers, stream=_Events(response), request=request)
        response = await whole(response)
        if response.status_code not in (200, 202):
            exchange.body, exchange.html = response.text, "html" in kind
            exchange.retry_after = self.retry_after(response)
            exchange.challenge = response.headers.get("www-authenticate", "")
        elif "html" in kind:
            exchange.body, exchange.html = "", True
        return httpx2.Response(
            response.status_code, headers=headers, content=_mended(response.content), request=request
        )

    async def aclose(self) -> None:
        """The pools are closed by whoever made them."""


@dataclass(eq=False)
class _Events(httpx2.AsyncByteStream):
    """The lines of an event stream, each of them mended."""

    response: Answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        rest = b""
        async for chunk in self.response.aiter_bytes():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield (b"data:" + _mended(line[5:]) if line.startswith(b"data:") else line) + b"\n"
            if len(rest) > LONGEST_ANSWER:
                raise UnexpectedAnswerError("The hosted server's event has no end.")
        yield rest

    async def aclose(self) -> None:
        with anyio.CancelScope(shield=True):
            await self.response.aclose()


def _mended(text: bytes) -> bytes:
    """JSON without halves of characters, for which the SDK would throw the whole answer away: one prompt that a server
    has cut in the middle of an emoji must not hide the history."""
    if b"\\ud" not in text.lower():
        return text
    try:
        return json.dumps(from_json(text)).encode()
    except (ValueError, RecursionError):
        return text


def _none(request: httpx2.Request) -> httpx2.Response:
    """Stands for an answer that did not come; why is in the `Exchange`."""
    return httpx2.Response(503, content=b"", request=request)
