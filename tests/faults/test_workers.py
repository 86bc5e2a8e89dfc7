"""Workers of a team that are killed, stopped and cut off from their database with rows in hand: nothing is paid twice,
no row is lost, and the ledger says what the API's books say."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.bench.conftest import report  # noqa: F401 - the table of what was measured
from tests.e2e.server import environment
from tests.forking import Fork, started
from tests.jobs.server import NO_SERVER, SERVER, cluster_of_our_own, postgres_programs, team_ledger
from tests.sandbox_server import KEY, running_sandbox

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.conftest import Report
    from tests.jobs.server import Cluster

pytest.importorskip("psycopg")

import psycopg

from kubeez_mcp_local.jobs.team.postgres import Address

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks its workers")
PRICE = 9
SPEED = 200.0
A_MINUTE = 30
"""Requests of pictures that the API takes in one."""
ENGINE = "kubeez_mcp_local.runs.engines.dbos"
WORKER = """
from functools import partial
from kubeez_mcp_local.__main__ import main
from kubeez_mcp_local.jobs.team import beats
beats.Timing = partial(beats.Timing, {})
main()
"""


@dataclass(frozen=True)
class Plan:
    """How large a campaign is, and what happens to its workers. Every second one that is killed is not started again.

    Attributes:
        outages: How often the database is away, each time for `outage_seconds`.
        stopped_seconds: How long one worker is stopped with rows in hand; 0 for not at all.
        patience: Seconds after which the campaign has to be over.
        beat: Seconds between two beats, and `dead` until a process without one counts as dead; 0 for the usual ones.
    """

    workers: int
    rows: int
    kills: int
    outages: int = 0
    outage_seconds: float = 10.0
    stopped_seconds: float = 0.0
    patience: float = 300.0
    beat: float = 0.0
    dead: float = 0.0


class Watch(threading.Thread):
    """Looks at the ledger all the time, from outside: when rows of dead workers are taken over, and the day's total.

    Attributes:
        given_back: Seconds from a worker's end until each of its rows was anybody's again; `taken_over` until another
            worker had begun with it, which also waits for the API's rate. Those over which the database was away are
            left out.
        most: The highest total of the day, in credits.
    """

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._address = Address.of(url)
        self._left: dict[int, tuple[str, int, float]] = {}
        self._dead: dict[int, tuple[str, int, float]] = {}
        self._ended = threading.Event()
        self.away_at = 0.0
        self.given_back: list[float] = []
        self.taken_over: list[float] = []
        self.most = 0.0

    def rows_of(self, pid: int) -> None:
        """Note which rows a worker that has just been killed had in hand."""
        now = time.monotonic()
        query = (
            "SELECT number, owner, attempt FROM campaign_rows JOIN owners ON owners.id = campaign_rows.owner "
            "WHERE campaign_rows.state = 'working' AND owners.pid = %s AND owners.ended_at IS NULL"
        )
        for number, owner, attempt in self.found(query, pid):
            self._dead[number] = self._left[number] = owner, attempt, now

    def run(self) -> None:
        while not self._ended.wait(0.1):
            try:
                self._look()
            except psycopg.OperationalError:
                self.away_at = time.monotonic()

    def end(self) -> None:
        self._ended.set()
        self.join()

    def _look(self) -> None:
        [(micro,)] = self.found("SELECT COALESCE(SUM(charged + reserved), 0) FROM spend")
        self.most = max(self.most, float(micro) / 1_000_000)
        now = time.monotonic()
        for number, owner, attempt in self.found("SELECT number, owner, attempt FROM campaign_rows"):
            if number in self._dead and attempt != self._dead[number][1]:
                self._note(self.given_back, self._dead.pop(number)[2], now)
            if number in self._left and owner != self._left[number][0]:
                self._note(self.taken_over, self._left.pop(number)[2], now)

    def _note(self, seconds: list[float], since: float, now: float) -> None:
        if self.away_at < since:
            seconds.append(now - since)

    def found(self, query: str, *values: object) -> list[Any]:
        with psycopg.connect(self._address.url, autocommit=True, connect_timeout=2) as session:
            session.execute(f'SET search_path TO "{self._address.schema}"'.encode())
            return session.execute(query.encode(), values).fetchall()


@dataclass
class Team:
    """One campaign, its API, its database and its workers."""

    folder: Path
    api: str
    ledger: str
    plan: Plan
    workers: list[subprocess.Popen[bytes] | Fork] = field(default_factory=list)
    started: int = 0
    answered: int = 0

    def variables(self, name: str) -> dict[str, str]:
        (self.folder / name).mkdir(exist_ok=True)
        settings = {"api_key": KEY, "base_url": self.api, "mode": "live", "ledger": self.ledger, "person": "ana"}
        ceilings = {"max_credits_per_run": PRICE * self.plan.rows, "max_credits_per_day": PRICE * self.plan.rows}
        return environment(self.folder / name, **settings, **ceilings, log_level="info")

    def submit(self) -> str:
        self.variables("person")
        table = self.folder / "person" / "inputs" / "rows.csv"
        table.write_text("name,idea\n" + "".join(f"City {row},idea {row}\n" for row in range(self.plan.rows)), "utf-8")
        options = (
            "--rows",
            str(table),
            "--style",
            "paper",
            "--max-credits",
            str(PRICE * self.plan.rows),
            "--on",
            "team",
            "--yes",
        )
        told = self.told("recipes", "run", "campaign-from-csv", *options)
        assert f"{self.plan.rows} rows are in the ledger" in told, told
        return told.rsplit(maxsplit=1)[-1]

    def status(self, run: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.told("recipes", "status", run, "--json", codes=(0, 1)))
        return told

    def told(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        out, errors = self.folder / "person" / "out.txt", self.folder / "person" / "errors.txt"
        with out.open("wb") as told, errors.open("wb") as log:
            done = started(
                self.folder,
                self.variables("person"),
                *arguments,
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=log,
            )
            code = done.wait()
        assert code in codes, errors.read_text("utf-8")
        return out.read_text("utf-8")

    def start(self) -> None:
        self.started += 1
        name = f"machine-{self.started}"
        variables = self.variables(name)
        timing = f"{self.plan.beat}, {self.plan.dead}" if self.plan.beat else ""
        with (self.folder / name / "log").open("wb") as log:
            worker = started(
                self.folder,
                variables,
                *("recipes", "worker", "--parallel", "4"),
                program=("-c", WORKER.format(timing)),
                beside=ENGINE,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.workers.append(worker)


def carried_out(folder: Path, plan: Plan, seed: int, server: str, cluster: Cluster | None = None) -> Watch:
    """Submit a campaign, let it be carried out with all that `plan` does to its workers, and look at the books."""
    chance = random.Random(seed)
    ledger = team_ledger(f"workers {uuid4().hex}", server)
    with running_sandbox(folder / "api", speed=SPEED, rate_limits="off") as sandbox:
        sandbox.control.key(KEY, credits=PRICE * plan.rows * 2)
        team = Team(folder, sandbox.url, ledger, plan)
        run = team.submit()
        watch = Watch(ledger)
        watch.start()
        for _ in range(plan.workers):
            team.start()
        try:
            _disturb(team, plan, chance, watch, cluster, sandbox.control)
            _await_the_end(team, run, watch, sandbox.control)
        finally:
            watch.end()
            for worker in team.workers:
                worker.kill()
                worker.wait()
        told = team.status(run)
        assert told["rows"] == {"completed": plan.rows}, told
        account = sandbox.control.account()
        paid = Counter(job["prompt"] for job in account["jobs"])
        assert len(paid) == plan.rows, "a row was lost"
        assert set(paid.values()) == {1}, "a row was paid twice"
        assert told["credits"] == PRICE * plan.rows, "the ledger and the API disagree"
        assert watch.most <= PRICE * plan.rows, "the day's ceilings were passed"
        arrived = sorted(entry["at"] for entry in account["entries"] if entry["credits"] < 0)
        assert len(arrived) == plan.rows
        windows = zip(arrived, arrived[A_MINUTE:], strict=False)
        assert all(later - first >= 60.0 for first, later in windows), "the rate was passed"
        assert watch.given_back, "nobody had a row in hand when it was killed"
        return watch


def _disturb(
    team: Team, plan: Plan, chance: random.Random, watch: Watch, cluster: Cluster | None, control: Any
) -> None:
    paid_at = sorted(chance.sample(range(1, max(plan.rows * 3 // 4, plan.kills + 2)), plan.kills))
    cut_at = [plan.rows * (number + 1) // (plan.outages + 2) for number in range(plan.outages)]
    stop_at = plan.rows // 5 if plan.stopped_seconds else None
    deadline = time.monotonic() + plan.patience
    killed = 0
    while (paid_at or cut_at or stop_at is not None) and time.monotonic() < deadline:
        paid = len(control.account()["jobs"])
        if paid_at and paid >= paid_at[0] and len(team.workers) > 1:
            paid_at.pop(0)
            victim = team.workers.pop(chance.randrange(len(team.workers)))
            victim.kill()
            victim.wait()
            watch.rows_of(victim.pid)
            killed += 1
            if killed % 2 or len(team.workers) < 2:
                team.start()
        if cut_at and paid >= cut_at[0]:
            cut_at.pop(0)
            assert cluster
            cluster.stop()
            time.sleep(plan.outage_seconds)
            cluster.start()
        if stop_at is not None and paid >= stop_at:
            stop_at = None
            stopped = team.workers[0]
            stopped.send_signal(signal.SIGSTOP)
            threading.Timer(plan.stopped_seconds, stopped.send_signal, (signal.SIGCONT,)).start()
        time.sleep(0.1)
    assert not paid_at, "not all kills found rows in hand"


def _await_the_end(team: Team, run: str, watch: Watch, control: Any) -> None:
    """Wait until all rows are completed. Whoever is asked what became of a request that may never have left looks it up
    in the API's books, as a person would."""
    deadline = time.monotonic() + team.plan.patience
    while time.monotonic() < deadline:
        states = dict(watch.found("SELECT state, COUNT(*) FROM campaign_rows GROUP BY state"))
        if set(states) == {"completed"}:
            return
        if not {"waiting", "working"} & set(states):
            unknown = watch.found("SELECT id, prompt FROM jobs WHERE state = 'unknown'")
            paid = {job["prompt"] for job in control.account()["jobs"]}
            for job_id in [job_id for job_id, prompt in unknown if prompt not in paid]:
                team.told("jobs", "reconcile", job_id, "--not-paid")
                team.answered += 1
        time.sleep(0.2)
    raise AssertionError(f"not over in time: {team.status(run)}")


@pytest.mark.long
@pytest.mark.skipif(not SERVER, reason=NO_SERVER)
def test_workers_that_are_killed_with_rows_in_hand(tmp_path: Path) -> None:
    carried_out(tmp_path, Plan(workers=2, rows=24, kills=3, beat=0.5, dead=4.0), 5, SERVER)


@pytest.mark.bench
@pytest.mark.skipif(not postgres_programs(), reason="there is no Postgres here to start and stop")
def test_a_campaign_in_bad_weather(tmp_path: Path, report: Report) -> None:  # noqa: F811 - it is the fixture
    plan = Plan(workers=3, rows=200, kills=20, outages=2, stopped_seconds=20.0, patience=1200.0)
    with cluster_of_our_own() as cluster:
        watch = carried_out(tmp_path, plan, int(time.time()), cluster.url, cluster)
    whats = {"given back": (watch.given_back, "<= 15 s"), "begun by another": (watch.taken_over, "")}
    for what, (seconds, target) in whats.items():
        told = f"median {median(seconds):.1f} s, longest {max(seconds):.1f} s, {len(seconds)} rows"
        report.add(f"rows of killed workers, from the kill until they were {what}", told, target)
    assert max(watch.given_back) <= 15
