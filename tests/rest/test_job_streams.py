"""A job's event stream: the result when it comes, and no fuss when it does not."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import httpx
import pytest

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.rest.client import RestClient
from kubeez_mcp_local.rest.errors import NotFoundError, UnreachableError
from tests.refusals import refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from kubeez_mcp_local.rest.wire import Generation

    Serve = Callable[[Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]], Awaitable[str]]

pytestmark = pytest.mark.anyio

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\r\n"
DONE = {"id": "g-1", "status": "completed", "outputs": [{"url": "/images/a.png"}]}


async def collected(client: RestClient, kind: str = "media") -> list[Generation]:
    return [job async for job in client.events("music" if kind == "music" else "media", "g-1")]


async def streamed(serve: Serve, *chunks: bytes) -> list[Generation]:
    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()

    async with RestClient(await serve(handler), "sk_live_example") as client:
        return await collected(client)


async def test_the_result_is_yielded_and_the_rest_ignored(serve: Serve) -> None:
    result = b"event: result\ndata: " + json.dumps(DONE).encode() + b"\n\n"
    beats = b": comment\n\nevent: heartbeat\ndata: {}\n\nevent: ping\n\nevent: later\ndata: {}\n\nretry: 5\n\n"
    jobs = await streamed(serve, beats, result, b"event: result\ndata: {}\n\n")
    assert [job.id for job in jobs] == ["g-1"]
    assert jobs[0].settled
    assert (jobs[0].outputs[0].url or "").startswith("http://127.0.0.1:")


async def test_crlf_and_data_over_several_lines_are_joined(serve: Serve) -> None:
    lines = json.dumps(DONE, indent=1).splitlines()
    block = "event: result\r\n" + "".join(f"data: {line}\r\n" for line in lines) + "\r\n"
    assert [job.id for job in await streamed(serve, *(bytes([byte]) for byte in block.encode()))] == ["g-1"]


async def test_a_result_may_leave_out_the_id_or_be_a_failure(serve: Serve) -> None:
    jobs = await streamed(serve, b'event: result\ndata: {"status": "failed", "error_message": "no"}\n\n')
    assert (jobs[0].id, jobs[0].failed, jobs[0].error_message) == ("g-1", True, "no")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"message": "worker lost"}', "worker lost"),
        (b'{"error": "worker_lost"}', "worker_lost"),
        (b'{"detail": "worker lost"}', "worker lost"),
        (b"worker lost", "worker lost"),
        (b"", "no reason given"),
        (b"key sk_live_example is bad", "[key] is bad"),
    ],
)
async def test_an_error_event_is_raised_in_its_own_words(serve: Serve, data: bytes, words: str) -> None:
    with refused("stream_failed") as caught:
        await streamed(serve, b"event: error\ndata: " + data + b"\n\n")
    assert f"{words}." in caught.value.message.replace("”", "")
    assert ("”." in caught.value.message) == bool(data)
    assert "sk_live_example" not in str(caught.value)
    assert caught.value.spent is False


async def test_halves_of_characters_go_no_further_than_here(serve: Serve) -> None:
    """A client that cuts a prompt inside an emoji sends one, and the history shows it to everybody from then on."""
    half = b'{"id": "g-1", "status": "failed", "prompt": "cut \\ud83d", "error": "\\ude00!", "outputs": []}'
    listed = httpx.MockTransport(lambda _: httpx.Response(200, content=b"[" + half + b"]"))
    (row,) = await RestClient("https://api.kubeez.com", "k", transport=listed).generations()
    (job,) = await streamed(serve, b"event: result\ndata: " + half + b"\n\n")
    for told in (row, job):
        assert (told.prompt, told.error_message) == ("cut \ufffd", "\ufffd!")


async def test_an_error_event_that_carries_the_failed_job_is_its_result(serve: Serve) -> None:
    jobs = await streamed(serve, b'event: error\ndata: {"id": "g-1", "status": "failed", "error": "moderation"}\n\n')
    assert jobs[0].failed
    assert jobs[0].error_message == "moderation"


@pytest.mark.parametrize(
    "rest", [b"", b"event: heartbeat\n\n", b'event: result\ndata: {"id": "g-1"', b"event: result\ndata: broken\n\n"]
)
async def test_a_stream_without_a_whole_result_simply_ends(serve: Serve, rest: bytes) -> None:
    assert await streamed(serve, rest) == []


async def test_a_dropped_chunked_stream_simply_ends(serve: Serve) -> None:
    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD.replace(b"\r\n\r\n", b"\r\ntransfer-encoding: chunked\r\n\r\n") + b"20\r\nevent: ")

    async with RestClient(await serve(handler), "k") as client:
        assert await collected(client) == []


async def test_an_answer_that_is_no_stream_simply_ends() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=DONE))
    assert await collected(RestClient("https://api.kubeez.com", "k", transport=transport)) == []


async def test_a_kind_without_a_stream_simply_ends(unused_origin: str) -> None:
    async with RestClient(unused_origin, "k") as client:
        assert [job async for job in client.events("separation", "g-1")] == []


async def test_a_stream_that_cannot_be_opened_raises() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(404, json={"detail": "Not found"}))
    with pytest.raises(NotFoundError):
        await collected(RestClient("https://api.kubeez.com", "k", transport=transport))


async def test_a_stream_that_nobody_serves_raises(unused_origin: str) -> None:
    async with RestClient(unused_origin, "k") as client:
        with pytest.raises(UnreachableError):
            await collected(client)


async def test_the_request_names_what_it_wants() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        raise httpx.ReadError("reset")

    client = RestClient("https://api.kubeez.com", "sk_live_example", transport=httpx.MockTransport(handler))
    with pytest.raises(KubeezError):
        await collected(client, "music")
    assert seen[0].url.path == "/v1/generate/music/g-1/stream"
    assert seen[0].headers["accept"] == "text/event-stream"
    assert seen[0].headers["x-api-key"] == "sk_live_example"
    assert seen[0].extensions["timeout"]["read"] > 60


async def test_leaving_a_stream_early_closes_it(serve: Serve) -> None:
    closed = asyncio.Event()

    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"event: heartbeat\n\n")
        await writer.drain()
        try:
            while True:
                writer.write(b": still here\n\n")
                await writer.drain()
                await asyncio.sleep(0.01)
        finally:
            closed.set()

    async with RestClient(await serve(handler), "k") as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await collected(client)
        async with asyncio.timeout(5):
            await closed.wait()
