"""Lists of jobs stay short, however long the prompts are; one job shows its prompt whole."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from mcp.types import TextResourceContents

from kubeez_mcp_local.mcp_server.rows import LONGEST_PROMPT
from tests.mcp_server.driving import call, client_of, made

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sandbox_server import RunningSandbox

pytestmark = pytest.mark.anyio


async def test_a_long_prompt_is_cut_in_lists_only(tmp_path: Path, api: RunningSandbox) -> None:
    prompt = "a kite, " * 500 + "blue"
    async with client_of(api, tmp_path) as client:
        job = await made(client, "generate_media", prompt=prompt, model="nano-banana-2")
        [row] = (await call(client, "get_generations"))["generations"]
        whole = await call(client, "get_generation", id=job["generation_id"])
        [recent] = (await client.read_resource("kubeez://jobs/recent")).contents
    assert isinstance(recent, TextResourceContents)
    for shown in (row["prompt"], json.loads(recent.text)[0]["prompt"]):
        assert shown.startswith(prompt[:LONGEST_PROMPT])
        assert shown.endswith("… (4,004 characters; get_generation shows them all)")
    assert whole["prompt"] == prompt
