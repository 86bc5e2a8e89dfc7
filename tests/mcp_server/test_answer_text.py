"""The text of an answer is complete on its own, and readable."""

from __future__ import annotations

from mcp.types import TextContent

from kubeez_mcp_local.mcp_server.answers import answer
from kubeez_mcp_local.mcp_server.results import PlanResult


def test_short_lists_share_a_line_and_long_entries_get_their_own() -> None:
    steps = [
        "estimate(model='nano-banana-2'): the price.",
        "Tell the user the price, and wait for a clear yes before going on to spend.",
    ]
    plan = PlanResult(mode="sandbox", requires_upload=False, workflow_steps=steps, skills_to_fetch=["polling", "x"])
    (text,) = answer(plan).content
    assert isinstance(text, TextContent)
    lines = text.text.splitlines()
    assert "skills_to_fetch: polling, x" in lines
    assert f"  - {steps[1]}" in lines
    assert "requires_upload: no" in lines
