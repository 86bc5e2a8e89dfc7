"""One catalogue row (API reference §2.2): what a model takes, what it costs, and what nobody has recorded about it.

What the row does not carry is `None` or empty; nothing may be refused on its account. Rows are not trusted: one whose
essential fields have the wrong type is left out with a note; cosmetic fields of the wrong type are treated as absent.
"""

from __future__ import annotations

import marshal
import re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal

from kubeez_mcp_local.catalogue import ids
from kubeez_mcp_local.rest.wire import MOST_FOR_A_JOB, number_of, price_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

InputKind = Literal["image", "video", "audio"]
Sound = Literal["none", "toggle", "included", "unknown"]


@dataclass(frozen=True)
class Model:
    """A model of the catalogue.

    Attributes:
        credits: Price of one generation in credits; a mere reference price where a rate applies. `None`: unknown.
        seconds: Usual processing time in seconds; `None`: not recorded.
        prompt_max: Longest prompt in characters; `None`: not recorded.
        ratios: Aspect ratios on offer; empty: the model has no ratio control.
        durations: Clip lengths on offer, in seconds; empty: fixed by the id, or no choice.
        max_images: Most images a request may hold; `None`: not recorded. Likewise videos and audios.
        sound: `toggle`: the `sound` field switches it; `included`: always there; `unknown`: not recorded.
        row: The row as received.
    """

    id: str
    name: str
    type: str
    provider: str = ""
    credits: float | None = None
    seconds: int | None = None
    generation_types: tuple[str, ...] = ()
    requires_input: bool = False
    input_types: tuple[str, ...] = ()
    prompt_max: int | None = None
    ratios: tuple[str, ...] = ()
    durations: tuple[int, ...] = ()
    resolutions: tuple[str, ...] = ()
    qualities: tuple[str, ...] = ()
    max_images: int | None = None
    max_videos: int | None = None
    max_audios: int | None = None
    sound: Sound = "unknown"
    voices: tuple[str, ...] = ()
    usage_notes: str = ""
    cost_note: str = ""
    website_only: bool = False
    duration_spellings: Mapping[int, str] = field(default_factory=dict, compare=False, repr=False)
    row: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def family(self) -> str:
        """The id without length, tier and mode, to group variants by."""
        return ids.family(self.id)

    @cached_property
    def fixed_seconds(self) -> int | None:
        """The clip length that the id fixes, in seconds."""
        return ids.fixed_seconds(self.id)

    @cached_property
    def tier(self) -> str | None:
        """The resolution that the id fixes, such as `2K` or `720p`."""
        return ids.tier(self.id)

    @property
    def only_logos(self) -> bool:
        """Whether it is made for logos, so that its price says nothing about other pictures."""
        return self.id.lower().startswith("logo-")

    @property
    def only_from_text(self) -> bool:
        """Whether the row says that nothing can be attached."""
        takes = [value for value in (self.max_images, self.max_videos, self.max_audios) if value is not None]
        from_inputs = [kind for kind in self.generation_types if not kind.startswith("text-")]
        return bool(takes) and not any(takes) and not from_inputs

    @property
    def needs_input(self) -> bool:
        """Whether a request without inputs cannot work."""
        from_text = [kind for kind in self.generation_types if kind.startswith("text-")]
        return self.requires_input or (bool(self.generation_types) and not from_text)

    def limit(self, kind: InputKind) -> int | None:
        """How many inputs of `kind` fit; `None`: not recorded."""
        return {"image": self.max_images, "video": self.max_videos, "audio": self.max_audios}[kind]


_LONGEST_SECONDS = 604_800  # a week; what is above estimates nothing, and does not fit into the ledger
KINDS: tuple[InputKind, ...] = ("image", "video", "audio")

# Quality values by the start of the id, for rows that do not list them (API reference §4.4).
_QUALITIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("seedream-v4-5", ("basic", "high")),
    ("5-lite-", ("basic", "high")),
    ("p-image-edit", ("turbo",)),
)


class RowError(ValueError):
    """A row that cannot be used; the text says which field and why."""


def parse_rows(rows: Iterable[object]) -> tuple[tuple[Model, ...], tuple[str, ...]]:
    """The models in `rows`, and a note for each row that had to be left out.

    Most fetches bring what the one before brought; those rows are not looked through again.
    """
    rows = list(rows)
    try:
        same = marshal.dumps(rows, 2)  # unlike `==` it tells `True` from 1
    except ValueError:  # nested too deeply, or no JSON
        return _parsed(rows)
    return _parsed_before(same)


@lru_cache(maxsize=2)
def _parsed_before(same: bytes) -> tuple[tuple[Model, ...], tuple[str, ...]]:
    return _parsed(marshal.loads(same))  # noqa: S302 - written above, in this process


def _parsed(rows: Iterable[object]) -> tuple[tuple[Model, ...], tuple[str, ...]]:
    models: dict[str, Model] = {}
    notes: list[str] = []
    for position, row in enumerate(rows, start=1):
        try:
            model = parse_row(row)
        except RowError as error:
            notes.append(f"row {position} left out: {error}")
            continue
        if model.id in models:
            notes.append(f"row {position} left out: {model.id} is listed twice")
            continue
        models[model.id] = model
    return tuple(models.values()), tuple(notes)


def parse_row(row: object) -> Model:
    """One row as a model. Raises `RowError`: the row is no object, or an essential field has the wrong type."""
    if not isinstance(row, dict):
        raise RowError(f"expected an object, got {type(row).__name__}")
    model_id = _first(row, "model_id", "id", "model")
    if not isinstance(model_id, str) or not model_id.strip():
        raise RowError("model_id is missing or not text")
    model_id = model_id.strip()
    try:
        return _model(model_id, row)
    except RowError as error:
        raise RowError(f"{model_id}: {error}") from None


def _model(model_id: str, row: Mapping[str, Any]) -> Model:
    abilities = _object(row, "capabilities")
    facts = _object(row, "_facts")
    spellings = _durations(_texts(abilities, "duration_options", "durations"))
    kinds = _input_kinds(row, abilities)
    generation_types = _generation_types(row, abilities)
    model_type = _model_type(row, generation_types)
    return Model(
        id=model_id,
        name=_cosmetic(row, "display_name", "name") or model_id,
        type=model_type,
        provider=_cosmetic(row, "provider"),
        credits=_price(row, "cost_per_generation", "cost", "credits"),
        seconds=_seconds(row),
        generation_types=generation_types,
        requires_input=_flag(row, "requires_input_media") or False,
        input_types=kinds,
        prompt_max=_whole(abilities, "prompt_max_chars"),
        ratios=_ratios(abilities),
        durations=tuple(spellings),
        resolutions=tuple(ids.spell_tier(value) for value in _texts(abilities, "resolution", "resolution_options")),
        qualities=_qualities(model_id, abilities, facts),
        max_images=_limit(abilities, kinds, "image", "max_input_images", "max_images", "max_reference_files"),
        max_videos=_limit(abilities, kinds, "video", "max_input_videos", "max_videos"),
        max_audios=_limit(abilities, kinds, "audio", "max_input_audios", "max_audios"),
        sound=_sound(model_id, model_type, abilities),
        voices=_texts(row, "voice_allowlist") or _texts(abilities, "voice_allowlist"),
        usage_notes=_cosmetic(row, "usage_notes"),
        cost_note=_cosmetic(row, "cost_note"),
        website_only=facts.get("website_only") is True,
        duration_spellings=spellings,
        row=row,
    )


def _first(row: Mapping[str, Any], *names: str) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _object(row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = row.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RowError(f"{name} should be an object, is {type(value).__name__}")
    return value


def _cosmetic(row: Mapping[str, Any], *names: str) -> str:
    value = _first(row, *names)
    return value.strip() if isinstance(value, str) else ""


def _number(row: Mapping[str, Any], *names: str) -> float | None:
    value = _first(row, *names)
    if value is None:
        return None
    number = None if isinstance(value, str) else number_of(value)
    if number is None or number < 0:
        raise RowError(f"{names[0]} should be a number of at least 0, is {value!r}")
    return number


def _price(row: Mapping[str, Any], *names: str) -> float | None:
    value = _number(row, *names)
    if value is not None and price_of(value) is None:
        raise RowError(f"{names[0]} should be a price, at most {MOST_FOR_A_JOB:,.0f} credits, is {value!r}")
    return value


def _whole(row: Mapping[str, Any], *names: str) -> int | None:
    value = _number(row, *names)
    if value is not None and value != int(value):
        raise RowError(f"{names[0]} should be a whole number, is {value!r}")
    return None if value is None else int(value)


def _flag(row: Mapping[str, Any], name: str) -> bool | None:
    value = row.get(name)
    if value is not None and not isinstance(value, bool):
        raise RowError(f"{name} should be true or false, is {value!r}")
    return value


def _texts(row: Mapping[str, Any], *names: str) -> tuple[str, ...]:
    value = _first(row, *names)
    if value is None:
        return ()
    listed = value if isinstance(value, list) else [value]
    if any(isinstance(entry, bool) or not isinstance(entry, str | int) for entry in listed):
        raise RowError(f"{names[0]} should be a list of texts, is {value!r}")
    return tuple(dict.fromkeys(text for entry in listed if (text := str(entry).strip())))


def _seconds(row: Mapping[str, Any]) -> int | None:
    value = row.get("estimated_time_seconds")
    number = None if isinstance(value, str) else number_of(value)
    return round(number) if number is not None and 0 < number <= _LONGEST_SECONDS else None


def _generation_types(row: Mapping[str, Any], abilities: Mapping[str, Any]) -> tuple[str, ...]:
    named = _texts(row, "generation_types") or _texts(abilities, "generation_types")
    return tuple(dict.fromkeys(name.lower().replace("_", "-") for name in named))


def _model_type(row: Mapping[str, Any], generation_types: tuple[str, ...]) -> str:
    value = _first(row, "model_type", "type")
    if isinstance(value, str) and value.strip():
        return value.strip().lower()
    if value is not None:
        raise RowError(f"model_type should be text, is {value!r}")
    makes = {name.rsplit("-", 1)[-1] for name in generation_types}
    return next((kind for kind in ("video", "image", "music") if kind in makes), "other")


def _input_kinds(row: Mapping[str, Any], abilities: Mapping[str, Any]) -> tuple[str, ...]:
    # Some live rows list no kinds although they count images (Sora 2), so both places are evidence.
    named = {kind.lower() for kind in (*_texts(row, "input_media_types"), *_texts(abilities, "input_media_types"))}
    counted = {kind for kind in KINDS if (_whole(abilities, f"max_input_{kind}s") or 0) > 0}
    return tuple(kind for kind in KINDS if kind in named | counted)


def _limit(abilities: Mapping[str, Any], kinds: tuple[str, ...], kind: str, *names: str) -> int | None:
    stated = _whole(abilities, *names)
    if stated is not None:
        return stated
    anything_known = bool(kinds) or any(f"max_input_{other}s" in abilities for other in KINDS)
    return 0 if anything_known and kind not in kinds else None


def _ratios(abilities: Mapping[str, Any]) -> tuple[str, ...]:
    if _flag(abilities, "supports_aspect_ratio") is False:
        return ()
    return _texts(abilities, "aspect_ratio_options", "aspect_ratios")


def _durations(options: tuple[str, ...]) -> dict[int, str]:
    found = ((re.fullmatch(r"(\d{1,4})\s*(?:s|sec|seconds?)?", option.lower()), option) for option in options)
    return {int(match.group(1)): option for match, option in found if match}


def _qualities(model_id: str, abilities: Mapping[str, Any], facts: Mapping[str, Any]) -> tuple[str, ...]:
    stated = _texts(abilities, "quality_options", "qualities", "quality") or _texts(facts, "quality_values")
    recorded = next((values for start, values in _QUALITIES if model_id.lower().startswith(start)), ())
    return tuple(value.lower() for value in stated) or recorded


def _sound(model_id: str, model_type: str, abilities: Mapping[str, Any]) -> Sound:
    how = _cosmetic(abilities, "video_audio").lower()
    possible = _flag(abilities, "supports_sound")
    if how == "included" or model_id.lower().endswith("-audio"):
        return "included"  # an `-audio` id must never be combined with a second switch
    if how == "toggle_via_sound_param":
        return "toggle"
    if model_type != "video" or possible is False:
        return "none"
    return "unknown"
