"""Web servers on this machine, which neither pages of other sites nor silent guests can use for themselves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any, cast

import anyio
import h11
import uvicorn
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from types import FrameType

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from kubeez_mcp_local.errors import KubeezError


@dataclass(frozen=True)
class Bounds:
    """What guests may take up.

    Attributes:
        connections: Most at a time. One more ends the one that has been waiting for a request the longest.
        head_seconds: From the connection, or the answer before, until the head of a request has arrived whole.
        silence_seconds: Longest pause of a sender within a request, or of a reader within an answer.
    """

    connections: int = 32
    head_seconds: float = 10.0
    silence_seconds: float = 30.0


class Connection(H11Protocol):
    """One guest's connection: knows since when it has been waiting, and for what.

    The app may close it without an answer: `scope["state"]["connection"].cut()`.
    """

    def __init__(self, bounds: Bounds, clock: Callable[[], float], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app_state = {**self.app_state, "connection": self}
        self._bounds = bounds
        self._clock = clock
        self._answered_at = self._moved_at = clock()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take a guest in, and put the one out that has been silent the longest when there are too many."""
        super().connection_made(transport)
        present = [each for each in self.connections if isinstance(each, Connection) and not each.closing]
        if len(present) > self._bounds.connections:
            # Never a whole request: this guest, who has sent nothing yet, is always among those that may go.
            min((each for each in present if each.waits), key=lambda each: (each._answered_at, each is self)).cut()

    def data_received(self, data: bytes) -> None:
        self._moved_at = self._clock()
        super().data_received(data)

    def pause_writing(self) -> None:
        self._moved_at = self._clock()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._moved_at = self._clock()
        super().resume_writing()

    def on_response_complete(self) -> None:
        self._answered_at = self._moved_at = self._clock()
        super().on_response_complete()

    @property
    def closing(self) -> bool:
        return self.transport.is_closing()

    @property
    def waits(self) -> bool:
        """Whether no request of it is being worked on: its next one has not arrived, or its last one is answered."""
        return self.cycle is None or self.cycle.response_complete

    def overdue(self, now: float) -> bool:
        """Whether it has kept the server waiting for too long."""
        if self.closing or self.flow.write_paused:  # an answer that nobody fetches
            return now - self._moved_at >= self._bounds.silence_seconds
        if self.waits:
            return now - self._answered_at >= self._bounds.head_seconds
        sends = self.conn.their_state is h11.SEND_BODY and not self.flow.read_paused
        return sends and now - self._moved_at >= self._bounds.silence_seconds

    def cut(self) -> None:
        self.transport.abort()


class LocalServer(uvicorn.Server):
    """A quiet server that stops at once: open streams and uploads are dropped, not waited for.

    Args:
        clock: Monotonic seconds.
        own_signals: Whether SIGINT and SIGTERM end it; otherwise they are left to the program around it.
        tick: Seconds between two looks at who is overdue.
    """

    def __init__(
        self,
        app: ASGIApp,
        bounds: Bounds | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        own_signals: bool = False,
        tick: float = 1.0,
    ) -> None:
        connection = partial(Connection, bounds or Bounds(), clock)
        super().__init__(
            uvicorn.Config(
                _dropped_quietly(app),
                http=cast("type[asyncio.Protocol]", connection),
                ws="none",
                lifespan="off",
                loop="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # nobody may say where a request comes from
            )
        )
        self._clock = clock
        self._own_signals = own_signals
        self._tick = tick
        self._stopped = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run_on(self, listener: socket.socket) -> None:
        """Serve until it is stopped or cancelled; the listener is closed afterwards."""
        try:
            await self.serve(sockets=[listener])
        finally:
            self._drop_everything()
            listener.close()

    def stop(self) -> None:
        """Ask it to stop; from any thread."""
        self.should_exit = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stopped.set)

    def drop_overdue(self) -> None:
        """Close the connections that have kept the server waiting for too long."""
        now = self._clock()
        for each in list(self.server_state.connections):
            if isinstance(each, Connection) and each.overdue(now):
                each.cut()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals() if self._own_signals else contextlib.nullcontext():
            yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self.stop()

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            self.drop_overdue()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), self._tick)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._drop_everything()
        await asyncio.sleep(0)

    def _drop_everything(self) -> None:
        for server in getattr(self, "servers", ()):
            server.close()
        for connection in list(self.server_state.connections):
            if isinstance(connection, Connection):
                connection.cut()
        for task in list(self.server_state.tasks):
            task.cancel()


def _dropped_quietly(app: ASGIApp) -> ASGIApp:
    """`app`, whose requests end without a word in the log when the server stops and drops them."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await app(scope, receive, send)

    return run


def listen(host: str = "127.0.0.1", port: int = 0, *, again: bool = False) -> socket.socket:
    """A listening socket; port 0 takes a free one, `again` also one that was in use a moment ago.

    Raises:
        OSError: The address cannot be had.
        OverflowError: There is no such port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's delay off; without, each answer may take 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if exclusive := getattr(socket, "SO_EXCLUSIVEADDRUSE", 0):
            # On Windows SO_REUSEADDR would let any program share the port, and take our requests.
            listener.setsockopt(socket.SOL_SOCKET, exclusive, 1)
        elif again:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
        listener.setblocking(False)
    except (OSError, OverflowError):
        listener.close()
        raise
    return listener


def is_loopback_host(host: str | None) -> bool:
    """Whether `host`, without its port, names this machine."""
    address = ip_address_of(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def ip_address_of(host: str | None) -> IPv4Address | IPv6Address | None:
    """The address that `host` is, or None when it is a name; `127.0.0.1.example.com` is a name."""
    try:
        return ip_address(host or "")
    except ValueError:
        return None


def foreign_page(scope: Scope) -> str | None:
    """What kind of page sends this request, if it is one that does not come from the very server it talks to.

    Browsers name the page in `Origin`, port included, and say in `Sec-Fetch-Site` how near it is. Programs send
    neither, so this guards against pages only; whoever is asked under a foreign name must look at `Host` as well.
    """
    headers = Headers(scope=scope)
    origin = headers.get("origin")
    if origin is not None and origin.lower() != f"http://{headers.get('host', '').lower()}":
        return f"a page of {origin:.80}"
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return "a page of another site"
    return None


class Json(JSONResponse):
    """JSON of ASCII signs, which also takes names of files that are no UTF-8: they hold half a pair of signs each."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
"""What goes with every answer to a browser, unless the answer itself says otherwise."""


@dataclass(frozen=True)
class Guard:
    """ASGI middleware: only this machine, under its own name, and no other site through the user's browser.

    The Host check stops DNS rebinding (a foreign name that resolves to 127.0.0.1), the look at the page stops other
    sites, those of other ports of this machine included. Programs such as curl pass on to whatever the app asks for.
    """

    app: ASGIApp
    port: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        host = Headers(scope=scope).get("host", "").lower()
        ours = (f"127.0.0.1:{self.port}", f"localhost:{self.port}")
        problem = foreign_page(scope) if host in ours else f"the host name {host!r:.80}"
        if problem is None:
            await self.app(scope, receive, send_guarded)
            return
        content = {
            "error": "foreign_request",
            "message": f"{problem} is not this page.",
            "next_step": "Open the link exactly as the assistant gave it to you.",
        }
        await JSONResponse(content, status_code=403)(scope, receive, send_guarded)


class Site:
    """Pages on a loopback port of their own, served from the first time that they are needed.

    Attributes:
        start: Runs an async function with its arguments beside everything else, as long as the program runs.
        bounds: What guests may take up.
        port: Where it can be reached now; `None` while it is not served.
    """

    start: Callable[..., object]
    bounds: Bounds = Bounds()
    port: int | None = None

    def _app(self) -> ASGIApp:
        raise NotImplementedError

    async def _until_over(self) -> None:
        """Returns when nobody needs the pages any more."""
        await anyio.sleep_forever()

    def _served(self) -> int:
        """The port.

        Raises:
            OSError: None can be had.
        """
        if self.port is None:
            listener = listen()
            self.port = int(listener.getsockname()[1])
            self.start(self._serve, listener, self.port)
        return self.port

    async def _serve(self, listener: socket.socket, port: int) -> None:
        async def end(scope: anyio.CancelScope) -> None:
            await self._until_over()
            self.port = None  # at once, so that whoever needs a page now gets a port that lasts
            scope.cancel()

        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(end, tasks.cancel_scope)
                await LocalServer(Guard(self._app(), port), self.bounds).run_on(listener)
                tasks.cancel_scope.cancel()
        finally:
            if self.port == port:
                self.port = None


_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def static_text(name: str) -> str:
    """A file of the pages."""
    return files("kubeez_mcp_local.web").joinpath("static", name).read_text("utf-8")


def static_file(name: str, *, status: int = 200) -> Response:
    """A file of the pages as an answer."""
    return Response(static_text(name), status_code=status, media_type=_TYPES[name.rpartition(".")[2]])


def static_route(names: Collection[str]) -> Route:
    """The address of these files of the pages, and of no others."""

    async def answer(request: Request) -> Response:
        name = request.path_params["name"]
        return static_file(name) if name in names else Response(status_code=404)

    return Route("/static/{name}", answer)


def said(error: KubeezError, status: int) -> JSONResponse:
    """An error as an answer to a page or a program."""
    content = {"error": error.code, "message": error.message, "next_step": error.next_step}
    return Json(content, status_code=status)
