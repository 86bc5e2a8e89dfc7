"""Upload sessions: who may hand over which files until when, and what has arrived."""

from __future__ import annotations

import hmac
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import anyio

from kubeez_mcp_local.web.errors import ExpiredSessionError, UnknownSessionError

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["image", "video", "audio"]

LIFETIME_SECONDS = 3600.0
_MOST_SESSIONS = 200


@dataclass(frozen=True)
class Medium:
    """A file that has arrived and been handed on; the field names are those of the hosted upload session.

    Attributes:
        url: What to pass in `source_media_urls` and the like.
        kind: `image`, `video` or `audio`.
        mime_type: Decided by content.
        file_size_bytes: Size.
        name: The file's own name.
        duration_seconds: Length of video or sound, when it could be measured.
        measurement: Why there is no length: `unavailable` (nothing here can read it) or `unreadable` (damaged).
        width: Pixels, when known.
        height: Pixels, when known.
    """

    url: str
    kind: Kind
    mime_type: str
    file_size_bytes: int
    name: str
    duration_seconds: float | None = None
    measurement: Literal["unavailable", "unreadable"] | None = None
    width: int | None = None
    height: int | None = None

    def fields(self) -> dict[str, Any]:
        """The entry as it goes into `media[]`, without what is unknown."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class SessionState:
    """What a session has received so far, as the hosted `get_upload_session` reports it.

    Attributes:
        media: In the order in which the files were handed over.
        total_video_seconds: Sum of the known lengths.
        total_audio_seconds: Sum of the known lengths.
        unknown_duration_count: Videos and sounds without a length.
        billing_readiness: `exact` when there are files and every length is known, else `pessimistic_fallback`.
        expired: Whether the session takes no more files.
    """

    media: tuple[Medium, ...]
    total_video_seconds: float
    total_audio_seconds: float
    unknown_duration_count: int
    billing_readiness: Literal["exact", "pessimistic_fallback"]
    expired: bool

    @property
    def count(self) -> int:
        """How many files have arrived."""
        return len(self.media)

    @property
    def media_urls(self) -> tuple[str, ...]:
        """Their URLs, order kept."""
        return tuple(medium.url for medium in self.media)

    def fields(self) -> dict[str, Any]:
        """The answer of `get_upload_session`."""
        return {
            "count": self.count,
            "media_urls": list(self.media_urls),
            "media": [medium.fields() for medium in self.media],
            "total_video_seconds": self.total_video_seconds,
            "total_audio_seconds": self.total_audio_seconds,
            "unknown_duration_count": self.unknown_duration_count,
            "billing_readiness": self.billing_readiness,
            "expired": self.expired,
        }


@dataclass
class Session:
    """One session. Times are seconds since the epoch; `turn` lets uploads to it happen one after another."""

    token: str
    model_id: str
    kinds: tuple[Kind, ...]
    max_files: int
    expires_at: float
    media: list[Medium] = field(default_factory=list)
    turn: anyio.Lock = field(default_factory=anyio.Lock)

    @property
    def expires(self) -> str:
        """When it ends, in ISO 8601."""
        return datetime.fromtimestamp(self.expires_at, UTC).isoformat(timespec="seconds")

    def state(self, now: float) -> SessionState:
        """What has arrived so far."""
        unknown = sum(each.kind != "image" and each.duration_seconds is None for each in self.media)
        return SessionState(
            media=tuple(self.media),
            total_video_seconds=_seconds(self.media, "video"),
            total_audio_seconds=_seconds(self.media, "audio"),
            unknown_duration_count=unknown,
            billing_readiness="exact" if self.media and not unknown else "pessimistic_fallback",
            expired=now >= self.expires_at,
        )


class Sessions:
    """All sessions of this process; old ones are forgotten when there are very many.

    Args:
        clock: Seconds since the epoch.
        new_token: Makes tokens that cannot be guessed.
        lifetime: Seconds during which a session takes files.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        new_token: Callable[[], str] = lambda: secrets.token_urlsafe(32),
        lifetime: float = LIFETIME_SECONDS,
    ) -> None:
        self.clock = clock
        self._new_token = new_token
        self._lifetime = lifetime
        self._all: list[Session] = []

    def open(self, model_id: str, kinds: tuple[Kind, ...], max_files: int) -> Session:
        """Start a session of `lifetime` seconds."""
        session = Session(self._new_token(), model_id, kinds, max_files, self.clock() + self._lifetime)
        self._all = [*self._all[-_MOST_SESSIONS + 1 :], session]
        return session

    def find(self, token: str) -> Session:
        """The session with this token, live or expired; the comparison takes the same time wherever it fails.

        Raises:
            UnknownSessionError: There is none.
        """
        given = token.encode("utf-8", "replace")
        found = [each for each in self._all if hmac.compare_digest(each.token.encode(), given)]
        if not found:
            raise UnknownSessionError
        return found[0]

    def find_live(self, token: str) -> Session:
        """The session with this token, if it still takes files.

        Raises:
            UnknownSessionError: There is none.
            ExpiredSessionError: Its time is over.
        """
        session = self.find(token)
        if self.clock() >= session.expires_at:
            raise ExpiredSessionError
        return session

    def last_expiry(self) -> float:
        """When the last live session ends, in seconds since the epoch; 0 when there is none."""
        return max((session.expires_at for session in self._all), default=0.0)

    def busy(self) -> bool:
        """Whether files of any session are being handed on right now."""
        return any(session.turn.locked() for session in self._all)


def _seconds(media: list[Medium], kind: Kind) -> float:
    return round(sum(each.duration_seconds or 0.0 for each in media if each.kind == kind), 3)
