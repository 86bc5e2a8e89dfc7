"""The server spoken to in raw lines within this process, with the front before it or without."""

from __future__ import annotations

import io
import json
import os
import threading
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from kubeez_mcp_local.bridge import Bridge
from kubeez_mcp_local.front import Beginning, HandedOver, Pipe, Snapshot
from kubeez_mcp_local.mcp_server import stdio
from kubeez_mcp_local.mcp_server.server import KubeezServer
from kubeez_mcp_local.messages import CAPABILITIES_KEY, CLIENT_KEY, MODERN, VERSION_KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubeez_mcp_local.settings import Settings

PATIENCE = 5.0
CLIENT = {"name": "raw", "version": "1"}


def line(method: str, params: Any = None, request_id: object = None, **more: Any) -> bytes:
    """One message; without an id, a notification."""
    message: dict[str, Any] = {"jsonrpc": "2.0"}
    if request_id is not None:
        message["id"] = request_id
    message["method"] = method
    if params is not None:
        message["params"] = params
    return json.dumps(message | more).encode() + b"\n"


def batch(*messages: bytes) -> bytes:
    """Several messages in one line."""
    return b"[" + b",".join(message.strip() for message in messages) + b"]\n"


def hello(revision: str, capabilities: Any = None, request_id: object = 0) -> bytes:
    params = {"protocolVersion": revision, "capabilities": capabilities or {}, "clientInfo": CLIENT}
    return line("initialize", params, request_id)


def enveloped(capabilities: Any = None, **params: Any) -> dict[str, Any]:
    meta = {VERSION_KEY: MODERN, CAPABILITIES_KEY: capabilities or {}, CLIENT_KEY: CLIENT}
    return {**params, "_meta": meta}


@dataclass
class _Output:
    """Stands for stdout: keeps the lines, and tells when there are enough."""

    wanted: int
    lines: list[str] = field(default_factory=list)
    enough: threading.Event = field(default_factory=threading.Event)

    def write(self, text: str) -> int:
        self.lines += text.splitlines()
        if len(self.lines) >= self.wanted:
            self.enough.set()
        return len(text)

    def flush(self) -> None:
        pass


class _WithoutFront(HandedOver):
    def __init__(self, source: io.RawIOBase) -> None:
        self.input, self.mark, self.streams, self.watching = source, "", [], False


def without_front(settings: Settings, data: bytes, wanted: int) -> list[str]:
    """The lines that the server writes for `data`, of which there are `wanted` while the client stays."""
    ends, wire = os.pipe()
    return anyio.run(partial(_held, settings, _WithoutFront(io.FileIO(ends)), [data], wire, wanted))


def with_front(settings: Settings, snapshot: Snapshot, before: bytes, after: Sequence[bytes], wanted: int) -> list[str]:
    """The same, with the front before it, which hands over behind `before` if it has not done so earlier."""
    conversation = Beginning(snapshot)
    said = conversation.receive(before).decode().splitlines()
    ends, wire = os.pipe()
    handed = HandedOver(conversation, Pipe(ends, leave=lambda _code: None), snapshot)
    return said + anyio.run(partial(_held, settings, handed, after, wire, wanted - len(said)))


async def _held(settings: Settings, handed: HandedOver, chunks: Sequence[bytes], wire: int, wanted: int) -> list[str]:
    output: Any = _Output(wanted)
    server = KubeezServer(Bridge(settings), opened=True)
    talk = stdio.Conversation(server, handed)

    def write() -> None:
        for chunk in chunks:
            os.write(wire, chunk)
        if wanted > 0:
            output.enough.wait(PATIENCE)
        os.close(wire)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(talk.hold, anyio.wrap_file(output)))
        await anyio.to_thread.run_sync(write)
    found: list[str] = output.lines
    return found
