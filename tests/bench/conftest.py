"""Benchmarks: run on demand with `uv run pytest -m bench -n0 -s tests/bench`.

Everything is compared within one run on the same machine, as ratios or differences; each measurement adds a row to one
table, printed at the end.
"""

from __future__ import annotations

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
