"""Uploading local files on their own, and measuring them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.media.inputs import LocalInput, RemoteInput
from kubeez_mcp_local.media.measure import measure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from kubeez_mcp_local.bridge.lengths import Lengths
    from kubeez_mcp_local.media.inputs import Inputs
    from kubeez_mcp_local.media.uploads import Uploads

MAX_FILES = 50


class Uploading:
    """Makes local files available to the API, in the order given.

    Args:
        inputs: Decides which files may be read.
        uploads: Uploads each content once.
        lengths: Remembers what was measured, for quotes.
    """

    def __init__(self, inputs: Inputs, uploads: Uploads, lengths: Lengths) -> None:
        self._inputs = inputs
        self._uploads = uploads
        self._lengths = lengths

    async def upload(
        self, paths: Sequence[str], progress: Callable[[float, float | None, str], Awaitable[None]]
    ) -> list[dict[str, Any]]:
        """One entry a file, with the field names of the hosted upload session.

        Raises:
            InvalidArgumentError: Nothing was given, too much matches, or a file may not be read.
        """
        files = [file for path in paths for file in await self._inputs.expand(path, argument="paths", limit=MAX_FILES)]
        if not files:
            raise InvalidArgumentError("paths", "is empty.", next_step="Give at least one local file.")
        if len(files) > MAX_FILES:
            raise InvalidArgumentError("paths", f"names {len(files)} files; at most {MAX_FILES} go in one call.")
        media = []
        for number, file in enumerate(files, start=1):
            media.append(await self._one(file))
            await progress(number, len(files), f"{number} of {len(files)} uploaded")
        return media

    async def _one(self, file: LocalInput | RemoteInput) -> dict[str, Any]:
        if isinstance(file, RemoteInput):
            return {"url": file.url, "kind": file.kind}
        measured = await measure(file.path)
        url = await self._uploads.url_for(file)
        self._lengths.note(url, measured.seconds)
        facts = {
            "url": url,
            "kind": file.kind,
            "path": str(file.path),
            "duration_seconds": measured.seconds,
            "width": measured.width,
            "height": measured.height,
            "mime_type": file.media_type.mime,
            "file_size_bytes": file.size,
        }
        return {name: value for name, value in facts.items() if value is not None}
