"""Downloads: whole or not at all, never over a file, never with the key, never from private places."""

from __future__ import annotations

import asyncio
import errno
import gzip
import os
import socket
import sys
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.rest import downloading
from kubeez_mcp_local.rest.client import RestClient
from kubeez_mcp_local.rest.errors import DownloadFailedError, TooLargeError
from tests.refusals import refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    Serve = Callable[[Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]], Awaitable[str]]

pytestmark = pytest.mark.anyio

URL = "https://media.kubeez.com/images/a.png"


class Cdn:
    """Answers in turn, the last one for ever, and remembers what was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.sleeps: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)

    def client(self, origin: str = "https://api.kubeez.com") -> RestClient:
        return RestClient(origin, "sk_live_example", transport=httpx.MockTransport(self), sleep=self.sleep)


@pytest.fixture(autouse=True)
def _public_names(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(monkeypatch, "93.184.215.14")


def picture(content: bytes = b"picture") -> httpx.Response:
    return httpx.Response(200, headers={"content-type": "image/png; x=1"}, content=content)


def redirect(location: str) -> httpx.Response:
    return httpx.Response(302, headers={"location": location})


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "home")


async def test_a_file_is_saved_whole_without_the_key(tmp_path: Path) -> None:
    cdn = Cdn(picture())
    saved = await cdn.client().download(URL, tmp_path / "a.png", max_bytes=100)
    assert (saved.size, saved.media_type) == (7, "image/png")
    assert (tmp_path / "a.png").read_bytes() == b"picture"
    assert left_in(tmp_path) == ["a.png"]
    assert "x-api-key" not in cdn.requests[0].headers
    assert "sk_live_example" not in str(cdn.requests[0].headers)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX rights")
async def test_a_saved_file_has_ordinary_rights(tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    await Cdn(picture()).client().download(URL, tmp_path / "a.png", max_bytes=100)
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


async def test_an_existing_file_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    target.write_text("mine")
    cdn = Cdn(picture())
    with refused("target_exists"):
        await cdn.client().download(URL, target, max_bytes=100)
    assert cdn.requests == []
    assert target.read_text() == "mine"


async def test_a_file_that_appears_meanwhile_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "a.png"

    def handler(request: httpx.Request) -> httpx.Response:
        target.write_text("mine")
        return picture()

    client = RestClient("https://api.kubeez.com", None, transport=httpx.MockTransport(handler))
    with refused("target_exists"):
        await client.download(URL, target, max_bytes=100)
    assert target.read_text() == "mine"
    assert left_in(tmp_path) == ["a.png"]


async def test_a_folder_without_hard_links_works_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", no_links)
    await Cdn(picture()).client().download(URL, tmp_path / "a.png", max_bytes=100)
    assert left_in(tmp_path) == ["a.png"]


async def test_an_announced_length_over_the_limit_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(TooLargeError):
        await Cdn(picture(b"x" * 101)).client().download(URL, tmp_path / "a.png", max_bytes=100)
    assert left_in(tmp_path) == []


async def test_an_unannounced_length_is_stopped_while_it_streams(serve: Serve, tmp_path: Path) -> None:
    async def endless(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    origin = await serve(endless)
    async with RestClient(origin, None) as client:
        with pytest.raises(TooLargeError):
            await client.download(f"{origin}/a.png", tmp_path / "a.png", max_bytes=3_000_000)
    assert left_in(tmp_path) == []


async def test_a_copy_that_lags_behind_is_waited_for(tmp_path: Path) -> None:
    cdn = Cdn(httpx.Response(404), httpx.Response(404), picture())
    await cdn.client().download(URL, tmp_path / "a.png", max_bytes=100)
    assert cdn.sleeps == [1.0, 1.0]


async def test_a_copy_that_never_comes_is_given_up(tmp_path: Path) -> None:
    cdn = Cdn(httpx.Response(404))
    with pytest.raises(DownloadFailedError):
        await cdn.client().download(URL, tmp_path / "a.png", max_bytes=100)
    assert len(cdn.requests) == 10
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("passing", [httpx.Response(503), httpx.ReadError("reset"), httpx.ConnectError("refused")])
async def test_a_passing_failure_is_tried_again(tmp_path: Path, passing: httpx.Response | Exception) -> None:
    await Cdn(passing, picture()).client().download(URL, tmp_path / "a.png", max_bytes=100)
    lasting = Cdn(passing)
    with pytest.raises(DownloadFailedError):
        await lasting.client().download(URL, tmp_path / "b.png", max_bytes=100)
    assert len(lasting.requests) == 3


async def test_a_transfer_that_breaks_off_starts_over(serve: Serve, tmp_path: Path) -> None:
    tries = 0

    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        tries += 1
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n" + (b"pic" if tries == 1 else b"picture"))

    cdn = Cdn(picture())
    origin = await serve(handler)
    async with RestClient(origin, None, sleep=cdn.sleep) as client:
        await client.download(f"{origin}/a.png", tmp_path / "a.png", max_bytes=100)
    assert (tmp_path / "a.png").read_bytes() == b"picture"
    assert left_in(tmp_path) == ["a.png"]


@pytest.mark.parametrize(
    "url",
    [
        "http://media.kubeez.com/a.png",
        "file:///etc/passwd",
        "ftp://media.kubeez.com/a",
        "https://",
        "/a.png",
        "https://10.0.0.1/a.png",
        "https://192.168.1.1/a.png",
        "https://169.254.169.254/latest/meta-data",
        "https://[fe80::1]/a.png",
        "https://[::ffff:10.0.0.1]/a.png",
        "http://127.0.0.1:9200/_search",
        "http://localhost/a.png",
        "https://me.localhost/a.png",
        "https://localhost./a.png",
        "https://2130706433/a.png",
        "https://0x7f.1/a.png",
        "https://0177.0.0.1/a.png",
        "https://127.1/a.png",
        "https://0/a.png",
        "https://127.0.0.1./a.png",
        "https://[::127.0.0.1]/a.png",
        "https://[::ffff:7f00:1]/a.png",
        "https://[64:ff9b::a00:1]/a.png",
        "https://[2002:7f00:1::]/a.png",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
    ],
)
async def test_only_public_https_is_fetched(tmp_path: Path, url: str) -> None:
    cdn = Cdn(picture())
    with pytest.raises(DownloadFailedError) as caught:
        await cdn.client().download(url, tmp_path / "a.png", max_bytes=100)
    assert cdn.requests == []
    assert "_search" not in str(caught.value)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.7", "fd00::1"])
async def test_a_name_that_leads_inside_is_refused_on_the_first_hop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    resolve(monkeypatch, address)
    cdn = Cdn(picture())
    with pytest.raises(DownloadFailedError, match="private network"):
        await cdn.client().download(URL, tmp_path / "a.png", max_bytes=100)
    assert cdn.requests == []


async def test_nothing_is_read_from_an_address_that_turns_out_to_be_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Inside:
        def get_extra_info(self, _name: str) -> tuple[str, int]:
            return ("10.0.0.7", 443)

    def handler(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b"secret", extensions={"network_stream": Inside()})

    client = RestClient("https://api.kubeez.com", None, transport=httpx.MockTransport(handler))
    with pytest.raises(DownloadFailedError, match="private network"):
        await client.download(URL, tmp_path / "a.png", max_bytes=100)
    monkeypatch.setenv("HTTPS_PROXY", "http://10.0.0.7:3128")
    await client.download(URL, tmp_path / "a.png", max_bytes=100)


async def test_a_packed_body_is_refused_before_it_is_unpacked(serve: Serve, tmp_path: Path) -> None:
    packed = gzip.compress(b"\0" * 3_000_000)

    async def handler(_request: bytes, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed)
        writer.write(head + packed)

    origin = await serve(handler)
    async with RestClient(origin, None) as client:
        with pytest.raises(DownloadFailedError, match="packed"):
            await client.download(f"{origin}/a.png", tmp_path / "a.png", max_bytes=10_000_000)
    assert left_in(tmp_path) == []


async def test_what_is_not_the_file_is_fetched_again_and_given_up_in_the_end(tmp_path: Path) -> None:
    def accept(part: Path, said: str | None) -> str | None:
        return None if (part.read_bytes(), said) == (b"picture", "image/png") else "it is a page"

    cdn = Cdn(picture(b"<html>"), picture(b""), picture())
    await cdn.client().download(URL, tmp_path / "a.png", max_bytes=100, accept=accept)
    lasting = Cdn(picture(b"<html>"))
    with pytest.raises(DownloadFailedError, match="is not the file: it is a page") as caught:
        await lasting.client().download(URL, tmp_path / "b.png", max_bytes=100, accept=accept)
    assert caught.value.retry_safe
    assert len(lasting.requests) == 3
    assert left_in(tmp_path) == ["a.png"]


async def test_a_sandbox_on_loopback_may_serve_files(tmp_path: Path) -> None:
    await (
        Cdn(picture())
        .client("http://127.0.0.1:8787")
        .download("http://127.0.0.1:8787/files/a.png", tmp_path / "a.png", max_bytes=100)
    )
    assert (tmp_path / "a.png").exists()


async def test_a_redirect_to_a_public_place_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(monkeypatch, "93.184.215.14")
    cdn = Cdn(redirect("https://bucket.example/a.png?signature=secret"), picture())
    await cdn.client().download(URL, tmp_path / "a.png", max_bytes=100)
    assert [request.url.host for request in cdn.requests] == ["media.kubeez.com", "bucket.example"]
    assert "x-api-key" not in cdn.requests[1].headers


@pytest.mark.parametrize(
    "location",
    ["http://bucket.example/a.png", "https://127.0.0.1/a.png", "https://10.1.2.3/a", "//192.168.0.1/a", "file:///a"],
)
async def test_a_redirect_to_a_private_or_plain_place_is_refused(tmp_path: Path, location: str) -> None:
    cdn = Cdn(redirect(location), picture())
    with pytest.raises(DownloadFailedError):
        await cdn.client().download(URL, tmp_path / "a.png", max_bytes=100)
    assert len(cdn.requests) == 1


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.7", "192.168.3.4", "fd00::1"])
async def test_a_redirect_whose_name_leads_inside_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    resolve(monkeypatch, address, host="inside.example")
    cdn = Cdn(redirect("https://inside.example/secret-path"), picture())
    with pytest.raises(DownloadFailedError) as caught:
        await cdn.client().download(URL, tmp_path / "a.png", max_bytes=100)
    assert len(cdn.requests) == 1
    assert "secret-path" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://[::1/a.png", "https://cdn.example:99999999/a.png", "https://cdn.example/" + "x" * 70_000]
)
async def test_an_address_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    resolve(monkeypatch, "93.184.215.14")
    cdn = Cdn(picture())
    for start, asked in ((url, cdn), (URL, Cdn(redirect(url)))):
        with pytest.raises(KubeezError) as caught:
            await asked.client().download(start, tmp_path / "a.png", max_bytes=100)
        assert caught.value.code in ("download_failed", "unusable_url")
        assert caught.value.spent is False
    assert cdn.requests == []
    assert left_in(tmp_path) == []


async def test_redirects_in_circles_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(monkeypatch, "93.184.215.14")
    with pytest.raises(DownloadFailedError):
        await Cdn(redirect(URL)).client().download(URL, tmp_path / "a.png", max_bytes=100)


async def test_a_full_disk_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(downloading, "_write", full)
    with refused("cannot_save") as caught:
        await Cdn(picture()).client().download(URL, tmp_path / "a.png", max_bytes=100)
    assert "disk is full" in caught.value.message


async def test_a_missing_folder_is_explained(tmp_path: Path) -> None:
    with refused("cannot_save"):
        await Cdn(picture()).client().download(URL, tmp_path / "gone" / "a.png", max_bytes=100)


async def test_a_refusal_of_the_cdn_is_not_repeated(tmp_path: Path) -> None:
    cdn = Cdn(httpx.Response(403))
    with pytest.raises(KubeezError):
        await cdn.client().download(URL, tmp_path / "a.png", max_bytes=100)
    assert len(cdn.requests) == 1


async def test_a_cancelled_download_leaves_nothing_behind(serve: Serve, tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def slow(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n" + b"x" * 9_000_000)
        await writer.drain()
        begun.set()
        await asyncio.sleep(30)

    origin = await serve(slow)
    async with RestClient(origin, None) as client:
        task = asyncio.create_task(client.download(f"{origin}/a.png", tmp_path / "a.png", max_bytes=10_000_000))
        await begun.wait()
        assert left_in(tmp_path) != []
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert left_in(tmp_path) == []


def resolve(monkeypatch: pytest.MonkeyPatch, address: str, host: str = "") -> None:
    """Every name leads to `address`; with `host` only this one, and the others to a public place."""

    async def answer(name: str, *_: object, **__: object) -> list[Any]:
        found = address if host in ("", name) else "93.184.215.14"
        family = socket.AF_INET6 if ":" in found else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (found, 443))]

    monkeypatch.setattr(anyio, "getaddrinfo", answer)
