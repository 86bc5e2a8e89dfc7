"""Lines of a client that the SDK cannot read. It passes over them in silence, and the client waits for ever.

A line with half a character in it is mended: JavaScript writes one (`\\ud83d`) where a text was cut in the middle of
an emoji. Every other line that asks for something is answered with the error that JSON-RPC has for it.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Protocol, Self

import anyio
from mcp.shared.message import SessionMessage
from mcp.types import INVALID_REQUEST, PARSE_ERROR, ErrorData, JSONRPCError, jsonrpc_message_adapter
from pydantic import ValidationError

from kubeez_mcp_local.text import without_half_characters

if TYPE_CHECKING:
    from contextvars import Context
    from types import TracebackType

log = logging.getLogger(__name__)


class _Source(Protocol):
    async def receive(self) -> SessionMessage | Exception: ...
    async def aclose(self) -> None: ...


class _Sink(Protocol):
    async def send(self, item: SessionMessage, /) -> None: ...


class ReadableInput:
    """What a transport reads, without what nobody can read; to the SDK it is a read stream.

    Args:
        source: The transport's read stream; it yields an exception for a line that is no message.
        sink: The transport's write stream.
    """

    def __init__(self, source: _Source, sink: _Sink) -> None:
        self._source = source
        self._sink = sink

    @property
    def last_context(self) -> Context | None:
        """The sender's context of the latest message, for the SDK."""
        context: Context | None = getattr(self._source, "last_context", None)
        return context

    async def receive(self) -> SessionMessage | Exception:
        while True:
            item = await self._source.receive()
            if not isinstance(item, ValidationError):
                return item
            answer = mended(item)
            if isinstance(answer, SessionMessage):
                return answer
            if answer is not None:
                log.warning("a line of the client is no message (%s)", answer.error.code)
                await self._sink.send(SessionMessage(answer))

    async def aclose(self) -> None:
        await self._source.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def mended(error: ValidationError) -> SessionMessage | JSONRPCError | None:
    """The message that a line was meant to be, else the answer to it; `None` when it asks for nothing."""
    details = error.errors(include_url=False, include_context=False)
    if details[0]["type"] != "json_invalid":
        inputs = (detail["input"] for detail in details)
        whole = next((value for value in inputs if isinstance(value, dict) and "jsonrpc" in value), {})
        return _refusal(INVALID_REQUEST, "not a JSON-RPC message", whole)
    line = str(details[0]["input"])
    if not line.strip():
        return None
    try:
        value = json.loads(line)
        text = without_half_characters(json.dumps(value, ensure_ascii=False))
        return SessionMessage(jsonrpc_message_adapter.validate_json(text, by_name=False))
    except ValidationError:
        return _refusal(INVALID_REQUEST, "not a JSON-RPC message", value)
    except (ValueError, RecursionError):
        return _refusal(PARSE_ERROR, "not JSON", {"method": ""})


def _refusal(code: int, reason: str, value: Any) -> JSONRPCError | None:
    if isinstance(value, dict) and "method" not in value and ("result" in value or "error" in value):
        return None  # a broken answer; nobody waits for ours
    given = value.get("id") if isinstance(value, dict) else None
    known = given if isinstance(given, str | int) and not isinstance(given, bool) else None
    message = f"This line is {reason}. Each message is one line of JSON-RPC 2.0."
    return JSONRPCError(jsonrpc="2.0", id=known, error=ErrorData(code=code, message=message))
