"""The ledger's file: what is kept in it, when it cannot be used, and looking at it from outside."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.database import APPLICATION_ID, MIGRATIONS, VERSION, Database, inspect_ledger
from kubeez_mcp_local.jobs.errors import (
    LedgerError,
    UnknownJobError,
)
from kubeez_mcp_local.jobs.guard import Limits
from kubeez_mcp_local.jobs.job import Job, Order, RunCall, SavedFile, State
from kubeez_mcp_local.jobs.ledger import LedgerFile
from tests.jobs.conftest import coded, sqlite_of

if TYPE_CHECKING:
    from pathlib import Path


Orders = Callable[..., Order]
Opener = Callable[..., LedgerFile]

needs_unlinking = pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps open files in place")


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
    with pytest.raises(LedgerError, match="Move the file away") as caught:
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
    with pytest.raises(LedgerError, match=r"damaged|cannot be read"):
        open_file().claim([order("new")])


def test_the_database_of_another_program(path: Path, open_file: Opener) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE notes (text)")
    connection.commit()
    with pytest.raises(LedgerError, match="another program"):
        open_file()
    assert connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0] == 1
    connection.close()


def test_a_ledger_of_a_newer_version(open_file: Opener, path: Path) -> None:
    open_file().close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(LedgerError, match="Update kubeez-mcp-local"):
        open_file()


def test_a_ledger_that_another_program_holds(open_file: Opener, order: Orders, path: Path) -> None:
    file = open_file(busy_seconds=0.05)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerError, match="is locked by another program"):
        file.claim([order()])
    holder.execute("ROLLBACK")
    holder.close()
    assert not file.claim([order()]).claims[0].repeated


def test_a_full_disk(ledger_file: LedgerFile, order: Orders) -> None:
    pages = sqlite_of(ledger_file).execute("PRAGMA page_count").fetchone()[0]
    sqlite_of(ledger_file).execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LedgerError, match="disk is full"):
        ledger_file.claim([order(prompt="long " * 5000)])
    assert ledger_file.recent() == []


def test_a_read_only_file(ledger_file: LedgerFile, order: Orders) -> None:
    sqlite_of(ledger_file).execute("PRAGMA query_only = ON")
    with pytest.raises(LedgerError, match="Make the folder writable"):
        ledger_file.claim([order()])


def test_a_state_folder_that_cannot_be_made(tmp_path: Path, open_file: Opener) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    with pytest.raises(LedgerError, match="KUBEEZ_STATE_DIR"):
        open_file()


def test_two_processes_may_make_the_file_together(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from kubeez_mcp_local.jobs.ledger import LedgerFile\n"
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
    assert [ledger_file.saved_below(start) for start in ("/tmp/", "/tmp/x.png")] == [[saved]] * 2
    assert [ledger_file.saved_below(start) for start in ("/x", "x.png", "/tmp/x.png/")] == [[]] * 3
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
    with pytest.raises(KubeezError, check=coded("wrong_state")):
        ledger_file.settle_by_hand(job.id, paid=paid)
    ledger_file.unknown(job.id, "ambiguous", "cut")
    assert ledger_file.settle_by_hand(job.id, paid=paid).state is state
    today = ledger_file.today()
    assert (today.spent, today.reserved) == (spent, 0)


def made(file: LedgerFile, order: Orders, state: State, digest: str = "digest-1", **more: Any) -> Job:
    """A job in `state`, brought there as jobs come there; with an id unless nobody knows of one."""
    job = file.claim([order(digest, **more)]).claims[0].job
    assert job is not None
    if state in (State.UNKNOWN, State.NOT_ACCEPTED, State.LOST):
        file.unknown(job.id, "ambiguous", "cut")
    if state in (State.ACCEPTED, State.COMPLETED, State.FAILED, State.REFUNDED):
        file.accepted(job.id, [f"first-{digest}"])
    if state in (State.COMPLETED, State.FAILED, State.REFUNDED):
        file.settled(job.id, state, 0 if state is State.REFUNDED else 14, [{"id": "x"}])
    if state is State.REFUSED:
        file.refused(job.id, "refused", "no")
    if state is State.NOT_ACCEPTED:
        file.not_accepted(job.id, "absent")
    if state is State.LOST:
        file.lost(job.id, "gone")
    assert file.get(job.id).state is state
    return job


def test_settled_jobs_do_not_change_any_more(ledger_file: LedgerFile, order: Orders) -> None:
    for state in (State.COMPLETED, State.FAILED, State.REFUNDED, State.LOST, State.NOT_ACCEPTED, State.REFUSED):
        job = made(ledger_file, order, state, state.value)
        before = ledger_file.get(job.id)
        changes: dict[str, Callable[[Job], Any]] = {
            "refused": lambda job: ledger_file.refused(job.id, "x", "x"),
            "forgotten": lambda job: ledger_file.forgotten(job.id, "x"),
            "lost": lambda job: ledger_file.lost(job.id, "x"),
            "not accepted": lambda job: ledger_file.not_accepted(job.id, "x"),
        }
        if state is not State.NOT_ACCEPTED:
            changes["accepted without an id"] = lambda job: ledger_file.accepted(job.id, ())
        for name, change in changes.items():
            change(job)
            assert ledger_file.get(job.id) == before, (state, name)


@pytest.mark.parametrize("price", [14.0, None])
def test_an_id_that_the_api_gave_is_recorded_whatever_state_the_job_is_in(
    open_file: Opener, order: Orders, price: float | None
) -> None:
    file = open_file(per_call=40, per_day=10_000)
    hold = 14 if price else 40
    held = {
        State.SENDING: hold,
        State.UNKNOWN: hold,
        State.NOT_ACCEPTED: hold,
        State.REFUSED: hold,
        State.LOST: hold,
        State.ACCEPTED: 2 * hold,  # it has an id already: this is further work
        State.COMPLETED: 14 + hold,
        State.FAILED: 14 + hold,
        State.REFUNDED: hold,
    }
    for state, expected in held.items():
        job = made(file, order, state, state.value, price=price)
        before = file.get(job.id).generation_ids
        now = file.accepted(job.id, [f"late-{state}"])
        assert (now.id, now.state) == (job.id, State.ACCEPTED), state
        assert now.generation_ids == (*before, f"late-{state}"), state
        assert (now.reserved, now.charged) == (expected, None), state
        assert file.accepted(job.id, [f"late-{state}"]) == now, state  # the same news twice
    assert file.today().reserved == sum(held.values())


def test_an_id_that_another_job_has_already_means_that_nothing_new_was_made(
    ledger_file: LedgerFile, order: Orders
) -> None:
    first = made(ledger_file, order, State.ACCEPTED, "a")
    second = made(ledger_file, order, State.SENDING, "b")
    assert ledger_file.accepted(second.id, ["first-a"]).id == first.id
    refused = ledger_file.get(second.id)
    assert (refused.state, refused.error_code, refused.reserved) == (State.REFUSED, "same_generation", 0)
    assert ledger_file.get("first-a").id == first.id
    assert ledger_file.today().reserved == 14


def test_doubt_about_a_request_that_left_is_noted_even_if_somebody_thought_that_it_had_not(
    ledger_file: LedgerFile, order: Orders
) -> None:
    for state in (State.REFUSED, State.NOT_ACCEPTED):
        job = made(ledger_file, order, state, state.value)
        doubted = ledger_file.unknown(job.id, "ambiguous", "cut")
        assert (doubted.state, doubted.reserved, doubted.charged) == (State.UNKNOWN, 14, None)


def test_results_settle_a_job_that_somebody_gave_up(ledger_file: LedgerFile, order: Orders) -> None:
    for way in ("forgotten", "lost"):
        job = made(ledger_file, order, State.ACCEPTED, way)
        ledger_file.forgotten(job.id, "gone")
        if way == "lost":
            ledger_file.lost(job.id, "gone")
        settled, ours = ledger_file.settled(job.id, State.COMPLETED, 10, [{"id": f"first-{way}"}])
        assert (ours, settled.state, settled.charged, settled.reserved) == (True, State.COMPLETED, 10, 0)


def test_results_of_some_of_its_generations_do_not_settle_a_job(ledger_file: LedgerFile, order: Orders) -> None:
    job = made(ledger_file, order, State.ACCEPTED)
    ledger_file.accepted(job.id, ["late"])
    one = [{"id": "first-digest-1"}]
    assert ledger_file.settled(job.id, State.COMPLETED, 14, one) == (ledger_file.get(job.id), False)
    settled, ours = ledger_file.settled(job.id, State.COMPLETED, 28, [*one, {"id": "late"}])
    assert (ours, settled.charged) == (True, 28)


def test_a_request_leaves_only_while_its_job_waits_to_be_sent(ledger_file: LedgerFile, order: Orders) -> None:
    for state in State:
        job = made(ledger_file, order, state, state.value)
        if state is State.SENDING:
            assert ledger_file.dispatch(job, Limits()) is None
            assert ledger_file.take_back(job.id)
        else:
            with pytest.raises(KubeezError, check=coded("not_sent"), match=f"has it as {state}"):
                ledger_file.dispatch(job, Limits())
            assert not ledger_file.take_back(job.id)
            assert ledger_file.get(job.id).sent_at is None


def test_who_fails_to_save_does_not_undo_what_another_has_saved(ledger_file: LedgerFile, order: Orders) -> None:
    job = made(ledger_file, order, State.COMPLETED)
    files = (SavedFile("/tmp/x.png", "https://media.kubeez.com/x.png", "image/png", 7, "out-1"),)
    ledger_file.saved(job.id, files)
    kept = ledger_file.saved(job.id, (), "the disk is full")
    assert (kept.files, kept.save_error) == (files, None)


def test_a_ledger_of_the_first_version_is_led_on(path: Path, open_file: Opener, order: Orders) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(MIGRATIONS[0])
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 1")
    connection.execute(
        "INSERT INTO jobs (id, account, state, digest, tool, route, bucket, kind, model, prompt, arguments, owner, "
        "day, quote, quote_basis, reserved, created_at) VALUES ('old', 'live-1', 'sending', 'digest-1', 't', "
        "'generate_media', 'media', 'media', 'm', 'p', '{}', 'gone', '2027-01-15', 14000000, 'catalogue', 14000000, 1)"
    )
    connection.commit()
    connection.close()
    file = open_file()
    assert file.claim([order()]).blocked_by is not None
    assert file.get("old").state is State.UNKNOWN
    assert file.accepted("old", ["gen-old"]).reserved == 14
    file.claim([order("new", run=RunCall("ads", "hero", 100))])
    assert (file.run_spend("ads").jobs, file.run_spend("").jobs) == (1, 0)


@needs_unlinking
@pytest.mark.parametrize("ending", ["", "-wal", "-shm"])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_ledger_that_is_removed_or_replaced_while_it_is_open_stops_everything(
    open_file: Opener, order: Orders, path: Path, ending: str, replaced: bool
) -> None:
    file = open_file()
    job = made(file, order, State.SENDING)
    part, aside = path.with_name(path.name + ending), path.with_name("aside")
    part.rename(aside)
    if replaced:
        shutil.copy(aside, part)
    attempts: list[Callable[[], Any]] = [
        lambda: file.claim([order("b")]),
        lambda: file.dispatch(job, Limits()),
        lambda: file.accepted(job.id, ["gen-1"]),
        lambda: file.get(job.id),
    ]
    for attempt in attempts:
        with pytest.raises(LedgerError, match="restart this server") as caught:
            attempt()
        assert str(path) in str(caught.value)
    part.unlink(missing_ok=True)
    aside.rename(part)  # put back as it was
    assert file.dispatch(job, Limits()) is None


@needs_unlinking
def test_a_state_folder_that_is_replaced_by_another_ledger_is_not_written_to(
    open_file: Opener, order: Orders, path: Path
) -> None:
    file = open_file()
    path.parent.rename(path.parent.with_name("old"))
    other = open_file()
    with pytest.raises(LedgerError, match="was removed, moved or replaced"):
        file.claim([order()])
    assert other.recent() == []


def test_no_question_walks_through_all_jobs(ledger_file: LedgerFile, order: Orders) -> None:
    connection = sqlite_of(ledger_file)
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


ROW = """INSERT INTO jobs (id, account, state, digest, tool, route, bucket, kind, model, prompt, arguments, owner, day,
         quote_basis, reserved, created_at) VALUES (?, 'a', ?, 'd', 't', 'r', 'b', 'media', 'm', 'p', '{}', 'o',
         '2026-11-23', 'catalogue', 0, 1)"""


def a_ledger(path: Path, *states: str) -> Database:
    database = Database(path)
    with database.write() as connection:
        connection.executemany(ROW, [(str(number), state) for number, state in enumerate(states)])
    return database


def test_jobs_are_counted_while_the_ledger_is_open_and_after_it_was_closed(tmp_path: Path) -> None:
    database = a_ledger(tmp_path / "ledger.db", "completed", "unknown", "accepted", "sending")
    for close in (False, True):
        if close:
            database.close()
        before = sorted(one.name for one in tmp_path.iterdir())
        facts = inspect_ledger(tmp_path / "ledger.db")
        assert facts is not None
        assert (facts.version, facts.jobs, facts.unknown, facts.unfinished) == (VERSION, 4, 1, 2)
        assert sorted(one.name for one in tmp_path.iterdir()) == before


def test_no_ledger_is_no_failure_and_is_not_made(tmp_path: Path) -> None:
    assert inspect_ledger(tmp_path / "state" / "ledger.db") is None
    assert not (tmp_path / "state").exists()


def test_what_is_no_ledger_of_ours_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "damaged.db").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    with pytest.raises(LedgerError, match=r"damaged|cannot be read"):
        inspect_ledger(tmp_path / "damaged.db")
    with closing(sqlite3.connect(tmp_path / "foreign.db")) as other, other:
        other.execute("CREATE TABLE t (x)")
    with pytest.raises(LedgerError, match="of another program"):
        inspect_ledger(tmp_path / "foreign.db")
    a_ledger(tmp_path / "newer.db").close()
    with closing(sqlite3.connect(tmp_path / "newer.db")) as newer, newer:
        newer.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(LedgerError, match="Update"):
        inspect_ledger(tmp_path / "newer.db")
