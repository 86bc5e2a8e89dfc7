"""Running an earlier image or video job again, with some settings changed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.catalogue.media_request import MediaRequest
from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kubeez_mcp_local.bridge.history import History
    from kubeez_mcp_local.bridge.making import Caller, Making, Started

_TAKEN_OVER = (
    "negative_prompt",
    "generation_type",
    "aspect_ratio",
    "duration",
    "quality",
    "resolution",
    "sound",
    "seed",
    "voice_id",
)


class Regenerating:
    """Repeats jobs on purpose.

    Args:
        history: Finds the earlier job.
        making: Starts the new one.
    """

    def __init__(self, history: History, making: Making) -> None:
        self._history = history
        self._making = making

    async def again(self, job_id: str, changes: Mapping[str, Any], caller: Caller, *, count: int) -> Started:
        """Start the job again; settings in `changes` replace the original's.

        A replay of the very same call is one payment; to repeat once more, name the new job's id.

        Raises:
            UnknownJobError: There is no such job.
            InvalidArgumentError: It is no image or video job, or a change does not fit its model.
        """
        seen = await self._history.status(job_id, None)
        settings = dict(seen.job.arguments) if seen.job else dict(seen.answers[0])
        route = seen.job.route if seen.job else "generate_media"
        prompt, model = settings.get("prompt"), settings.get("model")
        if route != "generate_media" or seen.kind != "media" or not prompt or not model:
            raise InvalidArgumentError(
                "id", f"{job_id} is not an image or video job.", next_step="Call its own generate tool again."
            )
        kept: dict[str, Any] = {n: settings[n] for n in _TAKEN_OVER if settings.get(n) is not None}
        original = MediaRequest(prompt=str(prompt), model=str(model), **kept)
        request = replace(original, **{name: value for name, value in changes.items() if value not in (None, "")})
        if changes.get("seed") in (None, 0):
            request = replace(request, seed=None)
        draft = await self._making.media_draft(request, settings.get("source_media_urls") or [])
        return await self._making.submit(replace(draft, tool="regenerate"), caller, count=count, repeat=job_id)
