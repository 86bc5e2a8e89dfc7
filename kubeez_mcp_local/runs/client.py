"""An MCP client inside this process: whoever uses it can do what any client can do, and nothing else.

Recipes and the command line call tools through it. It is a `cookbook.steps.ToolCaller`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol, Self

from mcp import Client, MCPError
from mcp.types import ElicitResult, Implementation

from kubeez_mcp_local import __version__
from kubeez_mcp_local.bridge.caller import RECIPE, RUN
from kubeez_mcp_local.cookbook.steps import ToolCallError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp.client.session import ClientRequestContext
    from mcp.server import MCPServer
    from mcp.shared.dispatcher import ProgressFnT
    from mcp.types import CallToolResult, ElicitRequestFormParams, ElicitRequestURLParams, RequestParamsMeta

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.jobs.order import RunCall

Ask = Callable[[str], Awaitable[bool]]
"""Puts a question about credits to the user; the answer is whether to spend them."""


class ServerFactory(Protocol):
    """Makes the server whose tools are called; `opened` as for `LocalClient`."""

    def __call__(self, bridge: Bridge, *, opened: bool = False) -> MCPServer[Bridge]: ...


class LocalClient:
    """Calls the tools of one bridge. Use as an async context manager.

    Args:
        bridge: The parts of the product.
        server: Makes a server for them.
        name: What the ledger calls this client.
        recipe: The recipe on whose behalf it calls, for the ledger; empty without one.
        ask: Asks the user; without it nobody can be asked.
        cannot_ask: What to do when consent is needed and nobody can be asked; one sentence.
        opened: Whether `bridge` is open already, and stays open afterwards.
    """

    def __init__(
        self,
        bridge: Bridge,
        server: ServerFactory,
        *,
        name: str,
        recipe: str = "",
        ask: Ask | None = None,
        cannot_ask: str = "",
        opened: bool = False,
    ) -> None:
        self._recipe = recipe
        self._ask = ask
        self._cannot_ask = cannot_ask
        self._stack = AsyncExitStack()
        self._client = Client(
            server(bridge, opened=opened),
            client_info=Implementation(name=name, version=__version__),
            elicitation_callback=self._answer if ask else None,
        )

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._client)
        return self

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            await self._stack.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            if error is None or group.subgroup(lambda one: one is error) is None:
                raise
            # the SDK wraps what the caller raised; returning lets it go on as it was

    async def tools(self) -> tuple[str, ...]:
        """Names of the tools on offer."""
        return tuple(tool.name for tool in (await self._client.list_tools()).tools)

    async def __call__(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        *,
        run: RunCall | None = None,
        progress: ProgressFnT | None = None,
    ) -> dict[str, Any]:
        """Call a tool and return its structured result.

        Args:
            tool: Its name.
            arguments: Its arguments.
            run: Names a paid call of a run: a second call of that name returns the job of the first.
            progress: Told of seconds so far, expected seconds (or `None`) and a few words, if the tool reports any.

        Raises:
            ToolCallError: The tool refused, with the tool's own code and next step; or it needs a yes that nobody
                can give.
        """
        try:
            answer = await self._client.call_tool(
                tool, dict(arguments), progress_callback=progress, meta=_meta(run, self._recipe)
            )
        except MCPError as error:
            raise ToolCallError(error.message, code="tool_unknown") from None
        result = answer.structured_content or {}
        if answer.is_error:
            raise _refusal(result, answer)
        if result.get("status") == "approval_required":
            question = " ".join(result.get("notes") or ["This call needs a yes."])
            raise ToolCallError(question, code="approval_required", next_step=self._cannot_ask)
        return result

    async def _answer(
        self, context: ClientRequestContext, params: ElicitRequestFormParams | ElicitRequestURLParams
    ) -> ElicitResult:
        assert self._ask is not None, "only called by a client that said it can ask"
        if await self._ask(params.message):
            return ElicitResult(action="accept", content={"spend": True})
        return ElicitResult(action="decline")


def _refusal(result: Mapping[str, Any], answer: CallToolResult) -> ToolCallError:
    error = result.get("error")
    if not isinstance(error, dict):
        return ToolCallError(" ".join(getattr(block, "text", "") for block in answer.content) or "the tool failed")
    spent = error.get("credits_spent")
    refused = ToolCallError(
        str(error.get("message")),
        code=str(error.get("code")),
        next_step=str(error.get("next_step") or ""),
        spent=spent if isinstance(spent, bool) else None,
        retry_safe=bool(error.get("retry_safe")),
    )
    refused.retry_after = error.get("retry_after_seconds")
    return refused


def _meta(run: RunCall | None, recipe: str) -> RequestParamsMeta | None:
    named: Any = {RECIPE: recipe} if recipe else {}
    if run is not None:
        named[RUN] = asdict(run)
    return named or None
