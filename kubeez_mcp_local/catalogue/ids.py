"""What a model id says by itself: its length, its resolution tier, its sound, its family and its siblings.

Kubeez encodes settings in ids (`wan-2-5-image-to-video-5s-720p`). Ids are compared without case, because the API
has changed the case of some (`Logo-maker`, later `logo-maker`).
"""

from __future__ import annotations

import re

_SECONDS = re.compile(r"(?:^|-)(\d{1,3})s(?=-|$)", re.IGNORECASE)
_TIERS = ("1k", "1.5k", "2k", "4k", "480p", "720p", "1080p")
_TIER = re.compile(r"(?:^|-)(1k|1\.5k|2k|4k|480p|720p|1080p)(?=-|$)", re.IGNORECASE)
_MODES = re.compile(
    r"-(?:(?:text|image)-to-(?:image|video)|first-and-last-frames|reference-to-video|motion-control|storyboard"
    r"|i2v|edit|audio|standard|hd|high|medium|video-ref)(?=-|$)",
    re.IGNORECASE,
)

# Edit twins that the id grammar below does not produce; client-side routing known from a first-party client.
_TWINS = {"grok-text-to-video-6s": "grok-image-to-video", "5-lite-text-to-image": "5-lite-image-to-image"}

# Music engines are called V4, V4_5, V5 ...; `suno` stands for all of them.
MUSIC_ENGINES = "v"

# Website-only container ids, and spellings that were once valid, with the start of the concrete ids behind them.
CONTAINERS = {
    "seedream-v5-lite": "5-lite",
    "seedream-5-lite": "5-lite",
    "suno-tools": "suno",
    "suno": MUSIC_ENGINES,
    "replicate-z-image": "z-image",
    "replicate-z-image-hd": "z-image-hd",
    "seedream-v4-5-2k": "seedream-v4-5",
    "seedream-v4-5-4k": "seedream-v4-5",
    "seedance-1": "v1-pro-fast-i2v",
    "seedance-1-0": "v1-pro-fast-i2v",
    "veo-3-1": "veo3-1",
    "veo3": "veo3-1",
    "veo": "veo3-1",
}


def fixed_seconds(model_id: str) -> int | None:
    """The clip length in seconds that the id fixes, or `None`."""
    found = _SECONDS.search(model_id)
    return int(found.group(1)) if found else None


def tier(model_id: str) -> str | None:
    """The resolution tier that the id encodes, as `1K`, `2K`, `4K` or `480p`, `720p`, `1080p`; or `None`."""
    found = _TIER.search(model_id)
    return spell_tier(found.group(1)) if found else None


def spell_tier(text: str) -> str:
    """A tier in the API's spelling: upper-case K, lower-case p."""
    lowered = text.strip().lower()
    return lowered.upper() if lowered.endswith("k") else lowered


def wanted_tier(resolution: str | None) -> str | None:
    """The tier that somebody asks for, in the API's spelling; `standard` is 1K, white space nothing."""
    tier = spell_tier(resolution or "")
    return "1K" if tier == "standard" else tier or None


def tier_siblings(model_id: str, wanted: str) -> tuple[str, ...]:
    """Ids that the same model would have at the tier `wanted`, most likely first. They need not exist."""
    if wanted.lower() not in _TIERS:
        return ()
    if tier(model_id) is None:
        return (f"{model_id}-{wanted}",)
    swapped = _TIER.sub(lambda found: found.group(0).replace(found.group(1), wanted), model_id)
    plain = (_TIER.sub("", model_id),) if wanted == "1K" else ()
    return (swapped, *plain)


def length_siblings(model_id: str, seconds: int) -> tuple[str, ...]:
    """Ids that the same model would have for clips of `seconds`. They need not exist."""
    if fixed_seconds(model_id) is None:
        return (f"{model_id}-{seconds}s",)
    swapped = _SECONDS.sub(lambda found: found.group(0).replace(found.group(1), str(seconds)), model_id)
    return (swapped, _SECONDS.sub("", model_id))


def edit_twins(model_id: str) -> tuple[str, ...]:
    """Ids under which a text-only model would take inputs, most likely first. They need not exist."""
    known = _TWINS.get(model_id.lower())
    by_mode = re.sub(r"text-to-(image|video)", r"image-to-\1", model_id)
    found = _TIER.search(model_id)
    inserted = f"{model_id[: found.start()]}-edit{model_id[found.start() :]}" if found else f"{model_id}-edit"
    guesses = (known, by_mode, inserted)
    return tuple(dict.fromkeys(guess for guess in guesses if guess and guess != model_id))


def text_twins(model_id: str) -> tuple[str, ...]:
    """Ids under which a model that needs inputs would work from text alone. They need not exist."""
    by_mode = re.sub(r"image-to-(image|video)", r"text-to-\1", model_id)
    guesses = (by_mode, re.sub(r"-edit(?=-|$)", "", model_id))
    return tuple(dict.fromkeys(guess for guess in guesses if guess != model_id))


def family(model_id: str) -> str:
    """The id without length, tier and mode: what a person would call the model."""
    bare = _MODES.sub("", _TIER.sub("", _SECONDS.sub("", model_id)))
    return bare.strip("-") or model_id


def container_prefix(name: str) -> str:
    """The start of the concrete ids behind a container name such as `flux-2` or `seedream-v5-lite`, lower-case."""
    cleaned = re.sub(r"[\s_.]+", "-", name.strip().lower())
    return CONTAINERS.get(cleaned, cleaned)
