"""Campaigns from the command line: handed to the team, carried out by a worker, looked after."""

from __future__ import annotations

import json
import time
from contextlib import closing
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

import anyio
import pytest
from click.testing import CliRunner
from PIL import Image

from kubeez_mcp_local.cli.main import cli
from kubeez_mcp_local.cli.recipe_commands import campaigns
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.errors import LedgerError
from kubeez_mcp_local.runs.worker import Worker
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

    def run(*arguments: str, code: int = 0, everything: bool = False, **more: str) -> str:
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
        return done.output if code or everything else done.stdout

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
    assert "Nothing is planned" in machine("schedule")


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


POSTERS = """---
name: posters
title: Posters
description: A warmer version of each photo.
version: 1
tags: [image]
arguments:
  rows:
    description: Photos
    type: table
    required: true
    columns:
      photo: {description: Which, type: path, kinds: [image], required: true}
budget: 100
tools: [generate_media, wait_for_generation]
steps:
  - id: warmer
    tool: generate_media
    for_each: "{{ args.rows }}"
    with: {model: nano-banana-2, prompt: warmer, source_media_urls: ["{{ item.photo }}"]}
---
Posters.
"""


def test_a_row_whose_file_is_on_another_machine_says_so_and_is_carried_out_there(
    machine: Machine, rows: Path, tmp_path: Path
) -> None:
    recipe, photo, elsewhere = tmp_path / "posters.md", tmp_path / "photo.png", tmp_path / "elsewhere"
    recipe.write_text(POSTERS, "utf-8")
    Image.new("RGB", (640, 480), "navy").save(photo)
    rows.write_text(f"photo\n{photo}\n", "utf-8")
    told = machine("run", str(recipe), "--rows", str(rows), "--on", "team", "--yes")
    assert "KUBEEZ_READ_ONLY is on" in machine(*WORK, code=2, KUBEEZ_READ_ONLY="true")
    run = told.rsplit(maxsplit=1)[-1]
    recipe.unlink()  # workers have it from the ledger
    elsewhere.mkdir()
    photo.rename(elsewhere / "photo.png")
    machine(*WORK, KUBEEZ_TOOLSETS="audio")  # which limits what a model sees
    (row,) = standing(machine, run, code=1)["stuck"]
    assert row["state"] == "failed"
    assert str(photo) in row["reason"]
    assert f"failed on {row['host']}" in machine("status", run, code=1)
    (elsewhere / "photo.png").rename(photo)
    machine("retry", run)
    machine(*WORK)
    assert standing(machine, run)["rows"] == {"completed": 1}


def test_what_one_row_alone_cannot_carry_out_is_refused_before_anybody_is_asked(
    machine: Machine, rows: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "posters.md"
    one_more = "  - id: cover\n    tool: generate_media\n    with: {model: z-image, prompt: a cover}\n---\n"
    recipe.write_text(POSTERS.replace("---\nPosters", f"{one_more}Posters"), "utf-8")
    Image.new("RGB", (640, 480), "navy").save(tmp_path / "photo.png")
    rows.write_text(f"photo\n{tmp_path / 'photo.png'}\n", "utf-8")
    for command in (("run", str(recipe)), ("schedule", str(recipe), "--cron", "0 2 * * *", "--tz", "UTC")):
        told = machine(*command, "--rows", str(rows), "--on", "team", code=2)
        assert "its paid step cover has no for_each" in told
        assert "nobody is at the terminal" not in told


@pytest.mark.anyio
async def test_who_watches_waits_for_a_database_that_is_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    away = LedgerError("postgresql://db", "cannot be reached", next_step="", code="ledger_unreachable")
    told = SimpleNamespace(campaign=SimpleNamespace(run="cities-1"))

    class Books:
        answers: ClassVar[list[Any]] = [away, away, told]

        async def standing(self, _: str) -> Any:
            if isinstance(answer := self.answers.pop(0), Exception):
                raise answer
            return answer

        async def campaign_rows(self, *_: object) -> list[Any]:
            return []

    monkeypatch.setattr(campaigns, "_WATCH_SECONDS", 0)
    bridge: Any = SimpleNamespace(ledger=Books())
    with pytest.raises(LedgerError):
        await campaigns._look(bridge, "cities", None, patient=False)
    assert (await campaigns._look(bridge, "cities", None, patient=True))[0].campaign.run == "cities-1"
    assert "cannot be reached" in capsys.readouterr().err


def test_a_worker_whose_key_is_refused_speaks_of_no_page_in_a_browser(
    machine: Machine, team: tuple[RunningSandbox, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    async def two_calls(self: Worker, *, until_idle: bool) -> None:
        async def call(prompt: str) -> None:
            try:
                await self.client("generate_media", {"model": "seedream-v4-5", "prompt": prompt})
            except KubeezError as error:
                told.append(f"{error}")

        async with anyio.create_task_group() as group:
            for prompt in ("a kite", "a boat"):
                group.start_soon(call, prompt)

    monkeypatch.setattr(Worker, "work", two_calls)
    key = f"sk_live_{uuid4().hex}"
    team[0].control.key(key, revoked=True)
    machine(*WORK, KUBEEZ_API_KEY=key)
    assert ["has been revoked" in each for each in told] == [True, True]
    assert [each for each in told if "browser" in each] == []


def test_a_worker_says_that_there_are_campaigns_of_other_keys(
    machine: Machine, rows: Path, team: tuple[RunningSandbox, str]
) -> None:
    run, key = submitted(machine, rows), f"sk_live_{uuid4().hex}"
    team[0].control.key(key, credits=100)
    assert "They wait for workers with their own key." in machine(*WORK, KUBEEZ_API_KEY=key, everything=True)
    assert standing(machine, run)["rows"] == {"waiting": 3}
    team[0].control.key(key, revoked=True)
    assert "has been revoked" in machine(*WORK, code=2, KUBEEZ_API_KEY=key)
    assert standing(machine, run)["rows"] == {"waiting": 3}
    machine("cancel", run)
    assert "was cancelled" in machine("retry", run, code=2)
