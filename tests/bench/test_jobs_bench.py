"""The ledger with a million rows, and a thousand image jobs at the rate the API allows."""

from __future__ import annotations

import math
import sqlite3
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from kubeez_mcp_local.jobs.budget import Ceilings
from kubeez_mcp_local.jobs.following import Follower
from kubeez_mcp_local.jobs.guard import Limits
from kubeez_mcp_local.jobs.job import Order, State
from kubeez_mcp_local.jobs.ledger import LedgerFile, open_ledger
from kubeez_mcp_local.jobs.outputs import OutputStore
from kubeez_mcp_local.jobs.reconcile import Reconciler
from kubeez_mcp_local.jobs.sending import Background, Pacer, Sender
from kubeez_mcp_local.jobs.spender import Asking, Spender
from kubeez_mcp_local.rest.client import Patience, RestClient
from kubeez_mcp_local.rest.downloading import Accept, Downloaded
from tests.requests import sent
from tests.sandbox_server import KEY, running_sandbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kubeez_mcp_local.rest.routes import Request
    from kubeez_mcp_local.rest.wire import Accepted
    from tests.bench.conftest import Report

pytestmark = [pytest.mark.bench, pytest.mark.anyio]

ROWS = 1_000_000
JOBS = 1_000
AT_A_TIME = 40


@dataclass(frozen=True)
class Quoted:
    credits: float | None = 7.0
    basis: str = "catalogue"
    seconds: int | None = 10


def order(prompt: str) -> Order:
    async def build() -> Request:
        return sent("generate_media", prompt=prompt, model="nano-banana", aspect_ratio="1:1")

    return Order(
        tool="generate_media",
        route="generate_media",
        bucket="media",
        kind="media",
        model="nano-banana",
        prompt=prompt,
        digest=prompt,
        quote=Quoted(),
        build=build,
        generation_type="text-to-image",
    )


def grow(path: Path, account: str, rows: int = ROWS) -> None:
    """Finished jobs, one every 90 seconds for three years, as the ledger itself would have written them."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute(
        "WITH RECURSIVE counting (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counting WHERE n < ?1) "
        "INSERT INTO jobs (id, account, state, digest, tool, route, bucket, kind, model, prompt, arguments, owner, "
        "day, quote, quote_basis, reserved, charged, created_at, sent_at, paced_at, accepted_at, settled_at, saved_at) "
        "SELECT printf('%08x', n) || hex(randomblob(12)), ?2, 'completed', 'd' || n, 'generate_media', "
        "'generate_media', 'media', 'media', 'model-' || (n % 100), 'prompt ' || n, '{}', 'nobody', "
        "date(t, 'unixepoch'), 14000000, 'catalogue', 0, 14000000, t, t, t, t, t, t "
        "FROM (SELECT n, ?3 - (?1 - n) * 90.0 AS t FROM counting)",
        (rows, account, time.time() - 3600),
    )
    connection.commit()
    connection.close()


def median_ms(work: Callable[[], Any], times: int = 30) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


def test_a_ledger_with_a_million_rows(report: Report, tmp_path: Path) -> None:
    file = LedgerFile(tmp_path, "live-1", Ceilings(500, 1_000_000))
    grow(file.path, "live-1")
    numbers = iter(range(10_000))
    pending = [file.claim([order("to dispatch")]).claims[0].job]
    measured = {
        "list 20 recent jobs": median_ms(lambda: file.recent(20)),
        "check the ceilings": median_ms(lambda: file.look([order("checked")])),
        "claim (on the disk)": median_ms(lambda: file.claim([order(f"new {next(numbers)}")])),
        "dispatch": median_ms(lambda: file.dispatch(pending[0], Limits()) if pending[0] else None),
        "spent today": median_ms(file.today),
        "find by the beginning of an id": median_ms(lambda: file.get(f"{ROWS // 2:08x}")),
        "unfinished jobs": median_ms(lambda: file.in_state(State.ACCEPTED)),
    }
    file.close()
    for what, took in measured.items():
        report.add(f"{ROWS:,} rows: {what}", f"{took:.2f} ms", "< 10 ms")
    assert max(measured.values()) < 10


class Counted(RestClient):
    """Counts what the API turned away; nothing is retried behind the pacer's back."""

    turned_away = 0

    async def start(self, request: Request) -> Accepted:
        from kubeez_mcp_local.rest.errors import RateLimitedError

        try:
            return await super().start(request)
        except RateLimitedError:
            self.turned_away += 1
            raise


class Nobody:
    async def ask(self, question: object) -> Any:
        raise AssertionError("nobody is asked")


async def no_download(url: str, target: Path, *, max_bytes: int, accept: Accept | None = None) -> Downloaded:
    await anyio.Path(target).write_bytes(b"\x89PNG\r\n\x1a\n")
    return Downloaded(8, "image/png")


@pytest.mark.parametrize(
    ("speed", "follow"),
    # Followed jobs have their pictures painted by the sandbox, which a machine does about ten times a second.
    [(40.0, False), (10.0, True)],
    ids=["sent", "sent and followed"],
)
async def test_a_thousand_image_jobs_keep_the_rate_and_use_it(
    report: Report, tmp_path: Path, speed: float, follow: bool
) -> None:
    limits = Limits(speed=speed) if follow else Limits(speed=speed, at_once={})
    with running_sandbox(tmp_path / "api", speed=speed, rate_limits="scaled", concurrency_caps=follow) as sandbox:
        sandbox.control.key(KEY, credits=10.0 * JOBS)
        api = Counted(sandbox.url, KEY, patience=Patience(attempts=1))
        async with api, Background() as background:
            ledger = open_ledger(tmp_path / "state", "sandbox", Ceilings(500, 10 * JOBS))
            pacer = Pacer(ledger, limits)
            outputs = OutputStore(tmp_path / "out", save_sidecars=False, download=no_download)
            follower = Follower(api, ledger, outputs, background, speed=speed, before_read=pacer.read)
            reconciler = Reconciler(api, ledger, speed=speed, on_accepted=follower.follow)
            on_accepted = follower.follow if follow else lambda _job: None
            sender = Sender(api, ledger, pacer, reconciler, background, on_accepted=on_accepted)
            spender = Spender(sender, ledger, reconciler, Asking(ledger, account="sandbox", asks_above=math.inf))
            at_a_time = anyio.Semaphore(AT_A_TIME)

            async def submit(number: int) -> None:
                async with at_a_time:
                    await spender.submit(order(f"picture {number}"), Nobody())

            began = time.perf_counter()
            async with anyio.create_task_group() as group:
                for number in range(JOBS):
                    group.start_soon(submit, number)
            took = time.perf_counter() - began
            jobs = await ledger.recent(JOBS + 1)
            await ledger.aclose()
    allowed = (math.ceil(JOBS / 30) - 1) * limits.window
    how = "sent and followed" if follow else "sent"
    report.add(
        f"{JOBS} image jobs {how}, of what the rate allows", f"{took / allowed:.3f} x ({took:.1f} s)", "<= 1.05 x"
    )
    report.add(f"{JOBS} image jobs {how}, answered with 429", str(api.turned_away), "0")
    assert api.turned_away == 0
    assert len(jobs) == JOBS
    assert took <= 1.05 * allowed


async def test_a_read_costs_next_to_nothing(report: Report, tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, "live-1", Ceilings(500, 2000))
    pacer = Pacer(ledger, Limits(per_minute={"read": 10_000_000}))
    await pacer.read()
    started = time.perf_counter()
    for _ in range(400):
        await pacer.read()
    each = (time.perf_counter() - started) / 400
    await ledger.aclose()
    report.add("permission to read, each of many", f"{each * 1e6:.0f} us", "<= 300 us")
    assert each <= 0.0003
