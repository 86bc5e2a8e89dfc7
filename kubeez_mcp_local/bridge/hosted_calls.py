"""Tools of the hosted server that this program does not know: each call of one is an order like any other.

What such a tool does, nobody here can say, whatever it says of itself: so every call is asked about, written down
before it leaves, and taken to be paid; one whose answer is lost is not sent again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.catalogue.prices import Quote
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.jobs.job import NAMES_FILES, SAID_APART, Order, State, digest_of
from kubeez_mcp_local.rest.contract import fields_of
from kubeez_mcp_local.rest.routes import ROUTES, Request, Route
from kubeez_mcp_local.rest.wire import Accepted, is_job_id, list_of, price_of
from kubeez_mcp_local.text import LONGEST_NAME, cut, quoted

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from kubeez_mcp_local.bridge.api import HostedApi
    from kubeez_mcp_local.bridge.doors import HostedDoor
    from kubeez_mcp_local.bridge.orders import Caller
    from kubeez_mcp_local.hosted.client import HostedAnswer
    from kubeez_mcp_local.hosted.session import HostedTool
    from kubeez_mcp_local.jobs.job import Job
    from kubeez_mcp_local.jobs.sending import Background
    from kubeez_mcp_local.jobs.spender import Spender, Submission

ALWAYS = -1.0
"""As `Asking.asks_above`: even what is free is asked about."""
_ANSWERS_KEPT = 20
_SHOWN = 500


@dataclass(eq=False)
class _Starter:
    """Sends such calls for a `Sender`, and keeps what was answered; jobs are followed as ever."""

    api: HostedApi
    answers: dict[str, HostedAnswer] = field(default_factory=dict)

    async def start(self, request: Request) -> Accepted:
        client = await self.api.hosted()
        answer = await client.call_tool(request.route.path, request.body)
        if answer.error is not None:
            raise answer.error
        while len(self.answers) >= _ANSWERS_KEPT:
            del self.answers[next(iter(self.answers))]
        self.answers[request.route.name] = answer
        return Accepted.model_construct(generation_ids=_ids_in(answer.structured), estimated_cost_credits=None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.api, name)


def _told_apart(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """What a question has no words for, or fewer: whatever a strange tool is given may decide."""
    told = {name: value for name, value in arguments.items() if not _is_told(name, value)}
    return tuple(f"{name} {quoted(json.dumps(value, ensure_ascii=False), _SHOWN)}" for name, value in told.items())


def _is_told(name: str, value: object) -> bool:
    if name == "prompt" or name.endswith(NAMES_FILES):
        return isinstance(value, str)
    return name not in SAID_APART and not isinstance(value, dict | list | None)


def _ids_in(answer: object) -> list[str]:
    """The jobs that an answer says it has started, under the names that hosted answers have for them."""
    if not isinstance(answer, dict):
        return []
    named = [answer.get("generation_id"), answer.get("separation_id"), *list_of(answer.get("generation_ids"))]
    return list(dict.fromkeys(each for each in named if isinstance(each, str) and is_job_id(each)))


@dataclass(frozen=True)
class Called:
    """What became of a call. `answer` is `None` where it is not kept any more."""

    submission: Submission
    answer: HostedAnswer | None


@dataclass(eq=False)
class HostedCalls:
    """Lists and calls them.

    Attributes:
        ours: The names that this server's own tools have, and had: those go through their own tools.
    """

    door: HostedDoor
    background: Background
    ours: Collection[str]

    async def listed(self) -> list[HostedTool]:
        """Those that the server lists now, without what is offered here anyway."""
        return [tool for tool in await self.door.api.tools() if tool.name not in self.ours]

    async def tool(self, name: str) -> HostedTool:
        """The one with this name. Raises `InvalidArgumentError`: there is none, or it is offered here."""
        if name in self.ours:
            raise InvalidArgumentError("name", f"{name} is a tool of this server.", next_step=f"Call {name} itself.")
        tools = await self.listed()
        found = next((tool for tool in tools if tool.name == name), None)
        if found is None:
            names = ", ".join(cut(tool.name, LONGEST_NAME) for tool in tools) or "none"
            raise InvalidArgumentError("name", f"{name!r} is not listed by the hosted server; allowed: {names}.")
        return found

    async def call(self, name: str, arguments: Mapping[str, Any], caller: Caller) -> Called:
        """Ask about a call, and send it once.

        Raises:
            InvalidArgumentError: There is no such tool, or it does not take these arguments.
            KubeezError: As `Spender.submit`.
        """
        tool = await self.tool(name)
        verify_fields(tool, arguments)
        order = await self._order(tool, arguments, caller)
        submission = await self._spender.submit(order, caller.consent, caller.approval or None)
        answer = self._starter.answers.get(order.route)
        if submission.job.state is State.ACCEPTED and not submission.job.generation_ids:
            submission = replace(submission, job=await self._ended(submission.job))
        return Called(submission, answer)

    async def _order(self, tool: HostedTool, arguments: Mapping[str, Any], caller: Caller) -> Order:
        digest = digest_of(account=self.door.account, route=f"tool {tool.name}", body=arguments)
        # The name stands for this very call, so that its answer is found again.
        route = Route(f"hosted_call {digest[:16]}", "POST", tool.name, None, "media", "assumed", "media", spends=True)
        prompt = arguments.get("prompt")

        async def build() -> Request:
            verify_fields(await self.tool(tool.name), arguments)
            return Request(route, dict(arguments))

        return Order(
            tool="hosted_call",
            route=route.name,
            bucket="media",
            kind="separation" if "separation" in tool.name else "media",
            model=cut(tool.name, LONGEST_NAME),
            prompt=prompt if isinstance(prompt, str) else "",
            digest=digest,
            quote=await self._price(arguments),
            build=build,
            arguments=dict(arguments),
            recipe=caller.recipe or None,
            client=caller.client or None,
            implied=_told_apart(arguments),
            notes=("A tool of the hosted server that this program does not know.", self.door.whose),
            title="Call a hosted tool",
        )

    async def _price(self, arguments: Mapping[str, Any]) -> Quote:
        """What the server's own `estimate` says, if it can be told all but the texts; else it is not known."""
        told = {name: value for name, value in arguments.items() if name != "prompt"}
        contract = self.door.contract
        unknown = Quote(None, "unknown", note="What this tool costs is not known.")
        plain = all(isinstance(value, str | int | float) for value in told.values())
        if not plain or "model" not in told or not await contract.takes(ROUTES["estimate"], *told):
            return unknown
        return await self.door.pricing.told(told) or unknown

    async def _ended(self, job: Job) -> Job:
        """A call whose answer names no job is over. Unless it says what it cost, what was held back stays so today."""
        answer = self._starter.answers.get(job.route)
        structured = answer.structured if answer else None
        charged = price_of(structured.get("credits_deducted")) if isinstance(structured, dict) else None
        return (await self.door.ledger.settled(job.id, State.COMPLETED, charged, []))[0]

    async def _settle(self, job: Job) -> None:
        await self._ended(job)

    def _taken(self, job: Job) -> None:
        if job.generation_ids:
            self.door.follower.follow(job)
        elif self.background.running:
            self.background.start(self._settle, job)

    @cached_property
    def _starter(self) -> _Starter:
        return _Starter(self.door.api)

    @cached_property
    def _spender(self) -> Spender:
        spender = self.door.spender
        sender = replace(spender.sender, api=self._starter, on_accepted=self._taken)
        return replace(spender, sender=sender, asking=replace(spender.asking, asks_above=ALWAYS))


def verify_fields(tool: HostedTool, arguments: Mapping[str, Any]) -> None:
    """Raise `InvalidArgumentError` unless the tool's own schema has a place for all of these, and needs no more."""
    fields = fields_of(tool.input_schema)
    strange = [name for name in arguments if name not in fields]
    missing = [each.name for each in fields.values() if each.required and each.name not in arguments]
    if strange or missing:
        wrong = f"has {', '.join(strange)}, which {tool.name} does not take" if strange else ""
        lacks = f"lacks {', '.join(missing)}" if missing else ""
        step = f"It takes {', '.join(fields) or 'nothing'}; hosted_list(name='{tool.name}') has its schema."
        raise InvalidArgumentError("arguments", " and ".join(filter(None, (wrong, lacks))) + ".", next_step=step)
    try:
        json.dumps(dict(arguments), allow_nan=False)
    except (TypeError, ValueError):
        raise InvalidArgumentError("arguments", "holds what JSON cannot say.") from None
