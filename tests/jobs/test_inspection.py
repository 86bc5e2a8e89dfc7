"""Looking at a ledger leaves no trace."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from kubeez_mcp_local.jobs.database import Database
from kubeez_mcp_local.jobs.failures import CorruptLedgerError, ForeignLedgerError, NewerLedgerError
from kubeez_mcp_local.jobs.inspection import inspect_ledger
from kubeez_mcp_local.jobs.schema import VERSION

if TYPE_CHECKING:
    from pathlib import Path

ROW = """INSERT INTO jobs (id, account, state, digest, tool, route, bucket, kind, model, prompt, arguments, owner, day,
         quote_basis, reserved, created_at) VALUES (?, 'a', ?, 'd', 't', 'r', 'b', 'media', 'm', 'p', '{}', 'o',
         '2026-11-23', 'catalogue', 0, 1)"""


def a_ledger(path: Path, *states: str) -> Database:
    database = Database(path)
    with database.write() as connection:
        connection.executemany(ROW, [(str(number), state) for number, state in enumerate(states)])
    return database


def test_jobs_are_counted_while_the_ledger_is_open_and_after_it_was_closed(tmp_path: Path) -> None:
    database = a_ledger(tmp_path / "ledger.db", "completed", "unknown", "accepted", "sending")
    for close in (False, True):
        if close:
            database.close()
        before = sorted(one.name for one in tmp_path.iterdir())
        facts = inspect_ledger(tmp_path / "ledger.db")
        assert facts is not None
        assert (facts.version, facts.jobs, facts.unknown, facts.unfinished) == (VERSION, 4, 1, 2)
        assert sorted(one.name for one in tmp_path.iterdir()) == before


def test_no_ledger_is_no_failure_and_is_not_made(tmp_path: Path) -> None:
    assert inspect_ledger(tmp_path / "state" / "ledger.db") is None
    assert not (tmp_path / "state").exists()


def test_what_is_no_ledger_of_ours_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "damaged.db").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    with pytest.raises(CorruptLedgerError):
        inspect_ledger(tmp_path / "damaged.db")
    with closing(sqlite3.connect(tmp_path / "foreign.db")) as other, other:
        other.execute("CREATE TABLE t (x)")
    with pytest.raises(ForeignLedgerError):
        inspect_ledger(tmp_path / "foreign.db")
    a_ledger(tmp_path / "newer.db").close()
    with closing(sqlite3.connect(tmp_path / "newer.db")) as newer, newer:
        newer.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(NewerLedgerError, match="Update"):
        inspect_ledger(tmp_path / "newer.db")
