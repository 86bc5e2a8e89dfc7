"""Workers of a team that are killed, stopped and cut off from their database with rows in hand: nothing is paid twice,
no row is lost, and the ledger says what the API's books say."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from tests.e2e.server import environment
from tests.jobs.server import NO_SERVER, SERVER, team_ledger
from tests.sandbox_server import KEY, running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(not SERVER, reason=NO_SERVER)
PRICE = 9
SPEED = 200.0


@dataclass(frozen=True)
class Plan:
    """How large a campaign is, and what happens to its workers. Every second one that is killed is not started again.

    Attributes:
        outages: How often the database is away, each time for `outage_seconds`.
        stopped_seconds: How long one worker is stopped with rows in hand; 0 for not at all.
        patience: Seconds after which the campaign has to be over.
    """

    workers: int
    rows: int
    kills: int
    outages: int = 0
    outage_seconds: float = 10.0
    stopped_seconds: float = 0.0
    patience: float = 300.0


class Line:
    """The way to the database; it can be cut."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._server: socket.socket | None = None
        self._open: list[socket.socket] = []
        self.port = 0
        self.mend()

    def mend(self) -> None:
        """Let connections through."""
        self._server = socket.create_server(("127.0.0.1", self.port))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def cut(self) -> None:
        """End all connections, and refuse new ones."""
        assert self._server is not None
        for each in (self._server, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._open.clear()

    def _accept(self, server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near = server.accept()[0]
                far = socket.create_connection(self._address)
                self._open += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@dataclass
class Team:
    """One campaign, its API, its database and its workers."""

    folder: Path
    api: str
    ledger: str
    rows: int
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    started: int = 0

    def variables(self, name: str) -> dict[str, str]:
        (self.folder / name).mkdir(exist_ok=True)
        settings = {"api_key": KEY, "base_url": self.api, "mode": "live", "ledger": self.ledger, "person": "ana"}
        ceilings = {"max_credits_per_run": PRICE * self.rows, "max_credits_per_day": PRICE * self.rows}
        return environment(self.folder / name, **settings, **ceilings, log_level="info")

    def command(self, name: str, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "kubeez_mcp_local", "recipes", *arguments]

    def submit(self) -> str:
        self.variables("person")
        table = self.folder / "person" / "inputs" / "rows.csv"
        table.write_text("name,idea\n" + "".join(f"City {row},idea {row}\n" for row in range(self.rows)), "utf-8")
        options = (
            "--rows",
            str(table),
            "--style",
            "paper",
            "--max-credits",
            str(PRICE * self.rows),
            "--on",
            "team",
            "--yes",
        )
        told = self._told("run", "campaign-from-csv", *options)
        assert f"{self.rows} rows are in the ledger" in told, told
        return told.rsplit(maxsplit=1)[-1]

    def status(self, run: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self._told("status", run, "--json", codes=(0, 1)))
        return told

    def _told(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        done = subprocess.run(
            self.command("person", *arguments),
            env=self.variables("person"),
            cwd=self.folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode in codes, done.stderr
        return done.stdout

    def start(self) -> None:
        self.started += 1
        name = f"machine-{self.started}"
        variables = self.variables(name)
        with (self.folder / name / "log").open("wb") as log:
            worker = subprocess.Popen(
                self.command(name, "worker", "--parallel", "4"),
                env=variables,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.workers.append(worker)


@contextmanager
def database() -> Iterator[tuple[Line, str]]:
    """The way to the database, and the URL of a ledger at its near end."""
    parts = urlsplit(SERVER)
    line = Line((parts.hostname or "127.0.0.1", parts.port or 5432))
    near = parts._replace(netloc=f"{parts.username}@127.0.0.1:{line.port}").geturl()
    yield line, team_ledger(f"workers {uuid4().hex}").replace(SERVER, near, 1)
    line.cut()


def carried_out(folder: Path, plan: Plan, seed: int) -> None:
    """Submit a campaign, let it be carried out with all that `plan` does to its workers, and look at the books."""
    chance = random.Random(seed)
    with running_sandbox(folder / "api", speed=SPEED) as sandbox, database() as (line, ledger):
        sandbox.control.key(KEY, credits=PRICE * plan.rows * 2)
        team = Team(folder, sandbox.url, ledger, plan.rows)
        run = team.submit()
        for _ in range(plan.workers):
            team.start()
        try:
            _disturb(team, plan, chance, line, sandbox.control)
            _await_the_end(team, run, plan.patience)
        finally:
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


def _disturb(team: Team, plan: Plan, chance: random.Random, line: Line, control: Any) -> None:
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
            killed += 1
            if killed % 2 or len(team.workers) < 2:
                team.start()
        if cut_at and paid >= cut_at[0]:
            cut_at.pop(0)
            line.cut()
            time.sleep(plan.outage_seconds)
            line.mend()
        if stop_at is not None and paid >= stop_at:
            stop_at = None
            stopped = team.workers[0]
            stopped.send_signal(signal.SIGSTOP)
            threading.Timer(plan.stopped_seconds, stopped.send_signal, (signal.SIGCONT,)).start()
        time.sleep(0.1)
    assert not paid_at, "not all kills found rows in hand"


def _await_the_end(team: Team, run: str, patience: float) -> None:
    import psycopg

    from kubeez_mcp_local.jobs.team.postgres import Address

    address = Address.of(team.ledger)
    counted = "COUNT(*) FILTER (WHERE state <> 'completed'), MAX(attempt)"
    query = f'SELECT {counted} FROM "{address.schema}".campaign_rows'
    deadline = time.monotonic() + patience
    with closing(psycopg.connect(SERVER, autocommit=True)) as session:
        while time.monotonic() < deadline:
            row = session.execute(query.encode()).fetchone()
            assert row is not None
            if row[0] == 0:
                assert row[1] > 1, "nobody had a row in hand when it was killed"
                return
            time.sleep(0.2)
    raise AssertionError(f"not over in time: {team.status(run)}")


@pytest.mark.bench
def test_workers_that_are_killed_with_rows_in_hand(tmp_path: Path) -> None:
    carried_out(tmp_path, Plan(workers=2, rows=24, kills=3), seed=5)


@pytest.mark.bench
def test_a_campaign_in_bad_weather(tmp_path: Path) -> None:
    plan = Plan(workers=3, rows=200, kills=20, outages=2, stopped_seconds=20.0, patience=1200.0)
    carried_out(tmp_path, plan, seed=int(time.time()))
