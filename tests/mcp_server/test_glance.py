"""What a model and a person read at one glance: short results, whole questions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from kubeez_mcp_local.mcp_server.glance import of_history
from kubeez_mcp_local.mcp_server.tools import ALL_TOOLS
from tests.e2e.clients import facts_of, text_of
from tests.mcp_server.driving import call, client_of, clip, made, picture, refused, song

if TYPE_CHECKING:
    from pathlib import Path

    from mcp import Client

    from tests.sandbox_server import RunningSandbox

pytestmark = pytest.mark.anyio
LYRICS = "The tide goes out, the tide comes in, and every boat is home again. " * 5


async def paid_calls(client: Client, folder: Path) -> list[tuple[str, dict[str, Any], list[str]]]:
    """A call of every paid tool, and the words with which a question about it names what decides."""
    image, sound, film = picture(folder), song(folder), await clip(client)
    fox = await made(client, "generate_media", prompt="a fox", model="z-image")
    return [
        (
            "generate_media",
            {
                "prompt": "a kite over the bay",
                "model": "nano-banana-2",
                "aspect_ratio": "16:9",
                "seed": 7,
                "negative_prompt": "blur",
                "variant_count": 3,
                "source_media_urls": [image],
            },
            [
                "3 × nano-banana-2 ",
                "16:9",
                "seed 7",
                "negative prompt blur",
                "teal.png (320×240, 1 KB)",
                "a kite over the bay",
            ],
        ),
        (
            "generate_media",
            {"prompt": "waves", "model": "kling-2-6-text-to-video-5s", "sound": False},
            ["sound: no", "text-to-video", "5s", "waves"],
        ),
        ("regenerate", {"id": fox["generation_id"], "aspect_ratio": "9:16"}, ["z-image", "9:16", "a fox"]),
        ("remove_background", {"image_url": image}, ["teal.png (320×240, 1 KB)"]),
        ("generate_captions", {"media_url": film, "quality": "best", "language": "en"}, ["4 s", "best", "language en"]),
        (
            "generate_dialogue",
            {"dialogue": [{"text": "Who is there?", "voice": "Mark"}, {"text": "The wind.", "voice": "Rachel"}]},
            ["Mark: “Who is there?”", "Rachel: “The wind.”"],
        ),
        ("generate_dubbing", {"video_url": film, "languages": ["de", "fr"]}, ["4 s", "languages de, fr"]),
        (
            "generate_music",
            {"title": "Low tide", "style": "slow fado", "lyrics": LYRICS, "vocal_gender": "f", "instrumental": False},
            ["“Low tide”", "“slow fado”", "every boat is home", f"{len(LYRICS):,} characters", "vocal gender f"],
        ),
        ("generate_separation", {"media_url": sound}, ["song.wav (3 s, 48 KB)"]),
        (
            "generate_sound",
            {"model": "sonilo-text-to-sfx", "prompt": "thunder", "duration": 5},
            ["duration 5", "thunder"],
        ),
        (
            "create_ad_copy",
            {"reference_ad_url": image, "product_text": "Soap for climbers", "language": "de", "variant_count": 2},
            ["2 × ad-copy", "teal.png (", "language de", "9:16", "Soap for climbers"],
        ),
    ]


async def test_the_question_before_paying_names_all_that_decides(
    connected: Client, tmp_path: Path, api: RunningSandbox
) -> None:
    async with connected as client:
        calls = await paid_calls(client, tmp_path)
    assert {tool for tool, _, _ in calls} | {"run_recipe"} == {spec.name for spec in ALL_TOOLS if spec.spends}
    async with client_of(api, tmp_path, KUBEEZ_ASK_ABOVE="0") as client:
        balance = (await call(client, "get_balance"))["credits"]
        for tool, arguments, words in calls:
            asked = await call(client, tool, **arguments)
            (question,) = asked["notes"]
            price = asked["estimated_cost_credits"]
            about = "about " if asked["cost"]["basis"] in ("rate", "api") else ""
            for named in [*words, f" for {about}{price:g} credit", f"Balance afterwards: {about}{balance - price:g}"]:
                assert named in question, (tool, question)
            again = await call(client, tool, **arguments)
            assert again["notes"] == asked["notes"]


@pytest.mark.parametrize(
    ("variables", "said", "next_step"),
    [
        ({"KUBEEZ_ASK_ABOVE": "0"}, "neither ask nor estimate before it", "do not ask before it"),
        ({"KUBEEZ_ASK_ABOVE": "20"}, "Above 20 credits a generate_* call asks", "Tell the user the price"),
        ({}, "prices are play money", "Tell the user the price"),
    ],
)
async def test_a_yes_is_asked_for_once(
    tmp_path: Path, api: RunningSandbox, variables: dict[str, str], said: str, next_step: str
) -> None:
    async with client_of(api, tmp_path, **variables) as client:
        assert said in (client.instructions or "")[:512]
        assert next_step in (await call(client, "estimate", model="nano-banana-2"))["next_step"]


async def test_several_jobs_are_waited_for_in_one_call(connected: Client) -> None:
    async with connected as client:
        started = await call(client, "generate_media", prompt="a kite", model="z-image", variant_count=3)
        assert f"id='{','.join(started['generation_ids'])}'" in started["next_step"]
        done = await call(client, "wait_for_generation", id=", ".join(started["generation_ids"]))
        assert done["status"] == "completed"
        assert [file["label"] for file in done["files"]] == ["1-of-3", "2-of-3", "3-of-3"]
        assert {file["generation_id"] for file in done["files"]} == set(started["generation_ids"])
        again = await call(client, "wait_for_generation", id=f"{done['generation_id']},{done['generation_id']}")
        assert again["generation_ids"] == [done["generation_id"]]
        error = await refused(client, "wait_for_generation", id=f"{done['generation_id']},nobody")
        assert error["code"] == "unknown_job"


async def test_the_history_is_one_short_line_a_job_with_its_file(connected: Client, tmp_path: Path) -> None:
    async with connected as client:
        sound = song(tmp_path)
        for number in range(28):
            await call(
                client, "generate_media", prompt=f"kite {number} " + "over the long grey bay " * 9, model="z-image"
            )
        await made(client, "generate_separation", media_url=sound)
        await made(client, "generate_music", prompt="calm piano")
        result = await client.call_tool("get_generations", {"since": "today"})
        text, told = text_of(result), facts_of(result)
        assert (told["count"], told["total"]) == (25, 30)
        assert "5 more: the same call with before='" in told["next_step"]
        assert len(text.encode()) <= 4_000
        assert text.splitlines()[-1] == "charged: 117 credits for these 25 of 30"
        assert "6 mvsep-40 “song.wav” " in text
        assert "19 newest engine “calm piano” " in text
        assert all(any(row["id"] in line for line in text.splitlines()) for row in told["generations"])
        older = await call(client, "get_generations", before=told["generations"][-1]["created_at"])
        assert not {row["id"] for row in older["generations"]} & {row["id"] for row in told["generations"]}
        (song_row,) = (await call(client, "get_generations", model="newest engine"))["generations"]
        assert song_row["tool"] == "generate_music"
        (stems,) = (await call(client, "get_generations", model="mvsep-40"))["generations"]
        assert len(stems["files"]) == 2
        assert (await call(client, "get_generations", since="2999-01-01"))["total"] == 0
        assert "today, 2026-11-29 or" in (await refused(client, "get_generations", since="soon"))["message"]


@pytest.mark.parametrize(
    ("charges", "total", "said"),
    [
        ([4, 14.5], 2, "18.5 credits for these 2"),
        ([4, None, 0], 9, "4 credits for these 3 of 9; of 1 not known yet"),
        ([None, None], 2, None),
        ([4], 1, None),
    ],
)
def test_the_history_sums_what_its_rows_were_charged(charges: list[float | None], total: int, said: str | None) -> None:
    rows = [{"id": "1", "credits_deducted": charged} for charged in charges]
    told = {"mode": "live", "generations": rows, "count": len(rows), "total": total, "folder": "/home/ada/Kubeez"}
    assert of_history(told).get("charged") == said


async def test_a_failed_job_says_what_was_charged(connected: Client, api: RunningSandbox) -> None:
    async with connected as client:
        api.control.knobs(fail_next=1)
        started = await call(client, "generate_media", prompt="a kite", model="z-image")
        await call(client, "wait_for_generation", id=started["generation_id"])
        assert "failed charged 0 z-image “a kite”" in text_of(await client.call_tool("get_generations", {}))


async def test_the_balance_says_what_was_spent_today_and_on_what(connected: Client) -> None:
    async with connected as client:
        await made(client, "generate_media", prompt="a kite", model="z-image", variant_count=2)
        await made(client, "generate_music", prompt="calm piano")
        result = await client.call_tool("get_balance", {})
    assert facts_of(result)["spent_today_on"] == [
        {"model": "newest engine", "jobs": 1, "credits": 19},
        {"model": "z-image", "jobs": 2, "credits": 8},
    ]
    assert "spent_today_on: songs (engine not told) 19, z-image 8 (2 jobs)" in text_of(result)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_one_yes_covers_several_calls_with_one_balance_afterwards(
    tmp_path: Path, api: RunningSandbox, mode: str
) -> None:
    kite = {"prompt": "a kite", "model": "z-image"}
    lark = {"prompt": "a lark", "model": "nano-banana-2", "variant_count": 2}
    async with client_of(api, tmp_path, mode=mode, KUBEEZ_ASK_ABOVE="0") as client:
        first = await call(client, "generate_media", **kite)
        assert "wait" not in first["next_step"]
        second = await call(client, "generate_music", prompt="calm piano")
        last = await call(client, "generate_media", **lark)
        after = (await call(client, "get_balance"))["credits"] - 51
        waiting = (
            f"2 others wait: z-image 4, newest engine 19. All 3: 51 credits, balance afterwards {after:g} credits."
        )
        assert waiting in last["next_step"]
        codes = ",".join(asked["approval"] for asked in (first, second, last))
        assert first["approval"] not in last["next_step"]

        error = await refused(client, "generate_media", prompt="a hawk", model="z-image", approval=codes)
        assert "none of the codes is of this very call" in error["message"]
        error = await refused(client, "generate_media", **kite, approval=f"{codes},ok-AAAA")
        assert "ok-AAAA is of no call that waits here" in error["message"]

        answer = await client.call_tool("generate_media", {**lark, "approval": codes})
        started = facts_of(answer)
        assert started["estimated_cost_credits"] == 51
        ids = started["generation_ids"]
        assert len(ids) == 4
        assert f"  - {ids[0]} z-image, 4 credits “a kite”" in text_of(answer).split("\n")
        assert f"  - {ids[1]} newest engine, instrumental: no, 19 credits “calm piano”" in text_of(answer).split("\n")
        answer = await client.call_tool("wait_for_generation", {"id": ",".join(ids)})
        done = facts_of(answer)
        for place, price in ((0, "z-image; 4 credits"), (3, "nano-banana-2; 14 credits")):
            path = next(file["path"] for file in done["files"] if file["generation_id"] == ids[place])
            (line,) = [line for line in text_of(answer).split("\n") if path in line]
            assert line.endswith(f"; {price}; {ids[place]}")
            assert line.startswith(f"  - {path} ")
        assert "http" not in text_of(answer)
        assert {file["model"] for file in done["files"]} == {"z-image", "nano-banana-2", "newest engine"}
        assert (await call(client, "get_balance"))["credits"] == after
        error = await refused(client, "generate_media", prompt="a hawk", model="z-image", approval=codes)
        assert "of no call that waits here" in error["message"]
        again = await call(client, "generate_media", **kite, approval=first["approval"])
        assert again["repeated"]


async def test_the_question_names_what_no_argument_says(tmp_path: Path, api: RunningSandbox) -> None:
    tall = tmp_path / "grandma.png"
    Image.new("RGB", (90, 120)).save(tall)
    async with client_of(api, tmp_path, mode="auto", KUBEEZ_ASK_ABOVE="0", KUBEEZ_INPUT_DIRS=str(tmp_path)) as client:

        async def asked(**arguments: Any) -> str:
            return str((await call(client, "generate_media", **arguments))["notes"][0])

        film = await asked(prompt="a fjord", model="seedance-1-5-pro-480p-12s-audio", aspect_ratio="16:9")
        assert "Settings: text-to-video; 16:9; 12 s; with sound." in film
        edit = {"prompt": "in colour", "model": "nano-banana-edit", "source_media_urls": [str(tall)]}
        keeps = "; your picture is 3:4; aspect_ratio='auto' leaves it to the picture."
        assert "; shape: the model's default; it offers 1:1, " in await asked(**edit)
        assert keeps in await asked(**edit)
        assert "shape" not in await asked(**edit, aspect_ratio="auto")
        assert "shape" not in await asked(prompt="a kite", model="z-image")


async def test_the_question_says_what_is_known_of_the_shape(tmp_path: Path, api: RunningSandbox) -> None:
    for name, size in (("tall", (80, 120)), ("wide", (160, 90)), ("odd", (853, 1279))):
        Image.new("RGB", size).save(tmp_path / f"{name}.png")
    async with client_of(api, tmp_path, mode="auto", KUBEEZ_ASK_ABOVE="0", KUBEEZ_INPUT_DIRS=str(tmp_path)) as client:

        async def asked(model: str, *names: str, **settings: Any) -> str:
            files = [str(tmp_path / f"{name}.png") for name in names]
            told = await call(
                client, "generate_media", prompt="it moves", model=model, source_media_urls=files, **settings
            )
            return " ".join(told["notes"])

        offered = "shape: the model's default; it offers 16:9, 9:16, 1:1, 4:3, 3:4; "
        assert f"{offered}nearest to your 2:3 is 3:4." in await asked("p-video", "tall")
        assert f"{offered}nearest to your 853×1279 is 3:4." in await asked("p-video", "odd")
        assert f"{offered}16:9 is your shape." in await asked("p-video", "wide")
        assert "shape" not in await asked("p-video", "tall", aspect_ratio="3:4")
        unsettable = "shape: not settable with this model, may differ from your"
        assert f"{unsettable} 2:3." in await asked("p-image-edit", "tall")
        assert f"{unsettable} first picture's 2:3." in await asked("p-image-edit", "tall", "wide")
        assert f"{unsettable} 2:3." in await asked("p-image-edit", "tall", aspect_ratio="3:4")


async def test_quotes_that_were_dropped_are_neither_listed_nor_counted(tmp_path: Path, api: RunningSandbox) -> None:
    kite = {"prompt": "a kite", "model": "z-image"}
    image = picture(tmp_path)
    async with client_of(api, tmp_path, KUBEEZ_ASK_ABOVE="0", KUBEEZ_INPUT_DIRS=str(tmp_path)) as client:
        first = await call(client, "generate_media", **kite)
        other = await call(client, "generate_media", **{**kite, "model": "nano-banana-2"})
        assert "wait" not in other["next_step"]  # the same wish, another model
        edit = {**kite, "model": "nano-banana-edit", "source_media_urls": [image]}
        edited = await call(client, "generate_media", **edit)
        assert "1 other waits: nano-banana-2 14. All 2: " in edited["next_step"]  # the same words about a file
        for image_url in (image, image):
            cutout = await call(client, "remove_background", image_url=image_url)
        assert "2 others wait: nano-banana-2 14, nano-banana-edit" in cutout["next_step"]

        codes = f"{first['approval']},{other['approval']}"
        paid = await call(client, "generate_media", **kite, approval=codes)
        assert len(paid["generation_ids"]) == 2  # whoever did mean both can have both
        after = await call(client, "generate_media", prompt="a lark", model="z-image")
        assert "wait" not in after["next_step"]  # what was quoted before the payment is not dragged along
        codes = f"{after['approval']},{cutout['approval']}"
        paid = await call(client, "generate_media", prompt="a lark", model="z-image", approval=codes)
        assert len(paid["generation_ids"]) == 2
