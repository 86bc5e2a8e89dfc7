"""The API's limits: requests a minute, and jobs at once.

Numbers: public documentation pages on limits; the upload bucket's number is not published, 60 is our guess.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from typing import TYPE_CHECKING

from kubeez_mcp_local.sandbox.refusals import too_many

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubeez_mcp_local.sandbox.knobs import Panel
    from kubeez_mcp_local.sandbox.records import Bucket

PER_MINUTE: dict[Bucket, int] = {"media": 30, "music": 10, "dialogue": 10, "ads": 5, "upload": 60, "read": 120}
AT_ONCE: dict[Bucket, int] = {"media": 10, "music": 5, "dialogue": 5}


class RateLimits:
    """Sliding minutes, one for each account and bucket. Kept in memory: a restart forgets them."""

    def __init__(self, panel: Panel, clock: Callable[[], float]) -> None:
        self._panel = panel
        self._clock = clock
        self._lock = threading.Lock()
        self._calls: defaultdict[tuple[str, Bucket], deque[float]] = defaultdict(deque)

    def count(self, account: str, bucket: Bucket) -> None:
        """Note one request.

        Raises:
            Refusal: 429 when the minute's number is used up.
        """
        knobs = self._panel.knobs
        if knobs.rate_limits == "off":
            return
        minute = 60 / knobs.speed if knobs.rate_limits == "scaled" else 60.0
        now = self._clock()
        with self._lock:
            calls = self._calls[account, bucket]
            while calls and calls[0] <= now - minute:
                calls.popleft()
            if len(calls) >= PER_MINUTE[bucket]:
                raise too_many(f"Rate limit exceeded: {PER_MINUTE[bucket]} {bucket} requests per minute")
            calls.append(now)

    def forget(self) -> None:
        """Start all minutes anew."""
        with self._lock:
            self._calls.clear()
