"""README's first command, as a new user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from click.testing import CliRunner
from PIL import Image

from kubeez_mcp_local.cli.main import cli
from kubeez_mcp_local.cli.sandbox import _next_command

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def run_cli(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {"PATH": os.environ["PATH"], "HOME": str(folder), "USERPROFILE": str(folder)}
    command = [sys.executable, "-m", "kubeez_mcp_local", *arguments]
    return subprocess.run(command, cwd=folder, env=kept | variables, capture_output=True, text=True, timeout=120)


def test_the_demo_ends_with_pictures_a_sheet_and_a_table(tmp_path: Path) -> None:
    (tmp_path / ".codex").mkdir()
    # A key and a base URL in the environment must not turn the demo into something that costs money.
    done = run_cli(tmp_path, "demo", KUBEEZ_API_KEY="sk_live_example", KUBEEZ_BASE_URL="https://api.kubeez.com")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "kubeez-demo" / "runs" / "demo-sandbox"
    pictures = [folder / f"variants-{angle}.png" for angle in ("product-as-hero", "the-moment-of-use", "one-bold-idea")]
    for path in pictures:
        with Image.open(path) as picture:
            width, height = picture.size
            assert abs(width / height - 4 / 5) < 0.01
        assert json.loads(path.with_suffix(".json").read_text("utf-8"))["mode"] == "sandbox"
    with Image.open(folder / "comparison.png") as sheet:
        assert sheet.width > sheet.height > 400
    assert "42" in done.stdout
    assert "rehearsal" in done.stdout
    assert "install codex` adds this to Codex" in done.stdout


def test_the_demo_passes_over_clients_that_have_the_server(
    throw_away_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert "lists the clients" in _next_command()
    for name, config in ((".cursor", "mcp.json"), (".codex", "config.toml")):
        (throw_away_home / name).mkdir()
        assert f"install {name[1:]}` adds this" in _next_command()
        done = CliRunner().invoke(cli, ["install", name[1:], "--no-check"])
        assert (throw_away_home / name / config).exists(), done.output
    assert _next_command().startswith("ask for a picture in Cursor;")


def test_help_names_every_command_without_importing_a_server(tmp_path: Path) -> None:
    done = run_cli(tmp_path, "--help")
    assert done.returncode == 0
    for command in ("serve", "demo", "install", "doctor", "sandbox"):
        assert command in done.stdout


def test_bad_settings_end_a_command_with_code_2_an_explanation_and_nothing_on_stdout(tmp_path: Path) -> None:
    done = run_cli(tmp_path, "spend", KUBEEZ_MAX_CREDITS_PER_DAY="lots")
    assert done.returncode == 2
    assert "KUBEEZ_MAX_CREDITS_PER_DAY" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
