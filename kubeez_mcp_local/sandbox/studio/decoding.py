"""Looks into clips that went in as inputs, where PyAV is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PIL import ImageOps

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from PIL import Image


def first_frame(path: Path) -> Image.Image | None:
    """The clip's first picture, or None when it cannot be had."""
    return next(frames_of(path, None, 1, 1), None)


def frames_of(path: Path, size: tuple[int, int] | None, fps: int, count: int) -> Iterator[Image.Image]:
    """`count` pictures at `fps` from the clip's start, its last one repeated at the end; none if it is no clip."""
    try:
        import av
    except ImportError:
        return
    made = 0
    last: Image.Image | None = None
    try:
        with av.open(str(path)) as container:
            frames: Any = container.decode(video=0)
            for frame in frames:
                if frame.time is not None and frame.time * fps < made:
                    continue
                picture = frame.to_image()
                last = picture if size is None else ImageOps.fit(picture, size)
                while made < count and (frame.time or 0) * fps >= made:
                    yield last
                    made += 1
                if made == count:
                    return
    except (av.error.FFmpegError, IndexError, OSError):
        # An input that cannot be decoded is no reason to fail a rehearsal: what was seen so far serves.
        pass
    while last is not None and made < count:
        yield last
        made += 1
