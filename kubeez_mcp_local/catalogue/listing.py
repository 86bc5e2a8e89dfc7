"""The catalogue: the models as one list, live, kept on disk, or those that ship with this package; finding one, and
saying what was meant when a name is wrong.

Those that ship are 111 rows of 28 March 2026, collected from public material, for when the API cannot be asked. Keys
that start with `_` are our own remarks about the evidence.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from difflib import get_close_matches
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

import anyio
from anyio.to_thread import run_sync

from kubeez_mcp_local.catalogue import ids
from kubeez_mcp_local.catalogue.models import parse_rows
from kubeez_mcp_local.disk import replace_file
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.text import LONGEST_NAME, cut

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from pathlib import Path

    from kubeez_mcp_local.catalogue.models import Model

log = logging.getLogger(__name__)

Source = Literal["live", "cache", "snapshot"]
_SHOWN = 12


@dataclass(frozen=True)
class Listing:
    """The catalogue at one moment.

    Attributes:
        source: `live`: just fetched; `cache`: fetched earlier; `snapshot`: shipped with this package.
        age_seconds: How old the rows are.
        as_of: The day the rows are from.
        note: What a reader must know about them, for example why they are not live; empty if nothing.
    """

    models: tuple[Model, ...]
    source: Source
    age_seconds: float = 0.0
    as_of: date | None = None
    note: str = ""

    @cached_property
    def _by_id(self) -> dict[str, Model]:
        return {model.id: model for model in self.models}

    @cached_property
    def _by_folded_id(self) -> dict[str, Model]:
        return {model.id.lower(): model for model in reversed(self.models)}

    def find(self, model_id: str) -> Model | None:
        """The model with this id, the case of letters aside; `None` if there is none."""
        return self._by_id.get(model_id) or self._by_folded_id.get(model_id.strip().lower())

    def first_of(self, model_ids: Iterable[str]) -> Model | None:
        """The first of `model_ids` that exists."""
        return next((model for model_id in model_ids if (model := self.find(model_id))), None)

    def get(self, model_id: str) -> Model:
        """The model with this id, the case of letters aside.

        Raises:
            InvalidArgumentError: `unknown_model`; the message names near matches, or the ids behind a family name.
        """
        found = self.find(model_id)
        if found:
            return found
        shown = repr(cut(model_id, LONGEST_NAME))
        if members := self.members(model_id):
            message = f"{shown} is a family, not a model id; its ids are {_listed(members)}."
        else:
            near = self.near(model_id)
            message = f"there is no model {shown}." + (f" Did you mean {_listed(near, 'or')}?" if near else "")
        next_step = "Use an id from get_models, or let pick_model choose one."
        raise InvalidArgumentError("model", message, next_step=next_step, code="unknown_model")

    def members(self, container: str) -> tuple[str, ...]:
        """The concrete ids behind a family name such as `flux-2` or `veo3-1`; empty if it is no such name."""
        prefix = ids.container_prefix(container)
        if not prefix:
            return ()
        start = prefix if prefix == ids.MUSIC_ENGINES else f"{prefix}-"
        found = [
            model
            for model in self.models
            if (model.id.lower() == prefix or model.id.lower().startswith(start))
            and (prefix != ids.MUSIC_ENGINES or model.type == "music")
        ]
        named = container.strip().lower()
        return tuple(model.id for model in sorted(found, key=lambda model: model.name.lower() != named))

    def near(self, model_id: str, limit: int = 5) -> tuple[str, ...]:
        """Ids that may have been meant by `model_id`: by display name first, then by likeness."""
        wanted = model_id.strip().lower()
        named = [model.id for model in self.models if model.name.lower() == wanted]
        spellings: dict[str, str] = {}
        for model in self.models:
            spellings.setdefault(_squeezed(model.id), model.id)
            spellings.setdefault(_squeezed(model.name), model.id)
        alike = get_close_matches(_squeezed(wanted), spellings, n=limit, cutoff=0.6)
        found = dict.fromkeys([*named, *(spellings[match] for match in alike)])
        return tuple(found)[: max(limit, min(len(named), _SHOWN))]

    def filter(self, *, max_credits: float | None = None, query: str | None = None) -> Listing:
        """The part of the listing that fits every given condition; texts are compared without case."""
        words = (query or "").lower().split()

        def fits(model: Model) -> bool:
            text = f"{model.id} {model.name} {model.family} {model.provider} {model.usage_notes}".lower()
            affordable = max_credits is None or (model.credits is not None and model.credits <= max_credits)
            return affordable and all(word in text for word in words)

        return replace(self, models=tuple(model for model in self.models if fits(model)))


def _squeezed(text: str) -> str:
    return "".join(char for char in text.lower() if char.isalnum())


def _listed(values: Iterable[str], last: str = "and") -> str:
    shown = list(values)
    more = len(shown) - _SHOWN
    if more > 0:
        return f"{', '.join(shown[:_SHOWN])} and {more} more"
    return f" {last} ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)


# Where the rows come from

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
