"""The first minutes with the server: no key, the embedded sandbox, both protocol eras."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pytest
from mcp.types import ImageContent, ResourceLink

from tests.e2e.clients import ERAS, assert_complete, client, facts_of, finished

if TYPE_CHECKING:
    from mcp.types import CallToolResult

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("mode", ERAS)]


def assert_no_bytes(result: CallToolResult) -> None:
    assert {block.type for block in result.content} <= {"text", "resource_link"}
    assert len(json.dumps(result.model_dump(mode="json"))) < 20_000


def linked_files(result: CallToolResult) -> list[Path]:
    links = [block for block in result.content if isinstance(block, ResourceLink)]
    return [Path(unquote(urlsplit(str(link.uri)).path)) for link in links]


async def test_everything_is_listed(tmp_path: Path, mode: str) -> None:
    async with client(tmp_path, mode) as server:
        assert (server.protocol_version == "2026-07-28") == (mode == "auto")
        assert "sandbox" in (server.instructions or "")
        tools = {tool.name: tool for tool in (await server.list_tools()).tools}
        assert {"get_models", "generate_media", "wait_for_generation", "view_media", "upload_media"} <= set(tools)
        assert all(tool.output_schema and tool.description and tool.annotations for tool in tools.values())
        assert "three-ad-variants" in {prompt.name for prompt in (await server.list_prompts()).prompts}
        addresses = {str(resource.uri) for resource in (await server.list_resources()).resources}
        assert {"kubeez://models", "kubeez://account", "kubeez://recipes/three-ad-variants"} <= addresses
        templates = {template.uri_template for template in (await server.list_resource_templates()).resource_templates}
        assert "kubeez://models/{id}" in templates


async def test_a_picture_from_words_and_another_from_that_picture(tmp_path: Path, mode: str) -> None:
    async with client(tmp_path, mode) as server:
        started = await server.call_tool(
            "generate_media", {"prompt": "a red shoe", "model": "nano-banana-2", "aspect_ratio": "16:9"}
        )
        assert not started.is_error
        assert facts_of(started)["mode"] == "sandbox"
        done = await finished(server, facts_of(started)["generation_id"])
        facts = facts_of(done)
        assert facts["status"] == "completed"
        assert_no_bytes(done)

        (saved,) = linked_files(done)
        assert saved == Path(facts["files"][0]["path"])
        assert saved.is_relative_to(tmp_path / "out")
        assert saved.read_bytes().startswith((b"\x89PNG", b"\xff\xd8"))
        assert json.loads(saved.with_suffix(".json").read_text("utf-8"))["prompt"] == "a red shoe"
        for answer in (started, done):
            assert_complete(answer)
        assert facts["cost"]["charged"] == 14

        shown = await server.call_tool("view_media", {"output_id": facts["outputs"][0]["id"], "max_kilobytes": 40})
        (picture,) = [block for block in shown.content if isinstance(block, ImageContent)]
        assert 1_000 < len(picture.data) * 3 / 4 <= 40_000
        assert_complete(shown)

        source = saved.rename(tmp_path / "inputs" / "shoe at dawn.png")
        second = await server.call_tool(
            "generate_media",
            {"prompt": "the same shoe in snow", "model": "nano-banana-2", "source_media_urls": [str(source)]},
        )
        assert facts_of(second)["generation_type"] == "image-to-image"
        assert linked_files(await finished(server, facts_of(second)["generation_id"]))[0].is_file()


async def test_a_video(tmp_path: Path, mode: str) -> None:
    async with client(tmp_path, mode, sandbox_speed=500) as server:
        listed = await server.call_tool("get_models", {"generation_type": "text-to-video", "limit": 1})
        (row,) = facts_of(listed)["models"]
        assert_complete(listed)
        assert_complete(await server.call_tool("estimate", {"model": row["model_id"]}))
        assert_complete(await server.call_tool("get_balance", {}))
        started = await server.call_tool("generate_media", {"prompt": "waves", "model": row["model_id"]})
        done = await finished(server, facts_of(started)["generation_id"])
        (saved,) = linked_files(done)
        assert saved.suffix == ".mp4"
        assert saved.read_bytes()[4:8] == b"ftyp"
        assert_complete(await server.call_tool("get_generations", {}))


async def test_waiting_reports_progress_that_grows(tmp_path: Path, mode: str) -> None:
    amounts: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        amounts.append(progress)

    async with client(tmp_path, mode, sandbox_speed=8) as server:
        started = await server.call_tool("generate_media", {"prompt": "slow", "model": "nano-banana-2"})
        await finished(server, facts_of(started)["generation_id"], on_progress=on_progress)
    assert len(amounts) >= 2
    assert all(later > earlier for earlier, later in itertools.pairwise(amounts))


async def test_a_wait_that_runs_out_is_a_success_with_a_next_step(tmp_path: Path, mode: str) -> None:
    async with client(tmp_path, mode, sandbox_speed=1) as server:
        started = await server.call_tool("generate_media", {"prompt": "slow", "model": "nano-banana-2"})
        job = facts_of(started)["generation_id"]
        result = await server.call_tool("wait_for_generation", {"id": job, "timeout_seconds": 1})
        facts: dict[str, Any] = facts_of(result)
        assert not result.is_error
        assert facts["status"] in ("pending", "processing")
        assert job in facts["next_step"]
