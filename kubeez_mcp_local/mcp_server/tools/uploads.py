"""A page on this machine where a person drops files, or a program posts them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from pydantic import Field

from kubeez_mcp_local.mcp_server.call import Call
from kubeez_mcp_local.mcp_server.inventory import tool
from kubeez_mcp_local.mcp_server.media_steps import media_next_step
from kubeez_mcp_local.mcp_server.results import UploadPageResult, UploadSessionResult


@tool(title="Open an upload page", family="uploads", result=UploadPageResult, effect="write", scope="generate:media")
async def get_upload_url(
    call: Call,
    model_id: Annotated[str, Field(description="Model the files are for; decides how many and which kinds.")] = "",
) -> UploadPageResult:
    """A page on this machine where the user drops files (url), and a direct multipart upload: token + repeated file.

    Rarely needed: tools take local paths. Ask get_upload_session(token) what arrived. Open for an hour. Free.
    """
    session = await call.bridge.upload_sessions.open(model_id)
    facts = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(session).items()}
    return UploadPageResult(mode=call.mode, next_step="Give the user the url, then get_upload_session.", **facts)


@tool(title="What was uploaded", family="uploads", result=UploadSessionResult, remote=False, scope="generate:media")
async def get_upload_session(
    call: Call, token: Annotated[str, Field(description="From get_upload_url.")]
) -> UploadSessionResult:
    """Files that arrived on the upload page, in order, measured. Quote by length once billing_readiness is exact."""
    state = call.bridge.upload_sessions.state(token)
    facts = state.fields()
    if state.count:
        step = media_next_step(facts["media"])
    elif state.expired:
        step = "Nothing arrived in time; open another session with get_upload_url."
    else:
        step = "Nothing has arrived yet; ask again once the user or the upload is done."
    return UploadSessionResult(mode=call.mode, next_step=step, **facts)
