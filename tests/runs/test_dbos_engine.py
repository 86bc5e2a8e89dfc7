"""DBOS hands out each attempt at a row once, says when it is done with it, and hands out anew what the dead had."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING
from uuid import uuid4

import anyio
import pytest

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.team.campaigns import CampaignRow, RowState
from tests.jobs.server import NO_SERVER, SERVER, team_ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(not SERVER, reason=NO_SERVER)]


def row(number: int, attempt: int = 1) -> CampaignRow:
    return CampaignRow("cities-1", number, RowState.WAITING, attempt, "", "", "", "", 0, ())


async def test_each_attempt_is_handed_out_once_and_again_when_who_had_it_is_dead() -> None:
    import psycopg
    from dbos import DBOS

    from kubeez_mcp_local.jobs.team.postgres import Address
    from kubeez_mcp_local.runs.engines.dbos import DbosEngine

    handed: list[tuple[int, int]] = []

    news = anyio.Event()
    at_once: set[int] = set()
    two = anyio.Event()

    async def carry_out(_: str, number: int, attempt: int) -> None:
        handed.append((number, attempt))
        news.set()
        at_once.add(number)
        if len(at_once) > 1:
            two.set()
        if len(handed) == 1:  # time for the other row to come beside it
            with anyio.move_on_after(0.5):
                await two.wait()
        at_once.discard(number)
        if number == 1:
            raise ZeroDivisionError

    async def ended(owners: Sequence[str]) -> list[str]:
        asked.append(list(owners))
        return [owner for owner in owners if owner in dead]

    dead: list[str] = []
    asked: list[list[str]] = []
    address = Address.of(team_ledger(f"engine {uuid4().hex}"))
    engine = DbosEngine(address, "live-1", "me", 1)
    await engine.prepare()
    try:
        await DBOS.register_queue_async("kubeez-rows-live-1", worker_concurrency=6)  # another worker wants more
        await engine.work(carry_out)
        rows = [row(0), row(1)]
        assert await engine.submit(rows) == []
        over: list[CampaignRow] = []
        with anyio.fail_after(30):
            while len(over) < 2:  # it is written down a moment after the row was carried out
                await anyio.sleep(0.02)
                over = await engine.submit(rows)
        assert sorted(handed) == [(0, 1), (1, 1)]
        assert not two.is_set(), "more rows in hand than this worker may have"
        news = anyio.Event()
        await engine.submit([row(0, 2)])
        with anyio.fail_after(30):
            await news.wait()
        assert handed[2:] == [(0, 2)]
        await engine.take_over(ended)
        assert asked == [], "nobody else has a row in hand"

        left_behind = f"UPDATE \"{address.engine_schema}\".workflow_status SET status = 'PENDING', executor_id = 'gone'"
        with closing(psycopg.connect(address.url, autocommit=True)) as session:
            query = f'SELECT workflow_uuid, priority FROM "{address.engine_schema}".workflow_status'
            ranks = {name.split("/", 1)[1]: rank for name, rank in session.execute(query.encode())}
            assert ranks["live-1/cities-1/0/2"] < ranks["live-1/cities-1/1/1"], "what was begun comes first"
            session.execute(f"{left_behind} WHERE workflow_uuid LIKE '%/cities-1/0/1'".encode())
        await engine.take_over(ended)
        assert handed.count((0, 1)) == 1
        news = anyio.Event()
        dead.append("gone")
        await engine.take_over(ended)
        with anyio.fail_after(30):
            await news.wait()
        assert handed[3:] == [(0, 1)]
        assert asked == [["gone"], ["gone"]]
    finally:
        await engine.withdraw()


async def test_a_pooler_that_shares_out_connections_by_the_transaction_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from kubeez_mcp_local.jobs.team import postgres
    from kubeez_mcp_local.runs.engines.dbos import DbosEngine

    monkeypatch.setattr(postgres, "shares_connections", lambda _: True)
    engine = DbosEngine(postgres.Address.of("postgresql://db.example/kubeez"), "live-1", "me", 2)
    with pytest.raises(
        KubeezError, match="through a pooler in transaction mode", check=lambda e: e.code == "engine_pooled"
    ):
        await engine.prepare()
