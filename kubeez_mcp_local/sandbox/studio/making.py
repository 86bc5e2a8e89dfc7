"""Makes files when they are first wanted, and keeps them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from kubeez_mcp_local.sandbox.measuring import measure
from kubeez_mcp_local.sandbox.studio.work import Work

if TYPE_CHECKING:
    from pathlib import Path

    from kubeez_mcp_local.sandbox.books import Books
    from kubeez_mcp_local.sandbox.records import File


class Studio:
    """Turns the works noted in the books into files on disk. Blocking; one maker for each file at a time."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._lock = threading.Lock()
        self._making: dict[str, threading.Lock] = {}
        # Pictures are large in memory while they are made; more at once would not be done sooner.
        self._easels = threading.BoundedSemaphore(2)

    def ready(self, file: File) -> File:
        """The same file with its bytes on disk and its measures known."""
        path = self._books.path_of(file)
        if file.size is not None and path.is_file():
            return file
        with self._lock_of(file.id):
            known = self._books.file_named(file.path)
            if known and known.size is not None and path.is_file():
                return known
            self._make(file, path)
        return self._books.file_named(file.path) or file

    def _make(self, file: File, path: Path) -> None:
        work = Work.from_dict(file.work)
        rough = path.with_name(f".{path.name}")
        with self._easels:
            render(work, [self._books.folder / "files" / name for name in work.inputs], rough)
        rough.replace(path)
        # Measured, not copied from the work: without an encoder a clip may be one of the ready ones.
        found = measure(path, work.media_type)
        self._books.note_made(
            file,
            size=path.stat().st_size,
            width=found.get("width"),
            height=found.get("height"),
            seconds=found.get("seconds"),
        )

    def _lock_of(self, file_id: str) -> threading.Lock:
        with self._lock:
            return self._making.setdefault(file_id, threading.Lock())


def render(work: Work, inputs: list[Path], target: Path) -> None:
    """Make one file at `target`."""
    present = [path for path in inputs if path.is_file()]
    if work.kind in ("picture", "thumbnail"):
        from kubeez_mcp_local.sandbox.studio import pictures

        pictures.render(work, present, target)
    elif work.kind == "cutout":
        from kubeez_mcp_local.sandbox.studio import cutouts

        cutouts.render(work, present, target)
    elif work.kind in ("clip", "retake"):
        from kubeez_mcp_local.sandbox.studio import clips

        clips.render(work, present, target)
    else:
        from kubeez_mcp_local.sandbox.studio import sounds

        sounds.render(work, target)
