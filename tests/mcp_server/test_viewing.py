"""Looking at what was made, and at what lies on this machine."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp.types import AudioContent, ImageContent
from PIL import Image

from kubeez_mcp_local.media import sheet
from kubeez_mcp_local.media.video import NotInstalledError
from tests.damaged import encoded, film, wav
from tests.mcp_server.driving import bridge_of, call, client_of, clip, made, picture, refused

if TYPE_CHECKING:
    from pathlib import Path

    from mcp import Client

    from tests.sandbox_server import RunningSandbox

pytestmark = pytest.mark.anyio


async def looked(client: Client, name: object, **more: Any) -> tuple[dict[str, Any], list[Image.Image], list[bytes]]:
    """The facts, the pictures and the sounds; no call shows more than its budget."""
    result = await client.call_tool("view_media", {"output_id": name, **more})
    assert not result.is_error, result.content[0]
    blocks = [block for block in result.content if isinstance(block, ImageContent | AudioContent)]
    assert sum(len(block.data) for block in blocks) <= more.get("max_kilobytes", 200) * 1000
    images: list[Image.Image] = [
        Image.open(io.BytesIO(base64.b64decode(each.data))) for each in blocks if isinstance(each, ImageContent)
    ]
    sounds = [base64.b64decode(each.data) for each in blocks if isinstance(each, AudioContent)]
    assert isinstance(result.structured_content, dict)
    return result.structured_content, images, sounds


async def test_a_call_with_several_pictures_is_one_sheet_with_what_differs_and_costs(connected: Client) -> None:
    async with connected as client:
        first = await made(client, "generate_media", prompt="a kite", model="z-image", aspect_ratio="1:1")
        second = await made(client, "generate_media", prompt="a kite", model="nano-banana-2", aspect_ratio="1:1")
        names = f"{first['generation_id']}, {second['outputs'][0]['id']}"
        facts, images, _ = await looked(client, names)
        assert len(images) == 1
        assert [view["about"].split(" · ")[0] for view in facts["views"]] == ["z-image", "nano-banana-2"]
        assert all("credits" in view["about"] for view in facts["views"])
        assert [view["path"] for view in facts["views"]] == [job["files"][0]["path"] for job in (first, second)]
        same, _, _ = await looked(client, [first["generation_id"], second["generation_id"]])
        assert [view["path"] for view in same["views"]] == [view["path"] for view in facts["views"]]
        one, images, _ = await looked(client, first["generation_id"])
        assert (len(images), one["path"], "views" in one) == (1, first["files"][0]["path"], False)
        by_url, _, _ = await looked(client, first["outputs"][0]["url"])
        assert by_url["path"] == one["path"]


async def test_a_run_is_looked_at_as_a_whole(connected: Client) -> None:
    async with connected as client:
        run = await call(client, "run_recipe", name="three-ad-variants", arguments={"brief": "Tea for the night"})
        if run["status"] == "approval_required":
            run = await call(
                client,
                "run_recipe",
                name="three-ad-variants",
                arguments={"brief": "Tea for the night"},
                approval=run["approval"],
            )
        facts, images, _ = await looked(client, run["run_id"])
        assert (len(images), len(facts["views"])) == (1, 3)


async def test_an_allowed_local_file_and_no_other(connected: Client, tmp_path: Path) -> None:
    (tmp_path / "talk.wav").write_bytes(wav())
    async with connected as client:
        facts, images, _ = await looked(client, picture(tmp_path))
        assert (images[0].size, facts["media_type"], facts["path"]) == ((320, 240), "image/png", picture(tmp_path))
        facts, images, sounds = await looked(client, f"{picture(tmp_path)},{tmp_path / 'talk.wav'}")
        assert (len(images), len(sounds)) == (1, 1)
        assert (await refused(client, "view_media", output_id="/etc/hostname"))["code"] == (
            "path_outside_allowed_folders"
        )
        assert (await refused(client, "view_media", output_id="https://example.com/a.png"))["code"] == "unknown_output"
        assert (await refused(client, "view_media", output_id=" , "))["code"] == "invalid_argument"


async def test_a_film_shows_its_moments_or_the_one_asked_for(connected: Client, tmp_path: Path) -> None:
    async with connected as client:
        facts, images, _ = await looked(client, await clip(client))
        assert facts["preview"].startswith("6 moments of 4.0 s")
        strip = images[0].size
        facts, images, _ = await looked(client, facts["path"], at_s=1.0)
        assert "frame at 1.0 s of 4.0 s" in facts["preview"]
        assert images[0].size != strip


async def test_without_the_extra_a_film_says_what_is_missing(
    connected: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(what: str) -> None:
        raise NotInstalledError(f"{what} needs the optional extra 'video'.")

    (tmp_path / "film.mp4").write_bytes(film())
    monkeypatch.setattr(sheet, "load_av", missing)
    async with connected as client:
        facts, images, _ = await looked(client, str(tmp_path / "film.mp4"))
        assert (images, "needs the optional extra 'video'" in facts["preview"]) == ([], True)


async def test_long_sound_is_shortened_and_several_share_the_budget(connected: Client, tmp_path: Path) -> None:
    paths = []
    for name in ("a.flac", "b.flac"):
        paths.append(tmp_path / name)
        paths[-1].write_bytes(encoded("flac", audio="flac", seconds=5.0))
    async with connected as client:
        facts, _, sounds = await looked(client, str(paths[0]), max_kilobytes=20)
        assert (len(sounds), facts["preview"].startswith("0.0 to 3.")) == (1, True)
        facts, _, sounds = await looked(client, [str(path) for path in paths], max_kilobytes=40)
        assert len(sounds) == 2
        assert all(view["note"].startswith("0.0 to 3.") for view in facts["views"])


async def test_what_cannot_be_shown_keeps_its_place(connected: Client, tmp_path: Path) -> None:
    async with connected as client:
        first = await made(client, "generate_media", prompt="a kite", model="z-image")
        await anyio.Path(first["files"][0]["path"]).write_bytes(b"\x89PNG\r\n\x1a\n")
        facts, images, _ = await looked(client, [first["generation_id"], picture(tmp_path)])
        assert (len(images), len(facts["views"])) == (1, 2)


async def test_both_stems_of_a_separation_are_heard_though_their_files_are_gone(
    connected: Client, tmp_path: Path
) -> None:
    (tmp_path / "song.wav").write_bytes(wav(2.0))
    async with connected as client:
        job = await made(client, "generate_separation", media_url=str(tmp_path / "song.wav"))
        for file in job["files"]:
            await anyio.Path(file["path"]).unlink()
        facts, _, sounds = await looked(client, job["generation_id"])
    assert (len(facts["views"]), len(sounds)) == (2, 2)


async def test_pictures_come_along_where_the_settings_say_so(api: RunningSandbox, tmp_path: Path) -> None:
    async with client_of(api, tmp_path) as client:
        started = await call(client, "generate_media", prompt="a kite", model="z-image", variant_count=2)
        job = {"id": ",".join(started["generation_ids"])}
        plain = await client.call_tool("wait_for_generation", job)
    files = [await anyio.Path(file["path"]).read_bytes() for file in (plain.structured_content or {})["files"]]
    assert [block.type for block in plain.content] == ["text", "resource_link", "resource_link"]
    for wanted, mode in (("preview", "auto"), ("full", "legacy")):
        async with client_of(api, tmp_path, mode=mode, KUBEEZ_INLINE=wanted) as client:
            result = await client.call_tool("wait_for_generation", job)
        text, one, other, *links = result.content
        assert (text, links) == (plain.content[0], plain.content[1:])
        assert result.structured_content == plain.structured_content
        shown = [base64.b64decode(block.data) for block in (one, other) if isinstance(block, ImageContent)]
        assert (shown == files) is (wanted == "full")
        assert [Image.open(io.BytesIO(each)).width > 500 for each in shown] == [True, True]


async def test_pictures_never_cost_more_than_the_budget(api: RunningSandbox, tmp_path: Path) -> None:
    settings = {"KUBEEZ_INLINE": "full", "KUBEEZ_INLINE_KILOBYTES": "20"}
    async with client_of(api, tmp_path, **settings) as client:
        run = await client.call_tool("run_recipe", {"name": "three-ad-variants", "arguments": {"brief": "Tea"}})
        images = [block for block in run.content if isinstance(block, ImageContent)]
        assert (run.structured_content or {})["status"] == "completed"
        assert len(images) == 2  # of three: less of each would show nothing
        assert sum(len(image.data) for image in images) <= 20_000
    noise = [tmp_path / f"{number}.png" for number in range(3)]
    for path in noise:
        Image.effect_noise((900, 700), 90).convert("RGB").save(path)
    shown = await bridge_of(api, tmp_path).viewing.inline(noise, max_bytes=60_000, whole=True)
    assert len(shown) == 3  # none takes the room of another
    assert sum(len(base64.b64encode(content)) for content, _ in shown) <= 60_000
