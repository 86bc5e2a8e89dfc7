"""Fixtures for the tests of recipes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.recipe_tools import plain, tools
from tests.sandbox_server import RunningSandbox, running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["plain", "tools"]


@pytest.fixture(scope="module")
def running_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("api"), speed=5_000) as running:
        yield running


@pytest.fixture
def sandbox(running_api: RunningSandbox) -> RunningSandbox:
    """The module's sandbox, as if it were new."""
    running_api.control.reset()
    running_api.control.knobs(speed=5_000)
    return running_api
