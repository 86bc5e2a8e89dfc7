"""Fixtures of the sandbox's tests: one running stand-in for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sandbox_server import RunningSandbox, running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path, speed=10_000, rate_limits="off") as running:
        yield running


@pytest.fixture
def http(sandbox: RunningSandbox) -> Iterator[httpx.Client]:
    with sandbox.client() as client:
        yield client
