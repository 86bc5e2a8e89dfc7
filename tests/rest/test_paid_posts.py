"""A paid request is sent again only on proof that it was not accepted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.rest.client import RestClient
from kubeez_mcp_local.rest.errors import AmbiguousError, RateLimitedError, UnexpectedAnswerError, UnreachableError
from tests.requests import sent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Serve = Callable[[Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]], Awaitable[str]]

pytestmark = pytest.mark.anyio

PICTURE = sent("generate_media", prompt="a cat", model="nano-banana")
ACCEPTED = {"generation_id": "g-1", "status": "pending"}


class Counting:
    """Answers in turn, the last one for ever; an exception is raised instead of answered."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self) -> RestClient:
        return RestClient("https://api.kubeez.com", "sk_live_example", transport=httpx.MockTransport(self))


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 499, 300, 302, 303, 304])
async def test_an_answer_that_proves_nothing_is_ambiguous_and_not_repeated(status: int) -> None:
    api = Counting(httpx.Response(status, json={"detail": "x"}))
    with pytest.raises(AmbiguousError) as caught:
        await api.client().start(PICTURE)
    assert len(api.requests) == 1
    assert caught.value.spent is None
    assert not caught.value.retry_safe
    assert caught.value.status == status


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(200, json={"status": "pending"}),
        httpx.Response(200, json=[]),
        httpx.Response(200, content=b'{"generation_id": "g'),
        httpx.Response(202, html="<html>queued"),
        httpx.Response(204),
    ],
)
async def test_an_acceptance_without_an_id_is_ambiguous(response: httpx.Response) -> None:
    api = Counting(response)
    with pytest.raises(AmbiguousError):
        await api.client().start(PICTURE)
    assert len(api.requests) == 1


@pytest.mark.parametrize(
    "error",
    [
        httpx.ReadTimeout("slow"),
        httpx.WriteTimeout("slow"),
        httpx.ReadError("reset"),
        httpx.WriteError("reset"),
        httpx.RemoteProtocolError("gone"),
        httpx.DecodingError("bad gzip"),
    ],
)
async def test_a_failure_after_sending_is_ambiguous_and_not_repeated(error: Exception) -> None:
    api = Counting(error, httpx.Response(200, json=ACCEPTED))
    with pytest.raises(AmbiguousError):
        await api.client().start(PICTURE)
    assert len(api.requests) == 1


@pytest.mark.parametrize(
    "error",
    [httpx.ConnectError("refused"), httpx.ConnectTimeout("slow"), httpx.PoolTimeout("full"), httpx.ProxyError("no")],
)
async def test_a_request_that_never_left_is_sent_again(error: Exception) -> None:
    api = Counting(error, httpx.Response(200, json=ACCEPTED))
    accepted = await api.client().start(PICTURE)
    assert accepted.generation_id == "g-1"
    assert len(api.requests) == 2


async def test_a_rate_limit_is_waited_out() -> None:
    api = Counting(httpx.Response(429, headers={"retry-after": "1"}), httpx.Response(201, json=ACCEPTED))
    assert (await api.client().start(PICTURE)).generation_id == "g-1"
    assert len(api.requests) == 2


async def test_a_lasting_rate_limit_is_reported_as_unspent() -> None:
    api = Counting(httpx.Response(429))
    with pytest.raises(RateLimitedError) as caught:
        await api.client().start(PICTURE)
    assert caught.value.spent is False
    assert len(api.requests) == 5


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 409, 410, 413, 422])
async def test_a_refusal_is_not_repeated_and_costs_nothing(status: int) -> None:
    api = Counting(httpx.Response(status, json={"detail": "no"}))
    with pytest.raises(KubeezError) as caught:
        await api.client().start(PICTURE)
    assert caught.value.spent is False
    assert len(api.requests) == 1


@pytest.mark.parametrize("status", [301, 307, 308])
async def test_a_redirect_that_names_another_place_accepted_nothing(status: int) -> None:
    api = Counting(httpx.Response(status, headers={"location": "https://other.example/"}))
    with pytest.raises(UnexpectedAnswerError) as caught:
        await api.client().start(PICTURE)
    assert caught.value.spent is False


@pytest.mark.parametrize("status", [403, 404, 405])
async def test_a_web_page_that_refuses_accepted_nothing(status: int) -> None:
    api = Counting(httpx.Response(status, html="<!doctype html><title>Blocked</title>"))
    with pytest.raises(UnexpectedAnswerError, match="HTML page") as caught:
        await api.client().start(PICTURE)
    assert caught.value.spent is False


async def test_only_given_fields_are_sent() -> None:
    api = Counting(httpx.Response(200, json=ACCEPTED))
    client = api.client()
    await client.start(
        sent("generate_media", prompt="ü", model="m", source_media_urls=("https://a/1", "https://a/2"), sound=False)
    )
    await client.start(sent("generate_dialogue", dialogue=({"text": "Hi"}, {"text": "Ho", "voice": "Rachel"})))
    await client.start(sent("generate_music", prompt="jazz", instrumental=True))
    bodies = [httpx.Response(200, content=request.content).json() for request in api.requests]
    assert bodies == [
        {"prompt": "ü", "model": "m", "source_media_urls": ["https://a/1", "https://a/2"], "sound": False},
        {"dialogue": [{"text": "Hi"}, {"text": "Ho", "voice": "Rachel"}]},
        {"prompt": "jazz", "instrumental": True},
    ]
    assert [request.url.path for request in api.requests] == [
        "/v1/generate/media",
        "/v1/generate/dialogue",
        "/v1/generate/music",
    ]
    headers = api.requests[0].headers
    assert headers["x-api-key"] == "sk_live_example"
    assert headers["user-agent"].startswith("kubeez-mcp-local/")
    assert (headers["x-client"], "x-client-version" in headers) == ("kubeez-mcp-local", True)


async def test_a_connection_cut_after_the_request_was_read_is_ambiguous(serve: Serve) -> None:
    received: list[bytes] = []

    async def cut(request: bytes, writer: asyncio.StreamWriter) -> None:
        received.append(request)

    async with RestClient(await serve(cut), "sk_live_example") as client:
        with pytest.raises(AmbiguousError):
            await client.start(PICTURE)
    assert len(received) == 1


async def test_a_connection_cut_within_the_answer_is_ambiguous(serve: Serve) -> None:
    async def half(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"generation_id":'
        )

    async with RestClient(await serve(half), "sk_live_example") as client:
        with pytest.raises(AmbiguousError):
            await client.start(PICTURE)


async def test_a_connection_cut_before_the_request_was_read_is_ambiguous_too() -> None:
    connections = 0

    def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.transport.abort()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server, RestClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "k") as client:
        with pytest.raises(AmbiguousError):
            await client.start(PICTURE)
    assert connections == 1


async def test_an_answer_that_takes_too_long_is_ambiguous(serve: Serve) -> None:
    released = asyncio.Event()

    async def hang(request: bytes, writer: asyncio.StreamWriter) -> None:
        await released.wait()

    async with RestClient(await serve(hang), "sk_live_example", answer_s=0.2, connect_s=0.2) as client:
        with pytest.raises(AmbiguousError) as caught:
            await client.start(PICTURE)
    released.set()
    assert "No answer came in time" in caught.value.message


async def test_nobody_listening_is_unreachable_and_unspent(unused_origin: str) -> None:
    async with RestClient(unused_origin, "sk_live_example") as client:
        with pytest.raises(UnreachableError) as caught:
            await client.start(PICTURE)
    assert caught.value.spent is False
    assert caught.value.retry_safe
    assert unused_origin in caught.value.message
    assert "sandbox serve" in caught.value.next_step
