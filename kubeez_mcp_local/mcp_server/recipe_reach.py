"""How runs of recipes reach tools: as one more client of this server, or of one in a sandbox."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.mcp_server.local_client import LocalClient
    from kubeez_mcp_local.mcp_server.recipe_runs import Tools

_NOT_AGREED = "Its price was not agreed to; run it again to be asked."


class LocalReach:
    """Connections within this process; imported when they are opened, most servers never run a recipe.

    Args:
        bridge: Whose tools.
    """

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def bridge(self, recipe: str, client: str, *, agreed: bool = False) -> Tools:
        """The tools of the bridge itself; when the user has `agreed` to the run, their questions are answered yes."""

        async def yes(_: str) -> bool:
            return True

        @asynccontextmanager
        async def opened() -> AsyncIterator[tuple[Bridge, LocalClient]]:
            from kubeez_mcp_local.mcp_server.local_client import LocalClient

            name = client or "run_recipe"
            ask = yes if agreed else None
            async with LocalClient(
                self._bridge, name=name, recipe=recipe, ask=ask, cannot_ask=_NOT_AGREED, opened=True
            ) as tools:
                yield self._bridge, tools

        return opened

    def rehearsal(self, recipe: str) -> Tools:
        """The tools of a sandbox; its outputs lie beside the real ones, in a folder of their own."""
        from kubeez_mcp_local.mcp_server.rehearsing import rehearsal

        settings = self._bridge.settings
        folder, outputs = settings.state_dir / "rehearsals", settings.output_dir / "rehearsals"
        return lambda: rehearsal(settings, folder, recipe=recipe, outputs=outputs)
