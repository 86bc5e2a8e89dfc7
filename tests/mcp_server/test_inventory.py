"""What every conversation pays for, and what annotations promise: rules over the whole inventory."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.mcp_server.inventory import BoundTool, ToolSpec, selected
from kubeez_mcp_local.mcp_server.server import instructions
from kubeez_mcp_local.mcp_server.tools import ALL_TOOLS
from kubeez_mcp_local.operations import routes
from kubeez_mcp_local.rest.routes import SCOPES
from kubeez_mcp_local.settings import TOOLSETS, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

SNAPSHOTS = Path(__file__).parent / "snapshots"
every_tool = pytest.mark.parametrize("spec", ALL_TOOLS, ids=lambda spec: spec.name)


def published(spec: ToolSpec) -> dict[str, Any]:
    return BoundTool(spec).listing.model_dump(mode="json", by_alias=True, exclude_none=True)


def size(specs: Iterable[ToolSpec]) -> int:
    return len(json.dumps([published(spec) for spec in specs], separators=(",", ":")))


def test_the_tool_list_and_the_instructions_stay_small() -> None:
    assert size(ALL_TOOLS) + len(instructions(Settings())) <= 40_000
    assert size(selected(ALL_TOOLS, Settings(toolsets=("core",)))) <= 15_000
    assert len(instructions(Settings())) <= 2_048


@every_tool
def test_a_schema_is_flat_small_and_says_what_each_parameter_is(spec: ToolSpec) -> None:
    tool = published(spec)
    for schema in (tool["inputSchema"], tool["outputSchema"]):
        text = json.dumps(schema)
        assert len(text) < 5_000
        assert not re.search(r'"(\$ref|\$defs|anyOf|oneOf)"', text)
        assert not any("title" in field for field in schema["properties"].values())
        assert "null" not in text
    assert all(field.get("description") for field in tool["inputSchema"]["properties"].values())
    assert tool["inputSchema"]["additionalProperties"] is False
    assert 20 < len(tool["description"]) < 1_000
    assert re.fullmatch(r"[a-z][a-z0-9_]{2,39}", tool["name"])


@every_tool
def test_annotations_are_true(spec: ToolSpec) -> None:
    annotations = published(spec)["annotations"]
    assert annotations["readOnlyHint"] == (spec.effect == "read")
    assert annotations.get("idempotentHint", False) == (spec.effect == "read")
    if spec.spends:
        assert "approval" in published(spec)["inputSchema"]["properties"]
    if spec.spends and spec.name != "run_recipe":  # which has no route of its own: it calls the other tools
        assert spec.route is not None
        assert routes()[spec.route].spends
        assert spec.scope == routes()[spec.route].scope
    assert spec.scope is None or spec.scope in SCOPES
    assert spec.family in TOOLSETS


@every_tool
def test_a_changed_schema_shows_in_review(spec: ToolSpec, request: pytest.FixtureRequest) -> None:
    """Each tool's listing is a file; refresh them with `uv run pytest tests/mcp_server --update-snapshots`."""
    file = SNAPSHOTS / f"{spec.name}.json"
    now = json.dumps(published(spec), indent=1, ensure_ascii=False) + "\n"
    if request.config.getoption("--update-snapshots"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(now, "utf-8")
    assert file.read_text("utf-8") == now


def test_read_only_and_toolsets_are_filters_over_the_inventory() -> None:
    reading = selected(ALL_TOOLS, Settings(read_only=True))
    assert reading
    assert all(spec.effect == "read" for spec in reading)
    audio = {spec.name for spec in selected(ALL_TOOLS, Settings(toolsets=("audio",)))}
    assert "generate_music" in audio
    assert "generate_media" not in audio


def test_names_and_aliases_are_unique() -> None:
    names = [name for spec in ALL_TOOLS for name in (spec.name, *spec.aliases)]
    assert len(names) == len(set(names))
