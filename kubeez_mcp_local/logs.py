"""Logging to stderr, free of secrets: no key, prompt or URL query ever reaches the host's log."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import traceback
from typing import TYPE_CHECKING

from kubeez_mcp_local.text import visible, without_keys

if TYPE_CHECKING:
    from types import TracebackType

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

_QUERY = re.compile(r"(https?://[^\s?#\"']+)\?[^\s\"']*")
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


def configure_logging(level: str) -> None:
    """Send log records of `level` and above to stderr; libraries that log URLs or messages only from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_RedactingFormatter("%(levelname)s %(name)s: %(message)s"))
    handler.addFilter(_is_news)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))
