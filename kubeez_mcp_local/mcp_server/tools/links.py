"""Pages of kubeez.com that a person opens. Their parameters are not documented, so none are carried."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from kubeez_mcp_local.catalogue.checks import verify_text
from kubeez_mcp_local.mcp_server.call import Call
from kubeez_mcp_local.mcp_server.inventory import tool
from kubeez_mcp_local.mcp_server.results import LinkResult
from kubeez_mcp_local.text import spoken

MAX_PROMPT, MAX_WORD = 5_000, 100
"""Characters that are repeated in an answer."""
_SITE = "https://kubeez.com"


@tool(title="Open the studio", family="links", result=LinkResult, remote=False)
async def open_studio(
    call: Call,
    prompt: Annotated[str, Field(description="Shown in the summary, for the user to paste.")] = "",
    model: Annotated[str, Field(description="Shown in the summary.")] = "",
    aspect_ratio: Annotated[str, Field(description="Shown in the summary.")] = "",
) -> LinkResult:
    """The address of Kubeez's web studio, for a user who goes on in the browser. Hand it over; do not fetch it."""
    verify_text("prompt", prompt, MAX_PROMPT)
    verify_text("model", model, MAX_WORD)
    verify_text("aspect_ratio", aspect_ratio, MAX_WORD)
    given = ", ".join(value for value in (model, aspect_ratio, prompt) if value)
    settings = f" The link cannot carry settings; enter there: {given}." if given else ""
    return LinkResult(mode=call.mode, url=_SITE, summary=f"Open the studio and sign in.{settings}")


@tool(title="Open the gallery", family="links", result=LinkResult, remote=False)
async def open_gallery(
    call: Call,
    status: Annotated[str, Field(description="Shown in the summary; filter there by it.")] = "",
) -> LinkResult:
    """The address of the user's history on kubeez.com. For data in the conversation use get_generations."""
    verify_text("status", status, MAX_WORD)
    wanted = f" The link cannot carry a filter; choose {status} there." if status else ""
    return LinkResult(mode=call.mode, url=_SITE, summary=f"Sign in to see all your generations.{wanted}")


@tool(title="Open pricing", family="links", result=LinkResult, scope="read:balance", route="balance")
async def open_pricing(call: Call) -> LinkResult:
    """Where credits are bought, with the balance now. Use it when credits run out or the user asks."""
    credits_ = await call.bridge.credits_if_known()
    known = "The balance is not known right now." if credits_ is None else f"The balance is {spoken(credits_)}."
    return LinkResult(mode=call.mode, url=f"{_SITE}/pricing", summary=known, current_balance=credits_)
