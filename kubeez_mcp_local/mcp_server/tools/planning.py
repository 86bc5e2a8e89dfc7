"""Choosing and pricing: models, a plan for an intent, a model for a need, a quote, the balance, a skill to read."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from kubeez_mcp_local.bridge.pricing import outlined
from kubeez_mcp_local.catalogue.checks import MOST_FILE_SECONDS, verify_number
from kubeez_mcp_local.jobs.spender import needs_consent
from kubeez_mcp_local.mcp_server.call import Call
from kubeez_mcp_local.mcp_server.inventory import tool
from kubeez_mcp_local.mcp_server.resources import skill_text
from kubeez_mcp_local.mcp_server.results import (
    BalanceResult,
    ChoiceResult,
    EstimateResult,
    ModelsResult,
    PlanResult,
    SkillResult,
)
from kubeez_mcp_local.mcp_server.rows import known, model_row
from kubeez_mcp_local.mcp_server.shaping import quoted_result
from kubeez_mcp_local.mcp_server.tools.paid import checked_by, paid_tools
from kubeez_mcp_local.operations import Described, by_model, unpriced
from kubeez_mcp_local.operations import parameters as p

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.models import Model
    from kubeez_mcp_local.cookbook.library import Entry
    from kubeez_mcp_local.planning.offers import Offer

_MOST_RECIPES = 3


@tool(title="Plan the work", family="planning", result=PlanResult)
async def plan(
    call: Call,
    intent: Annotated[str, Field(description="The user's wish, with its numbers.", min_length=1)],
    task: Annotated[str, Field(description="As in pick_model, or trim. Give it: words alone rarely decide.")] = "",
    has_local_files: Annotated[bool, Field(description="Images or audio are attached.")] = False,
    has_video_reference: Annotated[bool, Field(description="A video to be changed is attached.")] = False,
) -> PlanResult:
    """Model, price and steps for a wish. Name its task, or it asks for one; pick_model is more direct. Free."""
    from kubeez_mcp_local.cookbook.library import recipes_for
    from kubeez_mcp_local.planning.plan import plan as planned

    found = planned(
        intent,
        await call.bridge.catalogue.listing(),
        task=task,
        has_local_files=has_local_files,
        has_video_reference=has_video_reference,
        can_cut=_can_cut(),
    )
    pricing = await call.bridge.pricing_for(found.job.model if found.job else None)
    quote = await pricing.finished(found.quote, found.job)
    found = replace(found, quote=quote)
    entries = (await call.recipes.index()).entries
    files = found.requires_upload or has_local_files or has_video_reference
    fitting = [name for name, entry in entries.items() if files or not _needs_file(entry)]
    recipes = recipes_for(intent, fitting)[:_MOST_RECIPES]
    hint = [f"There is a recipe for work like this; get_recipe(name='{recipes[0]}') shows it."] if recipes else []
    above = call.bridge.settings.asks_above
    asked = [_after_estimate(quote.credits, above)] if found.job and above < float("inf") else []
    return PlanResult(
        mode=call.mode,
        task=found.task,
        tasks=dict(found.tasks) or None,
        recommended_model=found.recommended_model,
        estimated_credits=quote.credits,
        price=quote.said if found.job else None,
        estimated_seconds=quote.seconds,
        requires_upload=found.requires_upload,
        suggested_aspect_ratio=found.suggested_aspect_ratio,
        count=found.count,
        offers=[_offer_row(offer) for offer in found.offers],
        workflow_steps=list(found.workflow_steps),
        skills_to_fetch=list(found.skills_to_fetch),
        alternatives=list(found.alternatives),
        recipes=recipes or None,
        notes=list(found.notes),
        next_step=" ".join([*asked, *hint]) or None,
    )


def _needs_file(entry: Entry) -> bool:
    """Whether a recipe starts from a file of the user's."""
    return any(one.required and one.type == "path" for one in entry.summary.arguments.values())


def _can_cut() -> bool:
    return find_spec("av") is not None


def _offer_row(offer: Offer) -> dict[str, Any]:
    calls = [
        known(
            tool=step.tool,
            arguments=dict(step.arguments),
            inputs=list(step.inputs) if step.tool == "generate_media" else [],
            times=step.times,
            credits=step.credits,
        )
        for step in offer.steps
    ]
    return known(says=offer.says, credits=offer.credits, gives_way=list(offer.gives_way), calls=calls)


@tool(title="Pick a model", family="planning", result=ChoiceResult, core=True)
async def pick_model(
    call: Call,
    task: Annotated[
        str, Field(description="text-to-image, …; or image, video, music, speech, sound, captions, dubbing.")
    ],
    inputs: Annotated[p.Texts, Field(description="Kinds of the files to attach: image, video, audio.")] = [],  # noqa: B006
    aspect_ratio: p.AspectRatio = "",
    duration: p.Duration = "",
    sound: Annotated[bool | None, Field(description="true: with sound; false: silent.")] = None,
    resolution: p.Resolution = "",
    max_credits: Annotated[float | None, Field(description="Budget for all results together.", ge=0)] = None,
    count: Annotated[int, Field(description="How many results.", ge=1, le=1000)] = 1,
    prefer: Annotated[Literal["price", "speed", "tier"], Field(description="What ranks first.")] = "price",
) -> ChoiceResult:
    """Which model fits, calculated over the whole catalogue, with its price; else what would do, with prices. Free."""
    from kubeez_mcp_local.planning.offers import cheaper, offers
    from kubeez_mcp_local.planning.pick import Needs, described, pick

    needs = Needs(
        task=task,
        inputs=tuple(inputs),  # type: ignore[arg-type]  # checked by settled_needs, which names the allowed kinds
        aspect_ratio=aspect_ratio or None,
        duration=duration or None,
        sound=sound,
        resolution=resolution or None,
        max_credits=max_credits,
        count=count,
        prefer=prefer,
    )
    listing = await call.bridge.catalogue.listing()
    choice = pick(listing, needs)
    best, quote = choice.chosen, None
    if best:
        pricing = await call.bridge.pricing_for(best.model.id)
        quote = await pricing.finished(best.quote, described(best, choice.needs))
        choice = choice.priced(quote)
    less = cheaper(listing, choice, can_cut=_can_cut())
    made = (less,) if less else () if best else offers(listing, choice.needs, can_cut=_can_cut())
    start = "Cheaper" if best else "What would do"
    would = f" {start}: {'. Or '.join(offer.says for offer in made)}." if made else ""
    return ChoiceResult(
        mode=call.mode,
        model=best.model.id if best else None,
        credits=quote.credits if quote else None,
        basis=quote.basis if quote else None,
        exact=quote.exact if quote else None,
        ranked=[{"model": one.model.id, "credits": one.quote.credits} for one in choice.ranked[:8]],
        rejected=[{"reason": one.reason, "models": list(one.families)} for one in choice.rejected[:8] if one.families],
        offers=[_offer_row(offer) for offer in made],
        summary=f"{choice.summary}{would}",
    )


@tool(title="Read a skill", family="planning", result=SkillResult, remote=False)
async def get_skill(
    call: Call,
    name: Annotated[str, Field(description="Such as model-selection, billing-confirmation, polling, prompt-writing.")],
) -> SkillResult:
    """A short text on how to do something well with these tools; the same as kubeez://skills/{name}. Free."""
    return SkillResult(mode=call.mode, name=name, text=skill_text(name))


ModelType = Annotated[str, Field(description="Only this kind, as in pick_model; leave out for all.")]


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
    from kubeez_mcp_local.planning.intent import doing

    listing = await call.bridge.catalogue.listing()
    found = doing(listing, "model_type", model_type)
    found = doing(found, "generation_type", generation_type, among=listing)
    found = found.filter(query=query or None, max_credits=max_credits)
    cheapest = sorted(found.models, key=lambda model: (model.credits is None, model.credits or 0, model.id))
    more = len(cheapest) - limit
    left_out = _left_out(cheapest, limit) if more > 0 else ""
    return ModelsResult(
        mode=call.mode,
        models=[model_row(model, listing) for model in cheapest[:limit]],
        total_count=len(listing.models),
        matching_count=len(found.models),
        source=listing.source,
        age_seconds=int(listing.age_seconds),
        notes=[*([left_out] if left_out else []), *([listing.note] if listing.note else [])],
        next_step="estimate(model, …) quotes a job; generate_media makes it.",
    )


_FAMILIES_NAMED = 12


def _left_out(rows: list[Model], limit: int) -> str:
    """How many rows are not shown, of which families, and how to get them."""
    families = Counter(model.family for model in rows[limit:])
    named = [f"{family} ({times})" for family, times in families.most_common(_FAMILIES_NAMED)]
    more = ", …" if len(families) > len(named) else ""
    return (
        f"{limit} of {len(rows)} shown, the cheapest. The others by query=family: {', '.join(named)}{more}; "
        f"limit={len(rows)} shows all."
    )


@tool(title="Credit balance", family="planning", result=BalanceResult, route="balance", core=True)
async def get_balance(call: Call) -> BalanceResult:
    """Credits left in the account, what was spent today on what, and what the local ceilings still allow. Free."""
    bridge, settings = call.bridge, call.bridge.settings
    balance, today = await bridge.api.balance(), await bridge.today()
    accounts = await bridge.balances() if bridge.two_doors else None
    models = await bridge.ledger.spend_by("model", today.day)
    return BalanceResult(
        mode=call.mode,
        credits=balance.credits,
        accounts=accounts,
        message=balance.message,
        purchase_url=balance.purchase_url,
        spent_today=today.spent,
        left_today=today.left,
        max_credits_per_call=settings.max_credits_per_call,
        max_credits_per_day=settings.max_credits_per_day,
        spent_today_on=[
            known(model=one.key, jobs=one.jobs, credits=one.charged, held_back=one.reserved or None) for one in models
        ],
        next_step="get_generations(since='today') lists the jobs." if models else None,
        notes=[f"Nobody knows yet whether job {job} was paid; get_status looks." for job in await bridge.unsettled()],
    )


@tool(
    title="Quote a job",
    family="planning",
    result=EstimateResult,
    core=True,
    aliases=("estimate_generation_cost", "get_generation_estimate"),
    unlisted=lambda: {argument.name for spec in paid_tools() for argument in spec.arguments()},
)
async def estimate(
    call: Call,
    model: p.ModelId,
    generation_type: p.GenerationType = "",
    duration: p.Duration = "",
    resolution: p.Resolution = "",
    quality: p.Quality = "",
    sound: p.Sound = None,
    variant_count: Annotated[
        int, Field(description="1 to 4 (ads: 10) jobs of the same request; each is paid.", ge=1, le=10)
    ] = 1,
    reference_video_seconds: Annotated[float | None, Field(description="Of clips not given as files.")] = None,
    reference_audio_seconds: Annotated[float | None, Field(description="The same for audio.")] = None,
    **others: Any,
) -> EstimateResult:
    """What a job will cost in credits, and how long it takes, before anything is spent. Free.

    Pass the arguments of the generate tool, files too: they are measured. Without evidence for a price, credits is
    absent and basis is unknown.
    """
    lengths = {"reference_video_seconds": reference_video_seconds, "reference_audio_seconds": reference_audio_seconds}
    for name, seconds in lengths.items():
        verify_number(name, seconds, 0, MOST_FILE_SECONDS, " s")
    row = (await call.bridge.catalogue.listing()).get(model)
    operation = by_model(row)
    if operation is None:
        return EstimateResult(
            mode=call.mode,
            model=row.id,
            basis="unknown",
            notes=[unpriced(row).note],
            next_step="pick_model chooses among the models that tools run.",
        )
    job = Described(
        row.id,
        generation_type=generation_type or None,
        video_seconds=reference_video_seconds or None,
        audio_seconds=reference_audio_seconds or None,
        count=variant_count,
    )
    listed = {
        "generation_type": generation_type,
        "duration": duration,
        "resolution": resolution,
        "quality": quality,
        "sound": sound,
        "variant_count": variant_count if variant_count > 1 else None,
    }
    given = {name: value for name, value in (listed | others).items() if value is not None and value != ""}
    door = await call.bridge.door_for(operation.route)
    draft = outlined(call.sources_of(door), operation, job, given, checked_by(operation))
    priced = await door.orders.priced(draft)
    return quoted_result(call, door, priced, next_step=_after_estimate(priced.credits, call.bridge.settings.asks_above))


def _after_estimate(price_: float | None, asks_above: float) -> str:
    """What to do with a price: ask only where the paid call does not."""
    if needs_consent(price_, asks_above):
        return "The generate call asks the user for a yes to this itself; do not ask before it."
    if price_ is None:
        return "Tell the user that the price is not known, and why; generate only if they agree to that."
    return "Tell the user the price; generate once they agree."
