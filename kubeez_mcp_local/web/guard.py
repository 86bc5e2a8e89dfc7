"""Who may talk to the page: only this machine, under its own name, and no other site through the user's browser.

The Host check stops DNS rebinding (a foreign name that resolves to 127.0.0.1); the Origin check stops other sites from
posting to us. Programs such as curl send no Origin and are let through to the token check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders

from kubeez_mcp_local.web.answers import refusal
from kubeez_mcp_local.web.errors import ForeignRequestError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "media-src blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """ASGI middleware that checks Host and Origin and adds the security headers.

    Args:
        app: What lies behind.
        port: The port the page is served on.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer 403."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        problem = self._problem(headers)
        if problem:
            await refusal(ForeignRequestError(problem))(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)

    def _problem(self, headers: Headers) -> str | None:
        host = headers.get("host", "").lower()
        if host not in self._hosts:
            return f"the host name {host!r:.80}"
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"http://{host}":
            return f"a page of {origin:.80}"
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return "a page of another site"
        return None
