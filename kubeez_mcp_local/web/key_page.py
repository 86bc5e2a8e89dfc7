"""The key page: a person types the API key into their own machine, and into no conversation.

`GET /key/{token}` is the page, `POST /key/{token}` takes the form. The key is in the body of that request and nowhere
else: in no address, no answer and no log. A form needs no script, so none may run.
"""

from __future__ import annotations

import hmac
import secrets
import time
from dataclasses import dataclass, field
from html import escape
from string import Template
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import anyio
from starlette.applications import Starlette
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.web.server import Site, foreign_page, static_route, static_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp

LIFETIME_SECONDS = 900.0
_STATIC = ("pages.css", "key.css", "icon.svg")
_MOST_BYTES = 16_384
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",  # with none at all, browsers do not say which page a form comes from
}
_FORM = """\
<form method="post" autocomplete="off">
<label for="key">API key</label>
<input id="key" class="field" name="key" type="password" autocomplete="off" spellcheck="false" required autofocus>
<button class="button first">Check and keep</button>
</form>"""


@dataclass(eq=False)
class KeyRequest:
    """One request for a key, and what became of it.

    Attributes:
        kept: Set once a key has been kept.
        said: What the page says of that, or of why it was refused.
        busy: Whether a key is being checked right now.
        offered: Whether somebody was given the link.
    """

    token: str
    url: str
    expires_at: float
    kept: anyio.Event = field(default_factory=anyio.Event)
    said: str = ""
    busy: bool = False
    offered: bool = False


@dataclass
class KeyPage(Site):
    """Asks for a key on a loopback page.

    Attributes:
        keep: Checks and keeps what was typed, and says where it is now, and what to do next.
        clock: Seconds since the epoch.
        new_token: Makes tokens that cannot be guessed.
        sleep: Waits for the request to expire.
        unwanted: Whether the person does not want to be asked.
    """

    keep: Callable[[str], Awaitable[str]]
    start: Callable[..., object]
    clock: Callable[[], float] = time.time
    new_token: Callable[[], str] = lambda: secrets.token_urlsafe(32)
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    unwanted: bool = field(default=False, init=False)
    _request: KeyRequest | None = field(default=None, init=False)

    def open(self) -> KeyRequest:
        """The request that is open, or a new one, for a quarter of an hour; serves the page if it is not yet served.

        Raises:
            OSError: No port can be had.
        """
        port = self._served()
        request = self._request
        if request is None or request.kept.is_set() or self.clock() >= request.expires_at:
            token = self.new_token()
            request = KeyRequest(token, f"http://127.0.0.1:{port}/key/{token}", self.clock() + LIFETIME_SECONDS)
            self._request = request
        return request

    @property
    def kept(self) -> str:
        """What the page said when a key was kept through it, a little while ago; empty if none was."""
        request = self._request
        fresh = request is not None and request.kept.is_set() and self.clock() < request.expires_at
        return request.said if request is not None and fresh else ""

    async def _until_over(self) -> None:
        while self._request is not None and (left := self._request.expires_at - self.clock()) > 0:
            await self.sleep(max(left, 1.0))

    def _app(self) -> ASGIApp:
        return Starlette(
            routes=[
                Route("/key/{token}", self._page),
                Route("/key/{token}", self._take, methods=["POST"], max_body_size=_MOST_BYTES),
                static_route(_STATIC),
            ]
        )

    def _find(self, request: Request) -> KeyRequest | None:
        token, found = request.path_params["token"].encode("utf-8", "replace"), self._request
        fits = found is not None and hmac.compare_digest(found.token.encode(), token)
        return found if fits and found and self.clock() < found.expires_at else None

    async def _page(self, request: Request) -> Response:
        return _shown(self._find(request))

    async def _take(self, request: Request) -> Response:
        if "origin" not in request.headers or foreign_page(request.scope) is not None:
            return Response("A key is taken only from the page, open in a browser.", status_code=403)
        found = self._find(request)
        if found is None:
            return _shown(None)
        typed = parse_qs((await request.body()).decode("utf-8", "replace")).get("key", [""])[0]
        if not found.busy and not found.kept.is_set():
            found.busy = True
            try:
                found.said = await self.keep(typed)
                found.kept.set()
            except KubeezError as error:
                found.said = str(error)
            finally:
                found.busy = False
        return RedirectResponse(request.url.path, status_code=303, headers=_HEADERS)


def _shown(request: KeyRequest | None) -> Response:
    if request is None:
        title, said, kind, form = "This link is over", "Ask your assistant for a new one.", "lead", ""
    elif request.kept.is_set():
        title, said, kind, form = "Your key is kept", request.said, "kept", ""
    else:
        title, said, kind, form = "Your Kubeez API key", request.said, "message", _FORM
    paragraph = f'<p class="{kind}" role="status">{escape(said)}</p>' if said else ""
    page = Template(static_text("key.html")).substitute(title=title, said=paragraph, form=form)
    return Response(page, status_code=404 if request is None else 200, media_type="text/html", headers=_HEADERS)
