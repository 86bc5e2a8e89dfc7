"""The media types that may be sent to the API, and the names they go by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

Kind = Literal["image", "video", "audio"]


@dataclass(frozen=True)
class MediaType:
    """What a file really is, decided by its content.

    Attributes:
        mime: The media type as it goes on the wire, such as `image/png`.
        kind: `image`, `video` or `audio`.
        extension: The usual extension with its dot, such as `.png`.
    """

    mime: str
    kind: Kind
    extension: str


JPEG = MediaType("image/jpeg", "image", ".jpg")
PNG = MediaType("image/png", "image", ".png")
WEBP = MediaType("image/webp", "image", ".webp")
GIF = MediaType("image/gif", "image", ".gif")
MP4 = MediaType("video/mp4", "video", ".mp4")
MOV = MediaType("video/quicktime", "video", ".mov")
MKV = MediaType("video/x-matroska", "video", ".mkv")
WEBM = MediaType("video/webm", "video", ".webm")
MP3 = MediaType("audio/mpeg", "audio", ".mp3")
WAV = MediaType("audio/wav", "audio", ".wav")
M4A = MediaType("audio/mp4", "audio", ".m4a")
OGG = MediaType("audio/ogg", "audio", ".ogg")
WEBA = MediaType("audio/webm", "audio", ".weba")
FLAC = MediaType("audio/flac", "audio", ".flac")

ACCEPTED: tuple[MediaType, ...] = (
    *(JPEG, PNG, WEBP, GIF),
    *(MP4, MOV, MKV, WEBM),
    *(MP3, WAV, M4A, OGG, WEBA, FLAC),
)
"""Everything `sniff` lets through: the website's and the asset library's lists, plus GIF and FLAC."""

_SPELLINGS = {".jpeg": JPEG, ".jpe": JPEG, ".jfif": JPEG, ".m4v": MP4, ".qt": MOV, ".oga": OGG, ".opus": OGG}
_ALIASES = {
    "image/jpg": JPEG,
    "image/pjpeg": JPEG,
    "image/apng": PNG,
    "video/x-m4v": MP4,
    "video/matroska": MKV,
    "audio/mp3": MP3,
    "audio/x-wav": WAV,
    "audio/wave": WAV,
    "audio/vnd.wave": WAV,
    "audio/x-m4a": M4A,
    "audio/m4a": M4A,
    "audio/opus": OGG,
    "audio/x-flac": FLAC,
}


def accepted_list() -> str:
    """The accepted types in words, for messages: `image (jpg, png, …), video (…), audio (…)`."""
    groups = []
    for kind in ("image", "video", "audio"):
        names = ", ".join(each.extension.lstrip(".") for each in ACCEPTED if each.kind == kind)
        groups.append(f"{kind} ({names})")
    return ", ".join(groups)


def by_extension(name: str) -> MediaType | None:
    """The type that a file name or URL path promises; `None` when its extension says nothing."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in _SPELLINGS:
        return _SPELLINGS[suffix]
    return next((each for each in ACCEPTED if each.extension == suffix), None)


def by_mime(mime: str) -> MediaType | None:
    """The accepted type that a `Content-Type` names, parameters and aliases considered."""
    essence = mime.partition(";")[0].strip().lower()
    if essence in _ALIASES:
        return _ALIASES[essence]
    return next((each for each in ACCEPTED if each.mime == essence), None)
