"""Starting paid jobs: check, price, order, submit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kubeez_mcp_local.bridge.orders import Draft
from kubeez_mcp_local.catalogue.check_media import check_media, check_variant_count
from kubeez_mcp_local.catalogue.quotes import quote_media
from kubeez_mcp_local.rest.routes import ROUTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubeez_mcp_local.bridge.caller import Caller
    from kubeez_mcp_local.bridge.casting import Casting
    from kubeez_mcp_local.bridge.lengths import Lengths
    from kubeez_mcp_local.bridge.orders import Orders
    from kubeez_mcp_local.catalogue.media_request import MediaRequest
    from kubeez_mcp_local.catalogue.quotes import Quote
    from kubeez_mcp_local.catalogue.store import Catalogue
    from kubeez_mcp_local.jobs.spender import Spender, Submission
    from kubeez_mcp_local.media.inputs import Inputs


@dataclass(frozen=True)
class Started:
    """What one call started.

    Attributes:
        quote: Price of one run.
        notes: What was changed in the request, in words for the user.
    """

    submissions: list[Submission]
    quote: Quote
    notes: tuple[str, ...]


class Making:
    """Starts jobs that cost credits.

    Args:
        catalogue: Models, limits and prices.
        casting: Puts characters of the local library into requests.
        inputs: Finds local files and URLs that go into a request.
        lengths: How long they are.
        orders: Makes orders of drafts.
        spender: The one way to spend.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        casting: Casting,
        inputs: Inputs,
        lengths: Lengths,
        orders: Orders,
        spender: Spender,
    ) -> None:
        self._catalogue = catalogue
        self._casting = casting
        self._inputs = inputs
        self._lengths = lengths
        self._orders = orders
        self._spender = spender

    async def media(
        self,
        request: MediaRequest,
        sources: Sequence[str],
        caller: Caller,
        *,
        count: int = 1,
        tool: str = "generate_media",
        repeat: str = "",
    ) -> Started:
        """Start `count` runs of an image or video job. `sources` are local paths, URLs or library names.

        Args:
            repeat: Makes a wanted repeat a new intention, such as the id of the job being repeated.

        Raises:
            InvalidArgumentError: The model does not take this request; nothing was charged.
            KubeezError: As `Spender.submit_all`.
        """
        check_variant_count(count)
        draft = replace(await self.media_draft(request, sources), tool=tool)
        return await self.submit(draft, caller, count=count, repeat=repeat)

    async def media_draft(self, request: MediaRequest, sources: Sequence[str]) -> Draft:
        """An image or video request checked against its model, and priced."""

        listing = await self._catalogue.listing()
        model = listing.get(request.model)
        request, sources = await self._casting.cast(request, sources)
        found = await self._inputs.resolve_all(sources, argument="source_media_urls")
        checked = check_media(model, listing, replace(request, inputs=tuple(item.kind for item in found)))
        seconds = await self._lengths.totals(found)
        quote = quote_media(
            listing.get(checked.model),
            checked,
            reference_video_seconds=seconds["video"],
            reference_audio_seconds=seconds["audio"],
        )
        return Draft(
            route=ROUTES["generate_media"],
            body={
                "prompt": checked.prompt,
                "model": checked.model,
                "generation_type": checked.generation_type,
                "negative_prompt": checked.negative_prompt,
                "source_media_urls": tuple(found) or None,
                "aspect_ratio": checked.aspect_ratio,
                "duration": checked.duration,
                "quality": checked.quality,
                "resolution": checked.resolution,
                "sound": checked.sound,
                "seed": checked.seed,
                "voice_id": checked.voice_id,
                "character_ids": checked.character_ids or None,
            },
            model=checked.model,
            prompt=checked.prompt,
            quote=quote,
            generation_type=checked.generation_type,
            notes=checked.notes,
        )

    async def submit(self, draft: Draft, caller: Caller, *, count: int = 1, repeat: str = "") -> Started:
        """Order a draft `count` times and submit the orders together, with one question and one check of ceilings."""
        orders = await self._orders.of(draft, caller, count=count, repeat=repeat)
        submissions = await self._spender.submit_all(orders, caller.consent, caller.approval or None)
        if len(submissions) == 1 and submissions[0].error is not None:
            raise submissions[0].error
        return Started(submissions, draft.quote, draft.notes)
