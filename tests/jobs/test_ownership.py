"""Which process sends a job, and what becomes of it when that process dies."""

from __future__ import annotations

import errno
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.guard import Limits
from kubeez_mcp_local.jobs.job import Job, Order, State
from kubeez_mcp_local.jobs.ledger import LedgerFile
from kubeez_mcp_local.jobs.ownership import Process
from kubeez_mcp_local.rest.errors import RateLimitedError
from tests.jobs.conftest import coded, sqlite_of

if TYPE_CHECKING:
    from pathlib import Path
    from types import SimpleNamespace

Orders = Callable[..., Order]
Opener = Callable[..., LedgerFile]


HERE = Process("desk", "boot-1", "pid:[1]", 4711, "100")


@pytest.fixture
def on_sleep() -> list[Callable[[], None]]:
    """What happens while a process waits, once each."""
    return []


@pytest.fixture
def sleep(clock: SimpleNamespace, on_sleep: list[Callable[[], None]]) -> Callable[[float], Awaitable[None]]:
    async def instantly(seconds: float) -> None:
        clock.now += seconds
        while on_sleep:
            on_sleep.pop()()
        await anyio.lowlevel.checkpoint()

    return instantly


@pytest.fixture
def remove_locks(tmp_path: Path) -> Callable[[], None]:
    """What somebody does who tidies up."""

    def remove() -> None:
        locks = list((tmp_path / "state" / "owners").glob("*.lock"))
        assert locks
        for lock in locks:
            lock.unlink()

    return remove


def owners(file: LedgerFile) -> list[tuple[str, bool]]:
    """Every owner that the ledger knows, oldest first, and whether it says that it has ended."""
    connection = sqlite3.connect(file.path)
    rows = connection.execute("SELECT id, ended_at IS NOT NULL FROM owners ORDER BY registered_at, id").fetchall()
    connection.close()
    return [(row[0], bool(row[1])) for row in rows]


def unsent(file: LedgerFile, order: Orders) -> Job:
    job = file.claim([order()]).claims[0].job
    assert job is not None
    return job


def sent(file: LedgerFile, order: Orders) -> Job:
    job = unsent(file, order)
    assert file.dispatch(job, Limits()) is None
    return job


def test_a_process_that_ends_says_so_in_the_ledger(open_file: Opener, order: Orders, tmp_path: Path) -> None:
    ending, living = open_file(), open_file()
    unsent(ending, order)
    assert [ended for _, ended in owners(living)] == [False]
    ending.close()
    assert [ended for _, ended in owners(living)] == [True]
    assert len(list((tmp_path / "state" / "owners").glob("*.lock"))) == 1


def test_a_process_that_cannot_say_so_leaves_its_lock_file_as_proof(
    open_file: Opener, order: Orders, tmp_path: Path
) -> None:
    ending, living = open_file(), open_file()
    job = unsent(ending, order)
    sqlite_of(ending).execute("PRAGMA query_only = ON")
    ending.close()
    assert len(list((tmp_path / "state" / "owners").glob("*.lock"))) == 2
    living.recover()
    assert living.get(job.id).state is State.REFUSED
    assert [ended for _, ended in owners(living)] == [True]
    assert len(list((tmp_path / "state" / "owners").glob("*.lock"))) == 1


def test_a_killed_process_is_found_ended_and_that_is_written_down(
    open_file: Opener, order: Orders, tmp_path: Path
) -> None:
    code = (
        "import sys, time; from pathlib import Path; from types import SimpleNamespace\n"
        "from kubeez_mcp_local.jobs.budget import Ceilings; from kubeez_mcp_local.jobs.job import Order\n"
        "from kubeez_mcp_local.jobs.ledger import LedgerFile\n"
        "file = LedgerFile(Path(sys.argv[1]), 'live-1', Ceilings(50, 200))\n"
        "quote = SimpleNamespace(credits=5.0, basis='catalogue', seconds=1)\n"
        "order = Order('t', 'generate_media', 'media', 'media', 'm', 'p', 'd', quote, None)\n"
        "print(file.claim([order]).claims[0].job.id, flush=True); time.sleep(60)\n"
    )
    file = open_file()
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "state")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        job = process.stdout.readline().strip()
        file.recover()
        assert file.get(job).state is State.SENDING
        process.kill()
        process.wait()
        file.recover()
    assert file.get(job).state is State.REFUSED
    assert [ended for _, ended in owners(file)] == [True]


def test_without_its_lock_file_a_process_is_told_by_its_pid_and_start(
    open_file: Opener, order: Orders, remove_locks: Callable[[], None]
) -> None:
    """The real process, as the system tells it: this one, which lives."""
    ours, theirs = open_file(), open_file()
    job = unsent(ours, order)
    remove_locks()
    assert theirs.claim([order()]).claims[0].repeated
    assert ours.dispatch(job, Limits()) is None
    assert ours.accepted(job.id, ["gen-1"]).state is State.ACCEPTED


@pytest.mark.parametrize(
    ("seen_from", "began"),
    [
        (HERE, None),
        (HERE, "999"),
        (replace(HERE, boot="boot-2"), "100"),
        (replace(HERE, boot="boot-2", space="pid:[2]"), "100"),
    ],
    ids=["the process is gone", "its pid began later", "the machine was started anew", "and so was the container"],
)
def test_a_missing_lock_file_and_a_second_proof_mean_an_ended_process(
    open_file: Opener, order: Orders, remove_locks: Callable[[], None], seen_from: Process, began: str | None
) -> None:
    dying, living = open_file(process=HERE), open_file(process=seen_from, start_of=lambda _pid: began)
    unsent_job, sent_job = unsent(dying, partial(order, "a")), sent(dying, partial(order, "b"))
    remove_locks()
    living.recover()
    assert living.get(unsent_job.id).state is State.REFUSED
    assert living.get(sent_job.id).state is State.UNKNOWN
    assert [ended for _, ended in owners(living)] == [True]


@pytest.mark.parametrize(
    ("seen_from", "began"),
    [
        (replace(HERE, host="laptop"), None),
        (replace(HERE, space="pid:[2]"), None),
        (HERE, ""),
        (replace(HERE, boot=""), ""),
    ],
    ids=["another machine", "another container", "the start is not told", "nor the boot"],
)
def test_a_missing_lock_file_alone_proves_nothing(
    open_file: Opener, order: Orders, remove_locks: Callable[[], None], seen_from: Process, began: str | None
) -> None:
    first, second = open_file(process=HERE), open_file(process=seen_from, start_of=lambda _pid: began)
    waiting, on_its_way = unsent(first, partial(order, "a")), sent(first, partial(order, "b"))
    remove_locks()
    second.recover()
    assert [second.get(job.id).state for job in (waiting, on_its_way)] == [State.UNKNOWN, State.UNKNOWN]
    assert second.today().reserved == 28
    assert second.claim([order("a")]).blocked_by is not None
    assert not any(ended for _, ended in owners(second))
    # The first one lives after all: it sends no more, and what the API says to it is written down.
    with pytest.raises(KubeezError, check=coded("not_sent"), match="has it as unknown"):
        first.dispatch(waiting, Limits())
    assert first.refused(waiting.id, "not_sent", "It did not leave.").state is State.REFUSED
    assert first.accepted(on_its_way.id, ["gen-b"]).generation_ids == ("gen-b",)
    assert not second.claim([order("a")]).claims[0].repeated


def test_a_new_lock_file_of_the_same_name_is_not_the_owners(
    open_file: Opener, order: Orders, tmp_path: Path, remove_locks: Callable[[], None]
) -> None:
    first, second = open_file(process=HERE), open_file(process=HERE, start_of=lambda _pid: "")
    job = unsent(first, order)
    remove_locks()
    (tmp_path / "state" / "owners" / f"{job.owner}.lock").touch()
    second.recover()
    assert second.get(job.id).state is State.UNKNOWN


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX locks")
def test_where_the_file_system_has_no_locks_the_process_alone_tells(
    open_file: Opener, order: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOSYS, "no locks here")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    living = {HERE.pid}
    ours = open_file(process=HERE)
    theirs = open_file(process=replace(HERE, pid=1), start_of=lambda pid: HERE.started if pid in living else None)
    job = unsent(ours, order)
    theirs.recover()
    assert theirs.get(job.id).state is State.SENDING
    living.clear()
    theirs.recover()
    assert theirs.get(job.id).state is State.REFUSED


def test_an_owner_of_an_older_version_is_told_by_its_lock_file_alone(
    open_file: Opener, order: Orders, remove_locks: Callable[[], None]
) -> None:
    old, new = open_file(), open_file()
    job = unsent(old, order)
    with old._database.write() as connection:
        connection.execute("DELETE FROM owners")
    new.recover()
    assert new.get(job.id).state is State.SENDING
    remove_locks()
    new.recover()
    assert new.get(job.id).state is State.UNKNOWN


def test_an_id_that_names_no_owner_leads_to_no_file(open_file: Opener, order: Orders, tmp_path: Path) -> None:
    file = open_file()
    job = unsent(file, order)
    with file._database.write() as connection:
        connection.execute("UPDATE jobs SET owner = '../../elsewhere'")
    open_file().recover()
    assert file.get(job.id).state is State.UNKNOWN
    assert not list(tmp_path.glob("*.lock"))


def test_a_process_that_was_taken_for_ended_goes_on_under_another_name(open_file: Opener, order: Orders) -> None:
    ours, theirs = open_file(), open_file()
    job = unsent(ours, partial(order, "a"))
    with theirs._database.write() as connection:
        connection.execute("UPDATE owners SET ended_at = 1 WHERE id = :id", {"id": job.owner})
    theirs.recover()
    with pytest.raises(KubeezError, check=coded("not_sent"), match="has it as refused"):
        ours.dispatch(job, Limits())
    again = unsent(ours, partial(order, "b"))
    assert again.owner != job.owner
    theirs.recover()
    assert ours.dispatch(again, Limits()) is None


@pytest.mark.anyio
@pytest.mark.parametrize("seen_from", [HERE, replace(HERE, host="laptop")], ids=["gone", "cannot be told"])
async def test_a_request_that_waits_after_a_429_does_not_leave_once_its_process_was_taken_for_ended(
    assemble: Any,
    sendable: Any,
    api: Any,
    person: Any,
    on_sleep: list[Callable[[], None]],
    remove_locks: Callable[[], None],
    seen_from: Process,
) -> None:
    async with assemble(process=HERE) as ours, assemble(process=seen_from, start_of=lambda _pid: None) as theirs:
        error = RateLimitedError("slow down")
        error.retry_after = 5.0
        api.behaviours = [error]
        on_sleep += [theirs.file.recover, remove_locks]
        with pytest.raises(KubeezError, check=coded("not_sent"), match="Nothing was sent"):
            await ours.spender.submit(sendable(), person("accept"))
        assert api.sent == 1  # the one that was turned away
        assert (await theirs.ledger.recent())[0].state is State.REFUSED
        assert (await ours.ledger.today()).reserved == 0
        assert not (await theirs.spender.submit(sendable(), person("accept"))).repeated
        assert len(api.paid) == 1


def test_a_dead_owners_unsent_job_is_refused_and_released(open_file: Opener, order: Orders) -> None:
    dying, living = open_file(), open_file()
    dying.claim([order()])
    dying.close()
    assert not living.claim([order()]).claims[0].repeated
    newest, oldest = living.recent()
    assert (oldest.state, oldest.reserved) == (State.REFUSED, 0)
    assert newest.state is State.SENDING


def test_a_dead_owners_sent_job_is_unknown_and_blocks(open_file: Opener, order: Orders) -> None:
    dying, living = open_file(), open_file()
    job = dying.claim([order()]).claims[0].job
    assert job is not None
    assert dying.dispatch(job, Limits()) is None
    dying.close()
    for decision in (living.look([order()]), living.claim([order()])):
        assert decision.blocked_by is not None
        assert decision.blocked_by.state is State.UNKNOWN
    assert living.today().reserved == 14


def test_a_living_owners_job_is_left_alone(open_file: Opener, order: Orders) -> None:
    ours, theirs = open_file(), open_file()
    job = ours.claim([order()]).claims[0].job
    assert job is not None
    ours.dispatch(job, Limits())
    theirs.recover()
    assert ours.get(job.id).state is State.SENDING
    assert not theirs.take_over(job)


def test_one_of_two_takes_over_what_a_dead_process_followed(open_file: Opener, order: Orders) -> None:
    dying, first, second = open_file(), open_file(), open_file()
    job = dying.claim([order()]).claims[0].job
    assert job is not None
    dying.accepted(job.id, ["gen-1"])
    dying.close()
    assert [first.take_over(job), second.take_over(job)] == [True, False]


def test_saving_is_taken_over_when_it_failed_or_its_process_died(open_file: Opener, order: Orders) -> None:
    dying, living = open_file(), open_file()
    for digest in ("failed", "died"):
        job = dying.claim([order(digest)]).claims[0].job
        assert job is not None
        dying.accepted(job.id, [digest])
        dying.settled(job.id, State.COMPLETED, 14, [])
    failed, died = living.unsaved(3600)
    assert not living.take_over_saving(failed)
    failed = dying.saved(failed.id, (), "the disk is full")
    assert living.take_over_saving(failed)
    dying.close()
    assert living.take_over_saving(died)
    assert not living.take_over_saving(died)


def test_what_is_saved_is_not_saved_again(open_file: Opener, order: Orders) -> None:
    dying, living = open_file(), open_file()
    job = dying.claim([order()]).claims[0].job
    assert job is not None
    dying.accepted(job.id, ["gen-1"])
    dying.settled(job.id, State.COMPLETED, 14, [])
    saved = dying.saved(job.id, ())
    dying.close()
    assert not living.take_over_saving(saved)
