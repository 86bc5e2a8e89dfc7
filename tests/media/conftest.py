"""Sample files, made on the spot so that nothing binary is checked in."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from PIL import Image, ImageDraw

from tests.damaged import wav

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class MakeVideo(Protocol):
    def __call__(
        self,
        path: Path,
        *,
        seconds: float = 2.0,
        fps: int = 25,
        size: tuple[int, int] = (160, 90),
        sound: bool = True,
        gop: int = 50,
        turn: int = 0,
        picture_from: float = 0.0,
        sound_from: float = 0.0,
    ) -> Path: ...


@pytest.fixture
def make_image() -> Callable[..., Path]:
    def make(path: Path, size: tuple[int, int] = (64, 48), color: str = "teal", **options: Any) -> Path:
        Image.new("RGB", size, color).save(path, **options)
        return path

    return make


@pytest.fixture
def make_wav() -> Callable[[Path, float], Path]:
    def make(path: Path, seconds: float = 0.5) -> Path:
        path.write_bytes(wav(seconds))
        return path

    return make


@pytest.fixture
def make_video() -> MakeVideo:
    """A film whose frame number is readable from the picture: its grey level is `number % 50 * 4 + 20`."""
    av: Any = import_module("av")

    def make(
        path: Path,
        *,
        seconds: float = 2.0,
        fps: int = 25,
        size: tuple[int, int] = (160, 90),
        sound: bool = True,
        gop: int = 50,
        turn: int = 0,
        picture_from: float = 0.0,
        sound_from: float = 0.0,
    ) -> Path:
        with av.open(str(path), "w") as container:
            video = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "1"})
            video.width, video.height = size
            video.pix_fmt = "yuv420p"
            video.gop_size = gop
            if turn:
                video.set_display_rotation(turn)
            audio = container.add_stream("aac", rate=8000, layout="mono") if sound else None
            for number in range(round(seconds * fps)):
                image = Image.new("RGB", size, (grey := number % 50 * 4 + 20, grey, grey))
                ImageDraw.Draw(image).rectangle((0, 0, 8, 8), fill="red")
                frame = av.VideoFrame.from_image(image)
                frame.pts, frame.time_base = number + round(picture_from * fps), Fraction(1, fps)
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
            if audio is not None:
                _add_tone(av, container, audio, seconds, sound_from)
        return path

    return make


def _add_tone(av: Any, container: Any, stream: Any, seconds: float, start: float) -> None:
    rate, chunk, at = 8000, 400, 0
    while at < seconds * rate:
        frame = av.AudioFrame(format="s16", layout="mono", samples=chunk)
        values = (round(9000 * math.sin((at + each) / 6)) for each in range(chunk))
        frame.planes[0].update(b"".join(struct.pack("<h", each) for each in values))
        frame.sample_rate, frame.pts = rate, at + round(start * rate)
        container.mux(stream.encode(frame))
        at += chunk
    container.mux(stream.encode(None))
