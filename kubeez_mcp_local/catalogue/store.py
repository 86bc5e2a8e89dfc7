"""The catalogue: live rows, kept on disk, and behind them those that ship with this package.

These are 111 rows of 28 March 2026, collected from public material, for when the API cannot be asked. Keys that start
with `_` are our own remarks about the evidence.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import anyio
from anyio.to_thread import run_sync

from kubeez_mcp_local.catalogue.listing import Listing
from kubeez_mcp_local.catalogue.models import parse_rows
from kubeez_mcp_local.disk import replace_file
from kubeez_mcp_local.errors import KubeezError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from kubeez_mcp_local.catalogue.listing import Source
    from kubeez_mcp_local.catalogue.models import Model

AS_OF = date(2026, 3, 28)
FILE = f"models-{AS_OF.isoformat()}.json"


def snapshot_rows() -> list[object]:
    """The shipped rows, as `GET /v1/models` would send them. Reads a file of 75 KB."""
    from importlib import resources

    text = resources.files("kubeez_mcp_local.catalogue").joinpath(FILE).read_text(encoding="utf-8")
    rows: list[object] = json.loads(text)["models"]
    return rows


@cache
def _shipped() -> tuple[Model, ...]:
    return parse_rows(snapshot_rows())[0]


def snapshot_listing(now: float | None = None, *, note: str = "") -> Listing:
    """The shipped rows as a listing; `now` in seconds since 1970 sets its age."""
    taken = datetime.combine(AS_OF, datetime.min.time(), tzinfo=UTC).timestamp()
    age = max(0.0, now - taken) if now is not None else 0.0
    return Listing(_shipped(), source="snapshot", age_seconds=age, as_of=AS_OF, note=note)


log = logging.getLogger(__name__)

MAX_AGE = 3600.0
"""For how many seconds fetched rows count as fresh."""
RETRY_AFTER = 30.0
"""For how many seconds a failed fetch is not tried again."""
_NOTES_SHOWN = 3


@dataclass(frozen=True)
class _Kept:
    """Rows that once came from the API, and when (seconds since 1970)."""

    models: tuple[Model, ...]
    fetched_at: float
    source: Source
    note: str = ""


@dataclass
class Catalogue:
    """The models this account can use. Building one reads and fetches nothing.

    Attributes:
        fetch: Gets the rows from the API; failures are `KubeezError`s.
        cache_file: Where the rows are kept between runs; one file an account.
        clock: Seconds since 1970.
        fatal: Failures to raise rather than to bridge with older rows, such as a wrong key.
    """

    fetch: Callable[[], Awaitable[Sequence[object]]]
    cache_file: Path
    clock: Callable[[], float] = time.time
    fatal: tuple[type[KubeezError], ...] = ()
    _lock: anyio.Lock = field(default_factory=anyio.Lock)
    _kept: _Kept | None = None
    _cache_read: bool = False
    _failed_at: float | None = None
    _failure: str = ""

    async def listing(self) -> Listing:
        """The catalogue, as fresh as can be had. Concurrent callers share one request.

        Without the API the last rows are used, else the snapshot; `source`, `age_seconds` and `note` say so.

        Raises:
            KubeezError: The fetch failed with one of the `fatal` kinds.
        """
        if fresh := self._fresh():
            return self._as_listing(fresh)
        async with self._lock:
            if not self._cache_read:
                self._cache_read = True
                self._kept = await run_sync(_read, self.cache_file)
            if fresh := self._fresh():
                return self._as_listing(fresh)
            if self._failed_at is not None and 0 <= self.clock() - self._failed_at < RETRY_AFTER:
                return await self._older(self._failure)
            return await self._fetched()

    def _fresh(self) -> _Kept | None:
        if self._kept and 0 <= self.clock() - self._kept.fetched_at < MAX_AGE:
            return self._kept
        return None

    async def _fetched(self) -> Listing:
        try:
            rows = await self.fetch()
        except self.fatal:
            raise
        except KubeezError as error:
            return await self._bridged(f"the API's model list could not be read ({error.message.rstrip('.')})")
        models, notes = parse_rows(rows) if isinstance(rows, list | tuple) else ((), ())
        if not models:
            return await self._bridged("the API's model list holds nothing that can be read as a model")
        self._failed_at = None
        self._kept = _Kept(models, self.clock(), "live", _shortened(notes))
        await run_sync(partial(_write, self.cache_file, self._kept.fetched_at, rows))
        return self._as_listing(self._kept)

    async def _bridged(self, failure: str) -> Listing:
        log.warning("Using older model rows: %s", failure)
        self._failed_at, self._failure = self.clock(), failure
        return await self._older(failure)

    async def _older(self, failure: str) -> Listing:
        if self._kept:
            old = replace(self._kept, source="cache", note=f"Rows of an earlier fetch: {failure}.")
            return self._as_listing(old)
        note = f"Rows shipped with this package, prices may have changed: {failure}."
        return await run_sync(partial(snapshot_listing, self.clock(), note=note))

    def _as_listing(self, kept: _Kept) -> Listing:
        day = datetime.fromtimestamp(kept.fetched_at, UTC).date()
        age = max(0.0, self.clock() - kept.fetched_at)
        return Listing(kept.models, source=kept.source, age_seconds=age, as_of=day, note=kept.note)


def _shortened(notes: tuple[str, ...]) -> str:
    if not notes:
        return ""
    more = f" and {len(notes) - _NOTES_SHOWN} more" if len(notes) > _NOTES_SHOWN else ""
    return f"{'; '.join(notes[:_NOTES_SHOWN])}{more}."


def _read(path: Path) -> _Kept | None:
    """The kept rows, or `None` if there are none that can be used."""
    try:
        kept: Any = json.loads(path.read_text(encoding="utf-8"))
        fetched_at, rows = float(kept["fetched_at"]), kept["models"]
        datetime.fromtimestamp(fetched_at, UTC)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        log.warning("The kept model list %s cannot be used and is ignored: %s", path.name, error)
        return None
    models, notes = parse_rows(rows) if isinstance(rows, list) else ((), ())
    return _Kept(models, fetched_at, "cache", _shortened(notes)) if models else None


def _write(path: Path, fetched_at: float, rows: Sequence[object]) -> None:
    """Keep the rows, whole or not at all; a disk that refuses costs only the next start a request."""
    try:
        replace_file(path, json.dumps({"fetched_at": fetched_at, "models": list(rows)}))
    except (OSError, ValueError, TypeError) as error:
        log.warning("The model list could not be kept in %s: %s", path.name, error)
