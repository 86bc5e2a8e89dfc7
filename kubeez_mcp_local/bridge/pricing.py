"""The end of every price: what the catalogue does not tell, the API's own estimate may; asked once for each job."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import anyio

from kubeez_mcp_local.catalogue.prices import QuoteLine, rounded
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.guard import VALID_SECONDS
from kubeez_mcp_local.rest.routes import ROUTES, Request
from kubeez_mcp_local.rest.wire import price_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kubeez_mcp_local.bridge.api import Api
    from kubeez_mcp_local.catalogue.prices import Quote
    from kubeez_mcp_local.operations import Described
    from kubeez_mcp_local.rest.contract import Contract

log = logging.getLogger(__name__)
# How its answer is spelled is not documented (API reference §2.13); the name of a start's answer comes first.
_TOTALS = ("estimated_cost_credits", "estimated_credits", "total_credits", "credits", "cost_credits", "total")
_LONGEST_WAIT = 5.0
_SILENCE_KEPT = 60.0
_MOST_KEPT = 1_000


@dataclass
class Pricing:
    """Finishes prices. A price that was told holds as long as a question about it may take: ten minutes.

    Attributes:
        clock: Seconds; only differences count.
    """

    api: Api
    contract: Contract
    clock: Callable[[], float] = time.monotonic
    _told: dict[tuple[tuple[str, Any], ...], tuple[float, float | None]] = field(default_factory=dict)
    _one_at_a_time: anyio.Lock = field(default_factory=anyio.Lock)

    async def finished(self, quote: Quote, job: Described | None) -> Quote:
        """`quote`, or where it is unknown the API's own estimate of `job`, as a quote of basis `api`.

        It stays unknown where a length is missing (any price would be a guess), where the API could not be told all
        that decides (`job` is `None`), and where it publishes no estimate, names no price, names zero, or is silent
        for five seconds. Free; asked at most once in ten minutes for the same job, in one minute after no answer.
        Never raises for want of a price.
        """
        if quote.credits is not None or quote.lacks_length or job is None:
            return quote
        each = await self._each(_said(job))
        if each is None:
            return quote
        line = QuoteLine(job.model, rounded(each * job.count * job.languages), "as the API estimates it")
        return replace(quote, credits=line.credits, basis="api", breakdown=(line,), note="The API's own estimate.")

    async def _each(self, body: Mapping[str, Any]) -> float | None:
        """The API's price of one such job; remembered."""
        key = tuple(sorted(body.items()))
        async with self._one_at_a_time:
            until, each = self._told.get(key, (0.0, None))
            if self.clock() >= until:
                each = await self._ask(body)
                if len(self._told) >= _MOST_KEPT:
                    self._told.clear()
                self._told[key] = (self.clock() + (_SILENCE_KEPT if each is None else VALID_SECONDS), each)
            return each

    async def _ask(self, body: Mapping[str, Any]) -> float | None:
        try:
            with anyio.move_on_after(_LONGEST_WAIT):
                request = await self.contract.prepare(Request(ROUTES["estimate"], body))
                await self.api.may_read()
                return total_of(await self.api.call(request)) or None
            log.info("the API names no price: it does not answer")
        except KubeezError as error:
            log.info("the API names no price: %s", error.code)
        return None


def _said(job: Described) -> dict[str, Any]:
    """What the API is told of a job: all that its published estimate is known to take."""
    said = {
        **{name: getattr(job, name) for name in ("model", "generation_type", "duration", "resolution", "quality")},
        "sound": job.sound,
        "reference_video_seconds": job.video_seconds,
        "reference_audio_seconds": job.audio_seconds,
    }
    return {name: value for name, value in said.items() if value is not None}


def total_of(answer: Mapping[str, Any]) -> float | None:
    """The price that an answer names, in credits; `None` if it names none that can be true."""
    amounts = (price_of(answer.get(name)) for name in _TOTALS)
    return next((amount for amount in amounts if amount is not None), None)
