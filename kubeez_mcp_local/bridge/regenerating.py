"""Running an earlier image or video job again, with some settings changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.jobs.failures import UnknownJobError
from kubeez_mcp_local.operations import media
from kubeez_mcp_local.operations.media_check import MediaRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kubeez_mcp_local.bridge.api import Api
    from kubeez_mcp_local.jobs.ledger import Ledger
    from kubeez_mcp_local.operations import Draft, Sources

# Not the seed: with the old one the same picture would be paid for again.
_TAKEN_OVER = (
    "negative_prompt",
    "generation_type",
    "aspect_ratio",
    "duration",
    "quality",
    "resolution",
    "sound",
    "voice_id",
)
_NESTED = ("params", "parameters", "settings", "request", "input")
_SEARCHED_ROWS = 100


@dataclass(frozen=True)
class _Original:
    id: str
    settings: Mapping[str, Any]
    note: str = ""


@dataclass(frozen=True)
class Regenerating:
    """Repeats jobs on purpose.

    Attributes:
        ledger: The jobs this machine paid for, with all their settings.
        api: The jobs of other programs, with what its history tells of them.
        sources: What a draft is made from.
    """

    ledger: Ledger
    api: Api
    sources: Sources

    async def again(self, job_id: str, changes: Mapping[str, Any], *, count: int) -> Draft:
        """The job once more; settings in `changes` replace the original's.

        A replay of the very same call is one payment; to repeat once more, name the new job's id.

        Raises:
            UnknownJobError: There is no such job.
            InvalidArgumentError: It is no image or video job, or a change does not fit its model.
        """
        original = await self._original(job_id.strip())
        settings = original.settings
        kept: dict[str, Any] = {n: settings[n] for n in _TAKEN_OVER if settings.get(n) is not None}
        changed = {name: value for name, value in changes.items() if value not in (None, "")}
        request = replace(MediaRequest(prompt=str(settings["prompt"]), model=str(settings["model"]), **kept), **changed)
        request = replace(request, character_ids=tuple(settings.get("character_ids") or ()))
        if original.note:
            request = request.noting(original.note)
        sources = settings.get("source_media_urls") or []
        draft = await media.drafted(self.sources, request, sources, count=count)
        return replace(draft, tool="regenerate", repeat=f"again {original.id}")

    async def _original(self, job_id: str) -> _Original:
        try:
            job = await self.ledger.get(job_id)
        except UnknownJobError:
            return await self._of_other_program(job_id)
        if job.route != media.ROUTE.name:
            raise InvalidArgumentError(
                "id",
                f"{job_id} is a job of {job.tool}, not an image or video job.",
                next_step=f"Call {job.tool} again.",
            )
        return _Original(job.id, job.arguments)

    async def _of_other_program(self, job_id: str) -> _Original:
        """What the API's history tells; how much that is, is not documented."""
        from kubeez_mcp_local.rest.failures import NotFoundError

        rows = await self.api.generations(limit=_SEARCHED_ROWS)
        row = next((row for row in rows if row.id == job_id), None)
        try:
            row = row or await self.api.status("media", job_id)
        except NotFoundError:
            raise UnknownJobError(job_id) from None
        if not row.prompt or not row.model:
            raise InvalidArgumentError(
                "id",
                f"{job_id} was started elsewhere, and the API does not tell its prompt and model.",
                next_step="Call generate_media with them.",
            )
        settings = {**_told(row.raw), "prompt": row.prompt, "model": row.model}
        if row.generation_type:
            settings["generation_type"] = row.generation_type
        told = ", ".join(sorted(settings))
        return _Original(row.id, settings, f"The job was started elsewhere; its history tells {told}, nothing more.")


def _told(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in a history row, at its top or in one of the places where they may be kept."""
    found: dict[str, Any] = {}
    for place in (raw, *(raw[name] for name in _NESTED if isinstance(raw.get(name), dict))):
        for name in _TAKEN_OVER:
            if isinstance(place.get(name), str | int | float) and place[name] != "":
                found.setdefault(name, place[name])
        for name in ("source_media_urls", "character_ids"):
            values = place.get(name)
            values = [values] if isinstance(values, str) else values
            if isinstance(values, list) and values and all(isinstance(value, str) for value in values):
                found.setdefault(name, values)
    return found
