"""Fixtures for tests over real pipes: an API in another process, and the settings that lead to it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.standalone import standalone_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.sandbox_server import RunningSandbox

KEY = "sk_live_example_e2e"
SPEED = 1000.0


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """A shell lets its background jobs ignore SIGINT, and every process that they start inherits that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def sandbox_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    with standalone_sandbox(tmp_path_factory.mktemp("api"), SPEED) as running:
        yield running


@pytest.fixture
def api(sandbox_process: RunningSandbox) -> Iterator[RunningSandbox]:
    """An API in a process of its own, with empty books and one account of 1,000 credits."""
    sandbox_process.control.reset()
    sandbox_process.control.knobs(speed=SPEED, rate_limits="off", drawing="plain")
    sandbox_process.control.key(KEY, credits=1000)
    yield sandbox_process
    sandbox_process.control.knobs(speed=SPEED)


@pytest.fixture
def live(api: RunningSandbox) -> dict[str, Any]:
    """Settings of a bridge with a key for `api`; in live mode everything that costs is asked about."""
    return {"api_key": KEY, "base_url": api.url}
