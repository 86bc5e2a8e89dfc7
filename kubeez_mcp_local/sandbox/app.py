"""The stand-in API as a FastAPI app."""

from __future__ import annotations

import logging
import sqlite3
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from kubeez_mcp_local.sandbox.desk import Desk
from kubeez_mcp_local.sandbox.gate import Calls, Gate
from kubeez_mcp_local.sandbox.knobs import Knobs, Panel
from kubeez_mcp_local.sandbox.refusals import Refusal
from kubeez_mcp_local.sandbox.routes import (
    account,
    assumed,
    control,
    discovery,
    files,
    media,
    music,
    speech_and_ads,
    uploads,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Collection

    from kubeez_mcp_local.sandbox.books import Books

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
    app.state.desk = Desk(books, panel, rng=rng)
    app.state.calls = calls
    for module in (discovery, account, uploads, assumed, media, music, speech_and_ads, files, control):
        app.include_router(module.router)
    app.add_exception_handler(Refusal, _refuse)
    for broken in (sqlite3.Error, OSError):
        app.add_exception_handler(broken, _name_what_is_broken)
    app.add_middleware(Gate, panel=panel, hosts=hosts, assumed=assumed.PATHS, calls=calls)
    _publish_what_is_served(app, panel)
    return app


async def _refuse(request: Request, refusal: Exception) -> JSONResponse:
    if not isinstance(refusal, Refusal):
        raise refusal
    return JSONResponse(refusal.body, refusal.status, refusal.headers)


async def _name_what_is_broken(request: Request, error: Exception) -> JSONResponse:
    """Say that the books or files failed: not with 5xx, which leaves open whether a job was taken on.

    What was being written was rolled back, so nothing was.
    """
    _log.debug("the sandbox's books or files failed", exc_info=error)
    message = (
        f"The sandbox's own books or files in {request.app.state.desk.books.folder} cannot be used ({error}). Nothing "
        "was charged. Free some space, or run `kubeez-mcp-local sandbox reset`, which forgets its jobs and files"
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
