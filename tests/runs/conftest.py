"""Fixtures for the tests of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from kubeez_mcp_local.jobs.budget import Ceilings
from kubeez_mcp_local.jobs.ledger import LedgerFile
from kubeez_mcp_local.jobs.team.beats import Timing
from tests.jobs.server import NO_SERVER, SERVER, team_ledger
from tests.recipe_tools import plain, tools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["plain", "tools"]


@pytest.fixture(scope="module")
def ledger() -> str:
    """Where the team's ledger of these tests is; each has an account of its own in it."""
    if not SERVER:
        pytest.skip(NO_SERVER)
    return team_ledger(f"runs {uuid4().hex}")


@pytest.fixture
def machine(tmp_path: Path, ledger: str) -> Iterator[Callable[..., LedgerFile]]:
    """Opens a team's ledger as a process of some machine does."""
    opened, account = [], uuid4().hex

    def make(account: str = account, **more: Any) -> LedgerFile:
        timing = Timing(beat=2.0, dead=6.0, by_itself=False)
        options: dict[str, Any] = {"server": ledger, "person": "ana", "timing": timing} | more
        opened.append(LedgerFile(tmp_path, account, Ceilings(500, 2000), **options))
        return opened[-1]

    yield make
    for file in opened:
        file.close()
