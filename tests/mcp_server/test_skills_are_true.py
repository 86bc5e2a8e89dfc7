"""What the skills call by name exists: fields of rows and results, arguments, tools."""

from __future__ import annotations

import re

import pytest

from kubeez_mcp_local.catalogue.rows import parse_row
from kubeez_mcp_local.catalogue.snapshot import snapshot_listing
from kubeez_mcp_local.mcp_server.results import EstimateResult, JobResult
from kubeez_mcp_local.mcp_server.rows import model_row
from kubeez_mcp_local.mcp_server.skills import skill_names, skill_text
from kubeez_mcp_local.mcp_server.tools.inventory import ALL_TOOLS

LATER = {"model_id": "later", "cost_note": "a", "usage_notes": "b", "voice_allowlist": ["c"]}
ROWS = [model_row(model) for model in (*snapshot_listing().models, parse_row(LATER))]
FIELDS = {name for row in ROWS for name in (*row, *row.get("capabilities", {}))}
ARGUMENTS = {name for spec in ALL_TOOLS for name in spec.handler.__annotations__}
RESULTS = {*JobResult.model_fields, *EstimateResult.model_fields}
TOOLS = {spec.name for spec in ALL_TOOLS}
VALUES = {
    *("billing_readiness", "duration_seconds", "exact", "file", "token", "url"),
    *("insufficient_credits", "toggle_via_sound_param", "included"),
    *("pending", "processing", "failed", "unknown", "snapshot"),
}


@pytest.mark.parametrize("name", [name for name in skill_names() if name != "recipe-writing"])
def test_what_a_skill_names_exists(name: str) -> None:
    said = set(re.findall(r"`([a-z_]{3,})(?:\(\w*\))?`", skill_text(name)))
    assert said - FIELDS - ARGUMENTS - RESULTS - TOOLS - VALUES == set()
