"""What an uploaded file is: its type from its first bytes, its pixels and seconds from the rest."""

from __future__ import annotations

import struct
import wave
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_BRANDS = {b"qt  ": ("mov", "video/quicktime"), b"M4A ": ("m4a", "audio/mp4")}


def recognise(head: bytes) -> tuple[str, str] | None:
    """Extension and media type by the file's signature; None when it is no media we know."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png", "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpg", "image/jpeg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif", "image/gif"
    if head[:4] == b"RIFF" and head[8:12] in (b"WEBP", b"WAVE"):
        return ("webp", "image/webp") if head[8:12] == b"WEBP" else ("wav", "audio/wav")
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], ("mp4", "video/mp4"))
    if head.startswith(b"\x1aE\xdf\xa3"):
        return ("webm", "video/webm") if b"webm" in head else ("mkv", "video/x-matroska")
    if head.startswith(b"OggS"):
        return "ogg", "audio/ogg"
    if head.startswith(b"fLaC"):
        return "flac", "audio/flac"
    if head.startswith(b"ID3") or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0):
        return "mp3", "audio/mpeg"
    return None


def measure(path: Path, media_type: str) -> dict[str, Any]:
    """`width` and `height` in pixels and `seconds`, as far as they can be told without a decoder."""
    kind = media_type.partition("/")[0]
    if kind == "image":
        return _picture(path)
    seconds = _seconds(path, media_type)
    return {**({} if seconds is None else {"seconds": round(seconds, 3)}), **(_frame(path) if kind == "video" else {})}


def _picture(path: Path) -> dict[str, Any]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            return {"width": picture.width, "height": picture.height}
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        return {}


def _seconds(path: Path, media_type: str) -> float | None:
    if media_type == "audio/wav":
        try:
            with wave.open(str(path), "rb") as sound:
                return sound.getnframes() / sound.getframerate()
        except (wave.Error, EOFError):
            return None
    if media_type in ("video/mp4", "video/quicktime", "audio/mp4"):
        return _movie_seconds(path)
    return _decoder_seconds(path)


def _movie_seconds(path: Path) -> float | None:
    """Length by the movie header box of an MP4 or QuickTime file."""
    with path.open("rb") as file:
        end = path.stat().st_size
        found = _find_box(file.read, file.seek, 0, end, b"moov")
        header = found and _find_box(file.read, file.seek, *found, b"mvhd")
        if not header:
            return None
        file.seek(header[0])
        body = file.read(32)
    if len(body) < 32:
        return None
    scale, length = struct.unpack(">IQ", body[20:32]) if body[0] == 1 else struct.unpack(">II", body[12:20])
    return length / scale if scale else None


def _frame(path: Path) -> dict[str, Any]:
    """Pixels by the track headers of an MP4 or QuickTime file."""
    with path.open("rb") as file:
        movie = _find_box(file.read, file.seek, 0, path.stat().st_size, b"moov")
        position, end = movie or (0, 0)
        while track := _find_box(file.read, file.seek, position, end, b"trak"):
            header = _find_box(file.read, file.seek, *track, b"tkhd")
            if header:
                file.seek(header[1] - 8)
                width, height = (value >> 16 for value in struct.unpack(">II", file.read(8)))
                if width and height:
                    return {"width": width, "height": height}
            position = track[1]
    return {}


def _find_box(read: Any, seek: Any, start: int, end: int, wanted: bytes) -> tuple[int, int] | None:
    position = start
    while position + 8 <= end:
        seek(position)
        size, name = struct.unpack(">I4s", read(8))
        skipped = 8
        if size == 1:
            size, skipped = struct.unpack(">Q", read(8))[0], 16
        elif size == 0:
            size = end - position
        if size < skipped:
            return None
        if name == wanted:
            return position + skipped, position + size
        position += size
    return None


def _decoder_seconds(path: Path) -> float | None:
    try:
        import av
    except ImportError:
        return None
    try:
        with av.open(str(path)) as container:
            return container.duration / av.time_base if container.duration else None
    except (av.error.FFmpegError, OSError):
        return None
