"""Recipes as prompts with completion, and resources, in both protocol eras."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client, MCPError
from mcp.types import PromptReference, ResourceTemplateReference, TextContent, TextResourceContents

from kubeez_mcp_local.bridge import Bridge
from kubeez_mcp_local.mcp_server.server import KubeezServer
from kubeez_mcp_local.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("mode", ["auto", "legacy"])]

RECIPE = """---
name: {name}
title: {title}
description: Says hello.
arguments:
  who: {{description: Whom to greet, required: true}}
  model: {{description: With which model, type: model, default: z-image}}
tools: [estimate]
budget: 10
---
Greet {{{{ who }}}} with {{{{ model }}}}.
"""


@pytest.fixture
def connected(tmp_path: Path, mode: str) -> Client:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "hello.md").write_text(RECIPE.format(name="hello", title="Hello"))
    flags = {"state_dir": str(tmp_path / "state"), "recipes": str(tmp_path / "recipes")}
    server = KubeezServer(Bridge(load_settings(flags, environ={}, working_dir=tmp_path)))
    return Client(server, mode=mode)


def text(result: Any) -> str:
    block = result.messages[0].content
    assert isinstance(block, TextContent)
    return block.text


async def read(client: Client, uri: str) -> Any:
    contents = (await client.read_resource(uri)).contents[0]
    assert isinstance(contents, TextResourceContents)
    return json.loads(contents.text) if contents.mime_type == "application/json" else contents.text


async def test_a_prompt_states_budget_tools_balance_and_the_rule(connected: Client) -> None:
    async with connected as client:
        prompt = text(await client.get_prompt("hello", {"who": "Ada"}))
    for said in ("Greet Ada with z-image.", "at most 10 credits", "`estimate`", "10,000 credits", "wait for my yes"):
        assert said in prompt


async def test_arguments_say_what_they_allow(connected: Client) -> None:
    async with connected as client:
        prompts = {prompt.name: prompt for prompt in (await client.list_prompts()).prompts}
    told = {argument.name: argument.description or "" for argument in prompts["brand-series"].arguments or ()}
    assert told["motifs"].endswith("(1 to 10 entries)")
    assert told["aspect_ratio"].endswith("(one of 1:1, 4:5, 3:4, 16:9, 9:16; default 4:5)")
    assert told["max_credits"].endswith("(1 to 500; default 150)")


async def test_a_table_is_given_to_a_prompt_as_a_file_that_the_input_folders_allow(
    connected: Client, tmp_path: Path
) -> None:
    table = tmp_path / "home" / "towns.csv"
    table.write_text("name,idea\nLisbon,a yellow tram\n", encoding="utf-8")
    arguments = {"rows": str(table), "style": "hard noon light"}
    async with connected as client:
        prompt = text(await client.get_prompt("campaign-from-csv", arguments))
        told = await client.call_tool("get_recipe", {"name": "campaign-from-csv", "arguments": arguments})
        for path in ("/etc/passwd", str(tmp_path / "missing.csv")):
            with pytest.raises(MCPError, match="rows: "):
                await client.get_prompt("campaign-from-csv", {**arguments, "rows": path})
    assert "| 1 | Lisbon | a yellow tram |" in prompt
    assert "| 1 | Lisbon | a yellow tram |" in (told.structured_content or {})["text"]


async def test_the_pack_is_there_and_arguments_say_what_they_take(connected: Client) -> None:
    async with connected as client:
        prompts = {prompt.name: prompt for prompt in (await client.list_prompts()).prompts}
    ratio = next(
        argument for argument in prompts["three-ad-variants"].arguments or [] if argument.name == "aspect_ratio"
    )
    assert "one of 1:1" in (ratio.description or "")
    assert not ratio.required
    assert "pick-a-video-model" in prompts


async def test_a_recipe_that_changes_on_disk_shows_on_the_next_list(connected: Client, tmp_path: Path) -> None:
    async with connected as client:
        await client.list_prompts()
        (tmp_path / "recipes" / "bye.md").write_text(RECIPE.format(name="bye", title="Bye"))
        (tmp_path / "recipes" / "hello.md").write_text(RECIPE.format(name="hello", title="Good morning"))
        (tmp_path / "recipes" / "broken.md").write_text("---\nname: [\n---\n")
        titles = {prompt.name: prompt.title for prompt in (await client.list_prompts()).prompts}
    assert titles["bye"] == "Bye"
    assert titles["hello"] == "Good morning"
    assert "broken" not in titles


async def test_arguments_are_completed_from_choices_and_from_the_catalogue(connected: Client) -> None:
    async with connected as client:

        async def complete(recipe: str, argument: str, typed: str) -> list[str]:
            reference = PromptReference(type="ref/prompt", name=recipe)
            found = await client.complete(reference, {"name": argument, "value": typed})
            return found.completion.values

        assert await complete("three-ad-variants", "aspect_ratio", "1") == ["1:1", "16:9"]
        assert "nano-banana-2" in await complete("hello", "model", "nano")
        assert await complete("hello", "who", "A") == []
        assert await complete("compare-models", "models", "z-image, imagen-4-u") == ["z-image, imagen-4-ultra"]
        assert await complete("no-such-recipe", "x", "") == []


async def test_template_variables_are_completed(connected: Client) -> None:
    async with connected as client:
        template = ResourceTemplateReference(type="ref/resource", uri="kubeez://models/{id}")
        found = await client.complete(template, {"name": "id", "value": "z-im"})
        assert found.completion.values == ["z-image", "z-image-hd"]
        skills = ResourceTemplateReference(type="ref/resource", uri="kubeez://skills/{name}")
        names = (await client.complete(skills, {"name": "name", "value": ""})).completion.values
        assert {f"kubeez://skills/{name}" for name in names} < {
            resource.uri for resource in (await client.list_resources()).resources
        }
        assert (await client.complete(skills, {"name": "name", "value": names[0][:4].upper()})).completion.values
        recipes = ResourceTemplateReference(type="ref/resource", uri="kubeez://recipes/{name}")
        assert "hello" in (await client.complete(recipes, {"name": "name", "value": "he"})).completion.values


async def test_resources_hold_models_recipes_skills_jobs_and_the_account(connected: Client) -> None:
    async with connected as client:
        listed = {str(resource.uri) for resource in (await client.list_resources()).resources}
        assert {"kubeez://models", "kubeez://account", "kubeez://jobs/recent", "kubeez://recipes/hello"} <= listed
        assert (await read(client, "kubeez://models/z-image"))["cost_per_generation"] == 4
        assert len((await read(client, "kubeez://models"))["models"]) > 100
        assert "Greet {{ who }}" in await read(client, "kubeez://recipes/hello")
        assert "wait_for_generation" in await read(client, "kubeez://skills/polling")
        account = await read(client, "kubeez://account")
        assert (account["credits"], account["spent_today"], account["left_today"]) == (10_000, 0, 2_000)
        assert await read(client, "kubeez://jobs/recent") == []
        await client.call_tool("generate_media", {"prompt": "a kite", "model": "z-image"})
        (job,) = await read(client, "kubeez://jobs/recent")
        assert job["prompt"] == "a kite"
        assert (await read(client, f"kubeez://jobs/{job['generation_ids'][0]}"))["job"] == job["job"]
