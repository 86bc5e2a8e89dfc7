"""Fixtures of the hosted door's tests: the stand-in of the REST routes' tests, with the second door open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sandbox_server import RunningSandbox, running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("sandbox"), speed=10_000, hosted=True) as running:
        yield running
