"""What a file says of itself, read without decoding: whether it is whole, how long it lasts, what is in it.

For MP4, M4A and MOV (ISO/IEC 14496-12), Matroska and WebM (RFC 9559), WAV (RIFF and RF64), MP3 (ISO/IEC 11172-3),
Ogg (RFC 3533) and FLAC (RFC 9639). A file is called damaged only where its own numbers prove it; whatever
reads more than headers is bounded.
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Measured:
    """What is known of a file; `None` is unknown, never a guess.

    Attributes:
        seconds: Length of video or sound.
        width: Pixels as shown, turned pictures considered, as is `height`.
        has_sound: Whether there is a sound track.
        damage: Why the content cannot be used, so that measuring again will not help; empty if nothing is known
            against it.
        looked_at: Whether damage would have been seen.
    """

    seconds: float | None = None
    width: int | None = None
    height: int | None = None
    has_sound: bool | None = None
    damage: str = ""
    looked_at: bool = True


UNSEEN = Measured(looked_at=False)
ENDLESS = Measured(looked_at=False)
"""Not looked at either, and not worth a closer look: it is cut into so many parts that every reader takes long."""


def _size(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)


def _at(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)


def _cut_off(missing: int) -> Measured:
    return Measured(damage=f"it was cut off: {missing:,} bytes are missing at its end")


_MAX_INDEX_BYTES = 64 * 1024 * 1024
_MAX_BOXES = 100_000
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_ESSENTIAL_BOXES = (b"moov", b"mdat", b"moof")


def is_iso_media(head: bytes) -> bool:
    """Whether `head` starts like a file of this family."""
    return len(head) >= 8 and head[4:8] in _FIRST_BOXES and struct.unpack(">I", head[:4])[0] != 0


def iso_brands(head: bytes) -> tuple[bytes, ...]:
    """Major brand, then compatible ones; empty for old QuickTime files, which state none."""
    if head[4:8] != b"ftyp":
        return ()
    size = min(int.from_bytes(head[:4], "big"), len(head), 512)
    return (head[8:12], *(head[at : at + 4] for at in range(16, size - 3, 4)))


def read_movie(file: BinaryIO) -> Measured | None:
    """What the index of MP4, M4A or MOV tells; `None` when there is none, it is damaged, or too large to be read.

    The length of fragmented files is not told, nor the size of what has no picture.
    """
    place = next((place for name, place, _ in _top_boxes(file) if name == b"moov"), None)
    index = _index(file, place) if place else None
    try:
        return _movie(index) if index else None
    except (struct.error, IndexError):
        return None


def _top_boxes(file: BinaryIO) -> Iterator[tuple[bytes, tuple[int, int], int]]:
    """Name of each box of the file, where its content starts and ends, and how many bytes of it are missing."""
    whole, at = _size(file), 0
    for _ in range(_MAX_BOXES):
        header = _at(file, at, 16)
        if len(header) < 8:
            return
        size, name, start = int.from_bytes(header[:4], "big"), header[4:8], 8
        if size == 1 and len(header) == 16:
            size, start = int.from_bytes(header[8:16], "big"), 16
        size = size or whole - at  # the last one may reach to the end, whatever that is
        if size < start:
            return
        yield name, (at + start, at + size), max(0, at + size - whole)
        at += size


def _index(file: BinaryIO, place: tuple[int, int]) -> bytes | None:
    start, end = place
    return _at(file, start, end - start) if end - start <= _MAX_INDEX_BYTES else None


def _iso(file: BinaryIO) -> Measured:
    places: dict[bytes, tuple[int, int]] = {}
    boxes = 0
    for name, place, missing in _top_boxes(file):
        boxes += 1
        if missing and name in _ESSENTIAL_BOXES:
            return _cut_off(missing)
        places.setdefault(name, place)
    if b"moov" not in places:
        return ENDLESS if boxes == _MAX_BOXES else Measured(damage="its index (moov) is missing: it was cut off")
    index = _index(file, places[b"moov"])
    if index is None:
        return UNSEEN
    try:
        movie = _movie(index)
    except (struct.error, IndexError):
        return Measured(damage="its index (moov) is damaged")
    if movie.width is None and not movie.has_sound:
        return Measured(damage="it holds neither picture nor sound")
    if b"mdat" not in places and boxes < _MAX_BOXES:
        return Measured(damage="it is an index without content (no mdat)")
    if movie.width is not None and not (movie.width and movie.height):
        return Measured(damage=f"its picture has {movie.width}x{movie.height} pixels")
    return movie


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        if size < 8:
            return
        yield name, data[at + 8 : at + size]
        at += size


def _movie(index: bytes) -> Measured:
    seconds: float | None = None
    tracks: list[tuple[bytes, int, int]] = []
    fragmented = False
    for name, body in _boxes(index):
        if name == b"mvhd":
            seconds = _seconds(body)
        elif name == b"trak":
            tracks.append(_track(body))
        fragmented = fragmented or name == b"mvex"
    width, height = next(((width, height) for kind, width, height in tracks if kind == b"vide"), (None, None))
    return Measured(None if fragmented else seconds, width, height, any(kind == b"soun" for kind, _, _ in tracks))


def _seconds(mvhd: bytes) -> float | None:
    scale, length = struct.unpack_from(">IQ", mvhd, 20) if mvhd[0] == 1 else struct.unpack_from(">II", mvhd, 12)
    return length / scale if scale and length else None


def _track(trak: bytes) -> tuple[bytes, int, int]:
    """Handler kind, and the size in which the track is shown: that of its content where the track states none."""
    kind, width, height = b"", 0, 0
    for name, body in _boxes(trak):
        if name == b"tkhd":
            width, height = _shown_size(body)
        elif name == b"mdia":
            kind = next((part[8:12] for inner, part in _boxes(body) if inner == b"hdlr"), b"")
            if kind == b"vide" and not (width and height):
                width, height = _coded_size(body)
    return kind, width, height


def _shown_size(tkhd: bytes) -> tuple[int, int]:
    matrix_at = 52 if tkhd[0] == 1 else 40
    a, b = struct.unpack_from(">ii", tkhd, matrix_at)
    width, height = (side >> 16 for side in struct.unpack_from(">II", tkhd, matrix_at + 36))
    turned = a == 0 and b != 0
    return (height, width) if turned else (width, height)


def _coded_size(body: bytes) -> tuple[int, int]:
    for inner in (b"minf", b"stbl", b"stsd"):
        body = next((part for name, part in _boxes(body) if name == inner), b"")
    return struct.unpack_from(">HH", body, 40) if len(body) >= 44 else (0, 0)


_SEGMENT, _VOID = 0x18538067, (0xEC, 0xBF)


def _matroska(file: BinaryIO) -> Measured:
    """Only what proves damage: everything else about it is for PyAV to say."""
    whole, at = _size(file), 0
    for _ in range(16):
        head = _at(file, at, 12)
        name, after_name = _number(head, 0, keep_marker=True)
        size, start = _number(head, after_name)
        if name == _SEGMENT:
            unknown = size == (1 << 7 * (start - after_name)) - 1
            missing = 0 if unknown else at + start + size - whole
            if missing > 0:
                return _cut_off(missing)
            return UNSEEN if at + start < whole else Measured(damage="it was cut off after its header")
        if at and name not in _VOID:
            break
        at += start + size
    return Measured(damage="it was cut off within its header" if at >= whole else "it holds no film or sound")


def _number(data: bytes, at: int, *, keep_marker: bool = False) -> tuple[int, int]:
    """A number of variable length and where it ends."""
    first = data[at] if at < len(data) else 0
    length = 9 - first.bit_length()
    value = int.from_bytes(data[at : at + length], "big")
    return (value if keep_marker else value & (1 << 7 * length) - 1), at + length


_PCM = (1, 3, 0xFFFE)
_MAX_CHUNKS = 1000
_UNTOLD = 0x7FFF_0000
"""Sizes from here on, or 0, are written by programs that do not know the size yet."""
_CHUNKS_BEHIND = (b"LIST", b"id3 ", b"bext", b"JUNK")


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Name of each chunk, where its content starts, and its size; a nameless one where the file ends."""
    at = 12
    for _ in range(_MAX_CHUNKS):
        head = _at(file, at, 8)
        name, size = (head[:4], int.from_bytes(head[4:], "little")) if len(head) == 8 else (b"", 0)
        yield name, at + 8, size
        if not name:
            return
        at += 8 + size + size % 2


def _wav(file: BinaryIO) -> Measured:
    whole, large = _size(file), 0
    layout: tuple[int, int] | None = None
    for name, at, size in _chunks(file):
        head = _at(file, at, 16)
        if not name:
            return Measured(damage="it was cut off before its sound")
        if name == b"ds64" and len(head) == 16:
            large = int.from_bytes(head[8:], "little")
        if name == b"fmt " and len(head) == 16:
            # It states its bytes a second too; some programs write nonsense there, and players ignore it.
            kind, _, frames, _, frame = struct.unpack_from("<HHIIH", head)
            layout = kind, frames * frame
        if name == b"data":
            there = whole - at
            told = large if size == 0xFFFF_FFFF and large else size
            if (told >= _UNTOLD and not large) or (not told and head[:4] not in _CHUNKS_BEHIND):
                told = there
            if told > there:
                return _cut_off(told - there)
            if layout is None or not told:
                return Measured(damage="it holds no sound" if layout else "its header is damaged")
            kind, bytes_a_second = layout
            plain = kind in _PCM and bytes_a_second
            return Measured(told / bytes_a_second, has_sound=True) if plain else UNSEEN
    return ENDLESS


_BIT_RATES = (
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
)
_SAMPLING_RATES = (44_100, 48_000, 32_000)
_MP3_SEARCHED_BYTES = 1024 * 1024
_MP3_MOST_FRAMES = 2_000_000
_MP3_TRAILERS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"3DI", b"\0\0\0\0")
_ENOUGH_FRAMES = 4
_TABLES = (b"Xing", b"Info")


@dataclass(frozen=True)
class Mp3Frame:
    """What the header of a frame says; lengths in bytes and in seconds. Frames of one file have the same `form`."""

    size: int
    seconds: float
    form: tuple[int, int]
    side_info: int


def mp3_frame(header: bytes) -> Mp3Frame | None:
    """The MPEG layer III frame that starts with these 4 bytes, if its bit rate and sampling rate exist."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version, bits, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or bits in (0, 15) or rate == 3:
        return None
    newest, mono = version == 3, header[3] >> 6 == 3
    hertz = _SAMPLING_RATES[rate] >> (0 if newest else 1 if version == 2 else 2)
    size = (144_000 if newest else 72_000) * _BIT_RATES[newest][bits] // hertz + (header[2] >> 1 & 1)
    side_info = (17 if mono else 32) if newest else (9 if mono else 17)
    return Mp3Frame(size, (1152 if newest else 576) / hertz, (version, rate), side_info)


def mp3_start(data: bytes, *, ends: bool) -> int | None:
    """Where the first of several frames that follow each other stands, whatever lies before it.

    `ends`: Whether `data` reaches to the end of the file, where fewer frames have to do.
    """
    for found in re.finditer(rb"\xff[\xe2-\xff]", data):
        at, frame = found.start(), mp3_frame(data[found.start() : found.start() + 4])
        form, count = frame and frame.form, 0
        while frame is not None and frame.form == form and count < _ENOUGH_FRAMES:
            at, count = at + frame.size, count + 1
            frame = mp3_frame(data[at : at + 4])
        if count == _ENOUGH_FRAMES or (count > 1 and ends and at >= len(data)):
            return found.start()
    return None


def after_tags(file: BinaryIO) -> int:
    """Where the content starts behind the ID3v2 tags at the start of a file, if any; beyond its end if cut off."""
    at = 0
    for _ in range(16):
        head = _at(file, at, 10)
        if len(head) < 10 or head[:3] != b"ID3" or max(head[6:]) > 127:
            return at
        size = sum(byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        at += 10 + size + (10 if head[5] & 0x10 else 0)
    return at


def _mp3(file: BinaryIO) -> Measured:
    whole, at = _size(file), after_tags(file)
    if at >= whole:
        return Measured(damage="it was cut off within its tags")
    data = _at(file, at, _MP3_SEARCHED_BYTES)
    begin = mp3_start(data, ends=at + len(data) == whole)
    if begin is None:
        silent = Measured(damage="it holds no MP3 sound")
        return silent if at + len(data) == whole else UNSEEN
    at, first = at + begin, mp3_frame(data[begin : begin + 4])
    assert first is not None
    table = _table(data, begin, first)
    is_table = table[:4] in _TABLES
    if is_table and table[7] & 2:
        place = 12 if table[7] & 1 else 8
        missing = int.from_bytes(table[place : place + 4], "big") - (whole - at)
        if missing > first.size:
            return _cut_off(missing)
    return Measured(_mp3_seconds(file, at + (first.size if is_table else 0), whole), has_sound=True)


def _table(data: bytes, begin: int, first: Mp3Frame) -> bytes:
    """What stands where the first frame may hold nothing but a table: how many frames there are, and their bytes."""
    return data[begin + 4 + first.side_info :][:16]


def _mp3_seconds(file: BinaryIO, at: int, whole: int) -> float | None:
    """Length of all frames from `at` on; `None` where something else than tags stands behind them."""
    seconds = 0.0
    for _ in range(_MP3_MOST_FRAMES):
        head = _at(file, at, 12)
        frame = mp3_frame(head[:4])
        if frame is None or at + frame.size > whole:
            ended = frame is not None or len(head) < 4 or head.startswith(_MP3_TRAILERS)
            return seconds if seconds and ended else None
        seconds, at = seconds + frame.seconds, at + frame.size
    return None


def sound_start(file: BinaryIO, mime: str, budget: int) -> tuple[bytes, float] | None:
    """The first seconds of WAV or MP3 as a file of at most `budget` bytes, and how many; `None` for anything else."""
    if mime == "audio/mpeg":
        return _mp3_frames(file, budget)
    return _wav_start(file, budget) if mime == "audio/wav" else None


def _mp3_frames(file: BinaryIO, budget: int) -> tuple[bytes, float] | None:
    begin = after_tags(file)
    data = _at(file, begin, _MP3_SEARCHED_BYTES)
    start = mp3_start(data, ends=False)
    if start is None:
        return None
    first = mp3_frame(data[start : start + 4])
    start += first.size if first and _table(data, start, first)[:4] in _TABLES else 0
    data, at, seconds = _at(file, begin + start, budget), 0, 0.0
    while (frame := mp3_frame(data[at : at + 4])) and at + frame.size <= len(data):
        at, seconds = at + frame.size, seconds + frame.seconds
    return (data[:at], seconds) if at else None


def _wav_start(file: BinaryIO, budget: int) -> tuple[bytes, float] | None:
    form = b""
    for name, at, size in _chunks(file):
        if name == b"fmt " and size <= 64:
            form = _at(file, at, size)
        if name == b"data":
            break
    if len(form) < 16 or struct.unpack_from("<H", form)[0] not in _PCM:
        return None
    each, block = struct.unpack_from("<I", form, 8)[0], max(1, struct.unpack_from("<H", form, 12)[0])
    data = _at(file, at, max(0, budget - 28 - len(form)) // block * block)
    chunks = b"".join((b"fmt ", struct.pack("<I", len(form)), form, b"data", struct.pack("<I", len(data)), data))
    whole = b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks
    return (whole, len(data) / each) if data and each else None


_LONGEST_PAGE = 27 + 255 + 255 * 255


def _ogg(file: BinaryIO) -> Measured:
    """Only what proves damage, as `_matroska`."""
    whole = _size(file)
    first = _page_size(_at(file, 0, 282))
    if first is None or first > whole:
        return Measured(damage="it was cut off within its header")
    start = max(0, whole - 2 * _LONGEST_PAGE)
    tail = _at(file, start, whole - start)
    for found in re.finditer(rb"OggS\0", tail):
        at, pages = found.start(), 0
        while at < len(tail) and (size := _page_size(tail[at : at + 282])):
            at, pages = at + size, pages + 1
        if pages < 2:
            continue
        if at > len(tail):
            return _cut_off(at - len(tail))
        if tail[at : at + 4] == b"OggS":
            return Measured(damage="it was cut off within a page")
        break  # whole, or followed by something that is not Ogg
    return UNSEEN


def _page_size(head: bytes) -> int | None:
    """Bytes of the Ogg page that starts with `head`; `None` if none does or its table is not all there."""
    if len(head) < 27 or head[:5] != b"OggS\0" or len(head) < 27 + head[26]:
        return None
    return 27 + head[26] + sum(head[27 : 27 + head[26]])


def flac_seconds(file: BinaryIO) -> float | None:
    """Length by the mandatory first block, 0 where it does not tell; `None` where it is damaged."""
    head = _at(file, after_tags(file), 42)
    if len(head) < 42 or head[:4] != b"fLaC" or head[4] & 0x7F or head[5:8] != b"\0\0\x22":
        return None
    packed = int.from_bytes(head[18:26], "big")
    samples, rate = packed & (1 << 36) - 1, packed >> 44
    return samples / rate if rate else None


def _flac(file: BinaryIO) -> Measured:
    return Measured(damage="its header is damaged") if flac_seconds(file) is None else UNSEEN


_READERS = {
    **dict.fromkeys(("video/mp4", "video/quicktime", "audio/mp4"), _iso),
    **dict.fromkeys(("video/x-matroska", "video/webm", "audio/webm"), _matroska),
    "audio/wav": _wav,
    "audio/mpeg": _mp3,
    "audio/ogg": _ogg,
    "audio/flac": _flac,
}


def read(file: BinaryIO, mime: str) -> Measured:
    """What the headers of a film or of sound tell. Blocks."""
    return _READERS[mime](file)
