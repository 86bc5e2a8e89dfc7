"""Nothing that others have written steers the terminal or poses as a line of ours, whichever command shows it."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING

import anyio
import pytest
from click.testing import CliRunner
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text

from kubeez_mcp_local.bridge import Bridge
from kubeez_mcp_local.cli.main import cli
from kubeez_mcp_local.cli.terminal import print_json, results
from kubeez_mcp_local.mcp_server.server import KubeezServer
from kubeez_mcp_local.runs.client import LocalClient
from kubeez_mcp_local.settings import load_settings
from kubeez_mcp_local.text import LONGEST_NAME, on_one_line
from tests.mcp_server.hostile_api import LINES, MODEL, hostile_api

if TYPE_CHECKING:
    from pathlib import Path

STEERING = {"\x1b", "\x9b", "\u202e", "\u2028", "\x07", "\x08"}
HOSTILE = f"[red]{LINES}[/red]\x07\x08"


def test_a_console_shows_what_would_steer_it_and_reads_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    console = results()
    table = Table("name", box=None)
    table.add_row(HOSTILE)
    table.add_row(Text(HOSTILE))
    console.print(HOSTILE, Text(HOSTILE), table)
    with Progress(TextColumn("{task.description}", markup=False), console=console) as bars:
        bars.add_task(HOSTILE)
    print_json({"a": HOSTILE})
    shown = out.getvalue()
    assert not STEERING & set(shown)
    assert shown.count("[red]boom") >= 5
    assert shown.count("\\x1b[2J\\u202e\\x9b\\u2028notes:") >= 4
    assert json.loads(shown[shown.index('{\n  "a"') :]) == {"a": HOSTILE}


def test_jobs_spend_and_recipes_show_words_of_others_as_words(tmp_path: Path) -> None:
    variables = {
        "KUBEEZ_STATE_DIR": str(tmp_path / "state"),
        "KUBEEZ_OUTPUT_DIR": str(tmp_path / "out"),
        "KUBEEZ_API_KEY": "sk_live_example",
        "KUBEEZ_MODE": "live",
        "KUBEEZ_ASK_ABOVE": "1000",
    }

    async def make() -> None:
        bridge = Bridge(load_settings(environ=variables, working_dir=tmp_path))
        async with LocalClient(bridge, KubeezServer, name=HOSTILE) as client:
            started = await client("generate_media", {"prompt": "a kite\nstate: completed", "model": MODEL})
            assert (await client("wait_for_generation", {"id": started["generation_id"]}))["status"] == "failed"

    with hostile_api() as url:
        variables["KUBEEZ_BASE_URL"] = url
        anyio.run(make)
    outputs = {}
    for command in ("jobs list", "jobs show job-1", "jobs list --json", "jobs show job-1 --json", "spend --by model"):
        done = CliRunner().invoke(cli, command.split(), env=variables)
        assert done.exit_code == 0, done.output
        outputs[command] = done.stdout
        assert not STEERING & set(done.output), command
    assert len(outputs["jobs list"]) < 500
    lines = outputs["jobs show job-1"].splitlines()
    assert {line.split()[0] for line in lines if "status: completed" in line} == {"client", ">"}
    assert [line.split()[:2] for line in lines if line.startswith("          prompt")] == [["prompt", ">"]]
    assert json.loads(outputs["jobs show job-1 --json"])["client"] == on_one_line(HOSTILE, LONGEST_NAME)
    assert json.loads(outputs["jobs show job-1 --json"])["error"].startswith(LINES[:60])


def test_an_error_shows_what_would_steer_the_terminal() -> None:
    done = CliRunner().invoke(cli, ["recipes", "show", f"no\x1b[2J\u202e{'x' * 9_000}"])
    assert done.exit_code == 2
    assert not STEERING & set(done.output)
    assert len(done.output) < 3_000


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp437", "utf-8", "utf-16"])
def test_json_is_valid_whatever_stdout_can_say(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    value = {"prompt": "Grüße an 東京 \U0001f98a, half a \ud83d, \x1b[2J", "→": ["\u202e", 1]}
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    print_json(value)
    sys.stdout.flush()
    said = raw.getvalue().decode(encoding)
    assert json.loads(said) == value
    assert not STEERING & set(said)


@pytest.mark.parametrize(
    "command", ["--help", "recipes list", "recipes show three-ad-variants", "jobs list", "doctor --help"]
)
@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_what_a_pipe_cannot_say_is_replaced(command: str, encoding: str) -> None:
    done = CliRunner(charset=encoding).invoke(cli, command.split())
    assert done.exit_code == 0, done.exception
    assert done.stdout_bytes.decode(encoding)
