"""One server process, spoken to in raw lines over its real pipes."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
import time
from array import array
from typing import IO, TYPE_CHECKING, Any, Self

from tests.forking import PROGRAM, started, started_anew

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PATIENCE = 30.0
"""Seconds to wait for an answer; long, because CI machines are small and busy."""
LEGACY = "2025-11-25"
MODERN = "2026-07-28"
_FULL = 60_000


def environment(folder: Path, **settings: object) -> dict[str, str]:
    """What a server in `folder` is started with: folders of its own, nothing of this machine, and `settings`."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    (folder / "inputs").mkdir(exist_ok=True)
    usual: dict[str, object] = {
        "state_dir": folder / "state",
        "output_dir": folder / "out",
        "input_dirs": folder / "inputs",
    }
    variables = {f"KUBEEZ_{name.upper()}": str(value) for name, value in (usual | settings).items()}
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TEMP") if name in os.environ}
    return kept | {"HOME": str(home), "USERPROFILE": str(home), "PYTHONFAULTHANDLER": "1"} | variables


def until(there: Callable[[], object], within: float = PATIENCE) -> None:
    """Wait until that is so."""
    deadline = time.monotonic() + within
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Server:
    """A server process for the length of a `with` block.

    Leaving the block ends the process and checks what must hold in every state: stdout carried JSON-RPC and nothing
    else, and the API key was never written anywhere.

    Args:
        folder: Holds the server's home, state, outputs and inputs; also its working folder.
        arguments: Of the command line.
        program: What Python is told to run.
        forked: Whether a Python that has imported everything may be taken for it.
        settings: Become `KUBEEZ_…` variables.

    Attributes:
        stdout: Every line the process wrote to stdout.
        hello: What the server said of itself in the old era's handshake.
        era: Makes a request's parameters what they are in this era; set it to `modern` instead of initializing.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        program: tuple[str, ...] = PROGRAM,
        forked: bool = True,
        **settings: object,
    ) -> None:
        self.folder = folder
        self.secret = str(settings.get("api_key", ""))
        self.stdout: list[bytes] = []
        self.hello: dict[str, Any] = {}
        self.era: Callable[..., dict[str, Any]] = dict
        self.notifications: list[dict[str, Any]] = []
        self._stderr: list[bytes] = []
        self._answers: dict[object, dict[str, Any]] = {}
        self._arrived: queue.Queue[dict[str, Any]] = queue.Queue()
        self._last_id = 0
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        start = started if forked else started_anew
        self.process = start(folder, environment(folder, **settings), *arguments, program=program, **pipes)
        self._readers = [
            threading.Thread(target=self._read_stdout, args=(self.process.stdout,), daemon=True),
            threading.Thread(target=self._read_stderr, args=(self.process.stderr,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        if kind is None:
            self._check_what_always_holds()

    @property
    def stderr(self) -> str:
        """Everything written to stderr so far."""
        return b"".join(self._stderr).decode(errors="replace")

    def line(self, data: bytes) -> None:
        """Write one line, whatever it holds."""
        assert self.process.stdin is not None
        self.process.stdin.write(data + b"\n")
        self.process.stdin.flush()

    def send(self, method: str, params: dict[str, Any] | None = None) -> int:
        """Send a request without waiting; returns its id."""
        self._last_id += 1
        message = {"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": self.era(**(params or {}))}
        self.line(json.dumps(message).encode())
        return self._last_id

    def notify(self, method: str, params: dict[str, Any] | None = None) -> None:
        """Send a notification."""
        self.line(json.dumps({"jsonrpc": "2.0", "method": method, "params": params or {}}).encode())

    def pending(self, request_id: int) -> bool:
        """Whether a request has not been answered yet."""
        while not self._arrived.empty():
            self._sort_in(self._arrived.get())
        return request_id not in self._answers

    def answer(self, request_id: int, within: float = PATIENCE) -> dict[str, Any]:
        """The whole answer to a request: it has a `result` or an `error`."""
        deadline = time.monotonic() + within
        while request_id not in self._answers:
            try:
                message = self._arrived.get(timeout=max(deadline - time.monotonic(), 0.001))
            except queue.Empty:
                raise AssertionError(f"no answer to {request_id} within {within} s; stderr: {self.stderr}") from None
            self._sort_in(message)
        return self._answers.pop(request_id)

    def request(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a request and wait for its whole answer."""
        return self.answer(self.send(method, params))

    def initialize(self, capabilities: dict[str, Any] | None = None, version: str = LEGACY) -> dict[str, Any]:
        """The handshake of the old era; returns what the server says of itself."""
        who = {"name": "raw", "version": "1"}
        hello = {"protocolVersion": version, "capabilities": capabilities or {}, "clientInfo": who}
        self.hello = self.request("initialize", hello)["result"]
        self.notify("notifications/initialized")
        return self.hello

    def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool and return its result."""
        result: dict[str, Any] = self.request("tools/call", {"name": tool, "arguments": arguments})["result"]
        return result

    def close_stdin(self) -> float:
        """Hang up as a client does; returns how many seconds the process took to leave."""
        assert self.process.stdin is not None
        started = time.monotonic()
        self.process.stdin.close()
        self.process.wait(PATIENCE)
        return time.monotonic() - started

    def signal(self, signum: int) -> float:
        """Send a signal; returns how many seconds the process took to leave."""
        started = time.monotonic()
        self.process.send_signal(signum)
        self.process.wait(PATIENCE)
        return time.monotonic() - started

    def _sort_in(self, message: dict[str, Any]) -> None:
        if "result" in message or "error" in message:
            self._answers[message.get("id")] = message
        else:
            self.notifications.append(message)

    def _read_stdout(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            self.stdout.append(line)
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if isinstance(message, dict):
                self._arrived.put(message)

    def _read_stderr(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            self._stderr.append(line)

    def _check_what_always_holds(self) -> None:
        for line in self.stdout:
            message = json.loads(line)
            assert message["jsonrpc"] == "2.0", line
        if self.secret:
            assert self.secret not in self.stderr
            assert self.secret.encode() not in b"".join(self.stdout)


class DeafClient:
    """A client that keeps stdin open and may stop reading stdout."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        ends, wire = os.pipe()
        self.process = started(
            folder, environment(folder, **settings), stdin=subprocess.PIPE, stdout=wire, stderr=subprocess.PIPE
        )
        os.close(wire)
        self._stdout = os.fdopen(ends, "rb")

    def send(self, method: str, number: int | None = None, **params: Any) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message if number is None else message | {"id": number}).encode() + b"\n")
        self.process.stdin.flush()

    def answer(self, number: int) -> dict[str, Any]:
        answer: dict[str, Any] = next(m for m in map(json.loads, self._stdout) if m.get("id") == number)
        return answer

    def initialize(self) -> None:
        who = {"name": "deaf", "version": "1"}
        self.send("initialize", 1, protocolVersion="2025-11-25", capabilities={}, clientInfo=who)
        self.answer(1)
        self.send("notifications/initialized")

    def stop_reading(self) -> float:
        """Close stdout and make the server write; returns how many seconds it took to leave."""
        self._stdout.close()
        self.send("tools/list", 99)
        began = time.monotonic()
        self.process.wait(PATIENCE)
        return time.monotonic() - began

    def hang_up_unread(self) -> int:
        """Fill stdout, close stdin, and never read; returns the exit code."""
        import fcntl
        import termios

        for number in range(99, 109):
            self.send("tools/list", number)
        unread, until = array("i", [0]), time.monotonic() + PATIENCE
        while unread[0] < _FULL and time.monotonic() < until:
            time.sleep(0.02)
            fcntl.ioctl(self._stdout.fileno(), termios.FIONREAD, unread)
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(PATIENCE)


def modern(capabilities: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
    """Parameters of a request in the 2026-07-28 era, which says with each request who is asking."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": capabilities or {},
    }
    return {**params, "_meta": meta}
