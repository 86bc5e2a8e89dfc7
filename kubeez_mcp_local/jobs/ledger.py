"""The ledger, for async callers: every call runs in a thread, one at a time, the file opened on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from kubeez_mcp_local.jobs.approvals import Approval
    from kubeez_mcp_local.jobs.budget import Ceilings, RunSpend, Today
    from kubeez_mcp_local.jobs.frozen import FrozenQuote
    from kubeez_mcp_local.jobs.guard import Decision
    from kubeez_mcp_local.jobs.job import Job, SavedFile, State
    from kubeez_mcp_local.jobs.limits import Limits, Wait
    from kubeez_mcp_local.jobs.order import Order
    from kubeez_mcp_local.jobs.proof import Evidence, Row
    from kubeez_mcp_local.jobs.sightings import Moment
    from kubeez_mcp_local.jobs.store import LedgerFile
    from kubeez_mcp_local.jobs.summary import Spend, SpendKey

T = TypeVar("T")


class Ledger:
    """Async face of `LedgerFile`; see there for what each method does and raises.

    A call that has begun is finished even if its caller is cancelled, so that what was decided is also written.

    Args:
        open_file: Opens the ledger file; called in a thread on first use, and again after it failed.
    """

    def __init__(self, open_file: Callable[[], LedgerFile]) -> None:
        self._open_file = open_file
        self._file: LedgerFile | None = None
        self._one_at_a_time = CapacityLimiter(1)

    async def _run(self, work: Callable[[LedgerFile], T]) -> T:
        return await to_thread.run_sync(lambda: work(self._opened()), limiter=self._one_at_a_time)

    def _opened(self) -> LedgerFile:
        if self._file is None:
            self._file = self._open_file()
        return self._file

    async def aclose(self) -> None:
        """Let go of the file."""
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self._close, limiter=self._one_at_a_time)

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    async def look(self, orders: Sequence[Order]) -> Decision:
        return await self._run(lambda file: file.look(orders))

    async def claim(self, orders: Sequence[Order], approval: Approval | None = None) -> Decision:
        return await self._run(lambda file: file.claim(orders, approval))

    async def recover(self) -> None:
        await self._run(lambda file: file.recover())

    async def frozen_quote(self, digest: str, current: float | None) -> FrozenQuote | None:
        return await self._run(lambda file: file.frozen_quote(digest, current))

    async def freeze(self, digest: str, quote: FrozenQuote) -> FrozenQuote:
        return await self._run(lambda file: file.freeze(digest, quote))

    async def use_up(self, digest: str) -> None:
        await self._run(lambda file: file.use_up(digest))

    async def issue_approval(self, digest: str, quote: float | None) -> str:
        return await self._run(lambda file: file.issue_approval(digest, quote))

    async def redeem(self, approval: Approval) -> None:
        await self._run(lambda file: file.redeem(approval))

    async def dispatch(self, job: Job, allowed: Limits) -> Wait | None:
        return await self._run(lambda file: file.dispatch(job, allowed))

    async def take_back(self, job_id: str) -> bool:
        return await self._run(lambda file: file.take_back(job_id))

    async def pause(self, bucket: str, seconds: float) -> None:
        await self._run(lambda file: file.pause(bucket, seconds))

    async def take_reads(self, wanted: int, allowed: Limits) -> tuple[int, Wait | None]:
        return await self._run(lambda file: file.take_reads(wanted, allowed))

    async def accepted(self, job_id: str, generation_ids: Sequence[str], estimate: float | None = None) -> Job:
        return await self._run(lambda file: file.accepted(job_id, generation_ids, estimate))

    async def adopt(self, job_id: str, generation_id: str) -> bool:
        return await self._run(lambda file: file.adopt(job_id, generation_id))

    async def refused(self, job_id: str, code: str, message: str, verdict: Mapping[str, Any] | None = None) -> Job:
        return await self._run(lambda file: file.refused(job_id, code, message, verdict))

    async def unknown(self, job_id: str, code: str, message: str) -> Job:
        return await self._run(lambda file: file.unknown(job_id, code, message))

    async def forgotten(self, job_id: str, message: str) -> Job:
        return await self._run(lambda file: file.forgotten(job_id, message))

    async def not_accepted(self, job_id: str, message: str) -> Job:
        return await self._run(lambda file: file.not_accepted(job_id, message))

    async def lost(self, job_id: str, message: str) -> Job:
        return await self._run(lambda file: file.lost(job_id, message))

    async def settle_by_hand(self, job_id: str, *, paid: bool) -> Job:
        return await self._run(lambda file: file.settle_by_hand(job_id, paid=paid))

    async def settled(
        self,
        job_id: str,
        state: State,
        charged: float | None,
        results: Sequence[Mapping[str, Any]],
        error: str | None = None,
    ) -> tuple[Job, bool]:
        return await self._run(lambda file: file.settled(job_id, state, charged, results, error))

    async def finished_late(
        self, job: Job, charged: float | None, results: Sequence[Mapping[str, Any]], error: str | None = None
    ) -> tuple[Job, bool]:
        return await self._run(lambda file: file.finished_late(job, charged, results, error))

    async def saved(self, job_id: str, files: Sequence[SavedFile], error: str | None = None) -> Job:
        return await self._run(lambda file: file.saved(job_id, files, error))

    async def begin_look(self) -> Moment:
        return await self._run(lambda file: file.begin_look())

    async def note_read(
        self, began: Moment, rows: Sequence[Row], arrival_seconds: float, balance: float | None = None
    ) -> Evidence:
        return await self._run(lambda file: file.note_read(began, rows, arrival_seconds, balance))

    async def evidence(self, arrival_seconds: float) -> Evidence:
        return await self._run(lambda file: file.evidence(arrival_seconds))

    async def balance_before(self, reads_before: int) -> float | None:
        return await self._run(lambda file: file.balance_before(reads_before))

    async def answer(
        self, accepted: Mapping[str, str], absent: Sequence[str], denied: Sequence[str], asked: Sequence[str]
    ) -> list[Job]:
        return await self._run(lambda file: file.answer(accepted, absent, denied, asked))

    async def take_over(self, job: Job) -> bool:
        return await self._run(lambda file: file.take_over(job))

    async def take_over_saving(self, job: Job) -> bool:
        return await self._run(lambda file: file.take_over_saving(job))

    async def get(self, wanted: str) -> Job:
        return await self._run(lambda file: file.get(wanted))

    async def recent(self, limit: int = 20) -> list[Job]:
        return await self._run(lambda file: file.recent(limit))

    async def in_state(self, state: State) -> list[Job]:
        return await self._run(lambda file: file.in_state(state))

    async def unsaved(self, within_seconds: float) -> list[Job]:
        return await self._run(lambda file: file.unsaved(within_seconds))

    async def known_generations(self, ids: Sequence[str]) -> dict[str, Job]:
        return await self._run(lambda file: file.known_generations(ids))

    async def today(self) -> Today:
        return await self._run(lambda file: file.today())

    async def run_spend(self, run: str) -> RunSpend:
        return await self._run(lambda file: file.run_spend(run))

    async def spend_by(self, key: SpendKey, since_day: str = "") -> list[Spend]:
        return await self._run(lambda file: file.spend_by(key, since_day))

    async def accept_clock(self) -> None:
        await self._run(lambda file: file.accept_clock())


def open_ledger(state_dir: Path, account: str, ceilings: Ceilings) -> Ledger:
    """A ledger whose file, and SQLite itself, are opened only when first needed."""

    def open_file() -> LedgerFile:
        from kubeez_mcp_local.jobs.store import LedgerFile

        return LedgerFile(state_dir, account, ceilings)

    return Ledger(open_file)
