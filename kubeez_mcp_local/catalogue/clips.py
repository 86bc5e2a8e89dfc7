"""Jobs on one finished file: captions, dubbing, separation, background removal.

Limits and error names are those of the hosted server (hosted tool reference §1.3). A length or size of `None` is not
known yet and is not refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kubeez_mcp_local.catalogue.refusals import blank_to_none, one_of, verify_media_kind, verify_number
from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

CAPTION_MODEL, SEPARATION_MODEL, BACKGROUND_MODEL = "auto-caption", "mvsep-40", "remove-background"
CAPTION_QUALITIES = ("auto", "best")
CAPTION_MAX_SECONDS = 30 * 60
DUBBING_MODELS = ("sonilo-dubbing", "elevenlabs-dubbing")
DUBBING_MAX_SECONDS = 300
SONILO_LANGUAGES = (
    *("en", "zh_cn", "ja", "ko", "pt", "pt_br", "es", "es_419", "de", "fr", "it", "ru", "th", "ar", "tr", "vi", "id"),
)
BACKGROUND_MAX_BYTES = 5 * 1024 * 1024
BACKGROUND_TYPES = ("image/jpeg", "image/png", "image/webp")


@dataclass(frozen=True)
class DubbingRequest:
    """What `generate_dubbing` is asked for: one video a language comes back."""

    languages: tuple[str, ...]
    model: str = DUBBING_MODELS[0]
    source_language: str | None = None
    cloning_strength: float | None = None
    ducking: bool | None = None


def check_captions(
    *, kind: str | None, seconds: float | None, quality: str = "auto", language: str | None = None
) -> tuple[str, str | None]:
    """The quality and language to send.

    Raises:
        InvalidArgumentError: No video, longer than 30 minutes, or `best` without a language.
    """
    verify_media_kind("media_url", kind, ("video",))
    _verify_seconds("media_url", seconds, CAPTION_MAX_SECONDS)
    chosen = one_of("quality", quality, CAPTION_QUALITIES)
    spoken = blank_to_none(language)
    if chosen == "best" and spoken is None:
        raise InvalidArgumentError("language", "is needed for quality best.", next_step="Name it, or use quality auto.")
    return chosen, spoken


def check_dubbing(request: DubbingRequest, *, kind: str | None = None, seconds: float | None = None) -> DubbingRequest:
    """`request` as it should be sent: languages once each, in their usual spelling.

    Raises:
        InvalidArgumentError: No language, one that the engine lacks, an option of the other engine, a long video.
    """
    verify_media_kind("video_url", kind, ("video",))
    _verify_seconds("video_url", seconds, DUBBING_MAX_SECONDS)
    model = one_of("model", request.model, DUBBING_MODELS)
    named = tuple(dict.fromkeys(language.strip().lower() for language in request.languages if language.strip()))
    if not named:
        raise InvalidArgumentError("languages", "is empty.", next_step="Name at least one target language.")
    if model == "sonilo-dubbing":
        named = tuple(one_of("languages", language.replace("-", "_"), SONILO_LANGUAGES) for language in named)
        _verify_not_of(model, source_language=request.source_language, cloning_strength=request.cloning_strength)
    else:
        _verify_not_of(model, ducking=request.ducking)
        verify_number("cloning_strength", request.cloning_strength, 0, 10)
    return replace(request, languages=named, model=model)


def check_separation(*, kind: str | None) -> None:
    """Refuse anything that holds no sound."""
    verify_media_kind("media_url", kind, ("audio", "video"))


def check_remove_background(*, kind: str | None, mime: str | None, size: int | None) -> None:
    """Refuse anything but a JPEG, PNG or WebP of at most 5 MB (`size` in bytes); `None` is what is not known."""
    if mime is not None and mime not in BACKGROUND_TYPES:
        raise InvalidArgumentError("image_url", f"is {mime}; allowed: JPEG, PNG or WebP.")
    verify_media_kind("image_url", kind, ("image",))
    if size is not None and size > BACKGROUND_MAX_BYTES:
        raise InvalidArgumentError("image_url", f"has {size / 1024 / 1024:.1f} MB; at most 5 MB are allowed.")


def _verify_seconds(argument: str, seconds: float | None, most: int) -> None:
    if seconds is not None and seconds > most:
        raise InvalidArgumentError(
            argument, f"is {seconds:.0f} s long; at most {most} s are allowed.", next_step="Trim it first (trim_video)."
        )


def _verify_not_of(model: str, **options: object) -> None:
    others: Sequence[str] = [name for name, value in options.items() if value is not None]
    if others:
        raise InvalidArgumentError(others[0], f"is an option of the other engine; {model} does not take it.")
