"""The stand-in API as a FastAPI app, and what stands before it: who may ask, calls counted, faults played."""

from __future__ import annotations

import json
import logging
import sqlite3
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from kubeez_mcp_local.sandbox import assumed_jobs, documented_jobs, free_routes
from kubeez_mcp_local.sandbox.answers import ApiError
from kubeez_mcp_local.sandbox.catalogue import Catalogue
from kubeez_mcp_local.sandbox.knobs import Calls, Panel
from kubeez_mcp_local.sandbox.service import Service
from kubeez_mcp_local.web.server import foreign_page, ip_address_of, is_loopback_host

if TYPE_CHECKING:
    import random
    from collections.abc import Collection

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from kubeez_mcp_local.sandbox.books import Books
    from kubeez_mcp_local.sandbox.knobs import Fault, Knobs


_log = logging.getLogger(__name__)

_ABOUT = (
    "A local stand-in for the Kubeez REST API. Operations marked `x-kubeez-evidence: assumed` are guesses: "
    "the real API is said to offer the feature, but its path and fields are not public."
)


def create_app(
    books: Books,
    knobs: Knobs | None = None,
    *,
    hosts: Collection[str] = (),
    rng: random.Random | None = None,
) -> FastAPI:
    """Build the stand-in over `books`.

    Args:
        books: Where everything is kept.
        knobs: How it starts; see `Knobs`.
        hosts: Host names, besides loopback, under which it may be reached.
        rng: Chooses seeds for requests that give none.
    """
    panel, calls = Panel(knobs), Calls()
    # No documentation pages: they would run a CDN's scripts on an origin that may use the controls.
    app = FastAPI(title="Kubeez API (sandbox)", version="1.0", description=_ABOUT, docs_url=None, redoc_url=None)
    catalogue = Catalogue.shipped(assumed_jobs.MODELS, assumed_jobs.PRICES)
    app.state.service = Service(books, panel, catalogue, rng=rng)
    app.state.calls = calls
    for module in (free_routes, assumed_jobs, documented_jobs):
        app.include_router(module.router)
    app.add_exception_handler(ApiError, _refuse)
    for broken in (sqlite3.Error, OSError):
        app.add_exception_handler(broken, _name_what_is_broken)
    app.add_middleware(FrontDoor, panel=panel, hosts=hosts, assumed=assumed_jobs.PATHS, calls=calls)
    _publish_what_is_served(app, panel)
    return app


async def _refuse(request: Request, refusal: Exception) -> JSONResponse:
    if not isinstance(refusal, ApiError):
        raise refusal
    return JSONResponse(refusal.body, refusal.status, refusal.headers)


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
    """Make `/openapi.json` leave out the assumed operations while they are switched off."""
    whole = app.openapi

    def openapi() -> dict[str, Any]:
        document = whole()
        if panel.knobs.assumed_routes:
            return document
        return {**document, "paths": _only_documented(document["paths"])}

    app.openapi = openapi  # type: ignore[method-assign]  # the way FastAPI documents for changing the document


def _only_documented(paths: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    kept = {
        path: {
            method: operation for method, operation in item.items() if operation.get("x-kubeez-evidence") != "assumed"
        }
        for path, item in paths.items()
    }
    return {path: item for path, item in kept.items() if item}


CONTROL = "/_sandbox/"
CONTROL_HEADER = "X-Kubeez-Sandbox"
MOST_UPLOAD_BYTES = 500 * 1024 * 1024
_FORM_OVERHEAD = 64 * 1024
_EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - names such a binding, makes none
_PAGE = "<!doctype html><title>{status}</title><h1>{status} Bad gateway</h1><p>A proxy speaks here, not the API.</p>"


class FrontDoor:
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
