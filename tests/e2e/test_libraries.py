"""Client libraries as people have them, old and new: each lists, is asked, orders, waits and reads over real stdio.

Each runs `tests/libraries/drive.py` or `drive.mjs` in an environment of its own. `CLIENT_LIBRARIES` names the folder
that has a Python environment for each list of packages beside `drive.py`, and `NODE_TOOLS` the folder that has those
from npm; `.ci/run` makes both.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import KEY
from tests.e2e.node_tools import NodeProgram, node_tools
from tests.e2e.server import PATIENCE, environment
from tests.forking import command

if TYPE_CHECKING:
    from tests.sandbox_server import RunningSandbox

DRIVERS = Path(__file__).parents[1] / "libraries"
NODE = NodeProgram("node")


@dataclass(frozen=True)
class Library:
    """One client library.

    Attributes:
        name: Of the function in `drive.py`, or of the package in NODE_TOOLS.
        environment: The list of packages it comes from; empty for this project's own, `npm` for Node.
        revision: What it speaks with this server; `None` where the library does not say.
        asks: Whether it can put a question to a person.
    """

    name: str
    environment: str
    revision: str | None
    asks: bool

    def command(self) -> list[str]:
        """What starts the driver. Skips the test that asks if the environment is missing."""
        if self.environment == "npm":
            return [NODE.find()[0], str(DRIVERS / "drive.mjs"), self.name]
        return [_python(self.environment) if self.environment else sys.executable, str(DRIVERS / "drive.py"), self.name]


def _python(environment: str) -> str:
    folder = os.environ.get("CLIENT_LIBRARIES")
    found = Path(folder or "", environment, "bin", "python")
    if not folder or not found.exists():
        pytest.skip(f"CLIENT_LIBRARIES names no folder with {environment}/bin/python: see .ci/run, which makes it")
    return str(found.absolute())


LIBRARIES = {
    "mcp 1.3": Library("sdk_1", "mcp-1.3", "2024-11-05", asks=False),
    "TypeScript SDK 1.11": Library("sdk-1.11", "npm", "2025-03-26", asks=False),
    "mcp 1.10": Library("sdk_1", "mcp-1.10", "2025-06-18", asks=True),
    "mcp 1": Library("sdk_1", "mcp-1", "2025-11-25", asks=True),
    "TypeScript SDK 1": Library("@modelcontextprotocol/sdk", "npm", "2025-11-25", asks=True),
    "langchain-mcp-adapters": Library("langchain", "mcp-1", "2025-11-25", asks=True),
    "mcp 2": Library("sdk_2", "", "2026-07-28", asks=True),
    "TypeScript SDK 2": Library("@modelcontextprotocol/client", "npm", "2026-07-28", asks=True),
    "FastMCP 4": Library("fastmcp", "mcp-2", "2026-07-28", asks=True),
    "openai-agents": Library("openai_agents", "mcp-2", None, asks=False),
}


def drive(library: Library, folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """What `library` reports of an order; settings are the server's."""
    person = {"PERSON": "answers" if library.asks else "cannot be asked"}
    done = subprocess.run(
        [*library.command(), *command()],
        cwd=node_tools() if library.environment == "npm" else folder,
        env=environment(folder, **settings) | person,
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert KEY not in done.stderr + done.stdout
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_lists_orders_waits_and_reads(
    tmp_path: Path, api: RunningSandbox, live: dict[str, Any], name: str
) -> None:
    library = LIBRARIES[name]
    report = drive(library, tmp_path, live)
    assert report["revision"] == library.revision
    assert len(report["tools"]) > 25
    assert min(report["prompts"], report["resources"]) > 10
    if library.asks:
        (question,) = report["questions"]
        assert "z-image for 4 credits" in question
    else:
        assert report["questions"] == []
    assert report["approval"] is not library.asks
    assert "status: completed" in report["result"]
    (saved,) = report["resource"]["files"]
    assert saved in report["result"]
    assert saved in report["preview"]
    assert Path(saved).is_file()
    assert report["resource"]["state"] == "completed"
    assert [entry["credits"] for entry in api.control.account()["entries"] if entry["kind"] == "charge"] == [-4]
