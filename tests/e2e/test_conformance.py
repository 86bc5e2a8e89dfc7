"""The protocol's conformance suite. It speaks HTTP only, so the same server is put on loopback.

Runs where `NODE_TOOLS` names a folder that has it; `.ci/run` makes such a folder. The scenarios left out ask for tools
and resources that only a fixture server has, or for logging and tasks, which this server does not declare.
"""

from __future__ import annotations

import json
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest
import uvicorn

from kubeez_mcp_local.bridge import Bridge
from kubeez_mcp_local.mcp_server.server import KubeezServer
from kubeez_mcp_local.settings import load_settings
from kubeez_mcp_local.web.server import listen
from tests.e2e.node_tools import NodeProgram

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio
SUITE = NodeProgram("conformance")
SCENARIOS = (
    "server-initialize",
    "server-session-lifecycle",
    "ping",
    "completion-complete",
    "tools-list",
    "resources-list",
    "sep-2164-resource-not-found",
    "sep-2640-skills-directory",
    "sep-2640-skills-enumeration",
    "sep-2640-skills-manifest",
    "prompts-list",
    "dns-rebinding-protection",
    "caching",
    "http-header-validation",
    "input-required-result-unsupported-methods",
    "server-sse-multiple-streams",
)
NOT_TESTABLE = {
    "sep-2575-server-rejects-undeclared-capability",
    "sep-2575-missing-capability-http-400",
    "sep-2575-http-server-no-independent-requests-on-stream",
    "sep-2575-server-no-log-without-loglevel",
}
"""Checks of the scenario `server-stateless` that need a tool of the fixture server."""


@asynccontextmanager
async def over_http(folder: Path) -> AsyncIterator[str]:
    """The server without a key, on loopback; yields its URL."""
    settings = load_settings({"state_dir": str(folder / "state")}, environ={}, working_dir=folder)
    socket = listen("127.0.0.1", 0)
    app = KubeezServer(Bridge(settings)).streamable_http_app()
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, [socket])
        yield f"http://127.0.0.1:{socket.getsockname()[1]}/mcp"
        server.should_exit = True


async def failures(url: str, folder: Path) -> dict[str, set[str]]:
    """The checks that fail, by scenario, of all scenarios there are."""
    executable, path = SUITE.find()
    command = [executable, "server", "--url", url, "--suite", "all", "--output-dir", str(folder)]
    await anyio.run_process(command, env=path, check=False)
    return _read(folder)


def _read(reports: Path) -> dict[str, set[str]]:
    return dict(_failed(report) for report in reports.rglob("checks.json"))


def _failed(report: Path) -> tuple[str, set[str]]:
    scenario = re.sub(r"^server-|-\d{4}-\d\d-\d\dT.*$", "", report.parent.name)
    checks = json.loads(report.read_text("utf-8"))
    return scenario, {check["id"] for check in checks if check["status"] == "FAILURE"}


@pytest.mark.long
async def test_every_scenario_that_needs_no_fixture_passes(tmp_path: Path) -> None:
    SUITE.find()
    async with over_http(tmp_path) as url:
        failed = await failures(url, tmp_path / "reports")
    assert {scenario: failed[scenario] for scenario in SCENARIOS if failed[scenario]} == {}
    assert failed["server-stateless"] <= NOT_TESTABLE
