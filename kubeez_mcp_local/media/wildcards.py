"""Wildcards in paths: `*`, `?`, `[…]` within a name and `**` over folders, bounded in how much they look at."""

from __future__ import annotations

import os
import re
from fnmatch import translate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

MAX_ENTRIES = 200_000
"""How many directory entries one pattern may look at before it counts as too wide."""


class ScanLimitError(Exception):
    """The pattern covers too much of the disk."""


def natural_order(path: Path) -> tuple[tuple[tuple[int, int, str], ...], ...]:
    """A sort key under which numbers count by value: `shot2` comes before `shot10`."""
    return tuple(_natural(part) for part in path.parts)


def _natural(name: str) -> tuple[tuple[int, int, str], ...]:
    pieces = re.findall(r"\d+|\D+", name)
    return tuple((0, int(piece), "") if piece.isdecimal() else (1, 0, piece.casefold()) for piece in pieces)


def matches(folder: Path, parts: Sequence[str], *, max_entries: int = MAX_ENTRIES) -> Iterator[Path]:
    """Files below `folder` that match the pattern `parts`, in no particular order, each once.

    Hidden names are never matched. `**` does not follow linked folders, so that it ends.

    Raises:
        ScanLimitError: More than `max_entries` directory entries would have to be looked at.
    """
    return _Walk(max_entries).files(folder, tuple(parts))


def is_folder(entry: os.DirEntry[str], *, follow_links: bool = True) -> bool:
    """Whether a directory entry is a folder; one that leads in circles, or cannot be looked at, is none."""
    try:
        return entry.is_dir(follow_symlinks=follow_links)
    except OSError:
        return False


class _Walk:
    def __init__(self, max_entries: int) -> None:
        self._left = max_entries
        self._seen: set[tuple[Path, tuple[str, ...]]] = set()

    def files(self, folder: Path, parts: tuple[str, ...]) -> Iterator[Path]:
        if (folder, parts) in self._seen:
            return
        self._seen.add((folder, parts))
        first, rest = parts[0], parts[1:]
        if first == "**":
            yield from self._any_depth(folder, rest)
            return
        fits = re.compile(translate(os.path.normcase(first))).match
        for entry in self._visible(folder):
            if not fits(os.path.normcase(entry.name)):
                continue
            if rest and is_folder(entry):
                yield from self.files(folder / entry.name, rest)
            elif not rest and not is_folder(entry):
                yield folder / entry.name

    def _any_depth(self, folder: Path, rest: tuple[str, ...]) -> Iterator[Path]:
        yield from self.files(folder, rest or ("*",))
        for entry in self._visible(folder):
            if is_folder(entry, follow_links=False):
                yield from self.files(folder / entry.name, ("**", *rest))

    def _visible(self, folder: Path) -> list[os.DirEntry[str]]:
        """The folder's entries without hidden ones; a folder that cannot be listed has none."""
        try:
            with os.scandir(folder) as entries:
                found = list(entries)
        except OSError:
            return []
        self._left -= len(found)
        if self._left < 0:
            raise ScanLimitError
        return [entry for entry in found if not entry.name.startswith(".")]
