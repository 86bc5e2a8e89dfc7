"""A paid call of a hosted tool is sent once, whatever happens, and its error says only what is proven."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from kubeez_mcp_local.hosted.client import HostedClient
from kubeez_mcp_local.operations import captions
from kubeez_mcp_local.rest.client import Patience
from kubeez_mcp_local.rest.errors import (
    AmbiguousError,
    InsufficientCreditsError,
    MissingScopeError,
    RateLimitedError,
    RefusedError,
    UnauthorizedError,
    UnavailableError,
    UnexpectedAnswerError,
    UnreachableError,
)
from kubeez_mcp_local.rest.routes import Request
from tests.hosted_server import LEGACY, MODERN, HostedServer, Tokens, error, send, send_events, tool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pydantic import SecretStr

    from tests.hosted_server import Fault

pytestmark = pytest.mark.anyio
NAME = "generate_captions"
PAID = Request(replace(captions.ROUTE, path=NAME), {"media_url": "https://media.kubeez.com/a.mp4"})


@pytest.fixture(params=[MODERN, LEGACY])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[HostedServer]:
    async with HostedServer(era=request.param) as server:
        server.answers = {NAME: {"generation_id": "g-1"}, "get_balance": {"credits": 1}}
        yield server


@pytest.fixture
async def client(server: HostedServer) -> AsyncIterator[HostedClient]:
    # A client that would gladly repeat: five attempts, no waiting.
    async with HostedClient(server.url, Tokens(), patience=Patience(5), paid_answer_s=0.5) as client:
        yield client


async def cut(_: HostedServer, __: Any, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def cut_within_the_answer(_: HostedServer, __: Any, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{")


async def end_of_events(_: HostedServer, __: Any, writer: asyncio.StreamWriter) -> None:
    send_events(writer)


async def end_of_events_that_can_be_resumed(_: HostedServer, __: Any, writer: asyncio.StreamWriter) -> None:
    send_events(writer)
    writer.write(b"id: 7\nretry: 1\ndata: \n\n")


async def silence(_: HostedServer, __: Any, ___: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3)


async def a_page(_: HostedServer, __: Any, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>")


async def a_question(_: HostedServer, message: Any, writer: asyncio.StreamWriter) -> None:
    form = {"message": "Sure?", "requestedSchema": {"type": "object", "properties": {}}}
    asked = {"sure": {"method": "elicitation/create", "params": form}}
    result = {"resultType": "input_required", "inputRequests": asked, "requestState": "x"}
    send(writer, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result})


def status(code: int, payload: Any = None, header: str = "") -> Fault:
    async def fault(_: HostedServer, __: Any, writer: asyncio.StreamWriter) -> None:
        send(writer, code, payload or {}, header)

    return fault


def protocol_error(code: int, http: int = 200) -> Fault:
    async def fault(_: HostedServer, message: Any, writer: asyncio.StreamWriter) -> None:
        send(writer, http, {"jsonrpc": "2.0", "id": message["id"], "error": {"code": code, "message": "no"}})

    return fault


AMBIGUOUS: dict[str, Fault] = {
    "cut before any answer": cut,
    "cut within the answer": cut_within_the_answer,
    "events that end": end_of_events,
    "events that end and cannot be resumed": end_of_events_that_can_be_resumed,
    "no answer in time": silence,
    "a page": a_page,
    "a question": a_question,
    "not the protocol": status(200, {"generation_id": "g-1"}),
    "another request's answer": status(200, {"jsonrpc": "2.0", "id": 999, "result": {}}),
    "202": status(202),
    "303": status(303, header="Location: /mcp"),
    "408": status(408),
    "500": status(500, {"detail": "oh"}),
    "502": status(502),
    "internal error": protocol_error(-32603),
    "internal error as HTTP 500": protocol_error(-32603, 500),
    "an error of its own": protocol_error(-32000),
}


@pytest.mark.parametrize("fault", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
async def test_what_broke_after_it_left_leaves_the_fate_open_and_is_sent_once(
    client: HostedClient, server: HostedServer, fault: Fault
) -> None:
    server.faults = {NAME: [fault]}
    with pytest.raises(AmbiguousError):
        await client.start(PAID)
    assert server.posts == [NAME]
    assert (await client.balance()).credits == 1  # and the client goes on


REFUSED: dict[str, tuple[Fault, type[Exception]]] = {
    "bad parameters": (protocol_error(-32602), RefusedError),
    "bad parameters as HTTP 400": (protocol_error(-32602, 400), RefusedError),
    "no such method": (protocol_error(-32601), RefusedError),
    "headers do not match": (protocol_error(-32020, 400), RefusedError),
    "307": (status(307, header="Location: /mcp"), UnexpectedAnswerError),
    "402": (status(402, {"detail": "3 left"}), InsufficientCreditsError),
    "403": (status(403, {}, 'WWW-Authenticate: Bearer scope="generate:media"'), MissingScopeError),
    "422": (status(422, {"detail": "media_url"}), RefusedError),
    "429": (status(429, {}, "Retry-After: 7"), RateLimitedError),
}


@pytest.mark.parametrize(("fault", "kind"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_was_turned_away_is_said_so_and_not_repeated_either(
    client: HostedClient, server: HostedServer, fault: Fault, kind: type[Exception]
) -> None:
    server.faults = {NAME: [fault]}
    with pytest.raises(kind) as caught:
        await client.start(PAID)
    assert type(caught.value) is kind
    assert server.posts == [NAME]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error("", {"error": "insufficient_credits", "message": "3 left"}), InsufficientCreditsError),
        (error("Error executing tool generate_captions: insufficient_credits"), InsufficientCreditsError),
        (error("Rate limit exceeded: 30 per minute"), RateLimitedError),
        (error("", {"error": "insufficient_scope"}), MissingScopeError),
        (error("", {"code": "content_policy", "message": "not that"}), RefusedError),
        (error("2 validation errors for generate_captionsArguments\nmedia_url"), RefusedError),
        (error("Input validation error: 'media_url' is a required property"), RefusedError),
        (error("Unknown tool: generate_captions"), RefusedError),
        (error("1 validation error for call[generate_captions]"), RefusedError),
        (error("MCP error -32602: Input validation error: Invalid arguments"), RefusedError),
        ({"error": "invalid_model", "message": "none"}, RefusedError),
        # Of these nobody knows what had been done before they were said.
        (error("401 Unauthorized"), AmbiguousError),
        (error("Voice not found"), AmbiguousError),
        (error("must be shorter"), AmbiguousError),
        (error("Something went wrong"), AmbiguousError),
        (error("", {"error": "upstream_failed", "status_code": 502}), AmbiguousError),
        (error("", {"error": "rate_limited", "job_id": "j", "generation_ids": []}), RateLimitedError),
        ({"status": "pending"}, AmbiguousError),
        ({"content": [{"type": "text", "text": "Started!"}]}, AmbiguousError),
    ],
)
async def test_only_a_refusal_that_is_named_is_one(answer: Any, kind: type[Exception]) -> None:
    async with HostedServer(answers={NAME: answer}) as server, HostedClient(server.url, Tokens()) as client:
        with pytest.raises(kind) as caught:
            await client.start(PAID)
        assert type(caught.value) is kind
        assert server.posts == [NAME]


async def test_an_answer_with_an_id_is_kept_though_it_is_an_error_or_not_as_the_tool_describes(
    client: HostedClient, server: HostedServer
) -> None:
    server.tools = [tool(NAME, "media_url") | {"outputSchema": {"type": "object", "required": ["no_such_field"]}}]
    assert (await client.start(PAID)).generation_ids == ["g-1"]
    server.answers[NAME] = error("one of two failed", {"generation_ids": ["g-2"], "error": "rate_limited"})
    assert (await client.start(PAID)).generation_ids == ["g-2"]


async def test_a_stream_that_can_be_resumed_brings_the_answer_without_a_second_call(server: HostedServer) -> None:
    sent: list[Any] = []

    async def fault(_: HostedServer, message: Any, writer: asyncio.StreamWriter) -> None:
        sent.append(message)
        await end_of_events_that_can_be_resumed(server, message, writer)

    def resumed(head: str, writer: asyncio.StreamWriter) -> bool:
        if "last-event-id: 7" in head.lower() and sent:
            result = {"content": [], "structuredContent": {"generation_id": "g-9"}, "resultType": "complete"}
            send_events(writer, {"jsonrpc": "2.0", "id": sent[0]["id"], "result": result})
            return True
        return False

    server.faults, server.on_get = {NAME: [fault]}, resumed
    async with HostedClient(server.url, Tokens()) as client:
        assert (await client.start(PAID)).generation_ids == ["g-9"]
    assert server.posts == [NAME]


async def test_after_a_401_to_the_call_itself_it_goes_out_once_more_with_another_token(server: HostedServer) -> None:
    server.faults = {NAME: [status(401, {"error": "invalid_token"})]}
    tokens = Tokens(["kbz_pat_first", "kbz_pat_second"])
    async with HostedClient(server.url, tokens) as client:
        assert (await client.start(PAID)).generation_ids == ["g-1"]
    assert server.posts == [NAME, NAME]
    assert "kbz_pat_second" in [head for head in server.heads if head.startswith("POST")][-1]


@pytest.mark.parametrize("texts", [["one"], ["one", "two"], ["one", "two", "three"]])
async def test_a_token_that_stays_refused_is_an_error_and_nothing_was_taken(
    server: HostedServer, texts: list[str]
) -> None:
    server.faults = {NAME: [status(401) for _ in range(5)]}
    async with HostedClient(server.url, Tokens(list(texts))) as client:
        with pytest.raises(UnauthorizedError, match="login --hosted"):
            await client.start(PAID)
    assert len(server.posts) == min(len(texts), 2)


class NoRefresh(Tokens):
    async def refused(self, token: SecretStr) -> SecretStr:
        raise UnavailableError("The sign-in server does not answer.", retry_safe=True)


async def test_a_token_that_cannot_be_refreshed_leaves_no_doubt(server: HostedServer) -> None:
    server.faults = {NAME: [status(401)]}
    async with HostedClient(server.url, NoRefresh()) as client:
        with pytest.raises(UnreachableError, match="Nothing was sent"):
            await client.start(PAID)
    assert server.posts == [NAME]


async def test_a_call_after_a_second_cut_is_not_taken_for_unsent(server: HostedServer) -> None:
    """401 proves that the first was not taken; nothing proves it of the second."""
    server.faults = {NAME: [status(401), cut]}
    async with HostedClient(server.url, Tokens(["one", "two"])) as client:
        with pytest.raises(AmbiguousError):
            await client.start(PAID)
    assert server.posts == [NAME, NAME]


async def test_where_no_connection_is_made_nothing_was_sent(unused_port_url: str) -> None:
    async with HostedClient(unused_port_url, Tokens()) as client:
        with pytest.raises(UnreachableError):
            await client.start(PAID)


async def test_a_server_that_went_away_since_its_list_was_read_got_nothing(
    client: HostedClient, server: HostedServer
) -> None:
    await client.balance()
    await server.__aexit__()
    with pytest.raises(UnreachableError, match="Nothing was sent"):
        await client.start(PAID)


async def test_after_a_restart_between_calls_nothing_is_sent_into_the_old_session(server: HostedServer) -> None:
    async with HostedClient(server.url, Tokens()) as client:
        await client.balance()
        server.session = "session-2"
        if server.era == LEGACY:
            with pytest.raises(RefusedError, match="forgotten this session") as caught:
                await client.start(PAID)
            assert caught.value.retry_safe
            assert server.posts == ["get_balance"]
        assert (await client.start(PAID)).generation_ids == ["g-1"]
        server.session = "session-3"
        assert (await client.balance()).credits == 1  # a free call needs no help
    assert server.posts.count(NAME) == 1


CHANGES: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "gone": list,
    "renamed": lambda: [tool("burn_captions", "media_url")],
    "requires more": lambda: [tool(NAME, "media_url consent")],
    "field renamed": lambda: [tool(NAME, "video")],
    "another type": lambda: [tool(NAME, "media_url", media_url={"type": "array", "items": {"type": "string"}})],
    "other values": lambda: [tool(NAME, "media_url", media_url={"enum": ["a", "b"]})],
}


@pytest.mark.parametrize("tools", CHANGES.values(), ids=CHANGES.keys())
async def test_a_tool_that_changed_since_the_request_was_prepared_gets_nothing(
    tools: Callable[[], list[dict[str, Any]]],
) -> None:
    now = 0.0
    async with HostedServer() as server, HostedClient(server.url, Tokens(), steady=lambda: now) as client:
        await client.tools()
        server.tools = tools()
        now += 31
        with pytest.raises(RefusedError) as caught:
            await client.start(PAID)
        assert (caught.value.code, caught.value.retry_safe) == ("schema_changed", True)
        assert server.posts == []


@pytest.mark.parametrize("code", [-32602, -32020])
async def test_after_a_refusal_the_list_is_read_anew_before_the_next_call(code: int) -> None:
    told = list[int]()
    async with (
        HostedServer(answers={NAME: {"generation_id": "g-1"}}) as server,
        HostedClient(server.url, Tokens(), on_tools_changed=lambda: told.append(server.listings)) as client,
    ):
        server.faults = {NAME: [protocol_error(code)]}
        with pytest.raises(RefusedError):
            await client.start(PAID)
        assert told == [1]
        await client.start(PAID)
        assert server.listings == 2


async def test_a_request_that_is_ready_too_late_does_not_leave(server: HostedServer) -> None:
    now = 0.0

    class Slow(Tokens):
        async def token(self) -> SecretStr:
            nonlocal now
            now += 6  # the second of them, for the call itself, is more than ten seconds after its beginning
            return await super().token()

    async with HostedClient(server.url, Slow(), steady=lambda: now) as client:
        await client.tools()
        with pytest.raises(UnreachableError, match="Nothing was sent"):
            await _after_seconds(client)
    assert server.posts == []


async def _after_seconds(client: HostedClient) -> None:
    client._listing = None  # so that it is read first
    await client.start(PAID)


async def test_one_call_that_breaks_takes_no_other_with_it(client: HostedClient, server: HostedServer) -> None:
    begun = asyncio.Event()

    async def late(_: HostedServer, message: Any, writer: asyncio.StreamWriter) -> None:
        begun.set()
        await broke.wait()
        result = {"content": [], "structuredContent": {"generation_id": "g-late"}, "resultType": "complete"}
        send(writer, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result})

    broke = asyncio.Event()
    server.faults = {NAME: [late, cut]}
    await client.balance()
    first = asyncio.create_task(client.start(PAID))
    await begun.wait()
    with pytest.raises(AmbiguousError):
        await client.start(PAID)
    broke.set()
    assert (await first).generation_ids == ["g-late"]


async def test_a_caller_who_leaves_leaves_the_connection_to_others(client: HostedClient, server: HostedServer) -> None:
    server.faults = {NAME: [silence]}
    await client.balance()
    with anyio.move_on_after(0.1) as scope:
        await client.start(PAID)
    assert scope.cancelled_caught
    assert (await client.start(PAID)).generation_ids == ["g-1"]
    assert server.posts.count(NAME) == 2


async def test_a_connection_that_ends_beneath_a_call_leaves_its_fate_open(
    client: HostedClient, server: HostedServer
) -> None:
    begun = asyncio.Event()

    async def never(_: HostedServer, __: Any, ___: asyncio.StreamWriter) -> None:
        begun.set()
        await asyncio.sleep(3)

    server.faults = {NAME: [never]}
    await client.balance()
    call = asyncio.create_task(client.start(PAID))
    await begun.wait()
    await client._session.aclose()
    with pytest.raises(AmbiguousError):
        await call
    assert (await client.start(PAID)).generation_ids == ["g-1"]
    assert server.posts.count(NAME) == 2


async def test_what_any_tool_answers_is_handed_on_and_sent_once(client: HostedClient, server: HostedServer) -> None:
    server.answers["burn_money"] = {"content": [{"type": "text", "text": "kbz_pat_first did it"}]}
    server.faults = {"burn_money": [cut]}
    with pytest.raises(AmbiguousError):
        await client.call_tool("burn_money", {})
    answer = await client.call_tool("burn_money", {})
    assert (answer.text, answer.error) == ("[token] did it", None)
    server.answers["burn_money"] = error("It said kbz_pat_first.")
    answer = await client.call_tool("burn_money", {})
    assert isinstance(answer.error, AmbiguousError)
    assert "kbz_pat" not in str(answer.error)
    assert server.posts.count("burn_money") == 3
