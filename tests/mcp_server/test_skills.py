"""Skills: what capable hosts discover over MCP, and whether what they say is true."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from mcp import Client, MCPError
from mcp.types import Request, RequestParams, Result
from pydantic import ConfigDict, Field

from kubeez_mcp_local.bridge import Bridge
from kubeez_mcp_local.catalogue.listing import snapshot_listing
from kubeez_mcp_local.catalogue.models import parse_row
from kubeez_mcp_local.mcp_server.resources import skill_names, skill_text
from kubeez_mcp_local.mcp_server.results import EstimateResult, JobResult
from kubeez_mcp_local.mcp_server.rows import model_row
from kubeez_mcp_local.mcp_server.server import KubeezServer
from kubeez_mcp_local.mcp_server.tools import ALL_TOOLS
from kubeez_mcp_local.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

LATER = {"model_id": "later", "cost_note": "a", "usage_notes": "b", "voice_allowlist": ["c"]}
LISTING = snapshot_listing()
ROWS = [model_row(model, LISTING) for model in (*LISTING.models, parse_row(LATER))]
FIELDS = {name for row in ROWS for name in (*row, *row.get("capabilities", {}))}
ARGUMENTS = {argument.name for spec in ALL_TOOLS for argument in spec.arguments()}
RESULTS = {*JobResult.model_fields, *EstimateResult.model_fields}
TOOLS = {spec.name for spec in ALL_TOOLS}
VALUES = {
    *("billing_readiness", "duration_seconds", "exact", "file", "token", "url"),
    *("insufficient_credits", "toggle_via_sound_param", "included"),
    *("pending", "processing", "failed", "unknown", "snapshot"),
}


class Params(RequestParams):
    model_config = ConfigDict(extra="allow")


class Answer(Result):
    model_config = ConfigDict(extra="allow")
    skills: list[dict[str, Any]] = Field(default_factory=list)
    skill: dict[str, Any] = Field(default_factory=dict)


class Ask(Request[Params, str]):
    params: Params


def server(tmp_path: Path) -> KubeezServer:
    return KubeezServer(Bridge(load_settings({"state_dir": str(tmp_path)}, environ={}, working_dir=tmp_path)))


async def ask(client: Client, method: str, **params: Any) -> Answer:
    return await client.session.send_request(Ask(method=method, params=Params(**params)), Answer)


@pytest.mark.anyio
async def test_every_skill_and_recipe_is_listed_with_digests_that_match_its_files(tmp_path: Path) -> None:
    async with Client(server(tmp_path)) as client:
        skills = (await ask(client, "skills/list")).skills
        names = {skill["frontmatter"]["name"] for skill in skills}
        assert {"polling", "billing-confirmation", "three-ad-variants"} <= names
        for file in skills[0]["resources"] + skills[-1]["resources"]:
            contents = (await client.read_resource(file["uri"])).contents[0]
            text = getattr(contents, "text")  # noqa: B009 - a union of text and binary contents
            assert file["digest"] == "sha256:" + hashlib.sha256(text.encode()).hexdigest()
            assert file["size"] == len(text.encode())


@pytest.mark.anyio
async def test_a_listing_says_what_the_skill_itself_says_at_its_top(tmp_path: Path) -> None:
    # The Inspector refuses a listing whose front matter is not that of the file (SEP-2640).
    async with Client(server(tmp_path)) as client:
        skills = {skill["frontmatter"]["name"]: skill for skill in (await ask(client, "skills/list")).skills}
        for name in ("polling", "three-ad-variants"):
            contents = (await client.read_resource(f"skill://{name}/SKILL.md")).contents[0]
            text = getattr(contents, "text")  # noqa: B009 - a union of text and binary contents
            assert skills[name]["frontmatter"] == yaml.safe_load(text.split("---\n")[1])
    assert "Use when" in skills["three-ad-variants"]["frontmatter"]["description"]


@pytest.mark.anyio
async def test_one_skill_can_be_asked_for_and_an_unknown_one_is_a_parameter_error(tmp_path: Path) -> None:
    async with Client(server(tmp_path)) as client:
        found = await ask(client, "skills/get", uri="skill://polling/SKILL.md")
        assert found.skill["frontmatter"]["name"] == "polling"
        with pytest.raises(MCPError) as caught:
            await ask(client, "skills/get", uri="skill://none/SKILL.md")
        assert caught.value.error.code == -32602
        with pytest.raises(MCPError):
            await ask(client, "skills/get", uri="polling")


@pytest.mark.anyio
async def test_a_path_out_of_a_skill_leads_nowhere(tmp_path: Path) -> None:
    async with Client(server(tmp_path)) as client:
        with pytest.raises(MCPError):
            await client.read_resource("skill://polling/../../settings.py")


def test_what_the_skills_call_by_name_exists() -> None:
    for name in skill_names():
        said = set(re.findall(r"`([a-z_]{3,})(?:\(\w*\))?`", skill_text(name)))
        assert name == "recipe-writing" or said - FIELDS - ARGUMENTS - RESULTS - TOOLS - VALUES == set(), name
