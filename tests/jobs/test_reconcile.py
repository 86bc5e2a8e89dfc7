"""Reconciliation: found in the history, absent on proof, put to a person, or still unknown."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from kubeez_mcp_local.jobs.errors import UnsettledJobError
from kubeez_mcp_local.jobs.following import query_for_work
from kubeez_mcp_local.jobs.guard import Limits
from kubeez_mcp_local.jobs.job import State
from kubeez_mcp_local.rest.errors import AmbiguousError, UnavailableError
from kubeez_mcp_local.rest.wire import Generation

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import SimpleNamespace

    from kubeez_mcp_local.jobs.proof import OpenQuestion

pytestmark = pytest.mark.anyio


def unknown(bridge: Any, order: Any) -> Any:
    job = bridge.file.claim([order]).claims[0].job
    bridge.file.dispatch(job, Limits(per_minute={}, at_once={}))
    return bridge.file.unknown(job.id, "ambiguous", "cut")


def history(api: Any, generation_id: str, *, prompt: str | None = "a fox", **changes: Any) -> None:
    fields = {
        "model": "nano-banana-2",
        "generation_type": "text-to-image",
        "created_at": "2027-01-15T12:00:00",
    } | changes
    api.rows[generation_id] = Generation(id=generation_id, prompt=prompt, **fields)


def own(bridge: Any, api: Any, order: Any, *, count: int = 2, **changes: Any) -> None:
    """Own jobs whose rows the history shows as they were sent."""
    for number in range(count):
        job = bridge.file.claim([order(f"own {number}", prompt=f"own picture {number}", **changes)]).claims[0].job
        bridge.file.accepted(job.id, [f"own-{number}"])
        told = {"model": job.model, "generation_type": job.generation_type}
        history(api, f"own-{number}", prompt=job.prompt, **told)


async def watched(bridge: Any, clock: SimpleNamespace, seconds: float = 900.0, every: float = 300.0) -> list[Any]:
    """The history is read again and again; returns what that settled."""
    settled = []
    while seconds > 0:
        clock.now += min(every, seconds)
        seconds -= every
        settled += await bridge.reconciler.reconcile()
    return settled


async def test_a_job_in_the_history_is_adopted(assemble: Any, order: Any, api: Any) -> None:
    async with assemble() as bridge:
        job = unknown(bridge, order(prompt="a  fox\n"))
        history(api, "gen-9")
        (found,) = await bridge.reconciler.reconcile()
        assert (found.id, found.state, found.generation_id) == (job.id, State.ACCEPTED, "gen-9")


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(lambda _now: {"created_at": None}, id="no time"),
        pytest.param(lambda now: {"created_at": str(now - 900)}, id="our clock is 15 minutes ahead"),
        pytest.param(lambda _now: {"created_at": "2027-01-15T21:00:00"}, id="local time without a zone"),
        pytest.param(lambda _now: {"created_at": "yesterday"}, id="no time at all"),
    ],
)
async def test_no_clock_hides_a_job(
    assemble: Any, sendable: Any, api: Any, person: Any, clock: SimpleNamespace, told: Callable[[float], dict[str, Any]]
) -> None:
    async with assemble() as bridge:
        api.told = lambda row: row.model_copy(update=told(clock.now))
        api.behaviours = [[AmbiguousError("cut")]]
        for _ in range(3):
            submission = await bridge.spender.submit(sendable(), person("accept"))
            assert submission.job.generation_id == "gen-1"
            clock.now += 65
        assert api.paid == ["gen-1"]


async def test_a_gateway_that_holds_the_request_for_two_minutes_costs_nothing_twice(
    assemble: Any, sendable: Any, api: Any, person: Any, clock: SimpleNamespace
) -> None:
    api.hidden = {"gen-1"}
    api.gate = anyio.Event()
    async with assemble(settling=2.0) as killed, anyio.create_task_group() as group:
        group.start_soon(killed.spender.submit, sendable(), person("accept"))
        await api.arrived.wait()
        killed.file.close()  # as the end of its process would
        group.cancel_scope.cancel()
    api.gate = None
    async with assemble(settling=2.0) as bridge:
        for _ in range(5):
            clock.now += 25
            with pytest.raises(UnsettledJobError):
                await bridge.spender.submit(sendable(), person("accept"))
        history(api, "gen-1", prompt="a fox, digest-1")
        api.hidden = set()
        submission = await bridge.spender.submit(sendable(), person("accept"))
        assert (submission.job.generation_id, submission.repeated) == ("gen-1", True)
    assert api.sent == 1


async def test_what_is_not_alike_is_not_adopted(assemble: Any, order: Any, api: Any) -> None:
    others: list[dict[str, Any]] = [
        {"prompt": "a wolf"},
        {"model": "z-image"},
        {"generation_type": "image-to-image"},
        {"prompt": None},
    ]
    async with assemble() as bridge:
        for number, row in enumerate(others):
            job = unknown(bridge, order(f"digest {number}", prompt=f"{number} foxes"))
            history(api, f"gen-{number}", **({"prompt": f"{number} foxes"} | row))
            await bridge.reconciler.reconcile()
            assert (await bridge.ledger.get(job.id)).state is State.UNKNOWN, row


async def test_a_generation_that_another_job_owns_is_not_adopted(assemble: Any, order: Any, api: Any) -> None:
    async with assemble() as bridge:
        first = bridge.file.claim([order("a", prompt="a fox")]).claims[0].job
        bridge.file.accepted(first.id, ["gen-1"])
        history(api, "gen-1")
        job = unknown(bridge, order("b", prompt="a fox"))
        await bridge.reconciler.reconcile()
        assert (await bridge.ledger.get(job.id)).state is State.UNKNOWN


async def test_a_row_that_may_be_another_open_job_is_nobodys(assemble: Any, order: Any, api: Any) -> None:
    async with assemble() as bridge, assemble() as sender:
        twin = sender.file.claim([order("b", prompt="a fox")]).claims[0].job
        sender.file.dispatch(twin, Limits())
        job = unknown(bridge, order("a", prompt="a fox"))
        history(api, "gen-1")
        assert await bridge.reconciler.reconcile() == []
        sender.file.accepted(twin.id, ["gen-1"])
        assert await bridge.reconciler.reconcile() == []
        history(api, "gen-2")
        (settled,) = await bridge.reconciler.reconcile()
        assert (settled.id, settled.generation_id) == (job.id, "gen-2")


async def test_a_row_that_was_there_before_the_send_is_not_the_job(assemble: Any, order: Any, api: Any) -> None:
    async with assemble() as bridge:
        history(api, "from the website")
        await bridge.reconciler.look_before_paying()
        job = unknown(bridge, order(prompt="a fox"))
        assert await bridge.reconciler.reconcile() == []
        history(api, "gen-9")
        (found,) = await bridge.reconciler.reconcile()
        assert (found.id, found.generation_id) == (job.id, "gen-9")


async def test_absence_needs_fifteen_observed_minutes(
    assemble: Any, order: Any, api: Any, clock: SimpleNamespace
) -> None:
    async with assemble() as bridge:
        own(bridge, api, order)
        await bridge.reconciler.look_before_paying()
        job = unknown(bridge, order())
        assert await watched(bridge, clock, 899) == []
        (settled,) = await watched(bridge, clock, 1)
        assert (settled.id, settled.state, settled.reserved) == (job.id, State.NOT_ACCEPTED, 0)


async def test_after_a_restart_of_the_machine_the_minutes_are_counted_anew(
    open_file: Any, assemble: Any, order: Any, api: Any, clock: SimpleNamespace
) -> None:
    async with assemble() as bridge:
        own(bridge, api, order)
        await bridge.reconciler.look_before_paying()
        unknown(bridge, order())
    async with assemble(boot="the next") as bridge:
        clock.now += 100_000  # whatever its clock says
        assert await bridge.reconciler.reconcile() == []
        assert await watched(bridge, clock, 899) == []
        assert len(await watched(bridge, clock, 1)) == 1
    async with assemble() as bridge:  # the same boot goes on counting
        unknown(bridge, order("another"))
    clock.now += 900
    async with assemble() as bridge:
        assert len(await bridge.reconciler.reconcile()) == 1


async def test_rows_that_went_by_between_overlapping_reads_hide_nothing(
    assemble: Any, order: Any, api: Any, clock: SimpleNamespace
) -> None:
    async with assemble() as bridge:
        own(bridge, api, order)
        await bridge.reconciler.look_before_paying()
        job = unknown(bridge, order())
        for hour in range(3):
            for number in range(20):
                history(api, f"stranger-{hour}-{number}", prompt=f"{number} wolves")
            settled = await watched(bridge, clock, 300)
        assert [(one.id, one.state) for one in settled] == [(job.id, State.NOT_ACCEPTED)]


async def test_forty_rows_at_once_are_a_gap_and_a_person_decides(
    assemble: Any, order: Any, api: Any, clock: SimpleNamespace
) -> None:
    async with assemble(balance=500.0) as bridge:
        own(bridge, api, order)
        await bridge.reconciler.look_before_paying()
        jobs = [unknown(bridge, order(f"lost {number}")) for number in range(4)]
        for number in range(40):
            history(api, f"stranger-{number}", prompt=f"{number} wolves")
        assert await watched(bridge, clock, 40_000, every=20_000) == []
        question = await bridge.reconciler.question()
        assert [job.id for job in question.jobs] == [job.id for job in jobs]
        assert "No answer ever came for 4 paid requests" in question.text
        assert "may have been missed" in question.text
        assert "Balance: 500 credits before, 500 credits now." in question.text
        settled = await bridge.reconciler.answer(question, mine=())
        assert {job.state for job in settled} == {State.NOT_ACCEPTED}
        assert len(settled) == 4
        assert (await bridge.ledger.today()).reserved == 28
        assert await bridge.reconciler.question() is None


async def test_kinds_that_the_history_may_not_list_are_a_persons_to_decide(
    assemble: Any, order: Any, api: Any, clock: SimpleNamespace
) -> None:
    async with assemble() as bridge:
        own(bridge, api, order)
        await bridge.reconciler.look_before_paying()
        job = unknown(bridge, order(route="generate_music", bucket="music", kind="music", model="V5"))
        assert await watched(bridge, clock, 1800) == []
        assert "listed there at all is not known" in (await bridge.reconciler.question()).text
        assert (await bridge.ledger.settle_by_hand(job.id, paid=False)).reserved == 0


class Witness:
    """Somebody who says which rows are theirs, and remembers every question."""

    def __init__(self, mine: set[str] | None) -> None:
        self.mine = mine
        self.questions: list[OpenQuestion] = []

    async def ask(self, _question: object) -> str:
        return "accept"

    async def which_are_mine(self, question: OpenQuestion) -> frozenset[str] | None:
        self.questions.append(question)
        return None if self.mine is None else frozenset(self.mine)


@pytest.mark.parametrize(("speed", "after"), [(1, "15 minutes"), (30, "1 minute")])
async def test_it_is_said_after_how_long_the_history_decides(
    assemble: Any, order: Any, speed: float, after: str
) -> None:
    async with assemble() as bridge:
        bridge.reconciler.speed = speed
        assert f"what it shows {after} after it was sent" in await bridge.reconciler.how_it_stands(
            unknown(bridge, order())
        )


@pytest.mark.parametrize(("mine", "paid"), [({"doubtful"}, 1), (set(), 2), (None, 1)])
async def test_the_one_question_comes_up_in_the_repeated_call(
    assemble: Any, sendable: Any, api: Any, clock: SimpleNamespace, mine: set[str] | None, paid: int
) -> None:
    async with assemble(settling=2.0) as bridge:
        witness = Witness(mine)
        for number in range(2):
            await bridge.spender.submit(sendable(f"own {number}"), witness)
        api.behaviours = [AmbiguousError("cut")]
        with pytest.raises(UnsettledJobError, match="is being watched"):
            await bridge.spender.submit(sendable(), witness)
        history(api, "doubtful", prompt=None)
        clock.now += 900
        if mine is None:
            with pytest.raises(UnsettledJobError, match=r"1\) no prompt shown, nano-banana-2"):
                await bridge.spender.submit(sendable(), witness)
        else:
            submission = await bridge.spender.submit(sendable(), witness)
            assert submission.repeated == bool(mine)
            assert submission.job.generation_id == ("doubtful" if mine else "gen-3")
        assert len(witness.questions) == 1
    assert api.sent == 2 + paid


async def test_every_row_that_a_person_ticks_is_followed_and_counted(
    assemble: Any, sendable: Any, api: Any, clock: SimpleNamespace
) -> None:
    """The API delivered one request twice, or made several outputs of it."""
    async with assemble(settling=2.0, follow=True) as bridge:
        witness = Witness({"one", "two"})
        api.behaviours = [AmbiguousError("cut")]
        with pytest.raises(UnsettledJobError):
            await bridge.spender.submit(sendable(), witness)
        for name in ("one", "two"):
            history(api, name, prompt="a fox, digest-1")
        clock.now += 900
        submission = await bridge.spender.submit(sendable(), witness)
        assert submission.job.generation_ids == ("one", "two")
        assert submission.job.reserved == 28
        for name in ("one", "two"):
            api.finish(name)
        done = await bridge.follower.wait(submission.job, timeout=60)
        assert (done.charged, done.reserved, len(done.files)) == (28, 0, 2)
    assert api.sent == 1


async def test_calls_side_by_side_ask_the_question_once(
    assemble: Any, sendable: Any, api: Any, clock: SimpleNamespace
) -> None:
    async with assemble(settling=2.0) as bridge:
        witness = Witness(set())
        api.behaviours = [AmbiguousError("cut")] * 3
        for number in range(3):
            with pytest.raises(UnsettledJobError):
                await bridge.spender.submit(sendable(f"call {number}"), witness)
        clock.now += 900
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(bridge.spender.submit, sendable(f"call {number}"), witness)
        assert [len(question.jobs) for question in witness.questions] == [3]
    assert (api.sent, len(api.paid)) == (6, 3)


async def test_an_answer_is_kept_and_rows_of_later_do_not_ask_again(
    assemble: Any, order: Any, api: Any, clock: SimpleNamespace
) -> None:
    async with assemble() as bridge:
        own(bridge, api, order)
        await bridge.reconciler.look_before_paying()
        first = unknown(bridge, order("first", prompt="a cat"))
        history(api, "doubtful", prompt=None)
        await watched(bridge, clock, 600)
        second = unknown(bridge, order("second", prompt="a dog"))
        history(api, "later", prompt=None)
        await watched(bridge, clock, 300)
        question = await bridge.reconciler.question()
        assert ([job.id for job in question.jobs], [job.id for job in question.watched]) == ([first.id], [second.id])
        assert {row.id for row in question.rows} == {"doubtful", "later"}
        assert "No answer ever came for 2 paid requests" in question.text
        assert "a dog" in question.text
        await bridge.reconciler.answer(question, mine=())
        settled = await watched(bridge, clock, 900)
        assert [(job.id, job.state) for job in settled] == [(second.id, State.NOT_ACCEPTED)]


async def test_an_answer_says_nothing_of_a_job_that_was_not_in_the_question(
    assemble: Any, order: Any, api: Any, clock: SimpleNamespace
) -> None:
    async with assemble() as bridge, assemble() as other:
        own(bridge, api, order)
        await bridge.reconciler.look_before_paying()
        lost = unknown(bridge, order("lost", prompt="a cat"))
        await watched(bridge, clock, 600)
        on_its_way = other.file.claim([order("on its way", prompt="a dog")]).claims[0].job
        other.file.dispatch(on_its_way, Limits(per_minute={}, at_once={}))
        history(api, "of the dog", prompt=None)
        await watched(bridge, clock, 300)
        question = await bridge.reconciler.question()
        assert ([job.id for job in question.jobs], question.watched) == ([lost.id], ())
        other.file.unknown(on_its_way.id, "ambiguous", "cut")
        (settled,) = await bridge.reconciler.answer(question, mine=())
        assert (settled.id, settled.state) == (lost.id, State.NOT_ACCEPTED)
        assert await watched(bridge, clock, 1800) == []
        assert [row.id for row in (await bridge.reconciler.question()).rows] == ["of the dog"]


async def test_none_of_these_does_not_speak_of_a_row_that_was_seen_since(
    assemble: Any, order: Any, api: Any, clock: SimpleNamespace
) -> None:
    async with assemble() as bridge:
        own(bridge, api, order)
        await bridge.reconciler.look_before_paying()
        job = unknown(bridge, order())
        lists = [["between"], ["own-0", "seen since", "between"]]
        for name in ("between", "seen since"):
            history(api, name, prompt=None)
        rows = dict(api.rows)
        api.rows = {name: rows[name] for name in lists[0]}  # a gap
        await watched(bridge, clock, 900, every=900)
        question = await bridge.reconciler.question()
        assert [row.id for row in question.rows] == ["between"]
        api.rows = {name: rows[name] for name in lists[1]}  # what is known is among the newest again
        await watched(bridge, clock, 60)
        assert await bridge.reconciler.answer(question, mine=()) == []
        assert [row.id for row in (await bridge.reconciler.question()).rows] == ["seen since"]
        assert (await bridge.ledger.get(job.id)).state is State.UNKNOWN


async def test_a_process_that_was_stopped_before_it_sent_is_not_given_up_too_early(
    assemble: Any, sendable: Any, api: Any, person: Any, clock: SimpleNamespace
) -> None:
    """Its request leaves an hour after it was noted as leaving; then the process is killed."""
    api.gate = anyio.Event()
    api.hidden = {"gen-1"}
    async with assemble(settling=2.0) as killed, anyio.create_task_group() as group:
        own(killed, api, sendable)
        group.start_soon(killed.spender.submit, sendable(), person("accept"))
        await api.arrived.wait()
        clock.now += 3600  # stopped for an hour
        killed.file.close()
        group.cancel_scope.cancel()
    history(api, "gen-1", prompt="a fox, digest-1")  # and so it arrived only now
    api.gate = None
    async with assemble(settling=2.0) as bridge:
        for _ in range(2):
            with pytest.raises(UnsettledJobError):
                await bridge.spender.submit(sendable(), person("accept"))
            clock.now += 400
        api.hidden = set()
        submission = await bridge.spender.submit(sendable(), person("accept"))
        assert (submission.job.generation_id, submission.repeated) == ("gen-1", True)
    assert api.sent == 1


async def test_an_account_without_a_row_is_watched_from_its_empty_list_on(
    assemble: Any, order: Any, api: Any, clock: SimpleNamespace
) -> None:
    async with assemble() as bridge:
        await bridge.reconciler.look_before_paying()
        job = unknown(bridge, order())
        assert await watched(bridge, clock, 600) == []
        own(bridge, api, order, count=1)
        assert await watched(bridge, clock, 300) == []  # one row may be the newest of many
        own(bridge, api, lambda digest, **changes: order(f"more {digest}", **changes))
        (settled,) = await bridge.reconciler.reconcile()  # a list of two is no page of one
        assert (settled.id, settled.state) == (job.id, State.NOT_ACCEPTED)


async def test_rows_without_an_id_prove_nothing(assemble: Any, order: Any, api: Any, clock: SimpleNamespace) -> None:
    async with assemble() as bridge:
        own(bridge, api, order)
        await bridge.reconciler.look_before_paying()
        unknown(bridge, order())
        history(api, "")
        assert await watched(bridge, clock, 3600) == []


async def test_looking_goes_on_ever_less_often_until_every_job_is_settled(
    assemble: Any, order: Any, api: Any, clock: SimpleNamespace
) -> None:
    looks: list[float] = []

    class SilentAtFirst(type(api)):  # type: ignore[misc]
        async def generations(self, **query: Any) -> list[Generation]:
            looks.append(clock.now)
            if len(looks) == 7:
                history(self, "gen-9")
                raise UnavailableError("busy")
            return list(await super().generations(**query))

    api.__class__ = SilentAtFirst
    async with assemble() as bridge:
        job = unknown(bridge, order(prompt="a fox"))
        await bridge.reconciler.settle_all()
        assert (await bridge.ledger.get(job.id)).generation_id == "gen-9"
    pauses = [after - before for before, after in pairwise(looks)]
    assert pauses == [3, 6, 12, 24, 48, 60, 60]


async def test_a_history_that_cannot_be_read_settles_nothing(
    assemble: Any, order: Any, api: Any, clock: SimpleNamespace
) -> None:
    async with assemble() as bridge:
        job = unknown(bridge, order())
        clock.now += 1000
        api.history_error = UnavailableError("502")
        assert (await bridge.reconciler.settle(job, patience=10)).state is State.UNKNOWN


@pytest.mark.parametrize(
    "arguments", [{"prompt": "a song"}, {"prompt": "a song", "model": None}, {"lyrics": "a  song", "title": "T"}]
)
async def test_a_song_is_found_whichever_engine_the_api_chose(
    assemble: Any, order: Any, api: Any, arguments: dict[str, Any]
) -> None:
    async with assemble() as bridge:
        music = {"route": "generate_music", "bucket": "music", "kind": "music", "model": "newest engine"}
        prompt = arguments.get("title") or "a song"
        job = unknown(bridge, order(prompt=prompt, generation_type=None, arguments=arguments, **music))
        history(api, "picture", prompt="a song")
        history(api, "song-2", model="V6", prompt="a song", generation_type="text-to-music")
        (found,) = await bridge.reconciler.reconcile()
        assert (found.id, found.generation_id) == (job.id, "song-2")


async def test_whether_there_is_work_can_be_asked_of_the_file_alone(
    assemble: Any, order: Any, api: Any, clock: SimpleNamespace
) -> None:
    """As the front asks it: what waits for a person is no work, and what another mode has done is none either."""
    async with assemble() as bridge:

        def work(account: str = "live-1") -> bool:
            with closing(sqlite3.connect(bridge.file.path)) as connection:
                query = query_for_work(account, bridge.reconciler.arrival_seconds)
                return connection.execute(query).fetchone() is not None

        assert not work()
        unknown(bridge, order("lost"))
        assert (work(), work("sandbox")) == (True, False)
        await watched(bridge, clock, seconds=600)
        assert work()
        await watched(bridge, clock)
        assert await bridge.reconciler.question() is not None
        assert not work()
        job = bridge.file.claim([order("another")]).claims[0].job
        assert work()
        bridge.file.accepted(job.id, ["gen-1"])
        assert work()
        bridge.file.settled(job.id, State.COMPLETED, 14, [])
        assert work()
        bridge.file.saved(job.id, [])
        assert not work()
