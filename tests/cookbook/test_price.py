"""What a recipe costs is known before it runs, step by step, with the range of what is still open."""

from __future__ import annotations

from typing import Any

import pytest

from kubeez_mcp_local.cookbook.arguments import check_arguments
from kubeez_mcp_local.cookbook.format import Origin, Recipe
from kubeez_mcp_local.cookbook.parse import parse_recipe
from kubeez_mcp_local.cookbook.price import PriceList, price_recipe
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


async def test_what_was_given_is_no_longer_open(recipe: Recipe, tools: Any) -> None:
    tools.prices = {"nano-banana-2": 14.0, "z-image": 4.0, "V5_5": 19.0}
    prices = await priced(recipe, {"model": "z-image", "with_song": "true", "names": "a, b, c"}, tools)
    assert (prices.credits, prices.low, prices.high) == (45.0, 45.0, 45.0)


async def test_nothing_is_made(recipe: Recipe, tools: Any) -> None:
    await priced(recipe, {}, tools)
    assert {tool for tool, _, _ in tools.calls} == {"estimate", "pick_model"}


async def test_an_unknown_price_stays_unknown(recipe: Recipe, tools: Any) -> None:
    tools.prices = {}
    prices = await priced(recipe, {}, tools)
    assert (prices.credits, prices.low, prices.fits) == (None, None, False)
    assert prices.steps[1].note == "price unknown"


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
