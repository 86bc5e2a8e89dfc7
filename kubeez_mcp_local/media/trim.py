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
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, BinaryIO

import anyio.to_thread

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.media.inputs import opened
from kubeez_mcp_local.media.video import BrokenMediaError, load_av, open_media, reason, turned

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubeez_mcp_local.media.inputs import LocalInput


MAX_WINDOW_S = 60.0
MAX_SOURCE_BYTES = 500 * 1024 * 1024
MAX_WORK_S = 300.0
"""How long encoding may take before it is given up."""


def invalid_range(detail: str) -> KubeezError:
    """The window makes no sense, or lies beyond the video's end."""
    return KubeezError(
        f"{detail}; start_s must be 0 or more, end_s greater than start_s, both within the video.",
        next_step="Ask the user which part of the video to use.",
        code="invalid_trim_range",
    )


def missing_source(detail: str) -> KubeezError:
    """There is no video to cut."""
    step = "Give the path or https URL of a video."
    return KubeezError(f"source_url: {detail}.", next_step=step, code="missing_source_url")


def source_too_large(size: int | None) -> KubeezError:
    """The video is larger than allowed; `size` in bytes, `None` when reading was given up at the limit."""
    has = "is too large" if size is None else f"has {size / 1024**2:,.0f} MB"
    return KubeezError(
        f"the video {has}; at most {MAX_SOURCE_BYTES / 1024**2:,.0f} MB can be cut.",
        next_step="Scale it down or compress it first.",
        code="source_too_large",
    )


def source_not_opened(detail: str) -> KubeezError:
    """The video could not be downloaded or opened."""
    return KubeezError(
        f"the video could not be opened: {detail.rstrip('.')}.",
        next_step="Check that the path or URL leads to a complete video file.",
        code="source_fetch_failed",
    )


_TURN_FILTERS = {90: ("transpose", "clock"), 180: ("hflip", ""), 270: ("transpose", "cclock")}


@dataclass
class Track:
    """One stream on its way: decoded frames go through a filter that cuts, then into the encoder.

    Attributes:
        end_s: Where the window ends, on the clock of `source`.
        done: Whether it has been reached.
        frames: How many frames were written.
        seconds: Length of what was written.
    """

    av: Any
    source: Any
    result: Any
    encoder: Any
    graph: Any
    end_s: float
    done: bool = False
    frames: int = 0
    seconds: float = 0.0

    def take(self, frame: Any) -> None:
        """Pass on a decoded frame; one that starts at or after the window's end makes the track `done`."""
        if frame.pts is not None and float(frame.pts * frame.time_base) >= self.end_s:
            self.done = True
            return
        self.graph.push(frame)
        self._drain()

    def finish(self) -> None:
        """Write what filter and encoder still hold."""
        self.graph.push(None)
        self._drain()
        self.result.mux(self.encoder.encode(None))

    def _drain(self) -> None:
        while True:
            try:
                frame = self.graph.pull()
            except (self.av.error.BlockingIOError, self.av.error.EOFError):
                return
            self.frames += 1
            rate = getattr(self.source, "average_rate", None)  # for containers that state no length for each frame
            usual = 1 / rate if rate else 0
            length = frame.duration * frame.time_base if frame.duration else usual
            self.seconds = max(self.seconds, float(frame.pts * frame.time_base + length))
            self.result.mux(self.encoder.encode(frame))


def picture_track(av: Any, source: Any, result: Any, start: float, end: float) -> Track:
    """The picture track `source`, cut to `[start, end)` on its own clock, as H.264 in `result`."""
    source.thread_type = "AUTO"
    turn = turned(source)
    width, height = _even_size(source.codec_context)
    rate = source.average_rate or source.guessed_rate or 25
    graph = av.filter.Graph()
    steps = [
        graph.add_buffer(template=source),
        graph.add("trim", f"start={start:.6f}:end={end:.6f}"),
        graph.add("setpts", _from_zero(start, float(1 / rate))),
        graph.add("scale", f"{width}:{height}"),
        graph.add("setsar", "1"),
        *([graph.add(*_TURN_FILTERS[turn])] if turn in _TURN_FILTERS else []),
        *([graph.add("vflip")] if turn == 180 else []),
        graph.add("format", "pix_fmts=yuv420p"),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*steps).configure()
    encoder = result.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "18"})
    encoder.width, encoder.height = (height, width) if turn in (90, 270) else (width, height)
    encoder.pix_fmt = "yuv420p"
    encoder.time_base = encoder.codec_context.time_base = source.time_base
    return Track(av, source, result, encoder, graph, end)


def _from_zero(start: float, frame_s: float) -> str:
    """Times from the window's start, so that picture and sound stay together; from the first frame where that is it."""
    return f"PTS-if(lt(STARTPTS*TB-{start:.6f},{frame_s:.6f}),STARTPTS,{start:.6f}/TB)"


def _even_size(codec: Any) -> tuple[int, int]:
    """The size with square pixels, rounded down to what H.264 takes."""
    stretch = float(codec.sample_aspect_ratio or 1)
    return max(2, int(codec.width * stretch) // 2 * 2), max(2, codec.height // 2 * 2)


def sound_track(av: Any, source: Any, result: Any, start: float, end: float) -> Track:
    """The sound track `source`, cut to `[start, end)` on its own clock, as AAC in `result`."""
    graph = av.filter.Graph()
    encoder = result.add_stream("aac", rate=48_000, layout="stereo")
    encoder.bit_rate = 192_000
    graph.link_nodes(
        graph.add_abuffer(template=source),
        graph.add("atrim", f"start={start:.6f}:end={end:.6f}"),
        graph.add("asetpts", f"PTS-{start:.6f}/TB"),
        graph.add("aresample", "48000:async=1:first_pts=0"),  # silence where the sound begins later
        graph.add("aformat", "sample_fmts=fltp:channel_layouts=stereo"),
        graph.add("asetnsamples", "n=1024:p=0"),
        graph.add("abuffersink"),
    ).configure()
    return Track(av, source, result, encoder, graph, end)


@dataclass(frozen=True)
class Trimmed:
    """The cut, an MP4 file; times in seconds.

    Attributes:
        duration_s: Its real length, that of its frames.
        start_s: Start of the window in the source.
        end_s: End of the window in the source; the source's own end when the window went beyond it.
        elapsed_s: How long the work took.
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
        KubeezError: `invalid_trim_range`: not finite, negative, or the end is not after the start. `trim_too_long`:
            longer than `MAX_WINDOW_S`.
    """
    if not (math.isfinite(start_s) and math.isfinite(end_s)) or start_s < 0 or end_s <= start_s:
        raise invalid_range(f"start_s is {start_s:g} and end_s is {end_s:g}")
    if end_s - start_s > MAX_WINDOW_S + 1e-9:
        raise KubeezError(
            f"the window has {end_s - start_s:g} seconds; at most {MAX_WINDOW_S:g} can be cut out.",
            next_step="Choose a shorter window, or cut several.",
            code="trim_too_long",
        )


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
        KubeezError: With the code that the hosted server has for the reason.
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
    stop: threading.Event

    def run(self) -> Trimmed:
        began = self.clock()
        av = load_av("Cutting a video")
        try:
            source = opened(self.source)
        except OSError:
            raise missing_source(f"there is no file {self.source}") from None
        with source:
            return self._run(av, source, began)

    def _run(self, av: Any, source: BinaryIO, began: float) -> Trimmed:
        if (size := os.fstat(source.fileno()).st_size) > MAX_SOURCE_BYTES:
            raise source_too_large(size)
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=self.target.parent, prefix=".trim-") as folder:
                part = Path(folder) / "cut.mp4"
                length = self._cut(av, source, part)
                part.replace(self.target)
        except BrokenMediaError as error:
            raise source_not_opened(error.message) from None
        except (av.FFmpegError, OSError) as error:
            raise KubeezError(
                f"cutting {PurePath(source.name).name} failed: {reason(error)}.",
                next_step="The file may be damaged; export it again as plain MP4 and retry.",
                code="ffmpeg_failed",
            ) from None
        end_s, took = min(self.end_s, self.start_s + length), max(0.0, self.clock() - began)
        return Trimmed(self.target, self.target.stat().st_size, length, self.start_s, end_s, took)

    def _cut(self, av: Any, file: BinaryIO, part: Path) -> float:
        with open_media(av, file) as source, av.open(str(part), "w", format="mp4") as result:
            if not source.streams.video:
                raise missing_source(f"{Path(file.name).name} has no picture track")
            offset = (source.start_time or 0) / av.time_base
            start, end = self.start_s + offset, self.end_s + offset
            tracks = [picture_track(av, source.streams.video[0], result, start, end)]
            if source.streams.audio:
                tracks.append(sound_track(av, source.streams.audio[0], result, start, end))
            source.seek(int(start * av.time_base), backward=True, any_frame=False)
            self._pump(source, tracks, self.clock() + self.max_work_s)
            for track in tracks:
                track.finish()
        if tracks[0].frames == 0:
            raise invalid_range(f"the video holds no frame between {self.start_s:g} s and {self.end_s:g} s")
        return tracks[0].seconds

    def _pump(self, source: Any, tracks: list[Track], deadline: float) -> None:
        """Decode until every track is past its end."""
        by_index = {track.source.index: track for track in tracks}
        for packet in source.demux([track.source for track in tracks]):
            track = by_index[packet.stream.index]
            if track.done:
                continue
            for frame in packet.decode():
                if self.stop.is_set() or self.clock() > deadline:
                    raise KubeezError(
                        f"cutting took longer than {self.max_work_s:g} seconds and was given up.",
                        next_step="Choose a shorter window or a smaller video.",
                        code="processor_timeout",
                    )
                track.take(frame)
            if all(each.done for each in tracks):
                return
