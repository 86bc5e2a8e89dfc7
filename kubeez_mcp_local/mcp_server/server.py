"""The MCP server: tools, prompts, resources and completion on one `MCPServer`, instructions, and news of recipes."""

from __future__ import annotations

import logging
import time
from base64 import b64encode
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
from mcp import MCPError
from mcp.server import MCPServer, NotificationOptions
from mcp.server.apps import Apps
from mcp.server.subscriptions import InMemorySubscriptionBus, PromptsListChanged, ResourcesListChanged
from mcp.types import Icon
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

from kubeez_mcp_local import __version__
from kubeez_mcp_local.bridge import UnusableBridge
from kubeez_mcp_local.logs import on_behalf_of
from kubeez_mcp_local.mcp_server import app
from kubeez_mcp_local.mcp_server.call import Call
from kubeez_mcp_local.mcp_server.inventory import Toolbox, selected
from kubeez_mcp_local.mcp_server.prompts import Prompts, Recipes
from kubeez_mcp_local.mcp_server.resources import Resources, SkillsOverMcp, skill_names
from kubeez_mcp_local.mcp_server.revisions import fit_to_revision
from kubeez_mcp_local.mcp_server.subscriptions import JobSubscriptions
from kubeez_mcp_local.mcp_server.tools import ALL_TOOLS, HOSTED_TOOLS
from kubeez_mcp_local.runs.active import ActiveRuns
from kubeez_mcp_local.settings import Mode
from kubeez_mcp_local.text import LONGEST_NAME, amount, on_one_line, spoken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
    from mcp.server.lowlevel.helper_types import ReadResourceContents
    from mcp.server.lowlevel.server import Server
    from mcp.server.mcpserver import Context
    from mcp.server.models import InitializationOptions
    from mcp.server.session import ServerSession
    from mcp.types import CallToolResult, GetPromptResult, InputRequiredResult, Prompt, Resource, ResourceTemplate, Tool
    from pydantic import AnyUrl

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.jobs.sending import Background
    from kubeez_mcp_local.settings import Settings

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 2.0
"""How often recipe files are looked at for changes."""
_STREAM = "subscriptions/listen"
_LISTS = ("prompts/list", "resources/list")

# What every conversation starts from. The first 512 characters stand alone, because some hosts cut there.
_RULES = """\
Kubeez makes images, video, music and speech for credits. {mode} {asking} generate_* returns a generation_id at once;
wait_for_generation(id) returns the finished files (at most 45 s; call again while it runs). Never repeat a paid call to
find out what became of it: get_status. Local paths work wherever a media URL does.
"""
_LIMITS = """\
Ceilings set by the user, which no argument can raise: {call} a call, {day} a day. When a tool answers with a question
and an approval code, show the question to the user and pass the code back only after they agree; one yes can cover
several calls, and the answers say how. A price is exact unless it says "about". Files are saved to {folder};
view_media shows a small preview. Model ids, ratios and durations come from get_models.
"""
_RECIPES = " Ready workflows with budgets are the prompts of this server, and list_recipes."
_EXPLAINED = """\
Kubeez makes images, video, music and speech for credits, but this server cannot work now. {trouble} Tell the user; once
it is mended, the server has to be started again. Until then tools answer with this, and nothing is charged.
"""
_MODES = {
    Mode.LIVE: "Mode: live, real credits.",
    Mode.SANDBOX: "Mode: sandbox, a free rehearsal with marked stand-in files; `kubeez-mcp-local login` goes live.",
}


class KubeezServer(MCPServer["Bridge"]):
    """Offers one bridge over MCP. Tools, prompts and resources are built when they are first asked for.

    Args:
        bridge: The parts of the product; opened and closed with the server's lifespan.
        opened: Whether the bridge is open already, and stays open when this server ends.
    """

    def __init__(self, bridge: Bridge, *, opened: bool = False) -> None:
        self.recipes = recipes = Recipes(bridge.published)
        self._runs = ActiveRuns(bridge, KubeezServer)
        self.changes = ListChanges(recipes, bridge.background)
        skills = SkillsOverMcp(recipes)
        super().__init__(
            "kubeez",
            title="Kubeez (local)",
            version=__version__,
            instructions=instructions(bridge.published)
            if not isinstance(bridge, UnusableBridge)
            else _EXPLAINED.format(trouble=bridge.trouble),
            website_url="https://kubeez.com",
            icons=[_icon()],
            lifespan=self._lifespan,
            extensions=[skills, Apps()],
            subscriptions=self.changes.bus,
            middleware=[named_in_the_log, fit_to_revision, self.changes.notice],
            log_level="WARNING",
        )
        self._bridge = bridge
        self._opened = opened
        published = bridge.published
        hosted = HOSTED_TOOLS if published.hosted_tools == "all" and published.hosted_door else ()
        self._toolbox = Toolbox(selected((*ALL_TOOLS, *hosted), published), ALL_TOOLS)
        self._prompts = Prompts(bridge, recipes, skill_names)
        self._resources = Resources(bridge, recipes, skills)
        JobSubscriptions(self._resources, self.changes.bus).serve(self.lowlevel)
        self.completion()(self._prompts.complete)  # type: ignore[no-untyped-call]  # untyped in the SDK

    @property
    def lowlevel(self) -> Server[Bridge]:
        """The SDK's inner server; 2.3 has no public accessor."""
        return self._lowlevel_server

    @property
    def initialization(self) -> InitializationOptions:
        """What clients of the handshake revisions are told; lists are said to change, as they do."""
        changing = NotificationOptions(tools_changed=True, prompts_changed=True, resources_changed=True)
        return self.lowlevel.create_initialization_options(changing)

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
        return await self._toolbox.call(self._call(context), name, arguments)

    async def list_prompts(self) -> list[Prompt]:
        return await self._prompts.listing()

    async def get_prompt(
        self, name: str, arguments: dict[str, Any] | None = None, context: Context[Bridge, Any] | None = None
    ) -> GetPromptResult:
        return await self._prompts.get(name, arguments or {})

    async def list_resources(self) -> list[Resource]:
        return await self._resources.listing()

    async def list_resource_templates(self) -> list[ResourceTemplate]:
        return [*self._resources.templates(), *app.templates()]

    async def read_resource(
        self, uri: AnyUrl | str, context: Context[Bridge, Any] | None = None
    ) -> Iterable[ReadResourceContents]:
        if app.serves(str(uri)):
            return [await app.read(self._call(context), str(uri))]
        return [await self._resources.read(str(uri))]

    def _call(self, context: Context[Bridge, Any] | None) -> Call:
        assert context is not None, "there is always a client"
        return Call(self._bridge, context, self.recipes, self._runs)


async def named_in_the_log(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Middleware: what is logged on behalf of a request names it; at level info, also what it was and how it ended."""
    if ctx.request_id is None:
        return await call_next(ctx)
    with on_behalf_of(ctx.request_id):
        named = (ctx.params or {}).get("name") if ctx.method in ("tools/call", "prompts/get") else None
        what = f"{ctx.method} {on_one_line(named, LONGEST_NAME)}" if isinstance(named, str) else ctx.method
        began, outcome = time.monotonic(), "broke off"
        try:
            answer = await call_next(ctx)
            outcome = "refused" if isinstance(answer, dict) and answer.get("isError") else "answered"
        except MCPError as error:
            outcome = f"error {error.error.code}"
            raise
        finally:
            log.info("%s: %s after %.0f ms", what, outcome, (time.monotonic() - began) * 1000)
        return answer


def _icon() -> Icon:
    """The server's own, which stands in its answer to the handshake; tools have none, since each would be paid for."""
    drawing = (files("kubeez_mcp_local") / "web" / "static" / "icon.svg").read_bytes()
    return Icon(
        src=f"data:image/svg+xml;base64,{b64encode(drawing).decode()}", mime_type="image/svg+xml", sizes=["any"]
    )


def instructions(settings: Settings) -> str:
    """The server's instructions for `settings`."""
    rules = _RULES.format(mode=_MODES[settings.effective_mode], asking=asking(settings))
    limits = _LIMITS.format(
        call=spoken(settings.max_credits_per_call), day=amount(settings.max_credits_per_day), folder=settings.output_dir
    )
    recipes = _RECIPES if {"all", "recipes"} & set(settings.toolsets) else ""
    return f"{rules.replace(chr(10), ' ').strip()}\n\n{limits.replace(chr(10), ' ').strip()}{recipes}"


def asking(settings: Settings) -> str:
    """Who asks the user for a yes, and when: the one place that says so to models."""
    above = settings.asks_above
    if above == 0:
        return (
            "The first generate_* call is the quote: it asks the user, with the price, and pays only after a yes. So "
            "neither ask nor estimate before it."
        )
    if above < float("inf"):
        return (
            f"Above {spoken(above)} a generate_* call asks the user itself, with the price, and pays only after a yes. "
            "Cheaper ones pay at once: estimate, and get a yes first."
        )
    return "Nobody needs to be asked: prices are play money."


@dataclass
class ListChanges:
    """Tells clients that recipes have changed on disk, so that they fetch prompts and resources anew.

    Looking begins with the first list a client asks for: whoever has not seen a list need not hear that it is old.

    Attributes:
        background: Where the watching goes on.
        tools_listed: Whether the client has had the list of tools.
        requests, in_hand: How many requests there were, and how many of them are not answered yet; without streams.
        on_change: Awaited after clients were told.
        bus: Carries the news to clients of the 2026-07-28 protocol.
    """

    recipes: Recipes
    background: Background
    tools_listed: bool = False
    requests: int = 0
    in_hand: int = 0
    on_change: Callable[[], Awaitable[object]] = anyio.lowlevel.checkpoint
    sleep: Callable[[float], Awaitable[object]] = anyio.sleep
    bus: InMemorySubscriptionBus = field(default_factory=InMemorySubscriptionBus)
    _session: ServerSession | None = None
    _watching: bool = False
    _known: str | None = None

    def go_on(self, known: str) -> None:
        """Take over from the front, which has shown the client lists of the recipe files that have the digest
        `known`."""
        self._known = known

    async def notice(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Middleware: remembers who has seen a list, and begins to watch."""
        listening = ctx.method in _LISTS or self._known is not None
        if listening and ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            self._session = ctx.session
        if ctx.method == _STREAM:
            await self.recipes.index()  # its call goes on as long as the client listens
            self._begin()
        counts = ctx.request_id is not None and ctx.method != _STREAM
        self.requests += counts
        self.in_hand += counts
        try:
            answer = await call_next(ctx)
        finally:
            self.in_hand -= counts
        self.tools_listed |= ctx.method == "tools/list"
        if listening:
            self._begin()
        return answer

    def _begin(self) -> None:
        if not self._watching and self.background.running:
            self._watching = True
            self.background.start(self._watch)

    async def _watch(self) -> None:
        from kubeez_mcp_local.cookbook.library import digest

        if self._known is not None:
            await self.recipes.index()
        seen = await self.recipes.remember()
        if self._known not in (None, digest(seen)):
            await self._tell()
        while True:
            await self.sleep(LOOK_EVERY_SECONDS)
            now = await self.recipes.stamps()
            if now != seen:
                seen = now
                await self._tell()

    async def _tell(self) -> None:
        await self.bus.publish(PromptsListChanged())
        await self.bus.publish(ResourcesListChanged())
        if self._session is not None:
            await self._session.send_prompt_list_changed()
            await self._session.send_resource_list_changed()
        await self.on_change()
