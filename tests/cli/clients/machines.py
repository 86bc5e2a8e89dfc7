"""Machines to test on: throw-away homes of every platform."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubeez_mcp_local.cli.clients.launch import Machine

if TYPE_CHECKING:
    from pathlib import Path


def machine_in(folder: Path, platform: str = "linux", **variables: str) -> Machine:
    """A machine whose home and project are in `folder`, a checkout, with an empty PATH unless one is given."""
    home, project = folder / "someone", folder / "project"
    home.mkdir(exist_ok=True)
    project.mkdir(exist_ok=True)
    (folder / ".git").mkdir(exist_ok=True)
    if platform == "win32":
        variables = {"APPDATA": str(home / "Roaming"), "LOCALAPPDATA": str(home / "Local")} | variables
    return Machine(platform, home, project, {"PATH": ""} | variables)


def program(folder: Path, name: str) -> Path:
    """A file that can be started."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n", "utf-8")
    path.chmod(0o755)
    return path
