"""What goes to the terminal: one console for results, one for everything said on the way."""

from __future__ import annotations

import io
import json
import sys
import unicodedata
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console

if TYPE_CHECKING:
    from pathlib import Path

_PLAIN_WIDTH = 120


def results() -> Console:
    """The console on stdout, for what the command was asked for."""
    return _console(sys.stdout)


def remarks() -> Console:
    """The console on stderr, for progress, questions and hints."""
    return _console(sys.stderr)


def print_json(value: Any) -> None:
    """Write `value` to stdout as JSON and nothing else."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def can_ask() -> bool:
    """Whether a person sits at the terminal who can answer a question."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def shown(path: Path, start: Path) -> str:
    """`path` as a person would type it from the folder `start`."""
    return str(path.relative_to(start)) if path.is_relative_to(start) else str(path)


def plain(text: str) -> str:
    """`text` without characters that steer a terminal; lines and tabs stay. For words that others have written."""
    return "".join(char for char in text if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Co"))


def _console(stream: TextIO) -> Console:
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")  # a pipe on Windows knows 256 characters; a missing tick must not crash
    width = None if stream.isatty() else _PLAIN_WIDTH
    return Console(file=stream, highlight=False, markup=False, emoji=False, width=width)
