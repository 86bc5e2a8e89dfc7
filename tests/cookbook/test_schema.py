"""The published schema is the one the models have."""

from __future__ import annotations

from kubeez_mcp_local.cookbook.format import SCHEMA_FILE, recipe_schema, schema_text


def test_the_published_schema_is_up_to_date() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text()


def test_every_field_is_described_and_nothing_else_is_allowed() -> None:
    schema = recipe_schema()
    for model in [schema, *schema["$defs"].values()]:
        assert model["additionalProperties"] is False
        assert all("description" in field for field in model["properties"].values())
