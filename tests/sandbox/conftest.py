"""Fixtures of the sandbox's tests: one running stand-in for each module, emptied for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sandbox_server import RunningSandbox, running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("sandbox"), speed=10_000) as running:
        yield running


@pytest.fixture
def sandbox(running: RunningSandbox) -> RunningSandbox:
    running.control.reset()
    running.control.knobs(speed=10_000, rate_limits="off", drawing="plain")
    return running


@pytest.fixture
def rich(sandbox: RunningSandbox) -> None:
    """For tests that look at what was drawn, or listen."""
    sandbox.control.knobs(drawing="rich")


@pytest.fixture
def http(sandbox: RunningSandbox) -> Iterator[httpx.Client]:
    with sandbox.client() as client:
        yield client
