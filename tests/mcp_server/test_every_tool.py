"""Every tool in both protocol eras, in memory; tests/e2e drives the same journeys over real pipes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.mcp_server.driving import picture, refused
from tests.mcp_server.journeys import JOURNEYS

if TYPE_CHECKING:
    from pathlib import Path

    from mcp import Client

    from tests.mcp_server.journeys import Journey
    from tests.sandbox_server import RunningSandbox

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("mode", ["auto", "legacy"])]


@pytest.mark.parametrize("journey", JOURNEYS, ids=lambda journey: journey.__name__)
async def test_a_journey(connected: Client, mode: str, journey: Journey, tmp_path: Path, api: RunningSandbox) -> None:
    async with connected as client:
        await journey(client, tmp_path, api)


async def test_an_api_without_a_route_is_said_and_nothing_is_sent(
    connected: Client, mode: str, tmp_path: Path, api: RunningSandbox
) -> None:
    api.control.knobs(assumed_routes=False)
    async with connected as client:
        error = await refused(client, "remove_background", image_url=picture(tmp_path))
        assert error["code"] == "not_offered"
        assert error["next_step"]
