"""Music: two modes that exclude each other (hosted tool reference §1.3, API reference §2.8)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from kubeez_mcp_local.catalogue.checks import blank_to_none, one_of, verify_number, verify_text
from kubeez_mcp_local.catalogue.prices import Quote, flat_quote, unknown_quote
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.operations import Described, Draft, Operation, Sources, made_by
from kubeez_mcp_local.rest.routes import Route

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.models import Model

SIMPLE_PROMPT_MAX = 400
_ENGINES = r"v\d.*"
"""Ids of what composes; other music models are helpers that no endpoint takes (API reference §8)."""
_OTHER_TEXTS = {"title", "style", "lyrics", "song_description"}
NEWEST = "newest engine"
"""Stands for the model of a song where the API chooses the engine and does not say which."""
VOCAL_GENDERS = ("m", "f", "random")
MODE_NOTE = "A song without lyrics is made in simple mode: title and style went into the prompt."
_VOICES = {"m": ", male vocals", "f": ", female vocals"}
ROUTE = Route(
    *("generate_music", "POST", "/v1/generate/music", "generate:music", "music"),
    kind="music",
    spends=True,
    fields=(
        *("prompt", "instrumental", "model", "title", "style", "vocal_gender", "song_description", "lyrics"),
        *("negative_tags", "style_weight", "weirdness_constraint", "audio_weight", "persona_id"),
    ),
    unproven=frozenset({"persona_id"}),
)
PERSONA = Route(
    *("generate_music_persona", "POST", "/v1/generate/music/persona", "generate:music", "music", "assumed"),
    spends=True,  # documented as synchronous and free for the hosted tool; nothing says so for REST
    fields=("song_id", "name", "description", "style"),
    called=(("persona",),),
)
Weight = Annotated[float | None, Field(description="0 to 1, advanced mode; default 0.65.", ge=0, le=1)]


@dataclass(frozen=True)
class MusicRequest:
    """What is asked for; weights are from 0 to 1. `notes` say what the check changed."""

    prompt: str | None = None
    instrumental: bool = False
    model: str | None = None
    title: str | None = None
    style: str | None = None
    vocal_gender: str | None = None
    song_description: str | None = None
    lyrics: str | None = None
    negative_tags: str | None = None
    style_weight: float | None = None
    weirdness_constraint: float | None = None
    audio_weight: float | None = None
    persona_id: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def advanced(self) -> bool:
        """Whether title and style put it in advanced mode."""
        return self.title is not None and self.style is not None


async def draft(
    sources: Sources,
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
) -> Draft:
    """Start a music job; usually two songs come back. Costs credits; the call asks first.

    Simple mode takes prompt alone. Advanced mode takes title and style, and either lyrics or song_description.
    """
    wanted = MusicRequest(
        prompt=prompt,
        instrumental=instrumental,
        model=model,
        title=title,
        style=style,
        vocal_gender=vocal_gender,
        song_description=song_description,
        lyrics=lyrics,
        negative_tags=negative_tags,
        style_weight=style_weight,
        weirdness_constraint=weirdness_constraint,
        audio_weight=audio_weight,
        persona_id=persona_id or None,
    )
    listing = await sources.catalogue.listing()
    request = check(listing, wanted)
    return Draft(
        ROUTE,
        {name: getattr(request, name) for name in ROUTE.fields},
        request.model or NEWEST,
        price(listing, request),
        described=Described(request.model) if request.model else None,
        prompt=request.prompt or request.song_description or request.title or "",
        notes=request.notes,
        mode_note=MODE_NOTE if MODE_NOTE in request.notes else None,
    )


def music_engines(listing: Listing) -> tuple[Model, ...]:
    """The models that compose, newest first; helpers such as lyrics writing are not among them."""
    engines = [model for model in listing.models if model.type == "music" and OPERATION.claims(model.id)]
    return tuple(sorted(engines, key=_version, reverse=True))


def check(listing: Listing, request: MusicRequest) -> MusicRequest:
    """`request` as it should be sent; refused if modes mix, a text is missing or too long, or there is no engine."""
    names = ("prompt", "model", "title", "style", "vocal_gender", "song_description", "lyrics", "negative_tags")
    texts: dict[str, Any] = {name: blank_to_none(getattr(request, name)) for name in names}
    cleaned = replace(request, **texts)
    if cleaned.model is not None:
        cleaned = replace(cleaned, model=_engine(listing, cleaned.model))
    for name in ("style_weight", "weirdness_constraint", "audio_weight"):
        verify_number(name, getattr(cleaned, name), 0, 1)
    if (cleaned.title is None) != (cleaned.style is None):
        missing, given = ("title", "style") if cleaned.title is None else ("style", "title")
        raise InvalidArgumentError(
            missing, f"is missing: advanced mode needs title and style, and only {given} is set."
        )
    return _advanced(cleaned) if cleaned.advanced else _simple(cleaned)


def _simple(request: MusicRequest) -> MusicRequest:
    for name in ("lyrics", "song_description"):
        if getattr(request, name) is not None:
            raise InvalidArgumentError(name, "belongs to advanced mode.", next_step="Give title and style too.")
    if request.prompt is None:
        raise InvalidArgumentError("prompt", "is empty.", next_step="Describe the music, or give title and style.")
    verify_text("prompt", request.prompt, SIMPLE_PROMPT_MAX)
    extras = ("vocal_gender", "negative_tags", "style_weight", "weirdness_constraint", "audio_weight")
    dropped = [name for name in extras if getattr(request, name) is not None]
    if not dropped:
        return request
    note = f"Left out, because only advanced mode has it: {', '.join(dropped)}."
    emptied: dict[str, Any] = dict.fromkeys(dropped)
    return replace(request, **emptied, notes=(*request.notes, note))


def _advanced(request: MusicRequest) -> MusicRequest:
    if (request.song_description is None) == (request.lyrics is None):
        how = "neither is" if request.lyrics is None else "both are"
        raise InvalidArgumentError("lyrics", f"exactly one of lyrics and song_description is needed; {how} given.")
    if request.instrumental and request.lyrics is not None:
        raise InvalidArgumentError("lyrics", "cannot be sung in an instrumental.", next_step="Use song_description.")
    if request.vocal_gender is not None:
        request = replace(request, vocal_gender=one_of("vocal_gender", request.vocal_gender, VOCAL_GENDERS))
    elif not request.instrumental:
        raise InvalidArgumentError("vocal_gender", "is needed for a song; allowed: m, f, random.")
    if request.lyrics is None and not request.instrumental:
        return _folded(request)
    if request.prompt is None:
        return request
    return replace(request, prompt=None, notes=(*request.notes, "prompt is left out: advanced mode ignores it."))


def _folded(request: MusicRequest) -> MusicRequest:
    """A song without lyrics in simple mode: the engine sings its text word for word and must not sing a description."""
    voice = _VOICES.get(request.vocal_gender or "", "")
    prompt = f"{request.song_description} Title: {request.title}. Style: {request.style}{voice}."
    if len(prompt) > SIMPLE_PROMPT_MAX:
        raise InvalidArgumentError(
            "song_description",
            f"together with title and style has {len(prompt)} characters; without lyrics at most "
            f"{SIMPLE_PROMPT_MAX} are allowed.",
            next_step="Shorten it, or give lyrics.",
        )
    notes = (*request.notes, MODE_NOTE)
    return _simple(
        replace(request, prompt=prompt, title=None, style=None, song_description=None, vocal_gender=None, notes=notes)
    )


def price(listing: Listing, request: MusicRequest, *, count: int = 1) -> Quote:
    """The price of `count` checked requests. One request usually yields two songs for one price.

    Without a model the API takes the newest engine; the dearest listed engine is quoted then.
    """
    engines = music_engines(listing)
    if request.model is not None:
        return flat_quote(listing.get(request.model), count=count)
    if not engines or any(engine.credits is None for engine in engines):
        return unknown_quote(None, "the catalogue prices no music engine")
    dearest = max(engines, key=lambda engine: engine.credits or 0)
    if all(engine.credits == dearest.credits for engine in engines):
        return flat_quote(dearest, count=count)
    quote = flat_quote(
        dearest, count=count, note="The API chooses its newest engine; the dearest listed one is quoted."
    )
    return replace(quote, basis="rate")


def _engine(listing: Listing, model_id: str) -> str:
    try:
        return made_by(OPERATION, listing, model_id).id
    except InvalidArgumentError as error:
        # The API would silently take its default instead of refusing.
        names = ", ".join(engine.id for engine in music_engines(listing)) or "none in this catalogue"
        error.next_step = f"Music engines are: {names}. Or leave it out."
        raise


def _version(model: Model) -> tuple[tuple[int, ...], bool]:
    return tuple(int(number) for number in re.findall(r"\d+", model.id)), model.id.lower().endswith("plus")


OPERATION = Operation(
    ROUTE,
    title="Make music",
    family="audio",
    draft=draft,
    job="music",
    model="V5_5",
    ids=_ENGINES,
    tasks={"text-to-music": "a song or an instrumental; the engine chooses the length"},
    about=lambda _model: {"returns": "usually two songs; the engine chooses their length"},
    names="prompt",
    also=(PERSONA,),
    stand_ins=lambda _, given: ({} if _OTHER_TEXTS & given.keys() else {"prompt": "x"}, ""),
    quote=lambda listing, job: price(listing, MusicRequest(model=_engine(listing, job.model)), count=job.count),
    script="music",
)
