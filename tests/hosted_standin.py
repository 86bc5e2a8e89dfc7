"""The hosted door of the stand-in for tests, in this process, and the official client that talks to it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mcp.types import CallToolResult

TOKEN = "kbz_pat_example"


@asynccontextmanager
async def official_client(url: str, token: str = TOKEN, *, mode: str = "auto") -> AsyncIterator[Client]:
    """The SDK's own client, signed in with a static token; `mode` is `auto` (2026-07-28) or `legacy` (2025-11-25)."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False, timeout=30) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


async def said(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """What a tool answers; a refusal fails the test."""
    result: CallToolResult = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    answer: dict[str, Any] | None = result.structured_content
    assert answer is not None
    return answer


async def finished(client: Client, job_id: str) -> dict[str, Any]:
    """The state of a job once it is over; the stand-in is fast, and a look is only ever early by a moment."""
    while (state := await said(client, "get_status", id=job_id))["status"] not in ("completed", "failed"):
        continue
    return state
