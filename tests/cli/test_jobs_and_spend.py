"""The ledger on the command line."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from click.testing import CliRunner

from kubeez_mcp_local.bridge import Bridge
from kubeez_mcp_local.cli.main import cli
from kubeez_mcp_local.jobs.job import accounts_of
from kubeez_mcp_local.mcp_server.server import KubeezServer
from kubeez_mcp_local.runs.client import LocalClient
from kubeez_mcp_local.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    return {
        "KUBEEZ_STATE_DIR": str(tmp_path / "state"),
        "KUBEEZ_OUTPUT_DIR": str(tmp_path / "out"),
        "KUBEEZ_SANDBOX_SPEED": "2000",
        "KUBEEZ_MODE": "sandbox",
    }


@pytest.fixture
def job(variables: dict[str, str], tmp_path: Path) -> dict[str, Any]:
    """A finished picture in the ledger."""
    settings = load_settings(environ=variables, working_dir=tmp_path)

    async def make() -> dict[str, Any]:
        async with LocalClient(Bridge(settings), KubeezServer, name="test") as client:
            started = await client("generate_media", {"prompt": "a kite", "model": "z-image", "aspect_ratio": "1:1"})
            return await client("wait_for_generation", {"id": started["generation_id"]})

    return anyio.run(make)


def output_of(variables: dict[str, str], *arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(cli, arguments, env=variables)
    assert done.exit_code == code, done.output
    return done.stdout


def test_showing_a_failed_job_notices_that_it_was_finished_after_all(
    variables: dict[str, str], job: dict[str, Any], tmp_path: Path
) -> None:
    for command in ("show", "wait"):
        with closing(sqlite3.connect(tmp_path / "state" / "ledger.db")) as ledger, ledger:
            ledger.execute("UPDATE jobs SET state = 'failed', charged = 0, results = '[]', files = '[]'")
        shown = json.loads(output_of(variables, "jobs", command, job["generation_id"], "--json"))
        assert (shown["state"], shown["charged"], len(shown["files"])) == ("completed", 4, 1)


def test_jobs_are_listed_shown_and_found_by_the_beginning_of_their_id(
    variables: dict[str, str], job: dict[str, Any], tmp_path: Path
) -> None:
    (row,) = json.loads(output_of(variables, "jobs", "list", "--json"))
    assert (row["state"], row["model"], row["charged"], row["client"]) == ("completed", "z-image", 4, "test")
    shown = json.loads(output_of(variables, "jobs", "show", job["generation_id"][:8], "--json"))
    assert shown.items() >= row.items()
    assert shown["settings"] == {"aspect_ratio": "1:1"}
    assert shown["settled_at"] >= shown["accepted_at"] >= row["created_at"]
    assert "a kite" in output_of(variables, "jobs", "list")
    assert output_of(variables, "jobs") == output_of(variables, "jobs", "list")
    with closing(sqlite3.connect(tmp_path / "state" / "ledger.db")) as ledger, ledger:
        ledger.execute(
            "UPDATE jobs SET prompt = '', labels = json_set(labels, '$.inputs', json('[\"/tmp/talk.mp4\"]'))"
        )
    assert re.search(r"4 +talk\.mp4", output_of(variables, "jobs", "list")), (
        "work without a prompt is told by its files"
    )
    in_full = output_of(variables, "jobs", "show", row["job"])
    assert row["files"][0] in in_full
    assert " charged  4\n" in in_full


def test_waiting_for_a_finished_job_returns_at_once(variables: dict[str, str], job: dict[str, Any]) -> None:
    assert json.loads(output_of(variables, "jobs", "wait", job["generation_id"], "--json"))["state"] == "completed"


def test_a_lost_file_can_be_saved_again(variables: dict[str, str], job: dict[str, Any], tmp_path: Path) -> None:
    (saved,) = (tmp_path / "out").rglob("*.png")
    saved.unlink()
    again = json.loads(output_of(variables, "jobs", "resave", job["generation_id"], "--json"))
    assert [path for path in again["files"] if path.endswith(".png")]
    assert list((tmp_path / "out").rglob("*.png"))


@pytest.fixture
def unknown(variables: dict[str, str], job: dict[str, Any], tmp_path: Path) -> str:
    """The ledger's id of the finished picture, of which nobody knows that it was accepted."""
    with sqlite3.connect(tmp_path / "state" / "ledger.db") as ledger:
        ledger.execute("UPDATE jobs SET state = 'unknown', charged = NULL, reserved = 4000000")
        ledger.execute("UPDATE jobs SET route = 'generate_music', prompt = 'a paper dragon'")
        ledger.execute("DELETE FROM generations")
        (found,) = ledger.execute("SELECT id FROM jobs").fetchone()
    return str(found)


def test_a_job_of_unknown_fate_is_shown_until_it_is_settled(variables: dict[str, str], unknown: str) -> None:
    (row,) = json.loads(output_of(variables, "jobs", "reconcile", "--json"))
    assert (row["job"], row["state"]) == (unknown, "unknown")
    assert "--not-paid" in output_of(variables, "jobs", "reconcile")
    spent = json.loads(output_of(variables, "spend", "--json"))
    assert (spent["spent_today"], spent["reserved"], spent["left_today"]) == (4, 4, 1996)
    assert spent["unsettled_jobs"] == [unknown]
    assert unknown in output_of(variables, "spend")
    assert "unknown" in output_of(variables, "jobs", "wait", unknown, "--timeout", "0.1", code=3)
    refused = CliRunner().invoke(cli, ["jobs", "resave", unknown], env=variables)
    assert refused.exit_code == 2
    assert f"jobs show {unknown}" in refused.stderr
    (settled,) = json.loads(output_of(variables, "jobs", "reconcile", unknown, "--paid", "--json"))
    assert (settled["state"], settled["charged"]) == ("lost", 4)
    after = json.loads(output_of(variables, "spend", "--json"))
    assert (after["unsettled_jobs"], after["spent_today"]) == ([], 4)


def test_spending_is_summed_by_day_and_by_model(variables: dict[str, str], job: dict[str, Any]) -> None:
    by_day = json.loads(output_of(variables, "spend", "--json"))
    assert (by_day["spent_today"], by_day["left_today"], len(by_day["groups"])) == (4, 1996, 1)
    assert by_day["groups"][0]["charged"] == job["cost"]["charged"]
    by_model = json.loads(output_of(variables, "spend", "--by", "model", "--json"))
    assert by_model["groups"] == [{"model": "z-image", "jobs": 1, "charged": 4, "reserved": 0}]
    assert "z-image" in output_of(variables, "spend", "--by", "model")


@pytest.fixture
def three_days(variables: dict[str, str], tmp_path: Path) -> None:
    """Charges of 1,000, 2,500 and 14 credits, and 500 held back on the last day."""

    async def account() -> str:
        async with Bridge(load_settings(environ=variables, working_dir=tmp_path)) as bridge:
            await bridge.ledger.today()
            return bridge.account

    found = anyio.run(account)
    with closing(sqlite3.connect(tmp_path / "state" / "ledger.db")) as ledger, ledger:
        for day, charged, held in (("27", 1000, 0), ("28", 2500, 0), ("29", 14, 500)):
            row = (
                found,
                f"2026-11-{day}",
                "generate_media",
                f"model-{day}",
                "",
                "ana",
                1,
                charged * 10**6,
                held * 10**6,
            )
            ledger.execute("INSERT INTO spend VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)


@pytest.mark.usefixtures("three_days")
@pytest.mark.parametrize(("encoding", "signs"), [("utf-8", ("█", "░", "│")), ("ascii", ("#", "-", "|"))])
def test_days_are_drawn_against_the_ceiling(
    variables: dict[str, str], encoding: str, signs: tuple[str, str, str]
) -> None:
    full, thin, mark = signs
    done = CliRunner(charset=encoding).invoke(cli, ["spend"], env=variables)
    assert done.exit_code == 0
    below, above, today = done.stdout.splitlines()[1:4]
    assert "of 2000 a day" in done.stdout.splitlines()[0]
    assert below.rstrip().endswith(f"{full * 13}{' ' * 13}{mark}")
    assert above.rstrip().endswith(f"{full * 26}{mark}{full * 6}")
    assert f" {full}{thin * 6} " in today
    for line in (below, above, today):
        assert line.index(mark) == below.index(mark)


@pytest.mark.usefixtures("three_days")
@pytest.mark.parametrize("by", ["day", "model", "tool"])
def test_a_chart_fits_a_narrow_terminal(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    monkeypatch.setattr("kubeez_mcp_local.cli.terminal._PLAIN_WIDTH", 44)
    done = output_of(variables, "spend", "--by", by)
    lines = done.splitlines()
    assert all(len(line) <= 44 for line in lines)
    names = {"day": "2026-11-28", "model": "model-28", "tool": "generate_media"}
    assert names[by] in done
    assert ("█" in done) == (by != "tool")  # one bar alone would only fill its line
    assert all(amount in done for amount in (("3514", "500") if by == "tool" else ("2500", "1000", "500")))


def test_an_empty_ledger_is_said_to_be_empty(variables: dict[str, str]) -> None:
    assert "No jobs" in output_of(variables, "jobs", "list")
    assert "Nothing was spent" in output_of(variables, "spend")


def test_an_unknown_job_is_an_explained_error(variables: dict[str, str]) -> None:
    done = CliRunner().invoke(cli, ["jobs", "show", "nothing-like-it"], env=variables)
    assert done.exit_code == 2
    assert "nothing-like-it" in done.stderr


def test_settling_by_hand_needs_a_job(variables: dict[str, str]) -> None:
    assert CliRunner().invoke(cli, ["jobs", "reconcile", "--paid"], env=variables).exit_code == 2


def test_the_one_question_is_answered_on_the_command_line(
    variables: dict[str, str], unknown: str, tmp_path: Path
) -> None:
    variables["KUBEEZ_SANDBOX_SPEED"] = "100000"  # 15 minutes of its life are 9 milliseconds
    output_of(variables, "jobs", "reconcile", "--json")
    shown = output_of(variables, "jobs", "reconcile")
    assert "No answer ever came for 1 paid request" in shown
    assert "may have been missed" in shown
    assert "“a kite”, z-image" in shown
    code = re.search(r"--question (\S+) --none", shown)
    assert code
    for answer in (["--none"], ["--mine", "nothing"]):
        unseen = CliRunner().invoke(cli, ["jobs", "reconcile", *answer], env=variables)
        assert unseen.exit_code == 2
        assert "“a kite”, z-image" in unseen.stdout
        assert f"--question {code[1]}" in unseen.stderr
    answer = ["--question", code[1], "--mine", "nothing"]
    refused = CliRunner().invoke(cli, ["jobs", "reconcile", *answer], env=variables)
    assert refused.exit_code == 2
    assert "'nothing' is none of the rows in question" in refused.stderr
    stale = CliRunner().invoke(cli, ["jobs", "reconcile", "--question", "of-before", "--none"], env=variables)
    assert stale.exit_code == 2
    assert "The question has changed" in stale.stderr
    (settled,) = json.loads(output_of(variables, "jobs", "reconcile", "--question", code[1], "--none", "--json"))
    assert (settled["job"], settled["state"]) == (unknown, "not_accepted")
    assert CliRunner().invoke(cli, ["jobs", "reconcile", "--none"], env=variables).exit_code == 2


def test_a_row_that_a_person_points_at_is_the_job(variables: dict[str, str], unknown: str) -> None:
    variables["KUBEEZ_SANDBOX_SPEED"] = "100000"
    output_of(variables, "jobs", "reconcile", "--json")
    shown = output_of(variables, "jobs", "reconcile")
    row = next(line.split()[1] for line in shown.splitlines() if line.startswith("  1)"))
    code = re.search(r"--question (\S+) --none", shown)
    assert code
    answer = ("--question", code[1], "--mine", row, "--json")
    (settled,) = json.loads(output_of(variables, "jobs", "reconcile", *answer))
    assert (settled["job"], settled["state"]) == (unknown, "accepted")


def test_what_the_api_may_have_delivered_twice_is_mentioned_and_the_rest_is_counted(
    variables: dict[str, str], job: dict[str, Any], tmp_path: Path
) -> None:
    assert "perhaps_paid_twice" not in json.loads(output_of(variables, "spend", "--json"))
    with sqlite3.connect(tmp_path / "state" / "ledger.db") as ledger:
        ours, created = ledger.execute("SELECT id, sent_at FROM jobs").fetchone()
        for name, prompt, seconds in (("twice", "A kite", 60), ("later", "a kite", 5000), ("other", "a boat", 1)):
            ledger.execute(
                "INSERT INTO history_rows (account, id, prompt, model, created_at) VALUES (?, ?, ?, ?, ?)",
                ("sandbox", name, prompt, "z-image", str(created + seconds)),
            )
    pairs = json.loads(output_of(variables, "spend", "--json"))["perhaps_paid_twice"]
    assert pairs == [{"generation_id": "twice", "job": ours}]
    assert "one more row like job" in output_of(variables, "spend")
    look = json.loads(output_of(variables, "jobs", "reconcile", "--account", "--json"))
    assert (look["rows"], look["perhaps_paid_twice"], look["others"]) == (1, [], 0)
    with sqlite3.connect(tmp_path / "state" / "ledger.db") as ledger:
        ledger.execute("DELETE FROM generations")
    look = json.loads(output_of(variables, "jobs", "reconcile", "--account", "--json"))
    assert len(look["perhaps_paid_twice"]) == 1
    told = output_of(variables, "jobs", "reconcile", "--since", "2020-01-01")
    assert "The API shows 1 row, back to" in told
    assert "What is older cannot be seen" in told
    assert "Perhaps paid twice" in told


def test_what_the_other_door_took_is_listed_named_and_added_up(
    variables: dict[str, str], job: dict[str, Any], tmp_path: Path
) -> None:
    assert "door" not in output_of(variables, "jobs")
    with_token = variables | {"KUBEEZ_MCP_URL": "http://127.0.0.1:9/mcp", "KUBEEZ_MCP_TOKEN": "kbz_pat_example"}
    hosted = accounts_of(load_settings(environ=with_token, working_dir=tmp_path))["hosted"]
    with closing(sqlite3.connect(tmp_path / "state" / "ledger.db")) as ledger, ledger:
        for table in ("jobs", "generations", "spend"):
            ledger.execute(f"UPDATE {table} SET account = ?", [hosted])
    assert "No jobs" in output_of(variables, "jobs")
    assert re.search(r"completed +hosted +z-image", output_of(with_token, "jobs"))
    assert json.loads(output_of(with_token, "jobs", "show", job["generation_id"], "--json"))["door"] == "hosted"
    told = json.loads(output_of(with_token, "spend", "--by", "door", "--json"))
    assert [(group["door"], group["charged"]) for group in told["groups"]] == [("hosted", 4)]
    assert told["spent_today"] == 4
