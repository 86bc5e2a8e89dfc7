"""Clips that come with the package, for installations without an encoder.

They were made by `python -m kubeez_mcp_local.sandbox.studio.make_ready_clips`; `ready/` holds one for each usual ratio.
"""

from __future__ import annotations

import struct
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from kubeez_mcp_local.sandbox.studio.work import Work

RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4", "21:9", "3:2", "2:3")
_NEST = (b"moov", b"trak", b"mdia")


def file_name(ratio: str) -> str:
    """The clip of a ratio."""
    return f"sandbox-{ratio.replace(':', 'x')}.mp4"


def copy_clip(work: Work, target: Path) -> None:
    """Write the clip whose ratio is nearest, slowed down or sped up to the length asked for."""
    wanted = (work.width or 16) / (work.height or 9)
    nearest = min(RATIOS, key=lambda ratio: abs(_value(ratio) - wanted))
    folder = resources.files("kubeez_mcp_local").joinpath("sandbox", "studio", "ready")
    data = bytearray(folder.joinpath(file_name(nearest)).read_bytes())
    stretch(data, work.seconds or 5.0)
    target.write_bytes(data)


def stretch(movie: bytearray, seconds: float) -> None:
    """Change an MP4's length in place, by changing how many of its ticks make a second."""
    headers = list(_headers(movie, 0, len(movie)))
    whole = next(position for name, position in headers if name == b"mvhd")
    scale, ticks = struct.unpack_from(">II", movie, whole + 12)
    factor = seconds * scale / ticks
    for _, position in headers:
        old = struct.unpack_from(">I", movie, position + 12)[0]
        struct.pack_into(">I", movie, position + 12, max(1, round(old / factor)))


def _headers(movie: bytearray, start: int, end: int) -> list[tuple[bytes, int]]:
    """Where the movie's and each track's time scale stand: the bodies of `mvhd` and `mdhd`, version 0."""
    found, position = [], start
    while position + 8 <= end:
        size, name = struct.unpack_from(">I4s", movie, position)
        if name in (b"mvhd", b"mdhd"):
            found.append((name, position + 8))
        elif name in _NEST:
            found += _headers(movie, position + 8, position + size)
        position += max(size, 8)
    return found


def _value(ratio: str) -> float:
    across, _, down = ratio.partition(":")
    return int(across) / int(down)
