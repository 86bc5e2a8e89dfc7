"""`doctor` finds what makes people fail, says what to do, and leaves no trace."""

from __future__ import annotations

import json
import math
import sqlite3
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from kubeez_mcp_local.cli import doctor
from kubeez_mcp_local.cli.clients.launch import Machine
from kubeez_mcp_local.cli.doctor import check_program
from kubeez_mcp_local.cli.main import cli
from kubeez_mcp_local.jobs.database import VERSION
from kubeez_mcp_local.settings import load_settings
from tests.e2e.standalone import standalone_sandbox
from tests.jobs.test_ledger import a_ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.sandbox_server import RunningSandbox

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def elsewhere(clientless: None, throw_away_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Works in an empty folder below the home, and sees no client of this machine."""
    work = throw_away_home / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


def examined(*arguments: str, code: int = 0, **variables: str) -> dict[str, list[tuple[str, str]]]:
    """What was found: (level, everything said) by check."""
    done = CliRunner().invoke(cli, [*arguments, "doctor", "--json"], env=variables)
    assert done.exit_code == code, done.output
    told = json.loads(done.stdout)
    assert told["ok"] == (code == 0)
    found: dict[str, list[tuple[str, str]]] = {}
    for one in told["findings"]:
        found.setdefault(one["check"], []).append((one["level"], f"{one['detail']} {one['next_step']}"))
    return found


def tree(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


@pytest.mark.usefixtures("unstarted")
def test_a_start_in_a_system_folder_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    (said,) = (said for level, said in examined()["inputs"] if level == "warning")
    assert said.startswith(
        "started in /, which is a drive, a system folder or above your home, so its files may not be read"
    )
    assert "KUBEEZ_INPUT_DIRS" in said


def test_a_fresh_machine_without_key_or_network_is_fine_and_stays_untouched(
    throw_away_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "SLOW_SECONDS", math.inf)  # whatever else this machine is doing
    before = tree(throw_away_home)
    found = examined()
    assert {level for one in found.values() for level, _ in one} == {"ok"}
    (started,), (older,) = found["MCP"], found["MCP (older clients)"]
    assert "tools over stdio" in started[1]
    assert all(one[1].rstrip().endswith(" answered") for one in (started, older)), "a call proves the whole server"
    assert ("2026-07-28" in started[1], "2025-11-25" in older[1]) == (True, True)
    assert tree(throw_away_home) == before


@pytest.mark.usefixtures("unstarted")
def test_people_get_a_table_with_next_steps() -> None:
    done = CliRunner().invoke(cli, ["doctor"], env={"KUBEEZ_APIKEY": "x"})
    assert done.exit_code == 0
    assert "→ Did you mean KUBEEZ_API_KEY?" in done.stdout
    assert "1 warning." in done.stdout


def test_settings_that_cannot_be_used_are_the_first_thing_to_mend() -> None:
    found = examined(code=1, KUBEEZ_API_KEY="${KUBEEZ_API_KEY}")
    assert any(level == "problem" and "placeholder" in told for level, told in found["settings"])
    assert "not tried" in found["MCP"][0][1]
    assert any("lots" in told for _, told in examined(code=1, KUBEEZ_MAX_CREDITS_PER_DAY="lots")["settings"])
    assert any("no file" in told for _, told in examined("--env-file", "/nope", code=1)["settings"])


@pytest.mark.usefixtures("unstarted")
def test_it_says_where_settings_come_from_and_never_the_key(tmp_path: Path, elsewhere: Path) -> None:
    own = tmp_path / "own.env"
    own.write_text("KUBEEZ_API_KEY=sk_live_example\nKUBEEZ_MODE=sandbox\nKUBEEZ_MAX_CREDIT_PER_DAY=5\n", "utf-8")
    own.chmod(0o644)
    (elsewhere / ".env").write_text("KUBEEZ_BASE_URL=https://example.com\n", "utf-8")
    done = CliRunner().invoke(cli, ["--env-file", str(own), "doctor", "--json"], env={"KUBEEZ_LOG_LEVEL": "error"})
    assert "sk_live_example" not in done.output
    told = [f"{one['detail']} {one['next_step']}" for one in json.loads(done.stdout)["findings"]]
    for words in (
        f"KUBEEZ_API_KEY, KUBEEZ_MODE from the config file {own}",
        "KUBEEZ_LOG_LEVEL from the environment",
        "Did you mean KUBEEZ_MAX_CREDITS_PER_DAY?",
        "a working folder may supply the key only",
        f"chmod 600 {own}",
        "15 characters, known here as live-",
    ):
        assert any(words in one for one in told), words


@pytest.mark.usefixtures("unstarted")
def test_folders_that_cannot_be_used_are_problems(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    found = examined(
        code=1,
        KUBEEZ_OUTPUT_DIR=str(tmp_path / "file" / "out"),
        KUBEEZ_INPUT_DIRS=str(tmp_path / "nowhere"),
        KUBEEZ_RECIPES=str(tmp_path / "no-recipes"),
    )
    assert "is a file, not a folder" in found["outputs"][0][1]
    assert found["inputs"][0][0] == "warning"
    assert any("no-recipes" in told for _, told in found["recipes"])


@pytest.mark.usefixtures("unstarted")
def test_the_ledger_is_looked_at(tmp_path: Path) -> None:
    state = tmp_path / "state"
    a_ledger(state / "ledger.db", "completed", "unknown").close()
    found = examined(KUBEEZ_STATE_DIR=str(state))
    assert f"version {VERSION}, jobs: 2" in found["ledger"][0][1]
    assert "jobs reconcile" in found["ledger"][1][1]
    with closing(sqlite3.connect(state / "ledger.db")) as ledger, ledger:
        ledger.execute("PRAGMA user_version = 99")
    (newer,) = examined(code=1, KUBEEZ_STATE_DIR=str(state))["ledger"]
    assert newer[0] == "problem"
    assert "Update" in newer[1]


@pytest.mark.usefixtures("unstarted")
def test_broken_recipes_and_broken_configs_are_named_with_their_line(tmp_path: Path, throw_away_home: Path) -> None:
    recipes = tmp_path / "mine"
    recipes.mkdir()
    (recipes / "bad.md").write_text("---\nname: bad\ntitle: [\n---\nx\n", "utf-8")
    (throw_away_home / ".codex").mkdir()
    (throw_away_home / ".codex" / "config.toml").write_text("a = 1\nb =\n", "utf-8")
    (throw_away_home / ".cursor").mkdir()
    entry = {"command": "/nope/uvx", "args": ["kubeez-mcp-local"]}
    (throw_away_home / ".cursor" / "mcp.json").write_text(json.dumps({"mcpServers": {"kubeez": entry}}), "utf-8")
    found = examined(code=1, KUBEEZ_RECIPES=str(recipes))
    assert any("bad.md:" in told for level, told in found["recipes"] if level == "warning")
    assert found["codex"][0][0] == "problem"
    assert "config.toml:2" in found["codex"][0][1]
    assert "/nope/uvx does not exist" in found["cursor"][0][1]
    assert "install cursor --force" in found["cursor"][0][1]


@pytest.mark.usefixtures("unstarted")
def test_an_api_that_is_not_there_is_a_problem_with_a_next_step() -> None:
    # A port that nothing listens on: 9 is "discard", and nobody runs that any more.
    found = examined(code=1, KUBEEZ_API_KEY="sk_live_example", KUBEEZ_BASE_URL="http://127.0.0.1:9")
    assert found["API"][0][0] == "problem"
    assert "sandbox serve" in found["API"][0][1]


@pytest.mark.usefixtures("unstarted")
def test_in_the_home_folder_an_entry_with_a_key_is_no_leak(
    throw_away_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There, the project's config of several clients is the user's own."""
    monkeypatch.chdir(throw_away_home)
    (throw_away_home / ".git").mkdir()  # some keep their settings in git
    done = CliRunner().invoke(cli, ["install", "cursor", "--with-key", "--no-check"], input="sk_live_example")
    assert done.exit_code == 0, done.output
    told = examined()["cursor"]
    assert [level for level, _ in told] == ["ok"]
    refused = CliRunner().invoke(cli, ["install", "cursor", "--scope", "project", "--remove"])
    assert "in no git checkout" in refused.stderr
    assert "example" in (throw_away_home / ".cursor" / "mcp.json").read_text("utf-8")


async def test_a_start_that_some_clients_would_not_wait_for_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "SLOW_SECONDS", 0.0)
    machine = Machine("linux", tmp_path, tmp_path, {"PATH": "", "HOME": str(tmp_path)})
    found = await doctor.check_start(machine, [], "auto")
    assert (found.level, "uv tool install" in found.next_step) == ("warning", True)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    with standalone_sandbox(tmp_path_factory.mktemp("api"), 1000) as running:
        yield running


async def asked(api: RunningSandbox, key: str) -> dict[str, Any]:
    settings = load_settings(environ={"KUBEEZ_API_KEY": key, "KUBEEZ_MODE": "live", "KUBEEZ_BASE_URL": api.url})
    return {one.check: one for one in await doctor.check_api(settings)}


async def test_a_key_that_works_shows_the_balance(api: RunningSandbox) -> None:
    found = await asked(api, "sk_live_example")
    assert [one.level for one in found.values()] == ["ok", "ok", "ok"]
    assert "credits" in found["account"].detail


async def test_a_key_that_is_not_accepted_is_a_problem(api: RunningSandbox) -> None:
    found = await asked(api, "not-a-key")
    assert (found["API"].level, found["account"].level) == ("ok", "problem")
    assert "kubeez.com/settings/api-keys" in found["account"].next_step


async def test_what_a_key_lacks_is_a_warning(api: RunningSandbox) -> None:
    api.control.key("sk_live_narrow", scopes=["generate:media"])
    narrow = await asked(api, "sk_live_narrow")
    assert (narrow["account"].level, narrow["scopes"].level) == ("warning", "warning")
    assert "read:generations" in narrow["scopes"].next_step
    api.control.key("sk_live_poor", credits=0)
    poor = await asked(api, "sk_live_poor")
    assert (poor["account"].level, "billing" in poor["account"].next_step) == ("warning", True)


def test_the_interpreter_of_these_tests_is_the_one_that_is_described() -> None:
    told = " ".join(one.detail for one in check_program())
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}." in told
