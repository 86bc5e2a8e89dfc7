"""Why a video could not be cut. The codes are those of the hosted `trim_video`."""

from __future__ import annotations

from pathlib import PurePath

from kubeez_mcp_local.errors import KubeezError


class TrimError(KubeezError):
    """A video was not cut. Nothing was uploaded or charged."""

    code = "trim_failed"


class InvalidTrimRangeError(TrimError):
    """The window makes no sense, or lies beyond the video's end."""

    code = "invalid_trim_range"

    def __init__(self, detail: str) -> None:
        super().__init__(
            f"{detail}; start_s must be 0 or more, end_s greater than start_s, both within the video.",
            next_step="Ask the user which part of the video to use.",
        )


class TrimTooLongError(TrimError):
    """The window is longer than allowed."""

    code = "trim_too_long"

    def __init__(self, seconds: float, limit: float) -> None:
        super().__init__(
            f"the window has {seconds:g} seconds; at most {limit:g} can be cut out.",
            next_step="Choose a shorter window, or cut several.",
        )


class MissingSourceError(TrimError):
    """There is no video to cut."""

    code = "missing_source_url"

    def __init__(self, detail: str) -> None:
        super().__init__(f"source_url: {detail}.", next_step="Give the path or https URL of a video.")


class SourceTooLargeError(TrimError):
    """The video is larger than allowed; `size` in bytes, `None` when reading was given up at the limit."""

    code = "source_too_large"

    def __init__(self, size: int | None, limit: int) -> None:
        has = "is too large" if size is None else f"has {size / 1024**2:,.0f} MB"
        super().__init__(
            f"the video {has}; at most {limit / 1024**2:,.0f} MB can be cut.",
            next_step="Scale it down or compress it first.",
        )


class SourceFetchFailedError(TrimError):
    """The video could not be downloaded or opened."""

    code = "source_fetch_failed"

    def __init__(self, detail: str) -> None:
        super().__init__(
            f"the video could not be opened: {detail.rstrip('.')}.",
            next_step="Check that the path or URL leads to a complete video file.",
        )


class CutFailedError(TrimError):
    """FFmpeg failed while cutting."""

    code = "ffmpeg_failed"

    def __init__(self, source: str, detail: str) -> None:
        super().__init__(
            f"cutting {PurePath(source).name} failed: {detail}.",
            next_step="The file may be damaged; export it again as plain MP4 and retry.",
        )


class ProcessorTimeoutError(TrimError):
    """Cutting took too long."""

    code = "processor_timeout"

    def __init__(self, limit: float) -> None:
        super().__init__(
            f"cutting took longer than {limit:g} seconds and was given up.",
            next_step="Choose a shorter window or a smaller video.",
        )


class ProcessorUnavailableError(TrimError):
    """What cuts videos is not installed."""

    code = "processor_unavailable"
