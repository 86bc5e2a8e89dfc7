"""Operations that the real API is said to offer, at paths and with fields that are our guesses.

Known only from the hosted MCP server's tools of the same names; each is marked as assumed in the OpenAPI document.
"""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from kubeez_mcp_local.sandbox.answers import Accepted, Estimate, EstimateLine, Persona, Separation, SeparationAccepted
from kubeez_mcp_local.sandbox.assumed_orders import (
    estimate_of,
    keep_persona,
    order_captions,
    order_cutout,
    order_dubbing,
    order_separation,
    order_sound,
)
from kubeez_mcp_local.sandbox.deps import (
    ASSUMED,
    AnyCaller,
    HistoryCaller,
    MediaCaller,
    MusicCaller,
    SpeechCaller,
    TheDesk,
    TheViewer,
)
from kubeez_mcp_local.sandbox.pace import seconds_in_life
from kubeez_mcp_local.sandbox.refusals import not_found
from kubeez_mcp_local.sandbox.requests import (
    CaptionsRequest,
    DubbingRequest,
    EstimateRequest,
    PersonaRequest,
    RemoveBackgroundRequest,
    SeparationRequest,
    SoundRequest,
)
from kubeez_mcp_local.sandbox.routes.media import JobId
from kubeez_mcp_local.sandbox.routes.replies import taken_on

router = APIRouter(prefix="/v1", tags=["Assumed"])

PATHS = (
    "/v1/generate/captions",
    "/v1/generate/separation",
    "/v1/generate/dubbing",
    "/v1/generate/sound",
    "/v1/generate/remove-background",
    "/v1/generate/music/persona",
    "/v1/estimate",
)


@router.post("/generate/captions", operation_id="generate_captions", openapi_extra=ASSUMED, response_model=Accepted)
def captions(body: CaptionsRequest, desk: TheDesk, caller: MediaCaller) -> JSONResponse:
    """Burn captions into a video; poll the media route."""
    return taken_on(desk, desk.accept([order_captions(desk, caller.id, body)]))


@router.post("/generate/dubbing", operation_id="generate_dubbing", openapi_extra=ASSUMED, response_model=Accepted)
def dubbing(body: DubbingRequest, desk: TheDesk, caller: SpeechCaller) -> JSONResponse:
    """Translate a video's speech, one MP4 for each language; poll the media route."""
    return taken_on(desk, desk.accept([order_dubbing(desk, caller.id, body)]))


@router.post("/generate/sound", operation_id="generate_sound", openapi_extra=ASSUMED, response_model=Accepted)
def sound(body: SoundRequest, desk: TheDesk, caller: MediaCaller) -> JSONResponse:
    """Make sound effects or instrumental music; poll the media route."""
    return taken_on(desk, desk.accept([order_sound(desk, caller.id, body)]))


@router.post(
    "/generate/remove-background", operation_id="remove_background", openapi_extra=ASSUMED, response_model=Accepted
)
def remove_background(body: RemoveBackgroundRequest, desk: TheDesk, caller: MediaCaller) -> JSONResponse:
    """Cut the subject of a picture out, as a PNG with alpha; poll the media route."""
    return taken_on(desk, desk.accept([order_cutout(desk, caller.id, body)]))


@router.post(
    "/generate/separation",
    operation_id="generate_separation",
    openapi_extra=ASSUMED,
    response_model=SeparationAccepted,
)
def separation(body: SeparationRequest, desk: TheDesk, caller: MediaCaller) -> JSONResponse:
    """Split a recording into vocals and the rest; poll the separation route."""
    job = desk.accept([order_separation(desk, caller.id, body)])[0]
    answer = SeparationAccepted(
        separation_id=job.id, task_id=job.id, status="pending", estimated_cost_credits=job.credits
    )
    return JSONResponse(answer.model_dump(), desk.panel.knobs.success_code)


@router.get("/generate/separation/{separation_id}", operation_id="get_separation", openapi_extra=ASSUMED)
def separation_status(separation_id: JobId, desk: TheDesk, viewer: TheViewer, caller: HistoryCaller) -> Separation:
    """State of a separation."""
    job = desk.books.job(caller.id, separation_id)
    shown = viewer.read(job) if job and job.kind == "separation" else None
    if not isinstance(shown, Separation):
        raise not_found("Separation not found")
    return shown


@router.post("/generate/music/persona", operation_id="generate_music_persona", openapi_extra=ASSUMED)
def persona(body: PersonaRequest, desk: TheDesk, caller: MusicCaller) -> Persona:
    """Keep the voice of a finished song; free."""
    return Persona(persona_id=keep_persona(desk, caller.id, body), name=body.name)


@router.post("/estimate", operation_id="estimate", openapi_extra=ASSUMED)
def estimate(body: EstimateRequest, desk: TheDesk, caller: AnyCaller) -> Estimate:
    """Price a job; nothing is charged."""
    row = desk.row(body.model)
    lines = estimate_of(row, body)
    return Estimate(
        model=body.model,
        estimated_cost_credits=round(sum(credits_ for _, credits_ in lines), 2),
        estimated_time_seconds=seconds_in_life(row),
        breakdown=[EstimateLine(label=label, credits=credits_) for label, credits_ in lines],
    )
