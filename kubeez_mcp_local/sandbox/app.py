"""The stand-in API as a FastAPI app, and what stands before it: who may ask, calls counted, faults played."""

from __future__ import annotations

import json
import logging
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
from anyio.to_thread import run_sync
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.datastructures import Headers

from kubeez_mcp_local.sandbox import assumed_jobs, documented_jobs, free_routes
from kubeez_mcp_local.sandbox.answers import ApiError, refusals
from kubeez_mcp_local.sandbox.catalogue import Catalogue
from kubeez_mcp_local.sandbox.hosted.tokens import MCP_PATH, Tokens, bearer
from kubeez_mcp_local.sandbox.knobs import Panel
from kubeez_mcp_local.sandbox.service import Service
from kubeez_mcp_local.web.server import foreign_page, ip_address_of, is_loopback_host

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from kubeez_mcp_local.sandbox.books import Books
    from kubeez_mcp_local.sandbox.hosted.server import HostedDoor
    from kubeez_mcp_local.sandbox.knobs import Fault, Knobs


_log = logging.getLogger(__name__)

_ABOUT = (
    "A local stand-in for the Kubeez REST API. Operations marked `x-kubeez-evidence: assumed` are guesses: "
    "the real API is said to offer the feature, but its path and fields are not public."
)


def create_app(
    books: Books, knobs: Knobs | None = None, *, hosts: Collection[str] = (), hosted: bool = False
) -> FastAPI:
    """Build the stand-in over `books`; `hosts` are names, besides loopback, under which it may be reached.

    With the `hosted` door, it also serves the hosted MCP server's tools; its sessions need the app's lifespan.
    """
    panel = Panel(knobs)
    service = Service(books, panel, Catalogue(assumed_jobs.MODELS, assumed_jobs.PRICES))
    door = _hosted_door(service) if hosted else None
    # No documentation pages: they would run a CDN's scripts on an origin that may use the controls.
    app = FastAPI(
        title="Kubeez API (sandbox)",
        version="1.0",
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
        responses=refusals(421, 424),
        lifespan=None if door is None else lambda app: door.running(),
    )
    app.state.service = service
    for module in (free_routes, assumed_jobs, documented_jobs):
        app.include_router(module.router)
    if door is not None:
        door.open(app)
    app.add_exception_handler(ApiError, _refuse)
    app.add_exception_handler(RequestValidationError, _name_what_does_not_fit)
    for broken in (sqlite3.Error, OSError):
        app.add_exception_handler(broken, _name_what_is_broken)
    app.add_middleware(FrontDoor, service=service, hosts=frozenset(hosts))
    _publish_what_is_served(app, panel)
    return app


def _hosted_door(service: Service) -> HostedDoor:
    from kubeez_mcp_local.sandbox.hosted.server import HostedDoor  # the MCP server's side, which only this needs

    return HostedDoor(service)


async def _refuse(request: Request, refusal: Exception) -> JSONResponse:
    if not isinstance(refusal, ApiError):
        raise refusal
    return JSONResponse(refusal.body, refusal.status)


async def _name_what_does_not_fit(request: Request, error: Exception) -> JSONResponse:
    """FastAPI's 422 without what was sent: it may hold what no JSON can say, such as NaN or half a character."""
    if not isinstance(error, RequestValidationError):
        raise error
    found = [
        {"type": each["type"], "loc": [_sayable(part) for part in each["loc"]], "msg": _sayable(each["msg"])}
        for each in error.errors()
    ]
    return JSONResponse({"detail": found}, 422)


def _sayable(part: str | int) -> str | int:
    return part if isinstance(part, int) else part.encode("utf-8", "replace").decode()


async def _name_what_is_broken(request: Request, error: Exception) -> JSONResponse:
    """Say that the books or files failed: not with 5xx, which leaves open whether a job was taken on.

    What was being written was rolled back, so nothing was.
    """
    _log.debug("the sandbox's books or files failed", exc_info=error)
    folder = request.app.state.service.books.folder
    message = (
        f"The sandbox's own books or files in {folder} cannot be used ({error}). Nothing was charged. "
        "Free some space, or run `kubeez-mcp-local sandbox reset`, which forgets its jobs and files"
    )
    return JSONResponse({"error": "sandbox_broken", "message": message}, 424)


def _publish_what_is_served(app: FastAPI, panel: Panel) -> None:
    """Make `/openapi.json` name the evidence of each operation, and leave assumed ones out while switched off."""
    whole = app.openapi

    def openapi() -> dict[str, Any]:
        document = whole()
        paths: dict[str, dict[str, Any]] = {}
        for path, item in document["paths"].items():
            for method, operation in item.items():
                assumed = assumed_jobs.TAG in operation["tags"]
                if not path.startswith(CONTROL):
                    operation["x-kubeez-evidence"] = "assumed" if assumed else "documented"
                if panel.knobs.assumed_routes or not assumed:
                    _refuse_in_json(operation)
                    paths.setdefault(path, {})[method] = operation
        return {**document, "paths": paths}

    app.openapi = openapi  # type: ignore[method-assign]  # the way FastAPI documents for changing the document


def _refuse_in_json(operation: dict[str, Any]) -> None:
    """Refusals are JSON also where success is text, whose media type FastAPI declares for all answers."""
    for status, answer in operation["responses"].items():
        if status >= "400":
            answer["content"] = {"application/json": next(iter(answer["content"].values()))}


CONTROL = "/_sandbox/"
CONTROL_HEADER = "X-Kubeez-Sandbox"
_FORM_OVERHEAD = 64 * 1024
_MOST_JSON_BYTES = 2 * 1024 * 1024  # assumed: some 25 times the longest prompt
_EVENTS = "text/event-stream"
_UPLOADS = ("/v1/upload/", "/upload/")
_EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - names such a binding, makes none
_USUAL = {429: "Too many requests", 500: "Internal Server Error", 502: "Bad gateway", 503: "Service unavailable"}
_PAGE = "<!doctype html><title>{status}</title><h1>{status} Bad gateway</h1><p>A proxy speaks here, not the API.</p>"


@dataclass
class FrontDoor:
    """ASGI middleware; `hosts` are names, besides loopback, under which the stand-in may be reached."""

    app: ASGIApp
    service: Service
    hosts: frozenset[str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        path, call = scope["path"], f"{scope['method']} {scope['path']}"
        if call == f"POST {MCP_PATH}":
            try:
                call, receive = await _named(call, scope, _up_to(_most_bytes(path), receive))
            except HTTPException as error:
                await _detail(error.status_code, error.detail)(scope, receive, send)
                return
        self.service.calls.count(call)
        fault = None if path.startswith(CONTROL) else self.service.panel.take_fault(call)
        if fault is None:
            await self.app(scope, _up_to(_most_bytes(path), receive), send)
        else:
            await self._play(fault, scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers, path = Headers(scope=scope), scope["path"]
        try:
            host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        except ValueError:  # such as `[::1`
            return _detail(400, "The Host header names no host")
        if not is_loopback_host(host) and (path.startswith(CONTROL) or not self._answers_for(host)):
            return _detail(421, f"This sandbox does not answer for the host {host!r}")
        if path.startswith(CONTROL) and (problem := _not_in_control(scope)):
            return _detail(403, problem)
        if not self.service.panel.knobs.assumed_routes and any(_under(path, prefix) for prefix in assumed_jobs.PATHS):
            return _detail(404, "Not Found")
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > _most_bytes(path):
            return _detail(413, _too_large(_most_bytes(path)))
        return None

    def _answers_for(self, host: str) -> bool:
        """A name must be known, lest a page elsewhere rebinds its own to this machine; bound to all, any address is."""
        return host in self.hosts or (bool(self.hosts & _EVERYWHERE) and ip_address_of(host) is not None)

    async def _play(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        if fault.kind == "slow":
            await anyio.sleep(fault.seconds)
            await self.app(scope, receive, send)
        elif fault.kind == "slow_answer":
            await self.app(scope, receive, _later(send, fault.seconds))
        elif fault.kind == "drop_stream":
            await self._drop_stream(scope, receive, send)
        elif fault.kind in ("expire_token", "revoke_token"):
            tokens = Tokens(self.service.books)
            await run_sync(tokens.expire if fault.kind == "expire_token" else tokens.revoke, bearer(scope))
            await self.app(scope, receive, send)
        elif fault.kind == "cut_after_acceptance":
            await self.app(scope, receive, _swallow)
            await _cut(scope)
        else:
            await _read_all(receive)
            if fault.kind == "cut_before_acceptance":
                await _cut(scope)
            elif fault.kind == "rpc_error":
                await _rpc_error(fault, scope)(scope, receive, send)
            else:
                await _wrong_answer(fault)(scope, receive, send)

    async def _drop_stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        hosted = scope["path"] == MCP_PATH
        with anyio.CancelScope() as running:

            async def first_block_only(message: Message) -> None:
                if hosted and scope["method"] == "GET" and message["type"] == "http.response.start":
                    await send(message)
                    await send({"type": "http.response.body"})
                    running.cancel()
                elif message["type"] == "http.response.body":
                    body = b": no answer\n\n" if hosted else message["body"]
                    await send({**message, "body": body, "more_body": False})
                    running.cancel()
                elif hosted and not Headers(raw=message["headers"]).get("content-type", "").startswith(_EVENTS):
                    await _cut(scope)
                    running.cancel()
                else:
                    await send(message)

            await self.app(scope, receive, first_block_only)


async def _named(call: str, scope: Scope, receive: Receive) -> tuple[str, Receive]:
    """What a POST to the hosted door calls, such as `POST /mcp tools/call get_status`, and its body once more."""
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    scope["hosted_id"], method, tool = _parsed(body)
    scope["hosted_tool"] = tool
    ready = [message] if message["type"] != "http.request" else [{"type": "http.request", "body": body}]

    async def again() -> Any:
        return ready.pop() if ready else await receive()

    return " ".join(part for part in (call, method, tool) if part), again


def _parsed(body: bytes) -> tuple[object, str, str]:
    """The id, method and tool of a JSON-RPC message, as far as it is one."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        return None, "", ""
    params, method = said.get("params"), said.get("method")
    name = params.get("name") if isinstance(params, dict) and method == "tools/call" else None
    return said.get("id"), method if isinstance(method, str) else "", name if isinstance(name, str) else ""


def _most_bytes(path: str) -> int:
    return free_routes.MOST_BYTES + _FORM_OVERHEAD if path.startswith(_UPLOADS) else _MOST_JSON_BYTES


def _too_large(most: int) -> str:
    return f"The body is larger than {most // 1024**2} MB"


def _up_to(most: int, receive: Receive) -> Receive:
    """`receive`, for bodies that do not say how long they are."""
    taken = 0

    async def receive_some() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > most:
            raise HTTPException(413, _too_large(most))
        return message

    return receive_some


def _detail(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status)


def _rpc_error(fault: Fault, scope: Scope) -> Response:
    """An event as of the hosted door, with an error of the protocol in place of the answer."""
    error = fault.body or {"code": -32603, "message": "Internal error"}
    said = {"jsonrpc": "2.0", "id": scope.get("hosted_id"), "error": error}
    return Response(f"event: message\ndata: {json.dumps(said)}\n\n", media_type=_EVENTS)


def _wrong_answer(fault: Fault) -> Response:
    if fault.kind == "html":
        return HTMLResponse(_PAGE.format(status=fault.status), fault.status)
    if fault.kind == "not_json":
        return Response(b'{"status": "compl', media_type="application/json")
    headers = None if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:g}"}
    if fault.status in (204, 304):
        return Response(status_code=fault.status)
    body = fault.body or {"detail": _USUAL.get(fault.status, "Rehearsed fault")}
    return JSONResponse(body, fault.status, headers)


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
    if not Headers(scope=scope).get(CONTROL_HEADER):
        return f"The sandbox's controls need the header {CONTROL_HEADER}, with any value"
    return None


def _under(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}/")


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
