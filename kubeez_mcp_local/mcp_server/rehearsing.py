"""Rehearsals: the same tools against a sandbox of their own, free, whatever the settings are."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from kubeez_mcp_local.bridge import Bridge
from kubeez_mcp_local.mcp_server.local_client import LocalClient
from kubeez_mcp_local.settings import DEFAULT_BASE_URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from kubeez_mcp_local.settings import Settings

REHEARSAL_SPEED = 1_000.0
"""How many times faster than life jobs of a rehearsal run: a clip of three minutes' work takes a fifth of a second."""


def rehearsal_settings(settings: Settings, folder: Path) -> Settings:
    """`settings` for a rehearsal whose state and outputs go into `folder`; the same ceilings hold as otherwise.

    Sample files lie in `folder`, too, so it may be read.
    """
    return settings.model_copy(
        update={
            "mode": "sandbox",
            "api_key": None,
            "base_url": DEFAULT_BASE_URL,
            "state_dir": folder / "state",
            "output_dir": folder / "outputs",
            "input_dirs": (*settings.input_dirs, folder),
            "ask_above": None,
            "toolsets": ("all",),
            "read_only": False,
            "sandbox_speed": max(settings.sandbox_speed, REHEARSAL_SPEED),
        }
    )


@asynccontextmanager
async def rehearsal(
    settings: Settings, folder: Path, *, recipe: str = "", outputs: Path | None = None
) -> AsyncIterator[tuple[Bridge, LocalClient]]:
    """A sandbox of its own in `folder`, and a client that calls its tools.

    Args:
        settings: Ceilings, input folders and recipes are taken over from them.
        folder: Where everything goes.
        recipe: On whose behalf.
        outputs: Where outputs go instead.
    """
    chosen = rehearsal_settings(settings, folder)
    bridge = Bridge(chosen if outputs is None else chosen.model_copy(update={"output_dir": outputs}))
    async with LocalClient(bridge, name="kubeez-rehearsal", recipe=recipe) as client:
        yield bridge, client
