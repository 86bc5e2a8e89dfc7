"""Connections: proxies and certificates honoured, loopback direct, many at once, nothing logged."""

from __future__ import annotations

import asyncio
import gzip
import logging
from typing import TYPE_CHECKING

import httpx
import pytest

from kubeez_mcp_local.rest import pools
from kubeez_mcp_local.rest.client import Patience, RestClient
from kubeez_mcp_local.rest.errors import UnavailableError, UnreachableError
from kubeez_mcp_local.rest.pools import Pools
from tests.requests import sent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    ServeBytes = Callable[[Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]], Awaitable[str]]
    Serve = Callable[[Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]], Awaitable[str]]

pytestmark = pytest.mark.anyio


async def balance(request: bytes, writer: asyncio.StreamWriter) -> None:
    body = b'{"credits": 5}'
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)


async def test_nothing_is_opened_before_the_first_call() -> None:
    connections = Pools()
    assert connections._clients == {}
    client = await connections.client_for("http://127.0.0.1:1")
    assert await connections.client_for("http://127.0.0.1:2") is client
    await connections.aclose()
    assert client.is_closed


async def test_https_uses_the_system_certificates() -> None:
    import truststore

    connections = Pools()
    client = await connections.client_for("https://api.kubeez.com")
    transport = client._transport
    assert isinstance(transport, httpx.AsyncHTTPTransport)
    assert type(transport._pool._ssl_context) is truststore.SSLContext
    await connections.aclose()


async def test_loopback_is_reached_directly_whatever_the_proxy_settings(
    serve: Serve, unused_origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", unused_origin)
    monkeypatch.setenv("ALL_PROXY", unused_origin)
    async with RestClient(await serve(balance), "k") as client:
        assert (await client.balance()).credits == 5


async def test_a_proxy_is_used_for_everything_else(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    async def proxy(request: bytes, writer: asyncio.StreamWriter) -> None:
        asked.append(request.partition(b"\r\n")[0])
        writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")

    monkeypatch.setenv("HTTPS_PROXY", await serve(proxy))
    async with RestClient("https://api.kubeez.example", "sk_live_example") as client:
        with pytest.raises(UnreachableError) as caught:
            await client.balance()
    assert set(asked) == {b"CONNECT api.kubeez.example:443 HTTP/1.1"}
    assert "HTTPS_PROXY" in caught.value.next_step
    assert caught.value.spent is False


async def test_many_slow_calls_run_side_by_side(serve: Serve) -> None:
    together = asyncio.Barrier(64)

    async def slow(request: bytes, writer: asyncio.StreamWriter) -> None:
        await together.wait()
        await balance(request, writer)

    async with RestClient(await serve(slow), "k") as client:
        answers = await asyncio.wait_for(asyncio.gather(*(client.balance() for _ in range(64))), 30)
    assert len(answers) == 64


async def test_no_url_and_no_key_is_logged(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with RestClient(await serve(balance), "sk_live_example") as client:
        await client.balance()
    assert "sk_live_example" not in caplog.text
    assert "/v1/balance" not in caplog.text


async def test_the_key_is_not_in_the_clients_own_description() -> None:
    assert "sk_live" not in repr(RestClient("https://api.kubeez.com", "sk_live_example"))


async def test_a_client_can_be_used_again_after_closing(serve: Serve) -> None:
    client = RestClient(await serve(balance), "k")
    await client.balance()
    await client.aclose()
    assert (await client.balance()).credits == 5
    await client.aclose()


async def test_an_answer_that_unfolds_without_end_is_given_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = gzip.compress(b'{"credits": 5}' + b" " * 3_000_000)

    async def unfolding(_request: bytes, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed)
        writer.write(head + packed)

    async with RestClient(await serve(unfolding), "k", patience=Patience(attempts=1)) as client:
        assert (await client.balance()).credits == 5
        monkeypatch.setattr(pools, "LONGEST_ANSWER", 1_000_000)
        with pytest.raises(UnavailableError):
            await client.balance()


@pytest.mark.parametrize("spelling", ["socks://", "SOCKS://", "socks5://", "socks5h://"])
async def test_socks_means_the_version_that_is_spoken(
    serve_bytes: ServeBytes, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    greetings: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greetings.append(await reader.read(3))
        writer.write(b"\x05\xff")  # no way to sign in that it accepts

    monkeypatch.setenv("ALL_PROXY", f"{spelling}{await serve_bytes(proxy)}")
    async with RestClient("https://api.kubeez.example", "k", patience=Patience(attempts=1)) as client:
        with pytest.raises(UnreachableError, match="Nothing was sent"):
            await client.balance()
    assert greetings == [b"\x05\x01\x00"]


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"\x05", b"\x05\x00", b"\x05\x00\x05\x05", b"\x04\x5a"]
)
async def test_what_speaks_no_socks_is_told_as_a_proxy_and_nothing_was_sent(
    serve_bytes: ServeBytes, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(3)
        writer.write(answer)

    monkeypatch.setenv("ALL_PROXY", f"socks5://{await serve_bytes(proxy)}")
    async with RestClient("https://api.kubeez.example", "k", patience=Patience(attempts=1)) as client:
        with pytest.raises(UnreachableError) as caught:
            await client.start(sent("generate_media", prompt="a", model="z-image"))
    assert caught.value.spent is False
    assert "ALL_PROXY" in caught.value.next_step


@pytest.mark.parametrize(
    "garbage",
    [
        *(
            "socks4://10.0.0.7:1",
            "ftp://proxy.example",
            "direct://",
            "http://[::1",
            "http://host:port",
            "http://",
            "://",
        ),
        *("foo bar", "http://host:99999999", "https://user:secret@host:port", "socks5://", "http://\u2100", "//host:1"),
    ],
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY", "https_proxy"])
async def test_a_proxy_that_is_none_is_named_and_nothing_was_sent(
    monkeypatch: pytest.MonkeyPatch, garbage: str, variable: str
) -> None:
    monkeypatch.setenv(variable, garbage)
    async with RestClient("https://api.kubeez.example", "k") as client:
        for ask in (client.balance, lambda: client.start(sent("generate_media", prompt="a", model="z-image"))):
            with pytest.raises(UnreachableError) as caught:
                await ask()
            assert caught.value.spent is False
            assert f"in {variable} cannot be used" in caught.value.message
            assert "secret" not in f"{caught.value.message} {caught.value.next_step}"


async def test_a_bad_proxy_for_other_hosts_is_no_hindrance(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "foo bar")
    monkeypatch.setenv("NO_PROXY", "kubeez.invalid")
    async with RestClient(await serve(balance), "k") as client:
        assert (await client.balance()).credits == 5
    async with RestClient("https://api.kubeez.invalid", "k", patience=Patience(attempts=1)) as client:
        with pytest.raises(UnreachableError) as caught:
            await client.balance()
    assert "ALL_PROXY" not in caught.value.message
