"""A team's ledger on Postgres beside the file of one machine, and how large a worker is."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from kubeez_mcp_local.jobs.budget import Ceilings
from kubeez_mcp_local.jobs.job import State
from kubeez_mcp_local.jobs.ledger import LedgerFile
from kubeez_mcp_local.jobs.team.campaigns import Campaign
from tests.bench.test_jobs_bench import grow, median_ms, order
from tests.jobs.server import NO_SERVER, SERVER, team_ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.bench.conftest import Report

pytestmark = [pytest.mark.bench, pytest.mark.skipif(not SERVER, reason=NO_SERVER)]

FEW, MANY = 10_000, 1_000_000
COLUMNS = (
    *("id", "account", "state", "digest", "tool", "route", "bucket", "kind", "model", "prompt", "arguments", "owner"),
    *("day", "quote", "quote_basis", "reserved", "charged", "created_at", "sent_at", "paced_at", "accepted_at"),
    *("settled_at", "saved_at"),
)
WANTED: Any = SimpleNamespace(words="", since="", until="", recipe="", run="", model="", kind="", mode="")
WANTED.least = WANTED.most = None


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> int:
    """How many jobs there are."""
    return int(getattr(request, "param", FEW))


@pytest.fixture
def ledgers(tmp_path: Path, rows: int) -> Iterator[dict[str, LedgerFile]]:
    """The same jobs in a file and on the server."""
    import psycopg

    from kubeez_mcp_local.jobs.team.postgres import Address

    url = team_ledger(f"bench {uuid4().hex}")
    schema = Address.of(url).schema
    here = LedgerFile(tmp_path / "here", "live-1", Ceilings(500, 1_000_000))
    there = LedgerFile(tmp_path / "there", "live-1", Ceilings(500, 1_000_000), server=url, person="ana")
    grow(here.path, "live-1", rows)
    names = ", ".join(COLUMNS)
    with closing(sqlite3.connect(here.path)) as file, psycopg.connect(SERVER, autocommit=True) as session:
        with session.cursor().copy(f'COPY "{schema}".jobs ({names}) FROM STDIN'.encode()) as copy:
            for row in file.execute(f"SELECT {names} FROM jobs ORDER BY seq"):
                copy.write_row(row)
        session.execute(f'ANALYZE "{schema}".jobs'.encode())
    yield {"SQLite": here, "Postgres": there}
    here.close()
    there.close()
    with psycopg.connect(SERVER, autocommit=True) as session:
        session.execute(f'DROP SCHEMA "{schema}" CASCADE'.encode())


@pytest.mark.parametrize("rows", [FEW, MANY], indirect=True)
def test_a_ledger_on_postgres_is_as_fast_as_in_a_file(
    ledgers: dict[str, LedgerFile], rows: int, report: Report
) -> None:
    numbers = iter(range(10_000))
    known = ledgers["SQLite"].recent(1)[0].digest
    questions: dict[str, Callable[[LedgerFile], Any]] = {
        "list 20 recent jobs": lambda file: file.recent(20),
        "find by the beginning of an id": lambda file: file.get(f"{rows // 2:08x}"),
        "spent today": lambda file: file.today(),
        "a repeat is found": lambda file: file.look([order(known)]),
        "unfinished jobs": lambda file: file.in_state(State.ACCEPTED),
        "a page of outputs": lambda file: file.outputs(WANTED, 0, 50),
        "claim": lambda file: file.claim([order(f"new {next(numbers)}")]),
    }
    took = {
        what: {engine: median_ms(lambda ask=ask, file=file: ask(file)) for engine, file in ledgers.items()}  # type: ignore[misc]  # a lambda's defaults have no types
        for what, ask in questions.items()
    }
    for what, each in took.items():
        here, there = each["SQLite"], each["Postgres"]
        report.add(
            f"{rows:,} jobs: {what}, Postgres to SQLite", f"{there / here:.1f} x ({there:.2f} ms)", "<= 2 x or 5 ms"
        )
    assert all(each["Postgres"] <= max(2 * each["SQLite"], 5.0) for each in took.values())


def test_ten_thousand_rows_are_submitted_and_counted(ledgers: dict[str, LedgerFile], report: Report) -> None:
    file = ledgers["Postgres"]
    campaign = Campaign("run-1", "run-1/a", "running", "text", {"arguments": {}}, 100.0, 20.0, "wait", "ana")
    labels = [f"City {number}" for number in range(10_000)]
    submitted = median_ms(lambda: file.submit_campaign(campaign, labels), 1)
    counted = median_ms(lambda: file.standing("run-1"))
    report.add("10,000 rows submitted", f"{submitted / 1000:.2f} s", "< 10 s")
    report.add("10,000 rows counted for status", f"{counted:.1f} ms", "< 100 ms")
    assert submitted < 10_000
    assert counted < 100


IMPORTED = """
import json, resource, sys
import kubeez_mcp_local.runs.worker, kubeez_mcp_local.runs.engines.dbos, kubeez_mcp_local.mcp_server.server
import kubeez_mcp_local.bridge, kubeez_mcp_local.jobs.team.postgres
if sys.argv[1] == "av":
    import av
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
@pytest.mark.parametrize("extra", ["", "av"])
def test_what_a_worker_has_imported(report: Report, extra: str) -> None:
    if extra:
        pytest.importorskip("av")
    told = subprocess.run([sys.executable, "-c", IMPORTED, extra], capture_output=True, text=True, check=True).stdout
    mb = json.loads(told) / 1024
    report.add(f"imports of a worker{' with av' if extra else ''}", f"{mb:.0f} MB", "<= 160 MB")
    assert mb <= 160
