"""Processes that start in milliseconds: one process that has imported everything forks each that is asked for.

What runs in a fork is the real thing, the program on real descriptors with variables, arguments and a working folder of
its own; only the second of importing is shared. How the program is loaded, and what it weighs, is tried by those tests
that start Python itself. Where there is no Linux, Python is started every time.

Run as a program without arguments, this is the process that forks; with arguments it stands in for one fork, for those
who can only start a command.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from contextlib import suppress

TYPE_CHECKING = False  # the stand-in for a fork is started often
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from io import BufferedReader
    from pathlib import Path
    from subprocess import Popen
    from typing import IO, Any, NoReturn

PROGRAM = ("-m", "kubeez_mcp_local")
_HERE = os.path.abspath(__file__)
_PYTHON = (sys.executable, "-P")
_LONGEST_REQUEST = 1 << 17
_forkers: dict[str, Forker] = {}


def started(
    folder: Path,
    variables: Mapping[str, str],
    *arguments: str,
    program: tuple[str, ...] = PROGRAM,
    beside: str = "",
    **streams: IO[bytes] | int,
) -> Popen[bytes] | Fork:
    """A process that runs `program` with `arguments` in `folder`: a fork, where there can be one.

    Args:
        variables: All that it has.
        beside: A module that is imported before it forks, beside what the program usually needs.
        streams: `stdin`, `stdout` and `stderr`, as `Popen` takes them.
    """
    if sys.platform == "linux":
        return Fork(folder, variables, *program, *arguments, beside=beside, **streams)
    return started_anew(folder, variables, *arguments, program=program, **streams)


def started_anew(
    folder: Path,
    variables: Mapping[str, str],
    *arguments: str,
    program: tuple[str, ...] = PROGRAM,
    **streams: IO[bytes] | int,
) -> Popen[bytes]:
    """The same, of a Python that imports what it needs."""
    from subprocess import Popen

    own: dict[str, Any] = dict(streams)
    return Popen([sys.executable, *program, *arguments], env=dict(variables), cwd=folder, **own)


def command(*arguments: str, program: tuple[str, ...] = PROGRAM) -> list[str]:
    """A command line that has a fork run `program`, for those who start programs themselves."""
    if sys.platform != "linux":
        return [sys.executable, *program, *arguments]
    return [*_PYTHON, "-E", "-s", "-S", _HERE, _the_forker().address, *program, *arguments]


class Forker:
    """The process that forks, for as long as this one lives."""

    def __init__(self, beside: str) -> None:
        import atexit
        import subprocess
        import tempfile

        folder = tempfile.TemporaryDirectory(prefix="kubeez-forks-")
        self.address = os.path.join(folder.name, "forks")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.address)
            listener.listen(64)
            kept = {name: value for name, value in os.environ.items() if not name.startswith(("KUBEEZ_", "XDG_"))}
            process = subprocess.Popen(
                [*_PYTHON, _HERE, f"{listener.fileno()} {beside}"],
                pass_fds=[listener.fileno()],
                stdin=subprocess.PIPE,
                env=kept,
            )
        atexit.register(folder.cleanup)
        atexit.register(process.communicate)


def _the_forker(beside: str = "") -> Forker:
    if beside not in _forkers:
        _forkers[beside] = Forker(beside)
    return _forkers[beside]


class Fork:
    """One forked process, handled like `Popen`. It is killed when nobody holds this any more."""

    def __init__(
        self,
        folder: Path,
        variables: Mapping[str, str],
        *command: str,
        beside: str = "",
        **streams: IO[bytes] | int,
    ) -> None:
        from subprocess import DEVNULL, PIPE

        ours: dict[str, int] = {}
        theirs: list[int] = []
        for name in ("stdin", "stdout", "stderr"):
            wanted = streams.get(name, -3)
            if wanted == PIPE:
                read, write = os.pipe()
                ours[name], end = (write, read) if name == "stdin" else (read, write)
            elif wanted == DEVNULL:
                end = os.open(os.devnull, os.O_RDWR)
            elif isinstance(wanted, int):
                end = os.dup(wanted if wanted >= 0 else ("stdin", "stdout", "stderr").index(name))
            else:
                end = os.dup(wanted.fileno())
            theirs.append(end)
        self.stdin = os.fdopen(ours["stdin"], "wb") if "stdin" in ours else None
        self.stdout = os.fdopen(ours["stdout"], "rb") if "stdout" in ours else None
        self.stderr = os.fdopen(ours["stderr"], "rb") if "stderr" in ours else None
        self.returncode: int | None = None
        self._wire, self._said, self.pid = _asked(_the_forker(beside).address, str(folder), variables, command, theirs)
        for end in theirs:
            os.close(end)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, or the signal that ended it as a negative number.

        Raises:
            TimeoutExpired: It still runs after `timeout` seconds.
        """
        if self.returncode is None:
            import select
            from subprocess import TimeoutExpired

            if not select.select([self._wire], [], [], timeout)[0]:
                raise TimeoutExpired("a fork", timeout or 0)
            self.returncode = int(self._said.readline() or -signal.SIGKILL)
            self._said.close()
            self._wire.close()
        return self.returncode

    def poll(self) -> int | None:
        """Its exit code once it has ended."""
        import select

        return self.wait() if self.returncode is not None or select.select([self._wire], [], [], 0)[0] else None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def __enter__(self) -> Fork:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()


def _asked(
    address: str, folder: str, variables: Mapping[str, str], command: Sequence[str], streams: Sequence[int]
) -> tuple[socket.socket, BufferedReader, int]:
    wire = socket.socket(socket.AF_UNIX)
    wire.connect(address)
    request = json.dumps([folder, dict(variables), command]).encode()
    socket.send_fds(wire, [request + b"\n"], streams)
    said = wire.makefile("rb")
    return wire, said, int(said.readline())


# The process that forks


def _fork_on_request(listener: socket.socket) -> None:
    """Fork a process for each request, and tell its id and then its exit code; until standard input ends.

    Who hangs up before has its process killed.
    """
    import selectors

    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    selector.register(listener, selectors.EVENT_READ)
    children: dict[int, tuple[int, socket.socket]] = {}
    while True:
        for key, _ in selector.select():
            if key.fd == 0:
                return
            if key.fileobj is listener:
                wire = listener.accept()[0]
                pid = _forked(wire, [listener, *(each for _, each in children.values())])
                if pid:
                    ended = os.pidfd_open(pid)
                    children[ended] = pid, wire
                    selector.register(ended, selectors.EVENT_READ)
                    selector.register(wire, selectors.EVENT_READ, pid)
            elif key.fd in children:
                pid, wire = children.pop(key.fd)
                selector.unregister(key.fd)
                os.close(key.fd)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                if wire.fileno() >= 0:
                    _told(wire, code)
                    selector.unregister(wire)
                    wire.close()
            else:
                os.kill(key.data, signal.SIGKILL)
                selector.unregister(key.fileobj)
                assert isinstance(key.fileobj, socket.socket)
                key.fileobj.close()


def _told(wire: socket.socket, number: int) -> None:
    with suppress(OSError):  # who asked may have gone
        wire.sendall(f"{number}\n".encode())


def _forked(wire: socket.socket, others: list[socket.socket]) -> int:
    message, streams, _, _ = socket.recv_fds(wire, _LONGEST_REQUEST, 3)
    while message and not message.endswith(b"\n"):
        message += wire.recv(_LONGEST_REQUEST)
    pid = os.fork() if message else 0
    if message and pid == 0:
        for each in (wire, *others):
            each.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        _run(*json.loads(message))
        sys.exit()
    for stream in streams:
        os.close(stream)
    if message:
        _told(wire, pid)
    return pid


def _run(folder: str, variables: dict[str, str], command: list[str]) -> None:
    """Become the process that was asked for, as if Python had just been started in `folder`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        errors = "backslashreplace" if number == 2 else "strict"
        setattr(sys, name, open(number, mode, encoding="utf-8", errors=errors, closefd=False))  # noqa: SIM115 - lives as long as the process
        setattr(sys, f"__{name}__", getattr(sys, name))
    kind, program, *arguments = command
    sys.path.insert(0, folder if kind == "-m" else "")
    sys.argv = [program if kind == "-m" else kind, *arguments]
    if kind == "-m":
        from kubeez_mcp_local.__main__ import main

        main()
    else:
        exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})


def _import_everything(beside: str) -> None:
    """What the program and the stand-in for the API import sooner or later, and the module `beside`."""
    import importlib
    import pkgutil

    import kubeez_mcp_local

    for module in (
        *filter(None, [beside]),
        "sqlite3",
        "filelock",
        "httpx_sse",
        "truststore",
        "PIL.Image",
        "uvicorn",
        "jinja2",
        "rich.table",
    ):
        importlib.import_module(module)
    for found in pkgutil.walk_packages(kubeez_mcp_local.__path__, "kubeez_mcp_local."):
        if not found.name.endswith(("__main__", "engines.dbos")):  # whose library takes seconds, and no fork needs it
            with suppress(ImportError):  # of an extra that is not installed
                importlib.import_module(found.name)


# The stand-in for one fork


def _stand_in(address: str, command: Sequence[str]) -> NoReturn:
    """Ask for a fork on our own streams, pass signals on to it, and leave as it leaves."""
    _, said, pid = _asked(address, os.getcwd(), os.environ, command, (0, 1, 2))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda given, _frame: os.kill(pid, given))
    for stream in (0, 1, 2):
        os.close(stream)
    code = int(said.readline() or 1)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        _stand_in(sys.argv[1], sys.argv[2:])
    import gc

    gc.disable()
    number, _, module = sys.argv[1].partition(" ")
    _import_everything(module)
    gc.freeze()
    gc.set_threshold(20_000, 20)  # as in the tests' own processes
    gc.enable()
    _fork_on_request(socket.socket(fileno=int(number)))
