"""No call lasts longer than 45 seconds; what takes longer goes on, and the same call again finds it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import anyio
import pytest
from PIL import Image

from kubeez_mcp_local.mcp_server import call as one_call
from kubeez_mcp_local.mcp_server.call import TookTooLongError, timely, while_a_person_decides
from kubeez_mcp_local.mcp_server.tools import files, jobs
from tests.mcp_server.driving import call, made, picture

if TYPE_CHECKING:
    from pathlib import Path

    from mcp import Client

    from tests.sandbox_server import RunningSandbox

pytestmark = pytest.mark.anyio


async def test_a_call_that_hangs_is_ended_and_explained() -> None:
    with pytest.raises(TookTooLongError) as caught:
        await timely("upload_media", anyio.sleep_forever(), spends=False, seconds=0.02)
    assert (caught.value.spent, caught.value.retry_safe) == (False, True)
    with pytest.raises(TookTooLongError) as caught:
        await timely("generate_media", anyio.sleep_forever(), spends=True, seconds=0.02)
    assert caught.value.spent is None
    assert "pays nothing" in caught.value.next_step


async def test_the_time_in_which_a_person_decides_does_not_count() -> None:
    async def ask() -> str:
        with while_a_person_decides():
            await anyio.sleep(1.2)
        return "yes"

    async def ask_and_hang() -> None:
        await ask()
        await anyio.sleep_forever()

    assert await timely("generate_media", ask(), spends=True, seconds=1) == "yes"
    with pytest.raises(TookTooLongError):
        await timely("generate_media", ask_and_hang(), spends=True, seconds=0.05)


def test_waits_within_a_call_end_before_the_call_does() -> None:
    assert one_call.LONGEST_CALL <= jobs.MAX_WAIT_SECONDS == 45
    for wait in (jobs.LONGEST_WAIT, files.UPLOAD_PATIENCE):
        assert wait <= one_call.LONGEST_CALL - 3


async def test_a_slow_api_cannot_hold_a_call(
    connected: Client, api: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected as client:
        await call(client, "get_models", limit=1)
        api.control.fault("GET /v1/balance", "slow", seconds=1.5)
        monkeypatch.setattr(one_call, "LONGEST_CALL", 0.3)
        result = await client.call_tool("get_balance", {})
    assert result.is_error
    assert (result.structured_content or {})["error"]["code"] == "took_too_long"


async def test_uploads_go_on_after_the_call(
    connected: Client, api: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [picture(tmp_path, "red"), picture(tmp_path, "blue")]
    before = len(api.control.account()["uploads"])
    async with connected as client:
        await call(client, "get_balance")
        api.control.fault("POST /v1/upload/media", "slow", seconds=0.6)
        monkeypatch.setattr(files, "UPLOAD_PATIENCE", 0.1)
        first = await call(client, "upload_media", paths=paths)
        assert (first["status"], first["media_urls"]) == ("processing", [])
        assert "2 not yet" in first["next_step"]
        monkeypatch.setattr(files, "UPLOAD_PATIENCE", 20.0)
        second = await call(client, "upload_media", paths=paths)
        assert (second["status"], second["count"]) == ("completed", 2)
    assert len(api.control.account()["uploads"]) == before + 2


async def test_a_paid_call_that_is_ended_during_its_upload_pays_nothing_and_can_be_repeated(
    connected: Client, api: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "inputs" / "noise.png"
    picture(tmp_path)
    Image.frombytes("RGB", (40, 40), os.urandom(4800)).save(source)
    request = {"prompt": "in snow", "model": "nano-banana-2", "source_media_urls": [str(source)]}
    paid = len(api.control.account()["jobs"])
    async with connected as client:
        await call(client, "get_models", limit=1)
        api.control.fault("POST /v1/upload/media", "slow", seconds=1)
        monkeypatch.setattr(one_call, "LONGEST_CALL", 0.5)
        result = await client.call_tool("generate_media", request)
        assert (result.structured_content or {})["error"]["code"] == "took_too_long"
        monkeypatch.setattr(one_call, "LONGEST_CALL", 45.0)
        await made(client, "generate_media", **request)
    assert len(api.control.account()["jobs"]) == paid + 1
