"""Copies the ledger of one machine into that of a team."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.budget import Ceilings
from kubeez_mcp_local.jobs.database import VERSION, inspect_ledger
from kubeez_mcp_local.jobs.errors import LedgerError
from kubeez_mcp_local.jobs.ledger import LedgerFile

if TYPE_CHECKING:
    from pathlib import Path

    from kubeez_mcp_local.jobs.rows import Transaction

_LEFT = ("seq", "reads_before")
"""Columns that mean something only in the ledger they are in. What the history showed before a request left is not
taken along, so that nothing is proved absent by it: a person says what became of such a job."""


@dataclass(frozen=True)
class Moved:
    """How many jobs were found, and how many of them were new to the team's ledger."""

    found: int
    jobs: int


def move_ledger(source: Path, server: str, account: str, person: str) -> Moved:
    """Copy the jobs of `account` from the file `source` to the ledger at `server`. Blocking.

    Jobs of older versions, which name nobody, become those of `person`. Codes, kept quotes and pauses last for minutes
    and stay behind.

    Raises:
        LedgerError: One of both cannot be used, or the file was written by another version of this program.
        KubeezError: A request is on its way.
    """
    facts = inspect_ledger(source)
    if facts is None or facts.version != VERSION:
        raise LedgerError(
            source,
            "was not written by this version of the program",
            next_step="Run `kubeez-mcp-local spend` once without KUBEEZ_LEDGER, and then this again.",
            code="ledger_older",
        )
    with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as file:
        file.row_factory = sqlite3.Row
        jobs = _rows(file, "SELECT * FROM jobs WHERE account = ? ORDER BY seq", account)
        ids = _rows(file, "SELECT * FROM generations WHERE account = ? ORDER BY job, position", account)
    if any(job["state"] == "sending" for job in jobs):
        raise KubeezError(
            "A request of this machine is on its way, so its ledger cannot be copied now.",
            next_step="Close the clients that run this server, run `kubeez-mcp-local jobs`, and then this again.",
            code="ledger_in_use",
        )
    opened = LedgerFile(source.parent, account, Ceilings(0, 0), server=server, person=person)
    with closing(opened) as ledger, ledger.writing() as tx:
        new = [job for job in jobs if _copy(tx, "jobs", _translated(job, person), "(id)")]
        for row in ids:
            _copy(tx, "generations", row, "(account, generation_id)")
    return Moved(len(jobs), len(new))


def _rows(file: sqlite3.Connection, query: str, account: str) -> list[dict[str, Any]]:
    return [dict(row) for row in file.execute(query, (account,))]


def _translated(job: dict[str, Any], person: str) -> dict[str, Any]:
    kept = {name: value for name, value in job.items() if name not in _LEFT}
    return kept | {"person": job["person"] or person}


def _copy(tx: Transaction, table: str, row: dict[str, Any], known_by: str) -> bool:
    names = ", ".join(row)
    places = ", ".join(f":{name}" for name in row)
    return tx.change(f"INSERT INTO {table} ({names}) VALUES ({places}) ON CONFLICT {known_by} DO NOTHING", **row)
