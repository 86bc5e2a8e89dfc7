"""Fixtures for the tests of recipes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.recipe_tools import plain, tools
from tests.sandbox_server import RunningSandbox, running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["plain", "tools"]


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path / "state", speed=5_000) as running:
        yield running
