"""Sound effects and instrumental music by text or for a clip (hosted tool reference §1.3, `generate_sound`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from kubeez_mcp_local.catalogue.refusals import blank_to_none, one_of, verify_media_kind, verify_number, verify_text
from kubeez_mcp_local.errors import InvalidArgumentError

PROMPT_MAX = 2000
VIDEO_MAX_SECONDS = 360


@dataclass(frozen=True)
class SoundModel:
    """What one sound model takes; lengths and the least billed length in seconds."""

    id: str
    from_video: bool
    shortest: int = 0
    longest: int = VIDEO_MAX_SECONDS
    usual: int | None = None
    least_billed: int = 0
    two_prompts: bool = False


SOUND_MODELS: tuple[SoundModel, ...] = (
    SoundModel("sonilo-text-to-sfx", from_video=False, shortest=1, longest=180, usual=5, least_billed=3),
    SoundModel("sonilo-text-to-music", from_video=False, shortest=5, longest=360, usual=60, least_billed=10),
    *(
        SoundModel(f"sonilo-video-to-{made}", from_video=True, two_prompts=made.endswith("sound"))
        for made in ("sfx", "music", "sound", "video-sfx", "video-music", "video-sound")
    ),
)


@dataclass(frozen=True)
class SoundRequest:
    """What `generate_sound` is asked for; `duration` in seconds, for the text models only."""

    model: str = "sonilo-text-to-sfx"
    prompt: str | None = None
    music_prompt: str | None = None
    sfx_prompt: str | None = None
    duration: int | None = None
    has_video: bool = False


def sound_model(model_id: str) -> SoundModel:
    """The sound model with this id, the case of letters aside.

    Raises:
        InvalidArgumentError: There is none; the message lists them.
    """
    found = one_of("model", model_id, [model.id for model in SOUND_MODELS])
    return next(model for model in SOUND_MODELS if model.id == found)


def check_sound(
    request: SoundRequest, *, video_kind: str | None = None, video_seconds: float | None = None
) -> SoundRequest:
    """`request` as it should be sent, its length filled in.

    Raises:
        InvalidArgumentError: The model, the texts, the length and the video do not go together.
    """
    model = sound_model(request.model)
    names = ("prompt", "music_prompt", "sfx_prompt")
    texts: dict[str, Any] = {name: blank_to_none(getattr(request, name)) for name in names}
    cleaned = replace(request, model=model.id, **texts)
    for name in names:
        verify_text(name, getattr(cleaned, name), PROMPT_MAX)
    if model.two_prompts and cleaned.prompt and not (cleaned.music_prompt or cleaned.sfx_prompt):
        raise InvalidArgumentError("prompt", f"{model.id} takes music_prompt and sfx_prompt instead.")
    if not model.two_prompts and (cleaned.music_prompt or cleaned.sfx_prompt):
        raise InvalidArgumentError(
            "music_prompt", f"and sfx_prompt belong to the *-sound models; {model.id} takes prompt."
        )
    if model.from_video:
        return _for_video(cleaned, model, video_kind, video_seconds)
    return _from_text(cleaned, model)


def _from_text(request: SoundRequest, model: SoundModel) -> SoundRequest:
    if request.has_video:
        raise InvalidArgumentError(
            "video_url", f"{model.id} works from text; use a sonilo-video-to-* model for a clip."
        )
    if request.prompt is None:
        raise InvalidArgumentError("prompt", "is empty.", next_step="Describe the sound.")
    verify_number("duration", request.duration, model.shortest, model.longest, " s")
    return replace(request, duration=model.usual if request.duration is None else request.duration)


def _for_video(
    request: SoundRequest, model: SoundModel, video_kind: str | None, video_seconds: float | None
) -> SoundRequest:
    if not request.has_video:
        raise InvalidArgumentError("video_url", f"is missing; {model.id} works on a clip.")
    verify_media_kind("video_url", video_kind, ("video",))
    if video_seconds is not None and video_seconds > VIDEO_MAX_SECONDS:
        raise InvalidArgumentError(
            "video_url", f"is {video_seconds:.0f} s long; at most {VIDEO_MAX_SECONDS} s are allowed."
        )
    return replace(request, duration=None)
