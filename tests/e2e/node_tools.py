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


@dataclass(frozen=True)
class NodeProgram:
    """A program that npm installs: named by an environment variable, on the PATH, or in `node_modules/.bin`."""

    command: str
    variable: str
    packages: str

    def find(self) -> tuple[str, dict[str, str]]:
        """The executable, and the environment variable under which the Node that npm put beside it comes first.

        Skips the test that asks if the program or a Node that is new enough is missing.
        """
        local = Path("node_modules", ".bin", self.command).absolute()
        found = os.environ.get(self.variable) or shutil.which(self.command) or str(local)
        if not Path(found).exists():
            pytest.skip(f"there is no {self.command}: set {self.variable}, or npm install {self.packages}")
        path = os.pathsep.join([str(Path(found).absolute().parent), os.environ["PATH"]])
        node = shutil.which("node", path=path)
        version = _version(node) if node else ()
        if version < OLDEST_NODE:
            pytest.skip(f"{self.command} needs Node {OLDEST_NODE[0]}.{OLDEST_NODE[1]} or later on the PATH")
        return str(Path(found).absolute()), {"PATH": path}


def _version(node: str) -> tuple[int, ...]:
    printed = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    return tuple(int(part) for part in printed.strip().lstrip("v").split(".")[:2])
