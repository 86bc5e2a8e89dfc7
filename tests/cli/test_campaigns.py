"""Campaigns from the command line: handed to the team, carried out by a worker, looked after."""

from __future__ import annotations

import json
import time
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from click.testing import CliRunner

from kubeez_mcp_local.cli.main import cli
from tests.jobs.server import NO_SERVER, SERVER, team_ledger
from tests.sandbox_server import running_sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.sandbox_server import RunningSandbox

    Machine = Callable[..., str]

pytestmark = pytest.mark.skipif(not SERVER, reason=NO_SERVER)
PRICE = 9.0


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningSandbox, str]]:
    """An API and a database for all tests here; each has a key of its own."""
    with running_sandbox(tmp_path_factory.mktemp("api"), speed=200) as sandbox:
        yield sandbox, team_ledger(f"campaigns {uuid4().hex}")


@pytest.fixture
def machine(tmp_path: Path, team: tuple[RunningSandbox, str]) -> Machine:
    """Runs a command on a machine of the team."""
    sandbox, ledger = team
    key = f"sk_live_{uuid4().hex}"
    sandbox.control.key(key, credits=10_000)
    (tmp_path / "rows.csv").write_text("name,idea\nOslo,ice\nLisbon,trams\nRome,cats\n", "utf-8")

    def run(*arguments: str, code: int = 0, **more: str) -> str:
        variables = {
            "KUBEEZ_API_KEY": key,
            "KUBEEZ_MODE": "live",
            "KUBEEZ_BASE_URL": sandbox.url,
            "KUBEEZ_LEDGER": ledger,
            "KUBEEZ_PERSON": "ana",
            "KUBEEZ_INPUT_DIRS": str(tmp_path),
            "KUBEEZ_STATE_DIR": str(tmp_path / "state"),
            "KUBEEZ_OUTPUT_DIR": str(tmp_path / "out"),
        }
        done = CliRunner().invoke(cli, ("recipes", *arguments), env=variables | more)
        assert done.exit_code == code, done.output
        return done.stdout if code == 0 else done.output

    return run


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return tmp_path / "rows.csv"


def submitted(machine: Machine, rows: Path, *more: str, **variables: str) -> str:
    """The name of a campaign over the rows."""
    command = ("run", "campaign-from-csv", "--rows", str(rows), "--style", "paper", "--on", "team", "--yes", *more)
    return machine(*command, **variables).rsplit(maxsplit=1)[-1]


def standing(machine: Machine, run: str, code: int = 0) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(machine("status", run, "--json", code=code))
    return told


WORK = ("worker", "--engine", "local", "--until-idle")


def test_a_campaign_may_cost_more_than_a_day_and_goes_on_once_the_ceiling_is_raised(
    machine: Machine, rows: Path
) -> None:
    day = {"KUBEEZ_MAX_CREDITS_PER_DAY": f"{2 * PRICE:g}"}
    run = submitted(machine, rows, **day)
    assert standing(machine, run)["budget"] >= 3 * PRICE
    machine(*WORK, **day)
    told = standing(machine, run, code=1)
    assert told["rows"] == {"completed": 2, "parked": 1}
    assert "the day's 18 credits" in told["stuck"][0]["reason"]
    machine("retry", run)
    machine(*WORK)
    told = standing(machine, run)
    assert (told["rows"], told["credits"], told["over"]) == ({"completed": 3}, 3 * PRICE, True)
    assert len([file for row in told["each"] for file in row["files"]]) == 3


NIGHTLY = ("schedule", "campaign-from-csv", "--style", "paper", "--tz", "UTC", "--on", "team", "--yes")


def five_minutes_ago() -> str:
    then = datetime.fromtimestamp(time.time() - 300, UTC)
    return f"{then.minute} {then.hour} * * *"


def let_pass(ledger: str, schedule: str, hours: float) -> None:
    """As if nobody had looked after the schedule for that long."""
    import psycopg

    from kubeez_mcp_local.jobs.team.postgres import Address

    address = Address.of(ledger)
    changes = (
        "schedules SET looked_at = looked_at - %s WHERE name = %s",
        "nights SET due = due - %s WHERE schedule = %s",
    )
    with closing(psycopg.connect(address.url, autocommit=True)) as session:
        for change in changes:
            session.execute(f'UPDATE "{address.schema}".{change}'.encode(), (hours * 3600, schedule))


def test_a_nightly_campaign_from_the_yes_to_its_removal(
    machine: Machine, rows: Path, team: tuple[RunningSandbox, str]
) -> None:
    command = (*NIGHTLY, "--rows", str(rows), "--cron", five_minutes_ago(), "--max-credits", "40")
    assert "is planned" in machine(*command)
    assert "was planned already" in machine(*command)
    (planned,) = json.loads(machine("schedule", "list", "--json"))["schedules"]
    assert (planned["budget"], planned["agreed"], planned["rows"]) == (40.0, 3 * PRICE, 3)
    assert planned["nights"] == []
    let_pass(team[1], planned["name"], hours=25)
    assert "No worker was there in time." in machine("status")
    machine(*WORK)
    nights = json.loads(machine("schedule", "list", "--json"))["schedules"][0]["nights"]
    assert [night["state"] for night in nights] == ["begun", "missed"]
    assert standing(machine, nights[0]["run"])["rows"] == {"completed": 3}
    rows.write_text(rows.read_text("utf-8") + "Paris,bridges\n", "utf-8")
    let_pass(team[1], planned["name"], hours=23)
    machine(*WORK)
    told = machine("schedule", "list")
    assert f"refused: Changed since it was agreed to: {rows}" in told.replace("\n", "")
    assert "is planned" in machine(*command)
    (anew,) = json.loads(machine("schedule", "list", "--json"))["schedules"]
    assert (anew["name"], anew["rows"], anew["agreed"]) == (planned["name"], 4, 4 * PRICE)
    assert machine("schedule", "remove", planned["name"][:-4]).startswith(f"{planned['name']} is removed")
    assert "Nothing is planned" in machine("schedule", "list")


def test_a_schedule_is_not_taken_without_a_yes_or_a_time(machine: Machine, rows: Path) -> None:
    command = ("schedule", "campaign-from-csv", "--rows", str(rows), "--style", "paper", "--tz", "UTC")
    assert "nobody is at the terminal to agree" in machine(*command, "--cron", "0 2 * * *", code=2)
    assert "--cron" in machine(*command, "--cron", "2 o'clock", code=2)
    assert "over_budget" not in machine("schedule", "list")
    assert "Nothing is planned" in machine("schedule", "list")


def test_a_name_is_used_for_one_set_of_rows_and_new_finds_another(machine: Machine, rows: Path) -> None:
    run = submitted(machine, rows)
    assert submitted(machine, rows) == run
    other = submitted(machine, rows, "--new")
    assert other == f"{run}-2"
    rows.write_text("name,idea\nParis,bridges\n", "utf-8")
    command = ("run", "campaign-from-csv", "--rows", str(rows), "--style", "paper", "--on", "team", "--yes")
    assert "other rows or other arguments" in machine(*command, "--run-id", run, code=2)
    machine("cancel", run)
    machine("cancel", other)


def test_status_says_whose_campaigns_it_shows(machine: Machine, rows: Path) -> None:
    run = submitted(machine, rows)
    told = machine("status", KUBEEZ_API_KEY="", KUBEEZ_MODE="auto")
    assert "without a key" in told
    machine("cancel", run)
