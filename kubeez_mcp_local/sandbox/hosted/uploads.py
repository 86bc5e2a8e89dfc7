"""Upload sessions: how files of a caller's disk reach a hosted server, which sees none of them."""

import secrets
from typing import Annotated, Any
from urllib.parse import urlsplit

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import Field
from starlette.datastructures import FormData, UploadFile

from kubeez_mcp_local.sandbox import free_routes
from kubeez_mcp_local.sandbox.answers import ApiError, invalid, not_found
from kubeez_mcp_local.sandbox.books import File
from kubeez_mcp_local.sandbox.hosted.tools import READS, WRITES, Asked, Call, Toolbox
from kubeez_mcp_local.sandbox.service import Service, Viewer, origin_of

box = Toolbox()
router = APIRouter(include_in_schema=False)

DIRECT, FALLBACK = "/upload/direct", "/upload/fallback"
PATHS = (DIRECT, FALLBACK)
_NO_REAL_TYPE = ("", "application/octet-stream", "binary/octet-stream")
_KIND = "upload session"


class GetUploadUrl(Asked):
    model_id: str | None = Field(None, description="Model of the planned job: its limits of inputs hold for the files.")


@box.add("generate:media", WRITES, "upload")
def get_upload_url(call: Call, asked: GetUploadUrl) -> dict[str, Any]:
    """Open an upload session: a page, and an address for a multipart POST of `token` and one or more `file` parts.

    Each part needs a real media type. Assumed: that a session does not end.
    """
    if asked.model_id is not None:
        call.service.row(asked.model_id)
    token, origin = secrets.token_urlsafe(24), call.viewer.origin
    call.service.books.note(_KIND, token, call.caller.id, {"account": call.caller.id, "model": asked.model_id})
    direct = f"{origin}{DIRECT}"
    return {
        "url": f"{origin}/upload?token={token}",
        "token": token,
        "direct_upload_url": direct,
        "direct_upload_fallback_url": f"{origin}{FALLBACK}",
        "direct_upload_allowlist_domains": [urlsplit(origin).hostname],
        "direct_upload_curl_example": f"curl -F token={token} -F 'file=@clip.mp4;type=video/mp4' {direct}",
        "direct_upload_python_example": (
            f"httpx.post({direct!r}, data={{'token': {token!r}}}, files=[('file', ('a.png', data, 'image/png'))])"
        ),
    }


class GetUploadSession(Asked):
    token: str


@box.add("generate:media", READS)
def get_upload_session(call: Call, asked: GetUploadSession) -> dict[str, Any]:
    """What has arrived in an upload session, in the order of upload, with measured lengths in seconds."""
    about = call.service.books.noted(_KIND, asked.token)
    if about is None or about["account"] != call.caller.id:
        raise not_found("Upload session not found")
    return _shown(call.viewer, _files(call.service, asked.token))


def _files(service: Service, token: str) -> list[File]:
    about = service.books.noted(_KIND, token) or {}
    return [file for file in service.books.uploads(about.get("account", "")) if file.work.get("bucket") == token]


def _shown(viewer: Viewer, files: list[File]) -> dict[str, Any]:
    timed = [file for file in files if file.kind != "image"]
    unknown = sum(file.seconds is None for file in timed)
    return {
        "count": len(files),
        "media_urls": [viewer.url(file) for file in files],
        "media": [_medium(viewer, file) for file in files],
        "total_video_seconds": _total(files, "video"),
        "total_audio_seconds": _total(files, "audio"),
        "unknown_duration_count": unknown,
        "billing_readiness": "pending" if unknown or not files else "exact",
    }


def _total(files: list[File], kind: str) -> float:
    return round(sum(file.seconds or 0 for file in files if file.kind == kind), 3)


def _medium(viewer: Viewer, file: File) -> dict[str, Any]:
    about = {
        "url": viewer.url(file),
        "kind": file.kind,
        "duration_seconds": file.seconds,
        "measurement": "unreadable" if file.kind != "image" and file.seconds is None else None,
        "width": file.width,
        "height": file.height,
        "mime_type": file.media_type,
        "file_size_bytes": file.size,
    }
    return {name: value for name, value in about.items() if value is not None}


# Where the files arrive: no key, the token is enough

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Upload (sandbox)</title>
<h1>Upload</h1><form method="post" action="{direct}" enctype="multipart/form-data">
<input type="hidden" name="token" value="{token}"><input type="file" name="file" multiple required>
<button>Upload</button></form></html>"""


@router.get("/upload")
def upload_page(token: Annotated[str, Query(pattern="^[A-Za-z0-9_-]{10,100}$")]) -> HTMLResponse:
    """A page to upload with, without a login."""
    return HTMLResponse(_PAGE.format(direct=DIRECT, token=token), headers={"Cache-Control": "no-store"})


@router.post(DIRECT)
@router.post(FALLBACK)
async def upload_directly(request: Request) -> JSONResponse:
    """Take files of one session, in order; those before one that is refused are kept."""
    service: Service = request.app.state.service
    async with request.form(max_files=50, max_fields=20) as form:
        stored = await run_sync(_take, service, form)
    viewer = Viewer(service, origin_of(request))
    return JSONResponse({"count": len(stored), "media_urls": [viewer.url(file) for file in stored]})


def _take(service: Service, form: FormData) -> list[File]:
    token, parts = str(form.get("token", "")), [part for part in form.getlist("file") if isinstance(part, UploadFile)]
    session = service.books.noted(_KIND, token)
    if session is None:
        raise ApiError(401, {"error": "invalid_upload_token", "message": "Unknown upload token"})
    if not parts:
        raise invalid("file is missing: send one or more parts of that name")
    for part in parts:
        if (part.content_type or "").lower() in _NO_REAL_TYPE:
            raise invalid(f"Unsupported media type: {part.content_type or 'none'}. Give each file its real type")
    _check_limits(service, session["model"], token, parts)
    return [free_routes.store_upload(service, session["account"], part, token) for part in parts]


def _check_limits(service: Service, model: str | None, token: str, parts: list[UploadFile]) -> None:
    """The inputs that the session's model takes, as far as the media types say."""
    row = service.catalogue.get(model or "")
    if row is None:
        return
    kinds = [file.kind for file in _files(service, token)]
    kinds += [(part.content_type or "").partition("/")[0] for part in parts]
    allowed = row["input_media_types"]
    for kind in set(kinds):
        if allowed and kind not in allowed:
            raise invalid(f"{model} takes {', '.join(allowed)}, not {kind}")
        most = row["capabilities"].get(f"max_input_{kind}s")
        if most is not None and kinds.count(kind) > most:
            raise invalid(f"{model} takes at most {most} {kind} input(s)")
