"""The voices of Gemini Omni."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from kubeez_mcp_local.mcp_server.call import Call
from kubeez_mcp_local.mcp_server.inventory import tool
from kubeez_mcp_local.mcp_server.results import VoiceResult, VoicesResult

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.voices import OmniVoice

_EVIDENCE = "These are Gemini's standard voices; Kubeez publishes no list of its own over REST."


@tool(title="Omni voices", family="library", result=VoicesResult, remote=False)
async def list_gemini_omni_voices(call: Call) -> VoicesResult:
    """The 30 voices of the Gemini Omni models with gender and manner, for voice_id. Free."""
    from kubeez_mcp_local.catalogue.voices import OMNI_VOICES

    rows = [_row(voice) for voice in OMNI_VOICES]
    return VoicesResult(mode=call.mode, voices=rows, count=len(rows), notes=[_EVIDENCE])


@tool(title="Hear an Omni voice", family="library", result=VoiceResult, remote=False)
async def play_gemini_omni_voice(
    call: Call, voice_id: Annotated[str, Field(description="Such as kore or puck.")]
) -> VoiceResult:
    """What is known of one voice. There is no sample to play over the REST API; kubeez.com has one. Free."""
    from kubeez_mcp_local.catalogue.voices import omni_voice

    return VoiceResult(
        mode=call.mode,
        voice=_row(omni_voice(voice_id)),
        message="The REST API publishes no sample of this voice; listen to it on https://kubeez.com.",
        notes=[_EVIDENCE],
    )


def _row(voice: OmniVoice) -> dict[str, Any]:
    return {"id": voice.id, "label": voice.label, "gender": voice.gender, "description": voice.description}
