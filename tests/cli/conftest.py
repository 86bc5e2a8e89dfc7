"""Commands that see no client of this machine, and a `doctor` that starts no server."""

from __future__ import annotations

import pytest

from kubeez_mcp_local.cli import doctor
from kubeez_mcp_local.cli.doctor import Finding, ok


@pytest.fixture
def clientless(throw_away_home: object, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("APPDATA", "LOCALAPPDATA", "CODEX_HOME", "CLAUDE_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "")


@pytest.fixture
def unstarted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the start of the server, which has a test of its own."""

    async def started(*_: object) -> Finding:
        return ok("MCP", "left out")

    monkeypatch.setattr(doctor, "check_start", started)
