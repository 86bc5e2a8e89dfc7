"""A key is only ever asked for by a page of this machine, where one is needed, and nobody is asked twice."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from mcp import Client
from mcp.types import ElicitationCapability, ElicitRequestURLParams, ElicitResult, FormElicitationCapability

from kubeez_mcp_local.bridge import Bridge, UnusableBridge
from kubeez_mcp_local.mcp_server import call
from kubeez_mcp_local.mcp_server.server import KubeezServer
from kubeez_mcp_local.settings import NoKeyError, load_settings, settings_to_list_by, settings_to_log_in_by
from tests.keyrings import MemoryKeyring, use
from tests.mcp_server.test_approval_page import LINKS, able_to
from tests.mcp_server.test_consent import PICTURE, facts, live
from tests.sandbox_server import KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mcp.types import ElicitRequestParams

    from tests.sandbox_server import RunningSandbox

pytestmark = pytest.mark.anyio
ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])
REVOKED = "sk_live_revoked0000000000"


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch) -> MemoryKeyring:
    able_to(monkeypatch, LINKS)
    monkeypatch.setattr(call, "PAGE_SECONDS", 0.05)
    return use(monkeypatch, MemoryKeyring())


@dataclass
class Person:
    """Opens links, or does not, and enters what they type on the page."""

    opens: Any = "accept"
    types: str = ""
    links: list[ElicitRequestURLParams] = field(default_factory=list)

    async def asked(self, context: Any, params: ElicitRequestParams) -> ElicitResult:
        assert isinstance(params, ElicitRequestURLParams)
        self.links.append(params)
        if self.types:
            await entered(params.url, self.types)
        return ElicitResult(action=self.opens)

    @asynccontextmanager
    async def at(self, bridge: Bridge, mode: str) -> AsyncIterator[Client]:
        async with Client(KubeezServer(bridge), mode=mode, elicitation_callback=self.asked) as client:
            yield client


async def entered(url: str, key: str) -> None:
    async with httpx.AsyncClient(trust_env=False, verify=False) as browser:
        origin = {"Origin": "/".join(url.split("/")[:3])}
        assert (await browser.post(url, data={"key": key}, headers=origin)).status_code == 303


def revoked(folder: Path, api: RunningSandbox, **more: str) -> Bridge:
    api.control.key(REVOKED, revoked=True)
    environ = live(folder, api) | {"KUBEEZ_API_KEY": REVOKED} | more
    return Bridge(load_settings(environ=environ, working_dir=folder), config=folder / "config.env")


async def refusal(client: Client) -> dict[str, Any]:
    error: dict[str, Any] = facts(await client.call_tool("generate_media", PICTURE))["error"]
    assert error["credits_spent"] is False
    return error


@ERAS
async def test_where_the_api_refuses_the_key_a_page_takes_another_one(
    tmp_path: Path, api: RunningSandbox, mode: str, ring: MemoryKeyring
) -> None:
    person = Person(types=KEY)
    async with person.at(revoked(tmp_path, api), mode) as client:
        error = await refusal(client)
        assert error["code"] == "unauthorized"
        assert "restart it in your program" in error["next_step"]
        assert (await refusal(client))["next_step"] == error["next_step"]
    [link] = person.links
    assert link.url.startswith("http://127.0.0.1:")
    assert link.message.startswith("The API does not accept the key")
    assert not any(key in f"{link.message}{link.url}{error}" for key in (KEY, REVOKED))
    assert list(ring.kept.values()) == [KEY]


@ERAS
async def test_a_no_is_taken_and_nobody_is_asked_again(
    tmp_path: Path, api: RunningSandbox, mode: str, ring: MemoryKeyring
) -> None:
    person = Person(opens="decline")
    async with person.at(revoked(tmp_path, api), mode) as client:
        for _ in range(2):
            assert "kubeez-mcp-local login" in (await refusal(client))["next_step"]
    assert len(person.links) == 1


@ERAS
async def test_a_key_that_is_entered_later_is_known_of_at_the_next_call(
    tmp_path: Path, api: RunningSandbox, mode: str, ring: MemoryKeyring
) -> None:
    person = Person()
    async with person.at(revoked(tmp_path, api), mode) as client:
        for _ in range(2):
            assert "never here" in (await refusal(client))["next_step"]
        [link] = person.links
        await entered(link.url, KEY)
        assert "restart it in your program" in (await refusal(client))["next_step"]
    assert len(person.links) == 1


async def test_a_variable_that_would_win_over_the_new_key_is_named(
    tmp_path: Path, api: RunningSandbox, ring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBEEZ_API_KEY", REVOKED)
    async with Person(types=KEY).at(revoked(tmp_path, api), "auto") as client:
        assert "take KUBEEZ_API_KEY out of its entry" in (await refusal(client))["next_step"]


@ERAS
async def test_live_mode_without_a_key_asks_for_one(
    tmp_path: Path, api: RunningSandbox, mode: str, ring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.env"
    config.write_text(f"KUBEEZ_MODE=live\nKUBEEZ_BASE_URL={api.url}\n")
    monkeypatch.delenv("KUBEEZ_API_KEY", raising=False)
    with pytest.raises(NoKeyError) as trouble:
        load_settings(env_file=config, working_dir=tmp_path)
    log_in_by = settings_to_log_in_by(env_file=config)
    bridge = UnusableBridge(trouble.value, settings_to_list_by(env_file=config), log_in_by=log_in_by, config=config)
    person = Person(types=KEY)
    async with person.at(bridge, mode) as client:
        error = await refusal(client)
        assert error["code"] == "invalid_setting"
        assert "The server was started without a key: restart it" in error["next_step"]
    assert len(person.links) == 1
    assert list(ring.kept.values()) == [KEY]
    assert load_settings(env_file=config, working_dir=tmp_path).login is not None


async def test_other_clients_and_other_errors_are_not_offered_a_page(
    tmp_path: Path, api: RunningSandbox, ring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = Person()
    async with person.at(revoked(tmp_path, api), "auto") as client:
        await client.call_tool("get_models", {"query": "z-image", "limit": 999})
        assert person.links == []
    sandbox = revoked(tmp_path, api, KUBEEZ_MODE="sandbox")
    async with person.at(sandbox, "auto") as client:
        assert (await refusal(client))["code"] == "unauthorized"
        assert person.links == []
    able_to(monkeypatch, ElicitationCapability(form=FormElicitationCapability()))
    async with person.at(revoked(tmp_path, api), "auto") as client:
        assert "kubeez-mcp-local login" in (await refusal(client))["next_step"]
        assert person.links == []
