"""What costs credits: every operation as a tool; and what is done with their jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from kubeez_mcp_local.bridge.api import keep_persona
from kubeez_mcp_local.mcp_server.call import Call
from kubeez_mcp_local.mcp_server.inventory import ToolSpec, described, tool
from kubeez_mcp_local.mcp_server.results import EstimateResult, JobResult, PersonaResult
from kubeez_mcp_local.mcp_server.shaping import started_result
from kubeez_mcp_local.operations import media, operations
from kubeez_mcp_local.operations import parameters as p

if TYPE_CHECKING:
    from kubeez_mcp_local.operations import Operation


def paid_tools() -> tuple[ToolSpec, ...]:
    """A tool for each operation."""
    return tuple(_tool(operation) for operation in operations().values())


def _tool(operation: Operation) -> ToolSpec:
    async def start(
        call: Call, name: p.FileName = "", approval: p.Approval = "", **arguments: Any
    ) -> JobResult | EstimateResult:
        return await started_result(call, operation.draft(call.sources, **arguments), approval, name)

    return ToolSpec(
        name=operation.name,
        title=operation.title,
        description=described(operation.draft),
        family=operation.family,
        handler=start,
        result=JobResult,
        effect="spend",
        route=operation.name,
        core=operation.core,
        parameters=operation.draft,
    )


@tool(title="Make it again", family="media", result=JobResult, effect="spend", route=media.ROUTE.name)
async def regenerate(
    call: Call,
    id: p.JobId,  # noqa: A002 - the hosted tool's name
    prompt: Annotated[str, Field(description="Instead of the original prompt.")] = "",
    seed: p.Seed = None,
    aspect_ratio: p.AspectRatio = "",
    negative_prompt: p.NegativePrompt = "",
    variant_count: p.VariantCount = 1,
    name: p.FileName = "",
    approval: p.Approval = "",
) -> JobResult | EstimateResult:
    """Run an earlier image or video job again, with changes. Costs the same as a new job; the call asks first.

    The wanted repeat that generate_media refuses to be. To repeat once more, give the id of the newest job.
    """
    changes = {"prompt": prompt, "seed": seed, "aspect_ratio": aspect_ratio, "negative_prompt": negative_prompt}
    draft = call.regenerating.again(id, changes, count=variant_count)
    return await started_result(call, draft, approval, name)


@tool(title="Keep a song's voice", family="audio", result=PersonaResult, effect="write", route="generate_music_persona")
async def generate_music_persona(
    call: Call,
    song_id: Annotated[str, Field(description="The id inside songs[].", min_length=1)],
    name: Annotated[str, Field(description="At most 80 characters.", min_length=1, max_length=80)],
    description: Annotated[str, Field(description="At most 500 characters.", min_length=1, max_length=500)],
    style: Annotated[str, Field(description="Style tags.")] = "",
) -> PersonaResult:
    """Keep the voice of a finished song under a name; pass the persona_id to generate_music. Free, answers at once."""
    bridge = call.bridge
    persona_id = await keep_persona(bridge.api, bridge.contract, song_id, name, description, style or None)
    return PersonaResult(mode=call.mode, persona_id=persona_id, next_step="Pass it to generate_music as persona_id.")
