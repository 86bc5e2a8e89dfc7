"""Uploads are streamed from disk, truly typed, counted, and repeated when they break."""

from __future__ import annotations

import asyncio
import re
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pytest

from kubeez_mcp_local.rest.client import FileBody, RestClient
from kubeez_mcp_local.rest.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    Serve = Callable[[Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]], Awaitable[str]]

pytestmark = pytest.mark.anyio

CONTENT = bytes(range(256)) * 4096
UPLOADED = b'{"url": "/uploads/a.png"}'
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(UPLOADED) + UPLOADED


@pytest.fixture
def picture(tmp_path: Path) -> Iterator[BinaryIO]:
    (tmp_path / "a.png").write_bytes(CONTENT)
    with (tmp_path / "a.png").open("rb") as file:
        yield file


async def test_the_file_arrives_whole_with_name_type_and_progress(serve: Serve, picture: BinaryIO) -> None:
    received: list[bytes] = []
    progress: list[tuple[int, int]] = []

    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        received.append(request)
        writer.write(OK)

    origin = await serve(handler)
    async with RestClient(origin, "sk_live_example") as client:
        uploaded = await client.upload(
            picture,
            filename="a.png",
            media_type="image/png",
            on_progress=lambda sent, total: progress.append((sent, total)),
        )
    assert uploaded.url == f"{origin}/uploads/a.png"
    head, _, body = received[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/upload/media HTTP/1.1")
    assert b"chunked" not in head.lower()
    part, _, content = body.partition(b"\r\n\r\n")
    assert b'name="file"; filename="a.png"' in part
    assert b"Content-Type: image/png" in part
    boundary = re.search(rb"boundary=(\w+)", head)
    assert boundary
    assert content == CONTENT + b"\r\n--" + boundary.group(1) + b"--\r\n"
    size = len(CONTENT)
    assert progress[-1] == (size, size)
    assert [sent for sent, _ in progress] == sorted(sent for sent, _ in progress)
    assert len(progress) > 2


async def test_a_broken_upload_is_repeated_from_the_start(serve: Serve, picture: BinaryIO) -> None:
    sizes: list[int] = []

    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        sizes.append(len(request.partition(b"\r\n\r\n")[2]))
        if len(sizes) == 2:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n")
        elif len(sizes) == 3:
            writer.write(OK)

    async with RestClient(await serve(handler), "k") as client:
        await client.upload(picture, filename="a.png", media_type="image/png")
    assert len(sizes) == 3
    assert len(set(sizes)) == 1


async def test_a_file_name_cannot_break_out_of_its_header() -> None:
    name, kind = 'a"\r\nX-Evil: 1\r\n\r\nß.png', "image/png\r\nX: 1"
    body = FileBody(file=BytesIO(b"data"), filename=name, media_type=kind, boundary="b")
    content = b"".join([chunk async for chunk in body])
    assert 'filename="a%22%0D%0AX-Evil: 1%0D%0A%0D%0Aß.png"'.encode() in content
    assert content.count(b"\r\n\r\n") == 1
    assert b"\r\nX" not in content
    assert int(body.headers["Content-Length"]) == len(content)


@pytest.mark.parametrize("content", [b"", CONTENT * 2])
async def test_a_file_that_changes_meanwhile_is_explained(serve: Serve, picture: BinaryIO, content: bytes) -> None:
    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)

    def change(sent: int, total: int) -> None:
        Path(picture.name).write_bytes(content)

    async with RestClient(await serve(handler), "k") as client:
        with pytest.raises(RefusedError) as caught:
            await client.upload(picture, filename="a.png", media_type="image/png", on_progress=change)
    assert "changed while it was uploaded" in caught.value.message


async def test_a_file_that_is_too_large_is_refused_before_it_is_all_sent(tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    large = path.open("w+b")
    large.truncate(64 * 1024 * 1024)
    sent: list[int] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 413 Content Too Large\r\ncontent-length: 20\r\n\r\n{"detail":"too long"}'[:-1])
        await writer.drain()
        while await reader.read(1 << 20):
            pass
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server, RestClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "k") as client:
        with pytest.raises(RefusedError) as caught:
            await client.upload(
                large, filename="l.mp4", media_type="video/mp4", on_progress=lambda done, _: sent.append(done)
            )
    assert caught.value.status == 413
