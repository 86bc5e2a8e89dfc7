"""Cutting a window out of a video, exact to the frame.

The hosted server copies the stream, so its cuts fall on key frames; this one encodes anew (H.264 and AAC in MP4), so
that the result starts and ends where it was asked to. Limits and error codes are those of the hosted `trim_video`.
"""

from __future__ import annotations

import math
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, BinaryIO

import anyio.to_thread

from kubeez_mcp_local.media.inputs import opened
from kubeez_mcp_local.media.trim_errors import (
    CutFailedError,
    InvalidTrimRangeError,
    MissingSourceError,
    ProcessorTimeoutError,
    SourceFetchFailedError,
    SourceTooLargeError,
    TrimTooLongError,
)
from kubeez_mcp_local.media.trim_tracks import Track, picture_track, sound_track
from kubeez_mcp_local.media.video import BrokenMediaError, load_av, open_media, reason

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event as StopFlag

    from kubeez_mcp_local.media.inputs import LocalInput

MAX_WINDOW_S = 60.0
MAX_SOURCE_BYTES = 500 * 1024 * 1024
MAX_WORK_S = 300.0
"""How long encoding may take before it is given up."""


@dataclass(frozen=True)
class Trimmed:
    """The cut.

    Attributes:
        path: MP4 file that was written.
        size_bytes: Its size.
        duration_s: Its real length in seconds, that of its frames.
        start_s: Start of the window in the source, in seconds.
        end_s: End of the window in the source, in seconds; the source's own end when the window went beyond it.
        elapsed_s: Seconds the work took.
    """

    path: Path
    size_bytes: int
    duration_s: float
    start_s: float
    end_s: float
    elapsed_s: float


def check_range(start_s: float, end_s: float) -> None:
    """Check a window before anything is fetched.

    Raises:
        InvalidTrimRangeError: Not finite, negative, or the end is not after the start.
        TrimTooLongError: Longer than `MAX_WINDOW_S`.
    """
    if not (math.isfinite(start_s) and math.isfinite(end_s)) or start_s < 0 or end_s <= start_s:
        raise InvalidTrimRangeError(f"start_s is {start_s:g} and end_s is {end_s:g}")
    if end_s - start_s > MAX_WINDOW_S + 1e-9:
        raise TrimTooLongError(end_s - start_s, MAX_WINDOW_S)


async def trim(
    source: Path | LocalInput,
    target: Path,
    start_s: float,
    end_s: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    max_work_s: float = MAX_WORK_S,
) -> Trimmed:
    """Cut `[start_s, end_s)` out of `source` into the MP4 file `target`, which appears only when it is complete.

    An existing `target` is replaced. Every frame that starts within the window is kept; sound is cut to the sample.
    Turned footage comes out upright with square pixels; odd sides lose a pixel (H.264 wants even ones). Works in a
    thread and stops when cancelled; nothing is uploaded and nothing is charged.

    Raises:
        TrimError: One subclass a reason, see `trim_errors`.
        NotInstalledError: The extra `video` is missing.
    """
    check_range(start_s, end_s)
    job = _Job(source, target, start_s, end_s, clock, max_work_s, threading.Event())
    try:
        return await anyio.to_thread.run_sync(job.run, abandon_on_cancel=True)
    finally:
        job.stop.set()


@dataclass(frozen=True)
class _Job:
    source: Path | LocalInput
    target: Path
    start_s: float
    end_s: float
    clock: Callable[[], float]
    max_work_s: float
    stop: StopFlag

    def run(self) -> Trimmed:
        began = self.clock()
        av = load_av("Cutting a video")
        try:
            source = opened(self.source)
        except OSError:
            raise MissingSourceError(f"there is no file {self.source}") from None
        with source:
            return self._run(av, source, began)

    def _run(self, av: Any, source: BinaryIO, began: float) -> Trimmed:
        if (size := os.fstat(source.fileno()).st_size) > MAX_SOURCE_BYTES:
            raise SourceTooLargeError(size, MAX_SOURCE_BYTES)
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=self.target.parent, prefix=".trim-") as folder:
                part = Path(folder) / "cut.mp4"
                length = self._cut(av, source, part)
                part.replace(self.target)
        except BrokenMediaError as error:
            raise SourceFetchFailedError(error.message) from None
        except (av.FFmpegError, OSError) as error:
            raise CutFailedError(source.name, reason(error)) from None
        end_s = min(self.end_s, self.start_s + length)
        return Trimmed(
            self.target, self.target.stat().st_size, length, self.start_s, end_s, max(0.0, self.clock() - began)
        )

    def _cut(self, av: Any, file: BinaryIO, part: Path) -> float:
        with open_media(av, file) as source, av.open(str(part), "w", format="mp4") as result:
            if not source.streams.video:
                raise MissingSourceError(f"{Path(file.name).name} has no picture track")
            tracks = [picture_track(av, source, result, self.start_s, self.end_s)]
            if source.streams.audio:
                tracks.append(sound_track(av, source, result, self.start_s, self.end_s))
            self._pump(av, source, tracks, self.clock() + self.max_work_s)
            return self._finish(tracks)

    def _pump(self, av: Any, source: Any, tracks: list[Track], deadline: float) -> None:
        """Decode from the key frame before the window until every track is past its end."""
        offset = (source.start_time or 0) / av.time_base
        source.seek(int((self.start_s + offset) * av.time_base), backward=True, any_frame=False)
        by_index = {track.source.index: track for track in tracks}
        for packet in source.demux([track.source for track in tracks]):
            track = by_index[packet.stream.index]
            if track.done:
                continue
            for frame in packet.decode():
                if self.stop.is_set() or self.clock() > deadline:
                    raise ProcessorTimeoutError(self.max_work_s)
                track.take(frame)
            if all(each.done for each in tracks):
                return

    def _finish(self, tracks: list[Track]) -> float:
        for track in tracks:
            track.finish()
        picture = tracks[0]
        if picture.frames == 0:
            raise InvalidTrimRangeError(f"the video holds no frame between {self.start_s:g} s and {self.end_s:g} s")
        return picture.seconds
