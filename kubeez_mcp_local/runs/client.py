"""An MCP client inside this process: whoever uses it can do what any client can do, and nothing else.

Recipes and the command line call tools through it, those of a bridge, or for a rehearsal those of a sandbox of its own.
It is a `cookbook.steps.ToolCaller`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import KW_ONLY, asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self

from mcp import Client, MCPError
from mcp.types import ElicitRequestFormParams, ElicitResult, Implementation

from kubeez_mcp_local import __version__
from kubeez_mcp_local.bridge import Bridge
from kubeez_mcp_local.bridge.orders import COMING, QUOTE, RECIPE, RUN, SPEND
from kubeez_mcp_local.cookbook.steps import PAID_TOOLS, ToolCallError, number, scope_of
from kubeez_mcp_local.settings import DEFAULT_BASE_URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

    from mcp.client.session import ClientRequestContext
    from mcp.server import MCPServer
    from mcp.shared.dispatcher import ProgressFnT
    from mcp.types import CallToolResult, ElicitRequestURLParams

    from kubeez_mcp_local.cookbook.format import Recipe
    from kubeez_mcp_local.jobs.job import RunCall
    from kubeez_mcp_local.runs.run import RunReport
    from kubeez_mcp_local.settings import Settings


Ask = Callable[[str], Awaitable[bool]]
"""Puts a question about credits to the user; the answer is whether to spend them."""


class ServerFactory(Protocol):
    """Makes the server whose tools are called; `opened` as for `LocalClient`."""

    def __call__(self, bridge: Bridge, *, opened: bool = False) -> MCPServer[Bridge]: ...


@dataclass
class LocalClient:
    """Calls the tools of one bridge. Use as an async context manager.

    Attributes:
        name: What the ledger calls this client.
        recipe: The recipe on whose behalf it calls, for the ledger; empty without one.
        ask: Asks the user; without it nobody can be asked.
        cannot_ask: What to do when consent is needed and nobody can be asked; one sentence.
        opened: Whether `bridge` is open already, and stays open afterwards.
    """

    bridge: Bridge
    server: ServerFactory
    _: KW_ONLY
    name: str
    recipe: str = ""
    ask: Ask | None = None
    cannot_ask: str = ""
    opened: bool = False
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    def __post_init__(self) -> None:
        self._client = Client(
            self.server(self.bridge, opened=self.opened),
            client_info=Implementation(name=self.name, version=__version__),
            elicitation_callback=self._answer if self.ask else None,
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
        recipe: str = "",
    ) -> dict[str, Any]:
        """Call a tool and return its structured result.

        `run` names a paid call of a run: a second call of that name returns the job of the first. `recipe` is on whose
        behalf it is made, where that is not the client's. `progress` is told of
        seconds so far, expected seconds (or `None`) and a few words, if the tool reports any. Raises `ToolCallError` if
        the tool refused, with the tool's own code and next step; or if it needs a yes that nobody can give.
        """
        named = {RUN: asdict(run)} if run else {}
        result = await self._called(tool, arguments, named | ({RECIPE: recipe} if recipe else {}), progress)
        if result.get("status") == "approval_required":
            question = " ".join(result.get("notes") or ["This call needs a yes."])
            raise ToolCallError(question, code="approval_required", next_step=self.cannot_ask)
        return result

    async def quote(
        self, tool: str, arguments: Mapping[str, Any], coming: Mapping[str, Mapping[str, Any]] | None = None
    ) -> dict[str, Any]:
        """What a call of a paid tool would be: checked and priced, nothing more (see `bridge.orders.QUOTE`).

        `coming` says what stands for results that do not exist yet (`bridge.orders.COMING`). Raises as a call.
        """
        return await self._called(tool, arguments, {QUOTE: True, COMING: dict(coming or {})})

    async def _called(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        meta: dict[str, Any],
        progress: ProgressFnT | None = None,
    ) -> dict[str, Any]:
        said: Any = ({RECIPE: self.recipe} if self.recipe else {}) | meta
        try:
            answer = await self._client.call_tool(tool, dict(arguments), progress_callback=progress, meta=said or None)
        except MCPError as error:
            raise ToolCallError(error.message, code="tool_unknown") from None
        result = answer.structured_content or {}
        if answer.is_error:
            raise _refusal(result, answer)
        return result

    async def _answer(
        self, context: ClientRequestContext, params: ElicitRequestFormParams | ElicitRequestURLParams
    ) -> ElicitResult:
        """Answers about credits. What became of a job is for a person who can look: a run parks it and goes on."""
        assert self.ask is not None, "only called by a client that said it can ask"
        about_credits = isinstance(params, ElicitRequestFormParams) and SPEND in params.requested_schema["properties"]
        if about_credits and await self.ask(params.message):
            return ElicitResult(action="accept", content={SPEND: True})
        return ElicitResult(action="decline")


@dataclass(frozen=True)
class OnBehalf:
    """A client that works for several recipes, as the `cookbook.steps.ToolCaller` of one of them."""

    client: LocalClient
    recipe: str

    async def __call__(self, tool: str, arguments: Mapping[str, Any], *, run: RunCall | None = None) -> dict[str, Any]:
        return await self.client(tool, arguments, run=run, recipe=self.recipe)

    async def quote(
        self, tool: str, arguments: Mapping[str, Any], coming: Mapping[str, Mapping[str, Any]] | None = None
    ) -> dict[str, Any]:
        return await self.client.quote(tool, arguments, coming)


def _refusal(result: Mapping[str, Any], answer: CallToolResult) -> ToolCallError:
    error = result.get("error")
    if not isinstance(error, dict):
        return ToolCallError(" ".join(getattr(block, "text", "") for block in answer.content) or "the tool failed")
    spent = error.get("credits_spent")
    return ToolCallError(
        str(error.get("message")),
        code=str(error.get("code")),
        next_step=str(error.get("next_step") or ""),
        spent=spent if isinstance(spent, bool) else None,
        retry_safe=bool(error.get("retry_safe")),
        retry_after=error.get("retry_after_seconds"),
    )


_RATIO_TOLERANCE = 0.03
REHEARSAL_SPEED = 1_000.0
"""How many times faster than life jobs of a rehearsal run: a clip of three minutes' work takes a fifth of a second."""


@asynccontextmanager
async def rehearsal(
    settings: Settings, server: ServerFactory, folder: Path, *, recipe: str = "", outputs: Path | None = None
) -> AsyncIterator[tuple[Bridge, LocalClient]]:
    """A sandbox of its own in `folder`, and a client that calls its tools.

    Ceilings, input folders and recipes are taken over from `settings`. Outputs go into `folder`, too, unless `outputs`
    names another.
    """
    changes = {
        "mode": "sandbox",
        "api_key": None,
        "login": None,
        "mcp_token": None,
        "hosted_login": None,
        "base_url": DEFAULT_BASE_URL,
        "state_dir": folder / "state",
        "output_dir": outputs or folder / "outputs",
        "input_dirs": (*settings.input_dirs, folder),  # sample files lie there
        "ask_above": None,
        "toolsets": ("all",),
        "read_only": False,
        "sandbox_speed": max(settings.sandbox_speed, REHEARSAL_SPEED),
    }
    bridge = Bridge(settings.model_copy(update=changes))
    async with LocalClient(bridge, server, name="kubeez-rehearsal", recipe=recipe) as client:
        yield bridge, client


def judge(recipe: Recipe, report: RunReport, arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """How a rehearsal falls short of the recipe's `expect`, one sentence each; empty when it does not."""
    from kubeez_mcp_local.cookbook.templates import evaluate

    found = [
        f"{call.key} {call.status}: {call.reason}" for call in report.calls if call.status in ("failed", "stopped")
    ]
    expect = recipe.front.expect
    if expect is None or found:  # what failed is the reason of all the rest
        return tuple(found)
    count = sum(call.status == "completed" and call.tool in PAID_TOOLS for call in report.calls)
    if expect.files is not None and len(report.files) < expect.files:
        found.append(f"saved {len(report.files)} files; expected at least {expect.files}")
    if expect.count is not None and count != expect.count:
        found.append(f"finished {count} paid calls; expected {expect.count}")
    if expect.credits is not None and report.spent > expect.credits:
        found.append(f"spent {number(report.spent)} credits; expected at most {number(expect.credits)}")
    if expect.ratio is not None:
        ratio = str(evaluate(expect.ratio, scope_of(arguments)))
        found += _wrong_ratios(report, ratio)
    return tuple(found)


def _wrong_ratios(report: RunReport, ratio: str) -> Iterator[str]:
    across, _, down = ratio.partition(":")
    if not (across.isdigit() and down.isdigit() and int(down)):
        yield f"expect.ratio comes to {ratio!r}, which is no ratio such as 1:1"
        return
    wanted = int(across) / int(down)
    for call in report.calls:
        for output in (call.result or {}).get("outputs") or []:
            width, height = output.get("width"), output.get("height")
            if width and height and abs(width / height - wanted) > _RATIO_TOLERANCE * wanted:
                yield f"{call.key} is {width} x {height}; expected {ratio}"
