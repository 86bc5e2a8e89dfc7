"""The published JSON Schema of a recipe's front matter, for editors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kubeez_mcp_local.cookbook.format import FrontMatter

SCHEMA_FILE = Path(__file__).with_name("recipe.schema.json")


def recipe_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the front matter, generated from the models that check it."""
    schema = FrontMatter.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Kubeez recipe", **schema}


def schema_text() -> str:
    """What `recipe.schema.json` must hold."""
    return json.dumps(recipe_schema() | {"title": "Kubeez recipe"}, indent=2, ensure_ascii=False) + "\n"
