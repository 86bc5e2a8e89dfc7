"""From a checked request to orders: which inputs it has, what it costs, and how it is built when it may be sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.jobs.digest import digest_of
from kubeez_mcp_local.jobs.order import Order
from kubeez_mcp_local.media.inputs import LocalInput, RemoteInput
from kubeez_mcp_local.rest.routes import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kubeez_mcp_local.bridge.caller import Caller
    from kubeez_mcp_local.bridge.lasting import LastingUploads
    from kubeez_mcp_local.catalogue.quotes import Quote
    from kubeez_mcp_local.jobs.order import RunCall
    from kubeez_mcp_local.rest.contract import Contract
    from kubeez_mcp_local.rest.routes import Route

Input = LocalInput | RemoteInput


@dataclass(frozen=True)
class Draft:
    """A request that has been checked and priced, with its inputs not yet uploaded.

    Attributes:
        route: Where it goes; the tool that asked for it has the same name, unless `tool` says otherwise.
        body: Its JSON body; an input stands where its URL will be, and `None` where nothing is said.
        model: Catalogue id it is priced by.
        quote: Price of one run.
        prompt: What the user asked for; empty for work without a prompt.
        notes: What the check changed, in words for the user.
    """

    route: Route
    body: Mapping[str, Any]
    model: str
    quote: Quote
    prompt: str = ""
    generation_type: str | None = None
    notes: tuple[str, ...] = ()
    tool: str = ""


class Orders:
    """Turns drafts into orders of one account.

    Args:
        account: Who pays.
        uploads: Gives local inputs a URL.
        contract: Knows how assumed routes are really called.
    """

    def __init__(self, account: str, uploads: LastingUploads, contract: Contract) -> None:
        self._account = account
        self._uploads = uploads
        self._contract = contract

    async def of(self, draft: Draft, caller: Caller, *, count: int = 1, repeat: str = "") -> list[Order]:
        """One order for each of `count` runs.

        Args:
            repeat: Makes a wanted repeat a new intention, such as the id of the job being repeated.

        Raises:
            NotOfferedError: The API has no such operation; found out before anybody is asked.
        """
        await self._contract.prepare(_sent(draft, _name))
        return [self._order(draft, caller, variant, repeat) for variant in range(count)]

    def _order(self, draft: Draft, caller: Caller, variant: int, repeat: str) -> Order:
        arguments = dict(_sent(draft, _name).body)
        route = draft.route

        async def build() -> Request:
            urls = {item: await self._url(item) for item in _inputs(draft.body)}
            return await self._contract.prepare(_sent(draft, urls.__getitem__))

        return Order(
            tool=draft.tool or route.name,
            route=route.name,
            bucket=route.bucket,
            kind=route.kind or "media",
            model=draft.model,
            prompt=draft.prompt,
            digest=self._digest(draft, arguments, caller.run, variant, repeat),
            quote=draft.quote,
            build=build,
            arguments=arguments,
            generation_type=draft.generation_type,
            recipe=caller.recipe or None,
            client=caller.client or None,
            notes=draft.notes,
            run=caller.run,
        )

    def _digest(self, draft: Draft, body: Mapping[str, Any], run: RunCall | None, variant: int, repeat: str) -> str:
        """A call of a run is known by its name: whatever its request looks like by now, it is paid once."""
        if run is not None:
            return digest_of(
                account=self._account, route="run", body={"run": run.run, "call": run.call}, variant=variant
            )
        hashes = {_name(item): item.sha256 for item in _inputs(draft.body) if isinstance(item, LocalInput)}
        return digest_of(
            account=self._account, route=draft.route.name, body=body, inputs=hashes, variant=variant, repeat=repeat
        )

    async def _url(self, item: Input) -> str:
        return await self._uploads.url_for(item) if isinstance(item, LocalInput) else item.url


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
