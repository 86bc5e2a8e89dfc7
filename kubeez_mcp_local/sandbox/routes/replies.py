"""Answers that several routes give alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi.responses import JSONResponse

from kubeez_mcp_local.sandbox.views import accepted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubeez_mcp_local.sandbox.desk import Desk
    from kubeez_mcp_local.sandbox.records import Job


def taken_on(desk: Desk, jobs: Sequence[Job]) -> JSONResponse:
    """The success answer of a start route, with the status code that the knob says."""
    return JSONResponse(accepted(jobs).model_dump(exclude_none=True), desk.panel.knobs.success_code)
