"""What the server has for hosts with MCP Apps: the page, previews and runs; and that no other client notices it."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio
import pytest
from mcp import Client, MCPError
from mcp.client.extension import ClientExtension
from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID
from mcp.types import BlobResourceContents, TextResourceContents
from PIL import Image

from kubeez_mcp_local.mcp_server.app import MOST_PREVIEW_BYTES, PREVIEWS, RUNS, page
from kubeez_mcp_local.mcp_server.inventory import APP
from kubeez_mcp_local.mcp_server.server import KubeezServer
from kubeez_mcp_local.mcp_server.tools import ALL_TOOLS, recipes
from kubeez_mcp_local.settings import Mode
from tests.mcp_server.driving import SPEED, bridge_of, call, clip, made, picture

if TYPE_CHECKING:
    from tests.sandbox_server import RunningSandbox

pytestmark = pytest.mark.anyio

VARIANTS = {"name": "three-ad-variants", "arguments": {"brief": "Tea for the night"}}
both = pytest.mark.parametrize("mode", ["auto", "legacy"])


class Apps(ClientExtension):
    identifier = EXTENSION_ID

    def settings(self) -> dict[str, Any]:
        return {"mimeTypes": [APP_MIME_TYPE]}


def preview_of(path: str) -> str:
    return PREVIEWS + quote(path, safe="")


async def seen(client: Client, path: str) -> Image.Image:
    """The preview, which is small."""
    contents = (await client.read_resource(preview_of(path))).contents[0]
    assert isinstance(contents, BlobResourceContents)
    assert len(contents.blob) <= MOST_PREVIEW_BYTES
    image = Image.open(io.BytesIO(base64.b64decode(contents.blob)))
    assert contents.mime_type == Image.MIME[image.format or ""]
    return image


async def run_now(client: Client, name: str) -> dict[str, Any]:
    contents = (await client.read_resource(RUNS + name)).contents[0]
    assert isinstance(contents, TextResourceContents)
    told: dict[str, Any] = json.loads(contents.text)
    return told


@both
async def test_four_tools_name_the_page_and_it_is_there(connected: Client) -> None:
    async with connected as client:
        tools = (await client.list_tools()).tools
        with_page = {tool.name for tool in tools if (tool.meta or {}).get("ui") == {"resourceUri": APP}}
        assert with_page == {"wait_for_generation", "get_generation", "run_recipe", "view_media"}
        assert [tool.name for tool in tools if tool.meta and tool.name not in with_page] == []
        contents = (await client.read_resource(APP)).contents[0]
        assert isinstance(contents, TextResourceContents)
        assert (contents.mime_type, contents.uri) == (APP_MIME_TYPE, APP)
        assert contents.meta == {"ui": {"prefersBorder": True}}
        assert len(contents.text.encode()) < 60_000
        assert contents.text.startswith("<!doctype html>")


async def test_the_extension_is_declared(connected: Client) -> None:
    async with connected as client:
        assert EXTENSION_ID in (client.server_capabilities.extensions or {})


def test_only_in_live_mode_may_the_page_load_anything_and_only_from_the_media_host() -> None:
    host = "https://media.kubeez.com"
    live, sandbox = page(Mode.LIVE), page(Mode.SANDBOX)
    assert live.meta == {"ui": {"csp": {"resourceDomains": [host]}, "prefersBorder": True}}
    assert sandbox.meta == {"ui": {"prefersBorder": True}}
    for shown, hosts in ((live, {host}), (sandbox, set())):
        text = str(shown.content)
        assert set(re.findall(r"https?://[^\s\"'`;>]+", text)) == {"http://www.w3.org/2000/svg", *hosts}
        assert re.findall(r"<(script|style|link|img|iframe|base|object)\b", text) == ["style", "script"]
        assert "default-src 'none'; style-src 'sha256-" in text
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text)


def test_the_page_calls_one_tool_and_that_one_is_free() -> None:
    text = str(page(Mode.SANDBOX).content)
    assert re.findall(r'"tools/call", \{ name: (\w+)', text) == ["LOOK"]
    assert text.count("tools/call") == 1
    (look,) = re.findall(r'const LOOK = "(\w+)"', text)
    assert next(spec for spec in ALL_TOOLS if spec.name == look).effect == "read"


@pytest.mark.parametrize("mode", ["legacy"])
async def test_a_client_without_apps_gets_the_same_bytes(api: RunningSandbox, tmp_path: Path, mode: str) -> None:
    bridge = bridge_of(api, tmp_path)
    async with bridge:
        server = KubeezServer(bridge, opened=True)
        async with Client(server, mode=mode) as plain, Client(server, mode=mode, extensions=[Apps()]) as with_apps:
            job = await made(plain, "generate_media", prompt="a kite", model="z-image")
            run = await call(plain, "run_recipe", **VARIANTS)
            for tool, arguments in (
                ("wait_for_generation", {"id": job["generation_id"]}),
                ("get_generation", {"id": job["generation_id"]}),
                ("view_media", {"output_id": run["run_id"]}),
                ("run_recipe", {**VARIANTS, "quote_only": True}),
            ):
                one, other = [await client.call_tool(tool, arguments) for client in (plain, with_apps)]
                assert one.model_dump_json() == other.model_dump_json()
                assert not one.is_error
            one_list, other_list = [await client.list_tools() for client in (plain, with_apps)]
            assert one_list.model_dump_json() == other_list.model_dump_json()
            uris = {str(resource.uri) for resource in (await plain.list_resources()).resources}
            assert not any(uri.startswith("ui:") for uri in uris)  # nothing a user could attach by mistake


async def test_outputs_and_their_sheets_are_previewed_and_nothing_else(connected: Client, tmp_path: Path) -> None:
    async with connected as client:
        names = {"prompt": "a kite", "model": "z-image", "variant_count": 2, "name": "100% kite & co"}
        started = await call(client, "generate_media", **names)
        done = await call(client, "wait_for_generation", id=",".join(started["generation_ids"]))
        for file in done["files"]:
            assert (await seen(client, file["path"])).width >= 512
        run = await call(client, "run_recipe", **VARIANTS)
        for sheet in (done["sheet"], run["sheet"]):
            assert (await seen(client, sheet)).width > 512
        assert (await seen(client, await clip(client))).width > 100
        beside = Path(done["files"][0]["path"]).with_name("private.png")
        Image.new("RGB", (9, 9)).save(beside)
        sidecar = next(Path(done["files"][0]["path"]).parent.glob("*.json"))
        gone = done["files"][0]["path"]
        for path in (str(beside), str(sidecar), picture(tmp_path), "/etc/hostname", f"{gone}/..", ""):
            with pytest.raises(MCPError, match="No output of a job lies at"):
                await client.read_resource(preview_of(path))
        await anyio.Path(gone).unlink()
        with pytest.raises(MCPError, match="No output of a job lies at"):
            await client.read_resource(preview_of(gone))


async def test_a_run_is_looked_at_without_ending_the_wait_for_it(
    connected: Client, api: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipes, "RUN_PATIENCE", 0.1)
    async with connected as client:
        api.control.knobs(speed=0.001)
        going = await call(client, "run_recipe", **VARIANTS)
        now = await run_now(client, going["run_id"])
        assert (now["status"], now["recipe"]) == ("running", "three-ad-variants")
        api.control.knobs(speed=SPEED)
        monkeypatch.setattr(recipes, "RUN_PATIENCE", 30)
        while (now := await run_now(client, going["run_id"]))["status"] == "running":
            pass
        told = await call(client, "run_recipe", **VARIANTS)
        assert (told["status"], told["files"]) == ("completed", now["files"])
        assert told["cost"] == now["cost"]
        with pytest.raises(MCPError, match="No such run goes on here"):
            await client.read_resource(f"{RUNS}another-run")
