"""The hosted tools around jobs."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import httpx
import pytest
from mcp import MCPError
from PIL import Image

from tests.hosted_standin import finished, official_client, said
from tests.sandbox_server import TRUSTS_NOBODY

if TYPE_CHECKING:
    from mcp import Client

    from tests.sandbox_server import RunningSandbox

pytestmark = pytest.mark.anyio


async def _made(client: Client, makes: str) -> dict[str, object]:
    """An output of the first model that makes this."""
    models = (await said(client, "get_models"))["models"]
    model = next(row["model_id"] for row in models if makes in row["generation_types"])
    job = await said(client, "generate_media", prompt="a kettle", model=model, generation_type=makes)
    output: dict[str, object] = (await finished(client, job["generation_id"]))["outputs"][0]
    return output


def _got(url: str) -> httpx.Response:
    return httpx.get(url, verify=TRUSTS_NOBODY, trust_env=False)


async def test_media_are_shown_to_their_owner(sandbox: RunningSandbox) -> None:
    async with official_client(sandbox.url) as client:
        picture = await _made(client, "text-to-image")
        shown = (await client.call_tool("view_media", {"output_id": picture["id"]})).content[0]
        assert Image.open(io.BytesIO(base64.b64decode(getattr(shown, "data", "")))).size == (
            picture["width"],
            picture["height"],
        )
        clip = await _made(client, "text-to-video")
        shown = (await client.call_tool("view_media", {"output_id": clip["id"]})).content[0]
        assert str(clip["url"]) in getattr(shown, "text", "")
    async with official_client(sandbox.url, "kbz_pat_other") as other:
        assert (await other.call_tool("view_media", {"output_id": picture["id"]})).is_error


async def test_a_window_is_cut_out_of_a_clip(sandbox: RunningSandbox) -> None:
    pytest.importorskip("av")
    async with official_client(sandbox.url) as client:
        clip = await _made(client, "text-to-video")
        cut = await said(client, "trim_video", source_url=clip["url"], start_s=1, end_s=2.5)
        assert cut["duration_s"] == pytest.approx(1.5, abs=0.1)
        assert len(_got(cut["url"]).content) == cut["size_bytes"]
        for arguments, code in (
            ({"source_url": clip["url"], "start_s": 3, "end_s": 2}, "invalid_trim_range"),
            ({"source_url": clip["url"], "end_s": 61}, "trim_too_long"),
            ({"source_url": "https://example.com/a.mp4", "end_s": 2}, "source_fetch_failed"),
        ):
            refused = await client.call_tool("trim_video", arguments)
            assert (refused.structured_content or {})["error"] == code


async def test_assets_are_added_renamed_and_deleted(sandbox: RunningSandbox) -> None:
    async with official_client(sandbox.url) as client:
        picture = await _made(client, "text-to-image")
        asset = await said(client, "manage_library", action="add", name="kettle", url=picture["url"])
        assert (await client.call_tool("manage_library", {"action": "add", "name": "kettle", "url": "x"})).is_error
        renamed = await said(client, "manage_library", action="rename", asset_id=asset["id"], new_name="teapot")
        assert renamed == {**asset, "name": "teapot"}
        listed = await said(client, "list_assets")
        assert (listed["assets"], listed["used_bytes"]) == ([renamed], picture["file_size"])
        assert _got(renamed["url"]).headers["content-type"].startswith("image/")
        async with official_client(sandbox.url, "kbz_pat_other") as other:
            for change in ({"action": "delete"}, {"action": "rename", "new_name": "mine"}):
                assert (await other.call_tool("manage_library", {**change, "asset_id": asset["id"]})).is_error
        await said(client, "manage_library", action="delete", asset_id=asset["id"])
        assert (await said(client, "list_assets"))["assets"] == []


async def test_characters_have_a_voice(sandbox: RunningSandbox) -> None:
    about = {"kind": "character", "action": "create", "name": "ada", "description": "a pilot"}
    about["image_url"] = "https://example.com/ada.png"
    async with official_client(sandbox.url) as client:
        bad = await client.call_tool("manage_library", {**about, "voice_id": "nobody"})
        assert (bad.structured_content or {})["error"] == "invalid_voice_id"
        made = await said(client, "manage_library", **about, voice_id="kore")
        assert (await said(client, "list_gemini_omni_characters"))["characters"] == [made]
        gone = {"kind": "character", "action": "delete", "character_id": made["character_id"]}
        assert await said(client, "manage_library", **gone) == {"deleted": made["id"]}


async def test_voices_can_be_heard(sandbox: RunningSandbox) -> None:
    async with official_client(sandbox.url) as client:
        voices = (await said(client, "list_gemini_omni_voices"))["voices"]
        assert len({voice["id"] for voice in voices}) == 30
        played = [await said(client, "play_gemini_omni_voice", voice_id="puck") for _ in range(2)]
        assert played[0] == played[1]
        assert _got(played[0]["preview_url"]).headers["content-type"].startswith("audio/")


async def test_links_and_plans_and_skills(sandbox: RunningSandbox) -> None:
    async with official_client(sandbox.url) as client:
        assert (await said(client, "open_studio", prompt="a b"))["url"] == "https://kubeez.com/studio?prompt=a+b"
        assert (await said(client, "open_gallery"))["url"] == "https://kubeez.com/gallery"
        assert (await said(client, "open_pricing"))["current_balance"] == 10_000
        planned = await said(client, "plan", intent="add captions to my clip", has_local_files=True)
        assert (planned["recommended_model"], planned["requires_upload"]) == ("auto-caption", True)
        assert (await said(client, "pick_model", task="split a song into stems"))["model_id"] == "mvsep-40"
        resources = {resource.name: str(resource.uri) for resource in (await client.list_resources()).resources}
        for name in planned["skills_to_fetch"]:
            read = (await client.read_resource(resources[name])).contents[0]
            assert (await said(client, "get_skill", name=name))["text"] == getattr(read, "text", None)
        assert (await client.call_tool("get_skill", {"name": "nothing"})).is_error
        with pytest.raises(MCPError):
            await client.read_resource("kubeez://skills/nothing")
