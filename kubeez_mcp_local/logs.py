"""Logging to stderr, and to a file if one is named, free of secrets: no key, prompt or URL query ever reaches a log."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
import time
import traceback
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TextIO

from kubeez_mcp_local.text import cut, visible, without_keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

_QUERY = re.compile(r"(https?://[^\s?#\"']+)\?[^\s\"']*")
_IN_FILE = "%(asctime)s.%(msecs)03dZ %(levelname)s %(process)d %(name)s%(request)s: %(message)s"
_ON_STDERR = "%(levelname)s %(name)s%(request)s: %(message)s"
_LARGEST_FILE = 10_000_000
_LONGEST_NAME = 40
_request: ContextVar[str] = ContextVar("the request in whose name lines are logged", default="")
_CHATTY = ("httpx", "httpcore", "httpx2", "httpcore2", "uvicorn", "asyncio", "PIL", "mcp")


def redact(text: str) -> str:
    """Replace keys and URL queries in `text`."""
    return _QUERY.sub(r"\1?…", without_keys(text))


class _RedactingFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """One record; what it quotes can neither steer a terminal nor begin a record of its own."""
        return visible(redact(super().format(record))).replace("\n", "\n  ")

    def formatException(self, ei: ExcInfo) -> str:  # noqa: N802 - the base class's name
        """Where it happened and what kind of failure it was; what it says may quote a prompt."""
        kind, _, trace = ei
        return "".join(traceback.format_tb(trace)) + (kind.__name__ if kind else "")


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a record says anything: uvicorn reports each request that our own stop cancels as a failure."""
    kind = record.exc_info[0] if record.exc_info else None
    return not (record.name == "uvicorn.error" and kind is not None and issubclass(kind, asyncio.CancelledError))


@contextmanager
def on_behalf_of(request: object) -> Iterator[None]:
    """Name `request` in every line that is logged meanwhile, also by work that is started meanwhile and goes on."""
    before = _request.set(f" [{cut(str(request), _LONGEST_NAME)}]")
    try:
        yield
    finally:
        _request.reset(before)


def _name_request(record: logging.LogRecord) -> bool:
    record.request = _request.get()
    return True


class _LogFile(logging.StreamHandler[TextIO]):
    """Appends to a file that only its owner can read, and gives it up when it cannot be written any more.

    Several servers may write to one file: each line names its process. A large one is put aside at the start, and the
    one that was put aside before is gone.

    Raises:
        OSError: It cannot be written.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and path.stat().st_size > _LARGEST_FILE:
            path.replace(path.with_name(f"{path.name}.1"))
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)  # a pipe that nobody reads fails
        handle = os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o600)
        super().__init__(os.fdopen(handle, "a", encoding="utf-8", errors="backslashreplace"))
        self._path = path

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class's name
        logging.getLogger().removeHandler(self)
        _say_unwritable(self._path, sys.exc_info()[1])


def _say_unwritable(path: Path, error: BaseException | None) -> None:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    logging.getLogger(__name__).warning("the log file %s cannot be written: %s; everything else goes on", path, reason)


def configure_logging(level: str, file: Path | None = None) -> None:
    """Send log records of `level` and above to stderr and to `file`; libraries that log URLs or messages only from
    warnings on. A file that cannot be written is reported on stderr, and ends nothing."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    handlers[0].setFormatter(_RedactingFormatter(_ON_STDERR))
    problem = None
    if file is not None:
        try:
            handlers.append(_LogFile(file))
        except OSError as error:
            problem = error
        else:
            in_file = _RedactingFormatter(_IN_FILE, "%Y-%m-%dT%H:%M:%S")
            in_file.converter = time.gmtime
            handlers[1].setFormatter(in_file)
    for handler in handlers:
        handler.addFilter(_is_news)
        handler.addFilter(_name_request)
    logging.basicConfig(level=level.upper(), handlers=handlers, force=True)
    if file is not None and problem is not None:
        _say_unwritable(file, problem)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))
