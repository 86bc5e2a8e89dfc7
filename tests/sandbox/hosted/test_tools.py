"""The hosted tools, called by the SDK's own client over real HTTP, in both eras of the protocol."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.hosted_standin import TOKEN, finished, official_client, said
from tests.sandbox_server import KEY

if TYPE_CHECKING:
    from mcp import Client

    from tests.sandbox_server import RunningSandbox

pytestmark = pytest.mark.anyio

PICTURE = {"prompt": "a red kettle", "model": "nano-banana-2"}


async def _clip(client: Client) -> tuple[str, float]:
    """The URL of a clip, and its seconds."""
    models = (await said(client, "get_models", model_type="video"))["models"]
    model = next(row["model_id"] for row in models if not row["requires_input_media"])
    job = await said(client, "generate_media", prompt="a kettle", model=model, generation_type="text-to-video")
    output = (await finished(client, job["generation_id"]))["outputs"][0]
    return output["url"], output["duration"]


@pytest.mark.parametrize(("mode", "revision"), [("auto", "2026-07-28"), ("legacy", "2025-11-25")])
async def test_the_official_client_makes_a_picture(sandbox: RunningSandbox, mode: str, revision: str) -> None:
    async with official_client(sandbox.url, mode=mode) as client:
        assert client.protocol_version == revision
        price = (await said(client, "estimate", model=PICTURE["model"]))["estimated_cost_credits"]
        before = (await said(client, "get_balance"))["credits"]
        started = await said(client, "generate_media", **PICTURE)
        assert started["status"] == "pending"
        assert started["estimated_cost_credits"] == price
        state = await finished(client, started["generation_id"])
        assert state["kind"] == "media"
        assert (await said(client, "get_balance"))["credits"] == before - price
        rows = (await said(client, "get_generations"))["generations"]
        assert [row["prompt"] for row in rows] == [PICTURE["prompt"]]
        assert await said(client, "get_generation", id=started["generation_id"]) == rows[0]
    assert state["outputs"][0]["media_type"] == "image"


async def test_one_account_is_seen_at_both_doors(sandbox: RunningSandbox) -> None:
    sandbox.control.token(TOKEN, account=sandbox.control.key(KEY)["account"])
    with sandbox.client() as rest:
        job = rest.post("/v1/generate/media", json=PICTURE).json()["generation_id"]
        async with official_client(sandbox.url) as client:
            other = (await said(client, "generate_media", **PICTURE))["generation_id"]
            assert [row["id"] for row in (await said(client, "get_generations"))["generations"]] == [other, job]
            left = (await said(client, "get_balance"))["credits"]
        assert [row["id"] for row in rest.get("/v1/generations").json()["generations"]] == [other, job]
        assert rest.get("/v1/balance").json()["credits"] == left


async def test_every_job_runs_to_its_end_and_costs_its_estimate(sandbox: RunningSandbox) -> None:
    sandbox.control.knobs(concurrency_caps=False)
    async with official_client(sandbox.url) as client:
        clip, length = await _clip(client)
        seconds = {"reference_video_seconds": length}
        jobs: dict[str, tuple[dict[str, Any], dict[str, Any] | None, str]] = {
            "generate_captions": ({"media_url": clip}, {"model": "auto-caption", **seconds}, "media"),
            "generate_dubbing": (
                {"video_url": clip, "languages": ["de"], "model": "elevenlabs-dubbing"},
                {"model": "elevenlabs-dubbing", **seconds},
                "media",
            ),
            "generate_separation": ({"media_url": clip}, {"model": "mvsep-40"}, "separation"),
            "generate_sound": (
                {"model": "sonilo-video-to-video-sfx", "video_url": clip},
                {"model": "sonilo-video-to-video-sfx", **seconds},
                "media",
            ),
            "generate_dialogue": ({"text": "Good morning, everybody."}, None, "media"),
            "generate_music": ({"prompt": "a slow waltz"}, None, "music"),
            "remove_background": ({"image_url": "https://example.com/a.png"}, {"model": "remove-background"}, "media"),
        }
        for tool, (arguments, asked, kind) in jobs.items():
            before = (await said(client, "get_balance"))["credits"]
            started = await said(client, tool, **arguments)
            paid = before - (await said(client, "get_balance"))["credits"]
            if asked is not None:
                assert paid == (await said(client, "estimate", **asked))["estimated_cost_credits"], tool
            state = await finished(client, started.get("separation_id") or started["generation_id"])
            assert (state["kind"], state["status"], state["credits_deducted"]) == (kind, "completed", paid), tool
            made = state.get("outputs") or state.get("songs") or [state["vocals_url"], state["instrumental_url"]]
            assert made, tool
        rows = (await said(client, "get_generations"))["generations"]
        assert all(row["id"] and row["model"] and row["created_at"] for row in rows)
        assert len(rows) == len(jobs) + 1


async def test_the_history_shows_25_rows_and_filters(sandbox: RunningSandbox) -> None:
    sandbox.control.knobs(concurrency_caps=False, speed=1)
    async with official_client(sandbox.url) as client:
        first = (await said(client, "generate_media", **PICTURE))["generation_id"]
        made = [first]
        for number in range(7):
            again = await said(client, "regenerate", id=first, prompt=f"kettle {number}", variant_count=4)
            made += again["generation_ids"]
        rows = (await said(client, "get_generations", limit=100))["generations"]
        assert [row["id"] for row in rows] == made[:-26:-1]
        assert len((await said(client, "get_generations", limit=2))["generations"]) == 2
        assert (await said(client, "get_generations", model="mvsep-40"))["generations"] == []


async def test_regenerating_varies_a_job_and_charges_each(sandbox: RunningSandbox) -> None:
    async with official_client(sandbox.url) as client:
        first = await said(client, "generate_media", **PICTURE)
        again = await said(client, "regenerate", id=first["generation_id"], prompt="a blue kettle", variant_count=2)
        assert len(again["generation_ids"]) == 2
        assert again["estimated_cost_credits"] == 2 * first["estimated_cost_credits"]
        row = await said(client, "get_generation", id=again["generation_ids"][1])
        assert (row["prompt"], row["model"]) == ("a blue kettle", PICTURE["model"])


@pytest.mark.parametrize(
    ("tool", "arguments", "code", "words"),
    [
        ("generate_media", {"prompt": "x", "model": "no-such"}, "invalid_model", "no-such"),
        ("generate_media", {"prompt": "x"}, "invalid_parameters", "model: Field required"),
        ("generate_media", {**PICTURE, "promt": "x"}, "invalid_parameters", "promt: Unexpected argument"),
        ("generate_media", {**PICTURE, "seed": "many"}, "invalid_parameters", "seed"),
        ("generate_captions", {"media_url": "file:///etc/passwd"}, "invalid_parameters", "https"),
        ("generate_dialogue", {"text": "x"}, "invalid_parameters", "5 to 5000"),
        ("get_status", {"id": "nobody's"}, "not_found", "not found"),
        ("get_upload_session", {"token": "nobody's"}, "not_found", "not found"),
        ("estimate", {"model": "no-such"}, "invalid_model", "no-such"),
        ("nothing_like_that", {}, "unknown_tool", "nothing_like_that"),
    ],
)
async def test_a_refusal_has_a_code_and_charges_nothing(
    sandbox: RunningSandbox, tool: str, arguments: dict[str, Any], code: str, words: str
) -> None:
    async with official_client(sandbox.url) as client:
        result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert result.structured_content is not None
    assert result.structured_content["error"] == code
    assert words in result.structured_content["message"]
    assert json.loads(getattr(result.content[0], "text", "")) == result.structured_content
    assert sum(len(account["jobs"]) for account in sandbox.control.books()["accounts"]) == 0


async def test_out_of_credits_in_each_form_that_an_error_may_have(sandbox: RunningSandbox) -> None:
    sandbox.control.token(TOKEN, credits=1)
    async with official_client(sandbox.url) as client:
        for form, is_error in (("structured", True), ("text", True), ("result", False)):
            sandbox.control.knobs(hosted_errors=form, no_credits_as=402)
            result = await client.call_tool("generate_media", PICTURE)
            assert result.is_error is is_error
            assert "insufficient_credits" in getattr(result.content[0], "text", "")
            assert (result.structured_content is None) is (form == "text")


async def test_the_documented_limits_hold(sandbox: RunningSandbox) -> None:
    sandbox.control.knobs(rate_limits="on", speed=1)
    async with official_client(sandbox.url) as client:
        for _ in range(5):
            await said(client, "generate_music", prompt="a slow waltz")
        results = [await client.call_tool("generate_music", {"prompt": "a slow waltz"}) for _ in range(6)]
    answers = [result.structured_content or {} for result in results]
    assert {answer["error"] for answer in answers} == {"rate_limited"}
    assert answers[0]["message"] == "Too many jobs at once: at most 5 music jobs may run"
    assert answers[5]["message"] == "Rate limit exceeded: 10 music requests per minute"


async def test_what_is_served_says_what_is_assumed_and_how_harmless_it_is(sandbox: RunningSandbox) -> None:
    async with official_client(sandbox.url) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    reading = tools["get_status"].annotations
    assert reading is not None
    assert (reading.read_only_hint, reading.idempotent_hint) == (True, True)
    assert tools["generate_media"].annotations is None
    assert "Assumed" in tools["generate_dubbing"].input_schema["properties"]["languages"]["description"]
    assert "Assumed" in (tools["get_balance"].description or "")
    assert tools["generate_captions"].input_schema["required"] == ["media_url"]
    free_form = {"type": "object", "additionalProperties": True}
    assert {name for name, tool in tools.items() if tool.output_schema != free_form} == {"view_media"}
    assert len(tools) == 30


async def test_a_tool_changes_its_name_and_schema_or_goes(sandbox: RunningSandbox) -> None:
    needs = {"required": ["media_url", "consent"], "properties": {"consent": {"type": "boolean"}}}
    changes = {
        "get_status": {"name": "get_generation_status"},
        "generate_captions": {"inputSchema": needs},
        "estimate": None,
    }
    sandbox.control.knobs(tools=changes)
    async with official_client(sandbox.url) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert not {"get_status", "estimate"} & tools.keys()
        assert tools["generate_captions"].input_schema["required"] == ["media_url", "consent"]
        job = await said(client, "generate_media", **PICTURE)
        assert "status" in await said(client, "get_generation_status", id=job["generation_id"])
        refused = await client.call_tool("generate_captions", {"media_url": "https://example.com/a.mp4"})
        assert "consent: Field required" in str(refused.structured_content)
        whole = {"media_url": "https://example.com/a.mp4", "consent": True}
        assert not (await client.call_tool("generate_captions", whole)).is_error
