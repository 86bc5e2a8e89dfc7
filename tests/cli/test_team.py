"""A team's ledger from the command line: two machines with one key, against one API and one database."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from click.testing import CliRunner

from kubeez_mcp_local.cli.doctor import check_ledger
from kubeez_mcp_local.cli.main import cli
from kubeez_mcp_local.settings import load_settings
from tests.jobs.server import NO_SERVER, SERVER, team_ledger
from tests.sandbox_server import KEY, running_sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Machine = Callable[..., str]

needs_server = pytest.mark.skipif(not SERVER, reason=NO_SERVER)
RECIPE = ("recipes", "run", "three-ad-variants", "--brief", "running shoes", "--yes")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Runs a command on the machine of a person; all have one key and one ledger."""
    ledger = team_ledger(f"cli {uuid4().hex}")
    with running_sandbox(tmp_path / "api") as sandbox:

        def run(person: str, *arguments: str, code: int = 0, **more: str) -> str:
            variables = {
                "KUBEEZ_API_KEY": KEY,
                "KUBEEZ_BASE_URL": sandbox.url,
                "KUBEEZ_LEDGER": ledger,
                "KUBEEZ_PERSON": person,
                "KUBEEZ_STATE_DIR": str(tmp_path / person / "state"),
                "KUBEEZ_OUTPUT_DIR": str(tmp_path / person / "out"),
            }
            done = CliRunner().invoke(cli, arguments, env=variables | more)
            assert done.exit_code == code, done.output
            return done.stdout if code == 0 else done.output

        yield run


def spent(machine: Machine, person: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(machine(person, "spend", "--by", "person", "--json"))
    return {group["person"]: group["charged"] for group in told["groups"]}


@needs_server
def test_a_run_that_one_person_paid_is_not_paid_by_another(machine: Machine) -> None:
    assert "3 completed" in machine("ana", *RECIPE)
    assert "3 completed" in machine("ben", *RECIPE)
    assert spent(machine, "ben") == {"ana": 42.0}


@needs_server
def test_the_teams_ceiling_is_set_shown_kept_and_lifted(machine: Machine) -> None:
    assert machine("ana", "team", "ceiling") == "The team: no ceiling.\n"
    assert machine("ana", "team", "ceiling", "30") == "The team: at most 30 credits a UTC day.\n"
    assert "of the team's 30 credits" in machine("ben", *RECIPE, code=3)
    assert "its ceiling is 30" in machine("ben", "spend")
    assert machine("ana", "team", "ceiling", "--none") == "The team: no ceiling.\n"
    assert "3 completed" in machine("ben", *RECIPE)
    assert spent(machine, "ana") == {"ben": 42.0}


@needs_server
def test_a_ledger_is_moved_once_however_often(machine: Machine) -> None:
    machine("ana", *RECIPE, KUBEEZ_LEDGER="")
    assert machine("ana", "team", "move").startswith("3 of 3 jobs were copied")
    assert machine("ana", "team", "move").startswith("0 of 3 jobs were copied")
    assert "3 completed" in machine("ben", *RECIPE)
    assert spent(machine, "ben") == {"ana": 42.0}


@needs_server
def test_doctor_looks_at_the_database() -> None:
    variables = {"KUBEEZ_API_KEY": KEY, "KUBEEZ_LEDGER": team_ledger(f"cli {uuid4().hex}"), "KUBEEZ_PERSON": "ana"}
    settings = load_settings(environ=variables)
    assert next(finding.detail for finding in check_ledger(settings)).endswith(
        "no tables yet; the first job makes them"
    )
    CliRunner().invoke(cli, ["spend"], env=variables)
    (told, *_) = check_ledger(settings)
    assert told.detail.endswith("jobs: 0; this role may set the team's ceiling; you are ana")
    (told, *_) = check_ledger(load_settings(environ=variables | {"KUBEEZ_API_KEY": ""}))
    assert told.level == "warning"
    assert "KUBEEZ_LEDGER is not used" in told.detail
    gone = variables | {"KUBEEZ_LEDGER": "postgresql://me:hunter2-example@127.0.0.1:1/db"}
    (finding,) = check_ledger(load_settings(environ=gone))
    assert "cannot be reached" in finding.detail
    assert "hunter2" not in f"{finding}"


def test_without_a_team_it_says_what_is_missing(tmp_path: Path) -> None:
    for command in (["team", "ceiling"], ["team", "allow", "worker"], ["team", "move"]):
        done = CliRunner().invoke(cli, command, env={"KUBEEZ_STATE_DIR": str(tmp_path)})
        assert done.exit_code == 2
        assert "KUBEEZ_LEDGER is not set" in done.output


@pytest.mark.parametrize(
    "value", ["hello", "sqlite:///x", "postgresql://host", "postgresql://me:hunter2-example@host:x/db", "${env:LEDGER}"]
)
def test_an_address_that_is_none_is_refused_and_not_repeated(value: str) -> None:
    done = CliRunner().invoke(cli, ["spend"], env={"KUBEEZ_LEDGER": value, "KUBEEZ_API_KEY": KEY})
    assert done.exit_code == 2
    assert "KUBEEZ_LEDGER" in done.output
    assert value not in done.output
    assert "hunter2" not in done.output
