"""A small server that lets people sign in, with its knobs at hand: what a hosted server and its authority may do."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import anyio
import httpx

from kubeez_mcp_local.bridge.login import SignedIn, keep_sign_in
from kubeez_mcp_local.errors import first_error_in
from kubeez_mcp_local.hosted.signing_in import SigningIn, listening
from kubeez_mcp_local.settings import config_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCOPES = "generate:media read:balance"


def web_token(**claims: Any) -> str:
    """A JSON web token that nobody has signed."""
    parts = ({"alg": "none"}, claims, secrets.token_hex(8))
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)


@dataclass
class Authority:
    """What it knows, and how it behaves.

    Attributes:
        metadata: Changes of what it says of itself; `None` takes a member out.
        resource: Changes of what the hosted server says of itself.
        overrides: Status and members that answer a path instead.
        echoes: Its token endpoint refuses everything, and says back what it was given.
        subject: Whose web tokens it gives out; empty: opaque ones.
        asked: Every request: method and path.
        secret: Everything that it ever gave out or was given.
    """

    url: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    resource: dict[str, Any] = field(default_factory=dict)
    overrides: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    client: dict[str, Any] = field(default_factory=dict)
    token: dict[str, Any] = field(default_factory=dict)
    subject: str = ""
    declines: str = ""
    lets_in: bool = False
    echoes: bool = False
    asked: list[str] = field(default_factory=list)
    secret: set[str] = field(default_factory=set)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    access: set[str] = field(default_factory=set)
    refresh: set[str] = field(default_factory=set)
    spent: set[str] = field(default_factory=set)
    on_refresh: Callable[[], object] | None = None

    @property
    def mcp(self) -> str:
        return f"{self.url}/mcp"

    def count(self, request: str) -> int:
        """How often it was asked that, such as `POST /token`."""
        return self.asked.count(request)

    def answer(self, method: str, path: str, form: dict[str, str], bearer: str) -> tuple[int, dict[str, Any], str]:
        """Status, members and the `Location` or `WWW-Authenticate` that go with them."""
        self.asked.append(f"{method} {path}")
        if path in self.overrides:
            return *self.overrides[path], ""
        match method, path:
            case "POST", "/mcp":
                if bearer in self.access or self.lets_in:
                    return 200, {"jsonrpc": "2.0", "id": 1, "result": {}}, ""
                return 401, {}, f'Bearer resource_metadata="{self.url}/.well-known/oauth-protected-resource/mcp"'
            case "GET", "/.well-known/oauth-protected-resource/mcp":
                about = {"resource": self.mcp, "authorization_servers": [self.url]}
                return 200, about | {"scopes_supported": SCOPES.split()} | self.resource, ""
            case "GET", "/.well-known/oauth-authorization-server":
                return 200, self._metadata(), ""
            case "POST", "/register":
                return 201, {"client_id": "client-1", "redirect_uris": [], **self.client}, ""
            case "GET", "/authorize":
                return 302, {}, self._authorized(form)
            case "POST", "/token":
                return *self._tokens(form), ""
            case "POST", "/revoke":
                self.access.discard(form["token"])
                self.refresh.discard(form["token"])
                return 200, {}, ""
        return 404, {}, ""

    def _metadata(self) -> dict[str, Any]:
        ends = {
            f"{name}_endpoint": f"{self.url}/{path}"
            for name, path in (
                ("authorization", "authorize"),
                ("token", "token"),
                ("registration", "register"),
                ("revocation", "revoke"),
            )
        }
        about = {"issuer": self.url, "response_types_supported": ["code"], **ends, **self.metadata}
        return {name: value for name, value in about.items() if value is not None}

    def _authorized(self, form: dict[str, str]) -> str:
        self.secret.add(form["state"])
        if self.declines:
            answer = {"error": self.declines, "error_description": "no, thanks", "state": form["state"]}
        else:
            code = f"code.{secrets.token_urlsafe(16)}"
            self.secret.add(code)
            self.codes[code] = form
            answer = {"code": code, "state": form["state"]}
        return f"{form['redirect_uri']}?{urlencode(answer)}"

    def _tokens(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if self.echoes:
            self.secret.add(form.get("code_verifier", ""))
            said = f"{form.get('refresh_token') or form.get('code')} with {form.get('code_verifier')}"
            return 400, {"error": f"invalid_grant: {said}", "error_description": said}
        if form["grant_type"] == "refresh_token":
            if self.on_refresh:
                self.on_refresh()
            used = form["refresh_token"]
            if used not in self.refresh:
                self.access -= self.access if used in self.spent else set()  # a stolen one: all of them end
                return 400, {"error": "invalid_grant"}
            self.refresh.discard(used)
            self.spent.add(used)
            return 200, self.give()
        asked = self.codes.pop(form["code"], None)
        self.secret.add(form["code_verifier"])
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        if asked is None or base64.urlsafe_b64encode(digest).decode().rstrip("=") != asked["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        assert form["resource"] == asked["resource"] == self.mcp
        return 200, self.give()

    def give(self) -> dict[str, Any]:
        """Tokens, as the token endpoint answers."""
        opaque = secrets.token_urlsafe(24)
        access = web_token(sub=self.subject, iss=self.url, jti=opaque) if self.subject else f"a/{opaque}+"
        given: dict[str, Any] = {"access_token": access, "token_type": "Bearer", "expires_in": 3600, "scope": SCOPES}
        given |= {"refresh_token": f"r/{secrets.token_urlsafe(24)}=", **self.token}
        found = {name: value for name, value in given.items() if value is not None}
        self.access.add(found["access_token"])
        self.secret.add(found["access_token"])
        if "refresh_token" in found:
            self.refresh.add(found["refresh_token"])
            self.secret.add(found["refresh_token"])
        return found


@contextmanager
def running_authority() -> Iterator[Authority]:
    """One on a free port of this machine."""
    authority = Authority()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            parts = urlsplit(self.path)
            given = parts.query or ("" if body.startswith("{") else body)
            form = {name: values[0] for name, values in parse_qs(given).items()}
            bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
            status, members, extra = authority.answer(self.command, parts.path, form, bearer)
            self.send_response(status)
            content = json.dumps(members).encode()
            if extra:
                self.send_header("Location" if status == 302 else "WWW-Authenticate", extra)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    authority.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield authority
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def browse(address: str) -> str:
    """What a browser shows in the end that is led to `address`."""
    with httpx.Client(trust_env=False, verify=False, follow_redirects=True, timeout=30) as browser:
        return browser.get(address).text


async def signed_in(
    url: str,
    *,
    seconds: float = 30.0,
    pages: list[str] | None = None,
    browser: Callable[[str], str] = browse,
    clock: Callable[[], float] = time.time,
    **options: Any,
) -> SignedIn:
    """Sign in with a browser that goes where it is led; what it shows last goes to `pages`."""
    try:
        async with listening() as place, anyio.create_task_group() as tasks:

            async def look(address: str) -> None:
                page = await anyio.to_thread.run_sync(browser, address, abandon_on_cancel=True)
                if pages is not None:
                    pages.append(page)

            async def show(address: str) -> None:
                tasks.start_soon(look, address)

            signing_in = SigningIn(url, place, show, seconds, clock=clock)
            done = await keep_sign_in(signing_in, config_file(), **options)
    except BaseExceptionGroup as group:
        raise first_error_in(group) from None
    else:
        return done
