"""Stands before the app: checks the Host header, counts calls, and plays the faults that were turned on."""

from __future__ import annotations

import json
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio

from kubeez_mcp_local.sandbox.inputs import ip_address_of, is_loopback_host
from kubeez_mcp_local.web.server import foreign_page

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from kubeez_mcp_local.sandbox.knobs import Fault, Panel

CONTROL = "/_sandbox/"
CONTROL_HEADER = "X-Kubeez-Sandbox"
MOST_UPLOAD_BYTES = 500 * 1024 * 1024
_FORM_OVERHEAD = 64 * 1024
_EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - names such a binding, makes none
_PAGE = "<!doctype html><title>{status}</title><h1>{status} Bad gateway</h1><p>A proxy speaks here, not the API.</p>"


class Gate:
    """ASGI middleware.

    Args:
        app: What is guarded.
        panel: The knobs.
        hosts: Host names, besides loopback, under which the stand-in may be reached.
        assumed: Paths of the routes that can be switched off.
        calls: Counts every call by method and path; shared with the control routes.
    """

    def __init__(
        self, app: ASGIApp, *, panel: Panel, hosts: Collection[str], assumed: Collection[str], calls: Calls
    ) -> None:
        self._app = app
        self._panel = panel
        self._hosts = frozenset(hosts)
        self._assumed = tuple(assumed)
        self._calls = calls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        path, call = scope["path"], f"{scope['method']} {scope['path']}"
        self._calls.count(call)
        fault = None if path.startswith(CONTROL) else self._panel.take_fault(call)
        if fault is None:
            await self._app(scope, receive, send)
        else:
            await self._play(fault, scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, dict[str, Any]] | None:
        host, path = urlsplit(f"//{_header(scope, b'host')}").hostname or "", scope["path"]
        if not is_loopback_host(host) and (path.startswith(CONTROL) or not self._answers_for(host)):
            return 421, {"detail": f"This sandbox does not answer for the host {host!r}"}
        if path.startswith(CONTROL) and (problem := _not_in_control(scope)):
            return 403, {"detail": problem}
        if not self._panel.knobs.assumed_routes and any(_under(path, prefix) for prefix in self._assumed):
            return 404, {"detail": "Not Found"}
        length = _header(scope, b"content-length")
        if length.isdigit() and int(length) > MOST_UPLOAD_BYTES + _FORM_OVERHEAD:
            return 413, {"detail": "The uploaded file is larger than 500 MB"}
        return None

    def _answers_for(self, host: str) -> bool:
        """A name must be known, lest a page elsewhere rebinds its own to this machine; bound to all, any address is."""
        return host in self._hosts or (bool(self._hosts & _EVERYWHERE) and ip_address_of(host) is not None)

    async def _play(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        if fault.kind == "slow":
            await anyio.sleep(fault.seconds)
            await self._app(scope, receive, send)
        elif fault.kind == "slow_answer":
            await self._app(scope, receive, _later(send, fault.seconds))
        elif fault.kind == "drop_stream":
            await self._drop_stream(scope, receive, send)
        elif fault.kind == "cut_after_acceptance":
            await self._app(scope, receive, _swallow)
            await _cut(scope)
        else:
            await _read_all(receive)
            if fault.kind == "cut_before_acceptance":
                await _cut(scope)
            elif fault.kind == "html":
                await _raw(send, fault.status, b"text/html; charset=utf-8", _PAGE.format(status=fault.status).encode())
            elif fault.kind == "not_json":
                await _raw(send, 200, b"application/json", b'{"status": "compl')
            else:
                retry = [] if fault.retry_after is None else [(b"retry-after", f"{fault.retry_after:g}".encode())]
                await _answer(send, fault.status, fault.body or _usual_body(fault.status), retry)

    async def _drop_stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        with anyio.CancelScope() as running:

            async def first_block_only(message: Message) -> None:
                if message["type"] == "http.response.body":
                    await send({**message, "more_body": False})
                    running.cancel()
                else:
                    await send(message)

            await self._app(scope, receive, first_block_only)


class Calls:
    """How often each method and path was called. Safe across threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counter: Counter[str] = Counter()

    def count(self, call: str) -> None:
        """Note one call; status reads and downloads are counted under their route, not their id."""
        method, _, path = call.partition(" ")
        parts = path.split("/")
        known = ("generate", "estimate", "upload", "models", "balance", "generations")
        if parts[1:2] == ["files"]:
            path = "/files/{name}"
        elif parts[1:2] == ["v1"] and method == "GET" and parts[2:3] == ["generate"]:
            path = "/".join(["/v1/generate", parts[3] if len(parts) > 3 else "", "{id}", *parts[5:6]])
        elif parts[1:2] == ["v1"] and parts[2:3] and parts[2] not in known:
            path = "/v1/{other}"
        with self._lock:
            self._counter[f"{method} {path}"] += 1

    def so_far(self) -> dict[str, int]:
        """The counts."""
        with self._lock:
            return dict(self._counter)

    def forget(self) -> None:
        """Count from zero."""
        with self._lock:
            self._counter.clear()


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _not_in_control(scope: Scope) -> str | None:
    """Why this request may not use the controls, if so.

    Not whoever writes `Host: localhost` from another machine, and no page, be it of another port of this machine: the
    header makes browsers ask us first, which we do not answer, wherever they leave `Origin` out.
    """
    client = scope.get("client")
    if client is None or not is_loopback_host(client[0]):
        return "The sandbox's controls obey this machine only"
    if page := foreign_page(scope):
        return f"The sandbox's controls obey no page of another site or port: {page}"
    if not _header(scope, CONTROL_HEADER.lower().encode()):
        return f"The sandbox's controls need the header {CONTROL_HEADER}, with any value"
    return None


def _under(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}/")


def _usual_body(status: int) -> dict[str, object]:
    texts = {429: "Too many requests", 500: "Internal Server Error", 502: "Bad gateway", 503: "Service unavailable"}
    return {"detail": texts.get(status, "Rehearsed fault")}


async def _cut(scope: Scope) -> None:
    """Close the TCP connection with no answer."""
    connection = scope.get("state", {}).get("connection")
    if connection is None:
        raise ConnectionAbortedError("rehearsed: connection cut")
    connection.cut()
    # Lets the server notice the loss before this call ends; else it would try to answer 500.
    await anyio.sleep(0.01)


async def _read_all(receive: Receive) -> None:
    while (await receive()).get("more_body"):
        pass


def _later(send: Send, seconds: float) -> Send:
    """`send`, for an answer that is held back on its way."""

    async def send_later(message: Message) -> None:
        if message["type"] == "http.response.start":
            await anyio.sleep(seconds)
        await send(message)

    return send_later


async def _swallow(message: Message) -> None:
    """Take an answer and send it nowhere."""


async def _answer(send: Send, status: int, body: dict[str, Any], headers: Collection[tuple[bytes, bytes]] = ()) -> None:
    await _raw(send, status, b"application/json", json.dumps(body).encode(), headers)


async def _raw(
    send: Send, status: int, media_type: bytes, body: bytes, headers: Collection[tuple[bytes, bytes]] = ()
) -> None:
    lines = [(b"content-type", media_type), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})
