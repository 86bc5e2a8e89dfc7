"""What the benchmarks share: processes to time, a slow API, an MCP client that talks raw lines."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

ONE_TOOL = """
from mcp.server import MCPServer
mcp = MCPServer("one")
@mcp.tool()
async def add(a: int, b: int) -> int:
    "Add two numbers."
    return a + b
mcp.run()
"""
OURS = [sys.executable, "-m", "kubeez_mcp_local"]
AS_INSTALLED = [str(Path(sys.executable).with_name("kubeez-mcp-local"))]
"""What `install` writes into a client's config."""
BASELINE = [sys.executable, "-c", ONE_TOOL]
TRIAL = {environment.TRIAL: "1"}
"""Variables of ours without a snapshot, which is what every start was before there was one."""
BARE = [sys.executable, "-c", "pass"]
_INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "bench", "version": "1"},
}


@dataclass(frozen=True)
class Start:
    """One start, in seconds: to the `initialize` answer, from there to the tools, and from EOF to exit. Resident
    megabytes and seconds of processor time are those after the tools."""

    seconds: float
    megabytes: float
    exit_seconds: float
    list_seconds: float = 0.0
    busy_seconds: float = 0.0


def start_once(command: list[str], home: Path, **variables: str) -> Start:
    """Start a server, initialize it, ask for its tools, close its input."""
    with Lines(command, home, **variables) as server:
        return finished(server, ready(server))


def ready(server: Lines) -> tuple[float, float]:
    """Seconds until a server that has just been started answers `initialize`, and then `tools/list`."""
    began = time.perf_counter() - server.spawn_seconds
    server.handshake()
    answered = time.perf_counter()
    server.send(server.request("tools/list", {}))
    server.read()
    return answered - began, time.perf_counter() - answered


def finished(server: Lines, taken: tuple[float, float]) -> Start:
    """What a server weighs that has become ready in the seconds `taken`, once it has been let go."""
    assert server.process.stdin is not None
    size, busy = weight(server.process.pid)
    closing = time.perf_counter()
    server.process.stdin.close()
    server.process.wait(10)
    return Start(taken[0], size, time.perf_counter() - closing, taken[1], busy)


def weight(pid: int) -> tuple[float, float]:
    """Resident megabytes of a process, and the seconds of processor time it has used."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]
    times = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return int(resident) / 1024, (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")


def run_bare() -> float:
    """Seconds that a Python of this environment takes to start and to end."""
    began = time.perf_counter()
    subprocess.run(BARE, check=True)
    return time.perf_counter() - began


def at_once(command: list[str], home: Path, count: int, **variables: str) -> float:
    """Seconds until the slowest of `count` servers that are started together answers `initialize`."""
    began = time.perf_counter()
    servers = [Lines(command, home, **variables) for _ in range(count)]
    for server in servers:
        server.send(server.request("initialize", _INITIALIZE))
    slowest = 0.0
    for server in servers:
        server.read()
        slowest = max(slowest, time.perf_counter() - began)
    for server in servers:
        server.process.kill()
        server.process.wait()
    return slowest


def bare_at_once(count: int) -> float:
    """Seconds until `count` Pythons that are started together have ended."""
    began = time.perf_counter()
    for process in [subprocess.Popen(BARE) for _ in range(count)]:
        process.wait()
    return time.perf_counter() - began


class Lines:
    """A server process spoken to in raw JSON lines, so that no client's own work is measured."""

    def __init__(self, command: list[str], home: Path, **variables: str) -> None:
        left_out = ("KUBEEZ_", "PYTHONDONTWRITEBYTECODE")  # whoever installs a program has its bytecode
        kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        began = time.perf_counter()
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**kept, "HOME": str(home), "XDG_STATE_HOME": str(home / "state"), **variables},
        )
        self.spawn_seconds = time.perf_counter() - began
        self._id = 0

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def request(self, method: str, params: dict[str, Any]) -> bytes:
        self._id += 1
        message = {"jsonrpc": "2.0", "id": self._id, "method": method, "params": params}
        return json.dumps(message).encode() + b"\n"

    def read(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())  # type: ignore[union-attr]
        return answer

    def handshake(self) -> None:
        self.send(self.request("initialize", _INITIALIZE))
        self.read()
        self.send(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}).encode() + b"\n")

    def send(self, line: bytes) -> None:
        self.process.stdin.write(line)  # type: ignore[union-attr]
        self.process.stdin.flush()  # type: ignore[union-attr]

    def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self.send(self.request("tools/call", {"name": tool, "arguments": arguments}))
        while "id" not in (answer := self.read()):
            pass
        return answer


@contextmanager
def balance_api(delay: float = 0.0) -> Iterator[str]:
    """A bare API that answers every request with a balance after `delay` seconds."""
    body = b'{"credits": 100}'
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(delay)
                writer.write(head + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0, backlog=256))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
