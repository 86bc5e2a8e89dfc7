"""Who is let through the hosted door, and what can go wrong there on purpose."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from mcp import MCPError

from tests.e2e.standalone import standalone_sandbox
from tests.hosted_standin import TOKEN, finished, official_client, said
from tests.sandbox_server import KEY, TRUSTS_NOBODY, running_sandbox

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sandbox_server import RunningSandbox

pytestmark = pytest.mark.anyio

PICTURE = {"prompt": "a red kettle", "model": "nano-banana-2"}
MODERN = {"MCP-Protocol-Version": "2026-07-28", "Accept": "application/json, text/event-stream"}


def _sent(sandbox: RunningSandbox, headers: dict[str, str], **body: Any) -> httpx.Response:
    return httpx.post(f"{sandbox.url}/mcp", headers=headers, verify=TRUSTS_NOBODY, trust_env=False, **body)


def _post(sandbox: RunningSandbox, tool: str, token: str | None = TOKEN, **arguments: Any) -> httpx.Response:
    """One call as it goes over the wire."""
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    headers = {**MODERN, "Mcp-Method": "tools/call", "Mcp-Name": tool}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return _sent(sandbox, headers=headers, json=body)


def _jobs(sandbox: RunningSandbox) -> int:
    return sum(len(account["jobs"]) for account in sandbox.control.books()["accounts"])


def test_without_a_valid_token_it_says_where_to_get_one(sandbox: RunningSandbox) -> None:
    sandbox.control.token("kbz_pat_old", expires_in=0)
    sandbox.control.token("kbz_pat_gone", revoked=True)
    where = f'resource_metadata="{sandbox.url}/.well-known/oauth-protected-resource/mcp"'
    for token in ("nobody's", KEY, "kbz_pat_old", "kbz_pat_gone"):
        answer = _post(sandbox, "get_balance", token)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == f'Bearer error="invalid_token", {where}'
    assert _post(sandbox, "get_balance", None).headers["www-authenticate"] == f"Bearer {where}"
    assert sandbox.client(TOKEN).get("/v1/balance").status_code == 401


def test_any_text_can_be_made_a_token(sandbox: RunningSandbox) -> None:
    sandbox.control.token("whatever it looks like", credits=7)
    answer = _post(sandbox, "get_balance", "whatever it looks like").json()
    assert answer["result"]["structuredContent"]["credits"] == 7


@pytest.mark.parametrize("where", ["http", "tool"])
def test_a_missing_scope_is_named_and_nothing_is_charged(sandbox: RunningSandbox, where: str) -> None:
    sandbox.control.token(TOKEN, scopes=["read:balance", "read:generations"])
    sandbox.control.knobs(scope_refusals=where)
    answer = _post(sandbox, "generate_media", **PICTURE)
    if where == "http":
        assert answer.status_code == 403
        assert 'error="insufficient_scope", scope="generate:media"' in answer.headers["www-authenticate"]
    else:
        result = answer.json()["result"]
        assert (result["isError"], result["structuredContent"]["error"]) == (True, "insufficient_scope")
        assert "generate:media" in result["structuredContent"]["message"]
    assert _jobs(sandbox) == 0
    assert _post(sandbox, "get_balance").status_code == 200


def test_a_token_ends_in_the_middle_of_a_job(sandbox: RunningSandbox) -> None:
    job = _post(sandbox, "generate_media", **PICTURE).json()["result"]["structuredContent"]["generation_id"]
    sandbox.control.fault("POST /mcp tools/call get_status", "expire_token", skip=1)
    statuses = [_post(sandbox, "get_status", id=job).status_code for _ in range(3)]
    assert statuses == [200, 401, 401]
    sandbox.control.token(TOKEN, expires_in=60)
    assert _post(sandbox, "get_status", id=job).status_code == 200
    sandbox.control.fault("POST /mcp *", "revoke_token")
    assert _post(sandbox, "get_status", id=job).status_code == 401


def test_all_tokens_can_be_ended_at_once(sandbox: RunningSandbox) -> None:
    assert _post(sandbox, "get_balance").status_code == 200
    sandbox.control.token(expires_in=0)
    assert _post(sandbox, "get_balance").status_code == 401


@pytest.mark.parametrize(("kind", "jobs"), [("cut_before_acceptance", 0), ("cut_after_acceptance", 1)])
def test_a_call_is_cut(sandbox: RunningSandbox, kind: str, jobs: int) -> None:
    sandbox.control.fault("POST /mcp tools/call generate_media", kind)
    with pytest.raises(httpx.TransportError):
        _post(sandbox, "generate_media", **PICTURE)
    assert _jobs(sandbox) == jobs
    assert _post(sandbox, "get_balance").status_code == 200


async def test_a_stream_ends_before_its_answer(sandbox: RunningSandbox) -> None:
    """In the older era answers come as events; the job was accepted all the same."""
    async with official_client(sandbox.url, mode="legacy") as client:
        await said(client, "get_balance")
        sandbox.control.fault("POST /mcp tools/call generate_media", "drop_stream")
        with suppress(MCPError), anyio.move_on_after(1):
            await client.call_tool("generate_media", PICTURE)
    assert _jobs(sandbox) == 1
    sandbox.control.fault("POST /mcp tools/call generate_media", "drop_stream")
    with pytest.raises(httpx.TransportError):
        _post(sandbox, "generate_media", **PICTURE)
    assert _jobs(sandbox) == 2


@pytest.mark.parametrize(("kind", "status"), [("status", 500), ("html", 502), ("status", 429), ("status", 401)])
def test_something_else_answers(sandbox: RunningSandbox, kind: str, status: int) -> None:
    sandbox.control.fault("POST /mcp tools/call estimate", kind, status=status)
    assert _post(sandbox, "estimate", model=PICTURE["model"]).status_code == status
    assert _post(sandbox, "estimate", model=PICTURE["model"]).status_code == 200


@pytest.mark.parametrize("body", [b"", b"[1]", b"nonsense", b'{"params": 3}', b"[" * 100_000])
def test_a_body_that_is_no_call_is_refused(sandbox: RunningSandbox, body: bytes) -> None:
    headers = {**MODERN, "Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    answer = _sent(sandbox, headers=headers, content=body)
    assert 400 <= answer.status_code < 500


def test_pages_of_other_sites_and_huge_bodies_are_refused(sandbox: RunningSandbox) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    for more in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = httpx.post(
            f"{sandbox.url}/mcp", json={}, headers={**headers, **more}, verify=TRUSTS_NOBODY, trust_env=False
        )
        assert answer.status_code == 403

    def endless() -> Any:
        yield from [b" " * 1024 * 1024] * 3

    answer = _sent(sandbox, headers=headers, content=endless())
    assert answer.status_code == 413


async def test_a_restart_keeps_all_but_the_sessions(tmp_path: Path) -> None:
    """Callers that were connected reach it again at the same address; the older era has to begin a session anew."""
    with ExitStack() as running:

        def started() -> RunningSandbox:
            running.close()
            return running.enter_context(running_sandbox(tmp_path, speed=10_000, hosted=True))

        sandbox = started()
        sandbox.control.token("odd one", credits=90)
        async with (
            official_client(sandbox.url, "odd one") as client,
            official_client(sandbox.url, "odd one", mode="legacy") as older,
        ):
            job = (await said(older, "generate_media", **PICTURE))["generation_id"]
            upload = (await said(client, "get_upload_url"))["token"]
            assert started().url == sandbox.url
            assert (await finished(client, job))["status"] == "completed"
            assert (await said(client, "get_upload_session", token=upload))["count"] == 0
            with pytest.raises(MCPError, match="Session not found"):
                await older.call_tool("get_balance", {})


def test_the_door_is_closed_unless_asked_for(tmp_path: Path) -> None:
    with running_sandbox(tmp_path) as sandbox:
        assert _post(sandbox, "get_balance").status_code == 404


async def test_an_error_of_the_protocol_comes_as_an_event(sandbox: RunningSandbox) -> None:
    for mode in ("auto", "legacy"):
        async with official_client(sandbox.url, mode=mode) as client:
            await said(client, "get_balance")
            body = {"code": -32001, "message": "Unauthorized"}
            sandbox.control.fault("POST /mcp tools/call generate_media", "rpc_error", body=body)
            with pytest.raises(MCPError, match="Unauthorized"):
                await client.call_tool("generate_media", PICTURE)
    assert _jobs(sandbox) == 0


def test_the_stream_beside_the_calls_is_refused_or_dropped(sandbox: RunningSandbox) -> None:
    opening = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": MODERN["Accept"]}
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": opening}
    with httpx.Client(base_url=sandbox.url, headers=headers, verify=TRUSTS_NOBODY, trust_env=False, timeout=10) as http:
        session = {"Mcp-Session-Id": http.post("/mcp", json=body).headers["mcp-session-id"]}
        sandbox.control.fault("GET /mcp", "status", status=401)
        assert http.get("/mcp", headers=session).status_code == 401
        sandbox.control.fault("GET /mcp", "drop_stream")
        dropped = http.get("/mcp", headers=session)
        assert (dropped.status_code, dropped.content) == (200, b"")


def test_the_command_serves_it_with_tokens_of_any_form(tmp_path: Path) -> None:
    with standalone_sandbox(tmp_path, 1000, "--hosted", "--token", "mine, all mine") as sandbox:
        assert _post(sandbox, "get_balance", "mine, all mine").status_code == 200
        assert _post(sandbox, "get_balance", "yours").status_code == 401
