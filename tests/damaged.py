"""Files of each kind, whole and damaged, made on the spot."""

from __future__ import annotations

import math
import random
import struct
import wave
import zlib
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image


@dataclass(frozen=True)
class Damaged:
    """A file that nothing can be made of.

    Attributes:
        kind: What its name and its first bytes promise.
        says: What a refusal says about it.
        only_with_extra: Whether only PyAV can prove it.
    """

    name: str
    kind: str
    content: bytes
    says: str
    only_with_extra: bool = False

    def put(self, folder: Path) -> Path:
        path = folder / self.name
        path.write_bytes(self.content)
        return path


def picture(form: str, frames: int = 1, **options: Any) -> bytes:
    buffer = BytesIO()
    first, *others = (Image.effect_noise((120, 90), 60 + number).convert("RGB") for number in range(frames))
    animation = {"save_all": True, "append_images": others} if others else {}
    first.save(buffer, form, **animation, **options)
    return buffer.getvalue()


def wav(seconds: float = 1.0) -> bytes:
    buffer = BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        samples = (round(8000 * math.sin(each / 8)) for each in range(round(8000 * seconds)))
        sound.writeframes(b"".join(struct.pack("<h", each) for each in samples))
    return buffer.getvalue()


def encoded(
    form: str, *, video: str = "", audio: str = "", seconds: float = 2.0, options: dict[str, str] | None = None
) -> bytes:
    """A file that PyAV writes: `form` is FFmpeg's name of the container, `video` and `audio` those of codecs."""
    av: Any = import_module("av")
    rate = 48_000 if audio == "libopus" else 44_100
    with TemporaryDirectory() as folder, av.open(f"{folder}/x", "w", format=form, options=options or {}) as container:
        picture_stream: Any = None
        sound_stream: Any = None
        if video:
            picture_stream = container.add_stream(video, rate=10)
            picture_stream.width, picture_stream.height, picture_stream.pix_fmt = 160, 90, "yuv420p"
        if audio:
            sound_stream = container.add_stream(audio, rate=rate, layout="stereo")
        for number in range(round(seconds * 10) if picture_stream else 0):
            frame = av.VideoFrame.from_image(Image.effect_noise((160, 90), 50 + number).convert("RGB"))
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(picture_stream.encode(frame))
        if picture_stream:
            container.mux(picture_stream.encode(None))
        noise = random.Random(7)
        for number in range(round(seconds * 10) if sound_stream else 0):
            frame = av.AudioFrame(format="s16", layout="stereo", samples=rate // 10)
            frame.planes[0].update(noise.randbytes(rate // 10 * 4))
            frame.sample_rate, frame.pts = rate, number * (rate // 10)
            container.mux(sound_stream.encode(frame))
        if sound_stream:
            container.mux(sound_stream.encode(None))
        container.close()
        return Path(folder, "x").read_bytes()


def film(**options: Any) -> bytes:
    return encoded("mp4", video="libx264", **options)


def png_of(width: int, height: int, data: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def noise(head: bytes, size: int = 4000) -> bytes:
    """Bytes that begin as they should and go on anyhow."""
    return head + random.Random(1).randbytes(size)


def damaged_files() -> list[Damaged]:
    """Every kind of damage that the formats allow."""
    png, jpeg, webp, gif = (picture(form) for form in ("PNG", "JPEG", "WEBP", "GIF"))
    film_end_index, film_start_index = film(audio="aac"), film(audio="aac", options={"movflags": "faststart"})
    mkv = encoded("matroska", video="libx264", audio="aac")
    mp3, ogg = encoded("mp3", audio="libmp3lame"), encoded("ogg", audio="libopus")
    flac, sound = encoded("flac", audio="flac"), wav()
    zero = film_end_index.replace(struct.pack(">II", 160 << 16, 90 << 16), bytes(8)).replace(
        struct.pack(">HH", 160, 90), bytes(4)
    )
    garbled = film_start_index[: film_start_index.index(b"mdat") + 4]
    garbled += random.Random(2).randbytes(len(film_start_index) - len(garbled))
    return [
        Damaged("cut.png", "image", png[: len(png) // 2], "cut off"),
        Damaged("cut-animation.png", "image", picture("PNG", 4)[:-2000], "cut off"),
        Damaged("cut.jpg", "image", jpeg[: len(jpeg) // 2], "cut off"),
        Damaged("cut-progressive.jpg", "image", picture("JPEG", progressive=True)[:-500], "cut off"),
        Damaged("cut.webp", "image", webp[: len(webp) // 2], "cut off"),
        Damaged("cut.gif", "image", gif[: len(gif) // 2], "cut off"),
        Damaged("cut-animation.gif", "image", picture("GIF", 4)[:-2000], "cut off"),
        Damaged("zero.png", "image", png_of(0, 0), "garbled"),
        Damaged("noise.png", "image", noise(b"\x89PNG\r\n\x1a\n"), "garbled"),
        Damaged("noise.jpg", "image", noise(b"\xff\xd8\xff\xe0"), "garbled"),
        Damaged("any-bytes.png", "image", noise(b""), "cannot be used"),
        Damaged("empty.png", "image", b"", "empty"),
        Damaged("no-index.mp4", "video", film_end_index[: len(film_end_index) // 2], "cut off"),
        Damaged("tail.mp4", "video", film_start_index[:-3000], "cut off"),
        Damaged("index-missing.mp4", "video", film_end_index[: film_end_index.rindex(b"moov") - 4], "index (moov)"),
        Damaged("zero.mp4", "video", zero, "0x0 pixels"),
        Damaged("garbled.mp4", "video", garbled, "cannot be decoded", only_with_extra=True),
        Damaged("cut.mkv", "video", mkv[: len(mkv) // 2], "cut off"),
        Damaged("cut.mov", "video", encoded("mov", video="libx264")[:2000], "cut off"),
        Damaged("cut.webm", "video", encoded("webm", video="libvpx")[:-700], "cut off"),
        Damaged("noise.webm", "video", noise(b"\x1a\x45\xdf\xa3\x88\x42\x82\x84webm"), "holds no film"),
        Damaged("any-bytes.mp4", "video", noise(b""), "cannot be used"),
        Damaged("empty.mp4", "video", b"", "empty"),
        Damaged("cut.wav", "audio", sound[: len(sound) // 2], "cut off"),
        Damaged("header.wav", "audio", sound[:40], "cut off"),
        Damaged("cut.mp3", "audio", mp3[: len(mp3) // 2], "cut off"),
        Damaged("tags.mp3", "audio", b"ID3\x04\0\0\0\x00\x7f\x7f" + b"TIT2" + bytes(2000), "cut off within its tags"),
        Damaged("noise.mp3", "audio", noise(b"\xff\xfb\x90\x64"), "no MP3 sound"),
        Damaged("cut.ogg", "audio", ogg[: len(ogg) // 2], "cut off"),
        Damaged("cut.flac", "audio", flac[: len(flac) // 2], "cut off", only_with_extra=True),
        Damaged("noise.flac", "audio", noise(b"fLaC"), "header is damaged"),
        Damaged("cut.m4a", "audio", encoded("ipod", audio="aac")[:3000], "cut off"),
        Damaged("any-bytes.mp3", "audio", noise(b""), "cannot be used"),
        Damaged("empty.mp3", "audio", b"", "empty"),
    ]
