"""How long jobs take in life, in seconds; the stand-in divides by its speed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubeez_mcp_local.sandbox.catalogue import Row

_BY_TYPE = {
    "image": 20.0,
    "video": 90.0,
    "music": 60.0,
    "speech": 15.0,
    "separation": 40.0,
    "other": 60.0,
    "sound": 30.0,
    "dubbing": 90.0,
}


def seconds_in_life(row: Row) -> float:
    """The row's own estimate, else a usual length for its type."""
    return float(row.get("estimated_time_seconds") or _BY_TYPE.get(row["model_type"], 30.0))


def times(row: Row, speed: float) -> tuple[float, float]:
    """Real seconds from acceptance until the job starts, and until it is done."""
    whole = seconds_in_life(row)
    return min(3.0, whole / 5) / speed, whole / speed
