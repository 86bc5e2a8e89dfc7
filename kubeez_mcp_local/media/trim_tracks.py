"""The tracks of a cut: which filters and encoders a stream goes through."""

from __future__ import annotations

from typing import Any

from kubeez_mcp_local.media.video import turned

_TURN_FILTERS = {90: ("transpose", "clock"), 180: ("hflip", ""), 270: ("transpose", "cclock")}


class Track:
    """One stream on its way: decoded frames go through a filter that cuts, then into the encoder.

    Attributes:
        source: The stream that is read.
        done: Whether the window's end has been reached.
        frames: How many frames were written.
        seconds: Length of what was written.
    """

    def __init__(self, av: Any, source: Any, result: Any, encoder: Any, graph: Any, end_s: float) -> None:
        self.source = source
        self.done = False
        self.frames = 0
        self.seconds = 0.0
        self._av, self._result, self._encoder, self._graph = av, result, encoder, graph
        self._end_s = end_s

    def take(self, frame: Any) -> None:
        """Pass on a decoded frame; one that starts at or after the window's end makes the track `done`."""
        if frame.pts is not None and float(frame.pts * frame.time_base) >= self._end_s:
            self.done = True
            return
        self._graph.push(frame)
        self._drain()

    def finish(self) -> None:
        """Write what filter and encoder still hold."""
        self._graph.push(None)
        self._drain()
        self._result.mux(self._encoder.encode(None))

    def _drain(self) -> None:
        while True:
            try:
                frame = self._graph.pull()
            except (self._av.error.BlockingIOError, self._av.error.EOFError):
                return
            self.frames += 1
            length = frame.duration * frame.time_base if frame.duration else self._usual_length()
            self.seconds = max(self.seconds, float(frame.pts * frame.time_base + length))
            self._result.mux(self._encoder.encode(frame))

    def _usual_length(self) -> float:
        """Seconds of one frame, for containers that state no length for each."""
        rate = getattr(self.source, "average_rate", None)
        return float(1 / rate) if rate else 0.0


def picture_track(av: Any, container: Any, result: Any, start_s: float, end_s: float) -> Track:
    """The first picture track of `container`, cut to `[start_s, end_s)`, as H.264 in `result`."""
    source = container.streams.video[0]
    source.thread_type = "AUTO"
    turn = turned(source)
    offset = (container.start_time or 0) / av.time_base
    width, height = _even_size(source.codec_context)
    rate = source.average_rate or source.guessed_rate or 25
    graph = av.filter.Graph()
    steps = [
        graph.add_buffer(template=source),
        graph.add("trim", f"start={start_s + offset:.6f}:end={end_s + offset:.6f}"),
        graph.add("setpts", _from_zero(start_s + offset, float(1 / rate))),
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
    return Track(av, source, result, encoder, graph, end_s + offset)


def _from_zero(start: float, frame_s: float) -> str:
    """Times from the window's start, so that picture and sound stay together; from the first frame where that is it."""
    return f"PTS-if(lt(STARTPTS*TB-{start:.6f},{frame_s:.6f}),STARTPTS,{start:.6f}/TB)"


def _even_size(codec: Any) -> tuple[int, int]:
    """The size with square pixels, rounded down to what H.264 takes."""
    stretch = float(codec.sample_aspect_ratio or 1)
    return max(2, int(codec.width * stretch) // 2 * 2), max(2, codec.height // 2 * 2)


def sound_track(av: Any, container: Any, result: Any, start_s: float, end_s: float) -> Track:
    """The first sound track of `container`, cut to `[start_s, end_s)`, as AAC in `result`."""
    source = container.streams.audio[0]
    offset = (container.start_time or 0) / av.time_base
    graph = av.filter.Graph()
    encoder = result.add_stream("aac", rate=48_000, layout="stereo")
    encoder.bit_rate = 192_000
    graph.link_nodes(
        graph.add_abuffer(template=source),
        graph.add("atrim", f"start={start_s + offset:.6f}:end={end_s + offset:.6f}"),
        graph.add("asetpts", f"PTS-{start_s + offset:.6f}/TB"),
        graph.add("aresample", "48000:async=1:first_pts=0"),  # silence where the sound begins later
        graph.add("aformat", "sample_fmts=fltp:channel_layouts=stereo"),
        graph.add("asetnsamples", "n=1024:p=0"),
        graph.add("abuffersink"),
    ).configure()
    return Track(av, source, result, encoder, graph, end_s + offset)
