"""What the books hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

JobKind = Literal["media", "music", "separation"]
Bucket = Literal["media", "music", "dialogue", "ads", "upload", "read"]


@dataclass(frozen=True)
class Account:
    """Who a key stands for, and what it may do."""

    id: str
    scopes: tuple[str, ...]
    revoked: bool


@dataclass(frozen=True)
class JobDraft:
    """A job before it is accepted: price in credits, times in real seconds from acceptance.

    `works` are the files it will make, each `(role, position, work)`; `failure` is how it will end, if badly.
    A `refundable` job gives its credits back then.
    """

    account: str
    kind: JobKind
    bucket: Bucket
    model: str
    prompt: str
    generation_type: str
    request: dict[str, Any]
    credits: float
    wait: float
    total: float
    works: tuple[tuple[str, int, dict[str, Any]], ...] = ()
    failure: str | None = None
    refundable: bool = True


@dataclass(frozen=True)
class Job:
    """A paid request. Times are seconds since the epoch; `credits` is what was charged."""

    id: str
    account: str
    kind: JobKind
    bucket: Bucket
    model: str
    prompt: str
    generation_type: str
    request: dict[str, Any]
    credits: float
    failure: str | None
    refundable: bool
    created_at: float
    starts_at: float
    due_at: float
    settled: bool
    reads: int
    finished_reads: int

    def status(self, now: float) -> str:
        """`pending`, `processing`, `completed` or `failed` at that moment."""
        if self.settled or now >= self.due_at:
            return "failed" if self.failure else "completed"
        return "processing" if now >= self.starts_at else "pending"


@dataclass(frozen=True)
class File:
    """A file the stand-in serves: an upload, or a job's output, thumbnail, song, cover or stem."""

    id: str
    account: str
    job: str | None
    role: str
    position: int
    path: str
    media_type: str
    work: dict[str, Any] = field(repr=False)
    width: int | None
    height: int | None
    seconds: float | None
    size: int | None
    downloads: int

    @property
    def kind(self) -> str:
        """`image`, `video` or `audio`."""
        return self.media_type.partition("/")[0]
