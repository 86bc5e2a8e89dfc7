"""How the page answers programs: JSON with a code, a message and the next step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse

from kubeez_mcp_local.web.errors import UploadRefusedError

if TYPE_CHECKING:
    from kubeez_mcp_local.errors import KubeezError


def answer(content: dict[str, Any]) -> JSONResponse:
    """A good answer."""
    return JSONResponse(content)


def refusal(error: KubeezError) -> JSONResponse:
    """An error: its own status for what the page refuses, 502 for what failed behind it."""
    status = error.status if isinstance(error, UploadRefusedError) else 502
    content = {"error": error.code, "message": error.message, "next_step": error.next_step}
    return JSONResponse(content, status_code=status)
