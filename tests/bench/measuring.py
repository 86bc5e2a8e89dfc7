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
BASELINE = [sys.executable, "-c", ONE_TOOL]
_INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "bench", "version": "1"},
}


@dataclass(frozen=True)
class Start:
    """One start: seconds to the `initialize` answer, resident megabytes after it, seconds from EOF to exit."""

    seconds: float
    megabytes: float
    exit_seconds: float


def start_once(command: list[str], home: Path, **variables: str) -> Start:
    """Start a server, initialize it, close its input."""
    with Lines(command, home, **variables) as server:
        began = time.perf_counter()
        server.process.stdin.write(server.request("initialize", _INITIALIZE))  # type: ignore[union-attr]
        server.process.stdin.flush()  # type: ignore[union-attr]
        server.read()
        answered = time.perf_counter() - began + server.spawn_seconds
        status = Path(f"/proc/{server.process.pid}/status").read_text("ascii")
        resident = next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]
        closing = time.perf_counter()
        server.process.stdin.close()  # type: ignore[union-attr]
        server.process.wait(10)
        return Start(answered, int(resident) / 1024, time.perf_counter() - closing)


class Lines:
    """A server process spoken to in raw JSON lines, so that no client's own work is measured."""

    def __init__(self, command: list[str], home: Path, **variables: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("KUBEEZ_")}
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
