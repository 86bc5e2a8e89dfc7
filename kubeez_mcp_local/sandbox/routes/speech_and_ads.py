"""Speech and ad creatives; their status is read on the media route."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from kubeez_mcp_local.sandbox.answers import Accepted
from kubeez_mcp_local.sandbox.deps import DOCUMENTED, AdsCaller, SpeechCaller, TheDesk
from kubeez_mcp_local.sandbox.orders import order_ad_copy, order_dialogue
from kubeez_mcp_local.sandbox.requests import AdCopyRequest, DialogueRequest
from kubeez_mcp_local.sandbox.routes.replies import taken_on

router = APIRouter(prefix="/v1/generate")


@router.post(
    "/dialogue", operation_id="generate_dialogue", tags=["Speech"], openapi_extra=DOCUMENTED, response_model=Accepted
)
def dialogue(body: DialogueRequest, desk: TheDesk, caller: SpeechCaller) -> JSONResponse:
    """Start a speech job."""
    return taken_on(desk, desk.accept([order_dialogue(desk, caller.id, body)]))


@router.post(
    "/ad-copy", operation_id="generate_ad_copy", tags=["Ads"], openapi_extra=DOCUMENTED, response_model=Accepted
)
def ad_copy(body: AdCopyRequest, desk: TheDesk, caller: AdsCaller) -> JSONResponse:
    """Start ad creatives, one job for each variant."""
    return taken_on(desk, desk.accept(order_ad_copy(desk, caller.id, body)))
