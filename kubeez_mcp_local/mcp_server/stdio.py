"""The stdio process: signals, end of input, prompt exit, and an answer to lines that nobody can read."""

from __future__ import annotations

import errno
import gc
import io
import json
import logging
import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import anyio
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp.shared.message import SessionMessage
from mcp.types import (
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCNotification,
    JSONRPCResponse,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError

from kubeez_mcp_local.messages import NO_MESSAGE, NOT_JSON
from kubeez_mcp_local.text import without_half_characters

if TYPE_CHECKING:
    from contextvars import Context

    from kubeez_mcp_local.front import HandedOver
    from kubeez_mcp_local.mcp_server.server import KubeezServer
    from kubeez_mcp_local.mcp_server.snapshot import SnapshotWriter

_ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
_GRACE_SECONDS = 1.5
_NOBODY_READS = (errno.EPIPE, errno.EINVAL)  # Windows calls it an invalid argument

log = logging.getLogger(__name__)


async def serve(server: KubeezServer, handed: HandedOver | None = None, writer: SnapshotWriter | None = None) -> None:
    """Serve until stdin closes, nobody reads stdout any more, or a signal arrives.

    Args:
        handed: What the front has said already, if it was the front that answered first.
        writer: Writes the snapshot for the next start; without one, none is written.

    The SDK's own loop dies on SIGTERM without closing its lifespan, and on SIGINT or a broken stdout it hangs, because
    the thread that reads stdin cannot be interrupted (python-sdk issue 3551). So the loop is run here, and once the
    lifespan has closed the process leaves without waiting for that thread.
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

    try:
        async with anyio.create_task_group() as tasks:
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
    """One client, answered until it is gone; from the beginning, or from where the front has `handed` it over."""

    def __init__(self, server: KubeezServer, handed: HandedOver | None = None) -> None:
        self.exit_code = 0
        self._server = server
        self._handed = handed
        self._over = False
        self._stopped = anyio.Event()

    async def hold(self, output: anyio.AsyncFile[str] | None = None) -> None:
        """Answer until the client is gone; on stdout, or on `output`.

        `stdio_server` takes the real stdout for itself. Whatever is printed from then on goes to the log, also what
        would otherwise wait in a buffer and reach the client when the process leaves. What the front has handed over
        takes the place of stdin, which it has turned to the null device as `stdio_server` does.
        """
        low, handed = self._server.lowlevel, self._handed
        if handed is not None and handed.watching:
            self._server.changes.go_on(handed.snapshot.listed)
        source = None if handed is None else _as_text(handed.input)
        async with stdio_server(source, output) as (read, sdk_write), anyio.create_task_group() as tasks:
            if output is None:
                sys.stdout = sys.stderr
            write = sdk_write if handed is None else Unsaid(sdk_write, handed.mark, handed.streams)
            tasks.start_soon(self._leave_when_cancelled)
            try:
                await low.run(ReadableInput(read, write), write, self._server.initialization)
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


def _leave(code: int) -> None:
    """Exit at once: worker threads (uploads, previews) must not hold up a host that has closed our input."""
    sys.stderr.flush()
    os._exit(code)


def _as_text(source: io.RawIOBase) -> anyio.AsyncFile[str]:
    if sys.platform == "win32":
        from mcp.os.win32.utilities import rebind_std_handle_to_fd

        rebind_std_handle_to_fd(0)
    return anyio.wrap_file(io.TextIOWrapper(io.BufferedReader(source), encoding="utf-8", errors="replace"))


class _Source(Protocol):
    async def receive(self) -> SessionMessage | Exception: ...
    async def aclose(self) -> None: ...


class _Sink(Protocol):
    async def send(self, item: SessionMessage, /) -> None: ...


class _ClosableSink(_Sink, Protocol):
    async def aclose(self) -> None: ...


@dataclass
class Unsaid:
    """A write stream that leaves out what the front has said already, to the SDK like any other.

    Attributes:
        mark: The id of the request that was told again; its answer comes once.
        streams: Ids of subscriptions that were told again; the acknowledgement of each comes once.
    """

    sink: _ClosableSink
    mark: str
    streams: list[Any]

    async def send(self, item: SessionMessage, /) -> None:
        message = item.message
        if isinstance(message, JSONRPCResponse | JSONRPCError) and message.id == self.mark:
            if isinstance(message, JSONRPCError):
                log.warning("the handshake that the front has answered is refused (%s)", message.error.code)
            return
        if self.streams and isinstance(message, JSONRPCNotification) and message.method == _ACKNOWLEDGED:
            stream = ((message.params or {}).get("_meta") or {}).get(SUBSCRIPTION_ID_META_KEY)
            if stream in self.streams:
                self.streams.remove(stream)
                return
        await self.sink.send(item)

    async def aclose(self) -> None:
        await self.sink.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *details: object) -> None:
        await self.aclose()


@dataclass(frozen=True)
class ReadableInput:
    """What a transport reads, without what nobody can read; to the SDK it is a read stream.

    The SDK passes over unreadable lines in silence, and the client waits for ever. A line with half a character in it
    is mended: JavaScript writes one (`\\ud83d`) where a text was cut in the middle of an emoji. Every other line that
    asks for something is answered with the error that JSON-RPC has for it.

    Attributes:
        source: The transport's read stream; it yields an exception for a line that is no message.
        sink: The transport's write stream.
    """

    source: _Source
    sink: _Sink

    @property
    def last_context(self) -> Context | None:
        """The sender's context of the latest message, for the SDK."""
        context: Context | None = getattr(self.source, "last_context", None)
        return context

    async def receive(self) -> SessionMessage | Exception:
        while True:
            item = await self.source.receive()
            if not isinstance(item, ValidationError):
                return item
            answer = mended(item)
            if isinstance(answer, SessionMessage):
                return answer
            if answer is not None:
                log.warning("a line of the client is no message (%s)", answer.error.code)
                await self.sink.send(SessionMessage(answer))

    async def aclose(self) -> None:
        await self.source.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *details: object) -> None:
        await self.aclose()


def mended(error: ValidationError) -> SessionMessage | JSONRPCError | None:
    """The message that a line was meant to be, else the answer to it; `None` when it asks for nothing."""
    details = error.errors(include_url=False, include_context=False)
    if details[0]["type"] != "json_invalid":
        inputs = (detail["input"] for detail in details)
        whole = next((value for value in inputs if isinstance(value, dict) and "jsonrpc" in value), {})
        return _refusal(INVALID_REQUEST, NO_MESSAGE, whole)
    line = str(details[0]["input"])
    if not line.strip():
        return None
    try:
        value = json.loads(line)
        text = without_half_characters(json.dumps(value, ensure_ascii=False))
        return SessionMessage(jsonrpc_message_adapter.validate_json(text, by_name=False))
    except ValidationError:
        return _refusal(INVALID_REQUEST, NO_MESSAGE, value)
    except (ValueError, RecursionError):
        return _refusal(PARSE_ERROR, NOT_JSON, {"method": ""})


def _refusal(code: int, message: str, value: Any) -> JSONRPCError | None:
    if isinstance(value, dict) and "method" not in value and ("result" in value or "error" in value):
        return None  # a broken answer; nobody waits for ours
    given = value.get("id") if isinstance(value, dict) else None
    known = given if isinstance(given, str | int) and not isinstance(given, bool) else None
    return JSONRPCError(jsonrpc="2.0", id=known, error=ErrorData(code=code, message=message))
