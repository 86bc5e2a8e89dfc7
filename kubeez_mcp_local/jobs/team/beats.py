"""Which process of a team is gone. Processes on several machines cannot look at each other, so each one's beat stands
in the ledger: a number that it raises every few seconds.

After an outage of the database every beat is old at once, and so it is for an observer that was itself stopped. So a
beat is not judged by its age: a process is dead when others have *watched* its beat stand still for long enough, and
only the time between two looks counts that both succeeded and followed each other closely.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Protocol

from kubeez_mcp_local.jobs.errors import LedgerError
from kubeez_mcp_local.jobs.ownership import Process, has_ended

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kubeez_mcp_local.jobs.rows import Connection, Fate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Timing:
    """Seconds between two beats, and how long a beat must be seen to stand still until its process counts as dead.

    A request leaves within `dead` seconds of the moment at which the ledger says so, or not at all: by then others may
    have taken its job. Without `by_itself` no thread beats, and whoever has the ledger does.
    """

    beat: float = 1.0
    dead: float = 10.0
    by_itself: bool = True

    @property
    def close(self) -> float:
        """Seconds within which one look has to follow another, so that the time between them counts as watched."""
        return max(2 * self.beat, 0.4 * self.dead)


@dataclass
class Watch:
    """What one observer has seen of the beats."""

    timing: Timing
    _at: float | None = field(init=False, default=None)
    _seen: dict[str, tuple[int, float]] = field(init=False, default_factory=dict)

    def look(self, beats: Mapping[str, int], at: float) -> None:
        """A look that succeeded, at `at` by the observer's steady clock: the beat of each owner."""
        passed = 0.0 if self._at is None else at - self._at
        counted = passed if passed <= self.timing.close else 0.0
        self._at = at
        self._seen = {owner: self._after(owner, beat, counted) for owner, beat in beats.items()}

    def _after(self, owner: str, beat: int, counted: float) -> tuple[int, float]:
        before, still = self._seen.get(owner, (None, 0.0))
        return (beat, still + counted) if beat == before else (beat, 0.0)

    def miss(self) -> None:
        """A look that failed: what passes until the next one was seen by nobody."""
        self._at = None

    def is_dead(self, owner: str, beat: int) -> bool:
        """Whether this beat of `owner` has been seen to stand still for long enough."""
        seen, still = self._seen.get(owner, (None, 0.0))
        return seen == beat and still >= self.timing.dead


class Heart(Protocol):
    """The connection on which beats are sent and watched; its own, since the ledger's may be waiting."""

    def beat(self, owner: str) -> dict[str, int]:
        """Raise the beat of `owner`, if the ledger knows it, and return the beats of all who have not ended.

        Raises:
            LedgerError: The ledger cannot be reached.
        """

    def close(self) -> None: ...


@dataclass
class TeamOwner:
    """This process as an owner of jobs in a team's ledger: what `ownership.Owner` is in a file of one machine.

    Attributes:
        heart: The connection for the beats; used and closed in a thread of its own.
        steady: Seconds of a clock that nobody sets.
    """

    heart: Heart
    timing: Timing = field(default_factory=Timing)
    _: KW_ONLY
    process: Process | None = None
    steady: Callable[[], float] = time.monotonic
    id: str = field(init=False, default_factory=lambda: uuid.uuid4().hex)
    enrolled: bool = field(init=False, default=False)
    _watch: Watch = field(init=False)
    _thread: threading.Thread | None = field(init=False, default=None)
    _stopped: threading.Event = field(init=False, default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._watch = Watch(self.timing)

    def successor(self) -> TeamOwner:
        """Another owner in this process, after the ledger said that this one has ended."""
        self.close()
        return TeamOwner(self.heart, self.timing, process=self.process, steady=self.steady)

    def enrol(self, connection: Connection, _clock: Callable[[], float]) -> bool:
        """Write this owner down before the first job of its own; false if the ledger says that it has ended."""
        self.process = self.process or Process.this()
        process = {name: getattr(self.process, name) for name in ("host", "boot", "space", "pid", "started")}
        connection.execute(
            "INSERT INTO owners (id, host, boot, space, pid, started, registered_at) VALUES (:id, :host, :boot, "
            ":space, :pid, :started, extract(epoch FROM clock_timestamp())) ON CONFLICT DO NOTHING",
            {"id": self.id, **process},
        )
        self.enrolled = True
        self._live()
        return not has_ended(connection, self.id)

    def fate_of(self, connection: Connection, owner_id: str, now: float) -> Fate:
        """What is known of an owner; an end that was watched is written down in the transaction of `connection`."""
        if owner_id == self.id:
            return "alive"
        self._live()
        row = connection.execute("SELECT beat, ended_at FROM owners WHERE id = :id", {"id": owner_id}).fetchone()
        if row is None:
            return "unsure"
        if row["ended_at"] is None:
            if not self._watch.is_dead(owner_id, row["beat"]):
                return "alive"
            connection.execute("UPDATE owners SET ended_at = :now WHERE id = :id", {"now": now, "id": owner_id})
        return "ended"

    def end(self, connection: Connection, now: float) -> None:
        """Write down that this owner sends nothing more."""
        query = "UPDATE owners SET ended_at = :now WHERE id = :id AND ended_at IS NULL"
        connection.execute(query, {"now": now, "id": self.id})

    def close(self, *, noted: bool = True) -> None:
        """Beat no more, as the end of the process would."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=self.timing.beat)
        self.heart.close()

    def tidy(self) -> None:
        """Nothing lies about."""

    def _live(self) -> None:
        """Beat and watch from now on."""
        if self.timing.by_itself and self._thread is None and not self._stopped.is_set():
            self._thread = threading.Thread(target=self._go_on, name="kubeez-ledger-beat", daemon=True)
            self._thread.start()

    def _go_on(self) -> None:
        while not self._stopped.wait(self.timing.beat):
            self.beat()

    def beat(self) -> None:
        """One beat, and one look at those of the others."""
        try:
            self._watch.look(self.heart.beat(self.id), self.steady())
        except LedgerError as error:
            log.info("no beat: %s", error.code)
            self._watch.miss()
