"""Orders, clocks and ledgers that behave, for every test of money and jobs."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.jobs.budget import Ceilings
from kubeez_mcp_local.jobs.order import Order
from kubeez_mcp_local.jobs.store import LedgerFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NOON = 1_800_000_000.0 - 1_800_000_000.0 % 86_400 + 43_200


@dataclass(frozen=True)
class Quoted:
    credits: float | None
    basis: str = "catalogue"
    seconds: int | None = 30


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

    def make(account: str = "live-1", *, per_call: float = 500, per_day: float = 2000, **more: Any) -> LedgerFile:
        options: dict[str, Any] = {"clock": lambda: clock.now, "busy_seconds": 5.0}
        opened.append(LedgerFile(tmp_path / "state", account, Ceilings(per_call, per_day), **(options | more)))
        return opened[-1]

    yield make
    for file in opened:
        file.close()


@pytest.fixture
def ledger_file(open_file: Callable[..., LedgerFile]) -> LedgerFile:
    """A ledger with the default ceilings: 500 credits a call, 2000 a day."""
    return open_file()
