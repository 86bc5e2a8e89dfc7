"""Upload sessions: who may hand over which files until when, and what has arrived."""

from __future__ import annotations

import hmac
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import anyio

from kubeez_mcp_local.errors import KubeezError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubeez_mcp_local.media.sniff import Kind

LIFETIME_SECONDS = 3600.0
_MOST_SESSIONS = 200


class UploadError(KubeezError):
    """An upload was not taken, which HTTP answers with `status`. Nothing of it was kept, sent or charged."""

    def __init__(self, code: str, message: str, *, next_step: str, status: int = 400) -> None:
        super().__init__(message, next_step=next_step, code=code)
        self.status = status


def unknown_session() -> UploadError:
    return UploadError(
        "unknown_upload_session",
        "no upload session has this token; sessions end with the server that opened them.",
        next_step="Open a new one with get_upload_url.",
        status=404,
    )


@dataclass(frozen=True)
class Medium:
    """A file that has arrived and been handed on; the field names are those of the hosted upload session.

    Attributes:
        url: What to pass in `source_media_urls` and the like.
        mime_type: Decided by content.
        duration_seconds: Length of video or sound, when it could be measured.
        measurement: Why there is no length: `unavailable`, nothing here can read it.
        width: Pixels, as is `height`; when known.
    """

    url: str
    kind: Kind
    mime_type: str
    file_size_bytes: int
    name: str
    duration_seconds: float | None = None
    measurement: Literal["unavailable"] | None = None
    width: int | None = None
    height: int | None = None

    def fields(self) -> dict[str, Any]:
        """The entry in `media[]`, without what is unknown."""
        return {name: value for name, value in vars(self).items() if value is not None}


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

    def owns(self, token: str) -> bool:
        """Whether `token` is its own; the comparison takes the same time wherever it fails."""
        return hmac.compare_digest(self.token.encode(), token.encode("utf-8", "replace"))

    def room(self, files: int = 1) -> int:
        """How many files it still takes; raises an `UploadError` if fewer than `files`."""
        left = self.max_files - len(self.media)
        if left < files:
            most = f"{self.max_files} file{'s' if self.max_files != 1 else ''}"
            raise UploadError(
                "too_many_files",
                f"this session takes at most {most}.",
                next_step="Send fewer, or open a new session.",
            )
        return left

    def facts(self, now: float) -> dict[str, Any]:
        """What has arrived so far, as the hosted `get_upload_session` answers.

        `media` and `media_urls` are in the order in which the files were handed over. The totals are sums of the known
        lengths; `unknown_duration_count` are the videos and sounds without one. `billing_readiness` is `exact` when
        there are files and every length is known, and `expired` means that no more files are taken.
        """
        unknown = sum(each.kind != "image" and each.duration_seconds is None for each in self.media)
        return {
            "count": len(self.media),
            "media_urls": [each.url for each in self.media],
            "media": [each.fields() for each in self.media],
            "total_video_seconds": self._seconds("video"),
            "total_audio_seconds": self._seconds("audio"),
            "unknown_duration_count": unknown,
            "billing_readiness": "exact" if self.media and not unknown else "pessimistic_fallback",
            "expired": now >= self.expires_at,
        }

    def _seconds(self, kind: Kind) -> float:
        return round(sum(each.duration_seconds or 0.0 for each in self.media if each.kind == kind), 3)


@dataclass
class Sessions:
    """All sessions of this process; old ones are forgotten when there are very many.

    Attributes:
        clock: Seconds since the epoch.
        new_token: Makes tokens that cannot be guessed.
        lifetime: Seconds during which a session takes files.
    """

    clock: Callable[[], float] = time.time
    new_token: Callable[[], str] = lambda: secrets.token_urlsafe(32)
    lifetime: float = LIFETIME_SECONDS
    _all: list[Session] = field(default_factory=list, init=False)

    def open(self, model_id: str, kinds: tuple[Kind, ...], max_files: int) -> Session:
        session = Session(self.new_token(), model_id, kinds, max_files, self.clock() + self.lifetime)
        self._all = [*self._all[-_MOST_SESSIONS + 1 :], session]
        return session

    def find(self, token: str) -> Session:
        """The session with this token, live or expired; raises an `UploadError` if there is none."""
        found = next((each for each in self._all if each.owns(token)), None)
        if found is None:
            raise unknown_session()
        return found

    def find_live(self, token: str) -> Session:
        """The session with this token, if its time is not over; what it received can be read even then."""
        session = self.find(token)
        if self.clock() >= session.expires_at:
            raise UploadError(
                "upload_session_expired",
                "this upload session has expired.",
                next_step="Open a new one with get_upload_url.",
                status=410,
            )
        return session

    def last_expiry(self) -> float:
        """When the last live session ends, in seconds since the epoch; 0 when there is none."""
        return max((session.expires_at for session in self._all), default=0.0)

    def busy(self) -> bool:
        """Whether files of any session are being handed on right now."""
        return any(session.turn.locked() for session in self._all)
