"""Upload sessions: a token for files, which come back measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.hosted_standin import official_client, said
from tests.sandbox.jobs import image, silence
from tests.sandbox_server import TRUSTS_NOBODY

if TYPE_CHECKING:
    from tests.sandbox_server import RunningSandbox

pytestmark = pytest.mark.anyio


def _send(url: str, token: str, *files: tuple[str, bytes, str | None]) -> httpx.Response:
    parts: list[tuple[str, Any]] = [
        ("file", (name, data, kind) if kind else (name, data)) for name, data, kind in files
    ]
    return httpx.post(url, data={"token": token}, files=parts, verify=TRUSTS_NOBODY, trust_env=False)


def _got(url: str) -> bytes:
    return httpx.get(url, verify=TRUSTS_NOBODY, trust_env=False).content


async def test_files_arrive_in_order_and_measured(sandbox: RunningSandbox) -> None:
    async with official_client(sandbox.url) as client:
        session = await said(client, "get_upload_url")
        assert (await said(client, "get_upload_session", token=session["token"]))["count"] == 0
        files = (("a.png", image(), "image/png"), ("b.wav", silence(2.5), "audio/wav"))
        sent = _send(session["direct_upload_url"], session["token"], *files)
        assert sent.status_code == 200
        again = _send(session["direct_upload_fallback_url"], session["token"], ("c.wav", silence(1), "audio/wav"))
        assert again.status_code == 200
        shown = await said(client, "get_upload_session", token=session["token"])
    assert [medium["kind"] for medium in shown["media"]] == ["image", "audio", "audio"]
    assert shown["media_urls"] == sent.json()["media_urls"] + again.json()["media_urls"]
    assert shown["media"][0] | {"url": ""} == {
        "url": "",
        "kind": "image",
        "width": 30,
        "height": 20,
        "mime_type": "image/png",
        "file_size_bytes": len(image()),
    }
    assert (shown["total_audio_seconds"], shown["total_video_seconds"]) == (3.5, 0)
    assert (shown["unknown_duration_count"], shown["billing_readiness"]) == (0, "exact")
    assert _got(shown["media_urls"][0]) == image()


async def test_what_was_uploaded_goes_into_a_job(sandbox: RunningSandbox) -> None:
    async with official_client(sandbox.url) as client:
        session = await said(client, "get_upload_url", model_id="mvsep-40")
        sent = _send(session["direct_upload_url"], session["token"], ("b.wav", silence(61), "audio/wav"))
        started = await said(client, "generate_separation", media_url=sent.json()["media_urls"][0])
        price = await said(client, "estimate", model="mvsep-40", reference_audio_seconds=61)
        row = await said(client, "get_generation", id=started["separation_id"])
    assert row["generation_type"] == "separation"
    assert row["credits_deducted"] == price["estimated_cost_credits"] == 12


@pytest.mark.parametrize("kind", ["application/octet-stream", None])
async def test_a_part_without_a_real_type_is_refused(sandbox: RunningSandbox, kind: str | None) -> None:
    async with official_client(sandbox.url) as client:
        session = await said(client, "get_upload_url")
        refused = _send(session["direct_upload_url"], session["token"], ("blob", image(), kind))
        assert refused.status_code == 400
        assert (await said(client, "get_upload_session", token=session["token"]))["count"] == 0


async def test_the_models_limits_hold_for_its_session(sandbox: RunningSandbox) -> None:
    async with official_client(sandbox.url) as client:
        session = await said(client, "get_upload_url", model_id="auto-caption")
        refused = _send(session["direct_upload_url"], session["token"], ("a.png", image(), "image/png"))
        assert refused.status_code == 400
        assert "auto-caption takes" in refused.text
        assert (await client.call_tool("get_upload_url", {"model_id": "no-such"})).is_error


async def test_a_session_belongs_to_its_account_and_needs_its_token(sandbox: RunningSandbox) -> None:
    async with official_client(sandbox.url) as client:
        session = await said(client, "get_upload_url")
    async with official_client(sandbox.url, "kbz_pat_other") as other:
        assert (await other.call_tool("get_upload_session", {"token": session["token"]})).is_error
    assert _send(session["direct_upload_url"], "wrong", ("a.png", image(), "image/png")).status_code == 401
    assert b"<form" in _got(session["url"])
