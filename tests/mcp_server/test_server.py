"""Clients hear of it when a recipe file comes, changes or goes."""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp import Client
from mcp.types import PromptListChangedNotification

from kubeez_mcp_local.bridge import Bridge
from kubeez_mcp_local.mcp_server import server
from kubeez_mcp_local.mcp_server.server import KubeezServer
from kubeez_mcp_local.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
RECIPE = "---\nname: {name}\ntitle: {title}\ndescription: Says hello.\n---\nHello.\n"
PATIENCE = 20


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LOOK_EVERY_SECONDS", 0.02)


def server_of(folder: Path) -> KubeezServer:
    flags = {"state_dir": str(folder / "state"), "output_dir": str(folder / "out"), "recipes": str(folder)}
    return KubeezServer(Bridge(load_settings(flags, environ={}, working_dir=folder)))


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_server_has_an_icon_and_its_tools_have_none(tmp_path: Path, mode: str) -> None:
    async with Client(server_of(tmp_path), mode=mode) as client:
        assert client.server_info is not None
        [icon] = client.server_info.icons or []
        assert b64decode(icon.src.removeprefix("data:image/svg+xml;base64,")).startswith(b"<svg ")
        assert len(icon.src) < 1000
        assert not any(tool.icons for tool in (await client.list_tools()).tools)
        assert all(prompt.title for prompt in (await client.list_prompts()).prompts)


async def names(client: Client) -> set[str]:
    return {prompt.name for prompt in (await client.list_prompts()).prompts}


async def test_an_old_client_is_notified(tmp_path: Path) -> None:
    heard = anyio.Event()

    async def listen(message: Any) -> None:
        if isinstance(message, PromptListChangedNotification):
            heard.set()

    async with Client(server_of(tmp_path), mode="legacy", message_handler=listen) as client:
        assert "hello" not in await names(client)
        (tmp_path / "hello.md").write_text(RECIPE.format(name="hello", title="Hello"))
        with anyio.fail_after(PATIENCE):
            await heard.wait()
        assert "hello" in await names(client)


async def test_a_new_client_hears_it_on_its_stream(tmp_path: Path) -> None:
    (tmp_path / "hello.md").write_text(RECIPE.format(name="hello", title="Hello"))
    async with Client(server_of(tmp_path), mode="auto") as client:
        async with client.listen(prompts_list_changed=True) as events:
            (tmp_path / "hello.md").write_text(RECIPE.format(name="hello", title="Hello again"))
            with anyio.fail_after(PATIENCE):
                assert "prompts" in repr(await anext(aiter(events))).lower()
        titles = {prompt.title for prompt in (await client.list_prompts()).prompts}
        assert "Hello again" in titles


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_recipes_that_are_added_while_the_server_runs_are_found(tmp_path: Path, mode: str) -> None:
    from kubeez_mcp_local.cookbook.share import Sharing

    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "late.md").write_text(RECIPE.format(name="late", title="Late"))
    async with Client(server_of(tmp_path), mode=mode) as client:
        assert "late" not in await names(client)
        await Sharing(tmp_path / "state").add(str(shared))
        assert "late" in await names(client)
