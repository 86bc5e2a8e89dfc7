"""One tool call: what a handler needs of the client that made it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.bridge.orders import RECIPE, RUN, Caller
from kubeez_mcp_local.jobs.order import RunCall
from kubeez_mcp_local.mcp_server.consent import ClientConsent
from kubeez_mcp_local.text import on_one_line

if TYPE_CHECKING:
    from mcp.server.mcpserver import Context
    from mcp.types import ContentBlock

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.mcp_server.recipes import Recipes
    from kubeez_mcp_local.runs.active import ActiveRuns


@dataclass
class Call:
    """Handed to every handler as its first argument.

    Attributes:
        bridge: The parts of the product.
        context: The MCP request.
        recipes: The recipes of this machine.
        runs: Runs of recipes that go on beside the conversation.
        blocks: Links and previews to send along with the result.
    """

    bridge: Bridge
    context: Context[Any, Any]
    recipes: Recipes
    runs: ActiveRuns
    blocks: list[ContentBlock] = field(default_factory=list)
    _progress: float = 0.0

    @property
    def mode(self) -> str:
        """`live` or `sandbox`."""
        return self.bridge.mode.value

    @cached_property
    def consent(self) -> ClientConsent:
        """Asks the person behind this client."""
        return ClientConsent(self.context)

    def caller(self, approval: str) -> Caller:
        """Who asks for a paid job, with the approval code and the name of the call that came along, if any."""
        params = self.context.session.client_params
        meta = self.context.request_context.meta or {}
        return Caller(
            self.consent,
            approval,
            client=params.client_info.name if params else "",
            recipe=_text(meta.get(RECIPE)),
            run=_run(meta.get(RUN)),
        )

    async def progress(self, done: float, total: float | None, message: str) -> None:
        """Report progress, when the client asked for it; values only ever grow, as the protocol demands."""
        if done > self._progress:
            self._progress = done
            await self.context.report_progress(done, total, on_one_line(message))


def _run(value: object) -> RunCall | None:
    """The call of a run that `value` names; whatever is none stands for itself."""
    try:
        return RunCall(**value) if isinstance(value, dict) else None
    except (TypeError, ValueError):
        return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
