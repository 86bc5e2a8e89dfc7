"""Pages for a person at this machine: what this program has made and paid for, shown in a browser.

All pages of one `Pages` are one site on one loopback port, with one navigation and one look. Whoever opens them holds
its key, which stands behind the `#` of the address: browsers send that to nobody, so it is in no log and no request
line. The page takes it out of the address and sends it as a header with whatever it asks for. Pictures and players
cannot send headers; their addresses are sealed one by one, see `Seal`.
"""

from __future__ import annotations

import hmac
import json
import secrets
from dataclasses import KW_ONLY, dataclass, field
from html import escape
from string import Template
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import anyio
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.web.server import Bounds, Json, Site, said, static_route, static_text

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Receive, Scope, Send

KEY_HEADER = "x-kubeez-key"
_SHARED_SCRIPTS, _SHARED_STYLES = ("pages.js",), ("pages.css",)
_NOT_PRINTED = ("mark.svg",)


@dataclass(frozen=True)
class Page:
    """One page of the site.

    Attributes:
        name: Its path, and the name of its `<main>` in `static/NAME.html`.
        title: What it is called in the navigation.
        scripts: Its files in `static/`, after those that all pages have; `styles` likewise.
        data: Its routes below `/api`, for which the key is needed.
        files: Its routes below `/media`, whose addresses are sealed.
    """

    name: str
    title: str
    _: KW_ONLY
    scripts: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()
    data: Sequence[BaseRoute] = ()
    files: Sequence[BaseRoute] = ()


@dataclass(frozen=True)
class Seal:
    """Makes addresses that only this server can have given out, each for one thing."""

    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def of(self, *words: object) -> str:
        """What stands in the address of the thing that `words` name."""
        message = json.dumps([str(word) for word in words]).encode()
        return hmac.digest(self.secret, message, "sha256").hex()[:32]

    def fits(self, seal: str, *words: object) -> bool:
        return hmac.compare_digest(seal.encode("utf-8", "replace"), self.of(*words).encode())


@dataclass
class Pages(Site):
    """The site; served from the first address it gives out until the program ends.

    Attributes:
        key: Whoever knows it may look.
    """

    pages: Sequence[Page]
    _: KW_ONLY
    start: Callable[..., object]
    key: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    bounds: Bounds = field(default_factory=Bounds)
    _end: anyio.Event = field(default_factory=anyio.Event, init=False)

    def address(self, name: str, **view: str) -> str:
        """Where the page `name` can be opened, showing `view`; serves the site if it is not yet served.

        Raises:
            KubeezError: No port can be had.
        """
        return f"http://127.0.0.1:{self._port()}/{name}#{urlencode({'key': self.key, **view})}"

    async def ended(self) -> None:
        """Wait until it is not served any more."""
        await self._end.wait()

    def _port(self) -> int:
        try:
            return self._served()
        except OSError as error:
            raise KubeezError(
                f"The page cannot be served on this machine: {error.strerror or type(error).__name__}.",
                next_step="Look at the files in the output folder instead.",
                code="page_unavailable",
            ) from None

    async def _serve(self, listener: socket.socket, port: int) -> None:
        try:
            await super()._serve(listener, port)
        finally:
            self._end.set()

    def _app(self) -> ASGIApp:
        known = {*_NOT_PRINTED, *_SHARED_SCRIPTS, *_SHARED_STYLES}
        known.update(name for page in self.pages for name in (*page.scripts, *page.styles))

        data = Starlette(
            routes=[route for page in self.pages for route in page.data], exception_handlers={KubeezError: _refused}
        )
        return Starlette(
            routes=[
                Route("/", lambda _: RedirectResponse(f"/{self.pages[0].name}", status_code=302)),
                *(Route(f"/{page.name}", _shown(page, self.pages)) for page in self.pages),
                static_route(known),
                Mount("/api", _Keyed(data, self.key)),
                Mount("/media", routes=[route for page in self.pages for route in page.files]),
            ],
            exception_handlers={KubeezError: _refused},
        )


@dataclass(frozen=True)
class _Keyed:
    """ASGI middleware: only whoever has the key."""

    app: ASGIApp
    key: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = next((value for name, value in scope["headers"] if name == KEY_HEADER.encode()), b"")
        if hmac.compare_digest(given, self.key.encode()):
            await self.app(scope, receive, send)
            return
        content = {"error": "no_key", "message": "this page was not opened with its whole address."}
        await Json(content, status_code=401)(scope, receive, send)


def _shown(page: Page, pages: Sequence[Page]) -> Callable[[Request], Response]:
    def show(_: Request) -> Response:
        return HTMLResponse(markup(page, pages))

    return show


def markup(page: Page, pages: Sequence[Page], *, head: str = "", before: Sequence[str] = ()) -> str:
    """The HTML of `page`, with a navigation where there are several.

    Args:
        head: Further markup for the head.
        before: Scripts that run before those of the page.
    """
    links = [
        f'<a href="{each.name}"{" aria-current=" + chr(34) + "page" + chr(34) if each is page else ""}>'
        f"{escape(each.title)}</a>"
        for each in pages
    ]
    scripts = (*before, *(f"static/{name}" for name in (*_SHARED_SCRIPTS, *page.scripts)))
    styles = (*_SHARED_STYLES, *page.styles)
    return Template(static_text("page.html")).substitute(
        title=escape(page.title),
        head="\n".join([head, *(f'<link rel="stylesheet" href="static/{name}">' for name in styles)]),
        navigation=f'<nav aria-label="Pages">{"".join(links)}</nav>' if len(pages) > 1 else "",
        main=static_text(f"{page.name}.html"),
        scripts="\n".join(f'<script src="{name}" defer></script>' for name in scripts),
    )


def files_of(page: Page) -> tuple[str, ...]:
    """The names of everything in `static/` that `page` needs beside its markup."""
    return (*_NOT_PRINTED, *_SHARED_SCRIPTS, *_SHARED_STYLES, *page.scripts, *page.styles)


async def _refused(_: Request, error: Exception) -> Response:
    """What failed behind the page, in words."""
    assert isinstance(error, KubeezError)
    return said(error, 422)


async def as_events(values: AsyncIterator[Mapping[str, object]]) -> AsyncIterator[str]:
    """Server-sent events, each with one of `values` as JSON."""
    async for value in values:
        yield f"data: {json.dumps(value)}\n\n"
