"""What a file is, read from its content. Names lie: a `.png` may be a web page, a `.mp4` only sound."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from kubeez_mcp_local.disk import open_exactly
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.media import isobmff
from kubeez_mcp_local.media.media_type import (
    FLAC,
    GIF,
    JPEG,
    M4A,
    MKV,
    MOV,
    MP3,
    MP4,
    OGG,
    PNG,
    WAV,
    WEBA,
    WEBM,
    WEBP,
    MediaType,
    accepted_list,
)

if TYPE_CHECKING:
    from pathlib import Path

HEAD_BYTES = 65_536
"""How much of a file is looked at; Matroska describes its tracks within this."""

_CONVERT_FIRST = {
    "image/heic": "Save it as JPEG first (on a Mac: Preview, File > Export).",
    "image/avif": "Save it as PNG or JPEG first.",
    "image/tiff": "Save it as PNG or JPEG first.",
    "image/bmp": "Save it as PNG or JPEG first.",
    "image/svg+xml": "Render it to PNG first; vector files are not accepted.",
    "application/pdf": "Export the page you need as PNG or JPEG first.",
    "application/zip": "Unpack it and pass the media files themselves.",
    "text/html": "This is a web page, perhaps saved in place of the media; download the media file itself.",
}


class UnsupportedMediaError(KubeezError):
    """The content is none of the accepted media types. Nothing was sent."""

    code = "unsupported_media_type"

    def __init__(self, name: str, found: str, *, argument: str = "") -> None:
        super().__init__(
            f"{f'{argument}: ' if argument else ''}{name} cannot be used: its content is {found}. "
            f"Accepted: {accepted_list()}.",
            next_step=_CONVERT_FIRST.get(found, "Convert it to one of the accepted types, or choose another file."),
        )
        self.found = found


def sniff(path: Path) -> MediaType:
    """Decide the media type of `path` by content. Reads at most `HEAD_BYTES` (MP4: plus its index).

    Raises:
        UnsupportedMediaError: The content is not an accepted type; the message lists those.
        OSError: The file cannot be read.
    """
    with open_exactly(path) as file:
        return sniff_file(file, path.name)


def sniff_file(file: BinaryIO, name: str) -> MediaType:
    """`sniff` for an open file, which is left at its start; `name` is for the message."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    found = _container(file, head) or _simple(head)
    file.seek(0)
    if isinstance(found, MediaType):
        return found
    raise UnsupportedMediaError(name, found)


def _container(file: BinaryIO, head: bytes) -> MediaType | str | None:
    """Formats whose first bytes do not settle the matter."""
    if isobmff.looks_like(head):
        return _iso_media(file, head)
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return _matroska(head)
    if head.startswith(b"OggS"):
        return "video/ogg" if b"theora" in head[:512] else OGG
    if head.startswith(b"ID3") or _is_mp3_frame(head):
        return MP3
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return WAV
    return None


def _simple(head: bytes) -> MediaType | str:
    """Formats that a signature settles, and a name for everything that is refused."""
    import filetype

    mime = filetype.guess_mime(head[:8192])
    accepted = {
        "image/jpeg": JPEG,
        "image/png": PNG,
        "image/apng": PNG,
        "image/webp": WEBP,
        "image/gif": GIF,
        "audio/x-flac": FLAC,
    }
    if mime in accepted:
        return accepted[mime]
    return mime or _text(head)


def _text(head: bytes) -> str:
    start = head.removeprefix(b"\xef\xbb\xbf")[:4096].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "text/html"
    if start.startswith(b"<") and b"<svg" in start:
        return "image/svg+xml"
    if b"\0" in head[:4096]:
        return "of an unknown kind"
    return "text" if _decodes(head[:4096]) else "of an unknown kind"


def _decodes(data: bytes) -> bool:
    try:
        data[:-4].decode("utf-8") if len(data) > 4 else data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(data) - 8
    return True


_BRANDS_MP4 = {
    b"isom",
    b"mp41",
    b"mp42",
    b"avc1",
    b"dash",
    b"mmp4",
    b"M4V ",
    b"M4VH",
    b"M4VP",
    b"MSNV",
    b"XAVC",
    b"f4v ",
}
_BRANDS_REFUSED = {
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"heim": "image/heic",
    b"heis": "image/heic",
    b"hevc": "image/heic",
    b"mif1": "image/heic",
    b"msf1": "image/heic",
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"crx ": "image/x-canon-cr3",
}


def _iso_media(file: BinaryIO, head: bytes) -> MediaType | str:
    brands = isobmff.brands(head)
    if not brands or brands[0] == b"qt  ":
        return MOV
    if brands[0] in _BRANDS_REFUSED:
        return "image/avif" if b"avif" in brands else _BRANDS_REFUSED[brands[0]]
    if brands[0][:3] in (b"3gp", b"3g2"):
        return "video/3gpp"
    if brands[0] in (b"M4A ", b"M4B ", b"M4P "):
        return M4A
    if not any(brand in _BRANDS_MP4 or brand[:3] == b"iso" for brand in brands):
        return "of an unknown kind"
    movie = isobmff.read(file)
    return M4A if movie is not None and movie.has_audio and not movie.has_video else MP4


def _matroska(head: bytes) -> MediaType | str:
    if b"webm" not in head[:128]:
        return MKV if b"matroska" in head[:128] else "of an unknown kind"
    tracks = head.partition(b"\x16\x54\xae\x6b")[2].partition(b"\x1f\x43\xb6\x75")[0]
    only_sound = b"\x83\x81\x02" in tracks and b"\x83\x81\x01" not in tracks
    return WEBA if only_sound else WEBM


def _is_mp3_frame(head: bytes) -> bool:
    """An MPEG layer III frame header: sync, layer, and bit rate and sampling rate that exist."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return False
    version, bit_rate, sampling_rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    return version != 1 and bit_rate not in (0, 15) and sampling_rate != 3
