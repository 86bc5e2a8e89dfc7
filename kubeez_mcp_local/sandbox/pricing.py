"""What a job costs in the stand-in, in credits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubeez_mcp_local.sandbox.catalogue import Row

ASSUMED_SECONDS = 10.0


def price(row: Row, *, seconds: float | None = None, resolution: str | None = None, pieces: int = 1) -> float:
    """Credits for one job.

    Args:
        row: The model's row with our notes on how it is priced.
        seconds: What a length-billed model is billed for; an unmeasured input counts as `ASSUMED_SECONDS`.
        resolution: Tier of models priced by tier.
        pieces: How many results are billed each, such as languages.
    """
    rule = row.get("_pricing", {})
    length = max(ASSUMED_SECONDS if seconds is None else seconds, rule.get("minimum_seconds", 0))
    if "per_second" in rule:
        each = rule["per_second"] * length
    elif "per_minute" in rule:
        each = rule["per_minute"] * max(1, math.ceil(length / 60))
    else:
        each = rule.get("resolution", {}).get(resolution, row["cost_per_generation"])
    return round(float(each) * pieces, 2)
