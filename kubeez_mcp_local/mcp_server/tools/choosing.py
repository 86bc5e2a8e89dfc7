"""Deciding what to do: a plan for an intent, a model for a wish, a skill to read."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from kubeez_mcp_local.mcp_server.call import Call
from kubeez_mcp_local.mcp_server.inventory import tool
from kubeez_mcp_local.mcp_server.results import ChoiceResult, PlanResult, SkillResult
from kubeez_mcp_local.mcp_server.skills import skill_text
from kubeez_mcp_local.operations import parameters as p

_MOST_RECIPES = 3


@tool(title="Plan the work", family="planning", result=PlanResult)
async def plan(
    call: Call,
    intent: Annotated[str, Field(description="What the user wants, in plain English.", min_length=1)],
    has_local_files: Annotated[bool, Field(description="The user attached images or audio.")] = False,
    has_video_reference: Annotated[bool, Field(description="The user attached a video to be changed.")] = False,
) -> PlanResult:
    """First call when no model was named: model, price, time and steps for an intent. Free, runs nothing."""
    from kubeez_mcp_local.cookbook.library import fitting_recipes
    from kubeez_mcp_local.planning.plan import plan as planned

    listing = await call.bridge.catalogue.listing()
    found = planned(intent, listing, has_local_files=has_local_files, has_video_reference=has_video_reference)
    recipes = fitting_recipes(intent, (await call.recipes.index()).entries)[:_MOST_RECIPES]
    hint = f"There is a recipe for work like this; get_recipe(name='{recipes[0]}') shows it." if recipes else None
    return PlanResult(
        mode=call.mode,
        recommended_model=found.recommended_model,
        estimated_credits=found.estimated_credits,
        estimated_seconds=found.estimated_seconds,
        requires_upload=found.requires_upload,
        suggested_aspect_ratio=found.suggested_aspect_ratio,
        workflow_steps=list(found.workflow_steps),
        skills_to_fetch=list(found.skills_to_fetch),
        alternatives=list(found.alternatives),
        recipes=recipes or None,
        notes=[found.reason] if found.reason else [],
        next_step=hint,
    )


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
    """Which model fits, calculated over the whole catalogue, with its price; and why the others fell out. Free."""
    from kubeez_mcp_local.planning.pick import Wish, pick

    wish = Wish(
        task=task,
        inputs=tuple(inputs),  # type: ignore[arg-type]  # checked by settled_wish, which names the allowed kinds
        aspect_ratio=aspect_ratio or None,
        duration=duration or None,
        sound=sound,
        resolution=resolution or None,
        max_credits=max_credits,
        count=count,
        prefer=prefer,
    )
    choice = pick(await call.bridge.catalogue.listing(), wish)
    best = choice.chosen
    return ChoiceResult(
        mode=call.mode,
        model=best.model.id if best else None,
        credits=best.quote.credits if best else None,
        basis=best.quote.basis if best else None,
        ranked=[{"model": one.model.id, "credits": one.quote.credits} for one in choice.ranked[:8]],
        rejected=[{"reason": one.reason, "models": list(one.families)} for one in choice.rejected[:8]],
        nearest=choice.nearest.model.id if choice.nearest else None,
        summary=choice.summary,
    )


@tool(title="Read a skill", family="planning", result=SkillResult, remote=False)
async def get_skill(
    call: Call,
    name: Annotated[str, Field(description="Such as model-selection, billing-confirmation, polling, prompt-writing.")],
) -> SkillResult:
    """A short text on how to do something well with these tools; the same as kubeez://skills/{name}. Free."""
    return SkillResult(mode=call.mode, name=name, text=skill_text(name))
