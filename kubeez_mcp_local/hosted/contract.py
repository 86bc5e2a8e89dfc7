"""What the hosted server's list of tools says a request has to look like; cached, and read anew before money is spent.

As `rest/contract.py` for `/openapi.json`: nothing is sent blindly. The tool has to be listed under the name that is
documented or an older one (hosted-mcp.md §1.2), and its schema has to have a place for every field that is given and
require none that is not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.hosted.session import HostedTool
from kubeez_mcp_local.rest.contract import DAY, Published, PublishedOperation, fields_of, put
from kubeez_mcp_local.rest.errors import NotOfferedError
from kubeez_mcp_local.rest.routes import Request, Route

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kubeez_mcp_local.rest.contract import PublishedField


FRESH = 30.0
"""Seconds for which a list of tools is good enough to pay by."""
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
class HostedContract(Published[HostedTool]):
    """Answers how a route is really called on the hosted server, by what `HostedClient.tools` fetches; as `Contract`.

    Nothing is paid by a list that is not `FRESH`.
    """

    called = "The hosted server's list of tools"
    insists_below = FRESH

    async def fetched(self) -> Any:
        return [vars(tool) for tool in await self.fetch()]

    def read(self, document: Any) -> tuple[HostedTool, ...]:
        return tuple(
            HostedTool(str(row["name"]), str(row["description"]), dict(row["input_schema"]), row["read_only"] is True)
            for row in document
        )

    def changed(self) -> None:
        """The list may have changed: whoever asks next gets a new one."""
        self._changed = True

    async def prepare(self, request: Request) -> Request:
        """The request as it may be sent: its tool's name in `route.path`, its fields in that tool's words.

        Raises:
            NotOfferedError: The server does not offer the operation.
            InvalidArgumentError: It has no field for something that was given.
        """
        return await self.decided(lambda tools: in_their_words(tools, request), _oldest(request.route))

    async def locate(self, route: Route) -> Route:
        """The route with its tool's name as path, where it is offered."""
        return await self.decided(lambda tools: replace(route, path=tool_for(tools, route).name), _oldest(route))

    async def takes(self, route: Route, *names: str) -> bool:
        """Whether the operation is offered and has a field of each of these names."""
        try:
            tool = await self.decided(lambda tools: tool_for(tools, route), _oldest(route))
        except NotOfferedError:
            return False
        return set(names) <= fields_of(tool.input_schema).keys()


def _oldest(route: Route) -> float:
    """How many seconds old the list may be that decides about such a request."""
    return FRESH if route.spends else DAY
