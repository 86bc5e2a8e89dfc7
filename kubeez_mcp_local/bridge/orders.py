"""From a draft to what it starts: orders of one account, submitted together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.jobs.digest import digest_of
from kubeez_mcp_local.jobs.order import Order
from kubeez_mcp_local.media.inputs import LocalInput, RemoteInput
from kubeez_mcp_local.operations import Input
from kubeez_mcp_local.rest.routes import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kubeez_mcp_local.bridge.lasting import LastingUploads
    from kubeez_mcp_local.jobs.consent import Consent
    from kubeez_mcp_local.jobs.order import RunCall
    from kubeez_mcp_local.jobs.spender import Spender, Submission
    from kubeez_mcp_local.operations import Draft
    from kubeez_mcp_local.rest.contract import Contract


RECIPE = "com.kubeez/recipe"
"""In a call's `_meta`: the recipe on whose behalf it comes, for the ledger."""
SPEND = "spend"
"""The field of the question about credits; its tick is the yes."""
RUN = "com.kubeez/run"
"""In a call's `_meta`: the call of a run that it is, with the fields of `RunCall`. It can only lower ceilings."""


@dataclass(frozen=True)
class Caller:
    """Who asks for a paid job.

    Attributes:
        consent: Puts questions to the user.
        approval: The code of an earlier quote that the user has agreed to; empty without one.
        client: Name of the program, for the ledger.
        recipe: The recipe on whose behalf it asks.
        run: The call of a run that it is: another of the same name gets the job of the first, however late.
    """

    consent: Consent
    approval: str = ""
    client: str = ""
    recipe: str = ""
    run: RunCall | None = None


@dataclass(frozen=True)
class Started:
    """What one draft started."""

    draft: Draft
    submissions: list[Submission]


@dataclass(frozen=True)
class Orders:
    """Orders what is drafted.

    Attributes:
        account: Who pays.
        uploads: Gives local inputs a URL.
        contract: Knows how assumed routes are really called.
        spender: The one way to spend.
    """

    account: str
    uploads: LastingUploads
    contract: Contract
    spender: Spender

    async def submit(self, draft: Draft, caller: Caller) -> Started:
        """Order a draft as often as it says and submit the orders together: one question, one check of ceilings.

        Raises:
            NotOfferedError: The API has no such operation; found out before anybody is asked.
            KubeezError: As `Spender.submit_all`.
        """
        await self.contract.prepare(_sent(draft, _name))
        orders = [self._order(draft, caller, variant) for variant in range(draft.count)]
        submissions = await self.spender.submit_all(orders, caller.consent, caller.approval or None)
        if len(submissions) == 1 and submissions[0].error is not None:
            raise submissions[0].error
        return Started(draft, submissions)

    def _order(self, draft: Draft, caller: Caller, variant: int) -> Order:
        arguments = dict(_sent(draft, _name).body)
        route = draft.route

        async def build() -> Request:
            urls = {item: await self._url(item) for item in _inputs(draft.body)}
            return await self.contract.prepare(_sent(draft, urls.__getitem__))

        return Order(
            tool=draft.tool or route.name,
            route=route.name,
            bucket=route.bucket,
            kind=route.kind or "media",
            model=draft.model,
            prompt=draft.prompt,
            digest=self._digest(draft, arguments, caller.run, variant),
            quote=draft.quote,
            build=build,
            arguments=arguments,
            generation_type=draft.generation_type,
            recipe=caller.recipe or None,
            client=caller.client or None,
            notes=draft.notes,
            run=caller.run,
        )

    def _digest(self, draft: Draft, body: Mapping[str, Any], run: RunCall | None, variant: int) -> str:
        """A call of a run is known by its name: whatever its request looks like by now, it is paid once."""
        if run is not None:
            return digest_of(
                account=self.account, route="run", body={"run": run.run, "call": run.call}, variant=variant
            )
        hashes = {_name(item): item.sha256 for item in _inputs(draft.body) if isinstance(item, LocalInput)}
        return digest_of(
            account=self.account, route=draft.route.name, body=body, inputs=hashes, variant=variant, repeat=draft.repeat
        )

    async def _url(self, item: Input) -> str:
        return await self.uploads.url_for(item) if isinstance(item, LocalInput) else item.url


def _sent(draft: Draft, url: Callable[[Input], str]) -> Request:
    """The request with each input under the name that `url` gives it, and without what was not said."""

    def one(value: Any) -> Any:
        if isinstance(value, Input):
            return url(value)
        return [one(item) for item in value] if isinstance(value, tuple) else value

    return Request(draft.route, {name: one(value) for name, value in draft.body.items() if value is not None})


def _inputs(body: Mapping[str, Any]) -> list[Input]:
    values = [value if isinstance(value, tuple) else (value,) for value in body.values()]
    return [item for several in values for item in several if isinstance(item, Input)]


def _name(item: Input) -> str:
    """How the user can name it again; a library entry by its name, since its copy lies outside the input folders."""
    return item.url if isinstance(item, RemoteInput) else item.reference or str(item.path)
