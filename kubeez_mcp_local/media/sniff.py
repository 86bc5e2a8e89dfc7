"""What a file is, read from its content. Names lie: a `.png` may be a web page, a `.mp4` only sound.

Also the media types that may be sent to the API.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Literal

from kubeez_mcp_local.disk import open_exactly
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.media.containers import after_tags, is_iso_media, iso_brands, mp3_frame, mp3_start, read_movie

if TYPE_CHECKING:
    from pathlib import Path


Kind = Literal["image", "video", "audio"]


@dataclass(frozen=True)
class MediaType:
    """What a file really is, decided by its content.

    Attributes:
        mime: The media type as it goes on the wire, such as `image/png`.
        extension: The usual extension with its dot, such as `.png`.
        also: Other media types and extensions for the same.
    """

    mime: str
    kind: Kind
    extension: str
    also: tuple[str, ...] = field(default=(), repr=False)


JPEG = MediaType("image/jpeg", "image", ".jpg", ("image/jpg", "image/pjpeg", ".jpeg", ".jpe", ".jfif"))
PNG = MediaType("image/png", "image", ".png", ("image/apng",))
WEBP = MediaType("image/webp", "image", ".webp")
GIF = MediaType("image/gif", "image", ".gif")
MP4 = MediaType("video/mp4", "video", ".mp4", ("video/x-m4v", ".m4v"))
MOV = MediaType("video/quicktime", "video", ".mov", (".qt",))
MKV = MediaType("video/x-matroska", "video", ".mkv", ("video/matroska",))
WEBM = MediaType("video/webm", "video", ".webm")
MP3 = MediaType("audio/mpeg", "audio", ".mp3", ("audio/mp3",))
WAV = MediaType("audio/wav", "audio", ".wav", ("audio/x-wav", "audio/wave", "audio/vnd.wave"))
M4A = MediaType("audio/mp4", "audio", ".m4a", ("audio/x-m4a", "audio/m4a"))
OGG = MediaType("audio/ogg", "audio", ".ogg", ("audio/opus", ".oga", ".opus"))
WEBA = MediaType("audio/webm", "audio", ".weba")
FLAC = MediaType("audio/flac", "audio", ".flac", ("audio/x-flac",))

ACCEPTED: tuple[MediaType, ...] = (
    *(JPEG, PNG, WEBP, GIF),
    *(MP4, MOV, MKV, WEBM),
    *(MP3, WAV, M4A, OGG, WEBA, FLAC),
)
"""Everything `sniff` lets through: the website's and the asset library's lists, plus GIF and FLAC."""

_BY_NAME = {name: each for each in ACCEPTED for name in (each.mime, each.extension, *each.also)}


def accepted_list() -> str:
    """The accepted types in words, for messages: `image (jpg, png, …), video (…), audio (…)`."""
    groups = []
    for kind in ("image", "video", "audio"):
        names = ", ".join(each.extension.lstrip(".") for each in ACCEPTED if each.kind == kind)
        groups.append(f"{kind} ({names})")
    return ", ".join(groups)


def by_extension(name: str) -> MediaType | None:
    """The type that a file name or URL path promises; `None` when its extension says nothing."""
    return _BY_NAME.get(PurePosixPath(name).suffix.lower())


def by_mime(mime: str) -> MediaType | None:
    """The accepted type that a `Content-Type` names, parameters and aliases considered."""
    essence = mime.partition(";")[0].strip().lower()
    return _BY_NAME.get(essence) if "/" in essence else None


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


_SIGNATURES: tuple[tuple[bytes, MediaType | str], ...] = (
    *((rb"\xff\xd8\xff", JPEG), (rb"\x89PNG\r\n\x1a\n", PNG), (rb"GIF8[79]a", GIF), (rb"RIFF....WEBP", WEBP)),
    *((rb"fLaC", FLAC), (rb"II\*\0|MM\0\*", "image/tiff"), (rb"BM....\0\0\0\0", "image/bmp")),
    *((rb"\xff\x0a|\0\0\0\x0cJXL ", "image/jxl"), (rb"8BPS", "image/vnd.adobe.photoshop")),
    *((rb"RIFF....AVI ", "video/x-msvideo"), (rb"\x00\x00\x01[\xba\xb3]", "video/mpeg"), (rb"FLV\x01", "video/x-flv")),
    *((rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video/x-ms-wmv"), (rb"#!AMR", "audio/amr"), (rb"MThd", "audio/midi")),
    *((rb"\xff[\xf1\xf9]", "audio/aac"), (rb"FORM....AIF[FC]", "audio/aiff")),
    *(
        (rb"%PDF", "application/pdf"),
        (rb"PK(\x03\x04|\x05\x06)", "application/zip"),
        (rb"\x1f\x8b", "application/gzip"),
    ),
    *((rb"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"), (rb"Rar!\x1a\x07", "application/vnd.rar")),
    *((rb"MZ", "application/x-msdownload"), (rb"\x7fELF", "application/x-executable")),
)
"""How files begin, and what that makes them."""


class UnsupportedMediaError(KubeezError):
    """The content is none of the accepted media types. Nothing was sent."""

    code = "unsupported_media_type"

    def __init__(self, name: str, found: str) -> None:
        super().__init__(
            f"{name} cannot be used: its content is {found}. Accepted: {accepted_list()}.",
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
    found = _behind_tags(file) if head.startswith(b"ID3") else _container(file, head) or _simple(head)
    file.seek(0)
    if isinstance(found, MediaType):
        return found
    raise UnsupportedMediaError(name, found)


def _behind_tags(file: BinaryIO) -> MediaType | str:
    """What the content behind ID3 tags is: MP3, unless it says otherwise; FLAC and AAC carry them too."""
    file.seek(after_tags(file))
    head = file.read(HEAD_BYTES)
    found = _container(file, head) or _simple(head)
    told = found not in ("text", "of an unknown kind")
    return found if told and (isinstance(found, str) or found.kind == "audio") else MP3


def _container(file: BinaryIO, head: bytes) -> MediaType | str | None:
    """Formats whose first bytes do not settle the matter."""
    if is_iso_media(head):
        return _iso_media(file, head)
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return _matroska(head)
    if head.startswith(b"OggS"):
        return "video/ogg" if b"theora" in head[:512] else OGG
    if mp3_frame(head[:4]):
        return MP3
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return WAV
    return None


def _simple(head: bytes) -> MediaType | str:
    """Formats that a signature settles, and a name for everything that is refused."""
    for start, found in _SIGNATURES:
        if re.match(start, head, re.DOTALL):
            return found
    return MP3 if mp3_start(head, ends=len(head) < HEAD_BYTES) is not None else _text(head)


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


_BRANDS_MP4 = (
    *(b"isom", b"mp41", b"mp42", b"avc1", b"dash", b"mmp4"),
    *(b"M4V ", b"M4VH", b"M4VP", b"MSNV", b"XAVC", b"f4v "),
)
_BRANDS_REFUSED = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"), "image/heic"),
    **dict.fromkeys((b"avif", b"avis"), "image/avif"),
    b"crx ": "image/x-canon-cr3",
}


def _iso_media(file: BinaryIO, head: bytes) -> MediaType | str:
    brands = iso_brands(head)
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
    movie = read_movie(file)
    return M4A if movie is not None and movie.has_sound and movie.width is None else MP4


def _matroska(head: bytes) -> MediaType | str:
    if b"webm" not in head[:128]:
        return MKV if b"matroska" in head[:128] else "of an unknown kind"
    tracks = head.partition(b"\x16\x54\xae\x6b")[2].partition(b"\x1f\x43\xb6\x75")[0]
    only_sound = b"\x83\x81\x02" in tracks and b"\x83\x81\x01" not in tracks
    return WEBA if only_sound else WEBM
