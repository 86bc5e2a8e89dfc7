"""What the hosted server's list of tools says a request has to look like; cached, and read anew before money is spent.

As `rest/contract.py` for `/openapi.json`: nothing is sent blindly. The tool has to be listed under the name that is
documented or an older one (hosted-mcp.md §1.2), and its schema has to have a place for every field that is given and
require none that is not.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from kubeez_mcp_local.disk import replace_file
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.hosted.session import HostedTool
from kubeez_mcp_local.rest.contract import DAY, PublishedOperation, fields_of, put
from kubeez_mcp_local.rest.errors import NotOfferedError
from kubeez_mcp_local.rest.routes import Request, Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from pathlib import Path

    from kubeez_mcp_local.rest.contract import PublishedField

logger = logging.getLogger(__name__)
T = TypeVar("T")

FRESH = 30.0
"""Seconds for which a list of tools is good enough to pay by."""
_RECENT = 600.0
_THROUGH = "the hosted server"
_NAMES: Mapping[str, tuple[str, ...]] = {
    "models": ("get_models",),
    "balance": ("get_balance",),
    "generations": ("get_generations",),
    "media_status": ("get_status", "get_generation_status"),
    "music_status": ("get_status", "get_music_status"),
    "separation_status": ("get_status", "get_separation_status"),
    "estimate": ("estimate", "estimate_generation_cost", "get_generation_estimate"),
}
"""What the tools of our routes are called, the current name first; any other has the name of its route."""


@dataclass(frozen=True)
class HostedSnapshot:
    """The list of tools as it was `age_seconds` ago."""

    tools: tuple[HostedTool, ...]
    age_seconds: float


def tool_for(tools: Iterable[HostedTool], route: Route) -> HostedTool:
    """The listed tool that does what `route` does.

    Raises:
        NotOfferedError: None is.
    """
    listed = {tool.name: tool for tool in tools}
    for name in (*_NAMES.get(route.name, (route.name,)), route.path):
        if name in listed:
            return listed[name]
    raise NotOfferedError(route, "it lists no such tool", through=_THROUGH)


def operation_of(tool: HostedTool) -> PublishedOperation:
    return PublishedOperation("POST", tool.name, tool.name, fields_of(tool.input_schema))


def in_their_words(tools: Iterable[HostedTool], request: Request) -> Request:
    """`request` under the name and in the words of the tool that answers it; the name stands in `route.path`.

    Raises:
        NotOfferedError: No such tool is listed, or it requires what we do not have.
        InvalidArgumentError: It has no field for something that was given, or not for that value.
    """
    route = request.route
    tool = tool_for(tools, route)
    operation = operation_of(tool)
    try:
        body = put(operation, route, _by_fields(dict(request.body), operation.fields or {}))
    except NotOfferedError as error:
        reason = error.reason.replace("POST ", "")
        raise NotOfferedError(route, reason, through=_THROUGH) from None
    return Request(replace(route, path=tool.name), body)


def _by_fields(body: dict[str, Any], fields: Mapping[str, PublishedField]) -> dict[str, Any]:
    """Lines of a dialogue as a text, which is what the hosted tool takes; several lines cannot be one."""
    lines = body.get("dialogue")
    if "text" not in fields or not isinstance(lines, list | tuple) or not lines:
        return body
    if len(lines) > 1:
        if "dialogue" in fields:
            return body
        raise InvalidArgumentError(
            "dialogue", "the hosted server takes one text, not several lines.", next_step="Send each line by itself."
        )
    del body["dialogue"]
    return {**lines[0], **body}


@dataclass
class HostedContract:
    """Answers how a route is really called on the hosted server; as `rest.contract.Contract`.

    Attributes:
        fetch_tools: Reads the list of tools, such as `HostedClient.tools`.
        cache_file: Where the last list is kept; one file for each account.
        clock: Seconds since 1970.
    """

    fetch_tools: Callable[[], Awaitable[list[HostedTool]]]
    cache_file: Path
    clock: Callable[[], float] = time.time
    _kept: tuple[float, tuple[HostedTool, ...]] | None = None
    _changed: bool = False
    _lock: anyio.Lock = field(default_factory=anyio.Lock)

    def changed(self) -> None:
        """The list may have changed: whoever asks next gets a new one."""
        self._changed = True

    async def prepare(self, request: Request) -> Request:
        """The request as it may be sent: its tool's name in `route.path`, its fields in that tool's words.

        Raises:
            NotOfferedError: The server does not offer the operation.
            InvalidArgumentError: It has no field for something that was given.
        """
        return await self._decide(request.route, lambda tools: in_their_words(tools, request))

    async def locate(self, route: Route) -> Route:
        """The route with its tool's name as path, where it is offered."""
        return await self._decide(route, lambda tools: replace(route, path=tool_for(tools, route).name))

    async def takes(self, route: Route, *names: str) -> bool:
        """Whether the operation is offered and has a field of each of these names."""
        try:
            tool = await self._decide(route, lambda tools: tool_for(tools, route))
        except NotOfferedError:
            return False
        return set(names) <= fields_of(tool.input_schema).keys()

    async def snapshot(self, *, max_age: float = DAY) -> HostedSnapshot:
        """What the server lists, at most `max_age` seconds old; older only while it cannot be read, and never where
        `max_age` is `FRESH` or less."""
        async with self._lock:
            if self._kept is None:
                self._kept = await anyio.to_thread.run_sync(_load, self.cache_file)
            kept = self._kept
            if kept is None or self._changed or not 0 <= self.clock() - kept[0] <= max_age:
                await self._refresh(insist=max_age <= FRESH)
            fetched_at, tools = self._kept or (0.0, ())
            return HostedSnapshot(tools, max(0.0, self.clock() - fetched_at))

    async def _refresh(self, *, insist: bool) -> None:
        self._changed = False
        try:
            tools = tuple(await self.fetch_tools())
        except BaseException as error:
            self._changed = True
            if insist or self._kept is None or not isinstance(error, KubeezError):
                raise
            logger.warning("The hosted server's tools could not be read anew (%s); the last list is used.", error.code)
            return
        self._kept = (self.clock(), tools)
        await anyio.to_thread.run_sync(_store, self.cache_file, *self._kept)

    async def _decide(self, route: Route, decide: Callable[[tuple[HostedTool, ...]], T]) -> T:
        snapshot = await self.snapshot(max_age=FRESH if route.spends else DAY)
        try:
            return decide(snapshot.tools)
        except (NotOfferedError, InvalidArgumentError):
            if snapshot.age_seconds <= (FRESH if route.spends else _RECENT):
                raise
        return decide((await self.snapshot(max_age=_RECENT)).tools)


def _load(file: Path) -> tuple[float, tuple[HostedTool, ...]] | None:
    try:
        kept = json.loads(file.read_bytes())
        tools = tuple(
            HostedTool(str(row["name"]), str(row["description"]), dict(row["input_schema"]), row["read_only"] is True)
            for row in kept["tools"]
        )
        return float(kept["fetched_at"]), tools
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _store(file: Path, fetched_at: float, tools: tuple[HostedTool, ...]) -> None:
    """Keep the list; a folder that cannot be written to only costs another request next time."""
    try:
        replace_file(file, json.dumps({"fetched_at": fetched_at, "tools": [vars(tool) for tool in tools]}))
    except OSError as error:
        logger.warning("The hosted server's tools could not be kept in %s: %s", file.name, error.strerror)
