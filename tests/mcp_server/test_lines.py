"""A line is carried out, mended, or refused by the member that is at fault; never passed over while somebody waits."""

from __future__ import annotations

import io
import json
import os
from typing import Any

import anyio
import pytest
from mcp.shared.message import SessionMessage
from mcp.types import ErrorData, JSONRPCError, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from kubeez_mcp_local.mcp_server.lines import DEEPEST, Answers, ClientLines
from kubeez_mcp_local.messages import HANDSHAKES, MODERN
from tests.mcp_server.talking import batch, enveloped, hello, line

pytestmark = pytest.mark.anyio
CALL = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x","arguments":{"a":"%s"}}}\n'
OLD = HANDSHAKES[:3]
NEW = (HANDSHAKES[3], MODERN)


def opening(revision: str) -> bytes:
    return line("server/discover", enveloped(), "init") if revision == MODERN else hello(revision, request_id="init")


class Talk:
    """Lines read as the client wrote them; `passed` are those that the SDK gets, `said` is what is written."""

    def __init__(self, data: bytes, revision: str = HANDSHAKES[-1]) -> None:
        self.said: list[Any] = []
        self.passed: list[SessionMessage] = []
        begin = opening(revision) if revision else b""
        self.answers = Answers(self)
        text = io.TextIOWrapper(io.BytesIO(begin + data), encoding="utf-8", errors="replace")
        self.lines = ClientLines(text, self.answers)

    async def send(self, item: SessionMessage, /) -> None:
        self.said.append(json.loads(item.message.model_dump_json(by_alias=True, exclude_unset=True)))

    async def aclose(self) -> None:
        pass

    async def read(self) -> list[Any]:
        """The messages that are passed on."""
        self.passed = [item async for item in self.lines]
        return [item.message for item in self.passed if getattr(item.message, "id", None) != "init"]


async def refused(data: bytes, revision: str = HANDSHAKES[-1]) -> dict[str, Any]:
    """The one answer to a line that is not passed on."""
    talk = Talk(data, revision)
    assert await talk.read() == []
    [answer] = talk.said
    assert answer.keys() <= {"jsonrpc", "id", "error"}
    found: dict[str, Any] = answer
    return found


@pytest.mark.parametrize(
    ("broken", "read"),
    [
        (rb"cut \ud83d", "cut \ufffd"),
        (rb"\uDC00 first", "\ufffd first"),
        (rb"\ud83d\ude00 \ud83d \u00e9", "😀 \ufffd é"),
    ],
)
async def test_half_a_character_is_mended_and_whole_ones_stay(broken: bytes, read: str) -> None:
    [message] = await Talk(CALL % broken).read()
    assert isinstance(message, JSONRPCRequest)
    assert (message.params or {})["arguments"] == {"a": read}


ODD: dict[str, tuple[int, str | None, str]] = {
    "{": (-32700, None, "is not JSON"),
    "[" * 100_000: (-32600, None, "nested deeper than"),
    "5": (-32600, None, "not an object"),
    '{"jsonrpc":"2.0","id":3}': (-32600, "3", "no method"),
    '{"jsonrpc":"1.0","id":"a","method":"ping"}': (-32600, '"a"', "jsonrpc is not 2.0"),
    '{"id":4,"method":"ping"}': (-32600, "4", "jsonrpc is not 2.0"),
    '{"jsonrpc":"2.0","id":4,"method":"ping","params":[1]}': (-32600, "4", "params are not an object"),
    '{"jsonrpc":"2.0","id":4,"method":"ping","params":"\\ud800"}': (-32600, "4", "params are not an object"),
    '{"jsonrpc":"2.0","id":4,"method":["ping"]}': (-32600, "4", "method is not a text"),
    '{"jsonrpc":"2.0","id":4,"method":"ping","params":{"a":%s}}' % ("[" * DEEPEST + "]" * DEEPEST): (
        *(-32600, "4", "nested deeper than"),
    ),
    '{"jsonrpc":"2.0","id":1.5,"method":"ping"}': (-32600, None, "its id is"),
    '{"jsonrpc":"2.0","id":1.0,"method":"ping"}': (-32600, None, "its id is"),
    '{"jsonrpc":"2.0","id":null,"method":"ping"}': (-32600, None, "its id is"),
    '{"jsonrpc":"2.0","id":true,"method":"ping"}': (-32600, None, "its id is"),
    '{"jsonrpc":"2.0","id":["\\u00e9"],"method":"ping"}': (-32600, None, "its id is"),
}


@pytest.mark.parametrize("revision", ["", *NEW])
@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
async def test_what_is_no_message_is_refused_by_name_and_an_odd_id_is_left_out(odd: str, revision: str) -> None:
    code, request_id, words = ODD[odd]
    answer = await refused(odd.encode() + b"\n", revision)
    assert answer["error"]["code"] == code
    assert words in answer["error"]["message"]
    assert json.dumps(answer.get("id", ...), default=lambda _: None) == (request_id or "null")
    assert ("id" in answer) == (request_id is not None)


@pytest.mark.parametrize("revision", OLD)
async def test_where_an_error_needs_an_id_an_odd_one_is_given_as_its_json_and_none_means_silence(revision: str) -> None:
    for odd, given in (("1.5", "1.5"), ("null", "null"), ('["é"]', '["\\u00e9"]'), ("true", "true")):
        answer = await refused(b'{"jsonrpc":"2.0","id":%s,"method":"ping"}\n' % odd.encode(), revision)
        assert (answer["id"], answer["error"]["code"]) == (given, -32600)
    silent = Talk(b"{\n5\n[]\n", revision)
    assert await silent.read() == []
    assert silent.said == []


@pytest.mark.parametrize(
    "text",
    ["", "  ", '{"jsonrpc":"2.0","id":null,"result":5}', '{"jsonrpc":"2.0","error":{"code":"x"}}', '{"result":{}}'],
)
async def test_what_asks_for_nothing_is_not_answered(text: str) -> None:
    talk = Talk(text.encode() + b"\n")
    assert (await talk.read(), talk.said) == ([], [])


@pytest.mark.parametrize(
    "text",
    [
        '{"jsonrpc":"2.0","id":3,"result":5}',
        '{"jsonrpc":"2.0","id":3,"error":{"code":"x"}}',
        '{"jsonrpc":"2.0","id":3,"error":null}',
        '{"id":3,"result":{}}',
        '{"jsonrpc":"2.0","id":3,"result":{"a":%s}}' % ("[" * DEEPEST + "]" * DEEPEST),
        '{"jsonrpc":"2.0","id":3,"result":{},"error":{"code":1,"message":"no"}}',
    ],
)
async def test_a_broken_answer_is_an_error_so_that_nobody_waits_for_it(text: str) -> None:
    talk = Talk(text.encode() + b"\n")
    [answer] = await talk.read()
    assert isinstance(answer, JSONRPCError)
    assert (answer.id, talk.said) == (3, [])


async def test_an_answer_whose_error_is_null_is_one() -> None:
    [answer] = await Talk(b'{"jsonrpc":"2.0","id":3,"result":{"a":1},"error":null}\n').read()
    assert isinstance(answer, JSONRPCResponse)


async def test_a_mark_of_byte_order_before_the_first_line_is_passed_over() -> None:
    talk = Talk(b"\xef\xbb\xbf" + hello("2025-06-18") + b"\xef\xbb\xbf" + line("ping", request_id=1), "")
    assert [message.method for message in await talk.read()] == ["initialize"]
    assert talk.said == []
    assert talk.lines.revision == "2025-06-18"


async def test_messages_of_each_kind_are_passed_on_as_they_are() -> None:
    result, error = (
        b'{"jsonrpc":"2.0","id":1,"result":{}}\n',
        b'{"jsonrpc":"2.0","id":2,"error":{"code":1,"message":""}}\n',
    )
    talk = Talk(
        line("ping", request_id="a") + line("notifications/initialized") + result + error + b'{"id":9,"method":1}'
    )
    kinds = [JSONRPCRequest, JSONRPCNotification, JSONRPCResponse, JSONRPCError]
    assert list(map(type, await talk.read())) == kinds
    assert [each["id"] for each in talk.said] == [9], "the last line needs no end"


# Parameters


AT_FAULT: dict[str, tuple[str, dict[str, Any] | None, str]] = {
    "token": (
        "tools/list",
        {"_meta": {"progressToken": None}},
        "params._meta.progressToken must be a text or a whole number",
    ),
    "fraction": (
        "tools/call",
        {"name": "x", "_meta": {"progressToken": 1.5}},
        "progressToken must be a text or a whole",
    ),
    "JSON": ("tools/call", {"name": "x", "arguments": "{}"}, "params.arguments must be an object, not a text."),
    "list": ("tools/call", {"name": "x", "arguments": []}, "params.arguments must be an object, not a list."),
    "nameless": ("tools/call", {"arguments": {}}, "params.name is missing."),
    "address": ("resources/read", {"uri": 5}, "params.uri must be a text, not a number."),
    "cursor": ("tools/list", {"cursor": 5}, "params.cursor must be a text, not a number."),
    "quote": (
        "prompts/get",
        {"name": "x", "arguments": {'a"\\': 5}},
        'params.arguments.a"\\ must be a text, not a number.',
    ),
    "reference": ("completion/complete", {"argument": {"name": "a", "value": "b"}}, "params.ref is missing."),
}


@pytest.mark.parametrize("revision", [*HANDSHAKES, MODERN])
@pytest.mark.parametrize("fault", AT_FAULT)
async def test_parameters_that_do_not_fit_are_refused_by_name(fault: str, revision: str) -> None:
    method, params, words = AT_FAULT[fault]
    given = dict(params or {})
    if revision == MODERN:
        given["_meta"] = {**enveloped()["_meta"], **given.get("_meta", {})}
    answer = await refused(line(method, given, 1), revision)
    assert (answer["id"], answer["error"]["code"]) == (1, -32602)
    assert words in answer["error"]["message"]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        (None, "params is missing"),
        ({"protocolVersion": "2025-06-18", "capabilities": {}}, "params.clientInfo is missing."),
        (
            {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "kubeez"}},
            "params.clientInfo.version is missing.",
        ),
        (
            {"protocolVersion": 2, "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}},
            "params.protocolVersion must be a text, not a number.",
        ),
    ],
)
async def test_a_handshake_that_does_not_fit_is_refused_and_may_be_tried_again(params: Any, words: str) -> None:
    talk = Talk(
        line("initialize", params, 1) + line("tools/list", request_id=2) + hello("2025-03-26", request_id=3), ""
    )
    [message] = await talk.read()
    assert message.id == 3
    early, first = talk.said[1]["error"], talk.said[0]["error"]
    assert words in first["message"]
    assert (first["code"], early["code"]) == (-32602, -32602)
    assert "tools/list came before initialize" in early["message"]
    assert "params.protocolVersion" in early["message"]
    assert talk.lines.revision == "2025-03-26"


async def test_an_envelope_that_does_not_fit_is_refused_by_name() -> None:
    whole = enveloped()["_meta"]
    for name in ("clientCapabilities", "clientInfo"):
        key = f"io.modelcontextprotocol/{name}"
        answer = await refused(line("tools/list", {"_meta": {**whole, key: 5}}, 1), MODERN)
        assert f"params._meta.{key} must be an object, not a number." == answer["error"]["message"]
    answer = await refused(line("server/discover", request_id=1), "")
    assert "io.modelcontextprotocol/protocolVersion" in answer["error"]["message"]


async def test_what_the_schema_does_not_know_is_left_to_the_server() -> None:
    odd = [line("no/such/method", {"a": 1}, 1), line("tools/list", {"_meta": {}, "unheard": [1]}, 2)]
    assert len(await Talk(b"".join(odd)).read()) == 2
    other_version = {**enveloped()["_meta"], "io.modelcontextprotocol/protocolVersion": "2031-01-01"}
    for text in (
        line("tools/list", request_id=1),
        line("tools/list", {"_meta": other_version}, 1),
        hello("2025-06-18"),
    ):
        assert len(await Talk(text, MODERN).read()) == 1
    assert len(await Talk(line("tools/list", enveloped(), 1), "2025-06-18").read()) == 1


# Batches


async def test_a_batch_is_split_and_answered_in_one_array_when_the_last_answer_is_there() -> None:
    odd = b'{"jsonrpc":"2.0","id":null,"method":"ping"}'
    text = batch(
        line("ping", request_id=1), line("notifications/initialized"), odd, line("tools/list", request_id="b"), b"5"
    )
    talk = Talk(text, "2025-03-26")
    assert [message.method for message in await talk.read()] == ["ping", "notifications/initialized", "tools/list"]
    await talk.answers.send(_answered("b"))
    await talk.answers.send(_answered("elsewhere"))
    assert [each["id"] for each in talk.said] == ["elsewhere"]
    await talk.answers.send(_answered(1))
    assert [one["id"] for one in talk.said[1]] == ["null", "b", 1]
    await talk.answers.send(_answered(1))
    assert talk.said[2]["id"] == 1, "the batch is done with"


async def test_a_cancelled_request_of_a_batch_is_not_waited_for() -> None:
    talk = Talk(
        batch(line("ping", request_id=1), line("ping", request_id=2)) + batch(line("ping", request_id=3)), "2025-03-26"
    )
    await talk.read()
    hooks = [item.metadata.on_request_unanswered for item in talk.passed[1:]]  # type: ignore[union-attr]
    assert all(hooks)
    await hooks[0]()  # type: ignore[misc]
    assert talk.said == []
    await talk.answers.send(_answered(2))
    await hooks[2]()  # type: ignore[misc]
    assert [[one["id"] for one in each] for each in talk.said] == [[2]]


async def test_a_batch_in_which_nobody_asks_is_not_answered_and_an_empty_one_or_a_handshake_is_none() -> None:
    quiet = Talk(
        batch(line("notifications/initialized"), b'{"jsonrpc":"2.0","id":3,"result":{}}') + b"[]\n", "2025-03-26"
    )
    assert len(await quiet.read()) == 2
    assert quiet.said == []
    again = Talk(batch(hello("2025-03-26", request_id=5), line("ping", request_id=6)), "2025-03-26")
    assert [message.id for message in await again.read()] == [6]
    await again.answers.send(_answered(6))
    [[refusal, answer]] = again.said
    assert "may not be part of a batch" in refusal["error"]["message"]
    assert answer == {"jsonrpc": "2.0", "id": 6, "result": {}}


@pytest.mark.parametrize("revision", ["", *(each for each in (*HANDSHAKES, MODERN) if each != "2025-03-26")])
async def test_other_revisions_have_no_batches_and_each_request_hears_of_it(revision: str) -> None:
    text = batch(line("ping", request_id=1), line("notifications/initialized"), line("tools/call", {"name": "x"}, "b"))
    talk = Talk(text, revision)
    assert await talk.read() == []
    assert [(each["id"], each["error"]["code"]) for each in talk.said] == [(1, -32600), ("b", -32600)]
    assert "2025-03-26" in talk.said[0]["error"]["message"]


def _answered(request_id: int | str) -> SessionMessage:
    return SessionMessage(JSONRPCResponse(jsonrpc="2.0", id=request_id, result={}))


# What the front has said


async def test_what_the_front_has_said_is_not_said_again() -> None:
    talk = Talk(b"")
    answers = Answers(talk, "mark", ["5"])
    meta = {"_meta": {"io.modelcontextprotocol/subscriptionId": "5"}}
    acknowledged = JSONRPCNotification(jsonrpc="2.0", method="notifications/subscriptions/acknowledged", params=meta)
    for _ in range(2):
        await answers.send(SessionMessage(acknowledged))
    await answers.send(_answered("mark"))
    await answers.send(SessionMessage(JSONRPCError(jsonrpc="2.0", id="mark", error=ErrorData(code=1, message=""))))
    await talk.answers.send(_answered(""))
    assert [each.get("method", each.get("id")) for each in talk.said] == [acknowledged.method, ""]


async def test_a_terminal_ends_once() -> None:
    talk = Talk(b"")
    read = io.StringIO(line("notifications/initialized").decode()).readline
    answers = iter([read(), "", line("ping", request_id=1).decode()])
    talk.lines.source = type("Terminal", (io.StringIO,), {"readline": lambda _: next(answers)})()
    assert len(await talk.read()) == 1
    assert await talk.read() == []


async def test_who_leaves_does_not_wait_for_the_next_line() -> None:
    ends, wire = os.pipe()
    lines = ClientLines(io.TextIOWrapper(io.FileIO(ends)), Answers(Talk(b"")))
    with anyio.move_on_after(0.05) as scope:
        await lines.receive()
    assert scope.cancelled_caught
    os.close(wire)
