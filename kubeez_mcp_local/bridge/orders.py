"""From a checked request to orders: which inputs it has, what it costs, and how it is built when it may be sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.jobs.digest import digest_of
from kubeez_mcp_local.jobs.order import Order
from kubeez_mcp_local.media.inputs import LocalInput, RemoteInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kubeez_mcp_local.bridge.caller import Caller
    from kubeez_mcp_local.bridge.lasting import LastingUploads
    from kubeez_mcp_local.catalogue.quotes import Quote
    from kubeez_mcp_local.rest.contract import Contract
    from kubeez_mcp_local.rest.requests import Sendable, StartRequest

Input = LocalInput | RemoteInput
_PLACEHOLDER = "https://media.kubeez.com/placeholder"


@dataclass(frozen=True)
class Draft:
    """A request that has been checked and priced, with its inputs not yet uploaded.

    Attributes:
        tool: The tool that asked for it.
        request: The typed body it will become.
        fields: The body's fields; an input stands where its URL will be.
        model: Catalogue id it is priced by.
        quote: Price of one run.
        prompt: What the user asked for; empty for work without a prompt.
        notes: What the check changed, in words for the user.
    """

    tool: str
    request: type[StartRequest]
    fields: Mapping[str, Any]
    model: str
    quote: Quote
    prompt: str = ""
    generation_type: str | None = None
    notes: tuple[str, ...] = ()
    recipe: str | None = None


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
        await self._contract.prepare(_made(draft, dict.fromkeys(_inputs(draft.fields), _PLACEHOLDER)))
        return [self._order(draft, caller, variant, repeat) for variant in range(count)]

    def _order(self, draft: Draft, caller: Caller, variant: int, repeat: str) -> Order:
        named = {item: _name(item) for item in _inputs(draft.fields)}
        arguments = _replaced(draft.fields, named)
        hashes = {_name(item): item.sha256 for item in named if isinstance(item, LocalInput)}
        route = draft.request.route

        async def build() -> Sendable:
            return await self._contract.prepare(_made(draft, await self._urls(named)))

        return Order(
            tool=draft.tool,
            route=route.name,
            bucket=route.bucket,
            kind=route.kind or "media",
            model=draft.model,
            prompt=draft.prompt,
            digest=digest_of(
                account=self._account,
                route=route.name,
                body=arguments,
                inputs=hashes,
                variant=variant,
                repeat="\n".join(part for part in (repeat, caller.key) if part),
            ),
            quote=draft.quote,
            build=build,
            arguments=arguments,
            generation_type=draft.generation_type,
            recipe=draft.recipe or caller.recipe or None,
            client=caller.client or None,
            notes=draft.notes,
            lasting=bool(caller.key),
        )

    async def _urls(self, inputs: Iterable[Input]) -> dict[Input, str]:
        return {
            item: await self._uploads.url_for(item) if isinstance(item, LocalInput) else item.url for item in inputs
        }


def _made(draft: Draft, urls: Mapping[Input, str]) -> StartRequest:
    fields = {name: value for name, value in _replaced(draft.fields, urls).items() if value is not None}
    return draft.request.model_validate(fields)


def _inputs(fields: Mapping[str, Any]) -> list[Input]:
    found: list[Input] = []
    for value in fields.values():
        found += [item for item in (value if isinstance(value, tuple) else (value,)) if isinstance(item, Input)]
    return found


def _replaced(fields: Mapping[str, Any], inputs: Mapping[Input, str]) -> dict[str, Any]:
    def one(value: Any) -> Any:
        if isinstance(value, Input):
            return inputs[value]
        return [one(item) for item in value] if isinstance(value, tuple) else value

    return {name: one(value) for name, value in fields.items()}


def _name(item: Input) -> str:
    """How the user can name it again; a library entry by its name, since its copy lies outside the input folders."""
    return item.url if isinstance(item, RemoteInput) else item.reference or str(item.path)
