"""A hosted server made by hand, so that each request can be counted and cut at any point; and tokens for it."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from kubeez_mcp_local.rest.errors import UnauthorizedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Message = dict[str, Any]
    Fault = Callable[["HostedServer", Message, asyncio.StreamWriter], Awaitable[None]]

MODERN, LEGACY = "2026-07-28", "2025-11-25"


def tool(name: str, required: str = "", optional: str = "", **schemas: Any) -> Message:
    """A `tools/list` entry that takes these fields, named with spaces between; text unless a schema is given."""
    names = [*required.split(), *optional.split()]
    properties = {each: schemas.get(each, {"type": "string"}) for each in names}
    return {
        "name": name,
        "inputSchema": {"type": "object", "properties": properties, "required": required.split()},
        "outputSchema": {"type": "object"},
    }


def usual_tools() -> list[Message]:
    number = {"type": "integer"}
    return [
        tool("get_models", "", "model_type"),
        tool("get_balance"),
        tool("estimate", "model", "duration reference_video_seconds", reference_video_seconds={"type": "number"}),
        tool("generate_captions", "media_url", "quality language"),
        tool("get_status", "id", "kind"),
        tool("get_generations", "", "limit status model generation_type", limit=number),
        tool("get_upload_url", "model_id"),
        tool("get_upload_session", "token"),
    ]


@dataclass
class Tokens:
    """Tokens in the order in which they are valid; each 401 uses one up."""

    texts: list[str] = field(default_factory=lambda: ["kbz_pat_first"])
    asked: int = 0

    async def token(self) -> SecretStr:
        self.asked += 1
        return SecretStr(self.texts[0])

    async def refused(self, token: SecretStr) -> SecretStr:
        if token.get_secret_value() == self.texts[0] and len(self.texts) > 1:
            del self.texts[0]
            return SecretStr(self.texts[0])
        raise UnauthorizedError(
            "The hosted server does not accept the token.", next_step="Run `kubeez-mcp-local login --hosted`."
        )


@dataclass
class HostedServer:
    """What it answers and what it has seen.

    Attributes:
        answers: By tool: the structured content, a whole result (`content` in it), or what is called to make either.
        faults: What happens to the next calls of a tool instead, one each; given the message and the connection.
        pages: Tools on a page of the list; 0 for all.
        moved: Where it really is; anything else is redirected there.
        posts: Every `tools/call` that arrived, by tool; `heads` the head of every request.
    """

    era: str = MODERN
    tools: list[Message] = field(default_factory=usual_tools)
    answers: dict[str, Any] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    posts: list[str] = field(default_factory=list)
    arguments: list[Message] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    valid: set[str] | None = None
    session: str = "session-1"
    listings: int = 0
    pages: int = 0
    moved: str = ""
    as_events: bool = False
    tells_changes: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    on_get: Callable[[str, asyncio.StreamWriter], bool] = lambda _head, _writer: False
    url: str = ""
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    async def __aenter__(self) -> HostedServer:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/mcp"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.heads.append(head)
            await self._answer(head, headers, body, writer)
            await writer.drain()
        writer.close()

    async def _answer(self, head: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter) -> None:
        token = headers.get("authorization", "").removeprefix("bearer ")
        if self.valid is not None and token not in self.valid:
            send(writer, 401, {"error": "invalid_token"}, "WWW-Authenticate: Bearer")
        elif self.moved and f" {self.moved} " not in head:
            send(writer, 307, {}, f"Location: {self.moved}")
        elif head.startswith("GET") and self.on_get(head, writer):
            pass
        elif head.startswith("GET") and self.tells_changes:
            send_events(writer)
            await self._tell_changes(writer, {})
        elif not head.startswith("POST"):
            send(writer, 200 if head.startswith("DELETE") else 405, {})
        else:
            await self._take(json.loads(body), headers.get("mcp-session-id"), writer)

    async def _take(self, message: Message, known: str | None, writer: asyncio.StreamWriter) -> None:
        method, params = message["method"], message.get("params", {})
        if self.era == LEGACY and method != "initialize" and known != self.session:
            return send(writer, 404 if known else 400, {"error": "no such session"})
        if method == "subscriptions/listen":
            return await self._listened_to(message, writer)
        if method == "tools/call":
            self.posts.append(params["name"])
            self.arguments.append(params.get("arguments", {}))
            if waiting := self.faults.get(params["name"]):
                return await waiting.pop(0)(self, message, writer)
        return self._reply(message, method, params, writer)

    async def _listened_to(self, message: Message, writer: asyncio.StreamWriter) -> None:
        marked = {"_meta": {"io.modelcontextprotocol/subscriptionId": message["id"]}}
        honored = {**marked, "notifications": {"toolsListChanged": True}}
        send_events(writer, notification("subscriptions/acknowledged", honored))
        await self._tell_changes(writer, marked)

    async def _tell_changes(self, writer: asyncio.StreamWriter, params: Message) -> None:
        while not writer.is_closing():
            await self.changed.wait()
            self.changed.clear()
            writer.write(event_of(notification("tools/list_changed", params)))
            await writer.drain()

    def _reply(self, message: Message, method: str, params: Message, writer: asyncio.StreamWriter) -> None:
        if "id" not in message:
            return send(writer, 202, None)
        result = self._result(method, params)
        reply = {"jsonrpc": "2.0", "id": message["id"]}
        reply |= {"error": {"code": -32601, "message": method}} if result is None else {"result": result}
        if self.as_events and method == "tools/call":
            return send_events(writer, reply)
        return send(writer, 200, reply, f"Mcp-Session-Id: {self.session}" if method == "initialize" else "")

    def _result(self, method: str, params: Message) -> Message | None:
        modern = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"} if self.era == MODERN else {}
        capabilities: Message = {"tools": {"listChanged": True} if self.tells_changes else {}}
        if method == "server/discover" and self.era == MODERN:
            return {**modern, "supportedVersions": [MODERN], "capabilities": capabilities}
        if method == "initialize":
            server = {"name": "by-hand", "version": "1"}
            return {"protocolVersion": LEGACY, "capabilities": capabilities, "serverInfo": server}
        if method == "tools/list":
            self.listings += 1
            begin = int(params.get("cursor", 0))
            end = begin + (self.pages or len(self.tools))
            following = {"nextCursor": str(end)} if end < len(self.tools) else {}
            return {**modern, "tools": self.tools[begin:end], **following}
        if method != "tools/call":
            return None
        answer = self.answers.get(params["name"], {})
        answer = answer(params.get("arguments", {})) if callable(answer) else answer
        whole = answer if "content" in answer else {"content": [], "structuredContent": answer}
        return {"resultType": "complete", **whole} if self.era == MODERN else whole


def send(writer: asyncio.StreamWriter, status: int, payload: Any, header: str = "") -> None:
    body = b"" if payload is None else json.dumps(payload).encode()
    lines = [f"HTTP/1.1 {status} X", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    head = "\r\n".join([*lines, "Connection: close", *([header] if header else []), "", ""])
    writer.write(head.encode() + body)


def send_events(writer: asyncio.StreamWriter, *messages: Message) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
    writer.write(b"".join(event_of(message) for message in messages))


def event_of(message: Message) -> bytes:
    return f"event: message\ndata: {json.dumps(message)}\n\n".encode()


def notification(name: str, params: Message) -> Message:
    return {"jsonrpc": "2.0", "method": f"notifications/{name}", "params": params}


def error(text: str, structured: Message | None = None) -> Message:
    """A result that is marked as an error."""
    found: Message = {"content": [{"type": "text", "text": text}], "isError": True}
    return found | ({"structuredContent": structured} if structured is not None else {})
