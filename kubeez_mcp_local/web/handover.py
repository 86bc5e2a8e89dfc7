"""From files that came in to media that a tool can use: checked by content, measured, handed on, noted down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import anyio.to_thread

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.web.errors import KindNotAcceptedError, TooManyFilesError, TypeMismatchError, UploadRefusedError
from kubeez_mcp_local.web.sessions import Kind, Medium

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from kubeez_mcp_local.web.reception import Part
    from kubeez_mcp_local.web.sessions import Session

_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "audio/mp3": "audio/mpeg",
    "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/m4a": "audio/mp4",
    "video/m4v": "video/mp4",
}


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


async def hand_over(session: Session, parts: Sequence[Part], steps: Steps) -> list[Medium]:
    """Hand `parts` on in order and note them in the session. All are checked before the first one leaves.

    Raises:
        UploadRefusedError: A part is not what it claims, of a kind that is not accepted, or one too many.
        KubeezError: Whatever `steps` raise; parts before the one that failed stay in the session.
    """
    async with session.turn:
        if len(session.media) + len(parts) > session.max_files:
            raise TooManyFilesError(session.max_files)
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
        raise _refused_content(message, error) from None
    if not _agrees(part.content_type, found):
        raise TypeMismatchError(part.name, part.content_type, found.mime)
    if found.kind not in session.kinds:
        raise KindNotAcceptedError(part.name, found.kind, session.kinds)
    return found


def _refused_content(message: str, error: KubeezError) -> UploadRefusedError:
    refusal = UploadRefusedError(message, next_step=error.next_step)
    refusal.code = error.code
    return refusal


def _agrees(claimed: str, found: ContentType) -> bool:
    """Whether claim and content can go together: the same kind, or a container that may hold either.

    Within a kind the content decides: a picture that is named wrongly is still the picture that was meant.
    """
    claimed = _ALIASES.get(claimed, claimed)
    kind, _, form = claimed.partition("/")
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
