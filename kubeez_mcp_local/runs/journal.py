"""What a run has finished, on disk, so that a run that was cut off need not ask for it again.

JSON lines, each appended in one write and synced. A line that a crash tore is ignored. What was paid, and what is
still on its way, is not written here: the ledger knows it, and a call that is made again gets the job that it has.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from kubeez_mcp_local.disk import BINARY
from kubeez_mcp_local.errors import KubeezError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Outcome = Literal["completed", "failed", "stopped", "paused"]
_VERSION = 2
"""Records of version 1 also told what was sent and paid; a run that they leave unfinished cannot be gone on with."""


class JournalError(KubeezError):
    """The record of a run cannot be written, so nothing more is paid for."""

    code = "journal_failed"


@dataclass(frozen=True, slots=True)
class RunId:
    """A run such as `brand-series-1f0c2d3e4b`, and what it is of, in which mode (`live` or `sandbox`).

    `recipe` is a digest of the recipe's text, `arguments` one of the arguments that decide what is made.
    """

    name: str
    recipe: str
    arguments: str
    mode: str

    @classmethod
    def of(cls, name: str, recipe_text: str, arguments: Mapping[str, Any], mode: str) -> RunId:
        told = json.dumps(arguments, sort_keys=True, default=str)
        return cls(name, digest(recipe_text), digest(told), mode)

    @property
    def in_ledger(self) -> str:
        """What the ledger calls it; a name that is used again for something else is another run there."""
        return f"{self.name}/{digest(f'{self.recipe}{self.arguments}{self.mode}')[:16]}"

    @property
    def header(self) -> dict[str, Any]:
        """The first line of its record."""
        told = {"recipe": self.recipe, "arguments": self.arguments, "mode": self.mode}
        return {"event": "run", "version": _VERSION, "run": self.name, **told}


@dataclass(slots=True)
class Record:
    """What the record of a run says: its `header`, empty while there is none, and what finished calls came to, by key.

    `outcome` is how the last attempt ended; `None` when it was cut off. `passed` are steps before which it has paused.
    """

    header: dict[str, Any] = field(default_factory=dict)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    outcome: Outcome | None = None
    passed: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, folder: Path, run: RunId) -> Record:
        """The record of `run`; empty when there is none. Blocking. Raises `run_mismatch` if it is of another run."""
        try:
            data = file_of(folder, run.name).read_bytes()
        except OSError:
            return cls()
        return cls._of(data.rpartition(b"\n")[0], run)

    @classmethod
    def _of(cls, lines: bytes, run: RunId) -> Record:
        record = cls()
        for event in map(_parsed, lines.splitlines()):
            record.outcome = event.get("outcome") if event.get("event") == "over" else None
            record.passed.update(map(str, event.get("before") or ()))
            if event.get("event") == "run":
                record.header = event
            elif event.get("event") == "finished":
                record.results[str(event.get("key"))] = event.get("result") or {}
        record._check(run)
        return record

    def _check(self, run: RunId) -> None:
        if not self.header:
            return
        words = {"recipe": "another recipe, or the recipe was edited", "arguments": "other arguments"}
        begun, next_step = "", "Start a new run, or repeat the command exactly as it was."
        for name, said in {**words, "mode": "the other mode"}.items():
            if self.header.get(name) != run.header[name]:
                begun = begun or f"with {said}"
        if not begun and self.header.get("version") != _VERSION and self.outcome != "completed":
            begun = "by another version of this program, which kept other records"
            next_step = "See `kubeez-mcp-local jobs list` for what it made, and start a new run for what is missing."
        if begun:
            raise KubeezError(f"The run {run.name} was begun {begun}.", next_step=next_step, code="run_mismatch")


class Journal:
    """The record of a run under `folder`, opened to be carried on by one process at a time. All methods block.

    Raises:
        KubeezError: There is a record of another run of that name (`run_mismatch`).
        RunTakenError: Somebody else is carrying the run out.
        JournalError: It cannot be written.
    """

    def __init__(self, folder: Path, run: RunId) -> None:
        self.path = file_of(folder, run.name)
        self._lock = lock_of(folder, run.name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not _locked(self._lock):
                raise RunTakenError(f"The run {run.name} is being carried out already.", retry_safe=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | BINARY, 0o600)
        except OSError as error:
            self._lock.release()
            raise JournalError(f"{self.path} cannot be written: {error.strerror}.") from None
        try:
            self.results = self._resume(run)
        except BaseException:
            self.close()
            raise

    def finished(self, key: str, result: Mapping[str, Any]) -> None:
        """A call is over and need not be made again."""
        self._append({"event": "finished", "key": key, "result": dict(result)})

    def over(self, outcome: Outcome, before: Sequence[str] = ()) -> None:
        """This attempt at the run has ended; for now, where it has paused `before` a step."""
        self._append({"event": "over", "outcome": outcome, **({"before": list(before)} if before else {})})

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)
        self._lock.release()

    def _resume(self, run: RunId) -> dict[str, dict[str, Any]]:
        whole, _, torn = self.path.read_bytes().rpartition(b"\n")
        if torn:
            os.truncate(self._file, len(whole) + 1 if whole else 0)
        if not whole:
            self._append(run.header)
        return Record._of(whole, run).results

    def _append(self, record: Mapping[str, Any]) -> None:
        line = json.dumps(record, ensure_ascii=False, default=str).encode() + b"\n"
        try:
            if os.write(self._file, line) != len(line):
                raise OSError(28, "disk full")
            os.fsync(self._file)
        except OSError as error:
            raise JournalError(
                f"The record of this run cannot be written: {error.strerror}.",
                next_step="Make room on the disk, then run the same command again; finished work is not repeated.",
            ) from None


class NoJournal:
    """Keeps nothing: the ledger knows what was paid, and whoever carries out one row of a campaign asks it."""

    def __init__(self) -> None:
        self.results: dict[str, dict[str, Any]] = {}

    def finished(self, key: str, result: Mapping[str, Any]) -> None: ...

    def over(self, outcome: Outcome, before: Sequence[str] = ()) -> None: ...

    def close(self) -> None: ...


class RunTakenError(KubeezError):
    """Somebody else is carrying the run out."""

    code = "run_taken"


def is_taken(folder: Path, name: str) -> bool:
    """Whether somebody is carrying out the run `name` right now. Blocking."""
    if not file_of(folder, name).exists():
        return False
    lock = lock_of(folder, name)
    free = _locked(lock)
    lock.release()
    return not free


def _locked(lock: FileLock) -> bool:
    """Whether nobody else holds `lock`. Without locks two may carry out a run; the ledger pays it once."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    except OSError:
        pass
    return True


def lock_of(folder: Path, name: str) -> FileLock:
    """Held by whoever carries out the run `name`; the system lets go of it when that process ends."""
    return FileLock(folder / f"{name}.lock", thread_local=False, fallback_to_soft=False)


def file_of(folder: Path, name: str) -> Path:
    """Where the record of a run is."""
    return folder / f"{name}.jsonl"


def digest(text: str) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}
