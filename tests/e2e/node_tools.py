"""Programs of the protocol's makers that run on Node: where they are, and why they cannot run here."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.server import PATIENCE

OLDEST_NODE = (22, 19)


def node_tools() -> Path:
    """`NODE_TOOLS`: where `tests/node/package.json` was installed. Skips the test that asks if there is none."""
    folder = os.environ.get("NODE_TOOLS")
    if not folder or not Path(folder, "node_modules").is_dir():
        pytest.skip("NODE_TOOLS names no folder with node_modules: npm install what tests/node/package.json lists")
    return Path(folder).absolute()


@dataclass(frozen=True)
class NodeProgram:
    """A program that npm installs, by the name of its command."""

    command: str

    def find(self) -> tuple[str, dict[str, str]]:
        """The executable, and the environment variable under which the Node that npm put beside it comes first.

        Skips the test that asks if the program or a Node that is new enough is missing.
        """
        programs = node_tools() / "node_modules" / ".bin"
        if not (found := programs / self.command).exists():
            pytest.skip(f"there is no {self.command} in {programs}")
        path = os.pathsep.join([str(programs), os.environ["PATH"]])
        node = shutil.which("node", path=path)
        if (_version(node) if node else ()) < OLDEST_NODE:
            pytest.skip(f"{self.command} needs Node {OLDEST_NODE[0]}.{OLDEST_NODE[1]} or later")
        return str(found), {"PATH": path}


def _version(node: str) -> tuple[int, ...]:
    printed = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    return tuple(int(part) for part in printed.strip().lstrip("v").split(".")[:2])
