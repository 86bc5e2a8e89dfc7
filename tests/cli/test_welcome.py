"""What a person is told who types no command, asks for the version, or presses the tabulator."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from kubeez_mcp_local import __version__, front
from kubeez_mcp_local.cli.clients.launch import Running
from kubeez_mcp_local.cli.main import COMMANDS, cli
from kubeez_mcp_local.cli.welcome import newer_from, with_video_from
from kubeez_mcp_local.environment import APP, COMPLETING, name_of

if TYPE_CHECKING:
    from click.testing import Result

SHELLS = ("bash", "zsh", "fish")


@pytest.fixture
def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)
    monkeypatch.setattr("kubeez_mcp_local.cli.main.serve.callback", lambda *_: pytest.fail("it serves"))


def typed(*arguments: str, **variables: str) -> Result:
    done = CliRunner().invoke(cli, arguments, env=variables)
    assert done.exit_code == 0, done.output
    return done


@pytest.mark.parametrize(("typed", "meant"), [("instal", "install"), ("logn", "login"), ("galery", "gallery")])
def test_a_mistyped_command_is_told_what_it_is_like(typed: str, meant: str) -> None:
    done = CliRunner().invoke(cli, [typed])
    assert done.exit_code == 2
    assert f"No such command '{typed}'. Did you mean '{meant}'?" in done.output
    assert "Did you mean" not in CliRunner().invoke(cli, ["quux"]).output


@pytest.mark.usefixtures("at_a_terminal")
def test_without_a_command_a_person_is_told_what_this_is_and_what_to_type() -> None:
    told = typed().stdout
    assert "An MCP server" in told
    for command in ("demo", "install", "login", "doctor"):
        assert f"{APP} {command} " in told
        assert command in COMMANDS
    assert "Now: sandbox, a free rehearsal (no key is kept)." in told
    assert "Now: live, with the key from the settings" in typed(KUBEEZ_API_KEY="sk_live_example").stdout
    login = "live-0123456789abcdef@https://api.kubeez.com"
    assert "Now: live, with the key from the system's keyring" in typed("--mode", "auto", KUBEEZ_LOGIN=login).stdout
    assert "Now: it cannot work. KUBEEZ_MODE" in typed("--mode", "fast").stdout


def test_over_a_pipe_it_is_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[object] = []
    monkeypatch.setattr("kubeez_mcp_local.cli.main.serve.callback", lambda *given: served.append(given))
    typed()
    assert len(served) == 1


def test_the_front_leaves_the_terminal_alone_unless_it_is_told_to_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    monkeypatch.setattr(os, "isatty", lambda _: True)
    monkeypatch.setattr(front.Snapshot, "written_for", lambda name, _: looked.append(name))
    assert front.enter([]).handed is None
    assert front.enter(["--mode", "sandbox"]).handed is None
    assert looked == []
    front.enter(["serve"])
    monkeypatch.setattr(os, "isatty", lambda _: False)
    front.enter([])
    assert len(looked) == 2


def running(prefix: Path, source: str | None) -> Running:
    return Running(Path("/py/bin/python"), prefix, prefix / "bin", source)


@pytest.mark.parametrize(
    ("receipt", "prefix", "source", "told"),
    [
        ("uv-receipt.toml", "tools/kubeez-mcp-local", None, "`uv tool upgrade kubeez-mcp-local`"),
        (
            "uv-receipt.toml",
            "tools/kubeez-mcp-local",
            "CLONE",
            "`git pull` in CLONE, then `uv tool install --force CLONE`",
        ),
        ("pipx_metadata.json", "venvs/kubeez", None, "`pipx upgrade kubeez-mcp-local`"),
        ("", "cache/archive-v0/x", None, "`uvx kubeez-mcp-local@latest`"),
        ("", "cache/archive-v0/x", "git+https://x/y", "`uvx --refresh --from git+https://x/y kubeez-mcp-local`"),
        ("", "venv", None, "pip install --upgrade kubeez-mcp-local`"),
    ],
)
def test_the_version_says_where_a_newer_one_comes_from(
    tmp_path: Path, receipt: str, prefix: str, source: str | None, told: str
) -> None:
    clone, folder = tmp_path / "clone", tmp_path / prefix
    clone.mkdir()
    folder.mkdir(parents=True)
    if receipt:
        (folder / receipt).touch()
    said = newer_from(running(folder, str(clone) if source == "CLONE" else source))
    assert said.endswith(f"{told.replace('CLONE', str(clone))}.")


@pytest.mark.parametrize(
    ("receipt", "prefix", "source", "told"),
    [
        ("uv-receipt.toml", "tools/kubeez", None, "uv tool install --force 'kubeez-mcp-local[video]'"),
        ("uv-receipt.toml", "tools/kubeez", "CLONE", "uv tool install --force 'CLONE[video]'"),
        ("pipx_metadata.json", "venvs/kubeez", None, "pipx install --force 'kubeez-mcp-local[video]'"),
        ("", "cache/archive-v0/x", "git+https://x/y", "uvx --from 'kubeez-mcp-local[video] @ git+https://x/y' "),
        ("", "venv", "CLONE", "pip install 'CLONE[video]'"),
    ],
)
def test_the_extra_comes_from_where_the_rest_came_from(
    tmp_path: Path, receipt: str, prefix: str, source: str | None, told: str
) -> None:
    clone, folder = tmp_path / "clone", tmp_path / prefix
    clone.mkdir()
    folder.mkdir(parents=True)
    if receipt:
        (folder / receipt).touch()
    said = with_video_from(running(folder, str(clone) if source == "CLONE" else source))
    assert told.replace("CLONE", str(clone)) in said


def test_the_version_of_a_checkout_is_renewed_by_git() -> None:
    lines = typed("--version").stdout.splitlines()
    assert lines[0] == f"{APP} {__version__}"
    assert lines[1].startswith("Newer versions: `git pull` in ")


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_can_be_made_to_complete(shell: str) -> None:
    script = typed("completion", shell).stdout
    assert f"{COMPLETING}={shell}_complete" in script
    if shell == "bash" and (bash := shutil.which("bash")):
        subprocess.run([bash, "-n"], input=script, text=True, check=True)


def test_commands_are_completed_without_loading_them_and_options_and_clients_too() -> None:
    def completed(*words: str) -> list[str]:
        before = set(sys.modules)
        done = CliRunner().invoke(
            cli,
            [],
            prog_name=APP,
            env={COMPLETING: "fish_complete", "COMP_WORDS": " ".join([APP, *words]), "COMP_CWORD": words[-1]},
        )
        assert done.exit_code == 0, done.output
        if len(words) == 1:
            assert not {name for name in set(sys.modules) - before if name.startswith("kubeez_mcp_local.cli.")}
        return [line.split(",")[1].split("\t")[0] for line in done.stdout.splitlines()]

    assert completed("lo") == ["login", "logout"]
    assert "--read-only" in completed("--re")
    assert completed("install", "curs") == ["cursor"]


def test_a_completion_is_never_answered_from_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    assert name_of([]) is not None
    monkeypatch.setenv(COMPLETING, "bash_complete")
    assert name_of([]) is None
