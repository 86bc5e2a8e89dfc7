"""Music, sound and speech."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from kubeez_mcp_local.catalogue.music import MODE_NOTE, MusicRequest
from kubeez_mcp_local.catalogue.sound import SoundRequest
from kubeez_mcp_local.catalogue.speech import DialogueRequest, Line
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.mcp_server.call import Call
from kubeez_mcp_local.mcp_server.inventory import tool
from kubeez_mcp_local.mcp_server.results import JobResult, PersonaResult
from kubeez_mcp_local.mcp_server.shaping import started_result
from kubeez_mcp_local.mcp_server.tools import parameters as p

Weight = Annotated[float | None, Field(description="0 to 1, advanced mode; default 0.65.", ge=0, le=1)]


@tool(
    title="Make music",
    family="audio",
    result=JobResult,
    effect="spend",
    scope="generate:music",
    route="generate_music",
)
async def generate_music(
    call: Call,
    prompt: Annotated[str, Field(description="Simple mode: the music in words, at most 400 characters.")] = "",
    title: Annotated[str, Field(description="Advanced mode: title, together with style.")] = "",
    style: Annotated[str, Field(description="Advanced mode: style tags, together with title.")] = "",
    lyrics: Annotated[str, Field(description="Advanced: sung word for word; or song_description.")] = "",
    song_description: Annotated[str, Field(description="Advanced: what it is about; or lyrics.")] = "",
    vocal_gender: Annotated[Literal["", "m", "f", "random"], Field(description="Advanced, with vocals.")] = "",
    instrumental: Annotated[bool, Field(description="No vocals.")] = False,
    negative_tags: Annotated[str, Field(description="Advanced: styles to avoid.")] = "",
    style_weight: Weight = None,
    weirdness_constraint: Weight = None,
    audio_weight: Weight = None,
    persona_id: Annotated[str, Field(description="A voice from an earlier song.")] = "",
    model: Annotated[str, Field(description="Engine id; leave out for the newest.")] = "",
    approval: p.Approval = "",
) -> JobResult:
    """Start a music job; usually two songs come back. Costs credits: quote with estimate and get a yes first.

    Simple mode takes prompt alone. Advanced mode takes title and style, and either lyrics or song_description.
    """
    request = MusicRequest(
        prompt=prompt or None,
        instrumental=instrumental,
        model=model or None,
        title=title or None,
        style=style or None,
        vocal_gender=vocal_gender or None,
        song_description=song_description or None,
        lyrics=lyrics or None,
        negative_tags=negative_tags or None,
        style_weight=style_weight,
        weirdness_constraint=weirdness_constraint,
        audio_weight=audio_weight,
        persona_id=persona_id or None,
    )
    result = await started_result(call, call.bridge.start(call.bridge.drafting.music(request), call.caller(approval)))
    return result.model_copy(update={"mode_note": next((note for note in result.notes if note == MODE_NOTE), None)})


@tool(
    title="Keep a song's voice",
    family="audio",
    result=PersonaResult,
    effect="write",
    scope="generate:music",
    route="generate_music_persona",
)
async def generate_music_persona(
    call: Call,
    song_id: Annotated[str, Field(description="The id inside songs[].", min_length=1)],
    name: Annotated[str, Field(description="At most 80 characters.", min_length=1, max_length=80)],
    description: Annotated[str, Field(description="At most 500 characters.", min_length=1, max_length=500)],
    style: Annotated[str, Field(description="Style tags.")] = "",
) -> PersonaResult:
    """Keep the voice of a finished song under a name; pass the persona_id to generate_music. Free, answers at once."""
    persona_id = await call.bridge.personas.keep(song_id, name, description, style or None)
    return PersonaResult(mode=call.mode, persona_id=persona_id, next_step="Pass it to generate_music as persona_id.")


@tool(
    title="Make speech",
    family="audio",
    result=JobResult,
    effect="spend",
    scope="generate:speech",
    route="generate_dialogue",
)
async def generate_dialogue(
    call: Call,
    text: Annotated[str, Field(description="The words to speak, 5 to 5000 characters; or dialogue.")] = "",
    dialogue: Annotated[p.Lines, Field(description="Lines as {text, voice}, for several speakers; or text.")] = [],  # noqa: B006
    voice: Annotated[str, Field(description="Such as Rachel or Mark; of lines without one, too.")] = "",
    provider: Annotated[
        Literal["elevenlabs", "google", "gemini", "gemini-3.8", "seed"],
        Field(description="Speech engine; others than elevenlabs only if the API publishes them."),
    ] = "elevenlabs",
    language_code: Annotated[str, Field(description="auto, or such as en, de.")] = "",
    stability: Annotated[float | None, Field(description="0 to 1, ElevenLabs; default 0.5.", ge=0, le=1)] = None,
    approval: p.Approval = "",
) -> JobResult:
    """Start a speech job from text or lines. Costs credits: quote and ask first. Voices are checked before paying.

    Returns a generation_id; then wait_for_generation.
    """
    if text and dialogue:
        raise InvalidArgumentError("dialogue", "goes instead of text, not with it.", next_step="Leave one of them out.")
    if not text.strip() and not dialogue:
        raise InvalidArgumentError("text", "is empty.", next_step="Give the words to speak, or lines as dialogue.")
    lines = tuple(Line(line.text, line.voice or voice or None) for line in dialogue)
    request = DialogueRequest(lines or (Line(text, voice or None),), provider, stability, language_code or None)
    return await started_result(call, call.bridge.start(call.bridge.drafting.dialogue(request), call.caller(approval)))


@tool(
    title="Make sound",
    family="audio",
    result=JobResult,
    effect="spend",
    scope="generate:media",
    route="generate_sound",
)
async def generate_sound(
    call: Call,
    model: Annotated[str, Field(description="sonilo-text-to-sfx, sonilo-text-to-music or sonilo-video-to-….")],
    prompt: Annotated[str, Field(description="The sound in words, at most 2000 characters.")] = "",
    video_url: Annotated[str, Field(description="Clip to score: https URL or local path, at most 360 s.")] = "",
    music_prompt: Annotated[str, Field(description="Music part, for the *-sound models.")] = "",
    sfx_prompt: Annotated[str, Field(description="Effects part, for the *-sound models.")] = "",
    duration: Annotated[p.Seconds, Field(description="Seconds, text models: 1-180 effect, 5-360 music.")] = None,
    approval: p.Approval = "",
) -> JobResult:
    """Start a sound job: effects or instrumental music, from text or for a clip. Billed per second: ask first."""
    request = SoundRequest(model, prompt or None, music_prompt or None, sfx_prompt or None, duration)
    draft = call.bridge.drafting.sound(request, video_url or None)
    return await started_result(call, call.bridge.start(draft, call.caller(approval)))
