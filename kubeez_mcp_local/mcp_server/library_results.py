"""What tools about the user's own library, and about voices, answer."""

from __future__ import annotations

from typing import Any

from kubeez_mcp_local.mcp_server.results import Result


class AssetsResult(Result):
    """Named files."""

    published = ("assets",)

    assets: list[dict[str, Any]]
    used_bytes: int


class LibraryResult(Result):
    """What was changed in the library."""

    published = ("entry",)

    action: str
    kind: str
    entry: dict[str, Any]


class CharactersResult(Result):
    """Characters."""

    published = ("characters",)

    characters: list[dict[str, Any]]
    count: int


class VoicesResult(Result):
    """Voices."""

    published = ("voices",)

    voices: list[dict[str, Any]]
    count: int


class VoiceResult(Result):
    """One voice."""

    published = ("voice", "message")

    voice: dict[str, Any]
    message: str
