"""Encodes clips and sounds with PyAV, the optional `video` extra."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable
    from pathlib import Path

    from PIL import Image

# One thread and no look-ahead: the same frames then give the same bytes. With x264's macroblock tree they do not.
_VIDEO = {"preset": "veryfast", "crf": "27", "x264-params": "bframes=0:mbtree=0:rc-lookahead=0"}


def write_clip(
    frames: Iterable[Image.Image],
    size: tuple[int, int],
    fps: int,
    target: Path,
    *,
    samples: array[int] | None = None,
    rate: int = 22_050,
) -> None:
    """Write H.264 in MP4, with an AAC track when `samples` (mono, 16 bit) are given."""
    with av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video: Any = container.add_stream("libx264", rate=fps, options=_VIDEO)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        video.codec_context.thread_count = 1
        sound: Any = container.add_stream("aac", rate=rate, layout="mono") if samples is not None else None
        for number, picture in enumerate(frames):
            frame = _from_image(picture)
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound is not None and samples is not None:
            _encode_sound(container, sound, samples, rate)


def write_mp3(samples: array[int], rate: int, target: Path) -> None:
    """Write mono 16-bit samples as MP3."""
    with av.open(str(target), "w", format="mp3") as container:
        stream: Any = container.add_stream("libmp3lame", rate=rate, layout="mono")
        stream.bit_rate = 96_000
        _encode_sound(container, stream, samples, rate)


def _encode_sound(container: Any, stream: Any, samples: array[int], rate: int) -> None:
    whole = av.AudioFrame(format="s16", layout="mono", samples=len(samples))
    whole.sample_rate, whole.pts, whole.time_base = rate, 0, Fraction(1, rate)
    whole.planes[0].update(_padded(samples.tobytes(), whole.planes[0].buffer_size))
    stream.codec_context.open(strict=False)
    resampler = av.AudioResampler(
        format=stream.codec_context.format, layout="mono", rate=rate, frame_size=stream.codec_context.frame_size
    )
    for frame in (*resampler.resample(whole), *resampler.resample(None)):
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _from_image(picture: Image.Image) -> Any:
    # PyAV's stubs leave this one method untyped.
    make: Any = av.VideoFrame.from_image
    return make(picture).reformat(format="yuv420p")


def _padded(data: bytes, size: int) -> bytes:
    return data + bytes(size - len(data))
