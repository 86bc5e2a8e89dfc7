"""Rows handed out within this process, straight from the ledger: needs no package and no tables of its own.

Several workers may do so side by side. Each takes the ledger's word for whose row it is, as with any engine; they only
ask it more often in vain than with one that knows of all of them.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from kubeez_mcp_local.jobs.team.campaigns import CampaignRow

log = logging.getLogger(__name__)


@dataclass
class LocalEngine:
    """Hands out rows to this process alone; as `worker.Engine` says.

    Attributes:
        parallel: Most rows in hand at once.
    """

    parallel: int
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    _carry_out: Callable[[str, int, int], Awaitable[None]] | None = field(init=False, default=None)
    _out: dict[tuple[str, int, int], asyncio.Task[None]] = field(init=False, default_factory=dict)

    async def prepare(self) -> None:
        self._slots = asyncio.Semaphore(self.parallel)

    async def work(self, carry_out: Callable[[str, int, int], Awaitable[None]]) -> None:
        self._carry_out = carry_out

    async def submit(self, rows: Sequence[CampaignRow]) -> list[CampaignRow]:
        for row in rows:
            key = (row.run, row.number, row.attempt)
            if key not in self._out:
                self._out[key] = asyncio.create_task(self._hand_out(key))
        return []

    async def _hand_out(self, key: tuple[str, int, int]) -> None:
        async with self._slots:
            try:
                if self._carry_out is not None:
                    await self._carry_out(*key)
            except Exception:
                log.exception("row %s of %s", key[1], key[0])
            finally:
                del self._out[key]

    async def take_over(self, ended: Callable[[Sequence[str]], Awaitable[Collection[str]]]) -> None:
        """What others had handed out to themselves, the ledger has given back."""

    async def schedule(self, look: Callable[[], Awaitable[bool]], seconds: float) -> None:
        while await look():
            await self.sleep(seconds)

    async def withdraw(self) -> None:
        self._carry_out = None
        tasks = list(self._out.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._out.clear()
