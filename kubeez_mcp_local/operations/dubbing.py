"""Dubbing: a video spoken in other languages (hosted tool reference §1.3)."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from kubeez_mcp_local.catalogue.checks import blank_to_none, one_of, verify_length, verify_number
from kubeez_mcp_local.catalogue.prices import Quote, length_quote
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.operations import Described, Draft, Operation, Sources, Wish
from kubeez_mcp_local.operations import parameters as p
from kubeez_mcp_local.rest.routes import Route

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kubeez_mcp_local.catalogue.listing import Listing

MODEL = "sonilo-dubbing"
MODELS = (MODEL, "elevenlabs-dubbing")
MAX_SECONDS = 300
LANGUAGES = (
    *("en", "zh_cn", "ja", "ko", "pt", "pt_br", "es", "es_419", "de", "fr", "it", "ru", "th", "ar", "tr", "vi", "id"),
)
"""Of the first engine."""
_LEAST_BILLED = {MODEL: 10}
_ONE_LANGUAGE = "For one target language."
ROUTE = Route(
    *("generate_dubbing", "POST", "/v1/generate/dubbing", "generate:speech", "dialogue", "assumed", "media", True),
    fields=("video_url", "languages", "model", "source_language", "cloning_strength", "ducking"),
    called=(("dub",),),
)


async def draft(
    sources: Sources,
    video_url: Annotated[str, Field(description="Video: https URL or local path, at most 300 s.")],
    languages: Annotated[p.Texts, Field(description="Target languages such as de, fr, pt_br; each is paid.")],
    model: Annotated[
        Literal["sonilo-dubbing", "elevenlabs-dubbing"], Field(description="Engine; elevenlabs has more languages.")
    ] = "sonilo-dubbing",
    source_language: Annotated[str, Field(description="elevenlabs only; default auto.")] = "",
    cloning_strength: Annotated[float | None, Field(description="elevenlabs only, 0 to 10.", ge=0, le=10)] = None,
    ducking: Annotated[bool | None, Field(description="sonilo only: lower the original sound.")] = None,
) -> Draft:
    """Start a job that speaks a video in other languages, one video each. The dearest kind; the call asks first."""
    video, seconds = await sources.file(
        video_url, "video_url", OPERATION.files["video_url"], sound_for="dubbing is made"
    )
    verify_length("video_url", seconds, MAX_SECONDS)
    options = {
        "source_language": blank_to_none(source_language),
        "cloning_strength": cloning_strength,
        "ducking": ducking,
    }
    named = check(languages, model, **options)
    body = {"video_url": video, "languages": named, "model": model, **options}
    quoted = price(await sources.catalogue.listing(), model, seconds, languages=len(named))
    described = Described(model, video_seconds=seconds, languages=len(named))
    return Draft(ROUTE, body, model, quoted, described=described)


def check(
    languages: Iterable[str],
    model: str = MODEL,
    *,
    source_language: object = None,
    cloning_strength: object = None,
    ducking: object = None,
) -> tuple[str, ...]:
    """The languages to send, once each; refused if there is none, the engine lacks one, or an option is the other's."""
    named = tuple(dict.fromkeys(language.strip().lower() for language in languages if language.strip()))
    if not named:
        raise InvalidArgumentError("languages", "is empty.", next_step="Name at least one target language.")
    if one_of("model", model, MODELS) == MODEL:
        _verify_not_of(model, source_language=source_language, cloning_strength=cloning_strength)
        codes = dict.fromkeys(language.replace("-", "_") for language in named)
        return tuple(one_of("languages", code, LANGUAGES) for code in codes)
    _verify_not_of(model, ducking=ducking)
    verify_number("cloning_strength", cloning_strength, 0, 10)
    spelled: dict[str, str] = {}
    for language in named:
        if not re.fullmatch(r"[a-z]{2,3}([-_][a-z0-9]{2,8})?", language):
            raise InvalidArgumentError("languages", f"{language!r} is not a code such as es or pt_br.")
        spelled.setdefault(language.replace("-", "_"), language)
    return tuple(spelled.values())


def _verify_not_of(model: str, **options: object) -> None:
    others = [name for name, value in options.items() if value is not None]
    if others:
        raise InvalidArgumentError(others[0], f"is an option of the other engine; {model} does not take it.")


def price(listing: Listing, model_id: str, seconds: float | None, *, languages: int = 1, count: int = 1) -> Quote:
    """Each language is billed."""
    spread = f" x {languages} languages" if languages > 1 else ""
    least = _LEAST_BILLED.get(model_id.lower(), 0)
    return length_quote(listing.find(model_id), seconds, least=least, times=languages, spread=spread, count=count)


def quote(listing: Listing, job: Described) -> Quote:
    quoted = price(listing, job.model, job.file_seconds, languages=job.languages, count=job.count)
    if quoted.credits is None or job.languages > 1:
        return quoted
    return replace(quoted, note=f"{quoted.note} {_ONE_LANGUAGE}")


def unfit(model_id: str, wish: Wish) -> str:
    missing = [language for language in wish.languages if language not in LANGUAGES]
    return f"does not speak {', '.join(missing)}" if missing and model_id.lower() == MODEL else ""


OPERATION = Operation(
    ROUTE,
    title="Dub a video",
    family="audio",
    draft=draft,
    quote=quote,
    job="dubbing",
    model=MODEL,
    ids=".*-dubbing",
    types=("dubbing",),
    tasks={"dubbing": "a clip spoken in other languages"},
    unfit=unfit,
    lengths=lambda _model: (0, MAX_SECONDS),
    about=lambda _model: {"returns": "the clip spoken anew, one for each language"},
    files={"video_url": ("video",)},
    names="video_url, languages",
    stand_ins=lambda _, given: ({}, "") if given.get("languages") else ({"languages": ["en"]}, _ONE_LANGUAGE),
    by_length=True,
)
