"""Reconciliation: found in the history, absent on proof, or still unknown."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.jobs.job import State
from kubeez_mcp_local.jobs.limits import Limits
from kubeez_mcp_local.rest.failures import UnavailableError
from kubeez_mcp_local.rest.wire import Generation

if TYPE_CHECKING:
    from types import SimpleNamespace

pytestmark = pytest.mark.anyio


def unknown(bridge: Any, order: Any) -> Any:
    job = bridge.file.claim([order]).claims[0].job
    bridge.file.dispatch(job, Limits(per_minute={}, at_once={}))
    return bridge.file.unknown(job.id, "ambiguous", "cut")


def history(api: Any, generation_id: str, *, created: float, prompt: str = "a fox", **changes: Any) -> None:
    fields = {"model": "nano-banana-2", "generation_type": "text-to-image", "created_at": str(created)} | changes
    api.rows[generation_id] = Generation(id=generation_id, prompt=prompt, **fields)


async def test_a_job_in_the_history_is_adopted(assemble: Any, order: Any, api: Any, clock: SimpleNamespace) -> None:
    async with assemble() as bridge:
        job = unknown(bridge, order(prompt="a  fox\n"))
        history(api, "gen-9", created=clock.now + 2)
        (found,) = await bridge.reconciler.reconcile()
        assert (found.id, found.state, found.generation_id) == (job.id, State.ACCEPTED, "gen-9")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a wolf"},
        {"model": "z-image"},
        {"generation_type": "image-to-image"},
        {"created": -301},
        {"created": 901},
        {"created_at": None},
    ],
    ids=lambda row: next(iter(row)),
)
async def test_what_is_not_alike_is_not_adopted(
    assemble: Any, order: Any, api: Any, clock: SimpleNamespace, row: dict[str, Any]
) -> None:
    async with assemble() as bridge:
        job = unknown(bridge, order(prompt="a fox"))
        history(api, "gen-9", created=clock.now + row.pop("created", 0), **row)
        await bridge.reconciler.reconcile()
        assert (await bridge.ledger.get(job.id)).state is State.UNKNOWN


async def test_a_generation_that_another_job_owns_is_not_adopted(
    assemble: Any, order: Any, api: Any, clock: SimpleNamespace
) -> None:
    async with assemble() as bridge:
        first = bridge.file.claim([order("a", prompt="a fox")]).claims[0].job
        bridge.file.accepted(first.id, ["gen-1"])
        history(api, "gen-1", created=clock.now)
        job = unknown(bridge, order("b", prompt="a fox"))
        await bridge.reconciler.reconcile()
        assert (await bridge.ledger.get(job.id)).state is State.UNKNOWN


async def test_two_unknown_jobs_find_one_generation_each(
    assemble: Any, order: Any, api: Any, clock: SimpleNamespace
) -> None:
    async with assemble() as bridge:
        claims = bridge.file.claim([order("a", prompt="a fox"), order("b", prompt="a fox")]).claims
        for claim in claims:
            bridge.file.dispatch(claim.job, Limits())
            bridge.file.unknown(claim.job.id, "ambiguous", "cut")
        history(api, "gen-1", created=clock.now)
        assert len(await bridge.reconciler.reconcile()) == 1
        history(api, "gen-2", created=clock.now)
        assert len(await bridge.reconciler.reconcile()) == 1
        assert {(await bridge.ledger.get(claim.job.id)).generation_id for claim in claims} == {"gen-1", "gen-2"}


async def test_a_generation_is_left_to_a_twin_that_is_still_being_sent(
    assemble: Any, order: Any, api: Any, clock: SimpleNamespace
) -> None:
    async with assemble() as bridge, assemble() as sender:
        claims = bridge.file.claim([order("a", prompt="a fox")]).claims
        twin = sender.file.claim([order("b", prompt="a fox")]).claims[0].job
        sender.file.dispatch(twin, Limits())
        bridge.file.dispatch(claims[0].job, Limits())
        bridge.file.unknown(claims[0].job.id, "ambiguous", "cut")
        history(api, "gen-1", created=clock.now)
        clock.now += 100
        assert await bridge.reconciler.reconcile() == []
        sender.file.accepted(twin.id, ["gen-1"])
        (settled,) = await bridge.reconciler.reconcile()
        assert settled.state is State.NOT_ACCEPTED


async def test_absence_needs_time(assemble: Any, order: Any, clock: SimpleNamespace) -> None:
    async with assemble() as bridge:
        job = unknown(bridge, order())
        clock.now += 59
        assert await bridge.reconciler.reconcile() == []
        clock.now += 2
        (settled,) = await bridge.reconciler.reconcile()
        assert (settled.id, settled.state, settled.reserved) == (job.id, State.NOT_ACCEPTED, 0)


async def test_absence_needs_a_history_that_reaches_back_far_enough(
    assemble: Any, order: Any, api: Any, clock: SimpleNamespace
) -> None:
    async with assemble() as bridge:
        unknown(bridge, order(prompt="a fox"))
        for number in range(25):
            history(api, f"later-{number}", created=clock.now + 10, prompt="somebody else's")
        clock.now += 100
        assert await bridge.reconciler.reconcile() == []
        api.rows = {"old": api.rows["later-0"].model_copy(update={"id": "old", "created_at": str(clock.now - 500)})}
        for number in range(10):
            history(api, f"later-{number}", created=clock.now, prompt="somebody else's")
        assert len(await bridge.reconciler.reconcile()) == 1


async def test_a_job_of_ours_from_before_proves_that_the_history_reaches_back(
    assemble: Any, order: Any, api: Any, clock: SimpleNamespace
) -> None:
    async with assemble() as bridge:
        before = bridge.file.claim([order("before", prompt="a wolf")]).claims[0].job
        bridge.file.accepted(before.id, ["gen-before"])
        history(api, "gen-before", created=clock.now + 4, prompt="a wolf")
        clock.now += 1
        unknown(bridge, order(prompt="a fox"))
        for number in range(24):
            history(api, f"later-{number}", created=clock.now + 10, prompt="somebody else's")
        clock.now += 100
        assert len(await bridge.reconciler.reconcile()) == 1


async def test_kinds_that_the_history_may_not_list_stay_unknown_until_the_user_says(
    assemble: Any, order: Any, api: Any, clock: SimpleNamespace
) -> None:
    async with assemble() as bridge:
        job = unknown(bridge, order(route="generate_music", bucket="music", kind="music", model="V5"))
        clock.now += 3600
        assert await bridge.reconciler.reconcile() == []
        assert (await bridge.ledger.settle_by_hand(job.id, paid=False)).reserved == 0


async def test_a_kind_that_the_history_has_listed_before_can_be_absent(
    assemble: Any, order: Any, api: Any, clock: SimpleNamespace
) -> None:
    async with assemble() as bridge:
        music: dict[str, Any] = {"route": "generate_music", "bucket": "music", "kind": "music", "model": "V5"}
        music |= {"arguments": {"prompt": "a song", "model": "V5"}, "generation_type": None}
        before = bridge.file.claim([order("before", **music)]).claims[0].job
        bridge.file.accepted(before.id, ["song-1"])
        history(api, "song-1", created=clock.now, model="V5", prompt=before.prompt)
        clock.now += 1
        unknown(bridge, order(**music))
        clock.now += 100
        assert len(await bridge.reconciler.reconcile()) == 1


@pytest.mark.parametrize(
    "arguments", [{"prompt": "a song"}, {"prompt": "a song", "model": None}, {"lyrics": "a  song", "title": "T"}]
)
async def test_a_song_is_found_whichever_engine_the_api_chose(
    assemble: Any, order: Any, api: Any, clock: SimpleNamespace, arguments: dict[str, Any]
) -> None:
    async with assemble() as bridge:
        music = {"route": "generate_music", "bucket": "music", "kind": "music", "model": "newest engine"}
        prompt = arguments.get("title") or "a song"
        job = unknown(bridge, order(prompt=prompt, generation_type=None, arguments=arguments, **music))
        history(api, "picture", created=clock.now, prompt="a song")
        history(api, "song-2", created=clock.now + 1, model="V6", prompt="a song", generation_type="text-to-music")
        (found,) = await bridge.reconciler.reconcile()
        assert (found.id, found.generation_id) == (job.id, "song-2")


@pytest.mark.parametrize(
    ("told", "given"),
    [({"model": "Nano Banana 2"}, {}), ({"prompt": "A FOX, enhanced"}, {}), ({}, {"arguments": {"lyrics": "la"}})],
)
async def test_absence_needs_a_history_in_which_such_jobs_can_be_recognised(
    assemble: Any, order: Any, api: Any, clock: SimpleNamespace, told: dict[str, Any], given: dict[str, Any]
) -> None:
    async with assemble() as bridge:
        route = {"route": "generate_dialogue"} if given else {}
        before = bridge.file.claim([order("before", prompt="a fox", **route)]).claims[0].job
        bridge.file.accepted(before.id, ["gen-before"])
        history(api, "gen-before", created=clock.now, **{"prompt": "a fox"} | told)
        clock.now += 700
        for number in range(12):
            history(api, f"later-{number}", created=clock.now + 10, prompt="somebody else's", model="z-image")
        job = unknown(bridge, order(prompt="a cat", **route, **given))
        clock.now += 100
        assert await bridge.reconciler.reconcile() == []
        assert (await bridge.ledger.get(job.id)).state is State.UNKNOWN


async def test_a_late_arrival_is_still_adopted(assemble: Any, order: Any, api: Any, clock: SimpleNamespace) -> None:
    async with assemble() as bridge:
        job = unknown(bridge, order(prompt="a fox"))
        created = clock.now
        clock.now += 100
        await bridge.reconciler.reconcile()
        history(api, "gen-late", created=created + 90)
        (found,) = await bridge.reconciler.reconcile()
        assert (found.id, found.state, found.reserved) == (job.id, State.ACCEPTED, 14)


async def test_looking_goes_on_ever_less_often_until_every_job_is_settled(
    assemble: Any, order: Any, api: Any, clock: SimpleNamespace
) -> None:
    looks: list[float] = []

    class SilentAtFirst(type(api)):  # type: ignore[misc]
        async def generations(self, **query: Any) -> list[Generation]:
            looks.append(clock.now)
            if len(looks) == 7:
                history(self, "gen-9", created=clock.now)
                raise UnavailableError("busy")
            return list(await super().generations(**query))

    api.__class__ = SilentAtFirst
    async with assemble() as bridge:
        job = unknown(bridge, order(prompt="a fox", route="generate_music"))
        await bridge.reconciler.settle_all()
        assert (await bridge.ledger.get(job.id)).generation_id == "gen-9"
    pauses = [after - before for before, after in pairwise(looks)]
    assert pauses == [3, 6, 12, 24, 48, 60, 60]


async def test_a_history_that_cannot_be_read_settles_nothing(
    assemble: Any, order: Any, api: Any, clock: SimpleNamespace
) -> None:
    async with assemble() as bridge:
        job = unknown(bridge, order())
        clock.now += 100
        api.history_error = UnavailableError("502")
        assert (await bridge.reconciler.settle(job, patience=10)).state is State.UNKNOWN
