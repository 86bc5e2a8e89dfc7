"""No token is anywhere but where it is kept and at whom it is sent to, whatever is done and whatever goes wrong."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from kubeez_mcp_local.bridge.login import sign_out
from kubeez_mcp_local.hosted.tokens import Kept
from kubeez_mcp_local.logs import configure_logging
from kubeez_mcp_local.settings import config_file
from tests.hosted_standin import signed_in
from tests.mcp_server.driving import SPEED, client_of, clip, made, song
from tests.sandbox_server import RunningSandbox, running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mcp import Client

    from tests.keyrings import MemoryKeyring

pytestmark = pytest.mark.anyio
GIVEN = "kbz_pat_Canary/that+sings~nowhere=="


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("hosted"), speed=SPEED, hosted=True, rate_limits="off") as running:
        yield running


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """Everything that is logged, at the level that says most."""
    before = logging.root.handlers[:], logging.root.level
    configure_logging("debug", file := tmp_path / "everything.log")
    yield file
    logging.root.handlers[:], _ = before
    logging.root.setLevel(before[1])


def everything_below(folder: Path) -> bytes:
    return b"\n".join(str(file).encode() + b"\n" + file.read_bytes() for file in folder.rglob("*") if file.is_file())


async def conversation(sandbox: RunningSandbox, folder: Path, token: str, **variables: str) -> str:
    """What a client is told while work is done, refused, broken off and forbidden; `token` is said back wherever it can
    be."""
    told: list[str] = []

    async def ask(client: Client, tool: str, **arguments: object) -> bool:
        result = await client.call_tool(tool, arguments)
        told.append(result.model_dump_json())
        return bool(result.is_error)

    fault = sandbox.control.fault
    door = {"KUBEEZ_API_KEY": "", "KUBEEZ_PREFER": "hosted", "KUBEEZ_MCP_URL": f"{sandbox.url}/mcp"}
    async with client_of(sandbox, folder, **door, **variables) as client:
        film = await clip(client)
        told.append(json.dumps(await made(client, "generate_separation", media_url=song(folder))))
        assert not await ask(client, "get_balance")
        assert not await ask(client, "get_generations")
        answer = {"error": "invalid_parameters", "message": f"the token {token} at https://a.example/?t={quote(token)}"}
        fault("POST /mcp tools/call generate_media", "status", status=400, body=answer)
        assert await ask(client, "generate_media", prompt="a kite", model="nano-banana-2")
        error = {"code": -32602, "message": f"Bearer {token} cannot do that"}
        fault("POST /mcp tools/call generate_captions", "rpc_error", body=error)
        assert await ask(client, "generate_captions", media_url=film)
        fault("POST /mcp tools/call generate_music", "cut_after_acceptance")
        await ask(client, "generate_music", prompt="a song about a kite")
        sandbox.control.knobs(faults=[])
        sandbox.control.token(revoked=True)
        assert await ask(client, "generate_media", prompt="another kite", model="nano-banana-2")
        sandbox.control.token(token, revoked=False)
    return "".join(told)


@pytest.mark.parametrize("by", ["sign-in", "token"])
async def test_no_token_is_in_any_result_log_output_file_name_or_address(
    sandbox: RunningSandbox, ring: MemoryKeyring, log: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], by: str
) -> None:
    secrets, variables = {GIVEN}, {"KUBEEZ_MCP_TOKEN": GIVEN}
    token = GIVEN
    if by == "sign-in":
        kept = await signed_in(sandbox)
        variables, token = {}, kept.access_token
    else:
        sandbox.control.token(GIVEN, credits=1000)

    def look() -> None:
        for text in ring.kept.values():
            if found := Kept.read(text):
                secrets.update({found.access_token, found.refresh_token or found.access_token})

    look()
    told = await conversation(sandbox, tmp_path, token, **variables)
    look()
    if by == "sign-in":
        kept = await signed_in(sandbox)
        look()
        assert len(secrets) >= 5
        await sign_out(config_file())
    assert "Bearer [token] cannot do that" in told, "what the server says is told, without the token"
    assert "tools/call get_balance" in everything_below(log.parent).decode("latin-1")
    out, err = capfd.readouterr()
    channels = {
        "results": told,
        "stdout": out,
        "stderr": err,
        "files, their names, log and ledger": everything_below(tmp_path).decode("latin-1"),
        "home": everything_below(Path.home()).decode("latin-1"),
        "what was called": json.dumps(sandbox.control.books()["calls"]),
    }
    sung = [
        (channel, by)
        for channel, content in channels.items()
        for secret in secrets
        if secret in content or quote(secret) in content or quote(secret, safe="") in content
    ]
    assert sung == []
