"""The stdio process: signals, end of input, prompt exit, and who reads and writes the pipes."""

from __future__ import annotations

import asyncio
import errno
import gc
import io
import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
from mcp.server.stdio import stdio_server

from kubeez_mcp_local.mcp_server.lines import Answers, ClientLines

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from kubeez_mcp_local.front import HandedOver
    from kubeez_mcp_local.mcp_server.server import KubeezServer
    from kubeez_mcp_local.mcp_server.snapshot import SnapshotWriter

_GRACE_SECONDS = 1.5
_LAST_SECONDS = 3.0
"""From the end of the input until what still answers is stopped as by a signal; usually it takes milliseconds."""
_NOBODY_READS = (errno.EPIPE, errno.EINVAL)  # Windows calls it an invalid argument

log = logging.getLogger(__name__)


async def serve(server: KubeezServer, handed: HandedOver | None = None, writer: SnapshotWriter | None = None) -> None:
    """Serve until stdin closes, nobody reads stdout any more, or a signal arrives.

    Args:
        handed: What the front has said already, if it was the front that answered first.
        writer: Writes the snapshot for the next start; without one, none is written.

    The SDK's own loop dies on SIGTERM without closing its lifespan, and on SIGINT or a broken stdout it hangs, because
    the thread that reads stdin cannot be interrupted (python-sdk issue 3551). So the loop is run here, and once the
    lifespan has closed the process leaves without waiting for that thread. Once the input has ended it leaves soon in
    any case: a client that went away without reading may have left a pipe that is full, and a write to it never ends.
    """
    conversation = Conversation(server, handed)
    if writer is not None:
        server.changes.on_change = writer.write
    gc.freeze()  # what was imported stays; without this a list of 1,000 recipes takes a third longer

    async def leave_on_signal(scope: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for signum in signals:
                conversation.exit_code = 128 + signum
                scope.cancel()
                await conversation.leave()

    loop, ended = asyncio.get_running_loop(), anyio.Event()

    def at_end() -> None:
        _leave_within(_LAST_SECONDS + _GRACE_SECONDS, 0)
        with suppress(RuntimeError):  # it has left already
            loop.call_soon_threadsafe(ended.set)

    async def leave_at_the_end(scope: anyio.CancelScope) -> None:
        await ended.wait()
        await anyio.sleep(_LAST_SECONDS)
        log.info("the client is gone, and what it asked for is not over")
        scope.cancel()
        await conversation.leave()

    conversation.at_end = at_end
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(leave_at_the_end, tasks.cancel_scope)
            if sys.platform != "win32":
                tasks.start_soon(leave_on_signal, tasks.cancel_scope)
            if writer is not None and (handed is None or not handed.snapshot.recipes.still_holds()):
                tasks.start_soon(writer.keep)
            await conversation.hold()
            tasks.cancel_scope.cancel()
    except* OSError as errors:
        if errors.subgroup(lambda error: isinstance(error, OSError) and error.errno not in _NOBODY_READS):
            raise
        log.info("the client reads no more answers")
    _leave(0)


class Conversation:
    """One client, answered until it is gone; from the beginning, or from where the front has `handed` it over.

    Attributes:
        exit_code: With which the process leaves when it is cancelled.
        at_end: Called in another thread when the client has closed its end.
    """

    def __init__(self, server: KubeezServer, handed: HandedOver | None = None) -> None:
        self.exit_code = 0
        self.at_end: Callable[[], object] = lambda: None
        self._server = server
        self._handed = handed
        self._over = False
        self._stopped = anyio.Event()

    async def hold(self, output: anyio.AsyncFile[str] | None = None) -> None:
        """Answer until the client is gone; on stdout, or on `output`.

        `stdio_server` takes the real stdout for itself. Whatever is printed from then on goes to the log, also what
        would otherwise wait in a buffer and reach the client when the process leaves. The client's lines are read here,
        or where the front has handed them over, and stdin is turned to the null device.
        """
        low, handed = self._server.lowlevel, self._handed
        if handed is not None and handed.watching:
            self._server.changes.go_on(handed.snapshot.listed)
        source = _as_text(_own_input() if handed is None else handed.input)
        nothing = anyio.wrap_file(io.StringIO())
        async with stdio_server(nothing, output) as (unused, write), anyio.create_task_group() as tasks:
            await unused.aclose()
            if output is None:
                sys.stdout = sys.stderr
            answers = Answers(write) if handed is None else Answers(write, handed.mark, handed.streams)
            tasks.start_soon(self._leave_when_cancelled)
            try:
                lines = ClientLines(source, answers, at_end=self.at_end)
                await low.run(lines, answers, self._server.initialization)
                self._over = True
            except Exception:
                self._over = True
                raise
            finally:
                self._stopped.set()
            tasks.cancel_scope.cancel()

    async def leave(self) -> None:
        """End the process as soon as the lifespan has closed, and soon in any case."""
        _leave_within(_GRACE_SECONDS, self.exit_code)
        with anyio.CancelScope(shield=True):
            await self._stopped.wait()
        _leave(self.exit_code)

    async def _leave_when_cancelled(self) -> None:
        """A write that failed cancels everything, and would wait for the next line on stdin."""
        try:
            await anyio.sleep_forever()
        finally:
            if not self._over:
                await self.leave()


def _leave(code: int) -> None:
    """Exit at once: worker threads (uploads, previews) must not hold up a host that has closed our input."""
    sys.stderr.flush()
    os._exit(code)


def _leave_within(seconds: float, code: int) -> None:
    """The same in so many seconds, by a thread: where thousands of calls are stopped at once, no task has its turn."""
    timer = threading.Timer(seconds, _leave, [code])
    timer.daemon = True
    timer.start()


def _own_input() -> io.RawIOBase:
    """Standard input for us alone: what is started later must not read the client's messages."""
    handle, nothing = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return io.FileIO(handle, closefd=False)


def _as_text(source: io.RawIOBase) -> TextIO:
    if sys.platform == "win32":
        from mcp.os.win32.utilities import rebind_std_handle_to_fd

        rebind_std_handle_to_fd(0)
    return io.TextIOWrapper(io.BufferedReader(source), encoding="utf-8", errors="replace")
