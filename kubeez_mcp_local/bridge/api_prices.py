"""Prices that only the API knows, where it publishes an operation to ask for them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.catalogue.prices import QuoteLine, rounded
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.rest.amounts import price_of
from kubeez_mcp_local.rest.routes import ROUTES, Request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kubeez_mcp_local.bridge.api import Api
    from kubeez_mcp_local.operations import Described
    from kubeez_mcp_local.rest.contract import Contract

log = logging.getLogger(__name__)
# How its answer is spelled is not documented (API reference §2.13); the name of a start's answer comes first.
_TOTALS = ("estimated_cost_credits", "estimated_credits", "total_credits", "credits", "cost_credits", "total")


class ApiPrices:
    """Asks the API what a job costs. Free.

    Args:
        api: The API.
        contract: Knows whether and how it can be asked.
    """

    def __init__(self, api: Api, contract: Contract) -> None:
        self._api = api
        self._contract = contract

    async def of(self, job: Described) -> QuoteLine | None:
        """The price of `job`, all of it together; `None` where the API cannot be asked or does not say."""
        said = {
            **{name: getattr(job, name) for name in ("model", "generation_type", "duration", "resolution", "quality")},
            "sound": job.sound,
            "reference_video_seconds": job.video_seconds,
            "reference_audio_seconds": job.audio_seconds,
        }
        try:
            body = {name: value for name, value in said.items() if value is not None}
            answer = await self._api.call(await self._contract.prepare(Request(ROUTES["estimate"], body)))
        except KubeezError as error:
            log.info("the API names no price: %s", error.code)
            return None
        each = total_of(answer)
        return None if each is None else QuoteLine(job.model, rounded(each * job.count), "as the API estimates it")


def total_of(answer: Mapping[str, Any]) -> float | None:
    """The price that an answer names, in credits; `None` if it names none that can be true."""
    amounts = (price_of(answer.get(name)) for name in _TOTALS)
    return next((amount for amount in amounts if amount is not None), None)
