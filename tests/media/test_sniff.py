from __future__ import annotations

import random
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from kubeez_mcp_local.media.sniff import (
    ACCEPTED,
    FLAC,
    M4A,
    MOV,
    MP3,
    MP4,
    OGG,
    WEBA,
    UnsupportedMediaError,
    by_extension,
    by_mime,
    sniff,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.media.conftest import MakeVideo

ISO = b"\x00\x00\x00\x18ftyp"


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.gif"])
def test_pictures(make_image: Callable[..., Path], tmp_path: Path, name: str) -> None:
    assert sniff(make_image(tmp_path / name)) == by_extension(name)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm"])
def test_films(make_video: MakeVideo, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("webm"):
        _encode(path, video="libvpx", audio=None)
    else:
        make_video(path, seconds=0.2)
    assert sniff(path) == by_extension(name)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp3", "libmp3lame"), ("a.m4a", "aac"), ("a.flac", "flac"), ("a.ogg", "libopus")]
)
def test_sound(tmp_path: Path, name: str, codec: str) -> None:
    path = tmp_path / name
    _encode(path, video=None, audio=codec)
    assert sniff(path) == by_extension(name)


def test_wav(make_wav: Callable[[Path], Path], tmp_path: Path) -> None:
    assert sniff(make_wav(tmp_path / "a.wav")).mime == "audio/wav"


def test_containers_that_hold_only_sound_are_sound(tmp_path: Path) -> None:
    _encode(tmp_path / "a.mp4", video=None, audio="aac")
    _encode(tmp_path / "a.webm", video=None, audio="libopus")
    assert sniff(tmp_path / "a.mp4") == M4A
    assert sniff(tmp_path / "a.webm") == WEBA


def test_the_name_does_not_matter(make_image: Callable[..., Path], tmp_path: Path) -> None:
    picture = make_image(tmp_path / "a.png")
    assert sniff(picture.rename(tmp_path / "a.mp4")).mime == "image/png"


def test_an_animated_png_is_a_png(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    assert sniff(tmp_path / "a.png").mime == "image/png"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (ISO + b"isom\0\0\0\0isomavc1", MP4),
        (ISO + b"XXXX\0\0\0\0mp42isom", MP4),
        (ISO + b"qt  \0\0\0\0qt      ", MOV),
        (b"\x00\x00\x00\x08wide\x00\x00\x01\x00mdat", MOV),
        (b"ID3\x04\0\0\0\0\0\0", MP3),
        (b"\xff\xfb\x90\x64" + b"\0" * 64, MP3),
        (b"\xff\xf3\x44\xc4" + b"\0" * 64, MP3),
        (b"OggS\0\x02" + b"\0" * 22 + b"OpusHead", OGG),
    ],
)
def test_first_bytes_that_are_accepted(tmp_path: Path, head: bytes, expected: object) -> None:
    (tmp_path / "file").write_bytes(head)
    assert sniff(tmp_path / "file") == expected


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
        (b"\xef\xbb\xbf  <!DOCTYPE html><title>Sign in</title>", "text/html"),
        (b"%PDF-1.7\n", "application/pdf"),
        (b"PK\x03\x04" + b"\0" * 60, "application/zip"),
        (ISO + b"heic\0\0\0\0mif1heic", "image/heic"),
        (ISO + b"mif1\0\0\0\0mif1avif", "image/avif"),
        (ISO + b"3gp4\0\0\0\0isom3gp4", "video/3gpp"),
        (ISO + b"XXXX\0\0\0\0YYYYZZZZ", "of an unknown kind"),
        (b"OggS\0\x02" + b"\0" * 22 + b"\x80theora", "video/ogg"),
        (b"\x1a\x45\xdf\xa3" + b"\0" * 60, "of an unknown kind"),
        (b"BM" + b"\0" * 60, "image/bmp"),
        (b"RIFF\x10\0\0\0AVI LIST", "video/x-msvideo"),
        ("Grüße aus der Datei, die keine ist".encode(), "text"),
        (b"\xff\xfeh\0e\0l\0l\0o\0", "of an unknown kind"),
        (b"\x00" * 100, "of an unknown kind"),
        (b"x", "text"),
        (b"MZ\x90\0", "application/x-msdownload"),
        (b"\xff\xf1\x50\x80", "audio/aac"),
        (b"FORM\0\0\0\x10AIFFCOMM", "audio/aiff"),
        (b"BMX is a sport, not a bitmap", "text"),
        (b"II*\0\x08\0\0\0", "image/tiff"),
    ],
)
def test_everything_else_is_refused_by_what_it_is(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "photo.png").write_bytes(content)
    with pytest.raises(UnsupportedMediaError) as refusal:
        sniff(tmp_path / "photo.png")
    assert refusal.value.found == found
    assert all(each.extension.lstrip(".") in str(refusal.value) for each in ACCEPTED)
    assert refusal.value.next_step


def test_random_bytes_never_crash_it(tmp_path: Path) -> None:
    rng = random.Random(4)
    heads = [b"", ISO, b"\x00\x00\x00\x10moov", b"\x1a\x45\xdf\xa3webm\x16\x54\xae\x6b", b"RIFF", b"OggS", b"\xff\xfb"]
    for number in range(200):
        path = tmp_path / "noise"
        path.write_bytes(heads[number % len(heads)] + rng.randbytes(rng.randrange(300)))
        with suppress(UnsupportedMediaError):
            assert sniff(path) in ACCEPTED


@pytest.mark.parametrize(
    ("claim", "mime"),
    [
        ("image/JPG", "image/jpeg"),
        ("audio/x-wav; charset=binary", "audio/wav"),
        ("video/mp4", "video/mp4"),
        ("application/octet-stream", None),
    ],
)
def test_content_types_are_read_with_their_aliases(claim: str, mime: str | None) -> None:
    found = by_mime(claim)
    assert (found.mime if found else None) == mime


def _encode(path: Path, *, video: str | None, audio: str | None) -> None:
    av: Any = import_module("av")
    with av.open(str(path), "w") as container:
        if video:
            stream = container.add_stream(video, rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_image(Image.new("RGB", (64, 48)))))
            container.mux(stream.encode(None))
        if audio:
            stream = container.add_stream(audio, rate=48000, layout="mono")
            frame = av.AudioFrame(format="s16", layout="mono", samples=48000)
            frame.planes[0].update(b"\0" * frame.planes[0].buffer_size)
            frame.sample_rate, frame.pts = 48000, 0
            resampler = av.AudioResampler(stream.format, stream.layout, stream.rate, stream.frame_size or None)
            for part in [*resampler.resample(frame), *resampler.resample(None)]:
                container.mux(stream.encode(part))
            container.mux(stream.encode(None))


ID3 = b"ID3\x04\0\0\0\0\x01\x00" + bytes(128)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (ID3 + b"\xff\xfb\x90\x64" + bytes(413), MP3),
        (ID3 + bytes(5000) + (b"\xff\xfb\x90\x64" + bytes(413)) * 4, MP3),
        (ID3 + ID3 + b"fLaC\0\0\0\x22" + bytes(34), FLAC),
        (b"\0" * 700 + (b"\xff\xfb\x90\x64" + bytes(413)) * 4, MP3),
        (ID3 + b"\xff\xf1\x50\x80" + bytes(100), "audio/aac"),
        (b"\0" * 700 + b"\xff\xfb\x90\x64" + bytes(2000), "of an unknown kind"),
        (b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(100), MP3),
    ],
)
def test_tags_and_padding_before_the_sound_are_passed_over(tmp_path: Path, content: bytes, found: object) -> None:
    (tmp_path / "song.mp3").write_bytes(content)
    if isinstance(found, str):
        with pytest.raises(UnsupportedMediaError) as refusal:
            sniff(tmp_path / "song.mp3")
        assert refusal.value.found == found
    else:
        assert sniff(tmp_path / "song.mp3") == found
