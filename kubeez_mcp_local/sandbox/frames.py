"""Sizes of pictures and clips, in pixels."""

from __future__ import annotations

import re

_TIERS = {"1K": 1024, "1.5K": 1536, "2K": 2048, "3K": 3072, "4K": 3840}
CLIP_LONG_SIDE = 640


def picture_size(ratio: str, tier: str = "1K", natural: tuple[int, int] | None = None) -> tuple[int, int]:
    """Width and height of a picture; `natural` is the size of its first input, followed by `auto`."""
    return _fit(_proportion(ratio, natural), _TIERS.get(tier.upper(), 1024), 8)


def clip_size(ratio: str, natural: tuple[int, int] | None = None) -> tuple[int, int]:
    """Width and height of a clip; small, so that a rehearsal stays quick, and even, as H.264 wants it."""
    return _fit(_proportion(ratio, natural), CLIP_LONG_SIDE, 4)


def tier_of(model: str, resolution: str | None, quality: str | None) -> str:
    """The resolution tier a request means: in the model's id, in `resolution`, or in `quality`."""
    named = re.search(r"-(1K|2K|4K)$", model)
    if named:
        return named[1]
    if resolution and resolution.upper() in _TIERS:
        return resolution.upper()
    if model.startswith(("seedream-v4-5", "5-lite")):
        return {"high": "4K" if "v4-5" in model else "3K"}.get(quality or "", "2K")
    return "1K"


def _proportion(ratio: str, natural: tuple[int, int] | None) -> float:
    match = re.fullmatch(r"(\d+):(\d+)", ratio)
    if match and int(match[2]):
        return int(match[1]) / int(match[2])
    return natural[0] / natural[1] if natural else 1.0


def _fit(proportion: float, long_side: int, step: int) -> tuple[int, int]:
    proportion = min(max(proportion, 1 / 4), 4.0)
    if proportion >= 1:
        return long_side, max(step, round(long_side / proportion / step) * step)
    return max(step, round(long_side * proportion / step) * step), long_side
