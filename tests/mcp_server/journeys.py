"""Journeys through every tool: the good case ends with a real file, limits and mistakes are refused.

Each takes a connected client, a folder whose files may be read, and the API behind the server. They are told apart from
the way a client is connected, so that the same ones run in memory and over pipes, in both protocol eras.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx
from mcp.types import AudioContent, ImageContent
from PIL import Image

from kubeez_mcp_local.mcp_server.tools import ALL_TOOLS
from kubeez_mcp_local.media.sniff import sniff
from tests.mcp_server.driving import call, clip, made, picture, refused, song
from tests.sandbox_server import KEY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.mcp_server.driving import Calls, Recorder
    from tests.sandbox_server import RunningSandbox

    Journey = Callable[[Calls, Path, RunningSandbox], Awaitable[None]]


async def planning(client: Calls, folder: Path, api: RunningSandbox) -> None:
    plan = await call(client, "plan", intent="a hero image for our running shoe shop")
    assert plan["recommended_model"]
    assert plan["workflow_steps"]
    podcast = await call(client, "plan", intent="a podcast intro with music and a voice")
    assert podcast["recipes"] == ["podcast-intro"]
    assert "get_recipe(name='podcast-intro')" in podcast["next_step"]
    assert "recipes" not in plan
    assert (await refused(client, "plan", intent=""))["code"] == "invalid_argument"
    choice = await call(client, "pick_model", task="text-to-video", aspect_ratio="9:16", max_credits=60)
    assert choice["credits"] <= 60
    nothing = await call(client, "pick_model", task="text-to-video", max_credits=1)
    assert "model" not in nothing
    assert nothing["offers"][0]["credits"] > 1
    assert (await refused(client, "pick_model", task="juggling"))["code"] == "invalid_argument"
    assert "wait_for_generation" in (await call(client, "get_skill", name="polling"))["text"]
    assert (await refused(client, "get_skill", name="no-such"))["code"] == "unknown_skill"


async def prices(client: Calls, folder: Path, api: RunningSandbox) -> None:
    (row,) = (await call(client, "get_models", query="kling-3-0-pro", limit=1))["models"]
    assert (row["model_id"], row["requires_input_media"]) == ("kling-3-0-pro", False)
    assert row["capabilities"]["max_input_images"] == 2
    assert "5s" in row["capabilities"]["duration_options"]
    assert "model_type" in (await refused(client, "get_models", model_type="holograms"))["message"]
    quote = await call(client, "estimate", model="mvsep-40", reference_audio_seconds=90)
    assert quote["credits"] > 0
    assert (await refused(client, "estimate", model="nano-banan-2"))["code"] == "unknown_model"
    balance = await call(client, "get_balance")
    assert 0 < balance["left_today"] <= balance["max_credits_per_day"]
    assert "no such argument" in (await refused(client, "get_balance", currency="EUR"))["message"]
    assert (await call(client, "open_pricing"))["current_balance"] == balance["credits"]


async def links(client: Calls, folder: Path, api: RunningSandbox) -> None:
    assert (await call(client, "open_studio", prompt="a kite"))["url"].startswith("https://kubeez.com")
    gallery = await call(client, "open_gallery", status="failed")
    assert gallery["url"].startswith("http://127.0.0.1:")
    assert "https://kubeez.com" in gallery["summary"]
    assert "choose failed there" in gallery["summary"]
    for tool in ("open_pricing", "open_studio", "open_gallery"):
        assert (await refused(client, tool, tab=2))["code"] == "invalid_argument"


async def a_picture_is_made_looked_at_and_made_again(client: Calls, folder: Path, api: RunningSandbox) -> None:
    request = {"prompt": "a kite over the sea", "model": "z-image", "aspect_ratio": "16:9"}
    assert "16:9" in (await refused(client, "generate_media", **{**request, "aspect_ratio": "5:1"}))["message"]
    first = await made(client, "generate_media", **request)
    job, (output,) = first["generation_id"], first["outputs"]
    assert (await call(client, "get_status", id=job, kind="media"))["status"] == "completed"
    row = await call(client, "get_generation", id=job)
    assert (row["prompt"], row["outputs"][0]["url"]) == (request["prompt"], output["url"])
    assert job in [each["id"] for each in (await call(client, "get_generations", limit=25))["generations"]]
    assert (await refused(client, "get_generations", limit=0))["code"] == "invalid_argument"
    for tool in ("get_status", "get_generation", "wait_for_generation", "regenerate"):
        assert (await refused(client, tool, id="no-such"))["code"] == "unknown_job"
    again = await made(client, "regenerate", id=job, prompt="a red kite")
    assert again["generation_id"] != job
    with Image.open(again["files"][0]["path"]) as image:
        assert abs(image.width / image.height - 16 / 9) < 0.02
    replay = await call(client, "regenerate", id=job, prompt="a red kite")
    assert (replay["generation_id"], replay["repeated"]) == (again["generation_id"], True)
    await shown(client, output["id"], ImageContent)
    assert (await refused(client, "view_media", output_id="no-such"))["code"] == "unknown_output"


async def music_speech_and_sound(client: Calls, folder: Path, api: RunningSandbox) -> None:
    assert len((await made(client, "generate_music", prompt="calm piano"))["songs"]) == 2
    assert (await refused(client, "generate_music", prompt="x" * 401))["code"] == "invalid_argument"
    assert "style" in (await refused(client, "generate_music", title="Only a title"))["message"]
    songs = (await made(client, "generate_music", prompt="a waltz"))["songs"]
    voice = {"song_id": songs[0]["id"], "name": "Ada", "description": "Clear"}
    assert (await call(client, "generate_music_persona", **voice))["persona_id"]
    assert "name" in (await refused(client, "generate_music_persona", **{**voice, "name": "x" * 81}))["message"]
    spoken = await made(client, "generate_dialogue", text="Good morning, everybody.", voice="rachel")
    await shown(client, spoken["outputs"][0]["id"], AudioContent)
    await made(client, "generate_dialogue", dialogue=[{"text": "Hello there.", "voice": "Mark"}, {"text": "Hi!"}])
    assert (await refused(client, "generate_dialogue", text="Hello there", voice="Nobody"))["code"] == (
        "invalid_voice_id"
    )
    assert (await refused(client, "generate_dialogue", text="Hi"))["code"] == "invalid_argument"
    unspoken = await refused(client, "generate_dialogue", dialogue=[{"text": "Hello there.", "speaker": "Ann"}])
    assert "'speaker'" in unspoken["message"]
    both = await refused(client, "generate_dialogue", text="Hello there.", dialogue=[{"text": "Hello there."}])
    assert "instead of text" in both["message"]
    await made(client, "generate_sound", model="sonilo-text-to-sfx", prompt="a door", duration=3)
    assert "prompt" in (await refused(client, "generate_sound", model="sonilo-text-to-sfx"))["message"]


async def jobs_on_a_file(client: Calls, folder: Path, api: RunningSandbox) -> None:
    video = await clip(client)
    await made(client, "generate_captions", media_url=video)
    assert "language" in (await refused(client, "generate_captions", media_url=video, quality="best"))["message"]
    dubbed = await made(client, "generate_dubbing", video_url=video, languages=["de", "fr"])
    assert len(dubbed["files"]) == 2
    assert "xx" in (await refused(client, "generate_dubbing", video_url=video, languages=["xx"]))["message"]
    tracks = await made(client, "generate_separation", media_url=song(folder))
    assert tracks["vocals_url"]
    assert tracks["instrumental_url"]
    assert (await refused(client, "generate_separation", media_url=picture(folder)))["code"] == "invalid_argument"
    cut = await made(client, "remove_background", image_url=picture(folder))
    with Image.open(cut["files"][0]["path"]) as image:
        assert image.mode == "RGBA"
        assert image.getchannel("A").getextrema()[0] == 0
    assert (await refused(client, "remove_background", image_url=video))["code"] == "invalid_argument"
    await made(client, "create_ad_copy", reference_ad_url=picture(folder), product_text="A shoe.")
    eleven = await refused(client, "create_ad_copy", reference_ad_url=picture(folder), variant_count=11)
    heard = await refused(client, "create_ad_copy", reference_ad_url=song(folder))
    assert "image or video is needed" in heard["message"]
    assert "variant_count" in eleven["message"]


async def cutting_a_video(client: Calls, folder: Path, api: RunningSandbox) -> None:
    made_of = await made(client, "generate_media", prompt="surf", model="seedance-1-5-pro-480p-4s")
    await shown(client, made_of["outputs"][0]["id"], ImageContent)
    video = made_of["files"][0]["path"]
    cut = await call(client, "trim_video", source_url=video, start_s=1, end_s=2.5)
    assert abs(cut["duration_s"] - 1.5) < 0.1
    assert sniff(Path(cut["path"])).mime == "video/mp4"
    assert cut["url"].startswith("http")
    backwards = await refused(client, "trim_video", source_url=video, start_s=2, end_s=1)
    assert backwards["code"] == "invalid_trim_range"
    assert (await refused(client, "trim_video", source_url=video, end_s=100))["code"] == "trim_too_long"
    joined = await call(client, "join_videos", source_urls=[cut["url"], video, cut["path"]])
    assert abs(joined["duration_s"] - 2 * cut["duration_s"] - 4) < 0.1
    assert sniff(Path(joined["path"])).mime == "video/mp4"
    assert (await refused(client, "join_videos", source_urls=[video]))["code"] == "invalid_argument"


async def files_are_uploaded_in_order(client: Calls, folder: Path, api: RunningSandbox) -> None:
    await made_again_from_the_page(client, folder)
    uploaded = await call(client, "upload_media", paths=[picture(folder, "red"), picture(folder, "blue")])
    assert [each["path"].rpartition("/")[2] for each in uploaded["media"]] == ["red.png", "blue.png"]
    assert (await refused(client, "upload_media", paths=[]))["code"] == "invalid_argument"
    assert (await refused(client, "upload_media", paths=[str(folder / "none.png")]))["next_step"]


async def made_again_from_the_page(client: Calls, folder: Path) -> None:
    page = await call(client, "get_upload_url", model_id="nano-banana-2")
    content = await anyio.Path(picture(folder)).read_bytes()
    files = [("file", (name, content, "image/png")) for name in ("one.png", "two.png")]
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        answer = await http.post(page["direct_upload_url"], data={"token": page["token"]}, files=files)
        assert answer.status_code == 200, answer.text
        assert (await http.get(page["url"])).headers["content-type"].startswith("text/html")
    state = await call(client, "get_upload_session", token=page["token"])
    assert state["count"] == 2
    assert state["media"][0]["width"] == 320
    both = {"prompt": "both", "model": "nano-banana-2", "source_media_urls": state["media_urls"]}
    assert (await made(client, "generate_media", **both))["generation_type"] == "image-to-image"
    assert (await refused(client, "get_upload_session", token="invented"))["next_step"]
    assert (await refused(client, "get_upload_url", model_id="z-image"))["code"] == "invalid_argument"


async def the_library_keeps_files_under_names(client: Calls, folder: Path, api: RunningSandbox) -> None:
    original = picture(folder)
    await call(client, "manage_library", action="add", name="teal", url=original)
    (asset,) = (await call(client, "list_assets"))["assets"]
    assert asset["url"] == "library:teal"
    await made(client, "generate_media", prompt="x", model="nano-banana-2", source_media_urls=["library:teal"])
    await call(client, "manage_library", action="rename", asset_id="teal", new_name="sea")
    await call(client, "manage_library", action="delete", asset_id="sea")
    assert (await call(client, "list_assets"))["assets"] == []
    assert await anyio.Path(original).is_file()
    await refused(client, "manage_library", action="create", name="x")
    assert (await refused(client, "list_assets", team="all"))["code"] == "invalid_argument"


async def characters_and_voices(client: Calls, folder: Path, api: RunningSandbox) -> None:
    ada = {"kind": "character", "name": "ada", "description": "An engineer", "voice_id": "kore"}
    await call(client, "manage_library", action="create", **ada)
    (character,) = (await call(client, "list_gemini_omni_characters"))["characters"]
    assert character["character_name"] == "ada"
    assert (await refused(client, "list_gemini_omni_characters", limit=3))["code"] == "invalid_argument"
    voices = await call(client, "list_gemini_omni_voices")
    assert voices["count"] == 30
    assert voices["voices"][0].keys() == {"id", "label", "gender", "description"}
    assert (await refused(client, "list_gemini_omni_voices", gender="male"))["code"] == "invalid_argument"
    assert "no sample" in (await call(client, "play_gemini_omni_voice", voice_id="kore"))["message"]
    assert (await refused(client, "play_gemini_omni_voice", voice_id="nobody"))["code"] == "invalid_voice_id"


async def a_recipe_is_found_run_and_recorded(client: Calls, folder: Path, api: RunningSandbox) -> None:
    (row,) = (await call(client, "list_recipes", query="three ad variants"))["recipes"]
    assert (await refused(client, "list_recipes", limit=0))["code"] == "invalid_argument"
    ask = {"name": row["name"], "arguments": {"brief": "A kite for windless days"}}
    assert "A kite for windless days" in (await call(client, "get_recipe", **ask))["text"]
    assert (await refused(client, "get_recipe", name="three-adverts"))["code"] == "unknown_recipe"
    assert (await refused(client, "run_recipe", name=row["name"]))["code"] == "invalid_argument"
    run = await call(client, "run_recipe", **ask)
    assert (run["status"], len(run["files"])) == ("completed", 3)
    for file in run["files"]:
        assert sniff(Path(file["path"])).mime == file["media_type"]
    again = await call(client, "run_recipe", **ask)
    assert again["cost"]["spent_today"] == run["cost"]["spent_today"]
    ids = [made_by["generation_id"] for made_by in run["calls"]]
    saved = await call(client, "save_recipe", name="kites", job_ids=ids)
    assert written(saved["path"]).startswith("---\nname: kites\n")
    assert (await refused(client, "save_recipe", name="kites", job_ids=ids))["code"] == "invalid_argument"


async def a_missing_scope_is_named(client: Calls, folder: Path, api: RunningSandbox) -> None:
    await call(client, "get_models", limit=1)
    api.control.key(KEY, scopes=["generate:media", "read:balance"])
    error = await refused(client, "generate_music", prompt="calm piano at night")
    assert error["code"] == "missing_scope"
    assert "generate:music" in error["message"] + error["next_step"]


JOURNEYS: tuple[Journey, ...] = (
    planning,
    prices,
    links,
    a_picture_is_made_looked_at_and_made_again,
    music_speech_and_sound,
    jobs_on_a_file,
    cutting_a_video,
    files_are_uploaded_in_order,
    the_library_keeps_files_under_names,
    characters_and_voices,
    a_recipe_is_found_run_and_recorded,
    a_missing_scope_is_named,  # the last: it takes rights away
)


def check_all_tools_were_driven(record: Recorder) -> None:
    """Every tool was answered at least once, and refused at least once."""
    expected = {spec.name for spec in ALL_TOOLS}
    assert expected - record.answered == set(), "never called successfully"
    assert expected - record.refused == set(), "never refused"


def written(path: str) -> str:
    return Path(path).read_text("utf-8")


async def shown(client: Calls, output_id: str, as_block: type[ImageContent | AudioContent]) -> None:
    """`view_media` shows an output as a block of that type, and a picture in it opens."""
    result = await client.call_tool("view_media", {"output_id": output_id})
    assert not result.is_error, result.content[0]
    (block,) = [each for each in result.content if isinstance(each, as_block)]
    data: Any = base64.b64decode(block.data)
    assert 0 < len(data) <= 200_000
    if isinstance(block, ImageContent):
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            assert image.width > 100
