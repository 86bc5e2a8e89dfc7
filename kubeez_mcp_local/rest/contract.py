"""What the API's own `/openapi.json` says about the routes that are only assumed; cached, as it changes rarely.

A paid request is never guessed: the operation has to be called what we look for, exactly one may be meant, its fields
have to be described, and everything given and everything required has to have its place.
"""

from __future__ import annotations

import json
import logging
import re
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeVar

import anyio

from kubeez_mcp_local.disk import replace_file
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.rest.errors import NotFoundError, NotOfferedError, UnexpectedAnswerError
from kubeez_mcp_local.rest.routes import Request, Route
from kubeez_mcp_local.rest.wire import list_of, number_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from pathlib import Path


_METHODS = ("get", "post", "put", "patch", "delete")
_DEEPEST = 12


@dataclass(frozen=True)
class PublishedField:
    """One field of a request: its JSON types, the values allowed (empty: any), whether it must be sent."""

    name: str
    types: frozenset[str]
    allowed: tuple[Any, ...] = ()
    required: bool = False


@dataclass(frozen=True)
class PublishedOperation:
    """One operation as the API describes it.

    Attributes:
        name: Its operation id.
        fields: What the JSON body, or for a GET the query, takes; `None` where the document does not say.
        note: The API's own remark on how far the operation can be relied on, such as `assumed`.
    """

    method: str
    path: str
    name: str
    fields: Mapping[str, PublishedField] | None = field(default=None, hash=False)
    note: str | None = None

    @property
    def words(self) -> frozenset[str]:
        """The words of path and operation id; what the operation is called, not what is said about it."""
        spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", f"{_shape(self.path)} {self.name}")
        return frozenset(re.findall(r"[a-z]+", spaced.lower()))


def _shape(path: str) -> str:
    """A path with its placeholders unnamed, for comparison."""
    return re.sub(r"\{[^}]*\}", "{}", path).rstrip("/")


def operations(document: Mapping[str, Any]) -> tuple[PublishedOperation, ...]:
    """Every operation of the document; parts that make no sense are skipped."""
    found = []
    for path, item in _mapping(document.get("paths")).items():
        for method in _METHODS:
            entry = _mapping(item).get(method)
            if isinstance(entry, dict):
                name = str(entry.get("operationId") or "")
                fields = _query(document, entry) if method == "get" else _body(document, entry)
                note = next((str(entry[key]) for key in entry if key.startswith("x-") and "evidence" in key), None)
                found.append(PublishedOperation(method.upper(), str(path), name, fields, note))
    return tuple(found)


def fields_of(schema: Mapping[str, Any]) -> dict[str, PublishedField]:
    """What an object takes by a schema that stands alone, such as a tool's."""
    return _fields(schema, *_members(schema, schema, _DEEPEST))


def _fields(
    document: Mapping[str, Any], properties: Mapping[str, Any], required: set[str]
) -> dict[str, PublishedField]:
    """The fields, with those that are required although nothing else is said of them."""
    undescribed = dict.fromkeys(sorted(required - properties.keys()))
    described = {**properties, **undescribed}
    return {name: _field(document, name, inner, required=name in required) for name, inner in described.items()}


def _query(document: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, PublishedField]:
    fields = {}
    for raw in list_of(entry.get("parameters")):
        parameter = _resolved(document, raw)
        if parameter.get("in") == "query" and isinstance(parameter.get("name"), str):
            name = parameter["name"]
            required = parameter.get("required") is True
            fields[name] = _field(document, name, parameter.get("schema"), required=required)
    return fields


def _body(document: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, PublishedField] | None:
    content = _mapping(_resolved(document, entry.get("requestBody")).get("content"))
    schema = _mapping(content.get("application/json")).get("schema")
    properties, required = _members(document, schema, _DEEPEST)
    return _fields(document, properties, required) if properties else None


def _members(document: Mapping[str, Any], schema: object, depth: int) -> tuple[dict[str, Any], set[str]]:
    """The properties of an object schema and which are required, through references and compositions."""
    resolved = _resolved(document, schema)
    properties = dict(_mapping(resolved.get("properties")))
    required = {str(name) for name in list_of(resolved.get("required"))}
    if depth > 0:
        for part in list_of(resolved.get("allOf")):
            more, also = _members(document, part, depth - 1)
            properties, required = {**more, **properties}, required | also
        choices = [
            _members(document, part, depth - 1) for key in ("anyOf", "oneOf") for part in list_of(resolved.get(key))
        ]
        for more, _ in choices:
            properties = {**more, **properties}
        if choices:
            required |= set.intersection(*(also for _, also in choices))
    return properties, required


def _field(document: Mapping[str, Any], name: str, schema: object, *, required: bool) -> PublishedField:
    types, allowed = _values(document, schema, _DEEPEST)
    has_default = "default" in _resolved(document, schema)
    return PublishedField(name, frozenset(types), tuple(allowed), required and not has_default)


def _values(document: Mapping[str, Any], schema: object, depth: int) -> tuple[set[str], list[Any]]:
    resolved = _resolved(document, schema)
    kind = resolved.get("type")
    types = {kind} if isinstance(kind, str) else {str(item) for item in kind} if isinstance(kind, list) else set()
    allowed = [resolved["const"]] if "const" in resolved else list(list_of(resolved.get("enum")))
    if depth > 0:
        for key in ("anyOf", "oneOf", "allOf"):
            for part in list_of(resolved.get(key)):
                more_types, more_allowed = _values(document, part, depth - 1)
                types |= more_types
                allowed += more_allowed
    return types, [value for value in allowed if value is not None]


def _resolved(document: Mapping[str, Any], schema: object) -> dict[str, Any]:
    """A schema with its own reference followed; a broken or circular one counts as empty."""
    for _ in range(_DEEPEST):
        if not isinstance(schema, dict):
            return {}
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        schema = document if reference.startswith("#/") else None
        for step in reference.removeprefix("#/").split("/"):
            schema = _mapping(schema).get(step.replace("~1", "/").replace("~0", "~"))
    return {}


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


# Words that make an operation a companion of the one we look for.
_COMPANIONS = (
    *("status", "stream", "estimat", "cost", "quote", "list", "voices", "preview", "cancel", "webhook", "upload"),
)
_ANY_MEDIA = (
    *("url", "source_url", "input_url", "file_url", "source_media_url", "source_media_urls", "media_urls", "media"),
)
_ANY_TARGET = ("target_languages", "target_language_codes", "language_codes", "target_language", "target_lang")
_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "media_url": ("video_url", "audio_url", *_ANY_MEDIA),
    "video_url": ("media_url", "source_video_url", *_ANY_MEDIA),
    "image_url": ("media_url", "input_image_url", "image", *_ANY_MEDIA),
    "languages": (*_ANY_TARGET, "language"),
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
    "voice": ("voice_id", "voice_name"),
    "id": ("generation_id", "job_id", "separation_id"),
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
        raise NotOfferedError(route, "the API publishes no such operation")
    if len(ranked) > 1 and ranked[0][0] == ranked[1][0]:
        paths = ", ".join(f"{item.method} {item.path}" for _, item in ranked[:2])
        raise NotOfferedError(route, f"the API publishes more than one that could be meant ({paths})")
    return ranked[0][1]


def same_path(published: Iterable[PublishedOperation], route: Route) -> PublishedOperation | None:
    """The operation published with exactly this method and path, placeholder names aside."""
    wanted = (route.method, _shape(route.path))
    return next((item for item in published if (item.method, _shape(item.path)) == wanted), None)


def put(operation: PublishedOperation, route: Route, fields: Mapping[str, Any]) -> dict[str, Any]:
    """`fields`, given in our names, under the names and in the forms that the operation publishes.

    Raises:
        InvalidArgumentError: A given field has no place there, or a value is not among the allowed ones.
        NotOfferedError: The operation's fields are not described, or it requires one that we do not have.
    """
    if operation.fields is None:
        raise NotOfferedError(route, f"the API does not describe what {operation.method} {operation.path} takes")
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


def _fits(item: PublishedOperation, route: Route) -> bool:
    methods = ("GET", "POST") if route.name == "estimate" else (route.method,)
    if item.method not in methods or item.path.count("{") != route.path.count("{"):
        return False
    own = {stem for group in route.called for stem in group} | ({"status"} if route.method == "GET" else set())
    companion = any(_begins(item.words, stem) for stem in _COMPANIONS if stem not in own)
    return not companion and _called_so(item.words, route)


def _called_so(words: Iterable[str], route: Route) -> bool:
    return any(all(_begins(words, stem) for stem in group) for group in route.called)


def _begins(words: Iterable[str], stem: str) -> bool:
    return any(word.startswith(stem) for word in words)


def _rank(item: PublishedOperation, route: Route) -> tuple[bool, bool, int]:
    """Smaller is better: our own guess first, then the name in the path itself, then the shortest path."""
    shape = _shape(item.path)
    in_path = _called_so(re.split("[/_-]", shape.lower()), route)
    return (shape != _shape(route.path), not in_path, item.path.count("/"))


def _names(given: Mapping[str, Any], fields: Mapping[str, PublishedField]) -> dict[str, str]:
    """Our names to theirs. Equal names first, so that no synonym takes the place of a field given by name."""
    names = {ours: ours for ours in given if ours in fields}
    for ours in given:
        if ours not in names:
            free = (name for name in _SPELLINGS.get(ours, ()) if name in fields and name not in names.values())
            if theirs := next(free, None):
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
        raise NotOfferedError(route, f"{operation.method} {operation.path} requires {', '.join(unknown)}")
    return {field.name: field.allowed[0] for field in missing}


logger = logging.getLogger(__name__)
T = TypeVar("T")
P = TypeVar("P")

DAY = 86_400.0
# A copy older than this is read anew before a user is told that something is not offered.
_RECENT = 600.0
_UNKNOWN, _MISSING = "not published: ", "required, unknown here: "


@dataclass(frozen=True)
class Snapshot(Generic[P]):
    """What is published, as it was `age_seconds` ago."""

    published: tuple[P, ...]
    age_seconds: float


@dataclass(frozen=True)
class ContractRow:
    """One route of ours beside what the API publishes: method and path there, if it does, and in words what differs."""

    route: Route
    published: str | None
    differences: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether what we send there is understood: published, every field known, nothing else required."""
        return self.published is not None and not any(
            line.startswith((_UNKNOWN, _MISSING)) for line in self.differences
        )


class Terms(Protocol):
    """Answers how a route is really called, at whichever door; what each method does, see `Contract`."""

    async def prepare(self, request: Request) -> Request: ...
    async def locate(self, route: Route) -> Route: ...
    async def takes(self, route: Route, *names: str) -> bool: ...


@dataclass
class Published(Generic[P]):
    """What a server publishes of itself; cached, as it changes rarely.

    Attributes:
        fetch: Gets it, such as `RestClient.openapi`.
        cache_file: Where the last copy is kept; one file for each account.
        clock: Seconds since 1970.
    """

    fetch: Callable[[], Awaitable[Any]]
    cache_file: Path
    clock: Callable[[], float] = time.time
    _kept: tuple[float, tuple[P, ...]] | None = None
    _changed: bool = False
    _lock: anyio.Lock = field(default_factory=anyio.Lock)
    called: ClassVar[str]
    insists_below: ClassVar[float] = -1.0
    """Seconds up to which an older copy is no help: then what stands in the way of a new one is raised."""

    async def fetched(self) -> Any:
        """What goes into the file."""
        return await self.fetch()

    def read(self, document: Any) -> tuple[P, ...]:
        """What stands in the file. Raises what such access raises where it is damaged."""
        raise NotImplementedError

    async def snapshot(self, *, max_age: float = DAY) -> Snapshot[P]:
        """What is published, at most `max_age` seconds old; older only while it cannot be fetched."""
        async with self._lock:
            if self._kept is None:
                self._kept = await anyio.to_thread.run_sync(self._load)
            if self._kept is None or self._changed or not 0 <= self.clock() - self._kept[0] <= max_age:
                await self._refresh(insist=max_age <= self.insists_below)
            fetched_at, published = self._kept or (0.0, ())
            return Snapshot(published, max(0.0, self.clock() - fetched_at))

    async def _refresh(self, *, insist: bool) -> None:
        before, self._changed = self._changed, False
        try:
            document = await self.fetched()
        except BaseException as error:
            self._changed |= before
            if insist or self._kept is None or not isinstance(error, KubeezError):
                raise
            logger.warning("%s could not be read anew (%s); the last copy is used.", self.called, error.code)
            return
        self._kept = (self.clock(), self.read(document))
        await anyio.to_thread.run_sync(self._store, self._kept[0], document)

    async def decided(self, decide: Callable[[tuple[P, ...]], T], max_age: float = DAY) -> T:
        """What `decide` makes of it; a refusal by an older copy is looked up in a new one."""
        snapshot = await self.snapshot(max_age=max_age)
        try:
            return decide(snapshot.published)
        except (NotOfferedError, InvalidArgumentError):
            if snapshot.age_seconds <= min(max_age, _RECENT):
                raise
        return decide((await self.snapshot(max_age=_RECENT)).published)

    def _load(self) -> tuple[float, tuple[P, ...]] | None:
        try:
            kept = json.loads(self.cache_file.read_bytes())
            return float(kept["fetched_at"]), self.read(kept["document"])
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None

    def _store(self, fetched_at: float, document: Any) -> None:
        """Keep the document; a folder that cannot be written to only costs another request next time."""
        try:
            replace_file(self.cache_file, json.dumps({"fetched_at": fetched_at, "document": document}))
        except OSError as error:
            logger.warning("%s could not be kept in %s: %s", self.called, self.cache_file.name, error.strerror)


@dataclass
class Contract(Published[PublishedOperation]):
    """Answers how a route is really called, by what `RestClient.openapi` fetches."""

    called = "The API's description"

    async def fetched(self) -> Any:
        try:
            return await self.fetch()
        except (NotFoundError, UnexpectedAnswerError):
            return {"paths": {}}

    def read(self, document: Any) -> tuple[PublishedOperation, ...]:
        return operations(document)

    async def prepare(self, request: Request) -> Request:
        """The request as it may be sent: itself on a documented route, else in the words of the API's document.

        Raises:
            NotOfferedError: The API does not publish the operation.
            InvalidArgumentError: It has no field for something that was given.
        """
        route, body = request.route, request.body
        if route.evidence == "assumed":
            return await self.decided(lambda published: _in_their_words(published, route, body))
        unproven = sorted(route.unproven & set(body))
        if unproven:
            await self.decided(lambda published: _require(published, route, unproven))
        return request

    async def takes(self, route: Route, *names: str) -> bool:
        """Whether fields of these names may be sent: documented, or published."""
        try:
            await self.prepare(Request(route, dict.fromkeys(names, "-")))
        except (NotOfferedError, InvalidArgumentError):
            return False
        return True

    async def locate(self, route: Route) -> Route:
        """An assumed route without a body, where it is published; for `RestClient.adopt`."""
        return await self.decided(lambda published: replace(route, path=find(published, route).path))


def compare(published: tuple[PublishedOperation, ...], routes: Iterable[Route]) -> tuple[ContractRow, ...]:
    """Each of `routes` beside what is published. Pure."""
    return tuple(_row(published, route) for route in routes if route.keyed)


def _row(published: tuple[PublishedOperation, ...], route: Route) -> ContractRow:
    operation = same_path(published, route)
    differences = []
    if operation is None and route.evidence == "assumed":
        try:
            operation = find(published, route)
        except NotOfferedError as error:
            return ContractRow(route, None, (error.reason,))
        differences.append(f"published as {operation.method} {operation.path}")
    if operation is None:
        return ContractRow(route, None, ("not published",))
    if operation.note and operation.note != "documented":
        differences.append(f"the API marks it {operation.note}")
    if route.fields:
        differences += _field_differences(operation, route)
    return ContractRow(route, f"{operation.method} {operation.path}", tuple(differences))


def _field_differences(operation: PublishedOperation, route: Route) -> list[str]:
    if operation.fields is None:
        return ["its fields are not described"]
    ours, theirs = set(route.fields), set(operation.fields)
    required = {name for name, item in operation.fields.items() if item.required}
    lines = (
        (_UNKNOWN, ours - theirs - route.unproven),
        ("not published, so never sent: ", ours & route.unproven - theirs),
        ("published, not used here: ", theirs - ours - required),
        (_MISSING, required - ours),
    )
    return [title + ", ".join(sorted(names)) for title, names in lines if names]


def _in_their_words(published: tuple[PublishedOperation, ...], route: Route, body: Mapping[str, Any]) -> Request:
    operation = find(published, route)
    method: Literal["GET", "POST"] = "GET" if operation.method == "GET" else "POST"
    return Request(replace(route, method=method, path=operation.path), put(operation, route, body))


def _require(published: tuple[PublishedOperation, ...], route: Route, names: list[str]) -> None:
    operation = same_path(published, route)
    if operation is None or operation.fields is None:
        raise NotOfferedError(route, f"the API does not say whether it knows {', '.join(names)}")
    for name in names:
        if name not in operation.fields:
            raise InvalidArgumentError(
                name,
                "the REST API publishes no such field; it would be paid for and ignored.",
                next_step="Leave it out.",
            )
