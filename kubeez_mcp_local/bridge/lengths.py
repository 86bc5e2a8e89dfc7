"""How long inputs are, so that jobs billed by length can be quoted before they are paid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.media.inputs import LocalInput
from kubeez_mcp_local.media.measure import measure

if TYPE_CHECKING:
    from kubeez_mcp_local.jobs.job import Job
    from kubeez_mcp_local.jobs.ledger import Ledger
    from kubeez_mcp_local.operations import Input

_SEARCHED_JOBS = 200


class Lengths:
    """Measures local files, and remembers or looks up the length of URLs that this machine has seen before.

    Args:
        ledger: Knows the outputs of earlier jobs, which often become inputs.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[str, float] = {}

    def note(self, url: str, seconds: float | None) -> None:
        """Remember how long the upload behind `url` is."""
        if seconds is not None:
            self._known[url] = seconds

    async def of(self, item: Input) -> float | None:
        """Length of one input in seconds; `None` when it cannot be known without fetching it."""
        if isinstance(item, LocalInput):
            return (await measure(item)).seconds
        if item.url not in self._known:
            self.note(item.url, await self._of_output(item.url))
        return self._known.get(item.url)

    async def _of_output(self, url: str) -> float | None:
        try:
            jobs = await self._ledger.recent(_SEARCHED_JOBS)
        except KubeezError:  # without a ledger nothing can be paid anyway; the guard explains that
            return None
        for job in jobs:
            said = _as_told(job, url)
            if said is not None:
                return said
            for file in job.files:
                if file.url == url and await anyio.Path(file.path).is_file():
                    return (await measure(Path(file.path))).seconds
        return None


def _as_told(job: Job, url: str) -> float | None:
    for result in job.results:
        for output in result.get("outputs", ()):
            if output.get("url") == url and output.get("duration"):
                return float(output["duration"])
    return None
