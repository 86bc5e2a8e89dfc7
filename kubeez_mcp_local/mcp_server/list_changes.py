"""Tells clients that recipes have changed on disk, so that they fetch prompts and resources anew.

Looking begins with the first list a client asks for: whoever has not seen a list need not hear that it is old.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
from mcp.server.subscriptions import InMemorySubscriptionBus, PromptsListChanged, ResourcesListChanged
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
    from mcp.server.session import ServerSession

    from kubeez_mcp_local.jobs.background import Background
    from kubeez_mcp_local.mcp_server.recipes import Recipes

EVERY_SECONDS = 2.0
_STREAM = "subscriptions/listen"
_LISTS = ("prompts/list", "resources/list")


class ListChanges:
    """Watches the recipe files of one server.

    Args:
        recipes: The recipes.
        background: Where the watching goes on.
        sleep: Waits that many seconds.
    """

    def __init__(
        self, recipes: Recipes, background: Background, *, sleep: Callable[[float], Awaitable[object]] = anyio.sleep
    ) -> None:
        self.bus = InMemorySubscriptionBus()
        """Carries the news to clients of the 2026-07-28 protocol."""
        self._recipes = recipes
        self._background = background
        self._sleep = sleep
        self._session: ServerSession | None = None
        self._watching = False

    async def notice(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Middleware: remembers who has seen a list, and begins to watch."""
        listening = ctx.method in _LISTS
        if listening and ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            self._session = ctx.session
        if ctx.method == _STREAM:
            await self._recipes.index()  # its call goes on as long as the client listens
            self._begin()
        answer = await call_next(ctx)
        if listening:
            self._begin()
        return answer

    def _begin(self) -> None:
        if not self._watching and self._background.running:
            self._watching = True
            self._background.start(self._watch)

    async def _watch(self) -> None:
        seen = await self._recipes.remember()
        while True:
            await self._sleep(EVERY_SECONDS)
            now = await self._recipes.stamps()
            if now != seen:
                seen = now
                await self._tell()

    async def _tell(self) -> None:
        await self.bus.publish(PromptsListChanged())
        await self.bus.publish(ResourcesListChanged())
        if self._session is not None:
            await self._session.send_prompt_list_changed()
            await self._session.send_resource_list_changed()
