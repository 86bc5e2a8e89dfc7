"""A line that nobody can read is mended or answered, never passed over while somebody waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCError, JSONRPCRequest, jsonrpc_message_adapter
from pydantic import ValidationError

from kubeez_mcp_local.mcp_server.stdio import ReadableInput, mended

if TYPE_CHECKING:
    from collections.abc import Iterator

CALL = '{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x","arguments":{"a":"%s"}}}'


def failed(line: str) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        jsonrpc_message_adapter.validate_json(line, by_name=False)
    return caught.value


@pytest.mark.parametrize(
    ("broken", "read"), [("cut \\ud83d", "cut �"), ("\\udc00 first", "� first"), ("\\ud83d\\ude00 \\ud83d é", "😀 � é")]
)
def test_half_a_character_is_mended_and_whole_ones_stay(broken: str, read: str) -> None:
    message = mended(failed(CALL % broken))
    assert isinstance(message, SessionMessage)
    assert isinstance(message.message, JSONRPCRequest)
    assert message.message.id == 7
    assert (message.message.params or {})["arguments"] == {"a": read}


@pytest.mark.parametrize(
    ("line", "code", "request_id"),
    [
        ("{", -32700, None),
        ("hello", -32700, None),
        ("[" * 100_000, -32700, None),
        ("[]", -32600, None),
        ("5", -32600, None),
        ('{"jsonrpc":"2.0","id":3}', -32600, 3),
        ('{"jsonrpc":"1.0","id":"a","method":"ping"}', -32600, "a"),
        ('{"jsonrpc":"2.0","id":4,"method":"ping","params":[1]}', -32600, 4),
        ('{"jsonrpc":"2.0","id":4,"method":"ping","params":"\\ud800"}', -32600, 4),
        ('{"id":{"a":1},"method":5}', -32600, None),
    ],
)
def test_what_is_no_message_is_answered(line: str, code: int, request_id: Any) -> None:
    answer = mended(failed(line))
    assert isinstance(answer, JSONRPCError)
    assert (answer.error.code, answer.id) == (code, request_id)


@pytest.mark.parametrize(
    "line", ["", "  ", '{"jsonrpc":"2.0","id":3,"result":5}', '{"jsonrpc":"2.0","error":{"code":"x"}}']
)
def test_what_asks_for_nothing_is_not_answered(line: str) -> None:
    assert mended(failed(line)) is None


@pytest.mark.anyio
async def test_the_stream_goes_on_behind_a_broken_line() -> None:
    good = SessionMessage(jsonrpc_message_adapter.validate_json('{"jsonrpc":"2.0","id":1,"method":"ping"}'))
    items: Iterator[SessionMessage | Exception] = iter([failed("{"), failed(CALL % "\\ud83d"), failed(""), good])
    sent: list[SessionMessage] = []

    class Source:
        closed = False

        async def receive(self) -> SessionMessage | Exception:
            for item in items:
                return item
            raise anyio.EndOfStream

        async def aclose(self) -> None:
            self.closed = True

    class Sink:
        async def send(self, item: SessionMessage, /) -> None:
            sent.append(item)

    source = Source()
    async with ReadableInput(source, Sink()) as stream:
        read = [item async for item in stream]
    assert [item.message.id for item in read if isinstance(item, SessionMessage)] == [7, 1]  # type: ignore[union-attr]
    assert len(read) == 2
    assert [item.message.id for item in sent] == [None]  # type: ignore[union-attr]
    assert source.closed
