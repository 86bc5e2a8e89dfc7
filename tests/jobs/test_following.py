"""Following: to the end, once, through every kind of trouble, and across restarts."""

from __future__ import annotations

import json
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from kubeez_mcp_local.jobs.job import State
from kubeez_mcp_local.jobs.sending import Background
from kubeez_mcp_local.rest.errors import NotFoundError, UnauthorizedError, UnavailableError
from kubeez_mcp_local.rest.wire import Output

if TYPE_CHECKING:
    from pathlib import Path
    from types import SimpleNamespace


pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def followers_make_time_fly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their sleeping moves the clock while other requests leave; no process was stopped meanwhile."""
    monkeypatch.setattr("kubeez_mcp_local.jobs.sending.LATEST_SECONDS", inf)


async def started(bridge: Any, order: Any, person: Any) -> Any:
    return (await bridge.spender.submit(order, person("accept"))).job


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "polling"])
async def test_a_job_is_followed_settled_and_saved(
    assemble: Any, sendable: Any, api: Any, person: Any, streams: bool
) -> None:
    async with assemble(follow=True) as bridge:
        api.streams = streams
        job = await started(bridge, sendable(), person)
        api.finish("gen-1", charged=10.5)
        done = await bridge.follower.wait(job, timeout=60)
        assert (done.state, done.charged, done.reserved) == (State.COMPLETED, 10.5, 0)
        (file,) = done.files
        assert (await anyio.Path(file.path).read_bytes()).startswith(b"\x89PNG")
        assert (file.media_type, file.output_id) == ("image/png", "out-gen-1")
        sidecar = json.loads(await anyio.Path(file.path).with_suffix(".json").read_text("utf-8"))
        assert sidecar["prompt"] == "a fox, digest-1"
        assert sidecar["credits"] == {"quoted": 14, "basis": "catalogue", "charged": 10.5}


async def test_an_impossible_charge_leaves_the_quote_in_force(
    assemble: Any, sendable: Any, api: Any, person: Any
) -> None:
    async with assemble(follow=True, per_day=1000) as bridge:
        for number, charged in enumerate((-14.0, float("nan"), float("inf"), 100_001.0, None), start=1):
            job = await started(bridge, sendable(f"done {number}"), person)
            api.finish(f"gen-{number}", charged=charged)
            done = await bridge.follower.wait(job, timeout=60)
            assert (done.state, done.charged, done.reserved) == (State.COMPLETED, 14, 0)
        assert (await bridge.ledger.today()).spent == 5 * 14


async def test_whether_a_failed_job_with_an_impossible_charge_was_refunded_is_not_known(
    assemble: Any, sendable: Any, api: Any, person: Any
) -> None:
    async with assemble(follow=True) as bridge:
        job = await started(bridge, sendable(), person)
        api.finish("gen-1", status="failed", charged=-14.0, outputs=[])
        done = await bridge.follower.wait(job, timeout=60)
        assert (done.state, done.charged, done.reserved) == (State.FAILED, None, 14)


@pytest.mark.parametrize("seen_by", ["a wait", "a look", "the history"])
async def test_a_failed_job_that_is_finished_after_all_is_saved_and_charged_on_its_day(
    assemble: Any, sendable: Any, api: Any, person: Any, clock: SimpleNamespace, seen_by: str
) -> None:
    async with assemble(follow=True) as bridge:
        job = await started(bridge, sendable(), person)
        api.finish("gen-1", status="failed", charged=0.0, outputs=[], error_message="moderation")
        assert (await bridge.follower.wait(job, timeout=60)).state is State.REFUNDED
        day = (await bridge.ledger.today()).day
        clock.now += 86_400
        api.rows["gen-1"] = api.rows["gen-1"].model_copy(update={"error_message": None})
        api.finish("gen-1", charged=12.0)
        failed = await bridge.ledger.get(job.id)
        if seen_by == "a look":
            assert (await bridge.follower.look_again(failed)).state is State.COMPLETED
        elif seen_by == "the history":
            await bridge.follower.notice(await api.generations())
        done = await bridge.follower.wait(failed, timeout=60)
        assert (done.state, done.charged, done.reserved, done.error) == (State.COMPLETED, 12, 0, None)
        (file,) = done.files
        assert await anyio.Path(file.path).exists()
        assert [(spend.key, spend.charged) for spend in await bridge.ledger.spend_by("day")] == [(day, 12)]
        assert (await bridge.ledger.today()).spent == 0  # on the day that has come meanwhile
        reads = api.reads
        await bridge.follower.notice(await api.generations())
        assert (await bridge.follower.look_again(done)) == done
        assert api.reads == reads


async def test_a_late_result_is_settled_and_saved_by_one_of_those_who_see_it(
    assemble: Any, sendable: Any, api: Any, person: Any
) -> None:
    async with assemble(follow=True) as ours, assemble(follow=True) as theirs:
        job = await started(ours, sendable(), person)
        api.finish("gen-1", status="failed", charged=0.0, outputs=[])
        failed = await ours.follower.wait(job, timeout=60)
        api.finish("gen-1", charged=14.0)
        async with anyio.create_task_group() as group:
            for bridge in (ours, theirs, ours, theirs):
                group.start_soon(partial(bridge.follower.wait, failed, timeout=60))
        done = await theirs.ledger.get(job.id)
        assert (done.state, done.charged, len(done.files)) == (State.COMPLETED, 14, 1)


@pytest.mark.parametrize(("price", "held"), [(14.0, (14, 0)), (None, (None, 500))])
async def test_a_late_result_without_a_usable_charge_counts_as_quoted(
    assemble: Any, sendable: Any, api: Any, person: Any, price: float | None, held: tuple[Any, ...]
) -> None:
    async with assemble(follow=True) as bridge:
        job = await started(bridge, sendable(price=price), person)
        api.finish("gen-1", status="failed", charged=0.0, outputs=[])
        failed = await bridge.follower.wait(job, timeout=60)
        api.finish("gen-1", charged=-14.0)
        done = await bridge.follower.look_again(failed)
        assert (done.state, done.charged, done.reserved) == (State.COMPLETED, *held)


async def test_a_failed_job_stays_as_it_was_while_the_api_says_so_or_cannot_be_read(
    assemble: Any, sendable: Any, api: Any, person: Any
) -> None:
    async with assemble(follow=True) as bridge:
        job = await started(bridge, sendable(), person)
        api.finish("gen-1", status="failed", charged=0.0, outputs=[])
        failed = await bridge.follower.wait(job, timeout=60)
        assert await bridge.follower.look_again(failed) == failed
        api.finish("gen-1", outputs=[Output(id="out-1", url=None)])  # completed, and its file is not there yet
        assert await bridge.follower.look_again(failed) == failed
        api.finish("gen-1")
        api.read_errors = [UnavailableError("busy")]
        assert await bridge.follower.look_again(failed) == failed
        assert (await bridge.follower.look_again(failed)).state is State.COMPLETED


async def test_a_part_of_a_job_that_comes_late_is_saved_beside_the_rest(
    assemble: Any, sendable: Any, api: Any, person: Any
) -> None:
    async with assemble(follow=True) as bridge:
        job = await started(bridge, sendable(), person)
        api.rows["gen-2"] = api.rows["gen-1"].model_copy(update={"id": "gen-2"})
        await bridge.ledger.accepted(job.id, ["gen-2"])
        api.finish("gen-1", charged=14.0)
        api.finish("gen-2", status="failed", charged=0.0, outputs=[])
        part = await bridge.follower.wait(await bridge.ledger.get(job.id), timeout=60)
        assert (part.state, part.charged, len(part.files)) == (State.COMPLETED, 14, 1)
        api.finish("gen-2", charged=14.0)
        done = await bridge.follower.wait(await bridge.follower.look_again(part), timeout=60)
        assert (done.charged, len(done.files), done.files[0]) == (28, 2, part.files[0])


async def test_many_waiters_share_one_follower(assemble: Any, sendable: Any, api: Any, person: Any) -> None:
    async with assemble() as bridge:
        job = await started(bridge, sendable(), person)
        results: list[Any] = []

        async def wait() -> None:
            results.append(await bridge.follower.wait(job, timeout=60))

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(wait)
            await anyio.sleep(0.02)
            api.finish("gen-1")
            reads_before = api.reads
        assert [result.state for result in results] == [State.COMPLETED] * 20
        assert api.reads - reads_before <= 2


async def test_a_wait_that_runs_out_returns_the_state_and_ends_nothing(
    assemble: Any, sendable: Any, api: Any, person: Any
) -> None:
    async with assemble() as bridge:
        job = await started(bridge, sendable(), person)
        assert (await bridge.follower.wait(job, timeout=0.02)).state is State.ACCEPTED
        assert job.id in bridge.follower._followed
        api.finish("gen-1")
        assert (await bridge.follower.wait(job, timeout=60)).state is State.COMPLETED


@pytest.mark.parametrize(
    ("generation_type", "kind", "first"),
    [("text-to-image", "media", 10), ("image-to-video", "media", 30), (None, "music", 30), (None, "separation", 20)],
)
async def test_the_first_look_waits_as_long_as_documented(
    assemble: Any,
    sendable: Any,
    api: Any,
    person: Any,
    clock: SimpleNamespace,
    generation_type: str | None,
    kind: str,
    first: float,
) -> None:
    async with assemble() as bridge:
        job = await started(bridge, sendable(generation_type=generation_type, kind=kind), person)
        api.finish("gen-1")
        before = clock.now
        await bridge.follower.wait(job, timeout=60)
        assert (clock.now - before, api.reads) == (first, 1)


async def test_trouble_while_reading_does_not_end_the_following(
    assemble: Any, sendable: Any, api: Any, person: Any
) -> None:
    async with assemble() as bridge:
        job = await started(bridge, sendable(), person)
        api.read_errors = [
            *[NotFoundError("not yet")] * 8,
            UnavailableError("502"),
            UnauthorizedError("the key expired midway"),
            UnavailableError("time-out"),
        ]
        api.finish("gen-1")
        assert (await bridge.follower.wait(job, timeout=60)).state is State.COMPLETED
        assert api.read_errors == []


async def test_a_job_that_the_api_has_forgotten_counts_as_paid_and_stands_in_nobodys_way(
    assemble: Any, sendable: Any, api: Any, person: Any, clock: Any
) -> None:
    async with assemble(follow=True) as bridge:
        job = await started(bridge, sendable(), person)
        api.rows.clear()
        assert (await bridge.follower.wait(job, timeout=60)).state is State.UNKNOWN
        assert bridge.follower._followed == {}
        assert (await bridge.ledger.today()).reserved == 14
        await bridge.reconciler.reconcile()
        assert (await bridge.ledger.get(job.id)).state is State.UNKNOWN
        clock.now += 900
        await bridge.reconciler.reconcile()
        ended = await bridge.ledger.get(job.id)
        assert (ended.state, ended.charged, ended.reserved) == (State.LOST, 14, 0)
        assert not (await bridge.spender.submit(sendable(), person("accept"))).repeated


async def test_a_job_that_only_its_status_denies_is_followed_again(
    assemble: Any, sendable: Any, api: Any, person: Any
) -> None:
    async with assemble(follow=True) as bridge:
        job = await started(bridge, sendable(), person)
        rows = dict(api.rows)
        api.rows.clear()
        assert (await bridge.follower.wait(job, timeout=60)).state is State.UNKNOWN
        api.rows.update(rows)
        api.finish("gen-1")
        await bridge.reconciler.reconcile()
        assert (await bridge.follower.wait(await bridge.ledger.get(job.id), timeout=60)).state is State.COMPLETED


async def test_one_no_such_job_in_a_long_job_means_nothing(assemble: Any, sendable: Any, api: Any, person: Any) -> None:
    async with assemble() as bridge:
        job = await started(bridge, sendable(), person)

        def on_read(count: int) -> None:
            if count == 200:
                api.read_errors = [NotFoundError("for a moment")]
            elif count == 202:
                api.finish("gen-1")

        api.on_read = on_read
        assert (await bridge.follower.wait(job, timeout=60)).state is State.COMPLETED


async def test_what_is_there_of_a_job_is_saved_although_the_api_has_forgotten_the_rest(
    assemble: Any, sendable: Any, api: Any, person: Any
) -> None:
    async with assemble() as bridge:
        job = (await bridge.ledger.claim([sendable()])).claims[0].job
        await api.start(await sendable().build())
        job = await bridge.ledger.accepted(job.id, ["gen-1", "gen-2"])
        api.finish("gen-1")
        done = await bridge.follower.wait(job, timeout=60)
        assert (done.state, done.charged, len(done.files)) == (State.COMPLETED, 14, 1)


async def test_completed_without_urls_is_not_done(assemble: Any, sendable: Any, api: Any, person: Any) -> None:
    async with assemble() as bridge:
        job = await started(bridge, sendable(), person)
        api.finish("gen-1", outputs=[Output(id="out-1", url=None)])
        api.on_read = lambda count: api.finish("gen-1") if count == 5 else None
        assert len((await bridge.follower.wait(job, timeout=60)).files) == 1
        assert api.reads == 5


@pytest.mark.parametrize(
    ("deducted", "state", "spent"), [(None, State.FAILED, 0), (0.0, State.REFUNDED, 0), (14.0, State.FAILED, 14)]
)
async def test_a_failed_job_costs_what_the_api_says_it_kept(
    assemble: Any, sendable: Any, api: Any, person: Any, deducted: float | None, state: State, spent: float
) -> None:
    async with assemble() as bridge:
        job = await started(bridge, sendable(), person)
        api.finish("gen-1", status="failed", charged=deducted, outputs=[], error_message="moderation")
        done = await bridge.follower.wait(job, timeout=60)
        assert (done.state, done.error) == (state, "moderation")
        today = await bridge.ledger.today()
        assert (today.spent, today.reserved) == (spent, 0)


async def test_progress_is_reported_at_once_and_in_words(assemble: Any, sendable: Any, api: Any, person: Any) -> None:
    async with assemble() as bridge:
        job = await started(bridge, sendable(), person)
        reports: list[tuple[float, float | None, str]] = []

        async def report(elapsed: float, expected: float | None, words: str) -> None:
            reports.append((elapsed, expected, words))
            api.finish("gen-1")

        await bridge.follower.wait(job, timeout=60, on_progress=report)
        assert reports == [(0, 30, "accepted")]


async def test_progress_never_passes_its_total(assemble: Any, sendable: Any, api: Any, person: Any) -> None:
    async with assemble() as bridge:
        job = await started(bridge, sendable(), person)
        bridge.follower.clock = lambda: job.accepted_at + 100
        reports: list[tuple[float, float | None]] = []

        async def report(elapsed: float, expected: float | None, words: str) -> None:
            reports.append((round(elapsed), expected and round(expected)))
            api.finish("gen-1")

        await bridge.follower.wait(job, timeout=60, on_progress=report)
        assert reports == [(100, 100)]


async def test_two_processes_following_save_once(
    assemble: Any, sendable: Any, api: Any, person: Any, tmp_path: Path
) -> None:
    async with assemble() as ours, assemble() as theirs:
        job = await started(ours, sendable(), person)
        api.finish("gen-1")
        results: list[Any] = []

        async def wait(bridge: Any) -> None:
            results.append(await bridge.follower.wait(job, timeout=60))

        async with anyio.create_task_group() as group:
            group.start_soon(wait, ours)
            group.start_soon(wait, theirs)
        assert len(list((tmp_path / "out").rglob("*.png"))) == 1
        assert results[0].files == results[1].files
        assert len(results[0].files) == 1


async def test_jobs_of_an_ended_process_are_followed_again(assemble: Any, sendable: Any, api: Any, person: Any) -> None:
    async with assemble() as ended:
        job = await started(ended, sendable(), person)
    ended.file.close()
    api.finish("gen-1")
    async with assemble() as bridge:
        assert [taken.id for taken in await bridge.follower.resume_all()] == [job.id]
        assert len((await bridge.follower.wait(job, timeout=60)).files) == 1
        assert await bridge.follower.resume_all() == []


async def test_jobs_of_a_living_process_are_left_to_it(assemble: Any, sendable: Any, person: Any) -> None:
    async with assemble() as living, assemble() as bridge:
        await started(living, sendable(), person)
        assert await bridge.follower.resume_all() == []


async def test_outputs_that_could_not_be_saved_are_saved_later(
    assemble: Any, sendable: Any, api: Any, person: Any, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("a file where the folder should be")
    async with assemble() as bridge:
        job = await started(bridge, sendable(), person)
        api.finish("gen-1")
        done = await bridge.follower.wait(job, timeout=60)
        assert (done.state, done.files) == (State.COMPLETED, ())
        assert "cannot be written to" in (done.save_error or "")
        (tmp_path / "out").unlink()
        await bridge.follower.save_again(done)
        saved = await bridge.ledger.get(job.id)
        assert (len(saved.files), saved.save_error) == (1, None)
        assert await bridge.follower.resume_all() == []


async def test_waiting_again_for_a_job_that_could_not_be_saved_saves_it_once(
    assemble: Any, sendable: Any, api: Any, person: Any, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("a file where the folder should be")
    async with assemble() as bridge:
        job = await started(bridge, sendable(), person)
        api.finish("gen-1")
        failed = await bridge.follower.wait(job, timeout=60)
        (tmp_path / "out").unlink()
        found = []

        async def wait() -> None:
            found.append(await bridge.follower.wait(failed, timeout=60))

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(wait)
        assert [(len(one.files), one.save_error) for one in found] == [(1, None)] * 3
        assert len(list((tmp_path / "out").rglob("*.png"))) == 1


async def test_leaving_is_prompt_with_jobs_running(assemble: Any, sendable: Any, api: Any, person: Any) -> None:
    api.streams = True
    with anyio.fail_after(60):
        async with assemble() as bridge:
            bridge.follower.sleep = anyio.sleep  # else its looks leave the ledger's thread no time
            for number in range(5):
                bridge.follower.follow(await started(bridge, sendable(str(number)), person))
            await anyio.sleep(0.01)
        assert not bridge.background.running


async def test_waiting_for_a_job_that_another_process_is_sending(
    assemble: Any, sendable: Any, api: Any, person: Any
) -> None:
    async with assemble(follow=True) as ours, assemble() as theirs:
        api.gate = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(ours.spender.submit, sendable(), person("accept"))
            await api.arrived.wait()
            (job,) = await theirs.ledger.in_state(State.SENDING)
            api.gate.set()
            await anyio.sleep(0.01)
            api.finish("gen-1")
            assert (await theirs.follower.wait(job, timeout=60)).state is State.COMPLETED


@pytest.mark.anyio
async def test_what_is_started_while_everything_ends_is_given_up_without_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    began: list[str] = []

    async def late() -> None:
        began.append("late")
        await anyio.sleep_forever()

    async def picking_up(background: Background) -> None:
        with anyio.CancelScope(shield=True):  # as a look into the ledger, which is finished whatever happens
            await background_ends.wait()
        background.start(late)

    background_ends = anyio.Event()
    async with Background() as background:
        background.start(picking_up, background)
        await anyio.lowlevel.checkpoint()
        background_ends.set()
    assert (began, background.running, caplog.records) == (["late"], False, [])
