"""Recipes as tools, for clients without prompts, in both protocol eras."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from kubeez_mcp_local.cookbook.check import check_recipe
from kubeez_mcp_local.cookbook.library import read_recipe
from tests.mcp_server.driving import call, client_of, made, picture, refused

if TYPE_CHECKING:
    from mcp import Client

    from tests.sandbox_server import RunningSandbox

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("mode", ["auto", "legacy"])]
BRIEF = {"brief": "A red running shoe"}


def on_disk(run: dict[str, Any]) -> bool:
    return all(Path(file["path"]).stat().st_size == file["size_bytes"] for file in run["files"])


async def test_recipes_are_found_by_words(connected: Client, mode: str) -> None:
    async with connected as client:
        everything = await call(client, "list_recipes")
        assert everything["matching_count"] >= 14
        found = await call(client, "list_recipes", query="storyboard frame")
        assert [row["name"] for row in found["recipes"]] == ["storyboard-to-clips"]
        assert found["recipes"][0]["source"] == "the recipe pack"
        assert "*" in found["recipes"][0]["arguments"]
        assert (await call(client, "list_recipes", query="nothing like it"))["recipes"] == []
        assert (await refused(client, "list_recipes", limit=0))["code"] == "invalid_argument"


async def test_a_recipe_asks_for_what_it_needs_and_then_tells_what_to_do(connected: Client, mode: str) -> None:
    async with connected as client:
        asked = await call(client, "get_recipe", name="three-ad-variants")
        assert asked["missing"] == ["brief"]
        assert "text" not in asked
        assert {row["name"] for row in asked["arguments"]} >= {"brief", "aspect_ratio"}
        told = await call(client, "get_recipe", name="three-ad-variants", arguments=BRIEF)
        assert "A red running shoe" in told["text"]
        assert "wait for my yes" in told["text"]
        as_text = await call(client, "get_recipe", name="three-ad-variants", arguments='{"brief": "As JSON text"}')
        assert "As JSON text" in as_text["text"]


async def test_what_is_wrong_with_a_recipe_call_is_said(connected: Client, mode: str) -> None:
    async with connected as client:
        unknown = await refused(client, "get_recipe", name="three-ad-variant")
        assert (unknown["code"], "three-ad-variants" in unknown["message"]) == ("unknown_recipe", True)
        for tool in ("get_recipe", "run_recipe"):
            wrong = await refused(client, tool, name="three-ad-variants", arguments={**BRIEF, "aspect_ratio": "7:3"})
            assert "1:1, 4:5, 9:16, 16:9" in wrong["message"]
            typo = await refused(client, tool, name="three-ad-variants", arguments={**BRIEF, "ratio": "1:1"})
            assert "takes: brief" in typo["message"]
        assert "brief" in (await refused(client, "run_recipe", name="three-ad-variants"))["message"]
        bad_id = await refused(client, "run_recipe", name="three-ad-variants", arguments=BRIEF, run_id="../x")
        assert "run_id" in bad_id["message"]


async def test_a_run_ends_with_files_and_is_never_paid_twice(connected: Client, mode: str) -> None:
    async with connected as client:
        run = await call(client, "run_recipe", name="three-ad-variants", arguments=BRIEF)
        assert (run["status"], run["mode"], len(run["files"])) == ("completed", "sandbox", 3)
        assert on_disk(run)
        names = ["variants-product-as-hero.png", "variants-the-moment-of-use.png", "variants-one-bold-idea.png"]
        assert [Path(file["path"]).name for file in run["files"]] == names
        assert [(one["label"], one["paths"]) for one in run["calls"]] == [
            (label, [file["path"]])
            for label, file in zip(("product as hero", "the moment of use", "one bold idea"), run["files"], strict=True)
        ]
        assert run["cost"]["charged"] == run["cost"]["quoted"] == run["cost"]["spent_today"] == 42
        again = await call(client, "run_recipe", name="three-ad-variants", arguments=BRIEF)
        assert (again["run_id"], again["files"]) == (run["run_id"], run["files"])
        assert again["cost"]["spent_today"] == 42
        other = await call(client, "run_recipe", name="three-ad-variants", arguments=BRIEF, run_id="second")
        assert (other["run_id"], other["cost"]["spent_today"]) == ("second", 84)


async def test_a_rehearsal_costs_nothing_and_brings_its_own_examples(connected: Client, mode: str) -> None:
    async with connected as client:
        run = await call(client, "run_recipe", name="remove-backgrounds", rehearse=True)
        preview = await client.read_resource(f"kubeez://previews/{quote(run['files'][0]['path'], safe='')}")
        assert preview.contents[0].mime_type == "image/webp"
        assert run["status"] == "completed"
        assert run["files"]
        assert "the account was not touched" in run["notes"][-1]
        assert (await call(client, "get_balance"))["spent_today"] == 0


async def test_the_days_ceiling_stops_a_run_before_anything_is_paid(
    tmp_path: Path, api: RunningSandbox, mode: str
) -> None:
    async with client_of(api, tmp_path, mode=mode, KUBEEZ_MAX_CREDITS_PER_DAY="20") as client:
        run = await call(client, "run_recipe", name="three-ad-variants", arguments=BRIEF)
        assert run["status"] == "stopped"
        assert run["cost"]["spent_today"] <= 20
        assert "your ceiling of 20 holds" in " ".join(run["notes"])


async def test_tools_that_are_not_on_offer_are_not_on_offer_to_recipes_either(
    tmp_path: Path, api: RunningSandbox, mode: str
) -> None:
    async with client_of(api, tmp_path, mode=mode, KUBEEZ_TOOLSETS="recipes,planning") as client:
        error = await refused(client, "run_recipe", name="three-ad-variants", arguments=BRIEF)
        assert error["message"].startswith("Unknown tool: generate_media")


async def test_a_quote_starts_nothing_and_shows_what_would_be_sent(connected: Client, mode: str) -> None:
    async with connected as client:
        given = {"story": "A fox", "frames": "it wakes\nit runs"}
        quote = await call(client, "run_recipe", name="storyboard-to-clips", arguments=given, quote_only=True)
        assert (quote["status"], quote["cost"]["quoted"]) == ("quoted", 47)
        assert [row["step"] for row in quote["calls"]] == ["first", "later[0]", "clips[0]"]
        assert "This moment: it runs." in quote["calls"][1]["prompt"]
        whole = "47 credits in all: 28 now (2 paid calls), 19 after another yes before clips (1 call), at most "
        assert whole in quote["summary"]
        assert "Calls: 2 × nano-banana-2 16:9, seedance-1-5-pro-720p-4s 16:9" in quote["summary"]
        asked = {"name": "storyboard-to-clips", "arguments": given, "quote_only": True}
        (block, *_) = (await client.call_tool("run_recipe", asked)).content
        assert "None" not in block.text  # type: ignore[union-attr]  # a text block
        assert (await call(client, "get_balance"))["spent_today"] == 0

        told = await call(client, "get_recipe", name="storyboard-to-clips", arguments=given)
        assert told["price"] == quote["summary"]
        assert told["calls"] == quote["calls"]
        low = await call(client, "get_recipe", name="storyboard-to-clips", arguments={**given, "max_credits": 20})
        assert "Raise its argument max_credits to at least 47" in low["price"]


async def test_a_run_pauses_for_its_second_yes_and_pays_only_the_rest(connected: Client, mode: str) -> None:
    async with connected as client:
        given = {"story": "A fox", "frames": "it wakes\nit runs"}
        first = await call(client, "run_recipe", name="storyboard-to-clips", arguments=given)
        assert (first["status"], first["cost"]["charged"], len(first["files"])) == ("paused", 28, 2)
        assert first["next_step"].endswith("After a yes the same call goes on: 1 call left, 19 credits.")
        second = await call(client, "run_recipe", name="storyboard-to-clips", arguments=given)
        assert (second["status"], second["cost"]["charged"], len(second["files"])) == ("completed", 47, 3)


async def test_jobs_become_a_recipe_that_passes_its_check_and_replays(
    tmp_path: Path, connected: Client, mode: str
) -> None:
    async with connected as client:
        still = await made(client, "generate_media", prompt="A kite", model="z-image", aspect_ratio="16:9")
        cut = await made(client, "remove_background", image_url=still["files"][0]["path"])
        ids = [cut["generation_id"], still["generation_id"]]
        saved = await call(client, "save_recipe", name="kite", job_ids=ids, title="The kite")
        assert saved["path"] == str(tmp_path / "out" / "recipes" / "kite.md")
        recipe = read_recipe(Path(saved["path"]))
        assert [str(one) for one in check_recipe(recipe) if one.level == "error"] == []
        assert [step.tool for step in recipe.steps] == ["generate_media", "remove_background"]
        assert str(tmp_path) not in recipe.text
        assert "kite" in [prompt.name for prompt in (await client.list_prompts()).prompts]
        replay = await call(client, "run_recipe", name="kite", arguments={"step_1_prompt": "A red kite"})
        assert (replay["status"], len(replay["files"])) == ("completed", 2)


async def test_only_finished_jobs_of_this_machine_are_recorded(connected: Client, mode: str, tmp_path: Path) -> None:
    async with connected as client:
        done = await made(client, "remove_background", image_url=picture(tmp_path))
        ids = [done["generation_id"]]
        assert (await refused(client, "save_recipe", name="x", job_ids=["no-such-job"]))["code"] == "unknown_job"
        assert "job" in (await refused(client, "save_recipe", name="x", job_ids=[]))["message"]
        for name in ("Bad Name", "../up", ""):
            error: dict[str, Any] = await refused(client, "save_recipe", name=name, job_ids=ids)
            assert "name" in error["message"]
        assert not (tmp_path / "out" / "recipes").exists()
        await call(client, "save_recipe", name="taken", job_ids=ids)
        for name in ("taken", "three-ad-variants"):
            assert f"{name!r} is taken" in (await refused(client, "save_recipe", name=name, job_ids=ids))["message"]


async def test_a_bare_recipe_lists_its_arguments_in_a_line_each_required_ones_with_a_star(
    connected: Client, mode: str
) -> None:
    async with connected as client:
        answer = await client.call_tool("get_recipe", {"name": "campaign-from-csv"})
        text = str(getattr(answer.content[0], "text", ""))
    assert "  - rows* (table: name*, idea*, ratio; at most 10000): CSV file or text" in text
    assert "  - max_credits (integer; 1 to 200000; default 500): Ceiling" in text
    assert len(text) < 1_500


async def test_jobs_of_one_loop_become_a_table_in_their_order_whatever_order_they_are_named_in(
    tmp_path: Path, connected: Client, mode: str
) -> None:
    rows = [{"name": city, "idea": "a tram"} for city in ("Lisbon", "Oslo", "Athens", "Porto", "Rome")]
    async with connected as client:
        given = {"rows": rows, "style": "flat colours"}
        run = await call(client, "run_recipe", name="campaign-from-csv", arguments=given)
        ids = [one["generation_id"] for one in sorted(run["calls"], key=lambda one: one["label"])]
        saved = await call(client, "save_recipe", name="cities", job_ids=ids)
        assert saved["arguments"] == ["model", "aspect_ratio", "rows", "max_credits"]
        assert "generation_type: text-to-image" in saved["notes"][0]
        assert "get_skill('recipe-writing')" in saved["next_step"]
        recipe = read_recipe(Path(saved["path"]))
        assert recipe.front.expect is not None
        assert [row["prompt"] for row in recipe.front.expect.with_["rows"]] == [row["name"] + ":" for row in rows]
        again = await call(client, "run_recipe", name="cities", rehearse=True)
        assert (again["status"], len(again["files"])) == ("completed", 5)


async def test_a_film_is_priced_by_its_length_whatever_was_said(tmp_path: Path, connected: Client, mode: str) -> None:
    from kubeez_mcp_local.cookbook.check import Samples

    pytest.importorskip("av")
    film = Samples(tmp_path)("video")
    async with connected as client:
        given = {"video": film, "seconds": 1}
        quote = await call(client, "run_recipe", name="video-with-captions", arguments=given, quote_only=True)
        assert "is 6 s long, not 1 s: it is priced as it is." in quote["notes"][0]
        run = await call(client, "run_recipe", name="video-with-captions", arguments=given)
        assert run["cost"]["charged"] == quote["cost"]["quoted"] > 1
        url = {"video": "https://example.com/talk.mp4"}
        asked = await call(client, "run_recipe", name="video-with-captions", arguments=url, quote_only=True)
        assert "the length of the file is not known; give it as seconds" in asked["notes"][0]
        told = {**url, "seconds": 6}
        known = await call(client, "run_recipe", name="video-with-captions", arguments=told, quote_only=True)
        assert known["cost"]["quoted"] == quote["cost"]["quoted"]
