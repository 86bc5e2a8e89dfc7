"""Showing one finished output: a small preview of the file on disk, or of a fetched copy."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.errors import UnknownJobError
from kubeez_mcp_local.jobs.outputs import NotAnOutputError, what_it_is

if TYPE_CHECKING:
    from kubeez_mcp_local.bridge.api import Api
    from kubeez_mcp_local.bridge.files import SharedWork
    from kubeez_mcp_local.jobs.job import Job
    from kubeez_mcp_local.jobs.ledger import Ledger
    from kubeez_mcp_local.rest.wire import Generation

MAX_DOWNLOAD_BYTES = 500 * 1024 * 1024
_SEARCHED_JOBS = 200
_PATIENCE = 35.0
"""Seconds a call waits for a copy; clients give up on calls that last a minute."""


@dataclass(frozen=True)
class View:
    """One output and what can be shown of it.

    Attributes:
        path: The file on this machine, if it was saved.
        preview: Bytes to show, within the budget asked for; `None` when nothing fits.
        note: What the preview shows, or why there is none.
    """

    name: str
    url: str | None
    path: Path | None
    media_type: str | None
    preview: bytes | None
    preview_type: str | None
    note: str


@dataclass(frozen=True)
class _Found:
    output_id: str
    url: str | None
    path: Path | None = None


@dataclass(frozen=True)
class Viewing:
    """Finds outputs by id, in the ledger first; `cache_dir` keeps copies of those that were not saved here."""

    ledger: Ledger
    api: Api
    cache_dir: Path
    copies: SharedWork[Path]

    async def view(self, output_id: str, *, max_bytes: int) -> View:
        """A preview of the output with this id; a job's id stands for its first output.

        Raises:
            KubeezError: `unknown_output`: no job of this account has it.
        """
        from kubeez_mcp_local.media.picture import preview

        found = await self._find(output_id)
        file = found.path
        try:
            shown = file or await self._fetched(found)
            result = await preview(shown, max_bytes)
        except KubeezError as error:
            name = Path(urlsplit(found.url or "").path).name or output_id
            return View(name, found.url, file, None, None, None, str(error))
        media_type = result.media_type.mime if result.media_type else None
        return View(shown.name, found.url, file, media_type, result.data, result.mime, result.note)

    async def _find(self, output_id: str) -> _Found:
        jobs = await self.ledger.recent(_SEARCHED_JOBS)
        with suppress(UnknownJobError):
            jobs = [await self.ledger.get(output_id), *jobs]
        for job in jobs:
            found = _in_job(job, output_id)
            if found:
                return found
        for generation in await self._history(output_id):
            outputs = [(output.id, output.url) for output in generation.outputs]
            for name, url in [*outputs, *((song.id, song.audio_url) for song in generation.songs)]:
                if output_id in (name, generation.id):
                    return _Found(name or generation.id, url)
        raise KubeezError(
            f"No job of this account has an output {output_id!r}.",
            next_step="Take the id inside outputs[] from get_generation or get_generations.",
            code="unknown_output",
        )

    async def _history(self, output_id: str) -> list[Generation]:
        rows = await self.api.generations(limit=100)
        if any(output_id in (row.id, *(output.id for output in row.outputs)) for row in rows):
            return rows
        try:
            return [*rows, await self.api.status("media", output_id)]
        except KubeezError:
            return rows

    async def _fetched(self, found: _Found) -> Path:
        """A copy of an output that is not on disk; kept, because people look twice."""
        if not found.url:
            raise KubeezError(
                "The output has no URL yet.", next_step="Wait for the job to finish.", code="unknown_output"
            )
        url = found.url
        target = self.cache_dir / hashlib.sha256(url.encode()).hexdigest()[:24]

        async def fetch() -> Path:
            await anyio.Path(self.cache_dir).mkdir(parents=True, exist_ok=True)
            await self.api.download(url, target, max_bytes=MAX_DOWNLOAD_BYTES, accept=_no_output)
            return target

        if await anyio.Path(target).exists():
            return target
        with anyio.move_on_after(_PATIENCE):
            return await self.copies.join(url, fetch)
        raise KubeezError(
            "The file is large and still being fetched.",
            next_step="Call again in a moment.",
            retry_safe=True,
            code="still_fetching",
        )


def _no_output(path: Path, said: str | None) -> str | None:
    """Why a fetched copy is not kept, which would hide the output for ever; `None` if it may be the output."""
    try:
        what_it_is(path, said, frozenset())
    except NotAnOutputError as error:
        return str(error)
    return None


def _in_job(job: Job, output_id: str) -> _Found | None:
    whole_job = output_id in (job.id, *job.generation_ids)
    for file in job.files:
        if (file.output_id == output_id or whole_job) and Path(file.path).is_file():
            return _Found(file.output_id or output_id, file.url, Path(file.path))
    for result in job.results:
        for output in (*result.get("outputs", ()), *result.get("songs", ())):
            if output.get("id") == output_id or whole_job:
                return _Found(output_id, output.get("url") or output.get("audio_url"))
    return None
