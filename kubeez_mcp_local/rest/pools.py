"""Connection pools, built on first use: proxies and the system's certificates honoured, nothing logged."""

from __future__ import annotations

import logging
import ssl
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx

from kubeez_mcp_local import __version__
from kubeez_mcp_local.environment import APP
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


class Pools:
    """The HTTP clients of one `RestClient`, shared by all of its requests.

    There are at most three: http, https, and https on loopback. Loopback is never sent through a proxy, and
    an http pool needs no certificates, whose loading takes longer than a whole start-up.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._transport = transport
        self._clients: dict[tuple[str, bool], httpx.AsyncClient] = {}
        self._lock = anyio.Lock()

    async def client_for(self, url: str) -> httpx.AsyncClient:
        place = (url.partition(":")[0], is_loopback(url))
        client = self._clients.get(place)
        if client is not None:
            return client
        async with self._lock:
            if place not in self._clients:
                self._clients[place] = await self._build(*place)
            return self._clients[place]

    async def send(
        self, method: str, url: str, *, stream: bool = False, timeout: httpx.Timeout = TIMEOUT, **parts: Any
    ) -> httpx.Response:
        """Send one request; redirects are never followed.

        Raises:
            UnreachableError, UnusableUrlError: Nothing was sent.
            httpx.HTTPError: It failed later.
        """
        client = await self.client_for(url)
        try:
            request = client.build_request(method, url, timeout=timeout, **parts)
        except httpx.InvalidURL as error:
            raise UnusableUrlError(
                f"This would need an address that is none: {error}.", next_step="Shorten or correct the arguments."
            ) from None
        try:
            response = await client.send(request, stream=True)
        except NOTHING_SENT as error:
            raise unreachable(request.url, error) from error
        return response if stream else await _whole(response)

    async def aclose(self) -> None:
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.aclose()

    async def _build(self, scheme: str, local: bool) -> httpx.AsyncClient:
        for name in ("httpx", "httpcore", "stamina"):
            # Keeps URLs with their queries, and header lists with their keys, out of every log.
            logging.getLogger(name).setLevel(logging.ERROR)
        if scheme == "https" and self._transport is None:
            verify = await anyio.to_thread.run_sync(_system_certificates)
        else:  # trusts nobody, so that https through it would fail instead of going unverified
            verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return httpx.AsyncClient(
            verify=verify,
            trust_env=not local,
            transport=self._transport,
            headers=IDENTITY,
            timeout=TIMEOUT,
            limits=LIMITS,
            follow_redirects=False,
        )


async def _whole(response: httpx.Response) -> httpx.Response:
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


def is_proxied(url: str) -> bool:
    """Whether requests to `url` go through a proxy of the environment or the system."""
    from urllib.request import getproxies, proxy_bypass

    parts, proxies = urlsplit(url), getproxies()
    return bool(proxies.get(parts.scheme) or proxies.get("all")) and not proxy_bypass(parts.hostname or "")


def _system_certificates() -> ssl.SSLContext:
    import truststore

    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def unreachable(url: httpx.URL, error: Exception) -> UnreachableError:
    """Explain why no connection could be made to where `url` points."""
    origin = f"{url.scheme}://{url.netloc.decode('ascii', 'replace')}"
    reason = _root_of(error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        next_step = "If a company proxy inspects traffic, install its certificate or name it in SSL_CERT_FILE."
    elif isinstance(reason, ssl.SSLError):
        next_step = "What listens there speaks no https; check the port in KUBEEZ_BASE_URL, and any proxy."
    elif isinstance(error, httpx.ProxyError):
        next_step = "Check the proxy in HTTPS_PROXY, and NO_PROXY."
    elif is_loopback(str(url)):
        next_step = "Nothing listens there; start it, for example `kubeez-mcp-local sandbox serve`."
    else:
        next_step = "Check the network, KUBEEZ_BASE_URL, and HTTPS_PROXY if you need a proxy."
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
