"""Jobs on one file: captions, separation, dubbing, background removal; and ads after a reference."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from kubeez_mcp_local.catalogue.ad_copy import AdCopyRequest
from kubeez_mcp_local.catalogue.clips import DubbingRequest
from kubeez_mcp_local.mcp_server.answers import link
from kubeez_mcp_local.mcp_server.call import Call
from kubeez_mcp_local.mcp_server.inventory import tool
from kubeez_mcp_local.mcp_server.results import JobResult, TrimResult
from kubeez_mcp_local.mcp_server.shaping import started_result
from kubeez_mcp_local.mcp_server.tools import parameters as p

TRIM_PATIENCE = 40.0
"""Seconds a call waits for a cut; clients give up on calls that last a minute."""


@tool(
    title="Caption a video",
    family="audio",
    result=JobResult,
    effect="spend",
    scope="generate:media",
    route="generate_captions",
)
async def generate_captions(
    call: Call,
    media_url: Annotated[str, Field(description="Video: https URL or local path, at most 30 minutes.")],
    quality: Annotated[
        Literal["auto", "best"], Field(description="best is more accurate and needs language.")
    ] = "auto",
    language: Annotated[str, Field(description="Spoken language such as en; needed for best.")] = "",
    approval: p.Approval = "",
) -> JobResult:
    """Start a job that burns word-timed captions into a video. Billed per second: quote and ask first."""
    draft = call.bridge.drafting.captions(media_url, quality=quality, language=language or None)
    return await started_result(call, call.bridge.start(draft, call.caller(approval)))


@tool(
    title="Separate a song",
    family="audio",
    result=JobResult,
    effect="spend",
    scope="generate:media",
    route="generate_separation",
)
async def generate_separation(
    call: Call,
    media_url: Annotated[str, Field(description="Audio: local path, or the URL of a Kubeez upload.")],
    approval: p.Approval = "",
) -> JobResult:
    """Start a job that splits a song into vocals and instrumental. Billed by the minute; quote and ask first."""
    draft = call.bridge.drafting.separation(media_url)
    return await started_result(call, call.bridge.start(draft, call.caller(approval)))


@tool(
    title="Dub a video",
    family="audio",
    result=JobResult,
    effect="spend",
    scope="generate:speech",
    route="generate_dubbing",
)
async def generate_dubbing(
    call: Call,
    video_url: Annotated[str, Field(description="Video: https URL or local path, at most 300 s.")],
    languages: Annotated[p.Texts, Field(description="Target languages such as de, fr, pt_br; each is paid.")],
    model: Annotated[
        Literal["sonilo-dubbing", "elevenlabs-dubbing"], Field(description="Engine; elevenlabs has more languages.")
    ] = "sonilo-dubbing",
    source_language: Annotated[str, Field(description="elevenlabs only; default auto.")] = "",
    cloning_strength: Annotated[float | None, Field(description="elevenlabs only, 0 to 10.", ge=0, le=10)] = None,
    ducking: Annotated[bool | None, Field(description="sonilo only: lower the original sound.")] = None,
    approval: p.Approval = "",
) -> JobResult:
    """Start a job that speaks a video in other languages, one video each. The dearest kind: quote and ask first."""
    request = DubbingRequest(tuple(languages), model, source_language or None, cloning_strength, ducking)
    draft = call.bridge.drafting.dubbing(video_url, request)
    return await started_result(call, call.bridge.start(draft, call.caller(approval)))


@tool(title="Cut a video", family="media", result=TrimResult, effect="write", scope="generate:media")
async def trim_video(
    call: Call,
    source_url: Annotated[str, Field(description="Video: https URL or local path, at most 500 MB.")],
    end_s: Annotated[float, Field(description="End in seconds; at most 60 s after start_s.")],
    start_s: Annotated[float, Field(description="Start in seconds.")] = 0,
) -> TrimResult:
    """Cut a window out of a video here, exact to the frame, and upload it. Free. The user chooses the window."""
    cut = await call.bridge.trimming.trim(source_url, start_s, end_s, patience=TRIM_PATIENCE)
    if cut is None:
        again = "Still cutting; call again with the same arguments to get the result."
        return TrimResult(mode=call.mode, status="processing", next_step=again)
    made = cut.trimmed
    call.blocks.append(link(made.path.as_uri(), made.path.name, "video/mp4", made.size_bytes))
    return TrimResult(
        mode=call.mode,
        status="completed",
        url=cut.url,
        path=str(made.path),
        size_bytes=made.size_bytes,
        duration_s=made.duration_s,
        start_s=made.start_s,
        end_s=made.end_s,
        elapsed_s=made.elapsed_s,
        notes=[f"The cut is on disk but could not be uploaded: {cut.upload_error}"] if cut.upload_error else [],
        next_step=f"Pass {'url' if cut.url else 'path'} to generate_media as source_media_urls.",
    )


@tool(
    title="Remove a background",
    family="media",
    result=JobResult,
    effect="spend",
    scope="generate:media",
    route="remove_background",
)
async def remove_background(
    call: Call,
    image_url: Annotated[str, Field(description="JPEG, PNG or WebP, at most 5 MB: https URL or local path.")],
    approval: p.Approval = "",
) -> JobResult:
    """Start a job that returns a PNG of the subject with a clear background. Costs credits: quote and ask first."""
    draft = call.bridge.drafting.background(image_url)
    return await started_result(call, call.bridge.start(draft, call.caller(approval)))


@tool(
    title="Make ads after a reference",
    family="ads",
    result=JobResult,
    effect="spend",
    scope="generate:ads",
    route="create_ad_copy",
)
async def create_ad_copy(
    call: Call,
    reference_ad_url: Annotated[str, Field(description="The ad to follow: https URL or local path.")],
    product_image_url: Annotated[str, Field(description="Your product: https URL or local path.")] = "",
    product_text: Annotated[str, Field(description="What the ad should say; at most 5000 characters.")] = "",
    language: Annotated[str, Field(description="Such as en or de.")] = "en",
    variant_count: Annotated[int, Field(description="1 to 10 variants; each is paid.", ge=1, le=10)] = 1,
    aspect_ratio: Annotated[str, Field(description="Such as 9:16 or 1:1.")] = "9:16",
    approval: p.Approval = "",
) -> JobResult:
    """Start ad creatives in the manner of a reference ad. Costs credits per variant: quote and ask first."""
    request = AdCopyRequest(
        reference_ad_url, product_image_url or None, product_text or None, language, variant_count, aspect_ratio
    )
    return await started_result(call, call.bridge.start(call.bridge.drafting.ad_copy(request), call.caller(approval)))
