"""What every conversation pays for, and what annotations promise: rules over the whole inventory."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field

from kubeez_mcp_local.mcp_server.inventory import (
    BoundTool,
    ToolSpec,
    arguments_model,
    input_schema,
    output_schema,
    selected,
)
from kubeez_mcp_local.mcp_server.server import instructions
from kubeez_mcp_local.mcp_server.tools import ALL_TOOLS
from kubeez_mcp_local.operations import routes
from kubeez_mcp_local.rest.routes import SCOPES
from kubeez_mcp_local.settings import TOOLSETS, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

SNAPSHOTS = Path(__file__).parent / "snapshots"


def published(spec: ToolSpec) -> dict[str, Any]:
    return BoundTool(spec).listing.model_dump(mode="json", by_alias=True, exclude_none=True)


def size(specs: Iterable[ToolSpec]) -> int:
    return len(json.dumps([published(spec) for spec in specs], separators=(",", ":")))


def test_the_tool_list_and_the_instructions_stay_small() -> None:
    assert size(ALL_TOOLS) + len(instructions(Settings())) <= 40_000
    assert size(selected(ALL_TOOLS, Settings(toolsets=("core",)))) <= 15_000
    assert len(instructions(Settings())) <= 2_048


def test_a_schema_is_flat_small_and_says_what_each_parameter_is() -> None:
    for spec in ALL_TOOLS:
        tool = published(spec)
        for schema in (tool["inputSchema"], tool["outputSchema"]):
            text = json.dumps(schema)
            assert len(text) < 5_000
            assert not re.search(r'"(\$ref|\$defs|anyOf|oneOf)"', text)
            assert not any("title" in field for field in schema["properties"].values())
            assert "null" not in text
        assert all(field.get("description") for field in tool["inputSchema"]["properties"].values())
        assert tool["inputSchema"]["additionalProperties"] is bool(spec.unlisted())
        assert 20 < len(tool["description"]) < 1_000
        assert re.fullmatch(r"[a-z][a-z0-9_]{2,39}", tool["name"])


def test_annotations_are_true() -> None:
    for spec in ALL_TOOLS:
        annotations = published(spec)["annotations"]
        assert annotations["readOnlyHint"] == (spec.effect == "read")
        assert spec.effect == "read" or annotations["destructiveHint"] == (spec.effect == "delete")
        assert annotations.get("openWorldHint", True) == spec.remote
        if spec.spends:
            assert "approval" in published(spec)["inputSchema"]["properties"]
        if spec.spends and spec.name != "run_recipe":  # which has no route of its own: it calls the other tools
            assert spec.route is not None
            assert routes()[spec.route].spends
            assert routes()[spec.route].scope in SCOPES
        assert spec.route is None or spec.route in routes()
        assert spec.family in TOOLSETS


def test_a_changed_schema_shows_in_review(request: pytest.FixtureRequest) -> None:
    """Each tool's listing is a file; refresh them with `uv run pytest tests/mcp_server --update-snapshots`."""
    for spec in ALL_TOOLS:
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


class Inner(BaseModel):
    deep: str | None = None


class Answer(BaseModel):
    mode: str
    items: list[Inner]
    one: Inner | None = None
    count: int | None = None
    names: list[str]


async def handler(
    call: object,
    prompt: Annotated[str, Field(description="Words.", min_length=1)],
    seed: Annotated[int | None, Field(description="A number.", ge=0)] = None,
    kind: Annotated[Literal["a", "b"] | None, Field(description="A choice.")] = None,
    size: Annotated[str, Field(description="May be left out.")] = "",
    count: Annotated[int, Field(description="How many.", ge=1, le=4)] = 1,
) -> None:
    """Do nothing."""


ARGUMENTS = list(inspect.signature(handler, eval_str=True).parameters.values())[1:]


def test_optional_arguments_are_plain_types_without_null() -> None:
    schema = input_schema(arguments_model(ARGUMENTS, "handler"))
    assert schema["properties"]["seed"] == {"type": "integer", "minimum": 0, "description": "A number."}
    assert schema["properties"]["kind"] == {"type": "string", "enum": ["a", "b"], "description": "A choice."}
    assert schema["properties"]["size"] == {"type": "string", "description": "May be left out."}
    assert schema["properties"]["count"]["default"] == 1
    assert schema["required"] == ["prompt"]
    assert schema["additionalProperties"] is False


def test_an_output_schema_names_fields_and_types_and_nothing_below() -> None:
    assert output_schema(Answer) == {
        "type": "object",
        "properties": {
            "mode": {"type": "string"},
            "items": {"type": "array"},
            "one": {"type": "object"},
            "count": {"type": "integer"},
            "names": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["mode"],
    }


def test_no_reference_union_or_title_is_published() -> None:
    text = json.dumps([input_schema(arguments_model(ARGUMENTS, "handler")), output_schema(Answer)])
    assert not any(word in text for word in ("$ref", "$defs", "anyOf", '"title"', "null"))
