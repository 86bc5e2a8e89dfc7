"""Which process is sending a job, in a way that survives crashes and reused process ids.

Each process holds an operating-system lock on a file of its own for as long as it lives. The system lets go of the
lock whatever way the process ends, so "can I lock it?" answers "is its owner gone?" without looking at process ids.
"""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from pathlib import Path


class Owner:
    """This process as an owner of jobs.

    Args:
        folder: Where the owners' lock files live; created if missing.

    Raises:
        OSError: The folder or the lock file cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.id = uuid.uuid4().hex
        self._folder = folder
        self._lock = FileLock(self._path(self.id), thread_local=False)
        self._lock.acquire(timeout=0)

    def is_dead(self, owner_id: str) -> bool:
        """Whether the process `owner_id` has ended. A lock file that is gone means it has."""
        if owner_id == self.id:
            return False
        path = self._path(owner_id)
        if not re.fullmatch(r"[0-9a-f]{32}", owner_id) or not path.exists():
            return True
        lock = FileLock(path, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        lock.release()
        path.unlink(missing_ok=True)
        return True

    def close(self) -> None:
        """Let go, as the end of the process would."""
        self._lock.release()
        self._path(self.id).unlink(missing_ok=True)

    def _path(self, owner_id: str) -> Path:
        return self._folder / f"{owner_id}.lock"
