"""The catalogue that ships with this package: 111 rows of 28 March 2026, collected from public material.

It is used when the API cannot be asked. Keys that start with `_` are our own remarks about the evidence.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from importlib import resources

from kubeez_mcp_local.catalogue.listing import Listing
from kubeez_mcp_local.catalogue.rows import parse_rows

AS_OF = date(2026, 3, 28)
FILE = f"models-{AS_OF.isoformat()}.json"


def snapshot_rows() -> list[object]:
    """The shipped rows, as `GET /v1/models` would send them. Reads a file of 75 KB."""
    text = resources.files("kubeez_mcp_local.catalogue").joinpath(FILE).read_text(encoding="utf-8")
    rows: list[object] = json.loads(text)["models"]
    return rows


def snapshot_listing(now: float | None = None, *, note: str = "") -> Listing:
    """The shipped rows as a listing; `now` in seconds since 1970 sets its age."""
    models, _ = parse_rows(snapshot_rows())
    taken = datetime.combine(AS_OF, datetime.min.time(), tzinfo=UTC).timestamp()
    age = max(0.0, now - taken) if now is not None else 0.0
    return Listing(models, source="snapshot", age_seconds=age, as_of=AS_OF, note=note)
