"""Models, prices, balance."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from kubeez_mcp_local.mcp_server.call import Call
from kubeez_mcp_local.mcp_server.inventory import tool
from kubeez_mcp_local.mcp_server.results import BalanceResult, EstimateResult, ModelsResult
from kubeez_mcp_local.mcp_server.rows import model_row
from kubeez_mcp_local.operations import Described
from kubeez_mcp_local.operations import estimate as price
from kubeez_mcp_local.operations import parameters as p

ModelType = Annotated[str, Field(description="Only this kind: image, video, music, speech, …; leave out for all.")]


@tool(title="Models and prices", family="planning", result=ModelsResult, route="models", core=True)
async def get_models(
    call: Call,
    model_type: ModelType = "",
    generation_type: Annotated[str, Field(description="Only models that do this, such as image-to-video.")] = "",
    query: Annotated[str, Field(description="Words that the id, name or provider must contain.")] = "",
    max_credits: Annotated[
        float | None, Field(description="Only models whose price per job is at most this.", ge=0)
    ] = None,
    limit: Annotated[int, Field(description="At most this many rows, 1 to 200, cheapest first.", ge=1, le=200)] = 40,
) -> ModelsResult:
    """The catalogue: model ids with price in credits, ratios, durations, input limits. Free.

    Only ids listed here can be used. The source says whether the rows are live, cached or the shipped snapshot.
    """
    listing = await call.bridge.catalogue.listing()
    found = listing.filter(
        model_type=model_type or None,
        generation_type=generation_type or None,
        query=query or None,
        max_credits=max_credits,
    )
    cheapest = sorted(found.models, key=lambda model: (model.credits is None, model.credits or 0, model.id))
    return ModelsResult(
        mode=call.mode,
        models=[model_row(model) for model in cheapest[:limit]],
        total_count=len(listing.models),
        matching_count=len(found.models),
        source=listing.source,
        age_seconds=int(listing.age_seconds),
        notes=[listing.note] if listing.note else [],
        next_step="estimate(model, …) quotes a job; generate_media makes it.",
    )


@tool(title="Credit balance", family="planning", result=BalanceResult, scope="read:balance", route="balance", core=True)
async def get_balance(call: Call) -> BalanceResult:
    """Credits left in the account, what was spent today, and what the local ceilings still allow. Free."""
    balance = await call.bridge.balance()
    today = await call.bridge.today()
    settings = call.bridge.settings
    return BalanceResult(
        mode=call.mode,
        credits=balance.credits,
        message=balance.message,
        purchase_url=balance.purchase_url,
        spent_today=today.spent,
        left_today=today.left,
        max_credits_per_call=settings.max_credits_per_call,
        max_credits_per_day=settings.max_credits_per_day,
        notes=[
            f"Nobody knows yet whether job {job} was paid; get_status looks." for job in await call.bridge.unsettled()
        ],
    )


@tool(
    title="Quote a job",
    family="planning",
    result=EstimateResult,
    core=True,
    aliases=("estimate_generation_cost", "get_generation_estimate"),
)
async def estimate(
    call: Call,
    model: p.ModelId,
    generation_type: p.GenerationType = "",
    duration: p.Duration = "",
    resolution: p.Resolution = "",
    quality: p.Quality = "",
    sound: p.Sound = None,
    variant_count: p.VariantCount = 1,
    reference_video_seconds: Annotated[
        float | None, Field(description="Length of an attached clip, in seconds.", ge=0)
    ] = None,
    reference_audio_seconds: Annotated[
        float | None, Field(description="Length of attached audio, in seconds.", ge=0)
    ] = None,
) -> EstimateResult:
    """What a job will cost in credits, and how long it takes, before anything is spent. Free.

    Pass the same values as to the generate tool. Without evidence for a price, credits is absent and basis is unknown.
    """
    described = Described(
        model,
        generation_type=generation_type or None,
        duration=duration or None,
        resolution=resolution or None,
        quality=quality or None,
        sound=sound,
        video_seconds=reference_video_seconds,
        audio_seconds=reference_audio_seconds,
        count=variant_count,
    )
    quote = price(await call.bridge.catalogue.listing(), described)
    if quote.credits is None and not quote.lacks_length:
        told = await call.bridge.api_prices.of(described)
        quote = (
            replace(quote, credits=told.credits, breakdown=(told,), note="The API's own estimate.") if told else quote
        )
    return EstimateResult(
        mode=call.mode,
        model=model,
        credits=quote.credits,
        basis="api" if quote.basis == "unknown" and quote.credits is not None else quote.basis,
        estimated_time_seconds=quote.seconds,
        breakdown=[{"label": line.label, "credits": line.credits, "detail": line.detail} for line in quote.breakdown],
        notes=[quote.note] if quote.note else [],
        next_step="Tell the user the price; generate once they agree."
        if quote.credits is not None
        else "Tell the user that the price is not known, and why; generate only if they agree to that.",
    )
