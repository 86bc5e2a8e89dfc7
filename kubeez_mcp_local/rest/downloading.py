"""Fetches a finished file: https or loopback only, never with the key, onto disk in one atomic step.

Before each hop the host is looked up, and a private address is refused. What a name leads to a moment later cannot
reach an inner service either: TLS proves the name, and nothing is read from an address that is not public.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import anyio
import httpx

from kubeez_mcp_local.disk import give_name, part_beside
from kubeez_mcp_local.rest.errors import (
    DownloadFailedError,
    TooLargeError,
    UnreachableError,
)
from kubeez_mcp_local.rest.pools import proxy_for
from kubeez_mcp_local.settings import is_loopback

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from kubeez_mcp_local.rest.pools import Pools

Accept = Callable[[Path, str | None], str | None]

_WRITE = 1024 * 1024
_REDIRECTS = 5
_MISSING_TRIES = 10
_BROKEN_TRIES = 3
# Some local proxies answer every name with an address from the benchmark range and route it themselves.
_ROUTED_BY_PROXIES = ipaddress.ip_network("198.18.0.0/15")


@dataclass(frozen=True)
class Downloaded:
    """What was saved: `size` in bytes, `media_type` as the server named it (may be wrong; `None` if it did not)."""

    size: int
    media_type: str | None


class _NotYetThereError(Exception):
    """404: the copy on the CDN can lag behind the job for some seconds."""


class _PassingError(Exception):
    """Something that may well work a second later."""


@dataclass
class Downloader:
    """Fetches files over the shared pools.

    Attributes:
        own_origin: Origin of the API. Loopback files are fetched only when the API itself is on loopback, so that
            nothing an answer says can make the bridge call other services of this machine.
    """

    pools: Pools
    own_origin: str
    sleep: Callable[[float], Awaitable[None]]

    async def fetch(self, url: str, target: Path, *, max_bytes: int, accept: Accept | None = None) -> Downloaded:
        """Save what `url` holds as `target`, whose folder exists.

        Args:
            accept: Looks at a whole file and the type the server named, in a thread; says why it is not what was to be
                fetched, or `None`. Pages of a gateway and half-made copies pass, so it is fetched again then.

        Raises:
            TooLargeError: It is longer than `max_bytes`; nothing is left behind.
            DownloadFailedError: There is already such a file, which is left alone, or it could not be fetched or saved.
        """
        if await anyio.Path(target).exists():
            raise _exists(target)
        missing = broken = 0
        while True:
            try:
                return await self._attempt(url, target, max_bytes, accept)
            except _NotYetThereError as error:
                missing += 1
                if missing >= _MISSING_TRIES:
                    raise DownloadFailedError(
                        f"The file is not there: {error}.", next_step="Try again later; the job itself is done."
                    ) from None
            except (_PassingError, UnreachableError) as error:
                broken += 1
                if broken >= _BROKEN_TRIES or getattr(error, "permanent", False):
                    raise DownloadFailedError(
                        f"The file could not be fetched: {error}", next_step="Try again later.", retry_safe=True
                    ) from None
            await self.sleep(1.0)

    async def _attempt(self, url: str, target: Path, max_bytes: int, accept: Accept | None) -> Downloaded:
        response = await self._open(url)
        part = part_beside(target)
        try:
            self._check_answer(response, max_bytes)
            size = await _write(response, part, max_bytes)
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower() or None
            wrong = await anyio.to_thread.run_sync(accept, part, kind) if accept else None
            if wrong:
                raise _PassingError(f"what {_place(url)} sends is not the file: {wrong}.")
            await anyio.to_thread.run_sync(give_name, part, target)
        except OSError as error:
            raise _cannot_save(target, error) from error
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise _PassingError(f"the transfer broke off ({type(error).__name__}).") from error
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()
                await anyio.Path(part).unlink(missing_ok=True)
        return Downloaded(size, kind)

    async def _open(self, url: str) -> httpx.Response:
        for _ in range(_REDIRECTS):
            self._check(url)
            await self._check_public(url)
            try:
                response = await self.pools.send("GET", url, stream=True, headers={"Accept-Encoding": "identity"})
            except httpx.HTTPError as error:
                raise _PassingError(f"{_place(url)} did not answer ({type(error).__name__}).") from error
            if not response.is_redirect:
                return await self._from_public(response)
            await response.aclose()
            url = urljoin(url, response.headers["location"])
        raise DownloadFailedError(f"{_place(url)} redirects in circles.", next_step="Report the URL to Kubeez.")

    def _check(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError:
            raise DownloadFailedError(
                "The address of the file is malformed.",
                next_step="The job is done; look for the file on kubeez.com.",
            ) from None
        host = parts.hostname or ""
        if self._is_local(url):
            allowed = parts.scheme in ("http", "https")
        else:
            named_local = host.rstrip(".").endswith("localhost")
            allowed = parts.scheme == "https" and bool(host) and not named_local and not _is_private(host)
        if not allowed:
            raise _off_limits(url, "is not a public https address")

    async def _check_public(self, url: str) -> None:
        """Refuse a host whose name leads into a private network."""
        if self._is_local(url):
            return
        parts = urlsplit(url)
        try:
            found = await anyio.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return  # A proxy may know the name; if nobody does, connecting fails.
        if any(_is_private(address[4][0]) for address in found):
            raise _off_limits(url, "lies in a private network")

    async def _from_public(self, response: httpx.Response) -> httpx.Response:
        """The answer, unless it comes from a private address after all; a proxy's own address says nothing."""
        url = str(response.url)
        stream = response.extensions.get("network_stream")
        peer = stream.get_extra_info("server_addr") if stream else None
        if peer and not self._is_local(url) and not proxy_for(url) and _is_private(peer[0]):
            await response.aclose()
            raise _off_limits(url, "lies in a private network")
        return response

    def _is_local(self, url: str) -> bool:
        return is_loopback(self.own_origin) and (
            is_loopback(url) or (urlsplit(url).hostname or "").endswith(".localhost")
        )

    def _check_answer(self, response: httpx.Response, max_bytes: int) -> None:
        status, place = response.status_code, _place(str(response.url))
        if status == 404:
            raise _NotYetThereError(f"{place} answers 404")
        if status >= 500 or status in (408, 429):
            raise _PassingError(f"{place} answers HTTP {status}.")
        if status != 200:
            raise DownloadFailedError(f"{place} answers HTTP {status}.", next_step="Open the URL in a browser.")
        encoding = response.headers.get("content-encoding", "").strip().lower()
        if encoding not in ("", "identity"):  # its true size is not known before it is unpacked
            raise DownloadFailedError(
                f"{place} sends the file packed ({encoding:.20}) although it was asked not to.",
                next_step="Open the URL in a browser.",
            )
        length = response.headers.get("content-length", "")
        if length.isdecimal() and int(length) > max_bytes:
            raise _too_large(max_bytes, int(length))


async def _write(response: httpx.Response, part: Path, max_bytes: int) -> int:
    size, waiting = 0, bytearray()
    async with await anyio.open_file(part, "xb") as file:
        async for chunk in response.aiter_bytes():
            size += len(chunk)
            if size > max_bytes:
                raise _too_large(max_bytes)
            waiting += chunk
            if len(waiting) >= _WRITE:
                await file.write(bytes(waiting))
                waiting.clear()
        await file.write(bytes(waiting))
    return size


def _is_private(host: str | int) -> bool:
    """Whether `host` is an address, in any spelling that systems take, which is not of the public network."""
    text = str(host).partition("%")[0].rstrip(".")
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        try:
            address = ipaddress.IPv4Address(socket.inet_aton(text))  # 2130706433, 0x7f.1, 0177.0.0.1
        except (OSError, UnicodeError, ValueError):
            return False
    if isinstance(address, ipaddress.IPv6Address):
        within = _ipv4_within(address)
        return not address.is_global or address.is_multicast or (within is not None and _is_private(str(within)))
    if address in _ROUTED_BY_PROXIES:
        return False
    return not address.is_global or address.is_multicast


def _ipv4_within(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for: mapped, compatible, 6to4, or behind NAT64 (RFC 6052)."""
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour
    if int(address) >> 32 in (0, int(ipaddress.IPv6Address("64:ff9b::")) >> 32):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


def _place(url: str) -> str:
    """Scheme and host of a URL; paths and queries may hold secrets."""
    parts = urlsplit(url)
    if parts.hostname:
        return f"{parts.scheme}://{parts.hostname}"
    return f"a {parts.scheme[:20]}: URL" if parts.scheme else "the URL"


def _off_limits(url: str, why: str) -> DownloadFailedError:
    message = f"{_place(url)} {why}, so nothing is fetched from there."
    return DownloadFailedError(message, next_step="Only https files of public servers are downloaded.")


def _exists(target: Path) -> DownloadFailedError:
    message = f"{target} exists already and was left alone."
    return DownloadFailedError(message, next_step="Choose another name.", code="target_exists")


def _too_large(max_bytes: int, size: int | None = None) -> TooLargeError:
    actual = f" ({size:,} bytes)" if size else ""
    return TooLargeError(f"The file{actual} is longer than the {max_bytes:,} bytes allowed.", next_step="Open its URL.")


def _cannot_save(target: Path, error: OSError) -> DownloadFailedError:
    if isinstance(error, FileExistsError):
        return _exists(target)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason, next_step = "the disk is full", "Free some space, then save it again; the job is paid and kept."
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        reason, next_step = "the folder cannot be written to", "Choose another KUBEEZ_OUTPUT_DIR or mend its rights."
    else:
        reason, next_step = error.strerror or type(error).__name__, "Check the folder."
    message = f"Nothing can be saved in {target.parent}: {reason}."
    return DownloadFailedError(message, next_step=next_step, retry_safe=True, code="cannot_save")
