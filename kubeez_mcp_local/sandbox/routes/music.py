"""Music jobs."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse, StreamingResponse

from kubeez_mcp_local.sandbox.answers import Accepted, MusicGeneration
from kubeez_mcp_local.sandbox.deps import DOCUMENTED, HistoryCaller, MusicCaller, TheDesk, TheViewer
from kubeez_mcp_local.sandbox.orders import order_music
from kubeez_mcp_local.sandbox.refusals import not_found
from kubeez_mcp_local.sandbox.requests import MusicRequest
from kubeez_mcp_local.sandbox.routes.media import JobId
from kubeez_mcp_local.sandbox.routes.replies import taken_on
from kubeez_mcp_local.sandbox.streaming import job_events

router = APIRouter(prefix="/v1/generate/music")


@router.post("", operation_id="generate_music", tags=["Music"], openapi_extra=DOCUMENTED, response_model=Accepted)
def start(body: MusicRequest, desk: TheDesk, caller: MusicCaller) -> JSONResponse:
    """Start a music job."""
    return taken_on(desk, desk.accept([order_music(desk, caller.id, body)]))


@router.get("/{generation_id}", operation_id="get_music_generation", tags=["Music"], openapi_extra=DOCUMENTED)
def status(generation_id: JobId, desk: TheDesk, viewer: TheViewer, caller: HistoryCaller) -> MusicGeneration:
    """State of a music job, with its songs."""
    job = desk.books.job(caller.id, generation_id)
    shown = viewer.read(job) if job and job.kind == "music" else None
    if not isinstance(shown, MusicGeneration):
        raise not_found("Generation not found")
    return shown


@router.get(
    "/{generation_id}/stream",
    operation_id="stream_music_generation",
    tags=["Streaming"],
    openapi_extra=DOCUMENTED,
    response_class=StreamingResponse,
)
def stream(generation_id: JobId, desk: TheDesk, viewer: TheViewer, caller: HistoryCaller) -> StreamingResponse:
    """The same as events: heartbeats, then `result`."""
    job = desk.books.job(caller.id, generation_id)
    if job is None or job.kind != "music" or job.reads < desk.panel.knobs.early_404:
        if job is not None:
            desk.books.count_read(job.id, finished=False)
        raise not_found("Generation not found")
    return StreamingResponse(job_events(desk, viewer, caller.id, job.id), media_type="text/event-stream")
