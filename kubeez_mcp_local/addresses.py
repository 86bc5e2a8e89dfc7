"""Where requests go, and the marks that `login` leaves in the config file of who logged in there."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

DEFAULT_BASE_URL = "https://api.kubeez.com"
DEFAULT_MCP_URL = "https://mcp.kubeez.com/mcp"


def is_loopback(url: str) -> bool:
    """Whether `url` points at this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _clean_url(url: str, example: str) -> str:
    url = url.strip().rstrip("/")
    parts = urlsplit(url)
    _ = parts.port  # raises where it is no port
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"must be an http(s) {example}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must not carry a user name, a password, a query or a fragment")
    return url


def clean_origin(url: str) -> str:
    url = _clean_url(url, f"origin such as {DEFAULT_BASE_URL}")
    if urlsplit(url).path.endswith("/v1"):
        raise ValueError("must end before /v1, which is part of every route")
    return url


def clean_mcp_url(url: str) -> str:
    url = _clean_url(url, f"address such as {DEFAULT_MCP_URL}")
    if not url.startswith("https://") and not is_loopback(url):
        raise ValueError("would send your token unencrypted: only https, or a loopback address, will do")
    return url


@dataclass(frozen=True)
class Login:
    """The mark that `login` leaves where it keeps a key in the system's keyring; no secret.

    Attributes:
        account: Fingerprint of the account whose key that is (`jobs.job.fingerprint`).
        origin: The API it is for, and for no other.
    """

    account: str
    origin: str

    def __str__(self) -> str:
        return f"{self.account}@{self.origin}"


@dataclass(frozen=True)
class SignIn:
    """The mark that `login --hosted` leaves; no secret.

    Attributes:
        account: Name of the account that signed in (`hosted.tokens.account_of`).
        url: The hosted server it is for, and for no other.
    """

    account: str
    url: str

    def __str__(self) -> str:
        return f"{self.account}@{self.url}"


def login_of(value: object) -> object:
    if not isinstance(value, str):
        return value
    account, _, origin = value.strip().partition("@")
    if not re.fullmatch(r"live-[0-9a-f]{16}", account):
        raise ValueError("is nothing that `kubeez-mcp-local login` writes; run that again")
    return Login(account, clean_origin(origin))


def sign_in_of(value: object) -> object:
    if not isinstance(value, str):
        return value
    account, _, url = value.strip().partition("@")
    if not re.fullmatch(r"hosted-[0-9a-f]{16}", account):
        raise ValueError("is nothing that `kubeez-mcp-local login --hosted` writes; run that again")
    return SignIn(account, clean_mcp_url(url))
