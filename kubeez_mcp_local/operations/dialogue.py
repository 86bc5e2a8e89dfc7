"""Speech: lines, voices, limits and price (API reference §2.10, hosted tool reference §1.3)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import Field

from kubeez_mcp_local.catalogue.checks import blank_to_none, one_of, verify_number
from kubeez_mcp_local.catalogue.prices import Quote, flat_quote, rate_quote, unknown_quote
from kubeez_mcp_local.catalogue.voices import dialogue_voices
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.operations import Described, Draft, Operation, Sources
from kubeez_mcp_local.operations import parameters as p
from kubeez_mcp_local.rest.routes import Route

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.models import Model

MODEL = "text-to-dialogue-v3"
Provider = Literal["elevenlabs", "google", "gemini", "gemini-3.8", "seed"]
SHORTEST, LONGEST = 5, 5000
_MOST_SPEAKERS = {"gemini-3.8": 2}
"""Speakers of a provider, where they are few (API reference §4b)."""
_BILLED_CHARACTERS = 1000
_TAG = re.compile(r"\[[^\[\]\n]{1,40}\]")
ROUTE = Route(
    *("generate_dialogue", "POST", "/v1/generate/dialogue", "generate:speech", "dialogue"),
    kind="media",  # followed on the media routes (§2.10)
    spends=True,
    fields=("dialogue", "stability", "language_code", "provider"),
    unproven=frozenset({"provider"}),
)


@dataclass(frozen=True)
class Line:
    """One line of a dialogue; without a voice the API chooses one."""

    text: str
    voice: str | None = None


@dataclass(frozen=True)
class DialogueRequest:
    """What is asked for. `stability` is from 0 to 1, `language_code` `auto` or such as `en`."""

    lines: tuple[Line, ...]
    provider: str = "elevenlabs"
    stability: float | None = None
    language_code: str | None = None

    @property
    def characters(self) -> int:
        """Length of all lines together."""
        return sum(len(line.text) for line in self.lines)


async def draft(
    sources: Sources,
    text: Annotated[str, Field(description="The words to speak, 5 to 5000 characters; or dialogue.")] = "",
    dialogue: Annotated[p.Lines, Field(description="Lines as {text, voice}, for several speakers; or text.")] = [],  # noqa: B006
    voice: Annotated[str, Field(description="Listed by get_models(model_type='speech'); lines' default.")] = "",
    provider: Annotated[
        Provider, Field(description="Speech engine; others than elevenlabs only if the API publishes them.")
    ] = "elevenlabs",
    language_code: Annotated[str, Field(description="auto, or such as en, de.")] = "",
    stability: Annotated[float | None, Field(description="0 to 1, ElevenLabs; default 0.5.", ge=0, le=1)] = None,
) -> Draft:
    """Start a speech job from text or lines. Costs credits; the call asks first.

    Returns a generation_id; then wait_for_generation.
    """
    if text and dialogue:
        raise InvalidArgumentError("dialogue", "goes instead of text, not with it.", next_step="Leave one of them out.")
    if not text.strip() and not dialogue:
        raise InvalidArgumentError("text", "is empty.", next_step="Give the words to speak, or lines as dialogue.")
    lines = tuple(Line(line.text, line.voice or voice or None) for line in dialogue) or (Line(text, voice or None),)
    listing = await sources.catalogue.listing()
    request = check(listing, DialogueRequest(lines, provider, stability, language_code or None))
    body = {
        "dialogue": tuple(
            {"text": line.text, "voice": line.voice} if line.voice else {"text": line.text} for line in request.lines
        ),
        "stability": request.stability,
        "language_code": request.language_code,
        "provider": None if request.provider == "elevenlabs" else request.provider,
    }
    return Draft(
        ROUTE,
        body,
        MODEL,
        price(listing, request),
        described=described(request),
        prompt="\n".join(line.text for line in request.lines),
        generation_type="text-to-dialogue",
        notes=(note,) if (note := tag_note(request)) else (),
    )


def check(listing: Listing, request: DialogueRequest) -> DialogueRequest:
    """`request` as it should be sent: voices as the catalogue spells them.

    Raises:
        InvalidArgumentError: Text is missing, too short or too long, a setting is out of range, or more speak than the
            provider has voices for;
            `invalid_voice_id`: the ElevenLabs provider has no such voice.
    """
    provider = one_of("provider", request.provider, get_args(Provider))
    _verify_lines(request)
    verify_number("stability", request.stability, 0, 1)
    voices = dialogue_voices(listing.find(MODEL)) if provider == "elevenlabs" else ()
    lines = tuple(replace(line, voice=_voice(line.voice, voices)) for line in request.lines)
    speakers, most = {line.voice for line in lines}, _MOST_SPEAKERS.get(provider)
    if most is not None and len(speakers) > most:
        raise InvalidArgumentError(
            "dialogue",
            f"has {len(speakers)} voices; with provider {provider} at most {most} can speak.",
            next_step="Use fewer voices, or provider elevenlabs.",
        )
    language = _language(request.language_code)
    return replace(request, lines=lines, provider=provider, language_code=language)


def price(listing: Listing, request: DialogueRequest, *, count: int = 1) -> Quote:
    """The price of `count` checked requests.

    The catalogue names one price without its unit: a call, or 1,000 characters. The dearer reading is quoted.
    """
    model = listing.find(MODEL)
    if model is None:
        return unknown_quote(None, "the catalogue has no dialogue model")
    if request.provider != "elevenlabs":
        return unknown_quote(model, f"the price of provider {request.provider} is not recorded")
    return _for_characters(model, request.characters, count)


def quote(listing: Listing, job: Described) -> Quote:
    """The price of so many characters, which are a thousand at most unless more are described."""
    return _for_characters(listing.get(job.model), job.characters or 0, job.count)


def _for_characters(model: Model, characters: int, count: int) -> Quote:
    thousands = math.ceil(characters / _BILLED_CHARACTERS)
    if thousands <= 1 or model.credits is None:
        return flat_quote(model, count=count)
    detail = f"{characters} characters: {thousands} x {model.credits:g} credits"
    note = "The price may be per call; per 1,000 characters is quoted, an upper bound."
    return rate_quote(model, model.credits * thousands, detail=detail, count=count, note=note)


def described(request: DialogueRequest) -> Described | None:
    """For the API's estimate, which is told neither the engine nor how much is spoken."""
    usual = request.provider == "elevenlabs" and request.characters <= _BILLED_CHARACTERS
    return Described(MODEL, characters=request.characters) if usual else None


def _stand_ins(_: Model, given: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    if "dialogue" in given or "text" in given:
        return {}, ""
    return {"text": "x" * SHORTEST}, f"For at most {_BILLED_CHARACTERS:,} characters; with the text they are counted."


def tag_note(request: DialogueRequest) -> str:
    """What becomes of stage directions such as `[whispers]`; empty if there are none or the engine performs them."""
    tagged = any(_TAG.search(line.text) for line in request.lines)
    if not tagged or request.provider != "elevenlabs":
        return ""
    return "ElevenLabs leaves out [tags]; provider gemini-3.8 performs them, where the API offers it."


def _verify_lines(request: DialogueRequest) -> None:
    if not request.lines:
        raise InvalidArgumentError("dialogue", "has no lines.", next_step="Give the words to be spoken.")
    for number, line in enumerate(request.lines, start=1):
        if not line.text.strip():
            raise InvalidArgumentError("dialogue", f"line {number} is empty.")
    if not SHORTEST <= request.characters <= LONGEST:
        raise InvalidArgumentError(
            "text" if len(request.lines) == 1 else "dialogue",
            f"has {request.characters} characters in total; allowed: {SHORTEST} to {LONGEST}.",
            next_step="Split a longer text into several calls." if request.characters > LONGEST else "",
        )


def _voice(voice: str | None, allowed: tuple[str, ...]) -> str | None:
    wanted = blank_to_none(voice)
    if wanted is None or not allowed:
        return wanted
    spelled = {name.lower(): name for name in allowed}
    key = wanted.strip().lower()
    if key in spelled:
        return spelled[key]
    near = [spelled[match] for match in get_close_matches(key, spelled, n=3)]
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    message = f"there is no voice {wanted!r}.{hint} Voices: {', '.join(allowed)}."
    raise InvalidArgumentError("voice", message, code="invalid_voice_id")


def _language(code: str | None) -> str | None:
    wanted = blank_to_none(code)
    if wanted is None:
        return None
    cleaned = wanted.strip()
    if not re.fullmatch(r"auto|[a-z]{2,3}([-_][a-z0-9]{2,4})?", cleaned.lower()):
        raise InvalidArgumentError("language_code", f"{code!r} is neither auto nor a code such as en or de.")
    return cleaned.lower() if len(cleaned) <= 4 else cleaned


OPERATION = Operation(
    ROUTE,
    title="Make speech",
    family="audio",
    draft=draft,
    job="speech",
    model=MODEL,
    ids="text-to-dialogue.*",
    types=("speech",),
    tasks={"text-to-dialogue": "words read aloud, by one voice or several"},
    about=lambda _model: {"returns": "a recording of all lines", "takes": f"{SHORTEST} to {LONGEST} characters in all"},
    names="text",
    quote=quote,
    stand_ins=_stand_ins,
    script="dialogue",
)
