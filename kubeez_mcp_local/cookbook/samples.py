"""Ready files for rehearsals: what `sample:image`, `sample:audio` and `sample:video` stand for."""

from __future__ import annotations

import math
import struct
import wave
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from pathlib import Path

_SECONDS = 6
_RATE = 16_000


class Samples:
    """Writes each sample file once.

    Args:
        folder: Where they go; it must be among the input folders for the tools to read them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def __call__(self, kind: str) -> str:
        """The path of a new sample file.

        Raises:
            InvalidArgumentError: There is no sample of that kind, or a video is wanted without the `video` extra.
        """
        writers = {"image": (_write_image, "png"), "audio": (_write_audio, "wav"), "video": (_write_video, "mp4")}
        if kind not in writers:
            allowed = ", ".join(f"sample:{name}" for name in writers)
            raise InvalidArgumentError("expect.with", f"there is no sample:{kind}; allowed: {allowed}")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._count += 1
        write, ending = writers[kind]
        path = self._folder / f"sample-{self._count}.{ending}"
        write(path, self._count)
        return str(path)


def _write_image(path: Path, number: int) -> None:
    """A simple product shot: a bottle on a table; each number has its own colour."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (768, 768), (236, 232, 224))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 560, 768, 768), fill=(204, 190, 170))
    colour = ((47 * number) % 200 + 30, (91 * number) % 200 + 30, (139 * number) % 200 + 30)
    draw.rounded_rectangle((304, 220, 464, 620), radius=48, fill=colour)
    draw.rectangle((348, 150, 420, 230), fill=(60, 60, 64))
    picture.save(path)


def _write_audio(path: Path, number: int) -> None:
    """A few seconds of a rising tone, mono, 16 bit."""
    frames = b"".join(
        struct.pack("<h", int(12_000 * math.sin(2 * math.pi * (220 + 40 * number + at / 400) * at / _RATE)))
        for at in range(_SECONDS * _RATE)
    )
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_RATE)
        file.writeframes(frames)


def _write_video(path: Path, number: int) -> None:
    """Six seconds of a square that crosses the frame, H.264, no sound."""
    try:
        import av
    except ImportError:
        raise InvalidArgumentError(
            "expect.with",
            "sample:video needs the `video` extra",
            next_step="Install kubeez-mcp-local[video], or name a clip of your own.",
        ) from None
    from PIL import Image, ImageDraw

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for at in range(_SECONDS * 10):
            picture = Image.new("RGB", (320, 180), (24, 28, 40))
            left = 4 * at + number
            ImageDraw.Draw(picture).rectangle((left, 70, left + 40, 110), fill=(230, 180, 60))
            frame: Any = av.VideoFrame
            for packet in stream.encode(frame.from_image(picture)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
