"""One frame of a film as a picture.

Imports Pillow; import this module on first use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, BinaryIO

from PIL import Image

from kubeez_mcp_local.media.video import BrokenMediaError, load_av, open_media, reason

_TURNS = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}
_MAX_PIXELS = 8192 * 8192


@dataclass(frozen=True)
class Poster:
    """A frame, upright and scaled.

    Attributes:
        image: RGB picture.
        at_s: Where in the film it stands, in seconds.
        length_s: Length of the film in seconds, if known.
    """

    image: Image.Image
    at_s: float
    length_s: float | None


def poster_frame(file: BinaryIO, at_s: float | None, max_edge: int) -> Poster:
    """The frame shown at `at_s` seconds; `None` takes one a tenth into the film, past a black opening. Blocks.

    Raises:
        NotInstalledError: The extra `video` is missing.
        BrokenMediaError: No frame can be decoded.
    """
    av = load_av("A picture of a video")
    with open_media(av, file) as container:
        if not container.streams.video:
            raise BrokenMediaError(file.name, "it has no picture track")
        stream = container.streams.video[0]
        if stream.codec_context.width * stream.codec_context.height > _MAX_PIXELS:
            raise BrokenMediaError(file.name, "its picture is too large to unfold safely")
        length = container.duration / av.time_base if container.duration else None
        wanted = at_s if at_s is not None else (length or 0.0) / 10
        try:
            frame = _frame_at(container, stream, max(0.0, wanted), av)
        except av.FFmpegError as error:
            raise BrokenMediaError(file.name, reason(error)) from None
        if frame is None:
            raise BrokenMediaError(file.name, "it holds no frame")
        return Poster(_upright(frame, max_edge), _seconds(frame, stream), length)


def _frame_at(container: Any, stream: Any, wanted: float, av: Any) -> Any:
    """The last frame that starts at or before `wanted`; the film's last one when `wanted` lies beyond its end."""
    if wanted > 0:
        start = (container.start_time or 0) / av.time_base
        container.seek(int((wanted + start) * av.time_base), backward=True, any_frame=False)
    best = None
    for frame in container.decode(stream):
        if best is not None and _seconds(frame, stream) > wanted + 1e-6:
            return best
        best = frame
    return best


def _seconds(frame: Any, stream: Any) -> float:
    if frame.pts is None:
        return 0.0
    return float((frame.pts - (stream.start_time or 0)) * frame.time_base)


def _upright(frame: Any, max_edge: int) -> Image.Image:
    scale = min(1.0, max_edge / max(frame.width, frame.height))
    width, height = max(2, round(frame.width * scale)), max(2, round(frame.height * scale))
    image: Image.Image = frame.to_image(width=width, height=height)
    turn = _TURNS.get(int(-frame.rotation) % 360)
    return image if turn is None else image.transpose(turn)
