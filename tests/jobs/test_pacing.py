"""Pacing: never faster than the API allows, hardly slower, all processes together."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.guard import Limits
from kubeez_mcp_local.jobs.job import State
from kubeez_mcp_local.jobs.ledger import Ledger
from kubeez_mcp_local.jobs.sending import Pacer
from tests.jobs.conftest import coded

pytestmark = pytest.mark.anyio


class Window:
    """The API's side: how many requests came within the last minute."""

    def __init__(self, clock: SimpleNamespace) -> None:
        self._clock = clock
        self._times: deque[float] = deque()
        self.most = 0

    def arrive(self) -> None:
        now = self._clock.now
        self._times.append(now)
        while self._times[0] <= now - 60:
            self._times.popleft()
        self.most = max(self.most, len(self._times))


@pytest.fixture
def process(open_file: Any, clock: SimpleNamespace, sleep: Any) -> Any:
    def make(**limits: Any) -> SimpleNamespace:
        file = open_file(per_day=1_000_000)
        pacer = Pacer(Ledger(lambda: file), Limits(**limits), clock=lambda: float(clock.now), sleep=sleep)
        return SimpleNamespace(file=file, pacer=pacer)

    return make


def claimed(file: Any, order: Any, digest: str, bucket: str = "media") -> Any:
    return file.claim([order(digest, bucket=bucket)]).claims[0].job


@pytest.mark.parametrize(("bucket", "a_minute"), [("media", 30), ("music", 10), ("dialogue", 10), ("ads", 5)])
async def test_each_bucket_keeps_its_rate(
    process: Any, order: Any, clock: SimpleNamespace, bucket: str, a_minute: int
) -> None:
    ours, theirs, window, start = process(), process(), Window(clock), clock.now
    for number in range(4 * a_minute):
        one = (ours, theirs)[number % 2]
        job = claimed(one.file, order, str(number), bucket)
        await one.pacer.leave(job, patience=100)
        clock.now += 0.05
        window.arrive()
        clock.now += 0.05
        one.file.accepted(job.id, [str(number)])
        one.file.settled(job.id, State.COMPLETED, 14, [])
    assert window.most == a_minute
    assert clock.now - start <= 3 * 60 * 1.05 + a_minute * 0.1


async def test_music_and_media_do_not_share_a_rate(process: Any, order: Any, clock: SimpleNamespace) -> None:
    one, start = process(at_once={}), clock.now
    for number in range(15):
        await one.pacer.leave(claimed(one.file, order, f"m{number}", "media"), patience=0)
    await one.pacer.leave(claimed(one.file, order, "song", "music"), patience=0)
    assert clock.now == start


async def test_no_more_jobs_run_at_once_than_the_api_allows(process: Any, order: Any) -> None:
    ours, theirs = process(), process()
    jobs = [claimed(ours.file, order, str(number)) for number in range(11)]
    for job in jobs[:10]:
        await ours.pacer.leave(job, patience=0)
        ours.file.accepted(job.id, [job.id])
    with pytest.raises(KubeezError, check=coded("busy"), match="10 media jobs are running"):
        await theirs.pacer.leave(jobs[10], patience=5)
    ours.file.settled(jobs[0].id, State.COMPLETED, 14, [])
    await theirs.pacer.leave(jobs[10], patience=5)


async def test_jobs_that_nobody_saw_the_end_of_do_not_block_for_ever(
    process: Any, order: Any, clock: SimpleNamespace
) -> None:
    one = process()
    for number in range(10):
        job = claimed(one.file, order, str(number))
        await one.pacer.leave(job, patience=0)
        one.file.accepted(job.id, [job.id])
    clock.now += 1801
    await one.pacer.leave(claimed(one.file, order, "late"), patience=0)


async def test_who_cannot_wait_is_told_how_long_it_takes(process: Any, order: Any, clock: SimpleNamespace) -> None:
    one = process(at_once={})
    for number in range(30):
        await one.pacer.leave(claimed(one.file, order, str(number)), patience=0)
        one.file.accepted(claimed(one.file, order, str(number)).id, [str(number)])
    clock.now += 20
    with pytest.raises(KubeezError, check=coded("busy"), match=r"30 media requests a minute.*in about 40 s"):
        await one.pacer.leave(claimed(one.file, order, "one more"), patience=30)


async def test_a_slow_answer_does_not_let_the_next_request_come_early(
    process: Any, order: Any, clock: SimpleNamespace
) -> None:
    one, window = process(at_once={}, per_minute={"media": 1}), Window(clock)
    for number in range(3):
        job = claimed(one.file, order, str(number))
        await one.pacer.leave(job, patience=100)
        clock.now += 20 if number == 0 else 0  # the first request takes long to get there
        window.arrive()
        one.file.accepted(job.id, [job.id])
    assert window.most == 1


async def test_a_pause_holds_for_every_process_but_not_for_ever(
    process: Any, order: Any, clock: SimpleNamespace
) -> None:
    ours, theirs = process(), process()
    job = claimed(ours.file, order, "a")
    await ours.pacer.leave(job, patience=0)
    assert await ours.pacer.turned_away(job, 20) == 20
    with pytest.raises(KubeezError, check=coded("busy"), match="asked for fewer"):
        await theirs.pacer.leave(job, patience=10)
    clock.now += 21
    await theirs.pacer.leave(job, patience=0)


async def test_without_retry_after_the_next_minute_is_waited_for(
    process: Any, order: Any, clock: SimpleNamespace
) -> None:
    one = process()
    clock.now += 25
    assert await one.pacer.turned_away(claimed(one.file, order, "a"), None) == pytest.approx(35)


async def test_a_clock_set_back_does_not_stop_everything(process: Any, order: Any, clock: SimpleNamespace) -> None:
    one = process(at_once={})
    for number in range(30):
        await one.pacer.leave(claimed(one.file, order, str(number)), patience=0)
        one.file.accepted(claimed(one.file, order, str(number)).id, [str(number)])
    clock.now -= 86_400
    before = clock.now
    await one.pacer.leave(claimed(one.file, order, "after"), patience=60)
    assert clock.now - before <= 60


@pytest.mark.parametrize("processes", [1, 3])
async def test_reads_keep_their_rate(process: Any, clock: SimpleNamespace, processes: int) -> None:
    readers, window, start = [process() for _ in range(processes)], Window(clock), clock.now
    for number in range(360):
        await readers[number % processes].pacer.read()
        window.arrive()
    assert window.most <= 120
    windows = 2 if processes == 1 else 3  # permits that a process leaves unused are lost to the others
    assert clock.now - start <= windows * 65 * 1.01


async def test_a_lone_read_takes_nothing_from_others(process: Any) -> None:
    readers = [process() for _ in range(3)]
    for reader in readers:
        await reader.pacer.read()
    with readers[0].file._database.read() as connection:
        assert connection.execute("SELECT SUM(permits) FROM reads").fetchone()[0] == 3


async def test_reads_that_come_thick_and_fast_ask_the_ledger_for_one_in_eight(open_file: Any, clock: Any) -> None:
    file, asked = open_file(), []

    class Counted(Ledger):
        async def run(self, work: Any) -> Any:
            asked.append(work)
            return await super().run(work)

    pacer = Pacer(Counted(lambda: file), Limits(per_minute={"read": 10_000_000}), clock=lambda: float(clock.now))
    for _ in range(400):
        await pacer.read()
    assert len(asked) < 400 / 8 + 5


async def test_the_sandbox_is_paced_by_its_own_clock(process: Any, order: Any, clock: SimpleNamespace) -> None:
    one, start = process(at_once={}, speed=60), clock.now
    for number in range(31):
        await one.pacer.leave(claimed(one.file, order, str(number)), patience=10)
        one.file.accepted(claimed(one.file, order, str(number)).id, [str(number)])
    assert 0.99 <= clock.now - start <= 1.1


async def test_however_fast_the_sandbox_runs_a_read_gets_through(open_file: Any, clock: SimpleNamespace) -> None:
    def slow_disk() -> float:
        clock.now += 0.02
        return float(clock.now)

    file = open_file(clock=slow_disk)
    pacer = Pacer(Ledger(lambda: file), Limits(speed=100_000), clock=slow_disk)
    with anyio.fail_after(60):
        for _ in range(10):
            await pacer.read()


async def test_waiting_requests_leave_in_order(process: Any, order: Any) -> None:
    one = process(at_once={}, per_minute={"media": 1})
    left: list[int] = []

    async def leave(number: int) -> None:
        job = claimed(one.file, order, str(number))
        await one.pacer.leave(job, patience=1000)
        left.append(number)
        one.file.accepted(job.id, [job.id])

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(leave, number)
            await anyio.lowlevel.checkpoint()
    assert left == [0, 1, 2, 3, 4]


async def test_requests_without_an_answer_count_for_as_long_as_they_are_on_their_way(
    process: Any, order: Any, clock: SimpleNamespace
) -> None:
    one = process(at_once={}, per_minute={"media": 3})
    jobs = [claimed(one.file, order, str(number)) for number in range(4)]
    for job in jobs[:3]:
        await one.pacer.leave(job, patience=0)
    clock.now += 200
    with pytest.raises(KubeezError, check=coded("busy")):
        await one.pacer.leave(jobs[3], patience=10)
    answered = clock.now
    one.file.accepted(jobs[0].id, ["gen-1"])
    await one.pacer.leave(jobs[3], patience=100)
    assert clock.now - answered == pytest.approx(60)
