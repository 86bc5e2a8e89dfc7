"""Image and video jobs, and the status of everything that is not music or separation."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse, StreamingResponse

from kubeez_mcp_local.sandbox.answers import Accepted, Generation
from kubeez_mcp_local.sandbox.deps import DOCUMENTED, HistoryCaller, MediaCaller, TheDesk, TheViewer
from kubeez_mcp_local.sandbox.orders import order_media
from kubeez_mcp_local.sandbox.refusals import not_found
from kubeez_mcp_local.sandbox.requests import MediaRequest
from kubeez_mcp_local.sandbox.routes.replies import taken_on
from kubeez_mcp_local.sandbox.streaming import job_events

router = APIRouter(prefix="/v1/generate/media")
JobId = Annotated[str, Path(max_length=200)]


@router.post("", operation_id="generate_media", tags=["Media"], openapi_extra=DOCUMENTED, response_model=Accepted)
def start(body: MediaRequest, desk: TheDesk, caller: MediaCaller) -> JSONResponse:
    """Start an image or video job."""
    return taken_on(desk, desk.accept([order_media(desk, caller.id, body)]))


@router.get("/{generation_id}", operation_id="get_media_generation", tags=["Media"], openapi_extra=DOCUMENTED)
def status(generation_id: JobId, desk: TheDesk, viewer: TheViewer, caller: HistoryCaller) -> Generation:
    """State of a media, speech or ad job."""
    job = desk.books.job(caller.id, generation_id)
    shown = viewer.read(job) if job and job.kind == "media" else None
    if not isinstance(shown, Generation):
        raise not_found("Generation not found")
    return shown


@router.get(
    "/{generation_id}/stream",
    operation_id="stream_media_generation",
    tags=["Streaming"],
    openapi_extra=DOCUMENTED,
    response_class=StreamingResponse,
)
def stream(generation_id: JobId, desk: TheDesk, viewer: TheViewer, caller: HistoryCaller) -> StreamingResponse:
    """The same as events: heartbeats, then `result`."""
    job = desk.books.job(caller.id, generation_id)
    if job is None or job.kind != "media" or job.reads < desk.panel.knobs.early_404:
        if job is not None:
            desk.books.count_read(job.id, finished=False)
        raise not_found("Generation not found")
    return StreamingResponse(job_events(desk, viewer, caller.id, job.id), media_type="text/event-stream")
