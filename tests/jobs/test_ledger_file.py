"""A ledger file that is damaged, strange, locked, full or read-only: a clear way out, and nothing is sent."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.jobs.database import Database
from kubeez_mcp_local.jobs.failures import (
    CorruptLedgerError,
    ForeignLedgerError,
    LedgerError,
    LockedLedgerError,
    NewerLedgerError,
    UnknownJobError,
    UnwritableLedgerError,
    WrongStateError,
)
from kubeez_mcp_local.jobs.job import SavedFile, State
from kubeez_mcp_local.jobs.limits import Limits
from kubeez_mcp_local.jobs.order import Order
from kubeez_mcp_local.jobs.schema import VERSION
from kubeez_mcp_local.jobs.store import LedgerFile

if TYPE_CHECKING:
    from pathlib import Path

Orders = Callable[..., Order]
Opener = Callable[..., LedgerFile]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state" / "ledger.db"


def test_the_file_is_private_and_says_what_it_is(ledger_file: LedgerFile) -> None:
    connection = sqlite3.connect(ledger_file.path)
    assert connection.execute("PRAGMA user_version").fetchone()[0] == VERSION
    assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    connection.close()
    if sys.platform != "win32":
        assert stat.S_IMODE(ledger_file.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(ledger_file.path.with_name("ledger.db-wal").stat().st_mode) == 0o600


def test_a_file_that_is_no_database(path: Path, open_file: Opener) -> None:
    path.write_bytes(b"not a database, whatever its name says " * 100)
    with pytest.raises(CorruptLedgerError, match="Move the file away") as caught:
        open_file()
    assert str(path) in str(caught.value)
    assert path.read_bytes().startswith(b"not a database")


def test_a_damaged_ledger(open_file: Opener, order: Orders, path: Path) -> None:
    file = open_file()
    for number in range(200):
        file.claim([order(str(number), price=0.1)])
    file.close()
    content = bytearray(path.read_bytes())
    for start in range(8192, len(content), 4096):
        content[start : start + 200] = b"\xff" * 200
    path.write_bytes(content)
    with pytest.raises(CorruptLedgerError):
        open_file().claim([order("new")])


def test_the_database_of_another_program(path: Path, open_file: Opener) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE notes (text)")
    connection.commit()
    with pytest.raises(ForeignLedgerError, match="another program"):
        open_file()
    assert connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0] == 1
    connection.close()


def test_a_ledger_of_a_newer_version(open_file: Opener, path: Path) -> None:
    open_file().close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(NewerLedgerError, match="Update kubeez-mcp-local"):
        open_file()


def test_a_ledger_that_another_program_holds(open_file: Opener, order: Orders, path: Path) -> None:
    file = open_file(busy_seconds=0.05)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(LockedLedgerError, match="Nothing was sent"):
        file.claim([order()])
    holder.execute("ROLLBACK")
    holder.close()
    assert not file.claim([order()]).claims[0].repeated


def test_a_full_disk(ledger_file: LedgerFile, order: Orders) -> None:
    with ledger_file._database.read() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    ledger_file._database._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(UnwritableLedgerError, match="disk is full"):
        ledger_file.claim([order(prompt="long " * 5000)])
    assert ledger_file.recent() == []


def test_a_read_only_file(ledger_file: LedgerFile, order: Orders) -> None:
    ledger_file._database._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(UnwritableLedgerError, match="Make the folder writable"):
        ledger_file.claim([order()])


def test_a_state_folder_that_cannot_be_made(tmp_path: Path, open_file: Opener) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    with pytest.raises(UnwritableLedgerError, match="KUBEEZ_STATE_DIR"):
        open_file()


def test_two_processes_may_make_the_file_together(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from kubeez_mcp_local.jobs.store import LedgerFile\n"
        "from kubeez_mcp_local.jobs.budget import Ceilings\n"
        "print(LedgerFile(Path(sys.argv[1]), 'a', Ceilings(1, 1)).recent())\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "new")], stdout=subprocess.PIPE) for _ in range(4)
    ]
    assert [process.communicate(timeout=60)[0].strip() for process in running] == [b"[]"] * 4


def test_a_file_that_another_process_is_making_is_waited_for(path: Path) -> None:
    path.touch()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if other.in_transaction:
            other.execute("ROLLBACK")

    Database(path, busy_seconds=1.0, pause=pause).close()
    assert pauses
    other.close()


def test_tables_that_another_process_makes_meanwhile_are_not_taken_for_those_of_another_program(path: Path) -> None:
    starts = threading.Barrier(8)
    failures: list[Exception] = []

    def open_it(number: int) -> None:
        starts.wait()
        try:
            Database(path.with_name(f"{number}.db")).close()
        except LedgerError as error:
            failures.append(error)

    for number in range(20):
        threads = [threading.Thread(target=open_it, args=(number,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


def test_rows_are_never_deleted(ledger_file: LedgerFile, order: Orders) -> None:
    ledger_file.claim([order()])
    with pytest.raises(sqlite3.IntegrityError, match="never deleted"), ledger_file._database.write() as connection:
        connection.execute("DELETE FROM jobs")


def test_a_job_comes_back_as_it_was_written(ledger_file: LedgerFile, order: Orders) -> None:
    made = ledger_file.claim([order(arguments={"prompt": "Füchse 🦊", "n": 1}, recipe="three-ad-variants")])
    job = made.claims[0].job
    assert job is not None
    ledger_file.dispatch(job, Limits())
    ledger_file.accepted(job.id, ["gen-1", "gen-2"])
    ledger_file.settled(job.id, State.COMPLETED, 14, [{"id": "gen-1"}, {"id": "gen-2"}])
    files = (SavedFile("/tmp/x.png", "https://media.kubeez.com/x.png", "image/png", 7, "out-1"),)
    saved = ledger_file.saved(job.id, files)
    assert saved == ledger_file.get(job.id)
    assert saved.arguments == {"prompt": "Füchse 🦊", "n": 1}
    assert saved.recipe == "three-ad-variants"
    assert saved.generation_ids == ("gen-1", "gen-2")
    assert saved.results == ({"id": "gen-1"}, {"id": "gen-2"})
    assert saved.files == files
    assert saved.settled


def test_a_job_is_found_by_its_ids_and_their_beginnings(ledger_file: LedgerFile, order: Orders) -> None:
    job = ledger_file.claim([order()]).claims[0].job
    assert job is not None
    ledger_file.accepted(job.id, ["b0ffee-1", "b0ffee-2"])
    for wanted in (job.id, job.id[:8], "b0ffee-2", "b0ff"):
        assert ledger_file.get(wanted).id == job.id
    for missing in ("b0f", "", "nope-nope", "%", "b0ffee-1' OR 1=1"):
        with pytest.raises(UnknownJobError):
            ledger_file.get(missing)


def test_an_ambiguous_beginning_says_so(ledger_file: LedgerFile, order: Orders) -> None:
    for digest in ("a", "b"):
        job = ledger_file.claim([order(digest)]).claims[0].job
        assert job is not None
        ledger_file.accepted(job.id, [f"same-{digest}"])
    with pytest.raises(UnknownJobError, match="beginning of 2"):
        ledger_file.get("same")


def test_spending_is_grouped(ledger_file: LedgerFile, order: Orders) -> None:
    for digest, model, price in (("a", "z-image", 4.0), ("b", "z-image", 4.0), ("c", "veo3-1", 390.0)):
        job = ledger_file.claim([order(digest, model=model, price=price)]).claims[0].job
        assert job is not None
        ledger_file.accepted(job.id, [digest])
        ledger_file.settled(job.id, State.COMPLETED, price, [])
    assert [(spend.key, spend.jobs, spend.charged) for spend in ledger_file.spend_by("model")] == [
        ("veo3-1", 1, 390),
        ("z-image", 2, 8),
    ]
    assert [spend.charged for spend in ledger_file.spend_by("day")] == [398]
    assert ledger_file.spend_by("tool")[0].key == "generate_media"


@pytest.mark.parametrize(("paid", "state", "spent"), [(True, State.LOST, 14), (False, State.NOT_ACCEPTED, 0)])
def test_the_user_can_settle_an_unknown_job(
    ledger_file: LedgerFile, order: Orders, paid: bool, state: State, spent: float
) -> None:
    job = ledger_file.claim([order()]).claims[0].job
    assert job is not None
    with pytest.raises(WrongStateError):
        ledger_file.settle_by_hand(job.id, paid=paid)
    ledger_file.unknown(job.id, "ambiguous", "cut")
    assert ledger_file.settle_by_hand(job.id, paid=paid).state is state
    today = ledger_file.today()
    assert (today.spent, today.reserved) == (spent, 0)


def test_settled_jobs_do_not_change_any_more(ledger_file: LedgerFile, order: Orders) -> None:
    job = ledger_file.claim([order()]).claims[0].job
    assert job is not None
    refused = ledger_file.refused(job.id, "refused", "no")
    changes: list[Callable[[], Any]] = [
        lambda: ledger_file.accepted(job.id, ["late"]),
        lambda: ledger_file.unknown(job.id, "x", "x"),
        lambda: ledger_file.settled(job.id, State.COMPLETED, 5, []),
    ]
    for change in changes:
        change()
        assert ledger_file.get(job.id) == refused


def test_no_question_walks_through_all_jobs(ledger_file: LedgerFile, order: Orders) -> None:
    connection = ledger_file._database._connection
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    job = ledger_file.claim([order()]).claims[0].job
    assert job is not None
    ledger_file.dispatch(job, Limits())
    ledger_file.accepted(job.id, ["gen-1"])
    ledger_file.settled(job.id, State.COMPLETED, 14, [])
    for wanted in (job.id, job.id[:8], "gen-1", "gen-"):
        ledger_file.get(wanted)
    for state in (State.SENDING, State.ACCEPTED, State.UNKNOWN):
        ledger_file.in_state(state)
    ledger_file.recover()
    ledger_file.unsaved(60)
    ledger_file.doubted(60)
    ledger_file.known_generations(["gen-1"])
    ledger_file.today()
    connection.set_trace_callback(None)
    plans = {
        statement: " / ".join(row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}"))
        for statement in asked
        if statement.startswith(("SELECT", "UPDATE", "INSERT"))
    }
    assert len(plans) > 15
    slow = {statement: plan for statement, plan in plans.items() if "SCAN jobs" in plan or "jobs_recent" in plan}
    assert slow == {}
