"""Reads an OpenAPI 3 document: which operations there are and which fields each takes. Pure functions."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
        fields: What the JSON body, or for a GET the query, takes; `None` where the document does not say.
        note: The API's own remark on how far the operation can be relied on, such as `assumed`.
    """

    method: str
    path: str
    name: str
    about: str
    fields: Mapping[str, PublishedField] | None = field(default=None, hash=False)
    note: str | None = None

    @property
    def words(self) -> frozenset[str]:
        """The words of path and operation id; what the operation is called, not what is said about it."""
        fixed = re.sub(r"\{[^}]*\}", " ", self.path)
        spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", f"{fixed} {self.name}")
        return frozenset(re.findall(r"[a-z]+", spaced.lower()))

    @property
    def placeholders(self) -> int:
        return self.path.count("{")

    @property
    def shape(self) -> str:
        """The path with its placeholders unnamed, for comparison."""
        return re.sub(r"\{[^}]*\}", "{}", self.path).rstrip("/")


def operations(document: Mapping[str, Any]) -> tuple[PublishedOperation, ...]:
    """Every operation of the document; parts that make no sense are skipped."""
    return tuple(_operations(document))


def _operations(document: Mapping[str, Any]) -> Iterator[PublishedOperation]:
    for path, item in _mapping(document.get("paths")).items():
        for method in _METHODS:
            entry = _mapping(item).get(method)
            if isinstance(entry, dict):
                tags = [str(tag) for tag in _items(entry.get("tags"))]
                yield PublishedOperation(
                    method=method.upper(),
                    path=str(path),
                    name=str(entry.get("operationId") or ""),
                    about=" ".join([str(entry.get("summary") or ""), *tags]).lower(),
                    fields=_query(document, entry) if method == "get" else _body(document, entry),
                    note=next((str(entry[key]) for key in entry if key.startswith("x-") and "evidence" in key), None),
                )


def _query(document: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, PublishedField]:
    fields = {}
    for raw in _items(entry.get("parameters")):
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
    if not properties:
        return None
    return {name: _field(document, name, inner, required=name in required) for name, inner in properties.items()}


def _members(document: Mapping[str, Any], schema: object, depth: int) -> tuple[dict[str, Any], set[str]]:
    """The properties of an object schema and which are required, through references and compositions."""
    resolved = _resolved(document, schema)
    properties = dict(_mapping(resolved.get("properties")))
    required = {str(name) for name in _items(resolved.get("required"))}
    if depth > 0:
        for part in _items(resolved.get("allOf")):
            more, also = _members(document, part, depth - 1)
            properties, required = {**more, **properties}, required | also
        choices = [
            _members(document, part, depth - 1) for key in ("anyOf", "oneOf") for part in _items(resolved.get(key))
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
    allowed = [resolved["const"]] if "const" in resolved else list(_items(resolved.get("enum")))
    if depth > 0:
        for key in ("anyOf", "oneOf", "allOf"):
            for part in _items(resolved.get(key)):
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
        schema = _at(document, reference)
    return {}


def _at(document: Mapping[str, Any], reference: str) -> object:
    found: object = document if reference.startswith("#/") else None
    for step in reference.removeprefix("#/").split("/"):
        found = _mapping(found).get(step.replace("~1", "/").replace("~0", "~"))
    return found


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
