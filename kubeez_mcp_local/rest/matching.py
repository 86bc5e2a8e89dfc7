"""Finds an assumed route in what the API publishes, and puts a request into the API's own field names.

Pure functions. A paid request is never guessed: the operation has to be called what we look for, exactly one may be
meant, its fields have to be described, and everything given and everything required has to have its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.rest.amounts import number_of
from kubeez_mcp_local.rest.failures import NotOfferedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kubeez_mcp_local.rest.published import PublishedField, PublishedOperation
    from kubeez_mcp_local.rest.routes import Route

# Words that make an operation a companion of the one we look for.
_COMPANIONS = (
    "status",
    "stream",
    "estimat",
    "cost",
    "quote",
    "list",
    "voices",
    "preview",
    "cancel",
    "webhook",
    "upload",
)

_ANY_MEDIA = (
    "url",
    "source_url",
    "input_url",
    "file_url",
    "source_media_url",
    "source_media_urls",
    "media_urls",
    "media",
)
_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "media_url": ("video_url", "audio_url", *_ANY_MEDIA),
    "video_url": ("media_url", "source_video_url", *_ANY_MEDIA),
    "image_url": ("media_url", "input_image_url", "image", *_ANY_MEDIA),
    "languages": (
        "target_languages",
        "target_language_codes",
        "language_codes",
        "target_language",
        "target_lang",
        "language",
    ),
    "language": ("language_code", "lang", "source_language"),
    "source_language": ("source_lang", "source_language_code", "original_language"),
    "cloning_strength": ("voice_cloning_strength", "clone_strength"),
    "ducking": ("enable_ducking", "audio_ducking", "duck"),
    "style": ("caption_style", "style_preset", "preset", "template", "style_tags"),
    "quality": ("transcription_quality", "mode", "tier"),
    "model": ("model_id",),
    "prompt": ("text", "description"),
    "sfx_prompt": ("sound_effects_prompt", "effects_prompt"),
    "music_prompt": ("score_prompt",),
    "duration": ("duration_seconds", "duration_s", "seconds", "length_seconds"),
    "song_id": ("audio_id", "track_id", "source_song_id"),
    "name": ("persona_name", "title"),
    "description": ("persona_description",),
    "generation_type": ("type",),
    "reference_video_seconds": ("video_seconds", "video_duration_seconds", "reference_video_duration"),
    "reference_audio_seconds": ("audio_seconds", "audio_duration_seconds", "reference_audio_duration"),
}


def find(published: Iterable[PublishedOperation], route: Route) -> PublishedOperation:
    """The one operation that an assumed route can only mean.

    Raises:
        NotOfferedError: There is none, or more than one.
    """
    ranked = sorted(((_rank(item, route), item) for item in published if _fits(item, route)), key=lambda pair: pair[0])
    if not ranked:
        raise not_offered(route, "the API publishes no such operation")
    if len(ranked) > 1 and ranked[0][0] == ranked[1][0]:
        paths = ", ".join(f"{item.method} {item.path}" for _, item in ranked[:2])
        raise not_offered(route, f"the API publishes more than one that could be meant ({paths})")
    return ranked[0][1]


def same_path(published: Iterable[PublishedOperation], route: Route) -> PublishedOperation | None:
    """The operation published with exactly this method and path, placeholder names aside."""
    shape = _shape_of(route.path)
    return next((item for item in published if item.method == route.method and item.shape == shape), None)


def put(operation: PublishedOperation, route: Route, fields: Mapping[str, Any]) -> dict[str, Any]:
    """`fields`, given in our names, under the names and in the forms that the operation publishes.

    Raises:
        InvalidArgumentError: A given field has no place there, or a value is not among the allowed ones.
        NotOfferedError: The operation's fields are not described, or it requires one that we do not have.
    """
    if operation.fields is None:
        raise not_offered(route, f"the API does not describe what {operation.method} {operation.path} takes")
    given = {name: value for name, value in fields.items() if value is not None}
    names = _names(given, operation.fields)
    body = {}
    for ours, value in given.items():
        if ours not in names:
            raise InvalidArgumentError(
                ours,
                f"the API's {operation.path} has no field for it; it takes {', '.join(operation.fields)}.",
                next_step="Leave it out.",
            )
        body[names[ours]] = _shaped(ours, value, operation.fields[names[ours]])
    return {**body, **_completed(operation, route, body)}


def not_offered(route: Route, why: str) -> NotOfferedError:
    return NotOfferedError(route.name, why, alternative=route.instead)


def _fits(item: PublishedOperation, route: Route) -> bool:
    methods = ("GET", "POST") if route.name == "estimate" else (route.method,)
    if item.method not in methods or item.placeholders != route.path.count("{"):
        return False
    if _companion(item, route):
        return False
    return any(all(_begins(item, stem) for stem in group) for group in route.called)


def _companion(item: PublishedOperation, route: Route) -> bool:
    own = {stem for group in route.called for stem in group}
    foreign = [stem for stem in _COMPANIONS if stem not in own and not (stem == "status" and route.method == "GET")]
    return any(_begins(item, stem) for stem in foreign)


def _begins(item: PublishedOperation, stem: str) -> bool:
    return any(word.startswith(stem) for word in item.words)


def _rank(item: PublishedOperation, route: Route) -> tuple[int, int, int]:
    """Smaller is better: our own guess first, then the name in the path itself, then the shortest path."""
    in_path = any(
        all(any(word.startswith(stem) for word in _path_words(item)) for stem in group) for group in route.called
    )
    return (0 if item.shape == _shape_of(route.path) else 1, 0 if in_path else 1, item.path.count("/"))


def _path_words(item: PublishedOperation) -> list[str]:
    return item.shape.lower().replace("-", "/").replace("_", "/").split("/")


def _shape_of(path: str) -> str:
    head, brace, tail = path.partition("{")
    return f"{head}{{}}{tail.partition('}')[2]}" if brace else path


def _names(given: Mapping[str, Any], fields: Mapping[str, PublishedField]) -> dict[str, str]:
    """Our names to theirs. Equal names first, so that no synonym takes the place of a field given by name."""
    names = {ours: ours for ours in given if ours in fields}
    for ours in given:
        if ours not in names:
            theirs = next(
                (name for name in _SPELLINGS.get(ours, ()) if name in fields and name not in names.values()), None
            )
            if theirs is not None:
                names[ours] = theirs
    return names


def _shaped(ours: str, value: Any, field: PublishedField) -> Any:
    """The value as one or as several, as text or as a number, as the field wants it."""
    values = list(value) if isinstance(value, tuple | list) else [value]
    several = "array" in field.types and "string" not in field.types
    single = bool(field.types) and "array" not in field.types
    if single and len(values) != 1:
        raise InvalidArgumentError(ours, f"the API takes one value here, not {len(values)}.", next_step="Give one.")
    if field.allowed:
        values = [_allowed(ours, item, field.allowed) for item in values]
    values = [_typed(item, field.types) for item in values]
    if several or (isinstance(value, tuple | list) and not single):
        return values
    return values[0]


def _typed(value: Any, types: frozenset[str]) -> Any:
    """A number as text, or text such as `"5s"` as a number, where the field takes only the other."""
    numeric = bool(types & {"number", "integer"})
    if isinstance(value, bool) or numeric == ("string" in types):
        return value
    if isinstance(value, str) and numeric:
        number = number_of(value)
        return value if number is None else int(number) if number.is_integer() else number
    return str(value) if isinstance(value, int | float) and not numeric else value


def _allowed(ours: str, value: Any, allowed: tuple[Any, ...]) -> Any:
    for candidate in allowed:
        if candidate == value or str(candidate).lower() == str(value).lower():
            return candidate
    listed = ", ".join(str(item) for item in allowed)
    raise InvalidArgumentError(ours, f"{value!r} is not offered; allowed: {listed}.")


def _completed(operation: PublishedOperation, route: Route, body: Mapping[str, Any]) -> dict[str, Any]:
    """Required fields that can have only one value; any other that is missing makes the operation unusable."""
    missing = [field for field in (operation.fields or {}).values() if field.required and field.name not in body]
    unknown = [field.name for field in missing if len(field.allowed) != 1]
    if unknown:
        raise not_offered(route, f"{operation.method} {operation.path} requires {', '.join(unknown)}")
    return {field.name: field.allowed[0] for field in missing}
