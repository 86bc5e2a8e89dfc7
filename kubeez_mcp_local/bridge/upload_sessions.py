"""Upload sessions: a page on this machine where a person or a program hands over files for one model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio.to_thread

from kubeez_mcp_local.catalogue.check_media import sending_model
from kubeez_mcp_local.catalogue.job_quotes import file_job_of
from kubeez_mcp_local.catalogue.media_request import MediaRequest
from kubeez_mcp_local.media.inputs import describe
from kubeez_mcp_local.web.upload_page import MAX_FILES, UploadPage

if TYPE_CHECKING:
    from pathlib import Path

    from kubeez_mcp_local.bridge.lasting import LastingUploads
    from kubeez_mcp_local.bridge.lengths import Lengths
    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.model import InputKind
    from kubeez_mcp_local.catalogue.store import Catalogue
    from kubeez_mcp_local.jobs.background import Background
    from kubeez_mcp_local.web.sessions import ContentType, SessionState
    from kubeez_mcp_local.web.upload_page import UploadSession

_ALL: tuple[InputKind, ...] = ("image", "video", "audio")
_OF_FILE_JOBS: dict[str, tuple[InputKind, ...]] = {
    "captions": ("video",),
    "dubbing": ("video",),
    "sound": ("video",),
    "separation": ("audio", "video"),
    "remove_background": ("image",),
}
_AD_PICTURES = 2


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


def accepted(listing: Listing, model_id: str) -> tuple[tuple[InputKind, ...], int]:
    """Which kinds of files a model takes, and how many of them.

    Raises:
        InvalidArgumentError: There is no such model.
    """
    job = file_job_of(model_id)
    if job is not None:
        works_on_files = job != "sound" or "-video-to-" in model_id.lower()
        return (_OF_FILE_JOBS[job], 1) if works_on_files else ((), 0)
    model = listing.get(model_id)
    if model.id.lower() == "ad-copy":
        return ("image",), _AD_PICTURES
    if model.makes_media:  # attached files move a text-only id to its edit twin
        model = sending_model(model, listing, MediaRequest("x", model.id, inputs=("image",)))
    if not model.makes_media or model.only_from_text:
        return (), 0
    kinds = tuple(kind for kind in _ALL if model.limit(kind) != 0 and kind in (model.input_types or _ALL))
    limits = [model.limit(kind) for kind in kinds]
    known = [limit for limit in limits if limit is not None]
    return kinds, sum(known) if len(known) == len(limits) else MAX_FILES
