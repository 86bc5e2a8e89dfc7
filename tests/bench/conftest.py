"""Benchmarks: run on demand with `uv run pytest -m bench -n0 -s tests/bench`.

Everything is compared within one run on the same machine, as ratios or differences; each measurement adds a row to one
table, printed at the end.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Report:
    """The table of one run."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, what: str, measured: str, target: str) -> None:
        self.rows.append((what, measured, target))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--peer", action="append", default=[], metavar="NAME=COMMAND", help="Measure the start of this server too."
    )


@pytest.fixture(scope="session")
def peers(request: pytest.FixtureRequest) -> dict[str, list[str]]:
    """Other stdio servers to be measured beside ours, by name."""
    named = (str(peer).partition("=") for peer in request.config.getoption("--peer", []))
    return {name: shlex.split(command) for name, _, command in named}


@pytest.fixture(scope="session")
def report() -> Iterator[Report]:
    report = Report()
    yield report
    from rich.console import Console
    from rich.table import Table

    table = Table("measurement", "measured", "target", title="Benchmarks")
    for row in report.rows:
        table.add_row(*row)
    Console().print("\n", table)
