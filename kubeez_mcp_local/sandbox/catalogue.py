"""The stand-in's catalogue: the snapshot of 2026-03-28 plus the rows that only the sandbox has."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

Row = dict[str, Any]

SNAPSHOT = ("catalogue", "models-2026-03-28.json")
SANDBOX_ONLY = ("sandbox", "sandbox-only-models.json")

DEFAULT_MUSIC_MODEL = "V6"


class Catalogue:
    """Rows by id. Keys that start with `_` are our own notes: used inside, never served."""

    def __init__(self, rows: Mapping[str, Row]) -> None:
        self._rows = dict(rows)

    @classmethod
    def shipped(cls) -> Catalogue:
        """The rows that come with the package."""
        extra = _read(*SANDBOX_ONLY)
        rows = [*_read(*SNAPSHOT)["models"], *extra["models"]]
        merged = {row["model_id"]: {**row, **extra["additions"].get(row["model_id"], {})} for row in rows}
        hidden = {name for name, row in merged.items() if row.get("_facts", {}).get("website_only")}
        return cls({name: row for name, row in merged.items() if name not in hidden})

    def get(self, model_id: str) -> Row | None:
        """The whole row, notes included."""
        return self._rows.get(model_id)

    def served(self, model_type: str | None = None) -> list[Row]:
        """Rows as a client sees them, optionally of one type."""
        return [_public(row) for row in self._rows.values() if model_type in (None, row["model_type"])]

    def family(self, prefix: str) -> list[Row]:
        """The row of that id, or every row whose id starts with the family's name."""
        if prefix in self._rows:
            return [_public(self._rows[prefix])]
        return [_public(row) for name, row in self._rows.items() if name.startswith(f"{prefix}-")]


def _public(row: Row) -> Row:
    return {key: value for key, value in row.items() if not key.startswith("_")}


def _read(folder: str, name: str) -> dict[str, Any]:
    text = resources.files("kubeez_mcp_local").joinpath(folder, name).read_text("utf-8")
    parsed: dict[str, Any] = json.loads(text)
    return parsed
