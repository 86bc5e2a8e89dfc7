"""The hosted door of the stand-in for tests: the official client that talks to it, and a person who signs in."""

from __future__ import annotations

import html
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.hosted import authority
from tests.hosted.authority import browse
from tests.sandbox_server import TRUSTS_NOBODY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mcp.types import CallToolResult

    from kubeez_mcp_local.hosted.tokens import Kept
    from tests.sandbox_server import RunningSandbox

TOKEN = "kbz_pat_example"


@asynccontextmanager
async def official_client(url: str, token: str = TOKEN, *, mode: str = "auto") -> AsyncIterator[Client]:
    """The SDK's own client, signed in with a static token; `mode` is `auto` (2026-07-28) or `legacy` (2025-11-25)."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, verify=TRUSTS_NOBODY, trust_env=False, timeout=30) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


async def said(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """What a tool answers; a refusal fails the test."""
    result: CallToolResult = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    answer: dict[str, Any] | None = result.structured_content
    assert answer is not None
    return answer


async def finished(client: Client, job_id: str) -> dict[str, Any]:
    """The state of a job once it is over; the stand-in is fast, and a look is only ever early by a moment."""
    while (state := await said(client, "get_status", id=job_id))["status"] not in ("completed", "failed"):
        continue
    return state


BACK = "http://127.0.0.1:9/callback"
"""Where a test's client wants the browser to go; nobody listens there, and nobody needs to."""


@dataclass
class Person:
    """Somebody with a browser without scripts, who answers the page that asks. Blocking.

    Attributes:
        scopes: What they tick; None leaves the page's ticks alone.
        answer: The button: `allow` or `deny`.
    """

    scopes: list[str] | None = None
    answer: str = "allow"
    account: str | None = None
    page: str = ""

    def asked(self, address: str) -> dict[str, str]:
        """Open the address, answer, and tell what comes back to the program that asked."""
        with httpx2.Client(verify=TRUSTS_NOBODY, trust_env=False, follow_redirects=True) as browser:
            shown = browser.get(address)
            self.page = shown.text
            origin = f"{shown.url.scheme}://{shown.url.netloc.decode()}"
            form = {name: html.unescape(value) for name, value in _HIDDEN.findall(self.page)}
            scopes = _TICKED.findall(self.page) if self.scopes is None else self.scopes
            account = _ACCOUNTS.findall(self.page)[0] if self.account is None else self.account
            sent = {**form, "account": account, "scope": scopes, "answer": self.answer}
            back = browser.post(f"{origin}/authorize/consent", data=sent, follow_redirects=False)
        assert back.status_code == 302, back.text
        return dict(parse_qsl(urlsplit(back.headers["location"]).query))

    def browse(self, address: str) -> str:
        """The same, and then go back to the program; what its page says in the end."""
        [back] = parse_qs(urlsplit(address).query)["redirect_uri"]
        return browse(f"{back}?{urlencode(self.asked(address))}")


async def signed_in(sandbox: RunningSandbox, person: Person | None = None, **options: Any) -> Kept:
    """Sign in at the stand-in, with a person at the browser."""
    browser = (person or Person()).browse
    return (await authority.signed_in(f"{sandbox.url}/mcp", browser=browser, **options)).kept


_HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)">')
_TICKED = re.compile(r'name="scope" value="([^"]+)" checked')
_ACCOUNTS = re.compile(r'<option value="([^"]*)"')
