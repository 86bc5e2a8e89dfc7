"""The stand-in inside another process, and by itself."""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from anyio.to_thread import run_sync

from kubeez_mcp_local.errors import KubeezError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fastapi import FastAPI

    from kubeez_mcp_local.sandbox.books import Books
    from kubeez_mcp_local.web.server import LocalServer

_log = logging.getLogger(__name__)

_MOST_CONNECTIONS = 256


class SandboxError(KubeezError):
    """The sandbox cannot be started or emptied."""

    code = "sandbox_unavailable"


def folder_of(state_dir: Path) -> Path:
    """Where the sandbox keeps its books and files."""
    return state_dir / "sandbox"


def _open(
    folder: Path, speed: float, clock: Callable[[], float] = time.time, *, host: str | None = None, hosted: bool = False
) -> tuple[Books, _Running]:
    """Open the books in `folder`, and build the server over them; one with a `host` is a program by itself."""
    import sqlite3

    from kubeez_mcp_local.sandbox.app import create_app
    from kubeez_mcp_local.sandbox.books import Books
    from kubeez_mcp_local.sandbox.knobs import Knobs
    from kubeez_mcp_local.web.server import Bounds, LocalServer

    try:
        books = Books(folder, clock=clock)
    except (OSError, sqlite3.Error) as error:
        raise SandboxError(
            f"The sandbox's books in {folder} cannot be opened: {error}.",
            next_step=f"Check that {folder} can be written, or run `kubeez-mcp-local sandbox reset`, which empties it; "
            "or set KUBEEZ_STATE_DIR to another folder.",
        ) from error
    app = create_app(books, Knobs(speed=speed), hosts=(host,) if host else (), hosted=hosted)
    return books, _Running(app, LocalServer(app, Bounds(_MOST_CONNECTIONS), own_signals=host is not None))


@dataclass(frozen=True)
class _Running:
    app: FastAPI
    server: LocalServer

    async def on(self, listener: socket.socket) -> None:
        async with self.app.router.lifespan_context(self.app):
            await self.server.run_on(listener)


@dataclass
class EmbeddedSandbox:
    """The stand-in on a thread of its own, so that neither its import nor its pictures hold up the caller.

    Attributes:
        state_dir: The bridge's state folder.
        speed: How many times faster than life jobs run.
        clock: Seconds since the epoch.
        hosted: Whether it also serves the hosted MCP server's tools.
    """

    state_dir: Path
    speed: float = 30
    clock: Callable[[], float] = time.time
    hosted: bool = False
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None
    _server: LocalServer | None = None
    _origin: Future[str] = field(default_factory=Future)

    async def start(self) -> str:
        """Start it, if it does not run yet, and return its origin, such as `http://127.0.0.1:51234`.

        Raises:
            SandboxError: It cannot write its folder or listen on loopback.
        """
        if self._runs():
            return self._origin.result()
        return await run_sync(self.start_blocking, abandon_on_cancel=True)

    async def stop(self) -> None:
        """Stop it at once; open streams and downloads are dropped."""
        await run_sync(self.stop_blocking)

    def start_blocking(self) -> str:
        """`start` for callers without an event loop."""
        with self._guard:
            if self._thread is None or (self._origin.done() and not self._runs()):
                self._origin = Future()
                self._thread = threading.Thread(
                    target=self._run, args=(self._origin,), name="kubeez-sandbox", daemon=True
                )
                self._thread.start()
            origin = self._origin
        return origin.result()

    def _runs(self) -> bool:
        return self._origin.done() and self._origin.exception() is None

    def stop_blocking(self) -> None:
        """`stop` for callers without an event loop."""
        with self._guard:
            thread, server = self._thread, self._server
        if server is not None:
            server.stop()
        if thread is not None:
            thread.join(0.15)
        with self._guard:
            self._thread = self._server = None
            self._origin = Future()

    def _run(self, origin: Future[str]) -> None:
        try:
            self._serve(origin)
        except Exception as error:  # noqa: BLE001 - whatever it was, `start` reports it
            _log.debug("sandbox thread ended", exc_info=True)
            if not isinstance(error, SandboxError):
                advice = f"Check that {folder_of(self.state_dir)} can be written, or set KUBEEZ_STATE_DIR."
                error = SandboxError(f"The sandbox could not be started: {error}.", next_step=advice)
            if not origin.done():
                origin.set_exception(error)

    def _serve(self, origin: Future[str]) -> None:
        books, running = _open(folder_of(self.state_dir), self.speed, self.clock, hosted=self.hosted)
        listener = _preferred_socket(books.folder / "port")

        async def run() -> None:
            self._server = running.server
            # The socket listens already, so requests that come before the server accepts simply wait.
            origin.set_result(f"http://127.0.0.1:{listener.getsockname()[1]}")
            await running.on(listener)

        try:
            asyncio.run(run())
        finally:
            books.close()


def _preferred_socket(note: Path) -> socket.socket:
    """Listen on the port of last time if it is free, so that old URLs still open; else on another, and note it."""
    from kubeez_mcp_local.web.server import listen

    try:
        port = int(note.read_text("ascii"))
        return listen(port=port, again=True)
    except (OSError, ValueError, OverflowError):
        # The guests that a socket takes in inherit `again`, and one that stays keeps the port for whoever comes next.
        listener = listen(again=True)
    if not note.exists():
        note.write_text(str(listener.getsockname()[1]), "ascii")
    return listener


def serve(
    host: str = "127.0.0.1",
    port: int = 8787,
    *,
    state_dir: Path,
    speed: float = 30,
    hosted: bool = False,
    tokens: Sequence[str] = (),
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Run the stand-in by itself until SIGINT or SIGTERM; `on_ready` is told its origin.

    With the `hosted` door, `tokens` are personal access tokens that it takes, each with an account of its own.

    Raises:
        SandboxError: The address is taken, or the folder cannot be written.
    """
    from kubeez_mcp_local.sandbox.hosted.tokens import Tokens
    from kubeez_mcp_local.web.server import listen

    try:
        listener = listen(host, port, again=True)
    except (OSError, OverflowError) as error:
        raise SandboxError(
            f"Cannot listen on {host}:{port}: {error}.", next_step="Choose another --port, or 0 for a free one."
        ) from None
    try:
        books, running = _open(folder_of(state_dir), speed, host=host, hosted=hosted)
    except SandboxError:
        listener.close()
        raise
    for token in tokens:
        Tokens(books).register(token)
    if on_ready is not None:
        shown = f"[{host}]" if ":" in host else host
        on_ready(f"http://{shown}:{listener.getsockname()[1]}")
    try:
        asyncio.run(running.on(listener))
    except KeyboardInterrupt:
        _log.debug("stopped by SIGINT")
    finally:
        books.close()


def reset(state_dir: Path) -> None:
    """Forget every account, job and file of the sandbox. Also works while it runs: the books are emptied in place.

    Raises:
        SandboxError: The folder cannot be changed.
    """
    import sqlite3

    from kubeez_mcp_local.sandbox.books import Books

    folder = folder_of(state_dir)
    if not folder.exists():
        return
    try:
        books = Books(folder)
    except sqlite3.DatabaseError:
        # Books that cannot be read cannot be emptied either.
        shutil.rmtree(folder, ignore_errors=True)
        return
    except OSError as error:
        raise SandboxError(f"Cannot change {folder}: {error}.", next_step="Check the folder's owner.") from None
    try:
        books.empty()
    finally:
        books.close()
