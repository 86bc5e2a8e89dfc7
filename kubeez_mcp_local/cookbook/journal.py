"""The record of one run on disk, so that a run that was cut off goes on without paying twice.

JSON lines, each appended in one write and synced before the next thing happens. A line that a crash tore is ignored.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.errors import KubeezError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


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


class Journal:
    """The record of the run `run_id` under `folder`. All methods block.

    Raises:
        RunMismatchError: When opened for another recipe or other arguments than the run began with.
        JournalError: When it cannot be written.
    """

    def __init__(self, folder: Path, run_id: str, recipe_text: str, arguments: Mapping[str, Any], mode: str) -> None:
        self.path = folder / f"{run_id}.jsonl"
        self.calls: dict[str, Progress] = {}
        self._header = {
            "event": "run",
            "run": run_id,
            "recipe": _digest(recipe_text),
            "arguments": _digest(json.dumps(arguments, sort_keys=True, default=str)),
            "mode": mode,
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise JournalError(f"{self.path} cannot be written: {error.strerror}.") from None
        try:
            self._resume()
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

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def _resume(self) -> None:
        data = self.path.read_bytes()
        whole, _, torn = data.rpartition(b"\n")
        if torn:
            os.truncate(self._file, len(whole) + 1 if whole else 0)
        for number, line in enumerate(whole.splitlines()):
            record = _parsed(line)
            if number == 0:
                self._check_header(record)
            elif record:
                self._apply(record)
        if not whole:
            self._append(self._header)

    def _check_header(self, record: dict[str, Any]) -> None:
        names = {
            "recipe": "another recipe, or the recipe was edited",
            "arguments": "other arguments",
            "mode": "the other mode",
        }
        for name, words in names.items():
            if record.get(name) != self._header[name]:
                raise RunMismatchError(
                    f"The run {self._header['run']} was begun with {words}.",
                    next_step="Start a new run, or repeat the command exactly as it was.",
                )

    def _apply(self, record: dict[str, Any]) -> None:
        key = str(record.get("key"))
        progress = self.calls.setdefault(key, Progress())
        match record.get("event"):
            case "started":
                progress.arguments, progress.quote = record.get("arguments"), record.get("quote")
                progress.ids = []
            case "accepted":
                progress.ids = list(record.get("ids") or [])
            case "finished":
                progress.result = record.get("result")
            case "refused":
                del self.calls[key]

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


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}
