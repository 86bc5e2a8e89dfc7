"""Where clients keep their configs, and how our entry reads there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kubeez_mcp_local.cli.clients.known import CLIENTS, KeyIn
from kubeez_mcp_local.cli.clients.launch import Launch
from tests.cli.clients.machines import machine_in

if TYPE_CHECKING:
    from pathlib import Path

FILES = {
    "linux": {
        "claude-code": ".claude.json",
        "claude-desktop": ".config/Claude/claude_desktop_config.json",
        "cursor": ".cursor/mcp.json",
        "vscode": ".config/Code/User/mcp.json",
        "codex": ".codex/config.toml",
        "gemini-cli": ".gemini/settings.json",
        "zed": ".config/zed/settings.json",
        "goose": ".config/goose/config.yaml",
    },
    "darwin": {
        "claude-code": ".claude.json",
        "claude-desktop": "Library/Application Support/Claude/claude_desktop_config.json",
        "cursor": ".cursor/mcp.json",
        "vscode": "Library/Application Support/Code/User/mcp.json",
        "codex": ".codex/config.toml",
        "gemini-cli": ".gemini/settings.json",
        "zed": ".config/zed/settings.json",
        "goose": ".config/goose/config.yaml",
    },
    "win32": {
        "claude-code": ".claude.json",
        "claude-desktop": "Roaming/Claude/claude_desktop_config.json",
        "cursor": ".cursor/mcp.json",
        "vscode": "Roaming/Code/User/mcp.json",
        "codex": ".codex/config.toml",
        "gemini-cli": ".gemini/settings.json",
        "zed": "Roaming/Zed/settings.json",
        "goose": "Roaming/Block/goose/config/config.yaml",
    },
}


@pytest.mark.parametrize("platform", FILES)
def test_each_platform_has_its_places(platform: str, tmp_path: Path) -> None:
    machine = machine_in(tmp_path, platform)
    places = {name: client.file(machine, "user") for name, client in CLIENTS.items()}
    assert places == {name: machine.home / file for name, file in FILES[platform].items()}


def test_a_packaged_claude_desktop_reads_what_is_in_its_container(tmp_path: Path) -> None:
    machine = machine_in(tmp_path, "win32")
    folder = machine.local / "Packages" / "Claude_abc" / "LocalCache" / "Roaming" / "Claude"
    folder.mkdir(parents=True)
    assert CLIENTS["claude-desktop"].file(machine, "user") == folder / "claude_desktop_config.json"


def test_variables_move_configs(tmp_path: Path) -> None:
    machine = machine_in(
        tmp_path, XDG_CONFIG_HOME="/x", CODEX_HOME="/codex", CLAUDE_CONFIG_DIR="relative-counts-as-not-given"
    )
    assert str(CLIENTS["zed"].file(machine, "user")) == "/x/zed/settings.json"
    assert str(CLIENTS["codex"].file(machine, "user")) == "/codex/config.toml"
    assert CLIENTS["claude-code"].file(machine, "user").parent == machine.home


@pytest.mark.parametrize("name", CLIENTS)
def test_no_entry_holds_a_key_unless_it_was_asked_for(name: str) -> None:
    client, launch = CLIENTS[name], Launch("uvx", ("kubeez-mcp-local",))
    assert "KEY" not in str(client.entry(launch))
    referring = str(client.entry(launch, KeyIn.REFERENCE)) if client.reference else ""
    assert "sk_" not in referring
    assert ("KUBEEZ_API_KEY" in referring or "kubeez-key" in referring) == bool(client.reference)
    assert client.entry(launch, KeyIn.VALUE, "sk_live_example")[client.variables_field] == {
        "KUBEEZ_API_KEY": "sk_live_example"
    }


def test_goose_gets_the_name_it_skips_entries_without() -> None:
    entry = CLIENTS["goose"].entry(Launch("uvx", ("kubeez-mcp-local",)))
    assert (entry["name"], entry["type"], entry["enabled"], entry["cmd"]) == ("kubeez", "stdio", True, "uvx")
