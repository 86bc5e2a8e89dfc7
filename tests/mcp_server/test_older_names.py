"""The hosted server's older tool names: a skill that was written with them still runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from mcp import MCPError

from kubeez_mcp_local.mcp_server.tools import ALL_TOOLS
from tests.mcp_server.driving import call, client_of, made, refused, song

if TYPE_CHECKING:
    from pathlib import Path

    from mcp import Client

    from tests.sandbox_server import RunningSandbox

pytestmark = pytest.mark.anyio
OLDER = {
    "get_generation_status": "get_status",
    "get_music_status": "get_status",
    "get_separation_status": "get_status",
    "get_generation_estimate": "estimate",
    "estimate_generation_cost": "estimate",
}

both_eras = pytest.mark.parametrize("mode", ["auto", "legacy"])


def test_these_are_the_older_names() -> None:
    assert {alias: spec.name for spec in ALL_TOOLS for alias in spec.aliases} == OLDER


@both_eras
async def test_each_answers_like_the_tool_it_is_now(connected: Client, tmp_path: Path) -> None:
    async with connected as client:
        assert not OLDER.keys() & {tool.name for tool in (await client.list_tools()).tools}
        picture = await made(client, "generate_media", prompt="a kite", model="z-image")
        music = await made(client, "generate_music", prompt="a waltz")
        parted = await made(client, "generate_separation", media_url=song(tmp_path))
        price = {"model": "sonilo-video-to-sfx", "reference_video_seconds": 8}
        for older, arguments in (
            ("get_generation_status", {"id": picture["generation_id"]}),
            ("get_music_status", {"id": music["generation_id"]}),
            ("get_separation_status", {"id": parted["separation_id"]}),
            ("get_generation_estimate", price),
            ("estimate_generation_cost", price),
        ):
            assert await call(client, older, **arguments) == await call(client, OLDER[older], **arguments)


async def test_each_refuses_like_the_tool_it_is_now(connected: Client) -> None:
    async with connected as client:
        assert (await refused(client, "get_music_status", id="no-such"))["code"] == "unknown_job"
        error = await refused(client, "estimate_generation_cost", model="z-image", mood="merry")
        assert "estimate has no such argument" in error["message"]


async def test_an_older_name_is_no_way_around_the_toolsets(api: RunningSandbox, tmp_path: Path) -> None:
    async with client_of(api, tmp_path, KUBEEZ_TOOLSETS="links") as client:
        with pytest.raises(MCPError, match="Unknown tool"):
            await client.call_tool("get_generation_status", {"id": "x"})
