"""What money and jobs need of the API; `RestClient` fits, and so does a double in a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from kubeez_mcp_local.rest.downloading import Accept, Downloaded
    from kubeez_mcp_local.rest.routes import JobKind, Request
    from kubeez_mcp_local.rest.wire import Accepted, Generation


class JobsApi(Protocol):
    """Starts, reads and fetches jobs; raises the errors of `rest.failures`."""

    async def start(self, request: Request) -> Accepted:
        """Send a paid request."""

    async def status(self, kind: JobKind, job_id: str) -> Generation:
        """A job as it stands."""

    def events(self, kind: JobKind, job_id: str) -> AsyncGenerator[Generation, None]:
        """The job once it ends; ends without a word when the stream breaks."""

    async def generations(
        self,
        *,
        limit: int | None = None,
        status: str | None = None,
        model: str | None = None,
        generation_type: str | None = None,
    ) -> list[Generation]:
        """The account's history, newest first."""

    async def download(self, url: str, target: Path, *, max_bytes: int, accept: Accept | None = None) -> Downloaded:
        """Save a finished file, never over an existing one."""
