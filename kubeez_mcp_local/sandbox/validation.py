"""Whether a request fits its model's catalogue row; what does not is refused with 400, before billing."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from kubeez_mcp_local.sandbox.refusals import invalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubeez_mcp_local.sandbox.catalogue import Row
    from kubeez_mcp_local.sandbox.inputs import Source


def check_prompt(row: Row, prompt: str) -> None:
    """Not empty and not longer than the row allows, in characters."""
    if not prompt.strip() and row["model_id"] != "remove-background":
        raise invalid("prompt must not be empty")
    limit = row["capabilities"].get("prompt_max_chars")
    if limit and len(prompt) > limit:
        raise invalid(f"prompt is too long for {row['model_id']}: {len(prompt)} characters, at most {limit}")


def check_generation_type(row: Row, generation_type: str) -> None:
    """One of the row's generation types."""
    _one_of(row, "generation_type", generation_type, row["generation_types"])


def check_ratio(row: Row, ratio: str | None) -> str:
    """The ratio to use: as asked, else `1:1` or the row's first; rows without ratios ignore it."""
    offered = row["capabilities"].get("aspect_ratio_options") or []
    if not offered:
        return ratio or "1:1" if row["model_type"] == "image" else "auto"
    if ratio is None:
        return "1:1" if "1:1" in offered else str(offered[0])
    _one_of(row, "aspect_ratio", ratio, offered)
    return ratio


def check_duration(row: Row, duration: str | None) -> int | None:
    """Seconds of the clip: fixed by the id, as asked, or the row's first choice; None when the row says nothing."""
    offered = row["capabilities"].get("duration_options") or []
    fixed = row.get("_facts", {}).get("fixed_seconds_in_id")
    if duration is not None and offered:
        spelled = duration if duration.endswith("s") else f"{duration}s"
        _one_of(row, "duration", spelled, offered)
        return fixed or int(spelled.removesuffix("s"))
    if fixed:
        return int(fixed)
    return 5 if "5s" in offered else int(offered[0].removesuffix("s")) if offered else None


def check_sources(row: Row, generation_type: str, sources: Sequence[Source]) -> None:
    """Kinds, counts and order of the inputs."""
    name, limits = row["model_id"], row["capabilities"]
    counted = Counter(source.kind for source in sources if source.kind)
    if not sources:
        if row["requires_input_media"] or not generation_type.startswith("text-to"):
            raise invalid(f"{name} with {generation_type} needs source_media_urls")
        return
    for kind, count in counted.items():
        most = limits.get(f"max_input_{kind}s", int(kind in row["input_media_types"]))
        if count > most:
            raise invalid(f"{name} takes at most {most} {kind} input(s), got {count}")
    total = sum(limits.get(f"max_input_{kind}s", int(kind in row["input_media_types"])) for kind in _KINDS)
    if len(sources) > total:
        raise invalid(f"{name} takes at most {total} input(s), got {len(sources)}")
    if "first-and-last-frames" in name and len(sources) != 2:
        raise invalid(f"{name} needs exactly 2 images: first frame, last frame")
    if "motion-control" in name and [source.kind or want for source, want in zip(sources, _MOTION, strict=False)] != [
        *_MOTION
    ]:
        raise invalid(f"{name} needs exactly 1 image and then 1 video")


def check_voices(row: Row, voices: Sequence[str | None]) -> None:
    """Every named voice is on the allowlist."""
    for voice in voices:
        if voice is not None:
            _one_of(row, "voice", voice, row.get("voice_allowlist", []))


_KINDS = ("image", "video", "audio")
_MOTION = ("image", "video")


def _one_of(row: Row, field: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise invalid(f"Invalid {field} '{value}' for {row['model_id']}. Allowed: {', '.join(allowed) or 'none'}")
