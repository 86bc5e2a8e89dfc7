"""Orders, clocks, an API and ledgers that behave, for every test of money and jobs."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from math import inf
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from kubeez_mcp_local.jobs.budget import Ceilings
from kubeez_mcp_local.jobs.database import Database
from kubeez_mcp_local.jobs.following import Follower
from kubeez_mcp_local.jobs.job import Order
from kubeez_mcp_local.jobs.ledger import Ledger, LedgerFile
from kubeez_mcp_local.jobs.outputs import OutputStore
from kubeez_mcp_local.jobs.reconcile import Reconciler
from kubeez_mcp_local.jobs.sending import Background, Pacer, Sender
from kubeez_mcp_local.jobs.spender import Asking, Spender
from kubeez_mcp_local.rest.downloading import Accept, Downloaded
from kubeez_mcp_local.rest.errors import DownloadFailedError, NotFoundError
from kubeez_mcp_local.rest.wire import Accepted, Generation, Output
from tests.requests import sent

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from kubeez_mcp_local.errors import KubeezError
    from kubeez_mcp_local.jobs.job import Job
    from kubeez_mcp_local.rest.routes import Request

NOON = 1_800_000_000.0 - 1_800_000_000.0 % 86_400 + 43_200

PAGE = 25
"""How many rows the history shows."""

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)


@dataclass(frozen=True)
class Quoted:
    credits: float | None
    basis: str = "catalogue"
    seconds: int | None = 30


def coded(code: str) -> Callable[[KubeezError], bool]:
    """For `pytest.raises(…, check=…)`: whether an error has this code."""
    return lambda error: error.code == code


def sqlite_of(file: LedgerFile) -> sqlite3.Connection:
    """The connection of a ledger in a file."""
    assert isinstance(file._database, Database)
    return file._database._connection


async def _nothing_to_send() -> Any:
    raise AssertionError("this order is never built")


@pytest.fixture
def clock() -> SimpleNamespace:
    """A clock that stands at noon UTC until a test moves `clock.now`."""
    return SimpleNamespace(now=NOON)


@pytest.fixture
def order() -> Callable[..., Order]:
    """Makes orders; every keyword replaces a field, and `price` is its quote in credits."""

    def make(digest: str = "digest-1", *, price: float | None = 14.0, **changes: Any) -> Order:
        fields: dict[str, Any] = {
            "tool": "generate_media",
            "route": "generate_media",
            "bucket": "media",
            "kind": "media",
            "model": "nano-banana-2",
            "prompt": f"a fox, {digest}",
            "digest": digest,
            "quote": Quoted(price, "unknown" if price is None else "catalogue"),
            "build": _nothing_to_send,
            "arguments": {"prompt": f"a fox, {digest}"},
            "generation_type": "text-to-image",
        }
        return Order(**(fields | changes))

    return make


@pytest.fixture
def open_file(tmp_path: Path, clock: SimpleNamespace) -> Iterator[Callable[..., LedgerFile]]:
    """Opens ledgers in this test's state folder; two of them are two bridge processes as far as the file can tell."""
    opened: list[LedgerFile] = []

    def make(
        account: str = "live-1",
        *,
        per_call: float = 500,
        per_day: float = 2000,
        per_run: float | None = None,
        **more: Any,
    ) -> LedgerFile:
        options: dict[str, Any] = {"clock": lambda: clock.now, "steady": lambda: clock.now, "boot": "this boot"}
        options["busy_seconds"] = 5.0
        ceilings = Ceilings(per_call, per_day, per_run)
        opened.append(LedgerFile(tmp_path / "state", account, ceilings, **(options | more)))
        return opened[-1]

    yield make
    for file in opened:
        file.close()


@pytest.fixture
def ledger_file(open_file: Callable[..., LedgerFile]) -> LedgerFile:
    """A ledger with the default ceilings: 500 credits a call, 2000 a day."""
    return open_file()


class FakeApi:
    """An API that takes every paid request and keeps books, unless told otherwise.

    `behaviours` are used up one a request: an exception is raised; an exception in a list is raised although the
    request was accepted. `gate` holds requests back while it is set to an event.
    """

    def __init__(self, clock: SimpleNamespace) -> None:
        self._clock = clock
        self.paid: list[str] = []
        self.sent = 0
        self.reads = 0
        self.on_read: Callable[[int], None] = lambda _count: None
        self.behaviours: list[Any] = []
        self.gate: anyio.Event | None = None
        self.estimate: float | None = None
        self.arrived = anyio.Event()
        self.rows: dict[str, Generation] = {}
        self.streams = False
        self.read_errors: list[KubeezError] = []
        self.png = PNG
        self.files: dict[str, bytes] = {}
        self.history_error: KubeezError | None = None
        self.hidden: set[str] = set()
        self.told: Callable[[Generation], Generation] = lambda row: row

    async def start(self, request: Any) -> Accepted:
        self.sent += 1
        self.arrived.set()
        if self.gate is not None:
            await self.gate.wait()
        behaviour = self.behaviours.pop(0) if self.behaviours else None
        if isinstance(behaviour, Exception):
            raise behaviour
        generation_id = f"gen-{len(self.paid) + 1}"
        self.paid.append(generation_id)
        self.rows[generation_id] = Generation(
            id=generation_id,
            status="processing",
            model=request.body["model"],
            prompt=request.body["prompt"],
            generation_type="text-to-image",
            created_at=str(self._clock.now),
        )
        if isinstance(behaviour, list):
            raise behaviour[0]
        return Accepted(generation_ids=[generation_id], estimated_cost_credits=self.estimate)

    def finish(self, generation_id: str, *, charged: float | None = 14.0, **changes: Any) -> None:
        """The API is done with a job; by default with one PNG."""
        url = f"https://media.kubeez.com/images/{generation_id}.png"
        self.files.setdefault(url, PNG)
        fields = {
            "status": "completed",
            "credits_deducted": charged,
            "outputs": [Output(id=f"out-{generation_id}", url=url, media_type="image/png")],
        }
        self.rows[generation_id] = self.rows[generation_id].model_copy(update=fields | changes)

    async def status(self, kind: str, job_id: str) -> Generation:
        self.reads += 1
        self.on_read(self.reads)
        await anyio.lowlevel.checkpoint()
        if self.read_errors:
            raise self.read_errors.pop(0)
        if job_id not in self.rows:
            raise NotFoundError("no such job")
        return self.rows[job_id]

    async def events(self, kind: str, job_id: str) -> AsyncGenerator[Generation, None]:
        while self.streams:
            await anyio.sleep(0.001)
            if job_id in self.rows and self.rows[job_id].settled:
                yield self.rows[job_id]
                return

    async def generations(self, *, limit: int | None = None, model: str | None = None, **_: Any) -> list[Generation]:
        if self.history_error:
            raise self.history_error
        rows = [row for row in reversed(self.rows.values()) if model in (None, row.model)]
        return [self.told(row) for row in rows if row.id not in self.hidden][: limit or PAGE]

    async def download(self, url: str, target: Path, *, max_bytes: int, accept: Accept | None = None) -> Downloaded:
        if url not in self.files:
            raise DownloadFailedError("The file is not there.")
        await anyio.Path(target).write_bytes(self.files[url])
        if accept is not None and (wrong := accept(target, "image/png")):
            await anyio.Path(target).unlink(missing_ok=True)
            raise DownloadFailedError(f"What is there is not the file: {wrong}.", next_step="Try again later.")
        return Downloaded(len(self.files[url]), "image/png")


@pytest.fixture
def api(clock: SimpleNamespace) -> FakeApi:
    return FakeApi(clock)


@pytest.fixture
def sleep(clock: SimpleNamespace) -> Callable[[float], Awaitable[None]]:
    """Sleeping moves the clock and takes no time."""

    async def instantly(seconds: float) -> None:
        clock.now += seconds
        await anyio.lowlevel.checkpoint()

    return instantly


@pytest.fixture
def sendable(order: Callable[..., Order]) -> Callable[..., Order]:
    """Makes orders that can be sent."""

    def make(digest: str = "digest-1", **changes: Any) -> Order:
        made = order(digest, **changes)

        async def build() -> Request:
            return sent("generate_media", prompt=made.prompt, model=made.model)

        return made if "build" in changes else replace(made, build=build)

    return make


@pytest.fixture
def assemble(
    open_file: Callable[..., LedgerFile],
    api: FakeApi,
    clock: SimpleNamespace,
    sleep: Callable[[float], Awaitable[None]],
    tmp_path: Path,
) -> Callable[..., AbstractAsyncContextManager[SimpleNamespace]]:
    """Puts the parts of one bridge process together: ledger, background, pacer, reconciler, follower, spender."""

    @asynccontextmanager
    async def together(
        *,
        asks_above: float = inf,
        balance: float | None = None,
        follow: bool = False,
        on_accepted: Callable[[Job], None] = lambda _job: None,
        wait_behind_holds: Callable[[float], Awaitable[None]] = sleep,
        settling: float = 10.0,
        **ceilings: float,
    ) -> AsyncIterator[SimpleNamespace]:
        async def left() -> float | None:
            return balance

        def tick() -> float:
            return float(clock.now)

        file = open_file(**ceilings)
        ledger = Ledger(lambda: file)
        async with Background() as background:
            outputs = OutputStore(tmp_path / "out", save_sidecars=True, download=api.download)
            pacer = Pacer(ledger, clock=tick, sleep=sleep)
            follower = Follower(api, ledger, outputs, background, clock=tick, sleep=sleep)
            accepted = follower.follow if follow else on_accepted
            reconciler = Reconciler(api, ledger, on_accepted=accepted, balance=left, sleep=sleep)
            sender = Sender(
                api, ledger, pacer, reconciler, background, on_accepted=accepted, settling=settling, sleep=sleep
            )
            spender = Spender(
                sender,
                ledger,
                reconciler,
                Asking(ledger, account="live-1", asks_above=asks_above, balance=left),
                sleep=wait_behind_holds,
            )
            yield SimpleNamespace(
                file=file,
                ledger=ledger,
                background=background,
                outputs=outputs,
                pacer=pacer,
                follower=follower,
                reconciler=reconciler,
                spender=spender,
            )

    return together


class Person:
    """Somebody who answers every question the same way, and remembers them."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.questions: list[Any] = []

    async def ask(self, question: Any) -> Any:
        self.questions.append(question)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def person() -> type[Person]:
    return Person
