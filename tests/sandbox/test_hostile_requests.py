"""Requests that no honest client sends: each is refused in JSON as the document says, and nothing is charged."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.sandbox.jobs import PICTURE
from tests.sandbox_server import CONTROL, KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.sandbox_server import RunningSandbox

JSON = {"Content-Type": "application/json"}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/generate/media": PICTURE,
    "/v1/generate/music": {"prompt": "calm piano"},
    "/v1/generate/dialogue": {"dialogue": [{"text": "Good morning", "voice": "Rachel"}]},
    "/v1/generate/ad-copy": {"reference_ad_url": "https://example.com/ad.png"},
    "/v1/generate/captions": {"media_url": "https://example.com/a.mp4"},
    "/v1/generate/dubbing": {"video_url": "https://example.com/a.mp4", "languages": ["de"]},
    "/v1/generate/sound": {"prompt": "rain", "duration": 5},
    "/v1/generate/remove-background": {"image_url": "https://example.com/a.png"},
    "/v1/generate/separation": {"media_url": "https://example.com/a.mp3"},
    "/v1/generate/music/persona": {"song_id": "a", "name": "b", "description": "c"},
    "/v1/estimate": {"model": "nano-banana-2"},
    "/_sandbox/knobs": {"fail_next": 0},
    "/_sandbox/keys": {"key": "sk_live_other"},
}
POSTS = sorted(BODIES)
NO_JSON = {
    "nothing": b"",
    "half a document": b'{"prompt": "a',
    "no UTF-8": b'{"prompt": "\xff\xfe"}',
    "latin-1": '{"prompt": "Grüße", "model": "z-image"}'.encode("latin-1"),
    "nested": b'{"prompt": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "a number of 5000 digits": b'{"seed": ' + b"1" * 5000 + b"}",
    "a list": b"[]",
    "null": b"null",
    "a text": b'"{}"',
    "a bare NaN": b"NaN",
}


def _values(body: dict[str, Any], odd: str) -> Iterator[bytes]:
    """The body as often as it has fields, each time with `odd` in place of one; also within lists and objects."""
    for name, value in body.items():
        inner = json.dumps(value)
        yield json.dumps({**body, name: "@"}).replace('"@"', odd).encode()
        if isinstance(value, list):
            yield json.dumps({**body, name: ["@"]}).replace('"@"', odd).encode()
            yield json.dumps({**body, name: [{"text": "@", "voice": "@"}]}).replace('"@"', odd).encode()
        assert inner


def _paid(sandbox: RunningSandbox) -> list[Any]:
    return [job for account in sandbox.control.books()["accounts"] for job in account["jobs"]]


def _explained(answer: httpx.Response, *statuses: int) -> None:
    assert answer.status_code in statuses, answer.text[:300]
    assert answer.headers["content-type"] == "application/json"
    said = json.loads(answer.text, parse_constant=lambda name: pytest.fail(f"{name} in {answer.text[:300]}"))
    assert said.keys() & {"detail", "error"}


@pytest.mark.parametrize("path", POSTS)
def test_what_is_no_json_is_refused(sandbox: RunningSandbox, http: httpx.Client, path: str) -> None:
    for body in NO_JSON.values():
        _explained(http.post(path, content=body, headers={**JSON, **CONTROL}), 400, 422)
    assert not _paid(sandbox)


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("odd", [r'"half \ud83d"', "NaN", "Infinity", "-Infinity", "1e999", r'{"\udc00": NaN}', "1e30"])
def test_values_that_no_json_has_are_refused_field_by_field(
    sandbox: RunningSandbox, http: httpx.Client, path: str, odd: str
) -> None:
    for body in _values(BODIES[path], odd):
        _explained(http.post(path, content=body, headers={**JSON, **CONTROL}), 400, 422)
    assert not _paid(sandbox)


@pytest.mark.parametrize(
    "field", ["duration", "stability", "cloning_strength", "style_weight", "reference_video_seconds"]
)
@pytest.mark.parametrize("odd", ["NaN", "Infinity", "1e308", "-1e308", "1e999"])
def test_numbers_are_bounded(sandbox: RunningSandbox, http: httpx.Client, field: str, odd: str) -> None:
    path = {
        "duration": "/v1/generate/sound",
        "stability": "/v1/generate/dialogue",
        "cloning_strength": "/v1/generate/dubbing",
        "style_weight": "/v1/generate/music",
        "reference_video_seconds": "/v1/estimate",
    }[field]
    body = json.dumps({**BODIES[path], field: "@"}).replace('"@"', odd)
    _explained(http.post(path, content=body, headers=JSON), 400, 422)
    assert not _paid(sandbox)


@pytest.mark.parametrize(
    "url", ["https://[::1", "https://host.example:99999/a.png", "http://[", "//[::1", "https://\u2100.example/a.png"]
)
def test_urls_that_cannot_be_taken_apart_are_refused(sandbox: RunningSandbox, http: httpx.Client, url: str) -> None:
    for path, body in BODIES.items():
        for name in [name for name in body if name.endswith("_url")]:
            _explained(http.post(path, json={**body, name: url}), 400)
    edit = {"prompt": "a", "model": "nano-banana-edit", "generation_type": "image-to-image", "source_media_urls": [url]}
    _explained(http.post("/v1/generate/media", json=edit), 400)
    assert not _paid(sandbox)


def test_a_422_does_not_repeat_what_was_sent(http: httpx.Client) -> None:
    for body in (rb'{"prompt": "half \ud83d", "model": "z-image"}', b'{"prompt": 7777, "model": "z-image"}'):
        answer = http.post("/v1/generate/media", content=body, headers=JSON)
        (found,) = answer.json()["detail"]
        assert found.keys() == {"loc", "msg", "type"}
        assert "prompt" in f"{found['loc']} {found['msg']}"
        assert "7777" not in answer.text


def test_a_body_of_another_type_is_not_read_as_json(sandbox: RunningSandbox, http: httpx.Client) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "a/b/c", ";;"):
        _explained(
            http.post("/v1/generate/media", content=json.dumps(PICTURE), headers={"Content-Type": kind}), 400, 422
        )
    assert not _paid(sandbox)


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=x; charset=idna", "application/json"]
)
@pytest.mark.parametrize(
    "body", [b"", b"--x\r\n\r\n", b"--x--", b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\na\r\n--x--']
)
def test_broken_uploads_are_refused(http: httpx.Client, kind: str, body: bytes) -> None:
    _explained(http.post("/v1/upload/media", content=body, headers={"Content-Type": kind}), 400, 422)


def test_too_much_json_is_refused_whether_or_not_it_says_how_long_it_is(
    sandbox: RunningSandbox, http: httpx.Client
) -> None:
    def blocks() -> Iterator[bytes]:
        yield b'{"prompt": "'
        for _ in range(40):
            yield b"x" * 65_536

    for content in (b'{"prompt": "' + b"x" * 3_000_000, blocks()):
        _explained(http.post("/v1/generate/media", content=content, headers=JSON), 413)
    assert not _paid(sandbox)


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "BREW"])
def test_other_methods_are_refused_by_name(http: httpx.Client, method: str) -> None:
    for path in (*POSTS, "/v1/models", "/v1/balance", "/health", "/openapi.json"):
        answer = http.request(method, path, headers=CONTROL)
        assert answer.status_code == 405 or (method, path) == ("HEAD", "/openapi.json"), (path, answer.status_code)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/generate/media/" + "x" * 20_000,
        "/v1/generate/media/%00",
        "/v1/generate/media/%ED%A0%80",
        "/v1/generate/media/..%2f..%2fbooks.sqlite3",
        "/v1/generate/music/%f0%28%8c%28/stream",
        "/files/..%2fbooks.sqlite3",
        "/files/" + "%C3%A4" * 5_000,
        "/docs/models/%00.json",
        "/docs/models/" + "x" * 20_000 + ".json",
        "/v1/" + "a/" * 10_000,
        "//v1//models",
        "/%",
    ],
)
def test_odd_paths_lead_nowhere(http: httpx.Client, path: str) -> None:
    _explained(http.get(path), 404, 422)


def test_odd_queries_are_ignored_or_refused(http: httpx.Client) -> None:
    for query in ("limit=" + "9" * 5000, "limit=1e3", "limit=NaN", "limit=", "limit=5&limit=x"):
        _explained(http.get(f"/v1/generations?{query}"), 422)
    for query in (
        "limit=-99999999999999999999",
        "status=%ED%A0%80",
        "model=%00",
        "&&==&%",
        "model_type[]=1",
        "a" * 20_000,
    ):
        for path in ("/v1/generations", "/v1/models"):
            assert http.get(f"{path}?{query}").status_code == 200


def _raw(sandbox: RunningSandbox, request: bytes) -> bytes:
    parts = urlsplit(sandbox.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as line:
        line.sendall(request)
        line.shutdown(socket.SHUT_WR)
        return line.recv(65_536)


@pytest.mark.parametrize("host", [b"[::1", b"]", b"[v9.x]", "\u2100".encode(), b"a@b", b""])
def test_a_host_that_is_none_is_refused(sandbox: RunningSandbox, host: bytes) -> None:
    status = _raw(sandbox, b"GET /v1/models HTTP/1.1\r\nHost: " + host + b"\r\n\r\n").split(b" ", 2)[1]
    assert status in (b"400", b"421")


def test_a_body_that_breaks_off_is_no_order(sandbox: RunningSandbox) -> None:
    head = (
        f"POST /v1/generate/media HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY}\r\nContent-Type: application/json\r\n"
    )
    body = json.dumps(PICTURE).encode()
    for cut in (
        b"Content-Length: %d\r\n\r\n%s" % (len(body) + 1, body),
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(body), body),
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ):
        answer = _raw(sandbox, head.encode() + cut)
        assert not answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 5")), answer
    assert not _paid(sandbox)


def test_of_a_key_that_stands_twice_the_last_counts(http: httpx.Client) -> None:
    body = b'{"prompt": "a", "model": "no-such-model", "model": "z-image"}'
    assert http.post("/v1/generate/media", content=body, headers=JSON).json()["model"] == "z-image"


@pytest.mark.parametrize(
    "change",
    [
        {"speed": 1e-300},
        {"fail_next": 10**30},
        {"fail_seed": 10**30},
        {"faults": [{"on": "*", "kind": "status", "retry_after": -1}]},
        {"faults": [{"on": "*", "kind": "status", "retry_after": 1e300}]},
    ],
)
def test_knobs_cannot_be_turned_beyond_what_the_stand_in_can_do(http: httpx.Client, change: dict[str, Any]) -> None:
    _explained(http.post("/_sandbox/knobs", json=change, headers=CONTROL), 422)


def test_rehearsed_faults_hold_what_json_can_say(sandbox: RunningSandbox, http: httpx.Client) -> None:
    for odd in ("NaN", r'"\ud800"', r'{"\ud800": 1}', "[1e999]"):
        body = '{"faults": [{"on": "*", "kind": "status", "body": {"a": @}}]}'.replace("@", odd)
        _explained(http.post("/_sandbox/knobs", content=body, headers={**JSON, **CONTROL}), 422)
    sandbox.control.fault("GET /v1/models", "status", status=204)
    assert http.get("/v1/models").status_code == 204
