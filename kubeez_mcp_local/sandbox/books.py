"""The stand-in's books: accounts, keys, jobs, files and every credit that moved, in one SQLite file.

A balance is the sum of its entries, so the books can prove what was paid for what, and how often.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


WorkKind = Literal[
    "picture", "clip", "music", "speech", "effect", "vocals", "instrumental", "cutout", "retake", "thumbnail"
]

MEDIA_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "mp4": "video/mp4",
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
}


@dataclass(frozen=True)
class Work:
    """One file to make. The same work makes the same bytes.

    Attributes:
        extension: Decides the format; a key of `MEDIA_TYPES`.
        prompt: Shown on pictures and clips; the words of speech, one line for each speaker's turn.
        label: What tells siblings apart, such as a language, an effect or a voice for each line.
        width: Pixels; likewise `height`. `seconds` is the length of sound and clips.
        inputs: Stored files that went in, by their name in the files folder.
        sound: Whether a clip has an audio track.
    """

    kind: WorkKind
    extension: str
    model: str
    prompt: str
    seed: int
    label: str = ""
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    inputs: tuple[str, ...] = ()
    sound: bool = False

    @property
    def media_type(self) -> str:
        """MIME type of the file."""
        return MEDIA_TYPES[self.extension]

    def as_dict(self) -> dict[str, Any]:
        """For the books."""
        return {**asdict(self), "inputs": list(self.inputs), "media_type": self.media_type}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Work:
        """Back from the books."""
        fields = {name: value for name, value in stored.items() if name in cls.__dataclass_fields__}
        return cls(**{**fields, "inputs": tuple(stored.get("inputs", ()))})


JobKind = Literal["media", "music", "separation"]
Bucket = Literal["media", "music", "dialogue", "ads", "upload", "read"]


@dataclass(frozen=True)
class Account:
    """Who a key stands for, and what it may do."""

    id: str
    scopes: tuple[str, ...]
    revoked: bool


@dataclass(frozen=True)
class JobDraft:
    """A job before it is accepted: price in credits, times in real seconds from acceptance.

    `works` are the files it will make, each `(role, position, work)`; `failure` is how it will end, if badly.
    A `refundable` job gives its credits back then.
    """

    account: str
    kind: JobKind
    bucket: Bucket
    model: str
    prompt: str
    generation_type: str
    request: dict[str, Any]
    credits: float
    wait: float
    total: float
    works: tuple[tuple[str, int, dict[str, Any]], ...] = ()
    failure: str | None = None
    refundable: bool = True


@dataclass(frozen=True)
class Job:
    """A paid request. Times are seconds since the epoch; `credits` is what was charged."""

    id: str
    account: str
    kind: JobKind
    bucket: Bucket
    model: str
    prompt: str
    generation_type: str
    request: dict[str, Any]
    credits: float
    failure: str | None
    refundable: bool
    created_at: float
    starts_at: float
    due_at: float
    settled: bool
    reads: int
    finished_reads: int

    def status(self, now: float) -> str:
        """`pending`, `processing`, `completed` or `failed` at that moment."""
        if self.settled or now >= self.due_at:
            return "failed" if self.failure else "completed"
        return "processing" if now >= self.starts_at else "pending"


@dataclass(frozen=True)
class File:
    """A file the stand-in serves: an upload, or a job's output, thumbnail, song, cover or stem."""

    id: str
    account: str
    job: str | None
    role: str
    position: int
    path: str
    media_type: str
    work: dict[str, Any] = field(repr=False)
    width: int | None
    height: int | None
    seconds: float | None
    size: int | None
    downloads: int

    @property
    def kind(self) -> str:
        """`image`, `video` or `audio`."""
        return self.media_type.partition("/")[0]


OPENING_CREDITS = 10_000.0
SCOPES = (
    "generate:media",
    "generate:music",
    "generate:speech",
    "generate:ads",
    "read:balance",
    "read:generations",
)
OPEN = ("pending", "processing")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (
  fingerprint TEXT PRIMARY KEY, account TEXT NOT NULL, scopes TEXT NOT NULL, revoked INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS entries (
  id INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL, job TEXT, kind TEXT NOT NULL, credits REAL NOT NULL,
  at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS entries_by_account ON entries (account);
CREATE TABLE IF NOT EXISTS jobs (
  id TEXT PRIMARY KEY, account TEXT NOT NULL, kind TEXT NOT NULL, bucket TEXT NOT NULL, model TEXT NOT NULL,
  prompt TEXT NOT NULL, generation_type TEXT NOT NULL, request TEXT NOT NULL, credits REAL NOT NULL,
  failure TEXT, refundable INTEGER NOT NULL, created_at REAL NOT NULL, starts_at REAL NOT NULL, due_at REAL NOT NULL,
  settled INTEGER NOT NULL DEFAULT 0, reads INTEGER NOT NULL DEFAULT 0, finished_reads INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS jobs_by_account ON jobs (account, created_at);
CREATE INDEX IF NOT EXISTS jobs_unsettled ON jobs (settled, due_at);
CREATE TABLE IF NOT EXISTS files (
  id TEXT PRIMARY KEY, account TEXT NOT NULL, job TEXT, role TEXT NOT NULL, position INTEGER NOT NULL,
  path TEXT NOT NULL, media_type TEXT NOT NULL, work TEXT NOT NULL, width INTEGER, height INTEGER, seconds REAL,
  size INTEGER, downloads INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS files_by_job ON files (job);
CREATE INDEX IF NOT EXISTS files_by_path ON files (path);
"""


class BalanceTooLowError(Exception):
    """The balance does not cover a price; both in credits."""

    def __init__(self, needed: float, left: float) -> None:
        super().__init__(f"needs {needed:g} credits, has {left:g}")
        self.needed = needed
        self.left = left


class Books:
    """All records of one stand-in. Blocking; safe across threads and across processes sharing the folder.

    Args:
        folder: Where the database and the files live; made when missing.
        clock: Seconds since the epoch.
        new_id: Makes ids of jobs and files.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self.folder = folder
        self.clock = clock
        self.new_id = new_id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "files").mkdir(exist_ok=True)
        self._lock = threading.RLock()
        self._db = sqlite3.connect(folder / "books.sqlite3", isolation_level=None, check_same_thread=False, timeout=10)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        # A rehearsal's books need not outlive a power cut; they do outlive a killed process.
        self._db.execute("PRAGMA synchronous=OFF")
        with self._lock:
            self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the database; nothing can be read or written afterwards."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    # Accounts and keys

    def account_of(self, key: str) -> Account | None:
        """The account behind `key`; opened on first sight for any `sk_live_` key, else None."""
        mark = fingerprint(key)
        found = self._rows("SELECT * FROM keys WHERE fingerprint = ?", mark)
        if found:
            return _account(found[0])
        if not key.startswith("sk_live_") or len(key) <= len("sk_live_"):
            return None
        return self.register_key(key)

    def register_key(
        self,
        key: str,
        *,
        account: str | None = None,
        scopes: Sequence[str] | None = None,
        credits_: float | None = None,
        revoked: bool | None = None,
    ) -> Account:
        """Open or change a key; what is None keeps its value. `credits_` sets the account's balance, in credits."""
        mark = fingerprint(key)
        with self._writing() as db:
            row = db.execute("SELECT * FROM keys WHERE fingerprint = ?", (mark,)).fetchone()
            before = _account(row) if row else Account(id=f"account-{mark}", scopes=SCOPES, revoked=False)
            after = Account(
                id=account or before.id,
                scopes=before.scopes if scopes is None else tuple(scopes),
                revoked=before.revoked if revoked is None else revoked,
            )
            db.execute(
                "INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?)",
                (mark, after.id, json.dumps(after.scopes), int(after.revoked)),
            )
            known = db.execute("SELECT 1 FROM entries WHERE account = ? LIMIT 1", (after.id,)).fetchone()
            if credits_ is not None:
                self._enter(db, after.id, None, "grant", credits_ - _balance(db, after.id))
            elif known is None:
                self._enter(db, after.id, None, "grant", OPENING_CREDITS)
        return after

    def balance(self, account: str) -> float:
        """Credits left, refunds of what failed by now included."""
        self.settle()
        with self._lock:
            return _balance(self._db, account)

    def _enter(self, db: sqlite3.Connection, account: str, job: str | None, kind: str, amount: float) -> None:
        db.execute(
            "INSERT INTO entries (account, job, kind, credits, at) VALUES (?, ?, ?, ?, ?)",
            (account, job, kind, amount, self.clock()),
        )

    # Jobs

    def accept(self, drafts: Sequence[JobDraft]) -> list[Job]:
        """Charge and record jobs of one request, all or none.

        Raises:
            BalanceTooLowError: The balance does not cover their sum; nothing was recorded.
        """
        self.settle()
        with self._writing() as db:
            account = drafts[0].account
            needed, left = sum(draft.credits for draft in drafts), _balance(db, account)
            if needed > left + 1e-9:
                raise BalanceTooLowError(needed, left)
            return [self._record(db, draft) for draft in drafts]

    def _record(self, db: sqlite3.Connection, draft: JobDraft) -> Job:
        job_id, now = self.new_id(), self.clock()
        db.execute(
            "INSERT INTO jobs (id, account, kind, bucket, model, prompt, generation_type, request, credits, failure,"
            " refundable, created_at, starts_at, due_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                job_id, draft.account, draft.kind, draft.bucket, draft.model, draft.prompt, draft.generation_type,
                json.dumps(draft.request), draft.credits, draft.failure, int(draft.refundable),
                now, now + draft.wait, now + draft.total,
            ),
        )  # fmt: skip
        self._enter(db, draft.account, job_id, "charge", -draft.credits)
        for role, position, work in draft.works:
            self._add_file(db, draft.account, job_id, role, position, f".{work['extension']}", work)
        return _job(db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone())

    def settle(self) -> None:
        """Bring the books up to now: what is due is finished, and the credits of what failed are given back."""
        now = self.clock()
        if not self._rows("SELECT 1 FROM jobs WHERE settled = 0 AND due_at <= ? LIMIT 1", now):
            return
        with self._writing() as db:
            due = db.execute("SELECT * FROM jobs WHERE settled = 0 AND due_at <= ?", (now,)).fetchall()
            for row in due:
                if row["failure"] and row["credits"] and row["refundable"]:
                    self._enter(db, row["account"], row["id"], "refund", row["credits"])
                db.execute("UPDATE jobs SET settled = 1 WHERE id = ?", (row["id"],))

    def job(self, account: str, job_id: str) -> Job | None:
        """One job of that account."""
        self.settle()
        rows = self._rows("SELECT * FROM jobs WHERE id = ? AND account = ?", job_id, account)
        return _job(rows[0]) if rows else None

    def is_finished(self, job_id: str, *, early: bool = False) -> bool:
        """Whether a job's files may be downloaded; `early` for songs, which can be heard while they are made."""
        rows = self._rows("SELECT * FROM jobs WHERE id = ?", job_id)
        return bool(rows) and _job(rows[0]).status(self.clock()) in ("completed", *(("processing",) if early else ()))

    def count_read(self, job_id: str, *, finished: bool) -> None:
        """Note one status read of a job; `finished` when it was completed by then."""
        with self._writing() as db:
            db.execute(
                "UPDATE jobs SET reads = reads + 1, finished_reads = finished_reads + ? WHERE id = ?",
                (int(finished), job_id),
            )

    def jobs(self, account: str, *, limit: int | None = None) -> list[Job]:
        """Jobs of an account, newest first."""
        self.settle()
        rows = self._rows(
            "SELECT * FROM jobs WHERE account = ? ORDER BY created_at DESC, rowid DESC LIMIT ?",
            account,
            -1 if limit is None else limit,
        )
        return [_job(row) for row in rows]

    def running(self, account: str, bucket: str) -> int:
        """How many jobs of that bucket the account has unfinished."""
        self.settle()
        sql = "SELECT COUNT(*) FROM jobs WHERE account = ? AND bucket = ? AND settled = 0"
        return int(self._rows(sql, account, bucket)[0][0])

    def change_pace(self, ratio: float) -> None:
        """Divide the time that unfinished jobs still need by `ratio`."""
        now = self.clock()
        with self._writing() as db:
            db.execute(
                "UPDATE jobs SET starts_at = ?1 + (starts_at - ?1) / ?2, due_at = ?1 + (due_at - ?1) / ?2"
                " WHERE settled = 0",
                (now, ratio),
            )

    # Files

    def add_upload(self, account: str, suffix: str, media_type: str, about: dict[str, Any]) -> File:
        """Record an uploaded file; its bytes belong at `path_of` it."""
        with self._writing() as db:
            work = {"media_type": media_type, **about}
            return self._add_file(db, account, None, "upload", 0, suffix, work)

    def _add_file(
        self,
        db: sqlite3.Connection,
        account: str,
        job: str | None,
        role: str,
        position: int,
        suffix: str,
        work: dict[str, Any],
    ) -> File:
        file_id = self.new_id()
        db.execute(
            "INSERT INTO files (id, account, job, role, position, path, media_type, work, width, height, seconds, size)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                file_id, account, job, role, position, f"{file_id}{suffix}", work["media_type"], json.dumps(work),
                work.get("width"), work.get("height"), work.get("seconds"), work.get("size"),
            ),
        )  # fmt: skip
        return _file(db.execute("SELECT * FROM files WHERE id = ?", (file_id,)).fetchone())

    def path_of(self, file: File) -> Path:
        """Where the bytes of `file` are or will be."""
        return self.folder / "files" / file.path

    def file_named(self, name: str) -> File | None:
        """The file that is served under `/files/{name}`."""
        rows = self._rows("SELECT * FROM files WHERE path = ?", name)
        return _file(rows[0]) if rows else None

    def file_with_id(self, file_id: str) -> File | None:
        """One file by its id."""
        rows = self._rows("SELECT * FROM files WHERE id = ?", file_id)
        return _file(rows[0]) if rows else None

    def files(self, job_id: str) -> list[File]:
        """A job's files, in order."""
        return [_file(row) for row in self._rows("SELECT * FROM files WHERE job = ? ORDER BY position, rowid", job_id)]

    def uploads(self, account: str) -> list[File]:
        """What an account uploaded, oldest first."""
        sql = "SELECT * FROM files WHERE account = ? AND role = 'upload' ORDER BY rowid"
        return [_file(row) for row in self._rows(sql, account)]

    def note_made(self, file: File, *, size: int, width: int | None, height: int | None, seconds: float | None) -> None:
        """Record what a file turned out to be: bytes, pixels, seconds."""
        with self._writing() as db:
            db.execute(
                "UPDATE files SET size = ?, width = ?, height = ?, seconds = ? WHERE id = ?",
                (size, width, height, seconds, file.id),
            )

    def count_download(self, file: File) -> int:
        """Note a download; how many came before it."""
        with self._writing() as db:
            db.execute("UPDATE files SET downloads = downloads + 1 WHERE id = ?", (file.id,))
        return file.downloads

    # Proofs

    def accounts(self) -> list[str]:
        """Every account that was ever opened."""
        return [row[0] for row in self._rows("SELECT DISTINCT account FROM keys ORDER BY account")]

    def entries(self, account: str) -> list[dict[str, Any]]:
        """Every movement of credits: `{id, job, kind: grant|charge|refund, credits, at}`, oldest first."""
        rows = self._rows("SELECT id, job, kind, credits, at FROM entries WHERE account = ? ORDER BY id", account)
        return [dict(row) for row in rows]

    def empty(self) -> None:
        """Forget everything and delete all files."""
        with self._writing() as db:
            paths = [row[0] for row in db.execute("SELECT path FROM files")]
            for table in ("keys", "entries", "jobs", "files"):
                db.execute(f"DELETE FROM {table}")  # noqa: S608 - fixed names
        for path in paths:
            (self.folder / "files" / path).unlink(missing_ok=True)


def fingerprint(key: str) -> str:
    """What the books keep instead of a key."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _balance(db: sqlite3.Connection, account: str) -> float:
    total = db.execute("SELECT COALESCE(SUM(credits), 0) FROM entries WHERE account = ?", (account,)).fetchone()[0]
    return round(float(total), 4)


def _account(row: sqlite3.Row) -> Account:
    return Account(id=row["account"], scopes=tuple(json.loads(row["scopes"])), revoked=bool(row["revoked"]))


def _job(row: sqlite3.Row) -> Job:
    return Job(
        **{
            **dict(row),
            "request": json.loads(row["request"]),
            "settled": bool(row["settled"]),
            "refundable": bool(row["refundable"]),
        }
    )


def _file(row: sqlite3.Row) -> File:
    return File(**{**dict(row), "work": json.loads(row["work"])})
