"""What a recipe costs is known before it runs, step by step, with the range of what is still open."""

from __future__ import annotations

from typing import Any

import pytest

from kubeez_mcp_local.cookbook.arguments import check_arguments
from kubeez_mcp_local.cookbook.format import Origin, Recipe
from kubeez_mcp_local.cookbook.parse import parse_recipe
from kubeez_mcp_local.cookbook.price import MANY, PriceList, price_recipe
from kubeez_mcp_local.cookbook.steps import ToolCallError

pytestmark = pytest.mark.anyio

TEXT = """---
name: plain
title: A plain recipe
description: One picture of one thing.
arguments:
  model: {description: Model, type: model, choices: [nano-banana-2, imagen-4-ultra, z-image], default: nano-banana-2}
  with_song: {description: With a song, type: boolean, default: false}
  names: {description: Names, type: list, default: "a, b"}
budget: 60
tools: [estimate, generate_media, generate_music, pick_model]
steps:
  - {id: choice, tool: pick_model, with: {task: text-to-video}}
  - id: each
    tool: generate_media
    for_each: "{{ args.names }}"
    with: {model: "{{ args.model }}", prompt: "{{ item }}"}
  - {id: chosen, tool: generate_media, with: {model: "{{ steps.choice.model }}", prompt: x}}
  - {id: song, tool: generate_music, when: args.with_song, with: {prompt: "For {{ steps.each[0].outputs[0].url }}"}}
---
{{ model }} {{ with_song }} {{ names }}
"""


@pytest.fixture
def recipe() -> Recipe:
    return parse_recipe(TEXT, Origin("draft", "a test"))


async def priced(recipe: Recipe, given: dict[str, Any], tools: Any, **options: Any) -> PriceList:
    left_open = recipe.arguments.keys() - given.keys()
    return await price_recipe(recipe, check_arguments(recipe.front, given), tools, left_open=left_open, **options)


async def test_each_step_has_its_price_and_its_range(recipe: Recipe, tools: Any) -> None:
    tools.prices = {"nano-banana-2": 14.0, "imagen-4-ultra": 19.0, "z-image": 4.0, "V5_5": 19.0}
    prices = await priced(recipe, {}, tools)

    found = {step.id: (step.calls, step.credits, step.low, step.high) for step in prices.steps}
    assert found["each"] == (2, 28.0, 8.0, 38.0)
    assert found["chosen"] == (1, 14.0, 14.0, 14.0)
    assert found["song"] == (0, 0.0, 0.0, 19.0)
    assert (prices.credits, prices.low, prices.high, prices.fits) == (42.0, 22.0, 71.0, True)


async def test_a_step_names_every_model_that_its_calls_use_once(recipe: Recipe, tools: Any) -> None:
    models = {step.id: step.model for step in (await priced(recipe, {}, tools)).steps}
    assert models["each"] == "nano-banana-2"

    listed = TEXT.replace('model: "{{ args.model }}"', 'model: "{{ item }}"')
    several = parse_recipe(listed.replace('"a, b"', '"z-image, nano-banana-2, z-image"'), Origin("draft", "x"))
    models = {step.id: step.model for step in (await priced(several, {}, tools)).steps}
    assert models["each"] == "z-image, nano-banana-2"


async def test_what_was_given_is_no_longer_open(recipe: Recipe, tools: Any) -> None:
    tools.prices = {"nano-banana-2": 14.0, "z-image": 4.0, "V5_5": 19.0}
    prices = await priced(recipe, {"model": "z-image", "with_song": "true", "names": "a, b, c"}, tools)
    assert (prices.credits, prices.low, prices.high) == (45.0, 45.0, 45.0)


async def test_nothing_is_made(recipe: Recipe, tools: Any) -> None:
    await priced(recipe, {}, tools)
    assert {tool for tool, _, _ in tools.calls} == {"pick_model"}
    assert {tool for tool, _, _ in tools.quoted} == {"generate_media", "generate_music"}


async def test_an_unknown_price_stays_unknown(recipe: Recipe, tools: Any) -> None:
    tools.prices = {}
    prices = await priced(recipe, {}, tools)
    assert (prices.credits, prices.low, prices.fits) == (None, None, False)
    assert prices.steps[1].note == "price unknown: The price is not recorded."


async def test_at_most_stands_in_for_an_unknown_price(tools: Any) -> None:
    tools.prices = {"nano-banana-2": 14.0}
    text = TEXT.replace("id: song", "id: song, at_most: 25")
    prices = await priced(parse_recipe(text, Origin("draft", "x")), {"with_song": True}, tools)
    assert prices.steps[3].credits == 25
    assert "the recipe allows 25 credits a call" in prices.steps[3].note


async def test_the_ceiling_lowers_the_budget(recipe: Recipe, tools: Any) -> None:
    prices = await priced(recipe, {}, tools, ceiling=10)
    assert (prices.budget.credits, prices.fits) == (10, False)


async def test_when_no_model_fits_that_is_said_and_an_open_choice_without_one_is_no_part_of_the_range(
    tools: Any,
) -> None:
    text = TEXT.replace("with: {task: text-to-video}", 'with: {task: text-to-video, sound: "{{ args.with_song }}"}')
    recipe = parse_recipe(text, Origin("draft", "a test"))
    tools.prices = {"nano-banana-2": 14.0, "imagen-4-ultra": 19.0, "z-image": 4.0, "V5_5": 19.0}

    prices = await priced(recipe, {"model": "nano-banana-2"}, tools)
    assert (prices.credits, prices.low, prices.high) == (42.0, 42.0, 42.0)
    with pytest.raises(ToolCallError, match="Nothing fits"):
        await priced(recipe, {"with_song": "true"}, tools)


ROWS = """---
name: rows
title: Rows
description: A picture and a clip for each row.
arguments:
  rows: {description: Rows, type: table, columns: {idea: {required: true}}}
  seconds: {description: Length of the song, type: integer}
budget: 600
tools: [estimate, generate_media, generate_separation, generate_captions, regenerate]
steps:
  - id: pictures
    tool: generate_media
    for_each: "{{ args.rows }}"
    with: {model: nano-banana-2, generation_type: text-to-image, prompt: "{{ item.idea }}"}
  - id: clips
    tool: generate_media
    for_each: "{{ steps.pictures }}"
    with:
      model: seedance
      generation_type: image-to-video
      duration: 4s
      source_media_urls: ["{{ item.outputs[0].url }}"]
      prompt: slowly
  - {id: again, tool: regenerate, with: {id: "{{ steps.pictures[0].generation_id }}", prompt: other}}
  - {id: captioned, tool: generate_captions, with: {media_url: "{{ steps.clips[0].outputs[0].url }}"}}
  - id: stems
    tool: generate_separation
    when: args.seconds
    quote: {reference_audio_seconds: "{{ args.seconds }}"}
    with: {media_url: "https://example.com/song.mp3"}
---
{{ rows }}
"""
PRICES: dict[str, float | None] = {"nano-banana-2": 14.0, "seedance": 30.0, "regenerate": 14.0, "auto-caption": 2.0}


def rows_of(*ideas: str, **given: Any) -> tuple[Recipe, dict[str, Any]]:
    recipe = parse_recipe(ROWS, Origin("draft", "a test"))
    return recipe, check_arguments(recipe.front, {"rows": [{"idea": idea} for idea in ideas], **given})


async def test_what_earlier_steps_will_make_stands_in_with_its_kind_and_length(tools: Any) -> None:
    tools.prices = dict(PRICES)
    recipe, arguments = rows_of("a", "b")
    prices = await price_recipe(recipe, arguments, tools)

    assert prices.credits == 2 * 14 + 2 * 30 + 14 + 2
    assert [call.key for call in prices.planned] == [
        *("pictures[0]", "pictures[1]", "clips[0]", "clips[1]", "again", "captioned")
    ]
    by_tool = {tool: coming for tool, _, coming in tools.quoted if tool != "generate_media"}
    assert list(by_tool["generate_captions"].values()) == [{"kind": "video", "seconds": 4}]
    [(_, told)] = by_tool["regenerate"].items()
    assert (told["tool"], told["arguments"]["prompt"]) == ("generate_media", "a")
    clips = [coming for _, given, coming in tools.quoted if given.get("model") == "seedance"]
    assert [list(coming.values()) for coming in clips] == [[{"kind": "image"}], [{"kind": "image"}]]
    assert clips[0].keys() != clips[1].keys()


async def test_all_calls_that_cannot_be_made_are_told_at_once_by_their_rows(tools: Any) -> None:
    tools.prices = dict(PRICES)
    tools.unfit = {"bad": ToolCallError("prompt: is not allowed.", code="invalid_argument"), "long": ToolCallError("x")}
    recipe, arguments = rows_of("a", "bad one", "b", "bad two", "long")
    with pytest.raises(ToolCallError) as caught:
        await price_recipe(recipe, arguments, tools)
    assert caught.value.message.splitlines() == [
        "3 calls cannot be made as they are:",
        "- rows: rows 2 and 4: prompt: is not allowed.",
        "- rows: row 5: x",
    ]


async def test_one_error_comes_as_itself_and_one_of_the_account_at_once(tools: Any) -> None:
    tools.prices = dict(PRICES)
    tools.unfit = {"bad": ToolCallError("model: there is no such model.", code="unknown_model", next_step="Pick one.")}
    recipe, arguments = rows_of("a", "bad one")
    with pytest.raises(ToolCallError) as caught:
        await price_recipe(recipe, arguments, tools)
    assert str(caught.value) == "rows: row 2: model: there is no such model. Pick one."
    assert caught.value.code == "unknown_model"

    tools.unfit = {"a": ToolCallError("The key is not taken.", code="unauthorized")}
    with pytest.raises(ToolCallError, match=r"^The key is not taken\.$"):
        await price_recipe(recipe, arguments, tools)


async def test_a_declared_length_is_for_urls_and_a_file_is_measured(tools: Any) -> None:
    tools.prices = {**PRICES, "mvsep-40": 20.0}
    recipe, arguments = rows_of("a", seconds=90)
    await price_recipe(recipe, arguments, tools)
    assert tools.quoted[-1][2] == {"https://example.com/song.mp3": {"kind": "audio", "seconds": 90.0}}

    async def measure(_: str) -> float:
        return 12.0

    prices = await price_recipe(recipe, arguments, tools, measure=measure)
    assert tools.quoted[-1][2] == {}
    assert prices.steps[-1].note == "song.mp3 is 12 s long, not 90 s: it is priced as it is."


async def test_of_many_calls_that_differ_only_in_their_words_the_longest_is_looked_at(tools: Any) -> None:
    tools.prices = dict(PRICES)
    ideas = [f"idea {number}" + "!" * (number == 50) for number in range(MANY + 20)]
    recipe, arguments = rows_of(*ideas)
    prices = await price_recipe(recipe, arguments, tools)
    assert prices.steps[0].credits == 14 * len(ideas)
    assert [call.arguments["prompt"] for call in prices.planned[: len(ideas)]] == ideas
    drafted = [given["prompt"] for _, given, _ in tools.quoted if given.get("model") == "nano-banana-2"]
    assert drafted == ["idea 50!"]


async def test_where_the_longest_does_not_fit_each_is_looked_at_and_all_are_told(tools: Any) -> None:
    tools.prices = dict(PRICES)
    tools.unfit = {"!": ToolCallError("prompt: is too long.")}
    recipe, arguments = rows_of(*(f"idea {number}" + "!!" * (number in (3, 50)) for number in range(MANY + 20)))
    with pytest.raises(ToolCallError, match=r"^rows: rows 4 and 51: prompt: is too long"):
        await price_recipe(recipe, arguments, tools)
