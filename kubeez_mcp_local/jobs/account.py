"""Which account a ledger row belongs to, without ever holding the key."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from kubeez_mcp_local.settings import Mode

if TYPE_CHECKING:
    from kubeez_mcp_local.settings import Settings

SANDBOX = "sandbox"


def fingerprint(api_key: str, base_url: str) -> str:
    """A short one-way name of a key at an API origin. Two keys, or one key at two origins, are two accounts."""
    return "live-" + _short(f"{api_key}\n{base_url}")


def account_of(settings: Settings) -> str:
    """The account that `settings` spend from; each standalone sandbox is an account of its own."""
    if settings.effective_mode is Mode.SANDBOX:
        origin = settings.standalone_sandbox
        return f"{SANDBOX}-{_short(origin)}" if origin else SANDBOX
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    return fingerprint(key, settings.base_url)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
