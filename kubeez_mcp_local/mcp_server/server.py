"""The MCP server: the inventory's tools, recipes as prompts, resources and completion on one `MCPServer`."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from mcp.server import MCPServer

from kubeez_mcp_local import __version__
from kubeez_mcp_local.mcp_server.binding import Toolbox
from kubeez_mcp_local.mcp_server.call import Call
from kubeez_mcp_local.mcp_server.instructions import instructions
from kubeez_mcp_local.mcp_server.inventory import selected
from kubeez_mcp_local.mcp_server.list_changes import ListChanges
from kubeez_mcp_local.mcp_server.prompts import Prompts
from kubeez_mcp_local.mcp_server.recipes import Recipes
from kubeez_mcp_local.mcp_server.resources import Resources
from kubeez_mcp_local.mcp_server.skills_over_mcp import SkillsOverMcp
from kubeez_mcp_local.mcp_server.tools.inventory import ALL_TOOLS
from kubeez_mcp_local.runs.active import ActiveRuns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from mcp.server.lowlevel.helper_types import ReadResourceContents
    from mcp.server.lowlevel.server import Server
    from mcp.server.mcpserver import Context
    from mcp.types import CallToolResult, GetPromptResult, InputRequiredResult, Prompt, Resource, ResourceTemplate, Tool
    from pydantic import AnyUrl

    from kubeez_mcp_local.bridge import Bridge


class KubeezServer(MCPServer["Bridge"]):
    """Offers one bridge over MCP. Tools, prompts and resources are built when they are first asked for.

    Args:
        bridge: The parts of the product; opened and closed with the server's lifespan.
        opened: Whether the bridge is open already, and stays open when this server ends.
    """

    def __init__(self, bridge: Bridge, *, opened: bool = False) -> None:
        self._recipes = recipes = Recipes(bridge.settings)
        self._runs = ActiveRuns(bridge, KubeezServer)
        self._changes = ListChanges(recipes, bridge.background)
        skills = SkillsOverMcp(recipes)
        super().__init__(
            "kubeez",
            title="Kubeez (local)",
            version=__version__,
            instructions=instructions(bridge.settings),
            website_url="https://kubeez.com",
            lifespan=self._lifespan,
            extensions=[skills],
            subscriptions=self._changes.bus,
            middleware=[self._changes.notice],
            log_level="WARNING",
        )
        self._bridge = bridge
        self._opened = opened
        self._toolbox = Toolbox(selected(ALL_TOOLS, bridge.settings), ALL_TOOLS)
        self._prompts = Prompts(bridge, recipes)
        self._resources = Resources(bridge, recipes, skills)
        self.completion()(self._prompts.complete)  # type: ignore[no-untyped-call]  # untyped in the SDK

    @property
    def lowlevel(self) -> Server[Bridge]:
        """The SDK's inner server; 2.3 has no public accessor."""
        return self._lowlevel_server

    @asynccontextmanager
    async def _lifespan(self, _: MCPServer[Bridge]) -> AsyncIterator[Bridge]:
        if self._opened:
            yield self._bridge
            return
        async with self._bridge as bridge:
            yield bridge

    async def list_tools(self) -> list[Tool]:
        return self._toolbox.listing()

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Bridge, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        assert context is not None, "tools are called through a client"
        call = Call(self._bridge, context, self._recipes, self._runs)
        return await self._toolbox.call(call, name, arguments)

    async def list_prompts(self) -> list[Prompt]:
        return await self._prompts.listing()

    async def get_prompt(
        self, name: str, arguments: dict[str, Any] | None = None, context: Context[Bridge, Any] | None = None
    ) -> GetPromptResult:
        return await self._prompts.get(name, arguments or {})

    async def list_resources(self) -> list[Resource]:
        return await self._resources.listing()

    async def list_resource_templates(self) -> list[ResourceTemplate]:
        return self._resources.templates()

    async def read_resource(
        self, uri: AnyUrl | str, context: Context[Bridge, Any] | None = None
    ) -> Iterable[ReadResourceContents]:
        return [await self._resources.read(str(uri))]
