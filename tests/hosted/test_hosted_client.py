"""What the hosted server answers comes out as from the REST API, in both eras of the protocol."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.hosted.client import HostedClient
from kubeez_mcp_local.operations import captions
from kubeez_mcp_local.rest.errors import (
    InsufficientCreditsError,
    MissingScopeError,
    NotFoundError,
    NotOfferedError,
    RateLimitedError,
    RefusedError,
    UnauthorizedError,
    UnavailableError,
    UnexpectedAnswerError,
    UnreachableError,
)
from kubeez_mcp_local.rest.routes import ROUTES, Request
from tests.hosted_server import LEGACY, MODERN, HostedServer, Tokens, error, send, tool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio
CAPTIONS = Request(replace(captions.ROUTE, path="generate_captions"), {"media_url": "https://media.kubeez.com/a.mp4"})


@pytest.fixture(params=[MODERN, LEGACY])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[HostedServer]:
    async with HostedServer(era=request.param) as server:
        yield server


@pytest.fixture
async def client(server: HostedServer) -> AsyncIterator[HostedClient]:
    async with HostedClient(server.url, Tokens()) as client:
        yield client


async def test_both_eras_are_spoken_over_one_connection(client: HostedClient, server: HostedServer) -> None:
    server.answers = {"get_balance": {"credits": 12.5}, "generate_captions": {"generation_id": "g-1"}}
    assert (await client.balance()).credits == 12.5
    assert (await client.start(CAPTIONS)).generation_ids == ["g-1"]
    assert server.arguments[-1] == dict(CAPTIONS.body)
    assert sum("initialize" in head or "server/discover" in head for head in server.heads) <= 1
    assert all("authorization: bearer kbz_pat_first" in head.lower() for head in server.heads)


async def test_nothing_is_opened_before_the_first_call(client: HostedClient, server: HostedServer) -> None:
    assert server.heads == []


async def test_answers_are_read_from_structured_content_or_from_text(
    client: HostedClient, server: HostedServer
) -> None:
    row = '{"id": "g-7", "status": "completed", "model": "auto-caption"}'
    texts = {"content": [{"type": "text", "text": f'{{"generations": [{row}]}}'}]}
    server.answers = {"get_generations": texts, "get_balance": {"result": {"balance": "3"}}}
    assert [each.id for each in await client.generations()] == ["g-7"]
    assert (await client.balance()).credits == 3
    server.answers["get_generations"] = {"content": [{"type": "text", "text": row}, {"type": "text", "text": row}]}
    assert [each.id for each in await client.generations()] == ["g-7", "g-7"]
    server.answers["get_balance"] = {**texts, "structuredContent": {"credits": 1}}
    assert (await client.balance()).credits == 1  # structured wins over text


@pytest.mark.parametrize("as_events", [False, True])
async def test_half_a_character_in_a_prompt_does_not_hide_the_history(
    client: HostedClient, server: HostedServer, as_events: bool
) -> None:
    server.as_events = as_events
    rows = [{"id": "g-1", "prompt": "a kite \ud83d", "status": "completed"}, {"id": "g-2", "prompt": "\\ud83d"}]
    server.answers = {"get_generations": {"generations": rows}}
    assert [each.prompt for each in await client.generations()] == ["a kite \ufffd", "\\ud83d"]


async def test_the_history_is_asked_with_filters_and_at_most_25_rows(
    client: HostedClient, server: HostedServer
) -> None:
    server.answers = {"get_generations": {"generations": []}}
    await client.generations(limit=500, status="completed", model="auto-caption")
    assert server.arguments[-1] == {"limit": 25, "status": "completed", "model": "auto-caption"}


async def test_a_job_is_followed_by_its_kind(client: HostedClient, server: HostedServer) -> None:
    urls = {"vocals_url": "https://media.kubeez.com/v.mp3", "instrumental_url": "/i.mp3"}
    server.answers = {"get_status": {"kind": "separation", "status": "completed", **urls}}
    job = await client.status("separation", "s-1")
    assert (job.id, job.settled) == ("s-1", True)
    assert server.arguments[-1] == {"id": "s-1", "kind": "separation"}
    assert job.instrumental_url == server.url.removesuffix("/mcp") + "/i.mp3"
    assert [each async for each in client.events("media", "g-1")] == []


async def test_older_names_of_tools_and_fields_are_found_in_the_list(
    client: HostedClient, server: HostedServer
) -> None:
    server.tools = [tool("get_music_status", "generation_id"), tool("estimate_generation_cost", "model_id")]
    server.answers = {"get_music_status": {"status": "processing"}, "estimate_generation_cost": {"credits": 4}}
    assert (await client.status("music", "m-1")).status == "processing"
    assert server.arguments[-1] == {"generation_id": "m-1"}
    assert await client.call(Request(ROUTES["estimate"], {"model": "auto-caption"})) == {"credits": 4}
    assert server.arguments[-1] == {"model_id": "auto-caption"}
    with pytest.raises(NotOfferedError, match="hosted server"):
        await client.balance()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error("", {"error": "insufficient_credits", "message": "You have 3."}), InsufficientCreditsError),
        (error('{"error": {"code": "insufficient_credits", "message": "You have 3."}}'), InsufficientCreditsError),
        (error("Error executing tool get_status: rate limit exceeded (120/min)"), RateLimitedError),
        (error("", {"status_code": 429, "message": "slow down"}), RateLimitedError),
        (error("", {"code": "insufficient_scope", "message": "needs read:generations"}), MissingScopeError),
        (error("403: this token lacks the scope read:generations"), MissingScopeError),
        (error("401 Unauthorized"), UnauthorizedError),
        (error("Generation not found"), NotFoundError),
        (error("", {"error": "generation_not_found"}), NotFoundError),
        (error("1 validation error for get_statusArguments\nid\n  Field required"), RefusedError),
        (error("", {"error": "invalid_voice_id", "message": "no such voice"}), RefusedError),
        ({"error": "shared_scope_required", "team_name": "x"}, RefusedError),
        ({"error": "unauthorized", "message": "who?"}, UnauthorizedError),
        (error("The moon is in the wrong place"), UnexpectedAnswerError),
        ({"content": [{"type": "text", "text": "All is well."}]}, UnexpectedAnswerError),
    ],
)
async def test_what_a_free_tool_says_becomes_the_error_that_rest_has_for_it(answer: Any, kind: type[Exception]) -> None:
    async with HostedServer() as server, HostedClient(server.url, Tokens(), patience=_once()) as client:
        server.answers = {"get_status": answer}
        with pytest.raises(kind) as caught:
            await client.status("media", "g-1")
        assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("status", "payload", "kind", "words"),
    [
        (403, {"error": "insufficient_scope"}, MissingScopeError, "read:generations"),
        (402, {"detail": "too little"}, InsufficientCreditsError, "too little"),
        (429, {}, RateLimitedError, "get_status"),
        (503, {"detail": "resting"}, UnavailableError, "resting"),
        (301, {}, UnexpectedAnswerError, "KUBEEZ_MCP_URL"),
        (405, {}, UnexpectedAnswerError, "KUBEEZ_MCP_URL"),
        (422, {"detail": "no id"}, RefusedError, "no id"),
    ],
)
async def test_http_statuses_are_explained(status: int, payload: Any, kind: type[Exception], words: str) -> None:
    async with HostedServer() as server, HostedClient(server.url, Tokens(), patience=_once()) as client:

        async def fault(_: HostedServer, __: Any, writer: Any) -> None:
            send(writer, status, payload, "Location: http://127.0.0.1:1/elsewhere")

        server.faults = {"get_status": [fault]}
        with pytest.raises(kind, match=words) as caught:
            await client.status("media", "g-1")
        assert type(caught.value) is kind


async def test_where_nothing_listens_the_address_and_its_setting_are_named(unused_port_url: str) -> None:
    async with HostedClient(unused_port_url, Tokens(), patience=_once()) as client:
        with pytest.raises(UnreachableError, match="sandbox serve --hosted"):
            await client.balance()


async def test_a_server_behind_a_slash_is_found_and_a_paid_call_goes_there_at_once(
    client: HostedClient, server: HostedServer
) -> None:
    server.moved, server.answers = "/mcp/", {"generate_captions": {"generation_id": "g-1"}}
    assert (await client.start(CAPTIONS)).generation_ids == ["g-1"]
    assert sum("tools/call" in head or "POST /mcp HTTP" in head for head in server.heads) <= 2
    server.moved = "/elsewhere"  # it moves while we speak to it: what is paid does not follow
    with pytest.raises(UnexpectedAnswerError, match="/elsewhere"):
        await client.start(CAPTIONS)
    assert server.posts == ["generate_captions"]


async def test_no_redirect_leads_to_another_server(client: HostedClient, server: HostedServer) -> None:
    async with HostedServer() as other:
        server.moved = other.url
        with pytest.raises(UnexpectedAnswerError, match=f"points to {other.url}, where nothing is sent"):
            await client.balance()
        assert other.heads == []


async def test_a_token_that_is_refused_names_the_way_to_sign_in(client: HostedClient, server: HostedServer) -> None:
    server.valid = set()
    with pytest.raises(UnauthorizedError, match="login --hosted"):
        await client.balance()
    assert server.posts == []


def _once() -> Any:
    from kubeez_mcp_local.rest.client import Patience

    return Patience(attempts=1)
