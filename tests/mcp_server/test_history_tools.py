"""The history as the hosted server's users read it: rows with an id, the settings of a job, filters in any spelling."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from tests.mcp_server.driving import call, made, picture, refused

if TYPE_CHECKING:
    from pathlib import Path

    from mcp import Client

pytestmark = pytest.mark.anyio


async def test_a_job_in_full_tells_its_settings(connected: Client, tmp_path: Path) -> None:
    async with connected as client:
        settings = {"aspect_ratio": "16:9", "seed": 7, "negative_prompt": "blur"}
        image = picture(tmp_path)
        job = await made(
            client, "generate_media", prompt="a", model="nano-banana-2", source_media_urls=image, **settings
        )
        row = await call(client, "get_generation", id=job["generation_id"])
        assert row["id"] == row["generation_id"] == job["generation_id"]
        assert row["params"] == {**settings, "source_media_urls": [image]}
        assert "params" not in await call(client, "get_status", id=job["generation_id"])


async def test_a_failed_job_that_the_api_has_finished_after_all_is_noticed_whoever_looks(
    connected: Client, tmp_path: Path
) -> None:
    async with connected as client:
        job = await made(client, "generate_media", prompt="a late kite", model="z-image")
        job_id = job["generation_id"]
        looks: tuple[tuple[str, dict[str, Any]], ...] = (
            ("get_generation", {"id": job_id}),
            ("get_status", {"id": job_id}),
            ("wait_for_generation", {"id": job_id}),
            ("get_generations", {}),
            ("view_media", {"output_id": "none"}),  # looks for it in the history
        )
        for tool, arguments in looks:
            with closing(sqlite3.connect(tmp_path / "state" / "ledger.db")) as ledger, ledger:
                ledger.execute("UPDATE jobs SET state = 'failed', charged = 0, results = '[]', files = '[]'")
            await client.call_tool(tool, arguments)
            with closing(sqlite3.connect(tmp_path / "state" / "ledger.db")) as ledger:
                assert ledger.execute("SELECT state, charged FROM jobs").fetchone() == ("completed", 4_000_000)
            done = await call(client, "wait_for_generation", id=job_id)
            assert await anyio.Path(done["files"][0]["path"]).exists()


async def test_a_job_of_unknown_fate_points_to_the_question_about_it(connected: Client, tmp_path: Path) -> None:
    async with connected as client:
        await made(client, "generate_media", prompt="a kite out of sight", model="z-image")
        with closing(sqlite3.connect(tmp_path / "state" / "ledger.db")) as ledger, ledger:
            ledger.execute("UPDATE jobs SET state = 'unknown', model = 'Z'")  # so that the history names it otherwise
            ledger.execute("DELETE FROM generations")
            (job_id,) = ledger.execute("SELECT id FROM jobs").fetchone()
        seen = await call(client, "get_status", id=job_id)
    assert seen["status"] == "unknown"
    assert "jobs reconcile, " in seen["next_step"]
    assert "--" not in seen["next_step"]  # the answer depends on what is shown


@pytest.mark.parametrize(
    "filters", [{"status": "Completed"}, {"generation_type": "text_to_image"}, {"model": " z-image "}]
)
async def test_filters_are_read_in_any_spelling(connected: Client, filters: dict[str, str]) -> None:
    async with connected as client:
        job = await made(client, "generate_media", prompt=f"a kite {filters}", model="z-image")
        rows = (await call(client, "get_generations", **filters))["generations"]
        assert rows[0]["id"] == job["generation_id"]


async def test_a_status_that_does_not_exist_is_refused(connected: Client) -> None:
    async with connected as client:
        assert "'completed'" in (await refused(client, "get_generations", status="ready"))["message"]


async def test_every_type_in_the_catalogue_can_be_listed(connected: Client) -> None:
    async with connected as client:
        rows = (await call(client, "get_models", model_type="dubbing"))["models"]
        assert {row["model_type"] for row in rows} == {"dubbing"}


async def test_a_url_that_promises_a_gif_is_refused_before_paying(connected: Client) -> None:
    async with connected as client:
        error = await refused(client, "remove_background", image_url="https://example.com/a.gif")
        assert "allowed: JPEG, PNG or WebP" in error["message"]
