"""Runs of recipes on behalf of a client: one yes for the whole run, then it goes on beside the conversation.

A run is named after its recipe and arguments. Asked for again it is not started again: while it goes on the caller
waits for it, and after a crash it goes on from its record on disk.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.text import spoken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.bridge.orders import Caller
    from kubeez_mcp_local.cookbook.format import Recipe
    from kubeez_mcp_local.cookbook.steps import ToolCaller
    from kubeez_mcp_local.runs.client import LocalClient, ServerFactory
    from kubeez_mcp_local.runs.prepare import Prepared
    from kubeez_mcp_local.runs.run import RunEvent, RunReport

    Tools = Callable[[], AbstractAsyncContextManager[tuple[Bridge, ToolCaller]]]

HEARTBEAT_SECONDS = 5.0
_NOT_AGREED = "Its price was not agreed to; run it again to be asked."


@dataclass
class ActiveRun:
    """A run that this process has started, as a `rehearsal` in a sandbox of its own or not.

    Once it is over there is a `report`, or an `error` that says why there is none; `told` is whether a caller has
    learned of it.
    """

    prepared: Prepared
    rehearsal: bool = False
    over: anyio.Event = field(default_factory=anyio.Event)
    latest: RunEvent | None = None
    report: RunReport | None = None
    error: KubeezError | None = None
    told: bool = False

    def news(self) -> str:
        """Where it stands, in a few words."""
        if self.latest is None:
            return "starting"
        return f"{self.latest.done} of {self.latest.total} calls, {spoken(self.latest.spent)}"

    async def wait(self, seconds: float, progress: Callable[[float, float | None, str], Awaitable[None]]) -> None:
        """Wait until it is over, at most that many seconds, with a word every five."""
        began = anyio.current_time()
        while not self.over.is_set() and (left := began + seconds - anyio.current_time()) > 0:
            with anyio.move_on_after(min(HEARTBEAT_SECONDS, left)):
                await self.over.wait()
            await progress(anyio.current_time() - began, None, self.news())


@dataclass
class ActiveRuns:
    """The runs of one bridge; they go on in its background."""

    bridge: Bridge
    server: ServerFactory
    _runs: dict[tuple[str, str], ActiveRun] = field(default_factory=dict)
    _starting: dict[tuple[str, str], anyio.Lock] = field(default_factory=dict)

    async def start(
        self, recipe: Recipe, given: Mapping[str, Any], caller: Caller, *, run_id: str = "", rehearse: bool = False
    ) -> ActiveRun:
        """The run of `recipe` with the arguments `given`: the one that goes on, or a new one after the caller's yes.

        `run_id` names another run of the same; a rehearsal runs in a sandbox of its own, free.

        Raises:
            InvalidArgumentError, RecipeError: It cannot be prepared, see `prepare`.
            ConsentRequiredError: There must be a yes, and there is nobody to ask here.
            KubeezError: There was no yes, or it cannot be prepared.
        """
        from kubeez_mcp_local.cookbook.check import Samples, with_examples
        from kubeez_mcp_local.runs.prepare import prepare_run

        if rehearse:
            samples = Samples(self.bridge.settings.state_dir / "rehearsals" / "samples")
            given = await anyio.to_thread.run_sync(with_examples, recipe, given, samples)
        tools = self._sandbox(recipe.name) if rehearse else self._tools(recipe.name, caller.client)
        async with tools() as (bridge, client):
            prepared = await prepare_run(bridge, recipe, given, client, run_id=run_id, pausing=not rehearse)
        key = (str(prepared.run.folder), prepared.run.id.name)
        async with self._starting.setdefault(key, anyio.Lock()):
            known = self._runs.get(key)
            if known is not None and not known.told:
                return known
            agreed = not rehearse and await self._agreed(prepared, caller)
            self._runs.pop(key, None)  # what is put in last is the newest
            run = self._runs[key] = ActiveRun(prepared, rehearse)
            if agreed:
                tools = self._tools(recipe.name, caller.client, agreed=True)
            self.bridge.background.start(self._carry_out, run, tools)
            return run

    def named(self, name: str) -> ActiveRun | None:
        """The newest run of that name that this process has started."""
        return next((run for key, run in reversed(self._runs.items()) if key[1] == name), None)

    def made(self, path: str) -> bool:
        """Whether a run that is over saved this file, or lies its sheet there; of rehearsals no ledger here tells."""
        from kubeez_mcp_local.bridge.sheets import sheet_of_run

        for run in self._runs.values():
            calls = run.report.calls if run.report else ()
            saved = [file for call in calls for file in (call.result or {}).get("files") or []]
            sheet = sheet_of_run([(str(file.get("path")), str(file.get("media_type"))) for file in saved])
            if path in (str(sheet), *(file.get("path") for file in saved)):
                return True
        return False

    async def quoted(self, recipe: Recipe, given: Mapping[str, Any], client: str, *, run_id: str = "") -> Prepared:
        """What a run would be, everything checked and priced; nothing is started or asked. Raises as `start`."""
        from kubeez_mcp_local.runs.prepare import prepare_run

        async with self._tools(recipe.name, client)() as (bridge, tools):
            return await prepare_run(bridge, recipe, given, tools, run_id=run_id, pausing=True)

    async def _carry_out(self, run: ActiveRun, tools: Tools) -> None:
        def told(event: RunEvent) -> None:
            run.latest = event

        ready = run.prepared
        try:
            async with tools() as (bridge, client):
                run.report = await ready.run.carry_out(client, bridge.ledger, on_event=told)
                run.over.set()
                await bridge.sheets.of_run(ready.run.id.in_ledger, ready.recipe.title)
        except KubeezError as error:
            run.error = error
        finally:
            if run.report is None and run.error is None:
                run.error = KubeezError(
                    f"The run {ready.run.id.name} broke off.",
                    next_step="Call run_recipe again with the same arguments: finished work is not paid for twice.",
                    spent=None,
                    code="run_broken",
                )
            run.over.set()

    async def _agreed(self, prepared: Prepared, caller: Caller) -> bool:
        """Whether the user was asked about the whole run and said yes; not everything has to be asked about."""
        from kubeez_mcp_local.jobs.job import SpendQuestion

        asking = self.bridge.asking
        quote = await asking.quote(prepared.identity, prepared.due, prepared.basis)
        if quote is None:
            return False
        # With two doors open, which account pays for which call is decided call by call.
        known = quote.balance is not None and quote.credits is not None and not self.bridge.two_doors
        after = round((quote.balance or 0) - (quote.credits or 0), 6) if known else None
        lines = [prepared.summary(), *prepared.remarks]
        if after is not None:
            lines.append(f"Balance afterwards: {'' if prepared.exact else 'about '}{spoken(after)}.")
        question = SpendQuestion(
            "run_recipe",
            prepared.recipe.name,
            prepared.paid_calls,
            quote.credits,
            quote.basis,
            after,
            " ".join(lines),
            prepared.identity,
            quote.quoted_at,
            tuple(lines),
        )
        approval = await asking.permission(question, caller.consent, caller.approval or None)
        if approval is not None:
            await self.bridge.ledger.redeem(approval)
        await self.bridge.ledger.use_up_quote(prepared.identity)
        return True

    def _tools(self, recipe: str, client: str, *, agreed: bool = False) -> Tools:
        """The tools of the bridge itself; when the user has `agreed` to the run, their questions are answered yes."""

        async def yes(_: str) -> bool:
            return True

        @asynccontextmanager
        async def opened() -> AsyncIterator[tuple[Bridge, LocalClient]]:
            from kubeez_mcp_local.runs.client import LocalClient  # most servers never run a recipe

            ask = yes if agreed else None
            name = client or "run_recipe"
            async with LocalClient(
                self.bridge, self.server, name=name, recipe=recipe, ask=ask, cannot_ask=_NOT_AGREED, opened=True
            ) as tools:
                yield self.bridge, tools

        return opened

    def _sandbox(self, recipe: str) -> Tools:
        """The tools of a sandbox; its outputs lie beside the real ones, in a folder of their own."""
        from kubeez_mcp_local.runs.client import rehearsal

        settings = self.bridge.settings
        folder, outputs = settings.state_dir / "rehearsals", settings.output_dir / "rehearsals"
        return lambda: rehearsal(settings, self.server, folder, recipe=recipe, outputs=outputs)
