"""Who may call what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from kubeez_mcp_local.sandbox.app import create_app
from kubeez_mcp_local.sandbox.books import Books
from tests.sandbox_server import CONTROL

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sandbox_server import RunningSandbox


@pytest.mark.parametrize(
    "headers", [{"X-API-Key": "sk_live_example"}, {"Authorization": "Bearer sk_live_example"}], ids=["header", "bearer"]
)
def test_either_header_carries_the_key(sandbox: RunningSandbox, headers: dict[str, str]) -> None:
    with sandbox.client(key=None) as client:
        assert client.get("/v1/balance", headers=headers).json()["credits"] == 10_000


@pytest.mark.parametrize("key", [None, "sk_test_example", "sk_live_", "nonsense"])
def test_other_keys_are_refused(sandbox: RunningSandbox, key: str | None) -> None:
    with sandbox.client(key=key) as client:
        answer = client.get("/v1/models")
    assert answer.status_code == 401
    assert isinstance(answer.json()["detail"], str)


def test_a_missing_key_is_told_before_a_missing_field(sandbox: RunningSandbox) -> None:
    with sandbox.client(key=None) as client:
        assert client.post("/v1/generate/media", json={}).status_code == 401


def test_each_key_has_an_account_of_its_own(sandbox: RunningSandbox) -> None:
    for key in ("sk_live_one", "sk_live_two"):
        with sandbox.client(key=key) as client:
            client.get("/v1/balance")
    assert len(sandbox.control.books()["accounts"]) == 2


def test_two_keys_can_share_an_account(sandbox: RunningSandbox) -> None:
    sandbox.control.key("sk_live_one", account="team", credits=50)
    sandbox.control.key("sk_live_two", account="team")
    with sandbox.client(key="sk_live_two") as client:
        assert client.get("/v1/balance").json()["credits"] == 50


@pytest.mark.parametrize(
    ("path", "body", "scope"),
    [
        ("/v1/generate/media", {"prompt": "a", "model": "z-image"}, "generate:media"),
        ("/v1/generate/music", {"prompt": "a"}, "generate:music"),
        ("/v1/generate/dialogue", {"dialogue": [{"text": "hello"}]}, "generate:speech"),
        ("/v1/generate/ad-copy", {"reference_ad_url": "https://example.com/a.png"}, "generate:ads"),
    ],
)
def test_a_key_without_the_scope_gets_403_that_names_it(
    sandbox: RunningSandbox, path: str, body: dict[str, object], scope: str
) -> None:
    sandbox.control.key("sk_live_reader", scopes=["read:balance"])
    with sandbox.client(key="sk_live_reader") as client:
        answer = client.post(path, json=body)
    assert answer.status_code == 403
    assert scope in answer.json()["detail"]


def test_a_key_can_be_revoked_midway(sandbox: RunningSandbox, http: httpx.Client) -> None:
    assert http.get("/v1/balance").status_code == 200
    sandbox.control.key("sk_live_example", revoked=True)
    assert http.get("/v1/balance").status_code == 401
    sandbox.control.key("sk_live_example", revoked=False)
    assert http.get("/v1/balance").status_code == 200


def test_no_key_is_kept_in_the_books(sandbox: RunningSandbox, http: httpx.Client) -> None:
    http.get("/v1/balance")
    assert "sk_live_example" not in str(sandbox.control.books())


def test_foreign_host_names_are_refused(sandbox: RunningSandbox) -> None:
    with sandbox.client() as client:
        assert client.get("/v1/balance", headers={"Host": "evil.example"}).status_code == 421
        assert client.get("/_sandbox/books", headers={"Host": "evil.example:80"}).status_code == 421
        assert client.get("/health", headers={"Host": "localhost:1"}).status_code == 200
        assert client.get("/health", headers={"Host": "127.0.0.1.evil.example"}).status_code == 421
        assert client.get("/health", headers={"Host": "[::1]:80"}).status_code == 200


def test_no_page_but_one_of_its_own_can_turn_the_knobs(sandbox: RunningSandbox) -> None:
    """Another port of this machine is another site: what runs there must not write our books."""
    foreign = [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost:3000"},
        {"Origin": sandbox.url.replace("127.0.0.1", "localhost")},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
    ]
    with sandbox.client(key=None) as client:
        for headers in foreign:
            for method, path in (("POST", "reset"), ("POST", "knobs"), ("GET", "books"), ("POST", "keys")):
                answer = client.request(method, f"/_sandbox/{path}", headers={**CONTROL, **headers}, json={})
                assert answer.status_code == 403, (headers, path)
        assert client.post("/_sandbox/reset", headers={**CONTROL, "Origin": sandbox.url}).status_code == 200


def test_a_request_that_browsers_send_without_asking_first_turns_no_knob(sandbox: RunningSandbox) -> None:
    with sandbox.client(key=None) as client:
        simple = client.post("/_sandbox/knobs", content='{"fail_next": 5}', headers={"Content-Type": "text/plain"})
        asked = client.options(
            "/_sandbox/knobs",
            headers={
                "Origin": "http://localhost:3000",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "x-kubeez-sandbox",
            },
        )
    assert simple.status_code == 403
    assert "X-Kubeez-Sandbox" in simple.json()["detail"]
    assert asked.status_code == 403
    assert "access-control-allow-origin" not in asked.headers
    assert sandbox.control.knobs()["fail_next"] == 0


def test_it_serves_no_page_that_runs_scripts_of_elsewhere(http: httpx.Client) -> None:
    assert [http.get(path).status_code for path in ("/docs", "/redoc")] == [404, 404]


@pytest.mark.anyio
async def test_another_machine_has_no_controls_whatever_host_it_names(tmp_path: Path) -> None:
    app = create_app(Books(tmp_path), hosts=("0.0.0.0",))
    for client, status in (("192.168.1.7", 403), ("127.0.0.1", 200), ("::1", 200)):
        transport = httpx.ASGITransport(app, client=(client, 50_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8787", headers=CONTROL) as http:
            assert (await http.get("/_sandbox/books")).status_code == status
            assert (await http.get("/health")).status_code == 200


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("bound", "host", "status"),
    [
        ("0.0.0.0", "192.168.1.5:8787", 200),
        ("0.0.0.0", "evil.example", 421),
        ("box.lan", "box.lan:8787", 200),
        ("127.0.0.1", "192.168.1.5:8787", 421),
    ],
)
async def test_bound_to_the_network_it_answers_for_addresses_and_its_own_name(
    tmp_path: Path, bound: str, host: str, status: int
) -> None:
    app = create_app(Books(tmp_path), hosts=(bound,))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://{host}") as client:
        assert (await client.get("/health")).status_code == status
        assert (await client.get("/_sandbox/books")).status_code == 421
