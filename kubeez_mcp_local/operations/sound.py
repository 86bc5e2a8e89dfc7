"""Sound effects and instrumental music, by text or for a clip (hosted tool reference §1.3, `generate_sound`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from kubeez_mcp_local.catalogue.checks import (
    blank_to_none,
    one_of,
    parse_seconds,
    verify_number,
    verify_text,
)
from kubeez_mcp_local.catalogue.prices import Quote, length_quote
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.operations import Described, Draft, Operation, Sources, Wish, made_by
from kubeez_mcp_local.operations import parameters as p
from kubeez_mcp_local.rest.routes import Route

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.models import InputKind, Model

PROMPT_MAX = 2000
VIDEO_MAX_SECONDS = 360
ROUTE = Route(
    *("generate_sound", "POST", "/v1/generate/sound", "generate:media", "media", "assumed", "media", True),
    fields=("model", "prompt", "video_url", "music_prompt", "sfx_prompt", "duration"),
    called=(("sound",), ("sfx",)),
)


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


MODEL = "sonilo-text-to-sfx"
ONTO_CLIP = "sonilo-video-to-video-sfx"
MUSIC = "sonilo-text-to-music"
MODELS: tuple[SoundModel, ...] = (
    SoundModel(MODEL, from_video=False, shortest=1, longest=180, usual=5, least_billed=3),
    SoundModel(MUSIC, from_video=False, shortest=5, longest=360, usual=60, least_billed=10),
    *(
        SoundModel(f"sonilo-video-to-{made}", from_video=True, two_prompts=made.endswith("sound"))
        for made in ("sfx", "music", "sound", "video-sfx", "video-music", "video-sound")
    ),
)


@dataclass(frozen=True)
class SoundRequest:
    """What is asked for; `duration` in seconds, for the text models only."""

    model: str = MODEL
    prompt: str | None = None
    music_prompt: str | None = None
    sfx_prompt: str | None = None
    duration: int | None = None


async def draft(
    sources: Sources,
    model: Annotated[str, Field(description="sonilo-text-to-sfx, sonilo-text-to-music or sonilo-video-to-….")],
    prompt: Annotated[str, Field(description="The sound in words, at most 2000 characters.")] = "",
    video_url: Annotated[str, Field(description="Clip to score: https URL or local path, at most 360 s.")] = "",
    music_prompt: Annotated[str, Field(description="Music part, for the *-sound models.")] = "",
    sfx_prompt: Annotated[str, Field(description="Effects part, for the *-sound models.")] = "",
    duration: Annotated[p.Seconds, Field(description="Seconds, text models: 1-180 effect, 5-360 music.")] = None,
) -> Draft:
    """Start a sound job: effects or instrumental music, from text or for a clip. Billed per second; asks first."""
    clip, seconds = await sources.file(video_url, "video_url", ("video",)) if video_url else (None, None)
    listing = await sources.catalogue.listing()
    if _known(model) is None:
        made_by(OPERATION, listing, model)
    wanted = SoundRequest(model, prompt, music_prompt, sfx_prompt, duration)
    request = check(wanted, has_video=clip is not None, video_seconds=seconds)
    quoted = price(listing, request.model, seconds if clip else request.duration)
    words = request.prompt or request.music_prompt or request.sfx_prompt or ""
    asked = None if request.duration is None else f"{request.duration}s"
    described = Described(request.model, duration=asked, video_seconds=seconds)
    return Draft(ROUTE, {**vars(request), "video_url": clip}, request.model, quoted, words, described=described)


def check(request: SoundRequest, *, has_video: bool, video_seconds: float | None = None) -> SoundRequest:
    """`request` with its length filled in; refused if the model, texts, length and video do not go together."""
    model = _known(one_of("model", request.model, [model.id for model in MODELS])) or MODELS[0]
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
    if not model.from_video:
        if has_video:
            raise InvalidArgumentError(
                "video_url", f"{model.id} works from text; use a sonilo-video-to-* model for a clip."
            )
        if cleaned.prompt is None:
            raise InvalidArgumentError("prompt", "is empty.", next_step="Describe the sound.")
        verify_number("duration", cleaned.duration, model.shortest, model.longest, " s")
        return replace(cleaned, duration=model.usual if cleaned.duration is None else cleaned.duration)
    if not has_video:
        raise InvalidArgumentError("video_url", f"is missing; {model.id} works on a clip.")
    if video_seconds is not None and video_seconds > VIDEO_MAX_SECONDS:
        raise InvalidArgumentError(
            "video_url", f"is {video_seconds:.0f} s long; at most {VIDEO_MAX_SECONDS} s are allowed."
        )
    return replace(cleaned, duration=None)


def price(listing: Listing, model_id: str, seconds: float | None, count: int = 1) -> Quote:
    known = _known(model_id)
    return length_quote(listing.find(model_id), seconds, least=known.least_billed if known else 0, count=count)


def quote(listing: Listing, job: Described) -> Quote:
    """By the length of the clip, or of the sound that a text model makes: its usual one if none is chosen."""
    known, seconds = _known(job.model), job.file_seconds
    if known is None:
        seconds = seconds or parse_seconds(job.duration)
    elif not known.from_video:
        asked = SoundRequest(known.id, "x", duration=parse_seconds(job.duration))
        seconds = check(asked, has_video=False).duration
    return price(listing, job.model, seconds, job.count)


def accepts(_: Listing, model_id: str) -> tuple[tuple[InputKind, ...], int]:
    return (("video",), 1) if "-video-to-" in model_id.lower() else ((), 0)


def _stand_ins(model: Model, _: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    known = _known(model.id)
    return ({} if known is None or known.from_video else {"prompt": "x"}), ""


def _likely(model: Model, _: Described) -> list[Mapping[str, tuple[InputKind, ...]]]:
    return [{"video_url": ("video",)} if "-video-to-" in model.id.lower() else {}]


def unfit(model_id: str, wish: Wish) -> str:
    known = _known(model_id)
    if known and known.from_video != ("video" in wish.inputs):
        return "works on a clip" if known.from_video else "works from text alone"
    return ""


def about(model: Model) -> dict[str, str]:
    """What comes back; of a clip, whether its own speech stays is recorded nowhere."""
    name = model.id.lower()
    made = {"sfx": "effects", "music": "music"}.get(name.rpartition("-")[2], "effects and music")
    if "-to-video-" in name:
        return {"returns": f"the clip with new {made}; whether its own sound or speech stays is unknown"}
    return {"returns": f"a recording of {made}" + (", not yet in the clip" if "-video-to-" in name else "")}


def _known(model_id: str) -> SoundModel | None:
    return next((model for model in MODELS if model.id == model_id.strip().lower()), None)


OPERATION = Operation(
    ROUTE,
    title="Make sound",
    family="audio",
    draft=draft,
    quote=quote,
    job="sound",
    model=MODEL,
    ids="sonilo-(?!dubbing$).*",
    types=("sound",),
    tasks={"sound": "effects, ambience or instrumental music, alone or for a clip"},
    lengths=lambda model_id: (known.shortest, known.longest) if (known := _known(model_id)) else None,
    about=about,
    files={"video_url": ("video",)},
    names="video_url, prompt",
    by_length=True,
    stand_ins=_stand_ins,
    likely=_likely,
    accepts=accepts,
    unfit=unfit,
    makes="sound",
)
