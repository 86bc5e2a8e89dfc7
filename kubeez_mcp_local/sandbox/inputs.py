"""What a request's media URLs point at."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from kubeez_mcp_local.sandbox.refusals import invalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubeez_mcp_local.sandbox.books import Books

_KINDS = {
    "image": ("jpg", "jpeg", "png", "webp", "gif", "avif", "heic"),
    "video": ("mp4", "mov", "mkv", "webm", "m4v"),
    "audio": ("mp3", "wav", "m4a", "ogg", "oga", "flac", "aac", "weba"),
}


@dataclass(frozen=True)
class Source:
    """One input. `name` is the stored file behind it, None for a URL elsewhere; `kind` is None when nothing tells."""

    url: str
    kind: str | None
    name: str | None = None
    seconds: float | None = None
    size: tuple[int, int] | None = None


def is_loopback_host(host: str | None) -> bool:
    """Whether `host`, without its port, names this machine."""
    address = ip_address_of(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def ip_address_of(host: str | None) -> IPv4Address | IPv6Address | None:
    """The address that `host` is, or None when it is a name; `127.0.0.1.example.com` is a name."""
    try:
        return ip_address(host or "")
    except ValueError:
        return None


def look_up(books: Books, url: str) -> Source:
    """Find out what `url` is; reads the books, never the network.

    Raises:
        Refusal: 400 when it is neither an https URL nor a file of this stand-in.
    """
    parts = urlsplit(url)
    if is_loopback_host(parts.hostname):
        name = unquote(parts.path).removeprefix("/files/")
        file = books.file_named(name) if parts.path.startswith("/files/") else None
        if file is None:
            raise invalid(f"Source media could not be fetched: {url}")
        size = (file.width, file.height) if file.width and file.height else None
        return Source(url, file.kind, file.path, file.seconds, size)
    if parts.scheme != "https" or not parts.hostname:
        raise invalid(f"Source media URLs must be https URLs: {url}")
    ending = PurePosixPath(parts.path).suffix.removeprefix(".").lower()
    return Source(url, next((kind for kind, endings in _KINDS.items() if ending in endings), None))


def look_up_all(books: Books, urls: str | Sequence[str] | None) -> tuple[Source, ...]:
    """Look up none, one or many, order kept."""
    listed = [urls] if isinstance(urls, str) else list(urls or ())
    return tuple(look_up(books, url) for url in listed)
