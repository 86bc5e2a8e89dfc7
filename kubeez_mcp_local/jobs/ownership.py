"""Which process is sending a job, in a way that survives crashes, reused process ids and files that disappear.

Each process holds an operating-system lock on a file of its own for as long as it lives. The system lets go of the
lock whatever way the process ends, so "can I lock it?" answers "is its owner gone?". A lock file that is *missing*
answers nothing: somebody may have tidied up. So the ledger knows each owner too, with what it takes to prove by other
means that its process has ended, and whoever finds an owner ended writes that there in the transaction that takes its
jobs. An owner of which neither is proven is `unsure`: nobody may say that its requests were never sent.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import socket
import sys
import time
import uuid
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from kubeez_mcp_local.jobs.rows import insert

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubeez_mcp_local.jobs.rows import Connection, Fate

_ID = re.compile(r"[0-9a-f]{32}")
_NO_LOCKS_HERE = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""What file systems say that know no locks. An owner there is told by its process alone."""


def identity(path: Path) -> tuple[int, int]:
    """Which file this is, whatever its name: device and inode; an `OSError` if there is none."""
    found = path.stat()
    return found.st_dev, found.st_ino


def has_ended(connection: Connection, owner_id: str) -> bool:
    """Whether the ledger says that this owner has ended."""
    query = "SELECT 1 FROM owners WHERE id = :id AND ended_at IS NOT NULL"
    return connection.execute(query, {"id": owner_id}).fetchone() is not None


def start_of_process(pid: int) -> str | None:
    """When a process began, in the system's own words: `None` if there is no such process, empty if it is not told."""
    if sys.platform == "win32":
        return _start_on_windows(pid)
    try:
        os.kill(pid, 0)  # sends nothing
    except ProcessLookupError:
        return None
    except OSError:
        pass  # somebody else's
    try:
        # "pid (name) state ppid …"; the name may hold anything. The start is field 22, in ticks since the boot.
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        return ""


def this_boot() -> str:
    """Names this run of this machine, and the steady clock that counts in it.

    Where the system tells no such name, it is this process alone, so that observed time begins anew with each process.
    """
    return f"{_boot() or uuid.uuid4().hex} {time.get_clock_info('monotonic').implementation}"


def _boot() -> str:
    if sys.platform == "win32":
        return _boot_on_windows()
    if sys.platform == "darwin":
        text, size = ctypes.create_string_buffer(64), ctypes.c_size_t(64)
        ask = ctypes.CDLL(None).sysctlbyname
        failed = ask(b"kern.bootsessionuuid", text, ctypes.byref(size), None, ctypes.c_size_t(0))
        return "" if failed else text.value.decode("ascii", "replace")
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return ""


def _boot_on_windows() -> str:
    """Windows counts its starts; the count means something only together with the machine's own id."""
    if sys.platform != "win32":
        return ""
    import winreg

    starts = r"SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management\PrefetchParameters"
    found = []
    for path, name in ((r"SOFTWARE\Microsoft\Cryptography", "MachineGuid"), (starts, "BootId")):
        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, path) as key:
                found.append(str(winreg.QueryValueEx(key, name)[0]))
        except OSError:
            return ""
    return " ".join(found)


def _space() -> str:
    with contextlib.suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""


def _start_on_windows(pid: int) -> str | None:
    """Windows keeps the exact creation time; `os.kill` would end the process there."""
    if sys.platform != "win32":
        return ""
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.OpenProcess.restype = ctypes.c_void_p
    query_limited_information, invalid_parameter, still_active = 0x1000, 87, 259
    handle = kernel.OpenProcess(query_limited_information, False, pid)
    if not handle:
        return None if ctypes.get_last_error() == invalid_parameter else ""
    process = ctypes.c_void_p(handle)
    try:
        code = ctypes.c_ulong()
        if kernel.GetExitCodeProcess(process, ctypes.byref(code)) and code.value != still_active:
            return None
        moments = (ctypes.c_ulonglong * 4)()  # created, ended, in the kernel, in the program
        references = [ctypes.byref(moments, place * ctypes.sizeof(ctypes.c_ulonglong)) for place in range(4)]
        return str(moments[0]) if kernel.GetProcessTimes(process, *references) else ""
    finally:
        kernel.CloseHandle(process)


@dataclass(frozen=True)
class Process:
    """A process in the system's own words; what a platform does not tell is empty.

    Attributes:
        host: Name of the machine.
        boot: Id of this start of the machine (Linux, macOS).
        space: Which processes `pid` counts among (Linux: a container has its own).
        started: When it began (Linux, Windows): a pid that began at another moment is another process.
    """

    host: str
    boot: str
    space: str
    pid: int
    started: str

    @classmethod
    def this(cls) -> Process:
        """The one that is running."""
        return cls(socket.gethostname(), _boot(), _space(), os.getpid(), start_of_process(os.getpid()) or "")

    def has_ended(self, here: Process, start_of: Callable[[int], str | None]) -> bool | None:
        """Whether it is gone, as seen from `here`; `None` where that cannot be told."""
        if self.host != here.host:
            return None
        if self.boot and here.boot and self.boot != here.boot:
            return True
        if self.space != here.space:
            return None
        now = start_of(self.pid)
        if now is None:
            return True
        return self.started != now if self.started and now else None


class Owner:
    """This process as an owner of jobs.

    Args:
        folder: Where the owners' lock files live; created if missing.
        process: What the ledger will know it by.
        start_of: When the process with a given id began, by default as the system says.

    Raises:
        OSError: The folder or the lock file cannot be made.
    """

    def __init__(
        self, folder: Path, process: Process | None = None, *, start_of: Callable[[int], str | None] = start_of_process
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.id = uuid.uuid4().hex
        self._folder = folder
        self._process = process
        self._start_of = start_of
        self._lock = FileLock(self._path(self.id), thread_local=False, fallback_to_soft=False)
        self._file: tuple[int, int] | None = None
        self.enrolled = False  # whether the ledger may know it
        self._found_ended: list[str] = []
        try:
            self._lock.acquire(timeout=0)
            self._file = identity(self._path(self.id))
        except OSError as error:
            if error.errno not in _NO_LOCKS_HERE:
                raise

    def successor(self) -> Owner:
        """Another owner in this process, after the ledger said that this one has ended."""
        self.close()
        return Owner(self._folder, self._process, start_of=self._start_of)

    def enrol(self, connection: Connection, clock: Callable[[], float]) -> bool:
        """Write this owner down before the first job of its own; false if the ledger says that it has ended."""
        device, inode = map(str, self._file) if self._file else (None, None)
        lock = {"lock_device": device, "lock_inode": inode}
        values = {"id": self.id, "registered_at": clock()} | lock | asdict(self._here())
        insert(connection, "owners", values, "ON CONFLICT DO NOTHING")
        self.enrolled = True
        return not has_ended(connection, self.id)

    def fate_of(self, connection: Connection, owner_id: str, now: float) -> Fate:
        """What is known of an owner; an end that is proven is written down in the transaction of `connection`."""
        if owner_id == self.id:
            return "alive"
        row = connection.execute("SELECT * FROM owners WHERE id = :id", {"id": owner_id}).fetchone()
        if row is not None and row["ended_at"] is not None:
            return "ended"
        locked = self._is_locked(owner_id, None if row is None else (row["lock_device"], row["lock_inode"]))
        if locked:
            return "alive"
        ended = self._process_ended(row) if locked is None else True
        if ended:
            connection.execute(
                "INSERT INTO owners (id, host, boot, space, pid, started, registered_at, ended_at) "
                "VALUES (:id, '', '', '', 0, '', :now, :now) "
                "ON CONFLICT (id) DO UPDATE SET ended_at = excluded.ended_at",
                {"id": owner_id, "now": now},
            )
            self._found_ended.append(owner_id)
            return "ended"
        return "unsure" if ended is None else "alive"

    def end(self, connection: Connection, now: float) -> None:
        """Write down that this owner sends nothing more."""
        query = "UPDATE owners SET ended_at = :now WHERE id = :id AND ended_at IS NULL"
        connection.execute(query, {"now": now, "id": self.id})

    def close(self, *, noted: bool = True) -> None:
        """Let go, as the end of the process would. Where the ledger could not note the end, the file stays as proof."""
        with contextlib.suppress(OSError):
            self._lock.release()
        if noted:
            self._remove(self.id)

    def beat(self) -> None:
        """The lock says enough."""

    def tidy(self) -> None:
        """Remove the lock files of owners found ended, once that is in the ledger for good."""
        while self._found_ended:
            self._remove(self._found_ended.pop())

    def _remove(self, owner_id: str) -> None:
        if _ID.fullmatch(owner_id):
            with contextlib.suppress(OSError):
                self._path(owner_id).unlink(missing_ok=True)

    def _here(self) -> Process:
        self._process = self._process or Process.this()
        return self._process

    def _process_ended(self, row: Any) -> bool | None:
        if row is None:
            return None
        process = Process(*(row[each.name] for each in fields(Process)))
        return process.has_ended(self._here(), self._start_of)

    def _is_locked(self, owner_id: str, recorded: tuple[str | None, str | None] | None) -> bool | None:
        """Whether its lock is held; `None` where there is none, or its file is missing or another one than it made.

        Of an owner of an older version the ledger does not know which file it made.
        """
        if not _ID.fullmatch(owner_id):
            return None
        path = self._path(owner_id)
        lock = FileLock(path, thread_local=False, fallback_to_soft=False)
        try:
            found = identity(path)
            if recorded is not None and recorded != tuple(map(str, found)):
                return None
            lock.acquire(timeout=0)
        except Timeout:
            return True
        except OSError:
            return None
        same = False  # if it was removed meanwhile, what is locked is a new file
        with contextlib.suppress(OSError):
            same = identity(path) == found
        lock.release()
        if not same:
            self._remove(owner_id)
        return False if same else None

    def _path(self, owner_id: str) -> Path:
        return self._folder / f"{owner_id}.lock"
