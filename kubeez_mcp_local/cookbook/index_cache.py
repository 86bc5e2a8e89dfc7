"""What was read of recipe files, kept on disk for the next process: reading 1,000 files takes most of a first list.

A file counts as known while its time and size are the same. What is kept is checked like a file when it is loaded.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from kubeez_mcp_local import __version__
from kubeez_mcp_local.cookbook.format import Summary

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Stamp = tuple[int, int]
"""Time of the last change in nanoseconds, and size in bytes."""
Known = dict[str, tuple[Stamp, Summary]]
"""Front matter of recipe files by path."""


class IndexCache:
    """One file.

    Args:
        file: Where it is.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def load(self) -> Known:
        """What was kept; empty when there is nothing, or nothing of this version. Blocking."""
        try:
            version, _, known = self._file.read_bytes().partition(b"\n")
            return TypeAdapter(Known).validate_json(known) if version.decode() == __version__ else {}
        except (OSError, ValidationError, UnicodeDecodeError):
            return {}

    def store(self, known: Mapping[str, tuple[Stamp, Summary]]) -> None:
        """Keep `known`; a folder that cannot be written to only costs time. Blocking."""
        rows = {
            path: (stamp, summary.model_dump(mode="json", exclude_defaults=True))
            for path, (stamp, summary) in known.items()
        }
        part = self._file.with_name(f"{self._file.name}.{os.getpid()}.part")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(f"{__version__}\n{json.dumps(rows)}", encoding="utf-8")
            part.replace(self._file)
        except OSError:
            part.unlink(missing_ok=True)
