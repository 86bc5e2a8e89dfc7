"""What a tool is, described once; toolsets, read-only mode and documentation are filters over this inventory."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kubeez_mcp_local.mcp_server.results import Result
    from kubeez_mcp_local.settings import Settings

Effect = Literal["read", "write", "spend", "delete"]
Handler = Callable[..., Awaitable[Any]]


@dataclass(frozen=True)
class ToolSpec:
    """One tool of the inventory.

    Attributes:
        name: The hosted server's name for it.
        title: For people.
        description: What the model reads; the handler's docstring.
        family: The toolset it belongs to.
        handler: `async (call, **arguments) -> result`; its annotations are the input schema.
        result: Model of the structured result.
        effect: `read` changes nothing, `write` changes something but costs nothing, `spend` can cost credits,
            `delete` removes something of the user's.
        remote: Whether it talks to the API.
        scope: The key scope it needs, if any.
        route: Name of the REST route behind it, if any.
        core: Whether the `core` toolset offers it too.
        aliases: Older names of the hosted server, accepted but not listed.
        parameters: The operation behind a paid tool, whose parameters are the tool's; the handler's own come behind.
    """

    name: str
    title: str
    description: str
    family: str
    handler: Handler
    result: type[Result]
    effect: Effect
    remote: bool = True
    scope: str | None = None
    route: str | None = None
    core: bool = False
    aliases: tuple[str, ...] = ()
    parameters: Callable[..., Any] | None = None

    def arguments(self) -> list[inspect.Parameter]:
        """The tool's arguments, in the order in which they are listed."""
        own = list(inspect.signature(self.handler, eval_str=True).parameters.values())[1:]
        if self.parameters is None:
            return own
        theirs = list(inspect.signature(self.parameters, eval_str=True).parameters.values())[1:]
        return [*theirs, *(parameter for parameter in own if parameter.kind is not parameter.VAR_KEYWORD)]

    @property
    def spends(self) -> bool:
        """Whether a call can cost credits."""
        return self.effect == "spend"


def tool(
    *,
    title: str,
    family: str,
    result: type[Result],
    effect: Effect = "read",
    remote: bool = True,
    scope: str | None = None,
    route: str | None = None,
    core: bool = False,
    aliases: tuple[str, ...] = (),
) -> Callable[[Handler], ToolSpec]:
    """Describe the decorated handler as a tool of the inventory."""

    def describe(handler: Handler) -> ToolSpec:
        return ToolSpec(
            name=handler.__name__,
            title=title,
            description=described(handler),
            family=family,
            handler=handler,
            result=result,
            effect=effect,
            remote=remote,
            scope=scope,
            route=route,
            core=core,
            aliases=aliases,
        )

    return describe


def described(words: Callable[..., Any]) -> str:
    """The docstring that models read."""
    return inspect.cleandoc(words.__doc__ or "")


def selected(tools: Iterable[ToolSpec], settings: Settings) -> tuple[ToolSpec, ...]:
    """The tools that `settings` offers, in inventory order."""
    wanted = set(settings.toolsets)

    def offered(spec: ToolSpec) -> bool:
        in_toolset = "all" in wanted or spec.family in wanted or (spec.core and "core" in wanted)
        return in_toolset and not (settings.read_only and spec.effect != "read")

    return tuple(spec for spec in tools if offered(spec))
