"""The stdio process: signals, end of input, prompt exit."""

from __future__ import annotations

import errno
import gc
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

import anyio
from mcp.server import NotificationOptions
from mcp.server.stdio import stdio_server

from kubeez_mcp_local.mcp_server.unreadable import ReadableInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mcp.server.lowlevel.server import Server

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.mcp_server.server import KubeezServer

_GRACE_SECONDS = 1.5
_NOBODY_READS = (errno.EPIPE, errno.EINVAL)  # Windows calls it an invalid argument

log = logging.getLogger(__name__)


async def serve(server: KubeezServer) -> None:
    """Serve until stdin closes, nobody reads stdout any more, or a signal arrives.

    The SDK's own loop dies on SIGTERM without closing its lifespan, and on SIGINT or a broken stdout it hangs, because
    the thread that reads stdin cannot be interrupted (python-sdk issue 3551). So the loop is run here, and once the
    lifespan has closed the process leaves without waiting for that thread.
    """
    conversation = _Conversation(server.lowlevel)
    gc.freeze()  # what was imported stays; without this a list of 1,000 recipes takes a third longer

    async def leave_on_signal(scope: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for signum in signals:
                conversation.exit_code = 128 + signum
                scope.cancel()
                await conversation.leave()

    try:
        async with anyio.create_task_group() as tasks:
            if sys.platform != "win32":
                tasks.start_soon(leave_on_signal, tasks.cancel_scope)
            await conversation.hold()
            tasks.cancel_scope.cancel()
    except* OSError as errors:
        if any(error.errno not in _NOBODY_READS for error in _each(errors)):
            raise
        log.info("the client reads no more answers")
    _leave(0)


class _Conversation:
    """One client, answered until it is gone."""

    def __init__(self, low: Server[Bridge]) -> None:
        self.exit_code = 0
        self._low = low
        self._over = False
        self._stopped = anyio.Event()

    async def hold(self) -> None:
        """Answer until the client is gone.

        `stdio_server` takes the real stdout for itself. Whatever is printed from then on goes to the log, also what
        would otherwise wait in a buffer and reach the client when the process leaves.
        """
        options = NotificationOptions(tools_changed=True, prompts_changed=True, resources_changed=True)
        async with stdio_server() as (read, write), anyio.create_task_group() as tasks:
            sys.stdout = sys.stderr
            tasks.start_soon(self._leave_when_cancelled)
            try:
                await self._low.run(ReadableInput(read, write), write, self._low.create_initialization_options(options))
                self._over = True
            except Exception:
                self._over = True
                raise
            finally:
                self._stopped.set()
            tasks.cancel_scope.cancel()

    async def leave(self) -> None:
        """End the process as soon as the lifespan has closed, and soon in any case."""
        with anyio.CancelScope(shield=True), anyio.move_on_after(_GRACE_SECONDS):
            await self._stopped.wait()
        _leave(self.exit_code)

    async def _leave_when_cancelled(self) -> None:
        """A write that failed cancels everything, and would wait for the next line on stdin."""
        try:
            await anyio.sleep_forever()
        finally:
            if not self._over:
                await self.leave()


def _each(group: BaseExceptionGroup[OSError]) -> Iterator[OSError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _each(error)
        else:
            yield error


def _leave(code: int) -> None:
    """Exit at once: worker threads (uploads, previews) must not hold up a host that has closed our input."""
    sys.stderr.flush()
    os._exit(code)
