"""The ledger's file: its tables, opening it, looking at it from outside, and SQLite's failures in plain words."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.jobs.errors import LedgerError
from kubeez_mcp_local.jobs.ownership import identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


APPLICATION_ID = 0x4B425A4C
VERSION = 6

_V1 = """
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    account TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('sending', 'accepted', 'unknown', 'completed', 'failed', 'refunded',
                                         'refused', 'not_accepted', 'lost')),
    digest TEXT NOT NULL,
    tool TEXT NOT NULL,
    route TEXT NOT NULL,
    bucket TEXT NOT NULL,
    kind TEXT NOT NULL,
    model TEXT NOT NULL,
    prompt TEXT NOT NULL,
    generation_type TEXT,
    arguments TEXT NOT NULL,
    recipe TEXT NOT NULL DEFAULT '',
    client TEXT,
    owner TEXT NOT NULL,
    day TEXT NOT NULL,
    quote INTEGER,
    quote_basis TEXT NOT NULL,
    expected_seconds INTEGER,
    reserved INTEGER NOT NULL CHECK (reserved >= 0),
    charged INTEGER CHECK (charged >= 0),
    results TEXT NOT NULL DEFAULT '[]',
    files TEXT NOT NULL DEFAULT '[]',
    error_code TEXT,
    error TEXT,
    saver TEXT,
    save_error TEXT,
    created_at REAL NOT NULL,
    sent_at REAL,
    paced_at REAL,
    accepted_at REAL,
    settled_at REAL,
    saved_at REAL
);
CREATE INDEX jobs_recent ON jobs (account, seq);
CREATE INDEX jobs_digest ON jobs (account, digest, seq);
CREATE INDEX jobs_open ON jobs (account, state, bucket) WHERE state IN ('sending', 'accepted', 'unknown');
CREATE INDEX jobs_paced ON jobs (account, bucket, paced_at) WHERE paced_at IS NOT NULL;
CREATE INDEX jobs_unsaved ON jobs (account, settled_at) WHERE state = 'completed' AND saved_at IS NULL;
CREATE INDEX jobs_doubted ON jobs (account, settled_at) WHERE state = 'not_accepted';

CREATE TABLE generations (
    account TEXT NOT NULL,
    generation_id TEXT NOT NULL,
    job TEXT NOT NULL REFERENCES jobs (id),
    position INTEGER NOT NULL,
    PRIMARY KEY (account, generation_id)
) WITHOUT ROWID;
CREATE INDEX generations_job ON generations (job);

CREATE TABLE spend (
    account TEXT NOT NULL,
    day TEXT NOT NULL,
    tool TEXT NOT NULL,
    model TEXT NOT NULL,
    recipe TEXT NOT NULL,
    jobs INTEGER NOT NULL,
    charged INTEGER NOT NULL,
    reserved INTEGER NOT NULL,
    PRIMARY KEY (account, day, tool, model, recipe)
) WITHOUT ROWID;

CREATE TRIGGER jobs_inserted AFTER INSERT ON jobs BEGIN
    INSERT INTO spend VALUES (NEW.account, NEW.day, NEW.tool, NEW.model, NEW.recipe,
                              1, COALESCE(NEW.charged, 0), NEW.reserved)
    ON CONFLICT DO UPDATE SET jobs = jobs + 1, charged = charged + excluded.charged,
                              reserved = reserved + excluded.reserved;
END;
CREATE TRIGGER jobs_amounts_changed AFTER UPDATE OF charged, reserved ON jobs BEGIN
    UPDATE spend SET charged = charged - COALESCE(OLD.charged, 0) + COALESCE(NEW.charged, 0),
                     reserved = reserved - OLD.reserved + NEW.reserved
    WHERE account = NEW.account AND day = NEW.day AND tool = NEW.tool AND model = NEW.model AND recipe = NEW.recipe;
END;
CREATE TRIGGER jobs_stay BEFORE DELETE ON jobs BEGIN SELECT RAISE(ABORT, 'ledger rows are never deleted'); END;

CREATE TABLE approvals (
    code_hash TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    digest TEXT NOT NULL,
    quote INTEGER,
    issued_at REAL NOT NULL,
    used_at REAL
) WITHOUT ROWID;

CREATE TABLE frozen_quotes (
    account TEXT NOT NULL,
    digest TEXT NOT NULL,
    quote INTEGER,
    basis TEXT NOT NULL,
    balance REAL,
    frozen_at REAL NOT NULL,
    PRIMARY KEY (account, digest)
) WITHOUT ROWID;

CREATE TABLE pauses (
    account TEXT NOT NULL,
    bucket TEXT NOT NULL,
    until REAL NOT NULL,
    PRIMARY KEY (account, bucket)
) WITHOUT ROWID;

CREATE TABLE reads (account TEXT NOT NULL, valid_until REAL NOT NULL, permits INTEGER NOT NULL);
CREATE INDEX reads_window ON reads (account, valid_until);

CREATE TABLE latest_day (only INTEGER PRIMARY KEY CHECK (only = 0), day TEXT NOT NULL);
"""

_V2 = """
CREATE TABLE owners (
    id TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    boot TEXT NOT NULL,
    space TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started TEXT NOT NULL,
    lock_device TEXT,
    lock_inode TEXT,
    registered_at REAL NOT NULL,
    ended_at REAL
) WITHOUT ROWID;
ALTER TABLE jobs ADD COLUMN verdict TEXT;
"""

_V3 = """
ALTER TABLE jobs ADD COLUMN run TEXT NOT NULL DEFAULT '';
CREATE INDEX jobs_run ON jobs (account, run) WHERE run <> '';
"""

_V4 = """
ALTER TABLE jobs ADD COLUMN reads_before INTEGER NOT NULL DEFAULT 0;

CREATE TABLE history_reads (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    boot TEXT NOT NULL,
    began REAL NOT NULL,
    ids TEXT NOT NULL,
    balance REAL
);
CREATE INDEX history_reads_of ON history_reads (account, number);

CREATE TABLE history_rows (
    account TEXT NOT NULL,
    id TEXT NOT NULL,
    prompt TEXT,
    model TEXT,
    generation_type TEXT,
    created_at TEXT,
    credits REAL,
    PRIMARY KEY (account, id)
) WITHOUT ROWID;

CREATE TABLE watches (
    job TEXT NOT NULL REFERENCES jobs (id),
    boot TEXT NOT NULL,
    since REAL NOT NULL,
    PRIMARY KEY (job, boot)
) WITHOUT ROWID;

CREATE TABLE denied_rows (
    job TEXT NOT NULL REFERENCES jobs (id),
    generation_id TEXT NOT NULL,
    PRIMARY KEY (job, generation_id)
) WITHOUT ROWID;
"""

_V5 = """
ALTER TABLE jobs ADD COLUMN place TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN labels TEXT NOT NULL DEFAULT '{}';
CREATE INDEX jobs_placed ON jobs (account, place) WHERE place <> '';
"""

_V6 = """
ALTER TABLE jobs ADD COLUMN person TEXT NOT NULL DEFAULT '';

DROP TRIGGER jobs_inserted;
DROP TRIGGER jobs_amounts_changed;
ALTER TABLE spend RENAME TO spend_of_all;
CREATE TABLE spend (
    account TEXT NOT NULL,
    day TEXT NOT NULL,
    tool TEXT NOT NULL,
    model TEXT NOT NULL,
    recipe TEXT NOT NULL,
    person TEXT NOT NULL,
    jobs INTEGER NOT NULL,
    charged INTEGER NOT NULL,
    reserved INTEGER NOT NULL,
    PRIMARY KEY (account, day, tool, model, recipe, person)
) WITHOUT ROWID;
INSERT INTO spend SELECT account, day, tool, model, recipe, '', jobs, charged, reserved FROM spend_of_all;
DROP TABLE spend_of_all;
CREATE TRIGGER jobs_inserted AFTER INSERT ON jobs BEGIN
    INSERT INTO spend VALUES (NEW.account, NEW.day, NEW.tool, NEW.model, NEW.recipe, NEW.person,
                              1, COALESCE(NEW.charged, 0), NEW.reserved)
    ON CONFLICT DO UPDATE SET jobs = jobs + 1, charged = charged + excluded.charged,
                              reserved = reserved + excluded.reserved;
END;
CREATE TRIGGER jobs_amounts_changed AFTER UPDATE OF charged, reserved ON jobs BEGIN
    UPDATE spend SET charged = charged - COALESCE(OLD.charged, 0) + COALESCE(NEW.charged, 0),
                     reserved = reserved - OLD.reserved + NEW.reserved
    WHERE account = NEW.account AND day = NEW.day AND tool = NEW.tool AND model = NEW.model
    AND recipe = NEW.recipe AND person = NEW.person;
END;

CREATE TABLE team_ceilings (account TEXT PRIMARY KEY, per_day INTEGER NOT NULL) WITHOUT ROWID;
"""

MIGRATIONS: tuple[str, ...] = (_V1, _V2, _V3, _V4, _V5, _V6)
"""`MIGRATIONS[n]` leads from version n to n + 1. Released steps are never edited; new ones are appended."""


BUSY_SECONDS = 10.0
_PAUSE = 0.02


class _Answer:
    """Rows that were read at once: a question that is not read to its end would keep its view of the file open."""

    def __init__(self, found: sqlite3.Cursor) -> None:
        self.rowcount = found.rowcount
        self._rows = iter(found.fetchall())

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchall(self) -> list[Any]:
        return list(self._rows)

    def __iter__(self) -> Iterator[Any]:
        return self._rows


class _Connection(sqlite3.Connection):
    def ask(self, statement: str, values: Mapping[str, Any], /) -> _Answer:
        return _Answer(self.execute(statement, values))


class Database:
    """One connection to the ledger file, used by one thread at a time. `now` is its clock, in seconds since 1970.

    Writes are synchronous=FULL: a committed `sending` row survives a power cut, not only a killed process, because
    it must be on the disk before the request leaves.

    Args:
        path: The file; made (0600) with its folder (0700) if missing.
        busy_seconds: How long to wait for other processes.
        pause: Waits that many seconds between two attempts.

    Raises:
        LedgerError: Its code says what is wrong with the file.
    """

    def __init__(
        self, path: Path, *, busy_seconds: float = BUSY_SECONDS, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self.path = path
        self._busy_seconds = busy_seconds
        self._pause = pause
        self._lock = threading.Lock()
        self._files: dict[Path, tuple[int, int]] = {}
        self._durable: bool | None = None
        try:
            _create_private(path)
            opened = identity(path)
        except OSError as error:
            raise LedgerError(
                path,
                f"cannot be made: {error.strerror or error}",
                next_step="Set KUBEEZ_STATE_DIR to another folder.",
                code="ledger_unwritable",
            ) from None
        with self._explained():
            self._connection = sqlite3.connect(
                path,
                timeout=busy_seconds,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=256,
                factory=_Connection,
            )
        self.now = time.time
        try:
            with self._explained():
                self._prepare(opened)
        except LedgerError:
            self._connection.close()
            raise

    @contextlib.contextmanager
    def write(self, *, durable: bool = True, busy_seconds: float | None = None) -> Iterator[_Connection]:
        """One write transaction: the block sees a state that no other process can change, and happens whole or not.

        With `durable=False` the disk is not waited for: fast, and safe against a killed process but not a power cut.

        Raises:
            LedgerError: What is at the ledger's path now is not what this connection writes to.
        """
        with self._lock, self._explained():
            if durable is not self._durable:
                self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._durable = durable
            if busy_seconds is not None:
                self._connection.execute(f"PRAGMA busy_timeout = {int(busy_seconds * 1000)}")
            with self._transaction("BEGIN IMMEDIATE"):
                self._check_identity()
                yield self._connection

    @contextlib.contextmanager
    def read(self) -> Iterator[_Connection]:
        """One consistent view for reading; does not wait for writers. Raises as `write`."""
        with self._lock, self._explained(), self._transaction("BEGIN"):
            self._check_identity()
            yield self._connection

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        self._connection.execute(begin)
        try:
            yield
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _check_identity(self) -> None:
        """SQLite goes on for ever with a file that was removed or replaced; what it writes there is seen by nobody."""
        for path, opened in self._files.items():
            try:
                now = identity(path)
            except OSError as error:
                raise _replaced(self.path, f"{path.name}: {error.strerror or 'not there'}") from None
            if now != opened:
                raise _replaced(self.path, f"{path.name} is another file now")

    def close(self) -> None:
        """Close the connection; the file needs nothing further."""
        with self._lock:
            self._connection.close()

    def _prepare(self, opened: tuple[int, int]) -> None:
        connection = self._connection
        connection.row_factory = sqlite3.Row
        connection.create_function("searched", 5, _searched, deterministic=True)
        with self._transaction("BEGIN"):  # one view: another process may be making the tables right now
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            tables = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
            _check_format(self.path, application if application or tables else APPLICATION_ID, self._version())
        self._write_ahead()
        connection.execute("PRAGMA foreign_keys = ON")
        if self._version() < VERSION:
            self._migrate()
        # The log and the shared memory beside the file stay for as long as anybody has the ledger open.
        beside = [self.path.with_name(self.path.name + ending) for ending in ("-wal", "-shm")]
        self._files = {path: identity(path) for path in (self.path, *beside) if path.exists()}
        if self._files.get(self.path) != opened:
            raise _replaced(self.path, "while it was being opened")

    def _write_ahead(self) -> None:
        """Switch to a write-ahead log. SQLite does not wait for other processes here, so it is tried for a while."""
        for _ in range(int(self._busy_seconds / _PAUSE)):
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                self._pause(_PAUSE)
            else:
                return
        self._connection.execute("PRAGMA journal_mode = WAL")

    def _migrate(self) -> None:
        """Take the missing steps in one transaction; another process may have taken them meanwhile."""
        with self._transaction("BEGIN IMMEDIATE"):
            for step in MIGRATIONS[self._version() :]:
                for statement in _statements(step):
                    self._connection.execute(statement)
            self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._connection.execute(f"PRAGMA user_version = {VERSION}")

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise  # a bug or a race that the caller knows about, not a state of the file
        except sqlite3.DatabaseError as error:
            explained = _explain(self.path, error)
            if explained is None:
                raise
            raise explained from error


@lru_cache(maxsize=1)
def _searched(prompt: str, model: str, recipe: str, run: str, path: bytes) -> str:
    """What a search for an output looks through, without case: of its path only the name. Asked for once a word."""
    return "\n".join((prompt, model, recipe, run, re.split(r"[/\\]", path.decode("utf-8", "replace"))[-1])).casefold()


def _create_private(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _statements(script: str) -> Iterator[str]:
    """The script's statements one by one: `executescript` would commit the transaction around them."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


_MOVE_AWAY = (
    "Move the file away, with the -wal and -shm files beside it (keep them: they remember what you paid), "
    "and start again."
)
_FAILURES: tuple[tuple[tuple[int, ...], str, str, str], ...] = (
    (
        (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB),
        "ledger_corrupt",
        "is damaged or is no database",
        _MOVE_AWAY,
    ),
    (
        (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED),
        "ledger_locked",
        "is locked by another program",
        "Close the program that holds it and try again.",
    ),
    (
        (sqlite3.SQLITE_FULL,),
        "ledger_unwritable",
        "cannot grow: the disk is full",
        "Free some space and try again.",
    ),
    (
        (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR),
        "ledger_unwritable",
        "cannot be written ({error})",
        "Make the folder writable, or set KUBEEZ_STATE_DIR to another one.",
    ),
)
"""What SQLite's primary result codes mean for the ledger: code, message, next step."""


def _explain(path: Path, error: sqlite3.DatabaseError) -> LedgerError | None:
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    for results, code, message, next_step in _FAILURES:
        if primary in results:
            return LedgerError(path, message.format(error=error), next_step=next_step, code=code)
    return None


def _check_format(path: Path, application: int, version: int) -> None:
    if application != APPLICATION_ID:
        raise LedgerError(
            path,
            "is a database of another program",
            next_step="Set KUBEEZ_STATE_DIR to a folder of its own, or move that file away.",
            code="ledger_foreign",
        )
    if version > VERSION:
        raise LedgerError(
            path,
            f"has schema version {version}; this program knows versions up to {VERSION}",
            next_step="Update kubeez-mcp-local, or set KUBEEZ_STATE_DIR to another folder.",
            code="ledger_newer",
        )


def _replaced(path: Path, changed: str) -> LedgerError:
    return LedgerError(
        path,
        f"was removed, moved or replaced while this server was running ({changed})",
        next_step="Put the state folder back as it was, or restart this server to begin with what is there now; "
        "it then knows nothing of jobs that only the old folder has.",
        code="ledger_replaced",
    )


@dataclass(frozen=True)
class LedgerFacts:
    """What a ledger holds, over all accounts.

    Attributes:
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
        LedgerError: It is damaged, belongs to another program, or was written by a newer version of this one.
    """
    if not path.exists() or path.stat().st_size == 0:
        return None
    # Without a log beside it the file is complete, and SQLite need not put a log there to read it.
    logged = path.with_name(f"{path.name}-wal").exists()
    address = f"{path.absolute().as_uri()}?mode=ro{'' if logged else '&immutable=1'}"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=1.0)) as connection:
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            _check_format(path, application, version)
            states = dict(connection.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state").fetchall())
    except sqlite3.Error as error:
        raise LedgerError(
            path,
            f"cannot be read ({error})",
            next_step="Close other programs that use it; if that does not help, move it away (keep it).",
            code="ledger_corrupt",
        ) from None
    unfinished = states.get("sending", 0) + states.get("accepted", 0)
    return LedgerFacts(version, sum(states.values()), states.get("unknown", 0), unfinished)
