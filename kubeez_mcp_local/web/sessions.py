"""Upload sessions: who may hand over which files until when, what has arrived, and how it is checked and handed on."""

from __future__ import annotations

import hmac
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

import anyio
import anyio.to_thread

from kubeez_mcp_local.errors import KubeezError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

Kind = Literal["image", "video", "audio"]

LIFETIME_SECONDS = 3600.0
_MOST_SESSIONS = 200


class UploadError(KubeezError):
    """An upload was not taken. Nothing of it was kept, sent or charged.

    Args:
        code: Its stable identifier.
        message: As for every error.
        next_step: As for every error.
        status: The HTTP status it is answered with.
    """

    def __init__(self, code: str, message: str, *, next_step: str, status: int = 400) -> None:
        super().__init__(message, next_step=next_step, code=code)
        self.status = status


def unknown_session() -> UploadError:
    """The error for a token that no session has."""
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
        own = {name: value for name, value in vars(self).items() if name != "media"}
        media = [medium.fields() for medium in self.media]
        return {"count": self.count, "media_urls": list(self.media_urls), "media": media, **own}


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
        """How many files it still takes.

        Raises:
            UploadError: Fewer than `files`.
        """
        left = self.max_files - len(self.media)
        if left < files:
            most = f"{self.max_files} file{'s' if self.max_files != 1 else ''}"
            raise UploadError(
                "too_many_files",
                f"this session takes at most {most}.",
                next_step="Send fewer, or open a new session.",
            )
        return left

    def state(self, now: float) -> SessionState:
        """What has arrived so far."""
        unknown = sum(each.kind != "image" and each.duration_seconds is None for each in self.media)
        return SessionState(
            media=tuple(self.media),
            total_video_seconds=self._seconds("video"),
            total_audio_seconds=self._seconds("audio"),
            unknown_duration_count=unknown,
            billing_readiness="exact" if self.media and not unknown else "pessimistic_fallback",
            expired=now >= self.expires_at,
        )

    def _seconds(self, kind: Kind) -> float:
        return round(sum(each.duration_seconds or 0.0 for each in self.media if each.kind == kind), 3)


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
        """The session with this token, live or expired.

        Raises:
            UploadError: There is none.
        """
        found = [each for each in self._all if each.owns(token)]
        if not found:
            raise unknown_session()
        return found[0]

    def find_live(self, token: str) -> Session:
        """The session with this token, if it still takes files.

        Raises:
            UploadError: There is none, or its time is over; what it received can still be read.
        """
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


# From a file that came in to a medium that a tool can use


class ContentType(Protocol):
    """What a file's content says it is."""

    @property
    def mime(self) -> str: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def extension(self) -> str: ...


class Measurement(Protocol):
    """What could be measured of a file; `None` is unknown."""

    @property
    def seconds(self) -> float | None: ...
    @property
    def width(self) -> int | None: ...
    @property
    def height(self) -> int | None: ...
    @property
    def unreadable(self) -> bool: ...


@dataclass(frozen=True)
class Steps:
    """What the rest of the program does for the page.

    Attributes:
        sniff: Decides what a file is by content; blocks; raises a `KubeezError` for what is not accepted.
        measure: Measures a file.
        deliver: Uploads a file of a type under a name; returns its URL.
    """

    sniff: Callable[[Path], ContentType]
    measure: Callable[[Path], Awaitable[Measurement]]
    deliver: Callable[[Path, ContentType, str], Awaitable[str]]


@dataclass(frozen=True)
class Part:
    """A file that came in.

    Attributes:
        path: Where it lies now.
        name: Its name at the sender's, cleaned.
        content_type: What it claims to be, such as `image/png`.
        size: Bytes.
    """

    path: Path
    name: str
    content_type: str
    size: int


async def hand_over(session: Session, parts: Sequence[Part], steps: Steps) -> list[Medium]:
    """Hand `parts` on in order and note them in the session. All are checked before the first one leaves.

    Raises:
        UploadError: A part is not what it claims, of a kind that is not accepted, or one too many.
        KubeezError: Whatever `steps` raise; parts before the one that failed stay in the session.
    """
    async with session.turn:
        session.room(len(parts))
        types = [await _checked(session, part, steps) for part in parts]
        media = []
        for part, content_type in zip(parts, types, strict=True):
            media.append(await _delivered(part, content_type, steps))
            session.media.append(media[-1])
        return media


async def _checked(session: Session, part: Part, steps: Steps) -> ContentType:
    try:
        found = await anyio.to_thread.run_sync(steps.sniff, part.path)
    except KubeezError as error:
        message = error.message.replace(part.path.name, part.name, 1)
        raise UploadError(error.code, message, next_step=error.next_step) from None
    if not _agrees(part.content_type, found):
        raise UploadError(
            "media_type_mismatch",
            f"the part {part.name!r} claims to be {part.content_type} but its content is {found.mime}.",
            next_step=f"Send it as {found.mime}, or choose the file you meant.",
        )
    if found.kind not in session.kinds:
        words = {"image": "a picture", "video": "a video", "audio": "sound"}
        raise UploadError(
            "kind_not_accepted",
            f"{part.name!r} is {words[found.kind]}; this session takes {', '.join(session.kinds)}.",
            next_step="Choose another file, or open a session for another model.",
        )
    return found


def _agrees(claimed: str, found: ContentType) -> bool:
    """Whether claim and content can go together: the same kind, or a container that may hold either.

    Within a kind the content decides: a picture that is named wrongly is still the picture that was meant.
    """
    kind, _, form = claimed.partition("/")
    form = {"m4a": "mp4", "m4v": "mp4"}.get(form, form)
    return kind == found.kind or form == found.mime.partition("/")[2] or claimed == "application/ogg"


async def _delivered(part: Part, content_type: ContentType, steps: Steps) -> Medium:
    measured = await steps.measure(part.path)
    url = await steps.deliver(part.path, content_type, part.name)
    no_length = content_type.kind != "image" and measured.seconds is None
    return Medium(
        url=url,
        kind=content_type.kind,
        mime_type=content_type.mime,
        file_size_bytes=part.size,
        name=part.name,
        duration_seconds=measured.seconds,
        measurement=("unreadable" if measured.unreadable else "unavailable") if no_length else None,
        width=measured.width,
        height=measured.height,
    )
