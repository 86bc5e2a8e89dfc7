"""Published schemas are flat and small, and say what the handler says."""

from __future__ import annotations

import inspect
import json
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from kubeez_mcp_local.mcp_server.inventory import arguments_model, input_schema, output_schema


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
            "items": {"type": "array", "items": {"type": "object"}},
            "one": {"type": "object"},
            "count": {"type": "integer"},
            "names": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["mode"],
    }


def test_no_reference_union_or_title_is_published() -> None:
    text = json.dumps([input_schema(arguments_model(ARGUMENTS, "handler")), output_schema(Answer)])
    assert not any(word in text for word in ("$ref", "$defs", "anyOf", '"title"', "null"))
