"""Uploads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sandbox.jobs import image, silence, upload

if TYPE_CHECKING:
    import httpx

    from tests.sandbox_server import RunningSandbox


@pytest.mark.parametrize(("kind", "media_type"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")])
def test_an_upload_comes_back_as_it_went_in(http: httpx.Client, kind: str, media_type: str) -> None:
    data = image(kind)
    answer = http.get(upload(http, data, f"in.{kind.lower()}", media_type))
    assert answer.content == data
    assert answer.headers["content-type"] == media_type


def test_an_untyped_part_is_recognised_by_its_content(http: httpx.Client) -> None:
    url = upload(http, image("PNG"), "blob", "application/octet-stream")
    assert http.get(url).headers["content-type"] == "image/png"


@pytest.mark.parametrize("data", [b"", b"hello, this is text"])
def test_empty_files_and_other_types_are_refused(http: httpx.Client, data: bytes) -> None:
    answer = http.post("/v1/upload/media", files={"file": ("a.png", data, "image/png")})
    assert answer.status_code == 400


def test_a_form_without_the_file_field_is_422(http: httpx.Client) -> None:
    assert http.post("/v1/upload/media", files={"other": ("a.png", b"x", "image/png")}).status_code == 422


def test_more_than_500_megabytes_are_refused_by_their_announced_length(sandbox: RunningSandbox) -> None:
    import socket
    from urllib.parse import urlsplit

    parts = urlsplit(sandbox.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60) as line:
        line.sendall(
            b"POST /v1/upload/media HTTP/1.1\r\nHost: localhost\r\nX-API-Key: sk_live_example\r\n"
            b"Content-Length: 700000000\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n"
        )
        assert line.recv(100).startswith(b"HTTP/1.1 413 ")


def test_sound_is_measured(sandbox: RunningSandbox, http: httpx.Client) -> None:
    url = upload(http, silence(90), "long.wav", "audio/wav")
    answer = http.post("/v1/generate/separation", json={"media_url": url})
    assert answer.json()["estimated_cost_credits"] == 12
    assert sandbox.control.account()["uploads"][0]["media_type"] == "audio/wav"


def test_a_damaged_clip_is_kept_though_nothing_can_be_measured(sandbox: RunningSandbox, http: httpx.Client) -> None:
    data = b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + b"\0\0\0\x10moov\0\0\0\0\0\0\0\0junk"
    assert http.get(upload(http, data, "broken.mp4", "video/mp4")).content == data
    assert sandbox.control.account()["uploads"][0]["media_type"].startswith("video/")
