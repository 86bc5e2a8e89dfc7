"""Rows handed out by DBOS, a durable engine that needs nothing but the Postgres that is there anyway.

It distributes and revives; it does not pay exactly once, and need not. Only public calls of it are used.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.errors import LedgerError
from kubeez_mcp_local.jobs.team.campaigns import ROW_VERSION

try:
    from dbos import DBOS, SetEnqueueOptions, SetWorkflowID
except ImportError as missing:
    raise KubeezError(
        f"A worker needs the package dbos ({missing}).",
        next_step="Install the extra `team`: kubeez-mcp-local[team].",
        code="engine_missing",
    ) from None

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from kubeez_mcp_local.jobs.team.campaigns import CampaignRow
    from kubeez_mcp_local.jobs.team.postgres import Address

log = logging.getLogger(__name__)

APPLICATION_VERSION = f"rows-{ROW_VERSION}"
"""Changes only with the arguments of a row: rows of one version are not handed to workers of another. Each version
hands out under names of its own, so that none waits for workers that are gone; whoever is first takes the row."""
_OVER = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
_QUEUE = "kubeez-rows"
_POLL_SECONDS = 0.5
_MOST_REVIVALS = 50
_AFTER_OTHERS = 1
"""Rows that somebody has begun with, and that a dead worker left behind, come before those that nobody has."""


@dataclass
class _Hands:
    """Whoever carries out the rows of this process: DBOS knows its workflows by module, not by object."""

    loop: asyncio.AbstractEventLoop | None = None
    work: Callable[[str, int, int], Awaitable[None]] | None = None


_hands = _Hands()


@DBOS.workflow(name="kubeez-row", max_recovery_attempts=_MOST_REVIVALS)
async def _row(run: str, number: int, attempt: int) -> None:
    """A row. What went wrong stands in the ledger: an exception would end it here for good."""
    if _hands.loop is None or _hands.work is None:
        return
    done = asyncio.run_coroutine_threadsafe(_carried_out(run, number, attempt), _hands.loop)
    await asyncio.wrap_future(done)


async def _carried_out(run: str, number: int, attempt: int) -> None:
    try:
        if _hands.work is not None:
            await _hands.work(run, number, attempt)
    except Exception:
        log.exception("row %s of %s", number, run)


def allow(address: Address, role: str) -> None:
    """Make or bring up to date the engine's tables, and let `role` work with them. Blocking.

    Raises:
        KubeezError: This role may not do that, or the database cannot be used (`engine_unprepared`).
    """
    try:
        DBOS.migrate(address.url, schema=address.engine_schema, application_role=role)
    except Exception as error:  # noqa: BLE001 - what it raises is not documented
        log.info("the engine's tables could not be made: %s", type(error).__name__)
        raise KubeezError(
            f"The tables of the engine of campaigns could not be made in {address.engine_schema} "
            f"({type(error).__name__}).",
            next_step="Run this with the KUBEEZ_LEDGER of the role that owns the database.",
            code="engine_unprepared",
        ) from None


@dataclass
class DbosEngine:
    """Hands out rows through DBOS' tables beside the ledger's, in a schema of their own; as `worker.Engine` says.

    Attributes:
        owner: This process, called as in the ledger.
        parallel: Most rows in hand at once.
    """

    address: Address
    account: str
    owner: str
    parallel: int
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    _launched: bool = field(init=False, default=False)
    _submitted: set[str] = field(init=False, default_factory=set)

    async def prepare(self) -> None:
        await self._verify_connection()
        DBOS(
            config={
                "name": "kubeez-campaigns",
                "system_database_url": self.address.url,
                "dbos_system_schema": self.address.engine_schema,
                "executor_id": self.owner,
                "application_version": APPLICATION_VERSION,
                "log_level": "ERROR",
            }
        )
        while True:
            try:
                await asyncio.to_thread(DBOS.launch)
            except Exception as error:  # noqa: BLE001 - what it raises when a database is away is not documented
                if "InsufficientPrivilege" in f"{error}":
                    raise KubeezError(
                        "The engine of campaigns has no tables in this database, and this role may not make them.",
                        next_step="Have who owns it run: kubeez-mcp-local team allow ROLE.",
                        code="engine_unprepared",
                    ) from None
                log.warning("the engine cannot start yet: %s", type(error).__name__)
                await self.sleep(2)
            else:
                break
        self._launched = True

    async def _verify_connection(self) -> None:
        """The engine prepares statements and listens, which live as long as a connection."""
        from kubeez_mcp_local.jobs.team.failures import NOT_SHARED
        from kubeez_mcp_local.jobs.team.postgres import shares_connections

        try:
            shared = await asyncio.to_thread(shares_connections, self.address)
        except LedgerError as error:
            log.info("whether a pooler stands before the database cannot be told: %s", error.code)
            return
        if shared:
            raise KubeezError(
                f"{self.address} is reached through a pooler in transaction mode, which workers cannot use.",
                next_step=NOT_SHARED,
                code="engine_pooled",
            )

    async def work(self, carry_out: Callable[[str, int, int], Awaitable[None]]) -> None:
        slots = asyncio.Semaphore(self.parallel)

        async def in_turn(run: str, number: int, attempt: int) -> None:
            async with slots:
                await carry_out(run, number, attempt)

        _hands.loop, _hands.work = asyncio.get_running_loop(), in_turn
        await self._let_in()

    async def _let_in(self) -> None:
        """Let each worker have as many rows as this one wants. The engine keeps one such number for all workers, so
        it is only raised; how many rows this one carries out at once, it sees to by itself."""
        known = await DBOS.retrieve_queue_async(self._queue)
        most = await known.get_worker_concurrency_async() if known else None
        if known is None or (most is not None and most < self.parallel):
            await DBOS.register_queue_async(
                self._queue,
                worker_concurrency=self.parallel,
                polling_interval_sec=_POLL_SECONDS,
                on_conflict="always_update",
            )

    @property
    def _queue(self) -> str:
        return f"{_QUEUE}-{self.account}"

    async def submit(self, rows: Sequence[CampaignRow]) -> list[CampaignRow]:
        wanted = {f"{APPLICATION_VERSION}/{self.account}/{row.run}/{row.number}/{row.attempt}": row for row in rows}
        before = self._submitted & wanted.keys()
        for name in wanted.keys() - before:
            row = wanted[name]
            with SetWorkflowID(name), SetEnqueueOptions(priority=_AFTER_OTHERS if row.attempt == 1 else None):
                await DBOS.enqueue_workflow_async(self._queue, _row, row.run, row.number, row.attempt)
        self._submitted = set(wanted)
        if not before:
            return []
        over = await DBOS.list_workflows_async(
            workflow_ids=sorted(before), status=_OVER, load_input=False, load_output=False
        )
        return [wanted[each.workflow_id] for each in over]

    async def take_over(self, ended: Callable[[Sequence[str]], Awaitable[Collection[str]]]) -> None:
        others = {each.executor_id for each in await self._pending() if each.executor_id} - {self.owner}
        dead = await ended(sorted(others)) if others else ()
        ids = [each.workflow_id for each in await self._pending(list(dead))] if dead else []
        if ids:
            await DBOS.resume_workflows_async(ids, queue_name=self._queue)

    async def _pending(self, owners: list[str] | None = None) -> list[Any]:
        return await DBOS.list_workflows_async(
            status="PENDING",
            queue_name=self._queue,
            executor_id=owners,
            load_input=False,
            load_output=False,
        )

    async def schedule(self, look: Callable[[], Awaitable[bool]], seconds: float) -> None:
        """Its own schedules begin what exists twice in a night twice, keep a row for each time
        and say nothing of one that was missed, so the ledger is asked instead."""
        while await look():
            await self.sleep(seconds)

    async def withdraw(self) -> None:
        if self._launched:
            await asyncio.to_thread(DBOS.destroy, workflow_completion_timeout_sec=0)
