"""Finished files and uploads, as a CDN would serve them: no key, ranges allowed."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import FileResponse

from kubeez_mcp_local.sandbox.deps import TheDesk
from kubeez_mcp_local.sandbox.refusals import not_found

router = APIRouter(prefix="/files")


@router.get("/{name}", include_in_schema=False)
@router.head("/{name}", include_in_schema=False)
def file(name: Annotated[str, Path(max_length=200)], desk: TheDesk) -> FileResponse:
    """One file's bytes."""
    found = desk.books.file_named(name)
    if found is None:
        raise not_found()
    if found.job and not desk.books.is_finished(found.job, early=found.role in ("song", "cover")):
        raise not_found()
    if desk.books.count_download(found) < desk.panel.knobs.cdn_404:
        raise not_found()
    ready = desk.studio.ready(found)
    return FileResponse(
        desk.books.path_of(ready),
        media_type=ready.media_type,
        content_disposition_type="inline",
        headers={"Access-Control-Allow-Origin": "*", "X-Content-Type-Options": "nosniff"},
    )
