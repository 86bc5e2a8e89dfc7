"""JSON Schemas for clients: flat, small, free of nullable unions, every parameter described.

Some hosts drop or refuse `$ref`, `anyOf [X, null]` and `title`, and every conversation pays for the bytes
(reference: limits of the clients measured in 2026).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, create_model

if TYPE_CHECKING:
    import inspect
    from collections.abc import Collection, Iterable

_EMPTY: tuple[object, ...] = (None, "", [], {}, False)
"""Defaults that go without saying."""


def arguments_model(parameters: Iterable[inspect.Parameter], name: str) -> type[BaseModel]:
    """A model of these arguments, which refuses any other."""
    fields: dict[str, Any] = {
        parameter.name: (parameter.annotation, ... if parameter.default is parameter.empty else parameter.default)
        for parameter in parameters
    }
    return create_model(f"{name}_arguments", __config__=ConfigDict(extra="forbid"), **fields)


def input_schema(arguments: type[BaseModel]) -> dict[str, Any]:
    """The flat schema of `arguments`, as published in `tools/list`."""
    schema = arguments.model_json_schema()
    definitions = schema.pop("$defs", {})
    properties = {name: _flat(prop, definitions) for name, prop in schema.get("properties", {}).items()}
    published: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if schema.get("required"):
        published["required"] = schema["required"]
    return published


def output_schema(result: type[BaseModel], published: Collection[str] = ()) -> dict[str, Any]:
    """The schema of a structured result: its top-level fields and their types; only those in `published`, if given.

    Absent values are left out of results rather than sent as null, so no field is nullable.
    """
    schema = result.model_json_schema(mode="serialization")
    definitions = schema.get("$defs", {})
    named = {name: prop for name, prop in schema.get("properties", {}).items() if not published or name in published}
    properties = {"mode": {"type": "string"}} | {
        name: _outline(_flat(prop, definitions)) for name, prop in named.items()
    }
    return {"type": "object", "properties": properties, "required": ["mode"]}


def _flat(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """`node` with references resolved, titles and empty defaults dropped, and `X | None` reduced to `X`."""
    if "$ref" in node:
        target = definitions[node["$ref"].removeprefix("#/$defs/")]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    choices = [choice for choice in node.get("anyOf", []) if choice.get("type") != "null"]
    if len(choices) == 1:
        node = {**choices[0], **{key: value for key, value in node.items() if key != "anyOf"}}
        if "$ref" in node:
            return _flat(node, definitions)
    flat = {key: value for key, value in node.items() if key not in ("title", "$defs")}
    if flat.get("default") in _EMPTY:
        flat.pop("default", None)
    if flat.get("additionalProperties") is True:
        del flat["additionalProperties"]
    if isinstance(flat.get("items"), dict):
        flat["items"] = _flat(flat["items"], definitions)
    if isinstance(flat.get("properties"), dict):
        flat["properties"] = {name: _flat(prop, definitions) for name, prop in flat["properties"].items()}
    return flat


def _outline(node: dict[str, Any]) -> dict[str, Any]:
    """Only the type of `node`, one level deep."""
    kind = node.get("type")
    if kind == "array":
        items = node.get("items", {}).get("type")
        return {"type": "array", "items": {"type": items}} if items else {"type": "array"}
    return {"type": kind} if kind else {}
