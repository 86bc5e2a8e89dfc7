"""Upload sessions: a page on this machine where a person or a program hands over files for one model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio.to_thread

from kubeez_mcp_local.media.inputs import describe
from kubeez_mcp_local.operations import accepted
from kubeez_mcp_local.web.upload_page import MAX_FILES, UploadPage

if TYPE_CHECKING:
    from pathlib import Path

    from kubeez_mcp_local.bridge.lasting import LastingUploads
    from kubeez_mcp_local.bridge.lengths import Lengths
    from kubeez_mcp_local.catalogue.models import InputKind
    from kubeez_mcp_local.catalogue.store import Catalogue
    from kubeez_mcp_local.jobs.background import Background
    from kubeez_mcp_local.web.sessions import ContentType, SessionState
    from kubeez_mcp_local.web.upload_page import UploadSession

_ALL: tuple[InputKind, ...] = ("image", "video", "audio")


class UploadSessions:
    """Opens sessions and reads them.

    Args:
        catalogue: What each model takes.
        uploads: Hands files on to the API.
        lengths: Remembers what was measured, for quotes.
        background: Where the page runs.
        inbox: Where files lie until they are handed on.
        notice: A sentence for the page; empty for none.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        uploads: LastingUploads,
        lengths: Lengths,
        background: Background,
        inbox: Path,
        *,
        notice: str = "",
    ) -> None:
        from kubeez_mcp_local.media.measure import measure
        from kubeez_mcp_local.media.sniff import sniff

        self._catalogue = catalogue
        self._uploads = uploads
        self._lengths = lengths
        self._page = UploadPage(
            self._deliver, inbox, start=background.start, sniff=sniff, measure=measure, notice=notice
        )

    async def open(self, model_id: str) -> UploadSession:
        """A session that takes what the model takes; without a model, anything.

        Raises:
            InvalidArgumentError: There is no such model, or it takes no files.
            UploadError: The page cannot be served on this machine.
        """
        if not model_id.strip():
            return await self._page.open_session("any model", _ALL, MAX_FILES)
        kinds, most = accepted(await self._catalogue.listing(), model_id)
        return await self._page.open_session(model_id, kinds, most)

    def state(self, token: str) -> SessionState:
        """What has arrived so far.

        Raises:
            UploadError: No session has this token.
        """
        state = self._page.session(token.strip())
        for medium in state.media:
            self._lengths.note(medium.url, medium.duration_seconds)
        return state

    async def _deliver(self, path: Path, _content_type: ContentType, _name: str) -> str:
        return await self._uploads.url_for(await anyio.to_thread.run_sync(describe, path, "file"))
