"""A look at the ledger that neither makes, changes nor locks anything."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubeez_mcp_local.jobs.failures import CorruptLedgerError, ForeignLedgerError, NewerLedgerError
from kubeez_mcp_local.jobs.schema import APPLICATION_ID, VERSION

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class LedgerFacts:
    """What a ledger holds, over all accounts.

    Attributes:
        version: Of its tables.
        jobs: How many there are.
        unknown: Jobs whose request was sent and whose fate is not known.
        unfinished: Jobs that were accepted and had not ended when they were last looked at.
    """

    version: int
    jobs: int
    unknown: int
    unfinished: int


def inspect_ledger(path: Path) -> LedgerFacts | None:
    """The facts of the ledger at `path`, or `None` if there is none yet. Blocking.

    Raises:
        CorruptLedgerError: It is damaged, or no database.
        ForeignLedgerError: It belongs to another program.
        NewerLedgerError: A newer version of this program wrote it.
    """
    if not path.exists() or path.stat().st_size == 0:
        return None
    # Without a log beside it the file is complete, and SQLite need not put a log there to read it.
    logged = path.with_name(f"{path.name}-wal").exists()
    address = f"{path.absolute().as_uri()}?mode=ro{'' if logged else '&immutable=1'}"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=1.0)) as connection:
            return _facts(path, connection)
    except sqlite3.Error as error:
        raise CorruptLedgerError(
            path,
            f"cannot be read ({error})",
            next_step="Close other programs that use it; if that does not help, move it away (keep it).",
        ) from None


def _facts(path: Path, connection: sqlite3.Connection) -> LedgerFacts:
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise ForeignLedgerError(
            path, "is a database of another program", next_step="Set KUBEEZ_STATE_DIR to a folder of its own."
        )
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise NewerLedgerError(
            path,
            f"has schema version {version}; this program knows versions up to {VERSION}",
            next_step="Update kubeez-mcp-local, or set KUBEEZ_STATE_DIR to another folder.",
        )
    states = dict(connection.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state").fetchall())
    unfinished = states.get("sending", 0) + states.get("accepted", 0)
    return LedgerFacts(version, sum(states.values()), states.get("unknown", 0), unfinished)
