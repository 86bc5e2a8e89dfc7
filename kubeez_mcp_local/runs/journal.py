"""The record of one run on disk, so that a run that was cut off goes on without paying twice.

JSON lines, each appended in one write and synced before the next thing happens. A line that a crash tore is ignored.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from kubeez_mcp_local.errors import KubeezError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Outcome = Literal["completed", "failed", "stopped"]


class RunMismatchError(KubeezError):
    """The run id belongs to another recipe or to other arguments."""

    code = "run_mismatch"


class JournalError(KubeezError):
    """The record of a run cannot be written, so nothing more is paid for."""

    code = "journal_failed"


@dataclass(slots=True)
class Progress:
    """How far one call had come.

    Attributes:
        arguments: What was sent, once it was sent.
        quote: Its price in credits, `None` when unknown.
        ids: Ids of the accepted jobs.
        result: The finished result; `None` while there is none.
    """

    arguments: dict[str, Any] | None = None
    quote: float | None = None
    ids: list[str] = field(default_factory=list)
    result: dict[str, Any] | None = None


@dataclass(slots=True)
class Record:
    """What the record of a run says.

    Attributes:
        header: Which run it is: recipe, arguments and mode; empty while there is no record.
        calls: How far each call has come, by its key.
        outcome: How the last attempt ended; `None` when it was cut off.
    """

    header: dict[str, Any] = field(default_factory=dict)
    calls: dict[str, Progress] = field(default_factory=dict)
    outcome: Outcome | None = None

    def apply(self, event: Mapping[str, Any]) -> None:
        """Take in one line."""
        self.outcome = event.get("outcome") if event.get("event") == "over" else None
        key = str(event.get("key"))
        match event.get("event"):
            case "run":
                self.header = dict(event)
            case "started":
                self.calls[key] = Progress(event.get("arguments"), event.get("quote"))
            case "accepted":
                self.calls.setdefault(key, Progress()).ids = list(event.get("ids") or [])
            case "finished":
                self.calls.setdefault(key, Progress()).result = event.get("result")
            case "refused":
                self.calls.pop(key, None)


class Journal:
    """The record of the run `run_id` under `folder`. All methods block.

    Raises:
        RunMismatchError: When opened for another recipe or other arguments than the run began with.
        JournalError: When it cannot be written.
    """

    def __init__(self, folder: Path, run_id: str, recipe_text: str, arguments: Mapping[str, Any], mode: str) -> None:
        self.path = file_of(folder, run_id)
        self._header = header(run_id, recipe_text, arguments, mode)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise JournalError(f"{self.path} cannot be written: {error.strerror}.") from None
        try:
            self.calls = self._resume()
        except BaseException:
            self.close()
            raise

    def started(self, key: str, tool: str, arguments: Mapping[str, Any], quote: float | None) -> None:
        """A paid call is about to be made."""
        self._append({"event": "started", "key": key, "tool": tool, "arguments": dict(arguments), "quote": quote})

    def accepted(self, key: str, ids: list[str]) -> None:
        """Its jobs exist."""
        self._append({"event": "accepted", "key": key, "ids": ids})

    def finished(self, key: str, result: Mapping[str, Any]) -> None:
        """A call is over and need not be made again."""
        self._append({"event": "finished", "key": key, "result": dict(result)})

    def refused(self, key: str) -> None:
        """A call came to nothing and cost nothing; the next run makes it anew."""
        self._append({"event": "refused", "key": key})

    def over(self, outcome: Outcome) -> None:
        """This attempt at the run has ended."""
        self._append({"event": "over", "outcome": outcome})

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def _resume(self) -> dict[str, Progress]:
        data = self.path.read_bytes()
        whole, _, torn = data.rpartition(b"\n")
        if torn:
            os.truncate(self._file, len(whole) + 1 if whole else 0)
        if not whole:
            self._append(self._header)
            return {}
        record = _read(whole)
        check_header(record, self._header)
        return record.calls

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


def header(run_id: str, recipe_text: str, arguments: Mapping[str, Any], mode: str) -> dict[str, Any]:
    """The first line of a record: which run it is of."""
    return {
        "event": "run",
        "run": run_id,
        "recipe": digest(recipe_text),
        "arguments": digest(json.dumps(arguments, sort_keys=True, default=str)),
        "mode": mode,
    }


def read_record(folder: Path, run_id: str) -> Record:
    """What there is of the run `run_id`; empty when there is nothing. Blocking."""
    try:
        data = file_of(folder, run_id).read_bytes()
    except OSError:
        return Record()
    return _read(data.rpartition(b"\n")[0])


def check_header(record: Record, wanted: Mapping[str, Any]) -> None:
    """Make sure that `record` is of the run that is wanted.

    Raises:
        RunMismatchError: It is not.
    """
    names = {"recipe": "another recipe, or the recipe was edited", "arguments": "other arguments"}
    for name, words in {**names, "mode": "the other mode"}.items():
        if record.header.get(name) != wanted[name]:
            raise RunMismatchError(
                f"The run {wanted['run']} was begun with {words}.",
                next_step="Start a new run, or repeat the command exactly as it was.",
            )


def file_of(folder: Path, run_id: str) -> Path:
    """Where the record of a run is."""
    return folder / f"{run_id}.jsonl"


def digest(text: str) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def _read(lines: bytes) -> Record:
    record = Record()
    for line in lines.splitlines():
        event = _parsed(line)
        if event:
            record.apply(event)
    return record


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}
