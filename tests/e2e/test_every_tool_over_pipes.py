"""Every tool over real pipes: one server process goes on all journeys. Both eras are gone through in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.clients import client
from tests.e2e.conftest import SPEED
from tests.mcp_server.driving import Recorder
from tests.mcp_server.journeys import JOURNEYS, check_all_tools_were_driven
from tests.sandbox_server import KEY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sandbox_server import RunningSandbox

pytestmark = pytest.mark.anyio


async def test_every_tool_is_answered_and_refused(tmp_path: Path, api: RunningSandbox) -> None:
    api.control.key(KEY, credits=100_000)
    settings: dict[str, Any] = {
        "mode": "sandbox",
        "base_url": api.url,
        "api_key": KEY,
        "sandbox_speed": SPEED,
        "input_dirs": tmp_path,
        "max_credits_per_call": 5000,
        "max_credits_per_day": 50_000,
    }
    async with client(tmp_path, "auto", **settings) as server:
        record = Recorder(server)
        for journey in JOURNEYS:
            await journey(record, tmp_path, api)
    check_all_tools_were_driven(record)
