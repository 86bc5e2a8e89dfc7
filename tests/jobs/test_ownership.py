"""Which process sends a job, and what becomes of it when that process dies."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from kubeez_mcp_local.jobs.job import State
from kubeez_mcp_local.jobs.limits import Limits
from kubeez_mcp_local.jobs.order import Order
from kubeez_mcp_local.jobs.ownership import Owner
from kubeez_mcp_local.jobs.store import LedgerFile

if TYPE_CHECKING:
    from pathlib import Path

Orders = Callable[..., Order]
Opener = Callable[..., LedgerFile]


def test_owners_know_who_lives(tmp_path: Path) -> None:
    ours, theirs = Owner(tmp_path), Owner(tmp_path)
    assert not ours.is_dead(ours.id)
    assert not ours.is_dead(theirs.id)
    theirs.close()
    assert ours.is_dead(theirs.id)
    assert ours.is_dead("../../etc/passwd")
    ours.close()


def test_a_killed_process_is_dead(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from kubeez_mcp_local.jobs.ownership import Owner\n"
        "owner = Owner(Path(sys.argv[1])); print(owner.id, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        owner = process.stdout.readline().decode().strip()
        ours = Owner(tmp_path)
        assert not ours.is_dead(owner)
        process.kill()
        process.wait()
        assert ours.is_dead(owner)
        assert not (tmp_path / f"{owner}.lock").exists()
        ours.close()


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
