"""Signing in to the hosted server in a browser (OAuth 2.1), and signing out again.

The SDK's client provider decides what is asked: discovery, registration, PKCE, the exchange. It is driven here by hand,
so that every request goes through our own connections (proxies, the system's certificates), only to addresses that are
safe to go to, and so that signing in also works where a server would answer a first request without a token.
"""

from __future__ import annotations

import asyncio
import html
import logging
import os
import secrets
import sys
import threading
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import anyio
from anyio.abc import SocketAttribute

from kubeez_mcp_local import __version__
from kubeez_mcp_local.environment import APP
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.hosted.tokens import Client, Kept, asking, end_of, members_of, named, subject_of
from kubeez_mcp_local.rest.errors import UnauthorizedError
from kubeez_mcp_local.settings import is_loopback
from kubeez_mcp_local.text import hide, quoted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import httpx2
    from anyio.abc import ByteStream
    from mcp.client.auth import OAuthClientProvider
    from mcp.shared.auth import OAuthClientInformationFull, OAuthToken

    from kubeez_mcp_local.hosted.tokens import Ask
    from kubeez_mcp_local.rest.pools import Answer

PERSON_SECONDS = 300.0
"""How long somebody may take in the browser."""
_ANSWER_SECONDS = 20.0
_READ_SECONDS = 10.0
_LONGEST_REQUEST = 1 << 15
_PATH, _DONE = "/callback", "/done"
_PROTOCOL = "2025-11-25"
_HEADERS = (
    "Content-Type: text/html; charset=utf-8\r\nCache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n"
    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\nConnection: close\r\n"
)
_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
    '<body style="font: 1.1rem/1.5 system-ui, sans-serif; margin: 4rem auto; max-width: 34rem; padding: 0 1rem">'
    "<h1>{title}</h1><p>{words}</p></body></html>"
)


class SignInFailedError(UnauthorizedError):
    """Nobody was signed in, and nothing was kept."""

    code = "sign_in_failed"


def _failed(why: str, next_step: str = "") -> SignInFailedError:
    return SignInFailedError(f"{why} Nothing was kept.", next_step=next_step or "Try `login --hosted` again.")


# Where the browser comes back


@dataclass
class Return:
    """The place on this machine to which the browser is sent back, on a port that was free.

    Attributes:
        port: Its port on 127.0.0.1.
        state: What a way back must bring, so that nobody else can send one; set when the address is known.
        outcome: Title and words of the last page, once they are known.
    """

    port: int
    state: str = ""
    outcome: tuple[str, str] | None = None
    _given: dict[str, str] | None = None
    _came: anyio.Event = field(default_factory=anyio.Event)
    _over: anyio.Event = field(default_factory=anyio.Event)
    _shown: anyio.Event = field(default_factory=anyio.Event)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}{_PATH}"

    def take(self, address: str) -> bool:
        """Whether `address`, which a browser was sent to, is the way back of this sign-in; the first one counts."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        if not self.state or not secrets.compare_digest(query.get("state", "").encode(), self.state.encode()):
            return False
        if self._given is None:
            hide(query.get("code", ""))
            self._given = query
            self._came.set()
        return True

    async def given(self) -> dict[str, str]:
        """What came back: `code`, or `error` and perhaps `error_description`."""
        await self._came.wait()
        return self._given or {}

    async def end(self, title: str, words: str) -> None:
        """Let the browser's page say how it ended."""
        self.outcome = title, words
        self._over.set()
        if self._given is not None:
            with anyio.move_on_after(1.0):
                await self._shown.wait()

    async def serve(self, stream: ByteStream) -> None:
        """Answer one request."""
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            async with stream:
                with anyio.move_on_after(_READ_SECONDS) as reading:
                    head = await _head_of(stream)
                if not reading.cancelled_caught:
                    status, title, words = await self._answer(head)
                    page = _PAGE.format(title=html.escape(title), words=html.escape(words)).encode()
                    start = f"HTTP/1.1 {status}\r\n{_HEADERS}Content-Length: {len(page)}\r\n\r\n"
                    await stream.send(start.encode() + page)
                    if (title, words) == self.outcome:
                        self._shown.set()

    async def _answer(self, head: str) -> tuple[str, str, str]:
        """Status line with what else the head says, title, words."""
        lines = head.split("\r\n")
        target = [*lines[0].split(" "), "", ""][1]
        host = next((line[5:].strip() for line in lines if line.lower().startswith("host:")), "")
        path = urlsplit(target).path
        if lines[0].startswith("GET ") and host == f"127.0.0.1:{self.port}":
            if path == _PATH and self.take(target):  # the code does not stay in the address
                return f"303 See Other\r\nLocation: {_DONE}", "Signing in", "One moment."
            if path == _DONE and self._given is not None:
                await self._over.wait()
                assert self.outcome is not None
                return "200 OK", *self.outcome
        return "404 Not Found", "Nothing here", "This address belongs to no sign-in that is under way."


async def _head_of(stream: ByteStream) -> str:
    found = b""
    while b"\r\n\r\n" not in found and len(found) < _LONGEST_REQUEST:
        found += await stream.receive()
    return found.decode("latin-1")


@asynccontextmanager
async def listening() -> AsyncIterator[Return]:
    """A `Return` that the browser can reach meanwhile.

    Raises:
        SignInFailedError: No port can be opened.
    """
    try:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    except OSError as error:
        raise _failed(f"No port of 127.0.0.1 can be opened for the browser to come back to: {error}.") from None
    async with listener, anyio.create_task_group() as tasks:
        place = Return(listener.listeners[0].extra(SocketAttribute.local_port))  # noqa: S610 - of anyio
        tasks.start_soon(listener.serve, place.serve)
        try:
            yield place
        finally:
            tasks.cancel_scope.cancel()


# Signing in


@dataclass
class _Memory:
    """What the SDK's provider would store."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


@dataclass
class SigningIn:
    """One sign-in.

    Attributes:
        url: The hosted server.
        place: Where the browser comes back.
        show: Is given the address to open in a browser.
        seconds: How long the person may take.
    """

    url: str
    place: Return
    show: Callable[[str], Awaitable[None]]
    seconds: float = PERSON_SECONDS
    clock: Callable[[], float] = time.time
    _memory: _Memory = field(default_factory=_Memory)

    async def run(self) -> Kept:
        """Sign in; the account's name is that of the token's subject, or a new one where it names none.

        Raises:
            SignInFailedError: It did not come to that.
            UnreachableError, UnavailableError: A server could not be asked.
        """
        try:
            async with asking() as ask:
                kept = await self._run(ask)
        except KubeezError as error:
            await self.place.end("You are not signed in", error.message)
            raise
        await self.place.end("You are signed in", "This page can be closed. The terminal says the rest.")
        return kept

    async def _run(self, ask: Ask) -> Kept:
        import httpx2
        from mcp.client.auth import OAuthFlowError

        logging.getLogger("mcp.client.auth").setLevel(logging.CRITICAL)  # it logs what it then raises, with its words
        provider = self._provider()
        request = httpx2.Request("POST", self.url, json=_HELLO, headers=_HELLO_HEADERS)
        flow = provider.async_auth_flow(request)
        accepted: httpx2.Response | None = None
        try:
            asked = await flow.__anext__()
            while True:
                if asked is not request and asked.method == "POST" and provider.context.oauth_metadata is None:
                    raise _failed(f"{self.url} does not describe how one signs in there.", _OTHER_ADDRESS)
                accepted = await self._sent(ask, asked)
                begins = asked is request and "Authorization" not in asked.headers
                # A server that lets anybody say hello is asked as if it had refused: a sign-in is what was wanted.
                asked = await flow.asend(
                    httpx2.Response(401, request=asked) if begins and accepted.is_success else accepted
                )
        except StopAsyncIteration:
            pass
        except (OAuthFlowError, ValueError, httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise _explained(error) from None
        finally:
            await flow.aclose()
        assert accepted is not None
        if self._memory.tokens is None:
            raise _failed(f"{self.url} answers {accepted.status_code} and asks for no sign-in.", _OTHER_ADDRESS)
        if accepted.status_code in (401, 403):
            raise _failed(f"{self.url} does not accept the token that its own sign-in gave out.")
        await self._leave(ask, accepted)
        return self._kept(provider, self._memory.tokens)

    def _provider(self) -> OAuthClientProvider:
        from mcp.client.auth import OAuthClientProvider
        from mcp.shared.auth import OAuthClientMetadata
        from pydantic import AnyUrl

        about = OAuthClientMetadata(
            client_name=APP,
            software_id=APP,
            software_version=__version__,
            redirect_uris=[AnyUrl(self.place.address)],
            token_endpoint_auth_method="none",  # noqa: S106 - a method's name
        )
        return OAuthClientProvider(
            self.url, about, self._memory, self._shown, self._returned, validate_resource_url=self._checked_resource
        )

    async def _checked_resource(self, url: str, resource: str | None) -> None:
        from mcp.shared.auth_utils import check_resource_allowed, resource_url_from_server_url

        if resource and not check_resource_allowed(resource_url_from_server_url(url), resource):
            raise _failed(f"{url} says that it is another resource: {quoted(resource)}.", _OTHER_ADDRESS)

    async def _sent(self, ask: Ask, request: httpx2.Request) -> httpx2.Response:
        import httpx2

        address = str(request.url)
        self._refuse_unless_safe(address)
        headers = {name: value for name, value in request.headers.items() if name not in ("host", "content-length")}
        body = await request.aread()
        verifier = parse_qs(body.decode("latin-1")).get("code_verifier") if b"code_verifier=" in body else None
        hide(verifier[0] if verifier else "")
        answer = await ask(request.method, address, _ANSWER_SECONDS, headers=headers, content=body or None)
        _hide_secrets_in(answer)
        kept = {name: value for name, value in answer.headers.items() if not name.startswith("content-")}
        return httpx2.Response(answer.status_code, headers=kept, content=answer.content, request=request)

    def _is_safe(self, address: str) -> bool:
        parts = urlsplit(address)
        local = parts.scheme == "http" and is_loopback(address) and is_loopback(self.url)
        return local or (parts.scheme == "https" and bool(parts.hostname))

    def _refuse_unless_safe(self, address: str) -> None:
        if self._is_safe(address):
            return
        parts = urlsplit(address)
        where = quoted(f"{parts.scheme}://{parts.hostname}")
        raise _failed(f"Signing in would lead to {where}, which is not https, or leads back to this machine.")

    async def _shown(self, address: str) -> None:
        self._refuse_unless_safe(address)
        self.place.state = parse_qs(urlsplit(address).query)["state"][0]
        hide(self.place.state)
        await self.show(address)

    async def _returned(self) -> Any:
        from mcp.client.auth import AuthorizationCodeResult

        try:
            with anyio.fail_after(self.seconds):
                given = await self.place.given()
        except TimeoutError:
            raise _failed(
                f"Nobody came back from the browser within {self.seconds / 60:g} minutes.",
                "Run it again and sign in on the page that opens. Where the browser is on another machine: "
                "`login --hosted --no-browser`.",
            ) from None
        if "error" in given:
            raise _declined(given)
        return AuthorizationCodeResult(code=given.get("code", ""), state=given.get("state"), iss=given.get("iss"))

    async def _leave(self, ask: Ask, accepted: httpx2.Response) -> None:
        """End the session that the first request began, where there is one."""
        session = accepted.headers.get("mcp-session-id")
        if session:
            headers = {"Authorization": accepted.request.headers["Authorization"], "Mcp-Session-Id": session}
            with suppress(KubeezError):
                await ask("DELETE", self.url, _READ_SECONDS, headers=headers, content=None)

    def _kept(self, provider: OAuthClientProvider, tokens: OAuthToken) -> Kept:
        context, client = provider.context, self._memory.client
        found = context.oauth_metadata
        assert client is not None, "tokens are given to clients"
        assert found is not None, "nothing is sent without it"
        issuer, now, token = str(found.issuer), self.clock(), tokens.access_token
        subject = subject_of(token)
        revocation = str(found.revocation_endpoint or "")
        kept = Kept(
            account=named(issuer, subject) if subject else named(secrets.token_hex(32)),
            url=self.url,
            issuer=issuer,
            token_endpoint=str(found.token_endpoint),
            revocation_endpoint=revocation if self._is_safe(revocation) else None,
            resource=context.get_resource_url(),
            client=Client(
                id=client.client_id or "", secret=client.client_secret, method=client.token_endpoint_auth_method
            ),
            scopes=tuple((tokens.scope or "").split()),
            access_token=token,
            refresh_token=tokens.refresh_token,
            obtained_at=now,
            expires_at=now + tokens.expires_in if tokens.expires_in else end_of(token),
        )
        kept.hide()
        return kept


_HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": _PROTOCOL,
        "capabilities": {},
        "clientInfo": {"name": APP, "version": __version__},
    },
}
_HELLO_HEADERS = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": _PROTOCOL}
_OTHER_ADDRESS = "Check KUBEEZ_MCP_URL. If it is right, tell whoever runs that server."


def _hide_secrets_in(answer: Answer) -> None:
    members = members_of(answer)
    for name in ("access_token", "refresh_token", "client_secret", "registration_access_token", "id_token"):
        if isinstance(value := members.get(name), str):
            hide(value)


def _declined(given: dict[str, str]) -> SignInFailedError:
    code, words = given["error"], given.get("error_description", "")
    if code == "access_denied":
        return _failed("The sign-in was declined in the browser.", "Run it again if that was not meant.")
    return _failed(f"The sign-in ended with the error {quoted(code)}{f': {quoted(words, 200)}' if words else ''}.")


def _explained(error: Exception) -> KubeezError:
    """An error of the SDK in our words; its own may quote what nobody should see."""
    from mcp.client.auth import OAuthRegistrationError, OAuthTokenError

    said = " ".join(str(error).split())
    if isinstance(error, OAuthRegistrationError):
        return _failed(
            f"The server does not take this program as a client: {quoted(said, 200)}.",
            "Try again later, or put a personal access token of your Kubeez account into KUBEEZ_MCP_TOKEN.",
        )
    if isinstance(error, OAuthTokenError):
        return _failed(f"The server gave out no token: {quoted(said, 200)}.")
    if "issuer" in said or "iss " in said:
        return _failed(
            f"The server's description of its sign-in is of another issuer: {quoted(said, 200)}.", _OTHER_ADDRESS
        )
    return _failed(f"The server's sign-in cannot be used: {quoted(said or type(error).__name__, 200)}.", _OTHER_ADDRESS)


async def pasted(place: Return, again: Callable[[], None]) -> None:
    """Read lines from the input until one is the address at which the browser ended."""
    while True:
        line = await _typed()
        if not line or place.take(line.strip()):
            return
        again()


async def _typed() -> str:
    """A line of the input; empty at its end. Whoever waits for it in vain keeps nobody from leaving: its thread is left
    behind, and holds no lock that the end of the program needs."""
    pieces, loop, done = [b""], asyncio.get_running_loop(), asyncio.Event()

    def read() -> None:
        with suppress(OSError, ValueError):
            while piece := os.read(sys.stdin.fileno(), _LONGEST_REQUEST):
                pieces.append(piece)
                if b"\n" in piece:
                    break
        with suppress(RuntimeError):  # nobody waits any more
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=read, daemon=True, name="typed").start()
    await done.wait()
    return b"".join(pieces).decode("utf-8", "replace")


# Signing out


async def revoke(kept: Kept) -> tuple[tuple[str, ...], str]:
    """Tell the server that the sign-in's tokens are not used any more (RFC 7009).

    Returns:
        Which of them it took back, in words; and why not the others, empty where there are none.
    """
    if kept.revocation_endpoint is None:
        return (), f"{kept.issuer} names no safe address at which tokens are revoked"
    done, trouble = [], ""
    async with asking() as ask:
        for name, token in (("refresh_token", kept.refresh_token), ("access_token", kept.access_token)):
            if token is None:
                continue
            # Servers of the SDK want a secret to be there; an empty one says the same as none (RFC 6749 §2.3.1).
            form, headers = kept.client.form({"token": token, "token_type_hint": name, "client_secret": ""})
            try:
                answer = await ask("POST", kept.revocation_endpoint, _ANSWER_SECONDS, content=form, headers=headers)
            except KubeezError as error:
                trouble = error.message.rstrip(".")
                break
            if answer.status_code == 200:
                done.append(name.replace("_", " "))
            else:
                why = str(members_of(answer).get("error") or "")
                trouble = (
                    f"{kept.revocation_endpoint} answered {answer.status_code}{f' ({quoted(why)})' if why else ''}"
                )
    return tuple(done), trouble
