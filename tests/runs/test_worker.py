"""What a worker does with rows that it is handed, and when it takes none, before a ledger and an engine that behave."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.team.campaigns import CampaignRow, RowState, Sweep
from kubeez_mcp_local.rest.errors import UnauthorizedError
from kubeez_mcp_local.runs import worker as workers
from kubeez_mcp_local.runs.engines.local import LocalEngine
from kubeez_mcp_local.runs.run import CallReport
from kubeez_mcp_local.runs.worker import Worker, unsaveable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

pytestmark = pytest.mark.anyio
Row = tuple[str, int, int]


class Books:
    """A ledger whose rows wait until they are taken, and that keeps what is said of them."""

    def __init__(self, plan: Callable[[], Any], rows: int = 0) -> None:
        self.plan = plan
        self.waiting = [
            CampaignRow("cities-1", each, RowState.WAITING, 1, "", "", "", "", 0, ()) for each in range(rows)
        ]
        self.taken: list[Row] = []
        self.ended: list[RowState] = []
        self.renewed: list[Row] = []
        self.own: frozenset[Row] = frozenset()
        self.others = 0
        self.let_go = 0

    async def sweep_campaigns(self, limit: int) -> Sweep:
        in_hand = len(self.taken) - len(self.ended)
        return Sweep(tuple(self.waiting[:limit]), in_hand, self.own, self.others)

    async def schedules(self) -> Any:
        return 0.0, []

    async def ended_owners(self, owners: Sequence[str]) -> list[str]:
        return list(owners)

    async def renew_rows(self, rows: Collection[Row]) -> None:
        self.renewed += sorted(rows)

    async def let_go_of_rows(self) -> None:
        self.let_go += 1

    async def take_row(self, run: str, number: int, attempt: int, _: str) -> bool:
        self.taken.append((run, number, attempt))
        self.waiting = [row for row in self.waiting if row.number != number]
        return True

    async def end_row(self, _: object, state: RowState, *__: object) -> bool:
        self.ended.append(state)
        return True

    async def get(self, wanted: str) -> Any:
        return SimpleNamespace(save_error=f"{wanted}: the disk is full")

    async def campaign(self, _: str) -> Any:
        await self.plan()
        return SimpleNamespace(budget=100.0)


class Key:
    """An API that takes the key, or not."""

    def __init__(self, error: KubeezError | None = None) -> None:
        self.error = error

    async def balance(self) -> None:
        if self.error:
            raise self.error


class Engine(LocalEngine):
    """One that never waits, and has handed rows out to the end already if it is told so."""

    spent: tuple[CampaignRow, ...] = ()
    prepared = 0

    async def prepare(self) -> None:
        self.prepared += 1
        await super().prepare()

    async def submit(self, rows: Sequence[CampaignRow]) -> list[CampaignRow]:
        await super().submit(rows)
        return list(self.spent)


async def failing() -> Any:
    raise KubeezError("That is all.", next_step="", code="over")


def worker(books: Books, *, key: KubeezError | None = None, **more: Any) -> Worker:
    nobody: Any = None
    bridge: Any = SimpleNamespace(
        ledger=books,
        api=Key(key),
        mode=SimpleNamespace(value="live"),
        settings=SimpleNamespace(output_dir=nobody),
    )
    options = {"unsaveable": lambda _: "", **more}
    return Worker(bridge, nobody, Engine(4, sleep=lambda _: anyio.lowlevel.checkpoint()), 4, **options)


def reporting(monkeypatch: pytest.MonkeyPatch, call: CallReport) -> None:
    """Let each row come to this one call."""

    class Planned:
        recipe = SimpleNamespace(name="cities")

        async def carry_out(self, *_: object, **__: object) -> Any:
            return SimpleNamespace(calls=(call,))

    monkeypatch.setattr(workers, "run_of", lambda *_: Planned())
    monkeypatch.setattr(workers, "replace", lambda planned, **_: planned)


async def nothing() -> None:
    return


PAID = CallReport("pictures[0]", "generate_media", "completed", 4.0, {"generation_ids": ["job-1"]})


async def test_a_worker_that_is_handed_a_row_which_it_has_in_hand_does_nothing() -> None:
    async def plan() -> Any:
        await carrying.carry_out("cities-1", 0, 1)
        await failing()

    books = Books(plan)
    carrying = worker(books)
    await carrying.carry_out("cities-1", 0, 1)
    assert (len(books.taken), books.ended) == (1, [RowState.FAILED])


async def test_but_a_row_that_is_at_its_next_attempt_is_carried_out() -> None:
    async def plan() -> Any:
        if len(books.taken) == 1:
            await carrying.carry_out("cities-1", 0, 2)
        await failing()

    books = Books(plan)
    carrying = worker(books)
    await carrying.carry_out("cities-1", 0, 1)
    assert len(books.taken) == 2


async def test_what_nobody_expected_ends_a_row_instead_of_leaving_it_in_hand() -> None:
    async def plan() -> Any:
        raise ZeroDivisionError

    books = Books(plan)
    await worker(books).carry_out("cities-1", 0, 1)
    assert books.ended == [RowState.FAILED]


async def test_all_rows_are_carried_out_and_then_nothing_is_left_in_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    reporting(monkeypatch, CallReport("pictures[0]", "pick_model", "completed"))
    books = Books(nothing, rows=9)
    await worker(books).work(until_idle=True)
    assert sorted(number for _, number, _ in books.taken) == list(range(9))
    assert set(books.ended) == {RowState.COMPLETED}
    assert books.let_go == 1


async def test_rows_that_nobody_is_at_work_on_any_more_are_handed_out_anew() -> None:
    """The engine is done with one that waits still in the ledger, and of one the worker lost sight."""
    books = Books(failing, rows=1)
    carrying = worker(books)
    assert isinstance(carrying.engine, Engine)
    carrying.engine.spent = (books.waiting[0],)
    books.own = frozenset({("cities-1", 7, 2)})
    await carrying.work(until_idle=True)
    assert set(books.renewed) == {("cities-1", 0, 1), ("cities-1", 7, 2)}


async def test_a_worker_without_room_does_not_begin() -> None:
    books = Books(nothing, rows=3)
    carrying = worker(books, unsaveable=lambda _: "/out: only 3 MB are free.")
    with pytest.raises(KubeezError, match="takes no rows: /out: only 3 MB are free") as refused:
        await carrying.work()
    assert refused.value.code == "not_saved"
    assert isinstance(carrying.engine, Engine)
    assert (books.taken, carrying.engine.prepared) == ([], 0)


async def test_nor_one_whose_key_is_not_taken() -> None:
    books = Books(nothing, rows=3)
    with pytest.raises(UnauthorizedError):
        await worker(books, key=UnauthorizedError("The API refuses the key.")).work()
    assert books.taken == []


async def test_room_is_looked_for_before_each_row(monkeypatch: pytest.MonkeyPatch) -> None:
    reporting(monkeypatch, CallReport("pictures[0]", "pick_model", "completed"))
    room = iter(["", "", "/out: the disk is full."])
    books = Books(nothing, rows=3)
    with anyio.fail_after(10), pytest.raises(KubeezError, match="the disk is full"):
        await worker(books, unsaveable=lambda _: next(room, "/out: the disk is full.")).work()
    assert len(books.taken) == len(books.ended) == 1


async def test_a_row_that_is_paid_and_cannot_be_saved_is_parked_and_its_worker_takes_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reporting(monkeypatch, PAID)
    books = Books(nothing)
    carrying = worker(books)
    await carrying.carry_out("cities-1", 0, 1)
    with anyio.move_on_after(0.05):
        await carrying.carry_out("cities-1", 1, 1)
    assert (len(books.taken), books.ended) == (1, [RowState.PARKED])


async def test_a_key_that_is_refused_meanwhile_parks_what_is_in_hand_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = CallReport("pictures[0]", "generate_media", "failed", reason="The key is refused.", code="unauthorized")
    reporting(monkeypatch, refused)
    books = Books(nothing, rows=30)
    with anyio.fail_after(10), pytest.raises(KubeezError, match="The key is refused"):
        await worker(books).work()
    assert set(books.ended) == {RowState.PARKED}
    assert len(books.taken) <= 4


async def test_campaigns_of_another_release_are_told_of_once() -> None:
    told: list[str] = []
    books = Books(nothing, rows=0)
    books.others = 2
    carrying = worker(books, tell=told.append)
    for _ in range(2):
        await carrying.work(until_idle=True)
    assert told == ["Campaigns of another release: 2. They are left alone; update this worker, or them."]


def test_where_nothing_can_be_saved(tmp_path: Path) -> None:
    assert unsaveable(tmp_path / "out", 0) == ""
    assert "MB are free; a row is begun with" in unsaveable(tmp_path, 10**18)
    (tmp_path / "file").write_text("in the way", "utf-8")
    assert "cannot be written to" in unsaveable(tmp_path / "file")


async def test_the_local_engine_hands_out_no_more_than_it_may_and_each_row_once() -> None:
    engine, most, now = LocalEngine(2), 0, 0
    seen: list[int] = []

    async def carry_out(_: str, number: int, __: int) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        seen.append(number)
        await anyio.lowlevel.checkpoint()
        now -= 1
        if number == 1:
            raise ZeroDivisionError

    rows = Books(nothing, rows=6).waiting
    await engine.prepare()
    await engine.work(carry_out)
    await engine.submit(rows)
    await engine.submit(rows)
    for _ in range(30):
        await anyio.lowlevel.checkpoint()
    assert (sorted(seen), most) == (list(range(6)), 2)


async def test_the_local_engine_gives_up_what_is_in_hand_when_it_is_withdrawn() -> None:
    engine = LocalEngine(1)
    cut: list[int] = []

    async def carry_out(_: str, number: int, __: int) -> None:
        with suppress(ZeroDivisionError):
            try:
                await anyio.sleep_forever()
            finally:
                cut.append(number)

    await engine.prepare()
    await engine.work(carry_out)
    await engine.submit(Books(nothing, rows=3).waiting)
    await anyio.lowlevel.checkpoint()
    await engine.withdraw()
    assert cut == [0]
