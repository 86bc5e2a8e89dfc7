"""Making images and video: the paid heart of the server."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from kubeez_mcp_local.catalogue.media_request import MediaRequest
from kubeez_mcp_local.mcp_server.call import Call
from kubeez_mcp_local.mcp_server.inventory import tool
from kubeez_mcp_local.mcp_server.results import JobResult
from kubeez_mcp_local.mcp_server.shaping import started_result
from kubeez_mcp_local.mcp_server.tools import parameters as p


@tool(
    title="Make an image or video",
    family="media",
    result=JobResult,
    effect="spend",
    scope="generate:media",
    route="generate_media",
    core=True,
)
async def generate_media(
    call: Call,
    prompt: p.Prompt,
    model: p.ModelId,
    generation_type: p.GenerationType = "",
    source_media_urls: p.SourceMedia = [],  # noqa: B006 - a pydantic default, never shared
    aspect_ratio: p.AspectRatio = "",
    duration: p.Duration = "",
    quality: p.Quality = "",
    resolution: p.Resolution = "",
    sound: p.Sound = None,
    seed: p.Seed = None,
    negative_prompt: p.NegativePrompt = "",
    voice_id: Annotated[str, Field(description="Gemini Omni only.")] = "",
    character_ids: Annotated[p.Texts, Field(description="From list_gemini_omni_characters.")] = [],  # noqa: B006
    variant_count: p.VariantCount = 1,
    approval: p.Approval = "",
) -> JobResult:
    """Start an image or video job. Costs credits: quote with estimate and get the user's yes first.

    Returns a generation_id at once; then call wait_for_generation. The request is checked against the model before
    anything is paid. Repeating the same call returns the same job instead of paying twice; for another take use a
    different seed or variant_count.
    """
    request = MediaRequest(
        prompt=prompt,
        model=model,
        generation_type=generation_type or None,
        negative_prompt=negative_prompt or None,
        aspect_ratio=aspect_ratio or None,
        duration=duration or None,
        quality=quality or None,
        resolution=resolution or None,
        sound=sound,
        seed=seed,
        voice_id=voice_id or None,
        character_ids=tuple(character_ids),
    )
    started = call.bridge.making.media(request, source_media_urls, call.caller(approval), count=variant_count)
    return await started_result(call, started)


@tool(
    title="Make it again",
    family="media",
    result=JobResult,
    effect="spend",
    scope="generate:media",
    route="generate_media",
)
async def regenerate(
    call: Call,
    id: p.JobId,  # noqa: A002 - the hosted tool's name
    prompt: Annotated[str, Field(description="Instead of the original prompt.")] = "",
    seed: p.Seed = None,
    aspect_ratio: p.AspectRatio = "",
    negative_prompt: p.NegativePrompt = "",
    variant_count: p.VariantCount = 1,
    approval: p.Approval = "",
) -> JobResult:
    """Run an earlier image or video job again, with changes. Costs the same as a new job: quote and ask first.

    The wanted repeat that generate_media refuses to be. To repeat once more, give the id of the newest job.
    """
    changes = {"prompt": prompt, "seed": seed, "aspect_ratio": aspect_ratio, "negative_prompt": negative_prompt}
    started = call.bridge.regenerating.again(id, changes, call.caller(approval), count=variant_count)
    return await started_result(call, started)
