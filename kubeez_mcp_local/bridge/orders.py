"""From a checked request to orders: which inputs it has, what it costs, and how it is built when it may be sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.jobs.digest import digest_of
from kubeez_mcp_local.jobs.order import Order
from kubeez_mcp_local.media.inputs import LocalInput, RemoteInput
from kubeez_mcp_local.media.measure import measure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kubeez_mcp_local.catalogue.quotes import Quote
    from kubeez_mcp_local.media.uploads import Uploads
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

    def __init__(self, account: str, uploads: Uploads, contract: Contract) -> None:
        self._account = account
        self._uploads = uploads
        self._contract = contract

    async def of(self, draft: Draft, *, count: int = 1, repeat: str = "", client: str = "") -> list[Order]:
        """One order for each of `count` runs.

        Args:
            client: Name of the program that asks, for the ledger.
            repeat: Makes a wanted repeat a new intention, such as the id of the job being repeated.

        Raises:
            NotOfferedError: The API has no such operation; found out before anybody is asked.
        """
        await self._contract.prepare(_made(draft, dict.fromkeys(_inputs(draft.fields), _PLACEHOLDER)))
        return [self._order(draft, variant, repeat, client) for variant in range(count)]

    def _order(self, draft: Draft, variant: int, repeat: str, client: str) -> Order:
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
                repeat=repeat,
            ),
            quote=draft.quote,
            build=build,
            arguments=arguments,
            generation_type=draft.generation_type,
            recipe=draft.recipe,
            client=client or None,
        )

    async def _urls(self, inputs: Iterable[Input]) -> dict[Input, str]:
        return {
            item: await self._uploads.url_for(item) if isinstance(item, LocalInput) else item.url for item in inputs
        }


async def measured_seconds(inputs: Sequence[Input]) -> dict[str, float | None]:
    """Length of all local clips, and of all local audio, in seconds; `None` where there is any that is not known."""
    totals: dict[str, float | None] = {}
    for kind in ("video", "audio"):
        lengths = [
            (await measure(item.path)).seconds if isinstance(item, LocalInput) else None
            for item in inputs
            if item.kind == kind
        ]
        known = [length for length in lengths if length is not None]
        totals[kind] = sum(known) if lengths and len(known) == len(lengths) else None
    return totals


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
    return str(item.path) if isinstance(item, LocalInput) else item.url
