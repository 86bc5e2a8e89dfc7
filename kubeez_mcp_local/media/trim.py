"""Cutting a window out of a video, exact to the frame; and joining videos to one.

The hosted server copies the stream, so its cuts fall on key frames; this one encodes anew (H.264 and AAC in MP4), so
that the result starts and ends where it was asked to. Limits and error codes are those of the hosted `trim_video`.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, BinaryIO

import anyio.to_thread

from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.media.inputs import opened
from kubeez_mcp_local.media.video import BrokenMediaError, load_av, open_media, reason, turned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from kubeez_mcp_local.media.containers import Measured
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
    width, height = even_size(source.codec_context)
    rate = source.average_rate or source.guessed_rate or 25
    graph = av.filter.Graph()
    steps = [
        graph.add_buffer(template=source),
        graph.add("trim", f"start={start:.6f}:end={end:.6f}"),
        graph.add("setpts", _from_zero(start, float(1 / rate))),
        graph.add("scale", f"{width}:{height}"),
        graph.add("setsar", "1"),
        *upright_filters(graph, turn),
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


def upright_filters(graph: Any, turn: int) -> list[Any]:
    """What turns footage upright that has to be turned by so many degrees clockwise."""
    first = [graph.add(*_TURN_FILTERS[turn])] if turn in _TURN_FILTERS else []
    return [*first, *([graph.add("vflip")] if turn == 180 else [])]


def even_size(codec: Any) -> tuple[int, int]:
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
    work = _Work("cutting", target, clock, max_work_s, "Choose a shorter window or a smaller video.")

    def cut(av: Any, part: Path) -> tuple[float, float]:
        try:
            file = opened(source)
        except OSError:
            raise missing_source(f"there is no file {source}") from None
        with file:
            if (size := os.fstat(file.fileno()).st_size) > MAX_SOURCE_BYTES:
                raise source_too_large(size)
            work.on = PurePath(file.name).name
            try:
                length = _cut(av, file, part, start_s, end_s, work)
            except BrokenMediaError as error:
                raise source_not_opened(error.message) from None
        return start_s, min(end_s, start_s + length)

    return await work.done(cut)


@dataclass
class _Work:
    """A video in the making, in a thread of its own, until it is whole, told to stop, or takes too long.

    Attributes:
        doing: Such as `cutting`. on: The name of the file that it is about now.
        smaller: What to do where it takes too long.
    """

    doing: str
    target: Path
    clock: Callable[[], float]
    max_s: float
    smaller: str
    on: str = ""
    _began: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)

    async def done(self, make: Callable[[Any, Path], tuple[float, float]]) -> Trimmed:
        """What `make` writes to the path that it is given; it returns where in its source that starts and ends."""
        try:
            return await anyio.to_thread.run_sync(self._run, make, abandon_on_cancel=True)
        finally:
            self._stop.set()

    def _run(self, make: Callable[[Any, Path], tuple[float, float]]) -> Trimmed:
        self._began = self.clock()
        av = load_av(f"{self.doing.capitalize()} videos")
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=self.target.parent, prefix=".trim-") as folder:
                part = Path(folder) / "whole.mp4"
                start_s, end_s = make(av, part)
                part.replace(self.target)
        except (av.FFmpegError, OSError) as error:
            raise KubeezError(
                f"{self.doing} {self.on} failed: {reason(error)}.",
                next_step="The file may be damaged; export it again as plain MP4 and retry.",
                code="ffmpeg_failed",
            ) from None
        took = max(0.0, self.clock() - self._began)
        return Trimmed(self.target, self.target.stat().st_size, end_s - start_s, start_s, end_s, took)

    def timely(self, frames: Iterable[Any]) -> Iterator[Any]:
        """The frames, as long as it may go on."""
        for frame in frames:
            if self._stop.is_set() or self.clock() > self._began + self.max_s:
                raise KubeezError(
                    f"{self.doing} took longer than {self.max_s:g} seconds and was given up.",
                    next_step=self.smaller,
                    code="processor_timeout",
                )
            yield frame


def _cut(av: Any, file: BinaryIO, part: Path, start_s: float, end_s: float, work: _Work) -> float:
    """Write the window to `part`; how long it came out."""
    with open_media(av, file) as source, av.open(str(part), "w", format="mp4") as result:
        if not source.streams.video:
            raise missing_source(f"{work.on} has no picture track")
        offset = (source.start_time or 0) / av.time_base
        start, end = start_s + offset, end_s + offset
        tracks = [picture_track(av, source.streams.video[0], result, start, end)]
        if source.streams.audio:
            tracks.append(sound_track(av, source.streams.audio[0], result, start, end))
        source.seek(int(start * av.time_base), backward=True, any_frame=False)
        _pump(source, tracks, work)
        for track in tracks:
            track.finish()
    if tracks[0].frames == 0:
        raise invalid_range(f"the video holds no frame between {start_s:g} s and {end_s:g} s")
    return tracks[0].seconds


def _pump(source: Any, tracks: list[Track], work: _Work) -> None:
    """Decode until every track is past its end."""
    by_index = {track.source.index: track for track in tracks}
    for packet in source.demux([track.source for track in tracks]):
        track = by_index[packet.stream.index]
        for frame in work.timely(packet.decode() if not track.done else ()):
            track.take(frame)
        if all(each.done for each in tracks):
            return


MOST_CLIPS = 20
MOST_JOINED_S = 300.0
_SAME_SHAPE = 0.02
"""How far ratios of width to height may be apart, as a part of one."""
_SOUND_RATE = 48_000


@dataclass(frozen=True)
class Clip:
    """A video to be joined, and what is known of it."""

    source: Path | LocalInput
    measured: Measured
    name: str


def check_clips(argument: str, clips: Sequence[Clip]) -> None:
    """Refuse clips that do not make one video: too long together, or of different shapes; raises with `argument`."""
    seconds = sum(clip.measured.seconds or 0 for clip in clips)
    if seconds > MOST_JOINED_S:
        raise InvalidArgumentError(
            argument, f"have {seconds:.0f} s together; at most {MOST_JOINED_S:.0f} s are joined."
        )
    shapes = [(clip.measured.width, clip.measured.height) for clip in clips]
    first = shapes[0]
    for clip, (width, height) in zip(clips, shapes, strict=True):
        if not (width and height and first[0] and first[1]):
            raise InvalidArgumentError(argument, f"{clip.name} has no picture of a known size.")
        if abs(width * first[1] / (height * first[0]) - 1) > _SAME_SHAPE:
            raise InvalidArgumentError(
                argument,
                f"{clip.name} is {width}x{height} and {clips[0].name} {first[0]}x{first[1]}: one shape is needed.",
                next_step="Join clips of one aspect ratio, or make the odd one again in that of the others.",
            )


async def join(
    clips: Sequence[Clip],
    target: Path,
    *,
    clock: Callable[[], float] = time.monotonic,
    max_work_s: float = MAX_WORK_S,
) -> Trimmed:
    """Put clips of one shape one after the other into the MP4 file `target`, which appears only when it is complete.

    Size and frame rate are the first one's; a silent clip among others is silent. Works in a thread and stops when
    cancelled; nothing is uploaded and nothing is charged.

    Raises:
        KubeezError: `ffmpeg_failed`: one cannot be decoded. `processor_timeout`: it takes too long.
        NotInstalledError: The extra `video` is missing.
    """
    work = _Work("joining", target, clock, max_work_s, "Join fewer or smaller videos.")

    def put_together(av: Any, part: Path) -> tuple[float, float]:
        with av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as result:
            whole = _Whole(av, result, any(clip.measured.has_sound for clip in clips), work.timely)
            for clip in clips:
                work.on = clip.name
                with opened(clip.source) as file:
                    for add in (whole.show, whole.sound):
                        file.seek(0)
                        with open_media(av, file) as source:
                            add(source)
            whole.finish()
        return 0.0, whole.seconds

    return await work.done(put_together)


@dataclass
class _Whole:
    """What has been joined so far: frames at one rate, and just as much sound."""

    av: Any
    result: Any
    heard: bool
    timely: Callable[[Iterable[Any]], Iterator[Any]]
    frames: int = 0
    samples: int = 0
    rate: Fraction = Fraction(25)
    _picture: Any = None
    _voice: Any = None

    @property
    def seconds(self) -> float:
        return float(self.frames / self.rate)

    def show(self, source: Any) -> None:
        """Add the picture of a clip."""
        stream = source.streams.video[0]
        stream.thread_type = "AUTO"
        turn = turned(stream)
        source.seek(source.start_time or 0, backward=True, any_frame=False)
        if self._picture is None:
            self._begin(stream, turn)
        graph = self.av.filter.Graph()
        steps = [
            graph.add_buffer(template=stream),
            graph.add("setpts", "PTS-STARTPTS"),
            graph.add("fps", f"{self.rate}"),
            *upright_filters(graph, turn),
            graph.add("scale", f"{self._picture.width}:{self._picture.height}"),
            graph.add("setsar", "1"),
            graph.add("format", "pix_fmts=yuv420p"),
            graph.add("buffersink"),
        ]
        graph.link_nodes(*steps).configure()
        for frame in self._through(graph, source.decode(stream)):
            frame.pts, frame.time_base, frame.pict_type = self.frames, 1 / self.rate, 0
            self.frames += 1
            self.result.mux(self._picture.encode(frame))

    def _begin(self, stream: Any, turn: int) -> None:
        self.rate = Fraction(stream.average_rate or stream.guessed_rate or 25).limit_denominator(1001)
        self._picture = self.result.add_stream("libx264", rate=self.rate, options={"preset": "veryfast", "crf": "18"})
        width, height = even_size(stream.codec_context)
        self._picture.width, self._picture.height = (height, width) if turn in (90, 270) else (width, height)
        self._picture.pix_fmt = "yuv420p"
        if self.heard:
            self._voice = self.result.add_stream("aac", rate=_SOUND_RATE, layout="stereo")
            self._voice.bit_rate = 192_000

    def sound(self, source: Any) -> None:
        """Add the sound of a clip whose picture has been added: cut or silent where it is not just as long."""
        missing = round(self.seconds * _SOUND_RATE) - self.samples
        if self._voice is None or missing <= 0:
            return
        graph, streams = self.av.filter.Graph(), source.streams.audio
        begin = (source.start_time or 0) / self.av.time_base
        if not streams:
            first = [graph.add("anullsrc", f"r={_SOUND_RATE}:cl=stereo")]
        else:
            first = [
                graph.add_abuffer(template=streams[0]),
                graph.add("asetpts", f"PTS-{begin:.6f}/TB"),
                graph.add("aresample", f"{_SOUND_RATE}:async=1:first_pts=0"),  # silence where the sound begins later
            ]
        steps = [
            *first,
            graph.add("aformat", "sample_fmts=fltp:channel_layouts=stereo"),
            graph.add("apad", f"whole_len={missing}"),
            graph.add("atrim", f"end_sample={missing}"),
            graph.add("abuffersink"),
        ]
        graph.link_nodes(*steps).configure()
        for frame in self._through(graph, source.decode(streams[0]) if streams else None):
            frame.pts, frame.time_base = self.samples, Fraction(1, _SOUND_RATE)
            self.samples += frame.samples
            self.result.mux(self._voice.encode(frame))

    def _through(self, graph: Any, frames: Iterable[Any] | None) -> Iterator[Any]:
        """What comes out of a graph into which these frames go; `None` for one that makes its own."""
        over = self.av.error.EOFError
        try:
            for frame in self.timely([] if frames is None else itertools.chain(frames, [None])):
                graph.push(frame)
                yield from self._ready(graph)
            while frames is None:
                yield graph.pull()
        except over:
            return

    def _ready(self, graph: Any) -> Iterator[Any]:
        with suppress(self.av.error.BlockingIOError):
            while True:
                yield graph.pull()

    def finish(self) -> None:
        """Write what the encoders still hold."""
        for track in filter(None, (self._picture, self._voice)):
            self.result.mux(track.encode(None))
