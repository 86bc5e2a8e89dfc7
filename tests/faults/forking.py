"""Servers that start in milliseconds: a process that has imported everything forks one for each that is asked for.

What runs in a fork is the real thing, `kubeez-mcp-local serve` on real pipes; only the second of importing is shared.
Run as a program it is the process that forks; imported it is the handle to one.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 30.0


class Forks:
    """The process that forks servers.

    Args:
        environment: Of every server.
        folder: Their working folder.
    """

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                env=environment,
                cwd=folder,
                pass_fds=[theirs.fileno()],
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ours.close()
        self._process.wait(PATIENCE)

    def start(self) -> Fork:
        """A new server, ready to be spoken to."""
        to_server, from_client = os.pipe()[::-1], os.pipe()
        write, read = to_server
        socket.send_fds(self._ours, [b"start"], [read, from_client[1]])
        os.close(read)
        os.close(from_client[1])
        pid = int(self._ours.recv(32))
        return Fork(pid, write, from_client[0])


class Fork:
    """One server, spoken to in JSON lines."""

    def __init__(self, pid: int, write: int, read: int) -> None:
        self.pid = pid
        self._write = os.fdopen(write, "wb", buffering=0)
        self._read = os.fdopen(read, "rb")
        self._last_id = 0

    def handshake(self, client: str = "faults") -> None:
        """The handshake of the old era, without waiting for what it does not need."""
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": client, "version": "1"}}
        self.answer(self.send("initialize", hello))
        self._line({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def send(self, method: str, params: dict[str, Any]) -> int:
        """Send a request; returns its id."""
        self._last_id += 1
        self._line({"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params})
        return self._last_id

    def answer(self, request_id: int) -> dict[str, Any]:
        """The answer to a request.

        Raises:
            ConnectionError: The server is gone.
        """
        for line in self._read:
            message: dict[str, Any] = json.loads(line)
            if message.get("id") == request_id:
                return message
        raise ConnectionError("the server is gone")

    def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool; returns its result."""
        result: dict[str, Any] = self.answer(self.send("tools/call", {"name": tool, "arguments": arguments}))["result"]
        return result

    def kill(self) -> None:
        """SIGKILL: no handler runs, nothing is flushed."""
        os.kill(self.pid, signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._write.close()
        self._read.close()

    def _line(self, message: dict[str, Any]) -> None:
        self._write.write(json.dumps(message).encode() + b"\n")


def fork_on_request(requests: socket.socket) -> None:
    """Fork a server for each pair of descriptors that arrives, until the other side hangs up."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, 16, 2)
        if not message:
            return
        pid = os.fork()
        if pid == 0:
            requests.close()
            os.dup2(descriptors[0], 0)
            os.dup2(descriptors[1], 1)
            sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - lives as long as the process
            sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            _serve()
        for descriptor in descriptors:
            os.close(descriptor)
        requests.send(str(pid).encode())


def _serve() -> None:
    import random

    from kubeez_mcp_local.cli.main import cli

    random.seed(time.time_ns())
    cli(["serve"], prog_name="kubeez-mcp-local")
    os._exit(0)


def _import_everything() -> None:
    import sqlite3  # noqa: F401

    import filelock  # noqa: F401
    import httpx_sse  # noqa: F401
    import truststore  # noqa: F401

    import kubeez_mcp_local.bridge
    import kubeez_mcp_local.cli.main
    import kubeez_mcp_local.jobs.ledger
    import kubeez_mcp_local.mcp_server.server
    import kubeez_mcp_local.mcp_server.stdio
    import kubeez_mcp_local.rest.client  # noqa: F401


if __name__ == "__main__":
    _import_everything()
    fork_on_request(socket.socket(fileno=int(sys.argv[1])))
