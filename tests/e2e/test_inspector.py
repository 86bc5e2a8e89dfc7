"""The MCP Inspector, the protocol's own tool, over real stdio in both eras.

Runs where `NODE_TOOLS` names a folder that has one; `.ci/run` makes such a folder.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.node_tools import NodeProgram
from tests.e2e.server import PATIENCE, environment
from tests.forking import command

if TYPE_CHECKING:
    from pathlib import Path

INSPECTOR = NodeProgram("mcp-inspector")
LEGACY, MODERN = "legacy", "modern"

both_eras = pytest.mark.parametrize("era", [LEGACY, MODERN])


def inspect(folder: Path, era: str, method: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Let the Inspector start a server, ask it one thing and judge the answer: it exits with 0 if all is well."""
    executable, path = INSPECTOR.find()
    variables = environment(folder, sandbox_speed=1000)
    ours = [part for name, value in variables.items() if name != "PATH" for part in ("-e", f"{name}={value}")]
    flags = ["--cli", "--format", "json", "--protocol-era", era, *ours]
    done = subprocess.run(
        [executable, *flags, *command(), "--method", method, *options],
        cwd=folder,
        env=variables | path,
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done


def answer(folder: Path, era: str, method: str, *options: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(inspect(folder, era, method, *options).stdout)["result"]
    return result


@both_eras
def test_every_schema_is_portable_in_strict_mode_without_a_warning(tmp_path: Path, era: str) -> None:
    listed = inspect(tmp_path, era, "tools/list", "--strict")
    assert len(json.loads(listed.stdout)["result"]["tools"]) > 25
    assert listed.stderr == ""


@both_eras
def test_a_job_is_started(tmp_path: Path, era: str) -> None:
    order = json.dumps({"prompt": "a kite", "model": "z-image"})
    started = answer(tmp_path, era, "tools/call", "--tool-name", "generate_media", "--tool-args-json", order)
    assert started["structuredContent"]["generation_id"] in started["content"][0]["text"]


@both_eras
def test_a_resource_and_a_prompt_are_read(tmp_path: Path, era: str) -> None:
    (row,) = answer(tmp_path, era, "resources/read", "--uri", "kubeez://models/z-image")["contents"]
    assert json.loads(row["text"])["model_id"] == "z-image"
    options = ("--prompt-name", "three-ad-variants", "--prompt-args", "brief=running shoes")
    (message,) = answer(tmp_path, era, "prompts/get", *options)["messages"]
    assert "running shoes" in message["content"]["text"]


def test_every_skill_is_what_its_listing_and_its_digests_say(tmp_path: Path) -> None:
    reports = [json.loads(line) for line in inspect(tmp_path, MODERN, "skills/list", "--verify").stdout.splitlines()]
    assert {"polling", "three-ad-variants"} <= {report["name"] for report in reports}
    assert {report["outcome"] for report in reports} == {"verified"}
