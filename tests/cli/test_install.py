"""`install` as a person types it, in a throw-away home."""

from __future__ import annotations

import json
import os
import stat
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from kubeez_mcp_local.cli import install
from kubeez_mcp_local.cli.clients.known import CLIENTS
from kubeez_mcp_local.cli.main import cli

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


@pytest.fixture(autouse=True)
def in_a_project(clientless: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder is an empty project, and no client of this machine is seen."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / ".git").mkdir()
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    return project


def typed(*arguments: str, code: int = 0, stdin: str = "") -> Result:
    done = CliRunner().invoke(cli, arguments, input=stdin)
    assert done.exit_code == code, done.output
    return done


def test_the_command_is_started_before_it_is_written(throw_away_home: Path) -> None:
    done = typed("--mode", "sandbox", "install", "codex")
    assert "works" in done.stderr
    entry = tomllib.loads((throw_away_home / ".codex" / "config.toml").read_text("utf-8"))["mcp_servers"]["kubeez"]
    assert entry["args"][-2:] == ["--mode", "sandbox"]
    assert os.access(entry["command"], os.X_OK)
    assert "Key: none in that file" in done.stdout
    assert "already" in typed("--mode", "sandbox", "install", "codex").stdout


def test_a_command_that_does_not_start_the_server_is_not_written(throw_away_home: Path) -> None:
    done = typed("install", "cursor", "--command", f"{sys.executable} -c print(1)", code=2)
    assert "does not speak MCP" in done.stderr
    assert "no such program" in typed("install", "cursor", "--command", "/nope/uvx", code=2).stderr
    assert not (throw_away_home / ".cursor").exists()
    typed("install", "cursor", "--command", "/nope/uvx", "--no-check")
    assert (throw_away_home / ".cursor" / "mcp.json").exists()


def test_a_broken_config_stays_as_it_is(throw_away_home: Path) -> None:
    path = throw_away_home / ".cursor" / "mcp.json"
    path.parent.mkdir()
    path.write_text('{\n  "mcpServers": {\n', "utf-8")
    assert f"{path}:3:" in typed("install", "cursor", "--no-check", code=2).stderr
    assert [one.name for one in path.parent.iterdir()] == ["mcp.json"]


def test_dry_run_and_print_write_nothing(throw_away_home: Path, in_a_project: Path) -> None:
    done = typed("install", "vscode", "--scope", "project", "--key-reference", "--dry-run")
    assert '+  "servers": {' in done.stdout
    shown = typed("install", "gemini-cli", "--print", "--command", "uvx kubeez-mcp-local")
    assert json.loads(shown.stdout)["mcpServers"]["kubeez"] == {
        "timeout": 600_000,
        "command": "uvx",
        "args": ["kubeez-mcp-local"],
    }
    assert list(throw_away_home.iterdir()) == []
    assert list(in_a_project.iterdir()) == []


def test_a_project_config_is_readable_for_the_team_and_told_when_its_command_is_not(in_a_project: Path) -> None:
    assert "path on this machine" in typed("install", "claude-code", "--scope", "project", "--no-check").stdout
    path = in_a_project / ".mcp.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    typed("install", "claude-code", "--scope", "project", "--remove")
    assert json.loads(path.read_text("utf-8")) == {"mcpServers": {}}
    (backup,) = in_a_project.glob(".mcp.json.*.backup")
    assert "kubeez" in backup.read_text("utf-8")
    assert "does not have it" in typed("install", "claude-code", "--scope", "project", "--remove").stdout


def test_the_next_command_is_one_that_can_be_typed_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_RUN_RECURSION_DEPTH", "1")
    assert "If something is wrong: uv run kubeez-mcp-local doctor." in typed("install", "cursor", "--no-check").stdout


def test_a_key_is_asked_for_kept_private_and_never_shown(throw_away_home: Path) -> None:
    done = typed("install", "cursor", "--with-key", "--no-check", stdin="sk_live_example\n")
    path = throw_away_home / ".cursor" / "mcp.json"
    assert json.loads(path.read_text("utf-8"))["mcpServers"]["kubeez"]["env"] == {"KUBEEZ_API_KEY": "sk_live_example"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "sk_live_example" not in done.output


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("cursor", "--with-key", "--scope", "project"), "committed"),
        (("cursor", "--with-key", "--key-reference"), "together"),
        (("cursor", "--with-key", "--print"), "the key with it"),
        (("zed", "--key-reference"), "no way to refer"),
        (("zed", "--scope", "project"), "allowed: user"),
        (("cursor", "--with-key", "--no-check"), "no Kubeez API key"),
        (("notepad",), "claude-desktop"),
        (("codx",), "Did you mean codex?"),
        (("claude", "--no-check"), "claude-code or claude-desktop"),
        (("jetbrains-ai", "--remove"), "Take it out where"),
        (("jetbrains-ai", "--with-key"), "the key with it"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_written(
    arguments: tuple[str, ...], reason: str, throw_away_home: Path, in_a_project: Path
) -> None:
    assert reason in typed("install", *arguments, code=2, stdin="hello\n").stderr
    assert list(throw_away_home.iterdir()) == list(in_a_project.iterdir()) == []


def test_an_option_that_no_server_can_use_is_not_written(throw_away_home: Path) -> None:
    for option, value in (("--mode", "lve"), ("--toolsets", "corre")):
        said = typed(option, value, "install", "cursor", "--no-check", code=2).stderr
        assert f"(from {option}) is '{value}'" in said
    assert list(throw_away_home.iterdir()) == []


def test_who_leaves_at_a_question_ends_as_after_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "can_ask", lambda: True)
    assert "Which one" in typed("install", code=130).stderr


def test_the_key_in_the_own_config_file_is_pointed_out(tmp_path: Path) -> None:
    own = tmp_path / "own.env"
    own.write_text("KUBEEZ_API_KEY=sk_live_example\n", "utf-8")
    done = typed("--env-file", str(own), "install", "cursor", "--no-check")
    assert f"takes it from {own}" in done.stdout.replace("\n", " ").replace("  ", " ")
    assert "sk_live" not in done.output


def test_a_project_exists_only_inside_a_checkout(in_a_project: Path, tmp_path: Path) -> None:
    (tmp_path / ".git").rmdir()
    for more in ((), ("--print",), ("--dry-run",)):
        refused = typed("install", "claude-code", "--scope", "project", *more, code=2).stderr
        assert "in no git checkout" in refused
    assert list(in_a_project.iterdir()) == []
    (in_a_project / ".git").write_text("gitdir: elsewhere\n", "utf-8")  # as in a work tree
    typed("install", "claude-code", "--scope", "project", "--no-check")
    (in_a_project / ".git").unlink()
    typed("install", "claude-code", "--scope", "project", "--remove")
    assert "kubeez" not in (in_a_project / ".mcp.json").read_text("utf-8")


def test_without_a_client_they_are_listed(throw_away_home: Path) -> None:
    (throw_away_home / ".codex").mkdir()
    listed = typed("install")
    assert "install codex" in listed.stdout
    assert "~/.codex/config.toml" in listed.stdout
    rows = {row["client"]: row for row in json.loads(typed("install", "--json").stdout)}
    assert set(rows) == set(CLIENTS)
    assert next(iter(rows)) == "codex"
    assert (rows["codex"]["here"], rows["codex"]["state"], rows["zed"]["here"]) == (True, "absent", False)


def test_who_sits_at_the_terminal_is_asked_which_client_is_meant(
    throw_away_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "can_ask", lambda: True)
    assert "Which one" in typed("install", stdin="\n").stderr
    assert list(throw_away_home.iterdir()) == []
    assert "Cursor has it now" in typed("install", "--no-check", stdin="Cursor\n").stdout
    chosen = typed("install", "claude", "--no-check", stdin="notepad\nclaude-code\n")
    assert "claude-code, claude-desktop" in chosen.stderr
    assert (throw_away_home / ".claude.json").exists()
    assert "Which one" not in typed("install", "--json").stderr


def test_a_client_without_a_file_gets_its_entry_shown_and_where_to_paste_it(throw_away_home: Path) -> None:
    (throw_away_home / ".config" / "JetBrains").mkdir(parents=True)
    done = typed("install", "AI Assistant", "--command", "uvx kubeez-mcp-local")
    entry = {"command": "uvx", "args": ["kubeez-mcp-local"]}
    assert json.loads(done.stdout) == {"mcpServers": {"kubeez": entry}}
    assert "Settings › Tools › AI Assistant" in done.stderr
    assert [one.name for one in throw_away_home.iterdir()] == [".config"]
