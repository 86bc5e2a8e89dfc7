"""Connection pools, built on first use: proxies and the system's certificates honoured, nothing logged."""

from __future__ import annotations

import logging
import re
import ssl
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import anyio
import httpx
from socksio.exceptions import SOCKSError

from kubeez_mcp_local import __version__
from kubeez_mcp_local.environment import APP, variables
from kubeez_mcp_local.rest.errors import UnreachableError, UnusableUrlError
from kubeez_mcp_local.settings import is_loopback

IDENTITY = {"User-Agent": f"{APP}/{__version__}", "X-Client": APP, "X-Client-Version": __version__}
TIMEOUT = httpx.Timeout(60.0, connect=10.0)
UPLOAD_TIMEOUT = httpx.Timeout(300.0, connect=10.0)
# A heartbeat's distance is not documented; a stream that is silent for longer is given up and polled instead.
STREAM_TIMEOUT = httpx.Timeout(60.0, connect=10.0, read=75.0)
# Common servers drop an idle connection after 5 s. Ours are dropped first, because a request that runs into the
# server's closing one fails after it was sent, which for a paid request means not knowing whether it was accepted.
LIMITS = httpx.Limits(max_connections=128, max_keepalive_connections=64, keepalive_expiry=4.0)
LONGEST_ANSWER = 64 * 1024 * 1024
"""Bytes of an answer that is read into memory; the catalogue, the longest known, has less than one million."""
_OF_THE_TRANSFER = ("content-encoding", "content-length", "transfer-encoding")
# Raised before any byte of the request has left: no connection, no tunnel, no free place in the pool.
NOTHING_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


Answer: TypeAlias = httpx.Response
Transport: TypeAlias = httpx.AsyncBaseTransport
# It left, or may have, and no whole answer came.
BROKEN = (httpx.HTTPError, httpx.StreamError)


def timeouts(connect: float, read: float) -> httpx.Timeout:
    """Seconds for a connection, and between two pieces of an answer."""
    return httpx.Timeout(60.0, connect=connect, read=read)


@dataclass(frozen=True)
class Hints:
    """The setting that says where the server is, and the command that starts a stand-in for it on loopback."""

    setting: str = "KUBEEZ_BASE_URL"
    stand_in: str = "kubeez-mcp-local sandbox serve"


class Pools:
    """The HTTP clients of one `RestClient`, shared by all of its requests.

    There are few: http, https, https on loopback, and either through a proxy. Loopback is never sent through one, and
    an http pool needs no certificates, whose loading takes longer than a whole start-up.

    Args:
        hints: What to check where no connection can be made.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None, hints: Hints | None = None) -> None:
        self._transport = transport
        self._hints = hints or Hints()
        self._clients: dict[tuple[str, bool, Proxy | None], httpx.AsyncClient] = {}
        self._places: dict[str, tuple[str, bool, Proxy | None]] = {}
        self._lock = anyio.Lock()

    async def client_for(self, url: str) -> httpx.AsyncClient:
        place = self._place_of(url)
        client = self._clients.get(place)
        if client is not None:
            return client
        async with self._lock:
            if place not in self._clients:
                self._clients[place] = await self._build(*place)
            return self._clients[place]

    def _place_of(self, url: str) -> tuple[str, bool, Proxy | None]:
        origin = "/".join(url.split("/", 3)[:3])
        if origin not in self._places:
            local = is_loopback(url)
            self._places[origin] = (url.partition(":")[0], local, None if local else proxy_for(url))
        return self._places[origin]

    async def send(
        self, method: str, url: str, *, stream: bool = False, timeout: httpx.Timeout = TIMEOUT, **parts: Any
    ) -> httpx.Response:
        """Send one request; redirects are never followed.

        Raises:
            UnreachableError, UnusableUrlError: Nothing was sent.
            httpx.HTTPError: It failed later.
        """
        try:
            client = await self.client_for(url)
            request = client.build_request(method, url, timeout=timeout, **parts)
        except httpx.InvalidURL as error:
            raise UnusableUrlError(
                f"This would need an address that is none: {error}.", next_step="Shorten or correct the arguments."
            ) from None
        try:
            response = await client.send(request, stream=True)
        except NOTHING_SENT as error:
            raise unreachable(request.url, error, self._hints) from error
        except (AssertionError, SOCKSError, UnicodeError, OverflowError) as error:
            # While looking for the host, or agreeing on a tunnel with what speaks no SOCKS: the request comes after.
            raise unreachable(request.url, httpx.ProxyError("the proxy does not speak as one"), self._hints) from error
        return response if stream else await whole(response)

    async def aclose(self) -> None:
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.aclose()

    async def _build(self, scheme: str, local: bool, proxy: Proxy | None) -> httpx.AsyncClient:
        for name in ("httpx", "httpcore", "stamina"):
            # Keeps URLs with their queries, and header lists with their keys, out of every log.
            logging.getLogger(name).setLevel(logging.ERROR)
        if scheme == "https" and self._transport is None:
            verify = await anyio.to_thread.run_sync(_system_certificates)
        else:  # trusts nobody, so that https through it would fail instead of going unverified
            verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return httpx.AsyncClient(
            verify=verify,
            proxy=None if proxy is None else proxy.checked(),
            trust_env=False,  # proxies are looked up here, where one that cannot be used is explained
            transport=self._transport,
            headers=IDENTITY,
            timeout=TIMEOUT,
            limits=LIMITS,
            follow_redirects=False,
        )


async def whole(response: httpx.Response) -> httpx.Response:
    """The answer with its body read, unpacked, up to `LONGEST_ANSWER`."""
    body = bytearray()
    try:
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > LONGEST_ANSWER:
                raise httpx.DecodingError(f"the answer has more than {LONGEST_ANSWER:,} bytes")
    finally:
        with anyio.CancelScope(shield=True):
            await response.aclose()
    headers = [(name, value) for name, value in response.headers.multi_items() if name not in _OF_THE_TRANSFER]
    return httpx.Response(response.status_code, headers=headers, content=bytes(body), request=response.request)


@dataclass(frozen=True)
class Proxy:
    """A proxy of the environment or the system; its address may hold a password."""

    url: str = field(repr=False)
    source: str

    def checked(self) -> httpx.Proxy:
        """The same for httpx.

        Raises:
            UnreachableError: It is none that can be used.
        """
        scheme = self.url.partition("://")[0].lower()
        why = "it is no address"
        try:
            proxy = httpx.Proxy(self.url)
            if re.fullmatch(r"[^\s%]+", proxy.url.host) and (proxy.url.port or 0) < 65_536:
                return proxy
        except (ValueError, httpx.InvalidURL):
            if scheme not in ("http", "https", "socks5", "socks5h"):
                why = f"{scheme!r:.40} is no kind of proxy that is spoken here"
        explained = UnreachableError(
            f"The proxy in {self.source} cannot be used: {why}. Nothing was sent.",
            next_step=f"Correct {self.source}, such as http://proxy.example:3128 or socks5://proxy.example:1080, or "
            "unset it; hosts in NO_PROXY are reached without it.",
        )
        explained.permanent = True
        raise explained


def proxy_for(url: str) -> Proxy | None:
    """The proxy through which requests to `url` go."""
    from urllib.request import getproxies, proxy_bypass

    parts, proxies = urlsplit(url), getproxies()
    found = proxies.get(parts.scheme) or proxies.get("all")
    if not found or proxy_bypass(parts.hostname or ""):
        return None
    names = (name for name, value in variables().items() if value == found and name.lower().endswith("_proxy"))
    found = found.strip()
    # Desktop settings export `socks://`, by which they mean the one version that is left.
    spelled = re.sub(r"^socks:(?=//)", "socks5:", found if "://" in found else f"http://{found}", flags=re.IGNORECASE)
    return Proxy(spelled, next(names, "the system's settings"))


def _system_certificates() -> ssl.SSLContext:
    import truststore

    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def unreachable(url: httpx.URL, error: Exception, hints: Hints) -> UnreachableError:
    """Explain why no connection could be made to where `url` points."""
    origin = f"{url.scheme}://{url.netloc.decode('ascii', 'replace')}"
    reason = _root_of(error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        next_step = "If a company proxy inspects traffic, install its certificate or name it in SSL_CERT_FILE."
    elif isinstance(reason, ssl.SSLError):
        next_step = f"What listens there speaks no https; check the port in {hints.setting}, and any proxy."
    elif proxy := proxy_for(str(url)):
        next_step = f"Check the proxy in {proxy.source}, and NO_PROXY."
    elif is_loopback(str(url)):
        next_step = f"Nothing listens there; start it, for example `{hints.stand_in}`."
    else:
        next_step = f"Check the network, {hints.setting}, and HTTPS_PROXY if you need a proxy."
    explained = UnreachableError(
        f"No connection to {origin}: {_in_words(reason)}. Nothing was sent.", next_step=next_step, retry_safe=True
    )
    explained.permanent = isinstance(reason, ssl.SSLError) or isinstance(error, httpx.UnsupportedProtocol)
    return explained


def _root_of(error: BaseException) -> BaseException:
    """The operating system's own error, if one lies beneath."""
    seen, current = error, error.__cause__ or error.__context__
    while current is not None:
        if isinstance(current, OSError) and str(current):
            seen = current
        current = current.__cause__ or current.__context__
    return seen


def _in_words(reason: BaseException) -> str:
    if isinstance(reason, httpx.PoolTimeout):
        return "too many requests are under way"
    if isinstance(reason, httpx.TimeoutException | TimeoutError):
        return "no answer within 10 seconds"
    return (getattr(reason, "strerror", None) or str(reason) or type(reason).__name__).rstrip(".")
