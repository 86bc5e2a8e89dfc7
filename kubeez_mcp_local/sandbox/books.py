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
from dataclasses import asdict, dataclass, field, fields
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

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "media_type": MEDIA_TYPES[self.extension]}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Work:
        """Back from the books."""
        known = {name: value for name, value in stored.items() if name in cls.__dataclass_fields__}
        return cls(**{**known, "inputs": tuple(stored.get("inputs", ()))})


@dataclass(frozen=True)
class Placed:
    """A file of a job, by the part it plays: `output`, `thumbnail`, `song`, `cover`, `vocals` or `instrumental`."""

    role: str
    position: int
    work: Work


JobKind = Literal["media", "music", "separation"]
Bucket = Literal["media", "music", "dialogue", "ads", "upload", "read"]


@dataclass(frozen=True)
class Account:
    """Who a key stands for, and what it may do."""

    id: str
    scopes: tuple[str, ...]
    revoked: bool


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What is settled about a job before it is accepted, its price in credits.

    `failure` is how it will end, if badly; a `refundable` job gives its credits back then.
    """

    account: str
    kind: JobKind
    bucket: Bucket
    model: str
    prompt: str
    generation_type: str
    request: dict[str, Any]
    credits: float
    failure: str | None = None
    refundable: bool = True


@dataclass(frozen=True, kw_only=True)
class JobDraft(Terms):
    """A job before it is accepted: `wait` and `total` are real seconds from acceptance until it starts and ends."""

    wait: float
    total: float
    works: tuple[Placed, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Job(Terms):
    """A paid request. Times are seconds since the epoch."""

    id: str
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
    *("generate:media", "generate:music", "generate:speech", "generate:ads"),
    *("read:balance", "read:generations"),
)

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
CREATE TABLE IF NOT EXISTS notes (
  kind TEXT NOT NULL, id TEXT NOT NULL, account TEXT NOT NULL, about TEXT NOT NULL, PRIMARY KEY (kind, id));
"""


@dataclass
class BalanceTooLowError(Exception):
    """The balance does not cover a price; both in credits."""

    needed: float
    left: float


@dataclass
class Books:
    """All records of one stand-in. Blocking; safe across threads and across processes sharing the folder.

    The folder is made when missing; the clock tells seconds since the epoch.
    """

    folder: Path
    clock: Callable[[], float] = time.time
    new_id: Callable[[], str] = lambda: str(uuid.uuid4())

    def __post_init__(self) -> None:
        (self.folder / "files").mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        database = self.folder / "books.sqlite3"
        self._db = sqlite3.connect(database, isolation_level=None, check_same_thread=False, timeout=10)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        # A rehearsal's books need not outlive a power cut; they do outlive a killed process.
        self._db.execute("PRAGMA synchronous=OFF")
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

    def _row(self, sql: str, *values: object) -> sqlite3.Row | None:
        return next(iter(self._rows(sql, *values)), None)

    def _write(self, sql: str, *values: object) -> None:
        with self._writing() as db:
            db.execute(sql, values)

    # Accounts and keys

    def account_of(self, key: str) -> Account | None:
        """The account behind `key`; opened on first sight for any `sk_live_` key, else None."""
        found = self._row("SELECT * FROM keys WHERE fingerprint = ?", fingerprint(key))
        if found:
            return _account(found)
        if not key.startswith("sk_live_") or len(key) <= len("sk_live_"):
            return None
        return self.register_key(key)

    def register_key(
        self,
        key: str,
        *,
        account: str | None = None,
        scopes: Sequence[str] | None = None,
        credits: float | None = None,  # noqa: A002 - its name everywhere
        revoked: bool | None = None,
    ) -> Account:
        """Open or change a key; what is None keeps its value. `credits` sets the account's balance."""
        mark = fingerprint(key)
        with self._writing() as db:
            row = db.execute("SELECT * FROM keys WHERE fingerprint = ?", (mark,)).fetchone()
            before = _account(row) if row else Account(f"account-{mark}", SCOPES, revoked=False)
            after = Account(
                account or before.id,
                before.scopes if scopes is None else tuple(scopes),
                before.revoked if revoked is None else revoked,
            )
            db.execute(
                "INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?)",
                (mark, after.id, json.dumps(after.scopes), int(after.revoked)),
            )
            self._open(db, after.id, credits)
        return after

    def open_account(self, account: str, credits: float | None = None) -> None:  # noqa: A002 - its name everywhere
        """Open an account if it is new; `credits` set its balance."""
        with self._writing() as db:
            self._open(db, account, credits)

    def _open(self, db: sqlite3.Connection, account: str, balance: float | None) -> None:
        known = db.execute("SELECT 1 FROM entries WHERE account = ? LIMIT 1", (account,)).fetchone()
        if balance is not None:
            self._enter(db, account, None, "grant", balance - _balance(db, account))
        elif known is None:
            self._enter(db, account, None, "grant", OPENING_CREDITS)

    def balance(self, account: str) -> float:
        """Credits left, refunds of what failed by now included."""
        self.settle()
        with self._lock:
            return _balance(self._db, account)

    def _enter(self, db: sqlite3.Connection, account: str, job: str | None, kind: str, amount: float) -> None:
        _insert(db, "entries", account=account, job=job, kind=kind, credits=amount, at=self.clock())

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
        terms = {
            **{each.name: getattr(draft, each.name) for each in fields(Terms)},
            "request": json.dumps(draft.request),
        }
        times = {"created_at": now, "starts_at": now + draft.wait, "due_at": now + draft.total}
        row = _insert(db, "jobs", id=job_id, **terms, **times)
        self._enter(db, draft.account, job_id, "charge", -draft.credits)
        for placed in draft.works:
            work, place = placed.work.as_dict(), {"role": placed.role, "position": placed.position}
            self._add_file(db, work, f".{placed.work.extension}", account=draft.account, job=job_id, **place)
        return _job(row)

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
        self.settle()
        row = self._row("SELECT * FROM jobs WHERE id = ? AND account = ?", job_id, account)
        return _job(row) if row else None

    def is_finished(self, job_id: str, *, early: bool = False) -> bool:
        """Whether a job's files may be downloaded; `early` for songs, which can be heard while they are made."""
        row = self._row("SELECT * FROM jobs WHERE id = ?", job_id)
        return row is not None and _job(row).status(self.clock()) in ("completed", "processing" if early else "")

    def count_read(self, job_id: str, *, finished: bool) -> None:
        """Note one status read of a job; `finished` when it was completed by then."""
        sql = "UPDATE jobs SET reads = reads + 1, finished_reads = finished_reads + ? WHERE id = ?"
        self._write(sql, int(finished), job_id)

    def jobs(self, account: str) -> list[Job]:
        """Jobs of an account, newest first."""
        self.settle()
        sql = "SELECT * FROM jobs WHERE account = ? ORDER BY created_at DESC, rowid DESC"
        return [_job(row) for row in self._rows(sql, account)]

    def running(self, account: str, bucket: str) -> int:
        """How many jobs of that bucket the account has unfinished."""
        self.settle()
        sql = "SELECT COUNT(*) FROM jobs WHERE account = ? AND bucket = ? AND settled = 0"
        return int(self._rows(sql, account, bucket)[0][0])

    def change_pace(self, ratio: float) -> None:
        """Divide the time that unfinished jobs still need by `ratio`."""
        self._write(
            "UPDATE jobs SET starts_at = ?1 + (starts_at - ?1) / ?2, due_at = ?1 + (due_at - ?1) / ?2"
            " WHERE settled = 0",
            self.clock(),
            ratio,
        )

    # Files

    def add_upload(self, account: str, suffix: str, media_type: str, about: dict[str, Any]) -> File:
        """Record an uploaded file; its bytes belong at `path_of` it."""
        with self._writing() as db:
            work = {"media_type": media_type, **about}
            return self._add_file(db, work, suffix, account=account, role="upload", position=0)

    def _add_file(self, db: sqlite3.Connection, work: dict[str, Any], suffix: str, **place: object) -> File:
        """Record a file; `place` is its account, job, role and position."""
        file_id = self.new_id()
        known = {name: work.get(name) for name in ("media_type", "width", "height", "seconds", "size")}
        row = _insert(db, "files", id=file_id, **place, path=f"{file_id}{suffix}", work=json.dumps(work), **known)
        return _file(row)

    def path_of(self, file: File) -> Path:
        """Where the bytes of `file` are or will be."""
        return self.folder / "files" / file.path

    def file_named(self, name: str) -> File | None:
        """The file that is served under `/files/{name}`."""
        row = self._row("SELECT * FROM files WHERE path = ?", name)
        return _file(row) if row else None

    def file_with_id(self, file_id: str) -> File | None:
        row = self._row("SELECT * FROM files WHERE id = ?", file_id)
        return _file(row) if row else None

    def files(self, job_id: str) -> list[File]:
        """A job's files, in order."""
        return [_file(row) for row in self._rows("SELECT * FROM files WHERE job = ? ORDER BY position, rowid", job_id)]

    def uploads(self, account: str) -> list[File]:
        """What an account uploaded, oldest first."""
        sql = "SELECT * FROM files WHERE account = ? AND role = 'upload' ORDER BY rowid"
        return [_file(row) for row in self._rows(sql, account)]

    def note_made(self, file: File, *, size: int, width: int | None, height: int | None, seconds: float | None) -> None:
        """Record what a file turned out to be: bytes, pixels, seconds."""
        sql = "UPDATE files SET size = ?, width = ?, height = ?, seconds = ? WHERE id = ?"
        self._write(sql, size, width, height, seconds, file.id)

    def count_download(self, file: File) -> int:
        """Note a download; how many came before it."""
        self._write("UPDATE files SET downloads = downloads + 1 WHERE id = ?", file.id)
        return file.downloads

    # Notes: what only the hosted door keeps, by its kind and id, such as tokens

    def note(self, kind: str, note_id: str, account: str, about: dict[str, Any]) -> None:
        """Keep a note, in place of an older one of that id."""
        self._write("INSERT OR REPLACE INTO notes VALUES (?, ?, ?, ?)", kind, note_id, account, json.dumps(about))

    def notes(self, kind: str, account: str | None = None) -> dict[str, dict[str, Any]]:
        """All notes of a kind, of one account or of all, newest first."""
        sql = "SELECT id, about FROM notes WHERE kind = ?1 AND (?2 IS NULL OR account = ?2) ORDER BY rowid DESC"
        return {row["id"]: json.loads(row["about"]) for row in self._rows(sql, kind, account)}

    def noted(self, kind: str, note_id: str) -> dict[str, Any] | None:
        row = self._row("SELECT about FROM notes WHERE kind = ? AND id = ?", kind, note_id)
        return json.loads(row["about"]) if row else None

    def change_note(self, kind: str, note_id: str, **changes: Any) -> dict[str, Any] | None:
        """Change some members of a note; what it said before, None when there is none. Nobody else comes between."""
        with self._writing() as db:
            row = db.execute("SELECT about FROM notes WHERE kind = ? AND id = ?", (kind, note_id)).fetchone()
            if row is None:
                return None
            before: dict[str, Any] = json.loads(row["about"])
            values = (json.dumps({**before, **changes}), kind, note_id)
            db.execute("UPDATE notes SET about = ? WHERE kind = ? AND id = ?", values)
            return before

    def forget_note(self, kind: str, note_id: str, account: str) -> bool:
        """Forget a note of that account; whether there was one."""
        with self._writing() as db:
            sql = "DELETE FROM notes WHERE kind = ? AND id = ? AND account = ?"
            return db.execute(sql, (kind, note_id, account)).rowcount > 0

    # Proofs

    def accounts(self) -> list[str]:
        """Every account that was ever opened, oldest first."""
        return [row[0] for row in self._rows("SELECT account FROM entries GROUP BY account ORDER BY MIN(id)")]

    def entries(self, account: str) -> list[dict[str, Any]]:
        """Every movement of credits: `{id, job, kind: grant|charge|refund, credits, at}`, oldest first."""
        rows = self._rows("SELECT id, job, kind, credits, at FROM entries WHERE account = ? ORDER BY id", account)
        return [dict(row) for row in rows]

    def empty(self) -> None:
        """Forget everything and delete all files."""
        with self._writing() as db:
            paths = [row[0] for row in db.execute("SELECT path FROM files")]
            for table in ("keys", "entries", "jobs", "files", "notes"):
                db.execute(f"DELETE FROM {table}")  # noqa: S608 - fixed names
        for path in paths:
            (self.folder / "files" / path).unlink(missing_ok=True)


def fingerprint(key: str) -> str:
    """What the books keep instead of a key."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _insert(db: sqlite3.Connection, table: str, **values: object) -> sqlite3.Row:
    names, places = ", ".join(values), ", ".join(f":{name}" for name in values)
    at = db.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", values).lastrowid  # noqa: S608 - our names
    row: sqlite3.Row = db.execute(f"SELECT * FROM {table} WHERE rowid = ?", (at,)).fetchone()  # noqa: S608 - likewise
    return row


def _balance(db: sqlite3.Connection, account: str) -> float:
    total = db.execute("SELECT COALESCE(SUM(credits), 0) FROM entries WHERE account = ?", (account,)).fetchone()[0]
    return round(float(total), 4)


def _account(row: sqlite3.Row) -> Account:
    return Account(id=row["account"], scopes=tuple(json.loads(row["scopes"])), revoked=bool(row["revoked"]))


def _job(row: sqlite3.Row) -> Job:
    truths = {name: bool(row[name]) for name in ("settled", "refundable")}
    return Job(**{**dict(row), "request": json.loads(row["request"]), **truths})


def _file(row: sqlite3.Row) -> File:
    return File(**{**dict(row), "work": json.loads(row["work"])})
