"""Where clients keep their configs, and how our entry reads there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kubeez_mcp_local.cli.clients.known import CLIENTS, KeyIn, clients_meant
from kubeez_mcp_local.cli.clients.launch import Launch
from tests.cli.clients.machines import machine_in

if TYPE_CHECKING:
    from pathlib import Path

    from kubeez_mcp_local.cli.clients.known import Scope

EVERYWHERE = {
    "cline": ".cline/data/settings/cline_mcp_settings.json",
    "continue": ".continue/mcpServers/kubeez.json",
    "copilot-cli": ".copilot/mcp-config.json",
    "windsurf": ".codeium/windsurf/mcp_config.json",
    "kiro": ".kiro/settings/mcp.json",
    "warp": ".warp/.mcp.json",
    "lm-studio": ".lmstudio/mcp.json",
    "junie": ".junie/mcp/mcp.json",
    "opencode": ".config/opencode/opencode.json",
    "amp": ".config/amp/settings.json",
}
ROO_CODE = "Code/User/globalStorage/rooveterinaryinc.roo-cline/settings/mcp_settings.json"
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
        "roo-code": f".config/{ROO_CODE}",
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
        "roo-code": f"Library/Application Support/{ROO_CODE}",
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
        "roo-code": f"Roaming/{ROO_CODE}",
    },
}


@pytest.mark.parametrize("platform", FILES)
def test_each_platform_has_its_places(platform: str, tmp_path: Path) -> None:
    machine = machine_in(tmp_path, platform)
    places = {name: client.file(machine, "user") for name, client in CLIENTS.items() if client.user_file}
    assert places == {name: machine.home / file for name, file in (FILES[platform] | EVERYWHERE).items()}


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
    for variables, name, place in (
        ({"CLINE_DIR": "/c"}, "cline", "/c/data/settings/cline_mcp_settings.json"),
        ({"CLINE_DIR": "/c", "CLINE_DATA_DIR": "/d"}, "cline", "/d/settings/cline_mcp_settings.json"),
        ({"CLINE_MCP_SETTINGS_PATH": "/m.json", "CLINE_DIR": "/c"}, "cline", "/m.json"),
        ({"COPILOT_HOME": "/h"}, "copilot-cli", "/h/mcp-config.json"),
        ({"CONTINUE_GLOBAL_DIR": "/h"}, "continue", "/h/mcpServers/kubeez.json"),
        ({"XDG_CONFIG_HOME": "/x"}, "opencode", "/x/opencode/opencode.json"),
    ):
        assert str(CLIENTS[name].file(machine_in(tmp_path, **variables), "user")) == place


def test_lm_studio_is_where_its_own_note_says(tmp_path: Path) -> None:
    machine, client = machine_in(tmp_path), CLIENTS["lm-studio"]
    (machine.home / ".cache" / "lm-studio").mkdir(parents=True)
    assert client.file(machine, "user") == machine.home / ".cache" / "lm-studio" / "mcp.json"
    (tmp_path / "elsewhere").mkdir()
    (machine.home / ".lmstudio-home-pointer").write_text(f"{tmp_path / 'elsewhere'}\n", "utf-8")
    assert client.file(machine, "user") == tmp_path / "elsewhere" / "mcp.json"
    (tmp_path / "elsewhere").rmdir()
    assert client.file(machine, "user") == machine.home / ".lmstudio" / "mcp.json"


@pytest.mark.parametrize("name", ["opencode", "amp"])
@pytest.mark.parametrize("scope", ["user", "project"])
def test_a_config_that_allows_comments_by_its_name_is_found(name: str, scope: Scope, tmp_path: Path) -> None:
    machine, client = machine_in(tmp_path), CLIENTS[name]
    plain = client.file(machine, scope)
    plain.parent.mkdir(parents=True, exist_ok=True)
    plain.with_suffix(".jsonc").write_text("{}", "utf-8")
    assert client.file(machine, scope) == plain.with_suffix(".jsonc")
    plain.write_text("{}", "utf-8")
    assert client.file(machine, scope) == plain


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Cursor", "cursor"),
        ("Claude Desktop", "claude-desktop"),
        ("claude_code", "claude-code"),
        ("gemini", "gemini-cli"),
        ("VS Code", "vscode"),
        ("code", "vscode"),
        ("visual studio code", "vscode"),
        ("copilot", "copilot-cli"),
        ("GitHub Copilot CLI", "copilot-cli"),
        ("LM-Studio", "lm-studio"),
        ("roo", "roo-code"),
        ("Open Code", "opencode"),
        ("AI assistant", "jetbrains-ai"),
        ("pycharm", "jetbrains-ai"),
        ("claude", "claude-code claude-desktop"),
        ("JetBrains", "junie jetbrains-ai"),
        ("c", "claude-code claude-desktop cursor vscode codex copilot-cli windsurf cline continue"),
        ("notepad", ""),
        ("--", ""),
    ],
)
def test_names_are_taken_leniently(text: str, names: str) -> None:
    assert [client.name for client in clients_meant(text)] == names.split()


def test_every_name_and_title_means_one_client_and_says_where_it_was_taken_from() -> None:
    for name, client in CLIENTS.items():
        for said in (name, client.title, *client.aliases):
            assert clients_meant(said) == [client]
        assert client.source
        assert client.variable or not client.reference or client.reference_field


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
    assert client.command_in(client.entry(launch)) == ["uvx", "kubeez-mcp-local"]


def test_entries_read_as_the_clients_own_commands_write_them() -> None:
    """`opencode mcp add` 1.18.33, `copilot mcp add` 1.0.102, `amp mcp add`, and what Cline 3.0.65 reads."""
    launch = Launch("/bin/x", ("y",))
    assert CLIENTS["opencode"].entry(launch) == {"type": "local", "command": ["/bin/x", "y"], "timeout": 60_000}
    assert CLIENTS["copilot-cli"].entry(launch) == {"tools": ["*"], "type": "local", "command": "/bin/x", "args": ["y"]}
    assert CLIENTS["amp"].entry(launch) == {"command": "/bin/x", "args": ["y"]}
    assert CLIENTS["cline"].entry(launch) == {"type": "stdio", "command": "/bin/x", "args": ["y"]}


def test_goose_gets_the_name_it_skips_entries_without() -> None:
    entry = CLIENTS["goose"].entry(Launch("uvx", ("kubeez-mcp-local",)))
    assert (entry["name"], entry["type"], entry["enabled"], entry["cmd"]) == ("kubeez", "stdio", True, "uvx")
