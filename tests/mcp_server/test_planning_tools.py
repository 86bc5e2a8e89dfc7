"""Planning as a model meets it: short texts, rows that do not contradict their ids, prices that the paid calls name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from mcp.types import TextContent

from kubeez_mcp_local.bridge.orders import QUOTE
from kubeez_mcp_local.catalogue import ids
from tests.mcp_server.driving import call, clip, picture, song

if TYPE_CHECKING:
    from pathlib import Path

    from mcp import Client

pytestmark = pytest.mark.anyio
WISHES: list[dict[str, Any]] = [
    {"task": "image", "count": 3},
    {"task": "image", "resolution": "4K", "aspect_ratio": "16:9"},
    {"task": "image", "inputs": ["image"] * 3},
    {"task": "video", "duration": "8", "sound": True},
    {"task": "image-to-video", "duration": "5", "aspect_ratio": "9:16"},
    {"task": "video", "duration": "10", "sound": True, "max_credits": 60},
    {"task": "video", "duration": "7", "sound": True, "max_credits": 50},
    {"task": "video", "duration": "40", "resolution": "720p"},
    {"task": "video", "aspect_ratio": "7:3", "duration": "4"},
    {"task": "image", "resolution": "8K"},
    {"task": "image", "count": 4, "max_credits": 10},
    {"task": "image", "inputs": ["image"] * 30},
    {"task": "music"},
    {"task": "music", "duration": "30"},
    {"task": "sound", "duration": "20"},
    {"task": "sfx", "duration": "500"},
    {"task": "narration"},
]


async def text_of(client: Client, tool: str, **arguments: Any) -> str:
    (block, *_) = (await client.call_tool(tool, arguments)).content
    assert isinstance(block, TextContent)
    return block.text


async def quoted(client: Client, folder: Path, tool: str, arguments: dict[str, Any], inputs: list[str]) -> Any:
    """What the paid tool itself says that this call costs; nothing is paid."""
    files = {"image": picture(folder), "video": await clip(client), "audio": song(folder)}
    said = {
        "generate_media": {"prompt": "x"},
        "generate_music": {"prompt": "x"},
        "generate_dialogue": {"text": "Hello."},
    }
    arguments = {**said.get(tool, {}), **arguments}
    if tool == "generate_sound":
        arguments |= {"video_url": files["video"]} if "-video-to-" in arguments["model"] else {"prompt": "x"}
    if inputs:
        arguments["source_media_urls"] = [files[kind] for kind in inputs]
    result = await client.call_tool(tool, arguments, meta={QUOTE: True})  # type: ignore[arg-type]  # our own key
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content.get("credits")


@pytest.mark.parametrize("wish", WISHES, ids=str)
async def test_what_is_picked_or_offered_is_accepted_at_that_price(
    connected: Client, tmp_path: Path, wish: dict[str, Any]
) -> None:
    async with connected as client:
        made = await call(client, "pick_model", **wish)
        if made.get("model") and not wish.get("inputs"):
            quote = await call(
                client,
                "estimate",
                model=made["model"],
                **{name: wish[name] for name in ("duration", "resolution", "sound") if name in wish},
                variant_count=wish.get("count", 1),
            )
            assert quote["credits"] == made["credits"]
        else:
            assert made.get("offers") or made.get("model")
        for offer in made.get("offers", []):
            prices = [step.get("credits") for step in offer["calls"]]
            assert offer["credits"] == pytest.approx(sum(price or 0 for price in prices))
            for step in offer["calls"]:
                if step["tool"] in ("trim_video", "join_videos") or "-video-to-" in step["arguments"].get("model", ""):
                    continue  # works on what an earlier call makes
                price = await quoted(client, tmp_path, step["tool"], step["arguments"], step.get("inputs", []))
                times = step["times"]
                assert price * times == pytest.approx(step["credits"])


async def test_one_vocabulary_for_all_three(connected: Client) -> None:
    async with connected as client:
        for word in ("captions", "dialogue", "text-to-video", "remove_background", "dubbing", "subtitles"):
            assert (await call(client, "plan", intent="a wish", task=word))["task"]
            assert (await call(client, "pick_model", task=word))["summary"]
            assert (await call(client, "get_models", model_type=word))["models"]
            assert (await call(client, "get_models", generation_type=word))["models"]


async def test_texts_are_short(connected: Client) -> None:
    async with connected as client:
        for task in ("", "image-to-video", "captions", "video", "dubbing", "sound"):
            wish = "30 second explainer in 16:9 with sound and captions, in German and French, under 20 credits"
            assert len(await text_of(client, "plan", intent=wish, task=task)) <= 1200, task
        for kind in ("", "image", "video"):
            assert len((await text_of(client, "get_models", model_type=kind)).encode()) <= 8_000, kind
        assert len(await text_of(client, "pick_model", task="video", duration="10", sound=True, max_credits=60)) < 1_000


@pytest.mark.parametrize(
    ("intent", "attached"),
    [
        ("tee unter palmen", {}),
        ("щенок", {"has_local_files": True}),
        ("upscale to 4k", {"has_video_reference": True}),
        ("Remove the watermark from my clip", {"has_video_reference": True}),
    ],
)
async def test_a_question_and_a_no_are_short_and_push_to_nothing(
    connected: Client, intent: str, attached: dict[str, bool]
) -> None:
    async with connected as client:
        text = await text_of(client, "plan", intent=intent, **attached)
        assert len(text) <= 500, text
        assert text.startswith(("notes:\n  - Not possible", "workflow_steps:"))
        assert "model:" not in text.replace("_model", "")
        assert "next_step" not in text


async def test_recipes_that_start_from_a_file_are_named_only_where_there_is_one(connected: Client) -> None:
    async with connected as client:
        new = await call(client, "plan", intent="a 30 s explainer video about tea, with captions", task="video")
        assert "video-with-captions" not in (new.get("recipes") or [])
        theirs = await call(client, "plan", intent="put captions on my video")
        assert theirs["recipes"][0] == "video-with-captions"


async def test_what_a_list_of_models_leaves_out_is_found_by_the_words_it_names(connected: Client) -> None:
    async with connected as client:
        shown = await call(client, "get_models", model_type="video")
        (note,) = shown["notes"]
        families = dict(re.findall(r"([\w-]+) \((\d+)\)", note))
        assert sum(map(int, families.values())) == shown["matching_count"] - 40
        found = {row["model_id"] for row in shown["models"]}
        for family in families:
            found |= {row["model_id"] for row in (await call(client, "get_models", query=family))["models"]}
        everything = await call(client, "get_models", model_type="video", limit=shown["matching_count"])
        assert {row["model_id"] for row in everything["models"]} <= found


async def test_the_voices_are_where_the_tool_of_speech_says(connected: Client) -> None:
    async with connected as client:
        (tool,) = [one for one in (await client.list_tools()).tools if one.name == "generate_dialogue"]
        assert "get_models(model_type='speech')" in tool.input_schema["properties"]["voice"]["description"]
        text = await text_of(client, "get_models", model_type="speech")
        assert "Sarah (reassuring)" in text
        assert "voices for: calm: Priyanka" in text


async def test_a_row_does_not_contradict_its_id(connected: Client) -> None:
    async with connected as client:
        rows = {row["model_id"]: row for row in (await call(client, "get_models", limit=200))["models"]}
    for name, row in rows.items():
        able = row.get("capabilities", {})
        if seconds := ids.fixed_seconds(name):
            assert able["duration_options"] == [f"{seconds}s"]
        if tier := ids.tier(name):
            assert able["resolution"] == [tier]
        assert row["returns"]
    assert rows["seedance-1-5-pro-1080p-4s"]["sound_adds"] == 39
    assert rows["veo3-1-fast-text-to-video"]["sound_adds"] == "unknown"
    assert "sound_adds" not in rows["wan-2-5-text-to-video-5s-720p"]
    assert "one image and one video" in rows["kling-2-6-motion-control-720p"]["takes"]
    assert rows["sonilo-text-to-sfx"]["takes"] == "1 to 180 s"
    assert "whether its own sound or speech stays is unknown" in rows["sonilo-video-to-video-sfx"]["returns"]
    assert "at most 300 s" in rows["sonilo-dubbing"]["takes"]


async def test_rows_that_are_left_out_can_be_had(connected: Client) -> None:
    async with connected as client:
        first = await call(client, "get_models", limit=3)
        every = first["matching_count"]
        assert first["notes"][0].startswith(f"3 of {every} shown, the cheapest. The others by query=family: ")
        assert first["notes"][0].endswith(f", …; limit={every} shows all.")
        assert len((await call(client, "get_models", limit=every))["models"]) == every


async def test_voices_have_gender_and_manner_as_far_as_known(connected: Client) -> None:
    async with connected as client:
        (row,) = (await call(client, "get_models", model_type="speech"))["models"]
        assert "Priyanka (calm)" in row["voices"]["female voices"]
        assert row["voices"]["voices of unknown gender"] == "Gaming, Kuon (cheerful)"
        assert row["voices"]["voices for"].startswith("calm: Priyanka")
        assert row["voices"]["evidence"].startswith("assumed")
        omni = await call(client, "list_gemini_omni_voices")
        assert omni["notes"][0].startswith("For calm: Vindemiatrix")
        names = {voice["label"] for voice in omni["voices"]}
        assert {"Vindemiatrix", "Achernar", "Sadachbia", "Puck", "Charon", "Sadaltager"} <= names


async def test_a_price_is_not_asked_for_twice(connected: Client) -> None:
    async with connected as client:
        for made in (
            await call(client, "plan", intent="a picture of the sea"),
            await call(client, "estimate", model="z-image"),
        ):
            assert "wait for a yes" not in str(made)
        exact = await call(client, "pick_model", task="image")
        assert exact["exact"] is True
        assert "exactly" in exact["summary"]
