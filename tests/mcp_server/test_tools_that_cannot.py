"""Where the API offers no way, or the key is not allowed: said plainly, by name, and nothing is paid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from mcp import MCPError

from kubeez_mcp_local.mcp_server.tools import ALL_TOOLS
from kubeez_mcp_local.operations import routes
from tests.mcp_server.driving import call, client_of, picture, refused, song
from tests.sandbox_server import KEY

if TYPE_CHECKING:
    from pathlib import Path

    from mcp import Client

    from tests.sandbox_server import RunningSandbox

pytestmark = pytest.mark.anyio

_CLIP = "https://media.kubeez.com/clip.mp4"
_PICTURE = "https://media.kubeez.com/picture.png"
ARGUMENTS: dict[str, dict[str, Any]] = {
    "generate_captions": {"media_url": _CLIP},
    "generate_separation": {"media_url": "https://media.kubeez.com/song.mp3"},
    "generate_dubbing": {"video_url": _CLIP, "languages": "de"},
    "generate_sound": {"model": "sonilo-text-to-sfx", "prompt": "a door"},
    "remove_background": {"image_url": _PICTURE},
    "generate_music_persona": {"song_id": "s", "name": "Ada", "description": "Clear"},
    "generate_media": {"prompt": "a kite", "model": "z-image"},
    "generate_music": {"prompt": "calm piano"},
    "generate_dialogue": {"text": "Good morning."},
    "create_ad_copy": {"reference_ad_url": _PICTURE},
    "get_status": {"id": "g", "kind": "media"},
    "get_generation": {"id": "g"},
    "get_generations": {},
    "view_media": {"output_id": "o"},
    "get_balance": {},
}
ASSUMED = [spec.name for spec in ALL_TOOLS if spec.route and routes()[spec.route].evidence == "assumed"]


def test_all_assumed_tools_are_looked_at() -> None:
    assert len(ASSUMED) == 6
    assert set(ASSUMED) <= set(ARGUMENTS)


@pytest.mark.parametrize("name", ASSUMED)
async def test_an_operation_that_the_api_does_not_publish(api: RunningSandbox, connected: Client, name: str) -> None:
    api.control.knobs(assumed_routes=False)
    paid = len(api.control.account()["jobs"])
    async with connected as client:
        error = await refused(client, name, **ARGUMENTS[name])
    assert error["code"] == "not_offered"
    assert f"`{name}`" in error["message"]
    assert "https://" in error["next_step"]
    assert len(api.control.account()["jobs"]) == paid


@pytest.mark.parametrize("name", ARGUMENTS)
async def test_a_key_without_the_scope_is_told_its_name(api: RunningSandbox, connected: Client, name: str) -> None:
    spec = next(spec for spec in ALL_TOOLS if spec.name == name)
    api.control.key(KEY, scopes=[])
    async with connected as client:
        error = await refused(client, name, **ARGUMENTS[name])
    assert error["code"] == "missing_scope"
    assert spec.route
    assert str(routes()[spec.route].scope) in error["message"] + error["next_step"]


async def test_local_files_need_the_scope_for_uploads(api: RunningSandbox, connected: Client, tmp_path: Path) -> None:
    api.control.key(KEY, scopes=["read:generations"])
    async with connected as client:
        for tool, arguments in (
            ("upload_media", {"paths": picture(tmp_path)}),
            ("generate_separation", {"media_url": song(tmp_path)}),
        ):
            error = await refused(client, tool, **arguments)
            assert (error["code"], "generate:media" in str(error)) == ("missing_scope", True)


async def test_a_lacking_scope_hides_no_tool(api: RunningSandbox, connected: Client) -> None:
    api.control.key(KEY, scopes=[])
    async with connected as client:
        assert len((await client.list_tools()).tools) == len(ALL_TOOLS)


async def test_read_only_and_toolsets_decide_what_exists(api: RunningSandbox, tmp_path: Path) -> None:
    async with client_of(api, tmp_path, KUBEEZ_READ_ONLY="true") as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert {"estimate", "get_generations", "list_assets"} <= names
        assert not {"generate_media", "upload_media", "manage_library", "trim_video", "get_upload_url"} & names
    async with client_of(api, tmp_path, KUBEEZ_TOOLSETS="library,links") as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert {"manage_library", "open_pricing"} <= names
        assert "generate_media" not in names


async def test_a_tool_that_the_settings_leave_out_is_no_typing_error(api: RunningSandbox, tmp_path: Path) -> None:
    async with client_of(api, tmp_path, KUBEEZ_TOOLSETS="core") as client:
        for name in ("generate_music", "get_upload_url"):
            with pytest.raises(MCPError, match="settings leave it out"):
                await client.call_tool(name, {})
        with pytest.raises(MCPError, match="Did you mean generate_media"):
            await client.call_tool("generate_medium", {})


async def test_a_price_that_only_the_api_knows_is_asked_for(api: RunningSandbox, connected: Client) -> None:
    async with connected as client:
        job = {"model": "gpt-image-2", "resolution": "2K", "variant_count": 2}
        told = await call(client, "estimate", **job)
        once = await call(client, "estimate", **{**job, "variant_count": 1})
        assert (told["basis"], told["credits"]) == ("api", 2 * once["credits"])
        assert "credits" not in await call(client, "estimate", model="gemini-omni-video-hd-8s-video-ref")


async def test_a_large_picture_without_its_ratio_is_refused_before_anybody_is_asked(
    api: RunningSandbox, connected: Client
) -> None:
    async with connected as client:
        job = {"prompt": "a kite", "model": "gpt-image-2", "resolution": "4k"}
        error = await refused(client, "generate_media", **job)
    assert error["code"] == "invalid_argument"
    assert error["message"].startswith("aspect_ratio: gpt-image-2 at 4K needs one, and not 1:1")
    assert not [job for account in api.control.books()["accounts"] for job in account["jobs"]]


async def test_without_that_operation_the_price_stays_unknown(api: RunningSandbox, connected: Client) -> None:
    api.control.knobs(assumed_routes=False)
    async with connected as client:
        quote = await call(client, "estimate", model="gpt-image-2", resolution="2K")
        assert (quote["basis"], "credits" in quote) == ("unknown", False)
