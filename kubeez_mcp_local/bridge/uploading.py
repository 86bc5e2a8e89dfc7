"""Uploading local files on their own, and measuring them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio

from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.media.inputs import LocalInput, RemoteInput
from kubeez_mcp_local.media.measure import measure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from kubeez_mcp_local.bridge.lasting import LastingUploads
    from kubeez_mcp_local.bridge.lengths import Lengths
    from kubeez_mcp_local.media.inputs import Inputs

MAX_FILES = 50


@dataclass(frozen=True)
class Uploaded:
    """What one call could upload.

    Attributes:
        media: One entry a file, with the field names of the hosted upload session.
        left: How many files are not there yet; the first of them is on its way.
    """

    media: list[dict[str, Any]]
    left: int


class Uploading:
    """Makes local files available to the API, in the order given.

    Args:
        inputs: Decides which files may be read.
        uploads: Uploads each content once.
        lengths: Remembers what was measured, for quotes.
    """

    def __init__(self, inputs: Inputs, uploads: LastingUploads, lengths: Lengths) -> None:
        self._inputs = inputs
        self._uploads = uploads
        self._lengths = lengths

    async def upload(
        self,
        paths: Sequence[str],
        progress: Callable[[float, float | None, str], Awaitable[None]],
        *,
        patience: float,
    ) -> Uploaded:
        """Upload for at most `patience` seconds; the same call again goes on where this one stopped.

        Raises:
            InvalidArgumentError: Nothing was given, too much matches, or a file may not be read.
        """
        files = [file for path in paths for file in await self._inputs.expand(path, argument="paths", limit=MAX_FILES)]
        if not files:
            raise InvalidArgumentError("paths", "is empty.", next_step="Give at least one local file.")
        if len(files) > MAX_FILES:
            raise InvalidArgumentError(
                "paths",
                f"names {len(files)} files; at most {MAX_FILES} go in one call.",
                next_step="Call several times.",
            )
        media: list[dict[str, Any]] = []
        with anyio.move_on_after(patience):
            for number, file in enumerate(files, start=1):
                media.append(await self._one(file))
                await progress(number, len(files), f"{number} of {len(files)} uploaded")
        return Uploaded(media, len(files) - len(media))

    async def _one(self, file: LocalInput | RemoteInput) -> dict[str, Any]:
        if isinstance(file, RemoteInput):
            return {"url": file.url, "kind": file.kind}
        measured = await measure(file)
        url = await self._uploads.url_for(file)
        self._lengths.note(url, measured.seconds)
        no_length = file.kind != "image" and measured.seconds is None
        facts = {
            "url": url,
            "kind": file.kind,
            "path": str(file.path),
            "duration_seconds": measured.seconds,
            "measurement": ("unreadable" if measured.unreadable else "unavailable") if no_length else None,
            "width": measured.width,
            "height": measured.height,
            "mime_type": file.media_type.mime,
            "file_size_bytes": file.size,
        }
        return {name: value for name, value in facts.items() if value is not None}
