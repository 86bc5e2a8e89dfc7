"""Opening films and sound with PyAV, which comes with the optional extra `video`."""

from __future__ import annotations

import importlib
from pathlib import PurePath
from typing import Any, BinaryIO

from kubeez_mcp_local.errors import KubeezError

EXTRA = 'pip install "kubeez-mcp-local[video]" (or start it as uvx --from "kubeez-mcp-local[video]" kubeez-mcp-local)'


class NotInstalledError(KubeezError):
    """Something needs the optional extra `video`, which is not installed."""

    code = "video_extra_missing"

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} needs the optional extra 'video' (PyAV), which is not installed.",
            next_step=f"Install it with: {EXTRA}, then restart the server.",
        )


class BrokenMediaError(KubeezError):
    """The file starts like media but cannot be decoded."""

    code = "broken_media"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"{PurePath(name).name} cannot be decoded: {reason}.",
            next_step="Download or export it again; for video and sound plain MP4, MOV, MP3 or WAV are safest.",
        )


def load_av(what: str) -> Any:
    """The `av` module, imported now. `what` names the wish for the message.

    Raises:
        NotInstalledError: The extra is not installed.
    """
    try:
        return importlib.import_module("av")
    except ImportError:
        raise NotInstalledError(what) from None


def open_media(av: Any, file: BinaryIO) -> Any:
    """Open media for reading: nothing but this very file, so that a playlist inside cannot reach out.

    Raises:
        BrokenMediaError: FFmpeg makes nothing of it.
    """
    try:
        return av.open(file, mode="r", options={"protocol_whitelist": "none"}, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise BrokenMediaError(file.name, reason(error)) from None


def reason(error: BaseException) -> str:
    """FFmpeg's own words for a failure, without the file name it repeats."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__).lower()


def turned(stream: Any) -> int:
    """Degrees clockwise (0, 90, 180, 270) by which the picture has to be turned to be shown, read from one frame."""
    for frame in stream.container.decode(stream):
        return int(-frame.rotation) % 360
    return 0
