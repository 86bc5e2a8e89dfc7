"""A local file goes to Kubeez or to the stand-in that is spoken to, and nowhere else; no token goes with it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.hosted.client import HostedClient
from kubeez_mcp_local.rest.client import Patience
from kubeez_mcp_local.rest.errors import (
    RefusedError,
    UnauthorizedError,
    UnavailableError,
    UnexpectedAnswerError,
    UnreachableError,
)
from tests.hosted_server import HostedServer, Tokens, error, tool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio
URL = "https://media.kubeez.com/u/1.wav"


class Place(httpx.AsyncBaseTransport):
    """What stands where the file is to go, and a way through to the server that is made by hand."""

    def __init__(self, *statuses: int) -> None:
        self.statuses, self.requests, self.bodies = list(statuses), list[httpx.Request](), list[bytes]()
        self.through = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/mcp":
            return await self.through.handle_async_request(request)
        self.requests.append(request)
        self.bodies.append(await request.aread())
        return httpx.Response(self.statuses.pop(0) if self.statuses else 200, json={"detail": "kbz-upload-1 is odd"})

    async def aclose(self) -> None:
        await self.through.aclose()


@pytest.fixture
async def server() -> AsyncIterator[HostedServer]:
    async with HostedServer() as server:
        place_at(server, "https://upload.kubeez.com/direct?sig=secret")
        server.answers["get_upload_session"] = {"count": 1, "media_urls": [URL], "media": [{"url": URL}]}
        rows = [{"model_id": "draws"}, {"model_id": "cuts-songs", "input_media_types": ["audio"]}]
        server.answers["get_models"] = {"models": rows}
        yield server


def place_at(server: HostedServer, address: str) -> None:
    server.answers["get_upload_url"] = {
        "direct_upload_url": address,
        "token": "kbz-upload-1",
        "url": "https://kubeez.com/u",
    }


@pytest.fixture
def upload(server: HostedServer, tmp_path: Path) -> Callable[..., Any]:
    async def send(place: Place, **options: Any) -> str:
        (tmp_path / "song.wav").write_bytes(b"RIFF....WAVE")
        client = HostedClient(server.url, Tokens(), transport=place, patience=Patience(3), sleep=no_wait)
        async with client:
            with (tmp_path / "song.wav").open("rb") as file:
                found = await client.upload(file, filename='so"ng.wav', media_type="audio/wav", **options)
        return found.url

    return send


async def no_wait(_: float) -> None:
    return None


async def test_a_file_is_posted_with_the_session_s_token_and_its_true_type(
    server: HostedServer, upload: Callable[..., Any]
) -> None:
    place, seen = Place(), list[tuple[int, int]]()
    assert await upload(place, on_progress=lambda *sent: seen.append(sent)) == URL
    request, body = place.requests[0], place.bodies[0]
    assert str(request.url) == "https://upload.kubeez.com/direct?sig=secret"
    assert "authorization" not in request.headers
    assert b'name="token"\r\n\r\nkbz-upload-1\r\n' in body
    assert b'name="file"; filename="so%22ng.wav"\r\nContent-Type: audio/wav\r\n\r\nRIFF....WAVE\r\n' in body
    assert int(request.headers["content-length"]) == len(body)
    assert seen == [(12, 12)]


async def test_what_it_is_for_is_said_or_found_in_the_catalogue(
    server: HostedServer, upload: Callable[..., Any]
) -> None:
    await upload(Place(), model="given")
    assert {"model_id": "given"} in server.arguments
    assert "get_models" not in server.posts
    await upload(Place())
    assert {"model_id": "cuts-songs"} in server.arguments
    server.answers["get_models"] = {"models": []}
    with pytest.raises(InvalidArgumentError, match="audio"):
        await upload(Place())


@pytest.mark.parametrize(
    "address",
    [
        "https://kubeez.com.evil.example/up",
        "https://evilkubeez.com/up",
        "http://upload.kubeez.com/up",
        "https://upload.kubeez.com@evil.example/up",
        "http://127.0.0.1:1/up",
        "http://localhost/up",
        "https://[::1",
        "file:///etc/passwd",
        "",
    ],
)
async def test_an_address_that_is_not_of_kubeez_gets_nothing(
    server: HostedServer, upload: Callable[..., Any], address: str
) -> None:
    place_at(server, address)
    place = Place()
    with pytest.raises(UnexpectedAnswerError):
        await upload(place)
    assert place.requests == []


async def test_the_stand_in_s_own_origin_is_one_while_it_is_spoken_to(
    server: HostedServer, upload: Callable[..., Any]
) -> None:
    place, origin = Place(), server.url.removesuffix("/mcp")
    place_at(server, f"{origin}/upload/direct")
    assert await upload(place) == URL
    place_at(server, f"{origin.replace('127.0.0.1', 'localhost')}/upload/direct")
    with pytest.raises(UnexpectedAnswerError):
        await upload(place)


async def test_a_failed_upload_is_repeated_in_a_session_of_its_own(
    server: HostedServer, upload: Callable[..., Any]
) -> None:
    place = Place(503)
    assert await upload(place) == URL
    assert len(place.requests) == 2
    assert server.posts.count("get_upload_url") == 2


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, RefusedError), (413, RefusedError), (302, UnexpectedAnswerError), (503, UnavailableError)],
)
async def test_an_upload_that_is_refused_says_why_without_the_token(
    upload: Callable[..., Any], status: int, kind: type[Exception]
) -> None:
    with pytest.raises(kind) as caught:
        await upload(Place(status, status, status))
    assert type(caught.value) is kind
    assert "kbz-upload-1" not in str(caught.value)


async def test_a_session_is_looked_at_until_it_has_the_file_and_its_length(
    server: HostedServer, upload: Callable[..., Any]
) -> None:
    states: list[Any] = [
        {"count": 0, "media_urls": [], "media": []},
        {"count": 1, "media_urls": [URL], "media": [{"url": URL, "measurement": "unavailable"}]},
        {"count": 1, "media_urls": [URL], "media": [{"url": URL, "duration_seconds": 1}]},
    ]
    server.answers["get_upload_session"] = lambda _: states.pop(0)
    assert await upload(Place()) == URL
    assert states == []
    server.answers["get_upload_session"] = {"count": 0, "media_urls": [], "media": []}
    with pytest.raises(UnexpectedAnswerError, match="no file"):
        await upload(Place())


async def test_a_refusal_of_the_session_is_understood(server: HostedServer, upload: Callable[..., Any]) -> None:
    server.answers["get_upload_url"] = {"error": "invalid_model", "message": "no such model"}
    with pytest.raises(RefusedError, match="no such model"):
        await upload(Place())
    server.answers["get_upload_url"] = error("401 Unauthorized")
    with pytest.raises(UnauthorizedError):
        await upload(Place())


async def test_neither_tokens_nor_prompts_nor_queries_are_logged(
    server: HostedServer, upload: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.tools.append(tool("say", "text"))
    server.answers["say"] = {"content": [{"type": "text", "text": "[]"}]}
    await upload(Place())
    async with HostedClient(server.url, Tokens()) as client:
        await client.call_tool("say", {"text": "a secret prompt"})
        server.valid = set()
        with pytest.raises(UnauthorizedError):
            await client.balance()
    for secret in ("kbz_pat_first", "kbz-upload-1", "a secret prompt", "sig=secret"):
        assert secret not in caplog.text


@pytest.mark.parametrize("proxy", ["socks://127.0.0.1:1", "http://127.0.0.1:1", "no address at all", "gopher://x:70"])
async def test_a_proxy_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    async with HostedClient("https://mcp.kubeez.com/mcp", Tokens(), patience=Patience(1)) as client:
        with pytest.raises(UnreachableError, match="ALL_PROXY"):
            await client.balance()
