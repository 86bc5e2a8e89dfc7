"""Every tool in both protocol eras against the sandbox: the good case ends with a real file, limits are refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest
from PIL import Image

from kubeez_mcp_local.media.sniff import sniff
from tests.mcp_server.driving import call, clip, made, picture, refused, song
from tests.sandbox_server import KEY, RunningSandbox

if TYPE_CHECKING:
    from mcp import Client

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("mode", ["auto", "legacy"])]


async def test_planning(connected: Client, mode: str) -> None:
    async with connected as client:
        plan = await call(client, "plan", intent="a hero image for our running shoe shop")
        assert plan["recommended_model"]
        assert plan["workflow_steps"]
        choice = await call(client, "pick_model", task="text-to-video", aspect_ratio="9:16", max_credits=60)
        assert choice["credits"] <= 60
        nothing = await call(client, "pick_model", task="text-to-video", max_credits=1)
        assert "model" not in nothing
        assert nothing["nearest"]
        assert (await refused(client, "pick_model", task="juggling"))["code"] == "invalid_argument"
        assert "wait_for_generation" in (await call(client, "get_skill", name="polling"))["text"]
        assert (await refused(client, "get_skill", name="no-such"))["code"] == "unknown_skill"
        assert (await call(client, "open_pricing"))["current_balance"] > 0
        assert (await call(client, "open_studio", prompt="a kite"))["url"].startswith("https://kubeez.com")
        assert (await call(client, "open_gallery"))["url"].startswith("https://kubeez.com")


async def test_making_it_again_is_a_new_payment_and_its_replay_is_not(connected: Client, mode: str) -> None:
    async with connected as client:
        first = await made(client, "generate_media", prompt="a kite", model="z-image", aspect_ratio="16:9")
        again = await made(client, "regenerate", id=first["generation_id"], prompt="a red kite")
        assert again["generation_id"] != first["generation_id"]
        with Image.open(again["files"][0]["path"]) as image:
            assert abs(image.width / image.height - 16 / 9) < 0.02
        replay = await call(client, "regenerate", id=first["generation_id"], prompt="a red kite")
        assert (replay["generation_id"], replay["repeated"]) == (again["generation_id"], True)


async def test_music_speech_and_sound(connected: Client, mode: str, tmp_path: Path) -> None:
    async with connected as client:
        assert len((await made(client, "generate_music", prompt="calm piano"))["songs"]) == 2
        assert (await refused(client, "generate_music", prompt="x" * 401))["code"] == "invalid_argument"
        assert "style" in (await refused(client, "generate_music", title="Only a title"))["message"]
        songs = (await made(client, "generate_music", prompt="a waltz"))["songs"]
        persona = await call(client, "generate_music_persona", song_id=songs[0]["id"], name="Ada", description="Clear")
        assert persona["persona_id"]
        await made(client, "generate_dialogue", text="Good morning, everybody.", voice="rachel")
        await made(client, "generate_dialogue", dialogue=[{"text": "Hello there.", "voice": "Mark"}, {"text": "Hi!"}])
        assert (await refused(client, "generate_dialogue", text="Hello there", voice="Nobody"))[
            "code"
        ] == "invalid_voice_id"
        assert (await refused(client, "generate_dialogue", text="Hi"))["code"] == "invalid_argument"
        unspoken = await refused(client, "generate_dialogue", dialogue=[{"text": "Hello there.", "speaker": "Ann"}])
        assert "'speaker'" in unspoken["message"]
        both = await refused(client, "generate_dialogue", text="Hello there.", dialogue=[{"text": "Hello there."}])
        assert "instead of text" in both["message"]
        await made(client, "generate_sound", model="sonilo-text-to-sfx", prompt="a door", duration=3)
        assert "prompt" in (await refused(client, "generate_sound", model="sonilo-text-to-sfx"))["message"]


async def test_jobs_on_a_file(connected: Client, mode: str, tmp_path: Path) -> None:
    async with connected as client:
        video = await clip(client)
        await made(client, "generate_captions", media_url=video)
        assert (await refused(client, "generate_captions", media_url=video, quality="best"))[
            "code"
        ] == "invalid_argument"
        dubbed = await made(client, "generate_dubbing", video_url=video, languages=["de", "fr"])
        assert len(dubbed["files"]) == 2
        assert (await refused(client, "generate_dubbing", video_url=video, languages=["xx"]))[
            "code"
        ] == "invalid_argument"
        tracks = await made(client, "generate_separation", media_url=song(tmp_path))
        assert tracks["vocals_url"]
        assert tracks["instrumental_url"]
        cut = await made(client, "remove_background", image_url=picture(tmp_path))
        with Image.open(cut["files"][0]["path"]) as image:
            assert image.mode == "RGBA"
            assert image.getchannel("A").getextrema()[0] == 0
        await made(client, "create_ad_copy", reference_ad_url=picture(tmp_path), product_text="A shoe.")


async def test_cutting_a_video(connected: Client, mode: str) -> None:
    async with connected as client:
        video = await clip(client)
        cut = await call(client, "trim_video", source_url=video, start_s=1, end_s=2.5)
        assert abs(cut["duration_s"] - 1.5) < 0.1
        assert sniff(Path(cut["path"])).mime == "video/mp4"
        assert cut["url"].startswith("http")
        assert (await refused(client, "trim_video", source_url=video, start_s=2, end_s=1))[
            "code"
        ] == "invalid_trim_range"
        assert (await refused(client, "trim_video", source_url=video, end_s=100))["code"] == "trim_too_long"


async def test_the_upload_page_takes_files_in_order(connected: Client, mode: str, tmp_path: Path) -> None:
    async with connected as client:
        page = await call(client, "get_upload_url", model_id="nano-banana-2")
        content = await anyio.Path(picture(tmp_path)).read_bytes()
        files = [("file", (name, content, "image/png")) for name in ("one.png", "two.png")]
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(page["direct_upload_url"], data={"token": page["token"]}, files=files)
            assert answer.status_code == 200, answer.text
            assert (await http.get(page["url"])).headers["content-type"].startswith("text/html")
        state = await call(client, "get_upload_session", token=page["token"])
        assert state["count"] == 2
        assert state["media"][0]["width"] == 320
        made_of = await made(
            client, "generate_media", prompt="both", model="nano-banana-2", source_media_urls=state["media_urls"]
        )
        assert made_of["generation_type"] == "image-to-image"
        assert (await refused(client, "get_upload_session", token="invented"))["next_step"]
        assert (await refused(client, "get_upload_url", model_id="z-image"))["code"] == "invalid_argument"


async def test_the_library_keeps_files_under_names(connected: Client, mode: str, tmp_path: Path) -> None:
    async with connected as client:
        original = picture(tmp_path)
        await call(client, "manage_library", action="add", name="teal", url=original)
        (asset,) = (await call(client, "list_assets"))["assets"]
        assert asset["url"] == "library:teal"
        await made(client, "generate_media", prompt="x", model="nano-banana-2", source_media_urls=["library:teal"])
        await call(client, "manage_library", action="rename", asset_id="teal", new_name="sea")
        await call(client, "manage_library", action="delete", asset_id="sea")
        assert (await call(client, "list_assets"))["assets"] == []
        assert await anyio.Path(original).is_file()
        await refused(client, "manage_library", action="create", name="x")
        await call(
            client,
            "manage_library",
            action="create",
            kind="character",
            name="ada",
            description="An engineer",
            voice_id="kore",
        )
        (character,) = (await call(client, "list_gemini_omni_characters"))["characters"]
        assert character["character_name"] == "ada"
        assert (await call(client, "list_gemini_omni_voices"))["count"] == 30
        assert "no sample" in (await call(client, "play_gemini_omni_voice", voice_id="kore"))["message"]
        assert (await refused(client, "play_gemini_omni_voice", voice_id="nobody"))["code"] == "invalid_voice_id"


async def test_an_api_without_a_route_is_said_and_nothing_is_sent(
    connected: Client, mode: str, tmp_path: Path, api: RunningSandbox
) -> None:
    api.control.knobs(assumed_routes=False)
    async with connected as client:
        error = await refused(client, "remove_background", image_url=picture(tmp_path))
        assert error["code"] == "not_offered"
        assert error["next_step"]


async def test_a_missing_scope_is_named(connected: Client, mode: str, api: RunningSandbox) -> None:
    async with connected as client:
        await call(client, "get_models", limit=1)
        api.control.key(KEY, scopes=["generate:media", "read:balance"])
        error = await refused(client, "generate_music", prompt="calm piano at night")
        assert error["code"] == "missing_scope"
        assert "generate:music" in error["message"] + error["next_step"]
