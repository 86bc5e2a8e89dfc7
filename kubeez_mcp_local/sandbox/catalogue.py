"""The stand-in's models, and what follows from a row: what a request and its inputs may be, price, size and time."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from importlib import resources
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from kubeez_mcp_local.sandbox.answers import invalid
from kubeez_mcp_local.web.server import is_loopback_host

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kubeez_mcp_local.sandbox.books import Books


Row = dict[str, Any]

SNAPSHOT = ("catalogue", "models-2026-03-28.json")
SANDBOX_ONLY = ("sandbox", "sandbox-only-models.json")

DEFAULT_MUSIC_MODEL = "V6"


class Catalogue:
    """Rows by id. Keys that start with `_` are our own notes: used inside, never served."""

    def __init__(self, models: Mapping[str, Row], prices: Mapping[str, Row]) -> None:
        """The rows that come with the package, `models` of operations that the snapshot lacks, and what they cost."""
        extra = _read(*SANDBOX_ONLY)
        rows = [*_read(*SNAPSHOT)["models"], *extra["models"], *models.values()]
        notes = {**extra["additions"], **prices}
        merged: dict[str, Row] = {}
        for row in rows:
            alike = merged.get(row.get("_like", ""), {})
            merged[row["model_id"]] = _with_time({**alike, **row, **notes.get(row["model_id"], {})})
        self._rows = {name: row for name, row in merged.items() if not row.get("_facts", {}).get("website_only")}

    def get(self, model_id: str) -> Row | None:
        """The whole row, notes included."""
        return self._rows.get(model_id)

    def served(self, model_type: str | None = None) -> list[Row]:
        """Rows as a client sees them, optionally of one type."""
        return [_public(row) for row in self._rows.values() if model_type in (None, row["model_type"])]

    def family(self, prefix: str) -> list[Row]:
        """The row of that id, or every row whose id starts with the family's name."""
        found = self._rows.get(prefix)
        rows = [found] if found else [row for name, row in self._rows.items() if name.startswith(f"{prefix}-")]
        return [_public(row) for row in rows]


_BY_TYPE = {"image": 20, "video": 90, "music": 60, "speech": 15, "separation": 40, "other": 60}


def _with_time(row: Row) -> Row:
    """The API always sends an estimate; where none was recorded, a usual one for the type stands in, and says so."""
    if row["estimated_time_seconds"] is not None:
        return row
    seconds = _BY_TYPE.get(row["model_type"], 30)
    return {**row, "estimated_time_seconds": seconds, "estimated_time_note": "Assumed by the sandbox."}


def _public(row: Row) -> Row:
    return {key: value for key, value in row.items() if not key.startswith("_")}


def _read(folder: str, name: str) -> dict[str, Any]:
    text = resources.files("kubeez_mcp_local").joinpath(folder, name).read_text("utf-8")
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def check_prompt(row: Row, prompt: str) -> None:
    """Not empty and not longer than the row allows, in characters."""
    if not prompt.strip() and row["model_id"] != "remove-background":
        raise invalid("prompt must not be empty")
    limit = row["capabilities"].get("prompt_max_chars")
    if limit and len(prompt) > limit:
        raise invalid(f"prompt is too long for {row['model_id']}: {len(prompt)} characters, at most {limit}")


def check_generation_type(row: Row, generation_type: str) -> None:
    """One of the row's generation types."""
    check_one_of(row, "generation_type", generation_type, row["generation_types"])


def check_ratio(row: Row, ratio: str | None) -> str:
    """The ratio to use: as asked, else `1:1` or the row's first; rows without ratios ignore it."""
    offered = row["capabilities"].get("aspect_ratio_options") or []
    if not offered:
        return "auto"
    if ratio is None:
        return "1:1" if "1:1" in offered else str(offered[0])
    check_one_of(row, "aspect_ratio", ratio, offered)
    return ratio


def check_resolution(row: Row, resolution: str | None, ratio: str | None) -> None:
    """A tier that the row offers, with a ratio where it needs one; ignored where the id encodes it, and for clips."""
    if resolution is None or row["model_type"] != "image" or _NAMED_TIER.search(row["model_id"]):
        return
    tier = "1K" if resolution.lower() == "standard" else resolution.upper()
    check_one_of(row, "resolution", tier, row["capabilities"].get("resolution") or list(_TIERS))
    if row.get("_large_needs_ratio") and tier != "1K" and ratio in (None, "1:1", "auto"):
        raise invalid(f"{row['model_id']} at {tier} needs an aspect_ratio other than 1:1")


def check_duration(row: Row, duration: str | None) -> int | None:
    """Seconds of the clip: fixed by the id, as asked, or the row's first choice; None when the row says nothing."""
    offered = row["capabilities"].get("duration_options") or []
    fixed = row.get("_facts", {}).get("fixed_seconds_in_id")
    if duration is not None and offered:
        spelled = duration if duration.endswith("s") else f"{duration}s"
        check_one_of(row, "duration", spelled, offered)
        return fixed or int(spelled.removesuffix("s"))
    if fixed:
        return int(fixed)
    return 5 if "5s" in offered else int(offered[0].removesuffix("s")) if offered else None


def billed_seconds(row: Row, clip: int | None, *, video: float, audio: float) -> float | None:
    """What a length-billed model is billed for: the clip and the videos it refers to, or the sound that it follows.

    Without a clip's length, what goes in counts; None when that has none either.
    """
    if row.get("_follows_audio") and audio:
        return audio
    return video + audio or None if clip is None else video + clip


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
    if name.endswith("-video-ref") and not counted["video"] and None not in [source.kind for source in sources]:
        raise invalid(f"{name} needs a video")
    if "motion-control" in name and [source.kind or want for source, want in zip(sources, _MOTION, strict=False)] != [
        *_MOTION
    ]:
        raise invalid(f"{name} needs exactly 1 image and then 1 video")


_KINDS = ("image", "video", "audio")
_MOTION = ("image", "video")


def check_one_of(row: Row, field: str, value: str, allowed: Sequence[str]) -> None:
    """That value is among those allowed for the field."""
    if value not in allowed:
        raise invalid(f"Invalid {field} '{value}' for {row['model_id']}. Allowed: {', '.join(allowed) or 'none'}")


_ENDINGS = {
    "image": ("jpg", "jpeg", "png", "webp", "gif", "avif", "heic"),
    "video": ("mp4", "mov", "mkv", "webm", "m4v"),
    "audio": ("mp3", "wav", "m4a", "ogg", "oga", "flac", "aac", "weba"),
}


@dataclass(frozen=True)
class Source:
    """One input. `name` is the stored file behind it, None for a URL elsewhere; `kind` is None when nothing tells."""

    url: str
    kind: str | None
    name: str | None = None
    seconds: float | None = None
    size: tuple[int, int] | None = None


def look_up(books: Books, url: str) -> Source:
    """Find out what `url` is; reads the books, never the network.

    Raises:
        ApiError: 400 when it is neither an https URL nor a file of this stand-in.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:  # such as `https://[::1` or `https://host:99999`
        raise invalid(f"Source media URLs must be https URLs: {url}") from None
    if is_loopback_host(parts.hostname):
        name = unquote(parts.path).removeprefix("/files/")
        file = books.file_named(name) if parts.path.startswith("/files/") else None
        if file is None:
            raise invalid(f"Source media could not be fetched: {url}")
        size = (file.width, file.height) if file.width and file.height else None
        return Source(url, file.kind, file.path, file.seconds, size)
    if parts.scheme != "https" or not parts.hostname:
        raise invalid(f"Source media URLs must be https URLs: {url}")
    ending = PurePosixPath(parts.path).suffix.removeprefix(".").lower()
    return Source(url, next((kind for kind, endings in _ENDINGS.items() if ending in endings), None))


def look_up_all(books: Books, urls: str | Sequence[str] | None) -> tuple[Source, ...]:
    """Look up none, one or many, order kept."""
    listed = [urls] if isinstance(urls, str) else list(urls or ())
    return tuple(look_up(books, url) for url in listed)


ASSUMED_SECONDS = 10.0


def price(
    row: Row,
    *,
    seconds: float | None = None,
    characters: int = 0,
    resolution: str | None = None,
    pieces: int = 1,
) -> float:
    """Credits for one job, to the hundredth, upwards.

    Args:
        row: The model's row with our notes on how it is priced.
        seconds: What a length-billed model is billed for; an unmeasured input counts as `ASSUMED_SECONDS`.
        characters: How much is spoken.
        resolution: Tier of models priced by tier.
        pieces: How many results are billed each, such as languages.
    """
    rule = row.get("_pricing", {})
    length = max(ASSUMED_SECONDS if seconds is None else seconds, rule.get("minimum_seconds", 0))
    if "per_second" in rule:
        each = rule["per_second"] * length
    elif "per_minute" in rule:
        each = rule["per_minute"] * max(1, math.ceil(length / 60))
    elif "per_thousand_characters" in rule:
        each = rule["per_thousand_characters"] * max(1, math.ceil(characters / 1000))
    else:
        each = rule.get("resolution", {}).get((resolution or "").upper(), row["cost_per_generation"])
    return math.ceil(round(float(each) * pieces * 100, 6)) / 100


def times(row: Row, speed: float) -> tuple[float, float]:
    """Real seconds from acceptance until the job starts, and until it is done."""
    whole = float(row["estimated_time_seconds"])
    return min(3.0, whole / 5) / speed, whole / speed


_NAMED_TIER = re.compile(r"-(1K|2K|4K)$")
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
    named = _NAMED_TIER.search(model)
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
