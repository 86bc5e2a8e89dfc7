"""The stdio process: signals, end of input, prompt exit."""

from __future__ import annotations

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
    from mcp.server.lowlevel.server import Server

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.mcp_server.server import KubeezServer

_GRACE_SECONDS = 2.0

log = logging.getLogger(__name__)


async def serve(server: KubeezServer) -> None:
    """Serve until stdin closes, nobody reads stdout any more, or a signal arrives.

    The SDK's own loop dies on SIGTERM without closing its lifespan and hangs on SIGINT, because the thread that reads
    stdin cannot be interrupted (python-sdk issue 3551). So the loop is run here, and once the lifespan has closed the
    process leaves without waiting for that thread.
    """
    stopped = anyio.Event()
    gc.freeze()  # what was imported stays; without this a list of 1,000 recipes takes a third longer

    async def leave_on_signal(scope: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for signum in signals:
                scope.cancel()
                with anyio.CancelScope(shield=True), anyio.move_on_after(_GRACE_SECONDS):
                    await stopped.wait()
                _leave(128 + signum)

    try:
        async with anyio.create_task_group() as tasks:
            if sys.platform != "win32":
                tasks.start_soon(leave_on_signal, tasks.cancel_scope)
            await _converse(server.lowlevel, stopped)
            tasks.cancel_scope.cancel()
    except* BrokenPipeError:
        log.info("the client reads no more answers")
    _leave(0)


async def _converse(low: Server[Bridge], stopped: anyio.Event) -> None:
    """Answer until the client is gone; `stopped` is set as soon as the lifespan has closed.

    `stdio_server` takes the real stdout for itself. Whatever is printed from then on goes to the log, also what would
    otherwise wait in a buffer and reach the client when the process leaves.
    """
    options = NotificationOptions(tools_changed=True, prompts_changed=True, resources_changed=True)
    async with stdio_server() as (read, write):
        sys.stdout = sys.stderr
        try:
            await low.run(ReadableInput(read, write), write, low.create_initialization_options(options))
        finally:
            stopped.set()


def _leave(code: int) -> None:
    """Exit at once: worker threads (uploads, previews) must not hold up a host that has closed our input."""
    sys.stderr.flush()
    os._exit(code)
