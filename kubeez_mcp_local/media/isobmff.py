"""A light reader for MP4, M4A and MOV: length, picture size and kinds of track, without decoding anything.

The box layout is that of ISO/IEC 14496-12. Only the index (`moov`) is read, wherever in the file it stands.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_INDEX_BYTES = 64 * 1024 * 1024
_MAX_TOP_LEVEL_BOXES = 10_000
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


@dataclass(frozen=True)
class Movie:
    """What the index says.

    Attributes:
        seconds: Length; `None` when the index does not tell (fragmented files).
        width: Picture width in pixels as shown, turned footage considered; `None` without a picture.
        height: Picture height in pixels as shown; `None` without a picture.
        has_video: Whether there is a video track.
        has_audio: Whether there is an audio track.
    """

    seconds: float | None
    width: int | None
    height: int | None
    has_video: bool
    has_audio: bool


def looks_like(head: bytes) -> bool:
    """Whether `head` starts like a file of this family."""
    return len(head) >= 8 and head[4:8] in _FIRST_BOXES and struct.unpack(">I", head[:4])[0] != 0


def brands(head: bytes) -> tuple[bytes, ...]:
    """Major brand, then compatible ones; empty for old QuickTime files, which state none."""
    if head[4:8] != b"ftyp":
        return ()
    size = min(int.from_bytes(head[:4], "big"), len(head), 512)
    return (head[8:12], *(head[at : at + 4] for at in range(16, size - 3, 4)))


def read(file: BinaryIO) -> Movie | None:
    """Read the index of an open file; `None` when there is none or it is damaged."""
    file.seek(0)
    index = _find_index(file)
    if index is None:
        return None
    try:
        return _movie(index)
    except (struct.error, IndexError):
        return None


def _find_index(file: BinaryIO) -> bytes | None:
    for _ in range(_MAX_TOP_LEVEL_BOXES):
        header = file.read(16)
        if len(header) < 8:
            return None
        size, name = int.from_bytes(header[:4], "big"), header[4:8]
        header_size = 16 if size == 1 else 8
        if size == 1 and len(header) == 16:
            size = int.from_bytes(header[8:16], "big")
        if name == b"moov":
            file.seek(header_size - len(header), 1)
            return file.read(size - header_size) if header_size < size <= _MAX_INDEX_BYTES else None
        if size < header_size:
            return None
        file.seek(size - len(header), 1)
    return None


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        if size < 8:
            return
        yield name, data[at + 8 : at + size]
        at += size


def _movie(index: bytes) -> Movie:
    seconds: float | None = None
    tracks: list[tuple[bytes, int, int]] = []
    for name, body in _boxes(index):
        if name == b"mvhd":
            seconds = _seconds(body)
        elif name == b"trak":
            tracks.append(_track(body))
    picture = next(((width, height) for kind, width, height in tracks if kind == b"vide"), None)
    return Movie(
        seconds=seconds,
        width=picture[0] if picture else None,
        height=picture[1] if picture else None,
        has_video=picture is not None,
        has_audio=any(kind == b"soun" for kind, _, _ in tracks),
    )


def _seconds(mvhd: bytes) -> float | None:
    scale, length = struct.unpack_from(">IQ", mvhd, 20) if mvhd[0] == 1 else struct.unpack_from(">II", mvhd, 12)
    return length / scale if scale and length else None


def _track(trak: bytes) -> tuple[bytes, int, int]:
    """Handler kind, and the size in which the track is shown."""
    kind, width, height = b"", 0, 0
    for name, body in _boxes(trak):
        if name == b"tkhd":
            width, height = _shown_size(body)
        elif name == b"mdia":
            kind = next((part[8:12] for inner, part in _boxes(body) if inner == b"hdlr"), b"")
    return kind, width, height


def _shown_size(tkhd: bytes) -> tuple[int, int]:
    matrix_at = 52 if tkhd[0] == 1 else 40
    a, b = struct.unpack_from(">ii", tkhd, matrix_at)
    width, height = (side >> 16 for side in struct.unpack_from(">II", tkhd, matrix_at + 36))
    turned = a == 0 and b != 0
    return (height, width) if turned else (width, height)
