"""Contract discovery: what the API's own `/openapi.json` says about the routes that are only assumed.

The document is cached on disk, because it is large and changes rarely.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import anyio

from kubeez_mcp_local.disk import replace_file
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.rest.failures import NotFoundError, NotOfferedError, UnexpectedAnswerError
from kubeez_mcp_local.rest.matching import find, not_offered, put, same_path
from kubeez_mcp_local.rest.published import PublishedOperation, operations
from kubeez_mcp_local.rest.routes import Evidence, Request, Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from pathlib import Path

logger = logging.getLogger(__name__)
T = TypeVar("T")

DAY = 86_400.0
# A copy older than this is read anew before a user is told that something is not offered.
_RECENT = 600.0
_UNKNOWN, _MISSING = "not published: ", "required, unknown here: "


@dataclass(frozen=True)
class Snapshot:
    """The document as it was `age_seconds` ago."""

    operations: tuple[PublishedOperation, ...]
    age_seconds: float


@dataclass(frozen=True)
class ContractRow:
    """One route of ours beside what the API publishes.

    Attributes:
        published: Method and path there, or `None` when the API publishes no such operation.
        differences: What differs, in words; empty when nothing does.
    """

    route: Route
    published: str | None
    differences: tuple[str, ...]

    @property
    def evidence(self) -> Evidence:
        return self.route.evidence

    @property
    def fits(self) -> bool:
        """Whether what we send there is understood: published, every field known, nothing else required."""
        return self.published is not None and not any(
            line.startswith((_UNKNOWN, _MISSING)) for line in self.differences
        )


class Contract:
    """Answers how a route is really called.

    Args:
        fetch_openapi: Gets the document, such as `RestClient.openapi`.
        cache_file: Where the last document is kept; one file for each API.
        clock: Seconds since 1970.
        max_age: Seconds after which the cached document is fetched anew.
    """

    def __init__(
        self,
        fetch_openapi: Callable[[], Awaitable[dict[str, Any]]],
        cache_file: Path,
        clock: Callable[[], float] = time.time,
        *,
        max_age: float = DAY,
    ) -> None:
        self._fetch = fetch_openapi
        self._file = cache_file
        self._clock = clock
        self._max_age = max_age
        self._snapshot: tuple[float, tuple[PublishedOperation, ...]] | None = None
        self._lock = anyio.Lock()

    async def prepare(self, request: Request) -> Request:
        """The request as it may be sent: itself on a documented route, else in the words of the API's document.

        Raises:
            NotOfferedError: The API does not publish the operation.
            InvalidArgumentError: It has no field for something that was given.
        """
        route, body = request.route, request.body
        if route.evidence == "assumed":
            return await self._decide(lambda published: _in_their_words(published, route, body))
        unproven = sorted(route.unproven & set(body))
        if unproven:
            await self._decide(lambda published: _require(published, route, unproven))
        return request

    async def locate(self, route: Route) -> Route:
        """An assumed route without a body, where it is published; for `RestClient.adopt`."""
        return await self._decide(lambda published: replace(route, path=find(published, route).path))

    async def snapshot(self, *, max_age: float | None = None) -> Snapshot:
        """What the API publishes, at most `max_age` seconds old; older only while it cannot be fetched."""
        limit = self._max_age if max_age is None else max_age
        async with self._lock:
            if self._snapshot is None:
                self._snapshot = await anyio.to_thread.run_sync(_load, self._file)
            if self._snapshot is None or not 0 <= self._clock() - self._snapshot[0] <= limit:
                await self._refresh()
            fetched_at, published = self._snapshot or (0.0, ())
            return Snapshot(published, max(0.0, self._clock() - fetched_at))

    async def _refresh(self) -> None:
        try:
            document = await self._fetch()
        except (NotFoundError, UnexpectedAnswerError):
            document = {"paths": {}}
        except KubeezError as error:
            if self._snapshot is None:
                raise
            logger.warning("The API's description could not be read anew (%s); the last copy is used.", error.code)
            return
        now = self._clock()
        self._snapshot = (now, operations(document))
        await anyio.to_thread.run_sync(_store, self._file, now, document)

    async def _decide(self, decide: Callable[[tuple[PublishedOperation, ...]], T]) -> T:
        snapshot = await self.snapshot()
        try:
            return decide(snapshot.operations)
        except (NotOfferedError, InvalidArgumentError):
            if snapshot.age_seconds <= _RECENT:
                raise
        return decide((await self.snapshot(max_age=_RECENT)).operations)


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
        raise not_offered(route, f"the API does not say whether it knows {', '.join(names)}")
    for name in names:
        if name not in operation.fields:
            raise InvalidArgumentError(
                name,
                "the REST API publishes no such field; it would be paid for and ignored.",
                next_step="Leave it out.",
            )


def _load(file: Path) -> tuple[float, tuple[PublishedOperation, ...]] | None:
    try:
        kept = json.loads(file.read_bytes())
        return float(kept["fetched_at"]), operations(kept["document"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _store(file: Path, fetched_at: float, document: Mapping[str, Any]) -> None:
    """Keep the document; a folder that cannot be written to only costs another request next time."""
    try:
        replace_file(file, json.dumps({"fetched_at": fetched_at, "document": document}))
    except OSError as error:
        logger.warning("The API's description could not be kept in %s: %s", file.name, error.strerror)
