"""Uploads."""

import shutil
from typing import Annotated

from fastapi import APIRouter, Query, UploadFile

from kubeez_mcp_local.sandbox.answers import Uploaded
from kubeez_mcp_local.sandbox.deps import DOCUMENTED, TheDesk, TheViewer, UploadCaller
from kubeez_mcp_local.sandbox.measuring import measure, recognise
from kubeez_mcp_local.sandbox.refusals import Refusal, invalid

router = APIRouter(prefix="/v1/upload", tags=["Uploads"])

MOST_BYTES = 500 * 1024 * 1024


@router.post("/media", operation_id="upload_media", openapi_extra=DOCUMENTED)
def upload(
    file: UploadFile,
    desk: TheDesk,
    viewer: TheViewer,
    caller: UploadCaller,
    bucket: Annotated[str, Query(max_length=100)] = "media-inputs",
) -> Uploaded:
    """Store one file, at most 500 MB, for use in `source_media_urls`."""
    if not file.size:
        raise invalid("The uploaded file is empty")
    if file.size > MOST_BYTES:
        raise Refusal(413, {"detail": "The uploaded file is larger than 500 MB"})
    kind = recognise(file.file.read(64))
    if kind is None:
        raise invalid(f"Unsupported media type: {file.content_type or 'unknown'}")
    extension, media_type = kind
    file.file.seek(0)
    waiting = desk.books.folder / "files" / f".{desk.books.new_id()}.{extension}"
    with waiting.open("wb") as target:
        shutil.copyfileobj(file.file, target, 1024 * 1024)
    about = {"size": file.size, "bucket": bucket, "name": file.filename or "", **measure(waiting, media_type)}
    stored = desk.books.add_upload(caller.id, f".{extension}", media_type, about)
    waiting.replace(desk.books.path_of(stored))
    return Uploaded(url=viewer.url(stored))
