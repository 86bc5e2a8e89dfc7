"""The client and the stand-in API, which share no code, understand each other over real HTTP."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import httpx
import pytest
from PIL import Image

from kubeez_mcp_local.operations import routes
from kubeez_mcp_local.rest.client import RestClient
from kubeez_mcp_local.rest.contract import Contract, compare
from kubeez_mcp_local.rest.errors import (
    AmbiguousError,
    InsufficientCreditsError,
    MissingScopeError,
    NotFoundError,
    NotOfferedError,
    UnauthorizedError,
)
from kubeez_mcp_local.sandbox.embedded import EmbeddedSandbox
from tests.requests import sent
from tests.sandbox_server import CONTROL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from kubeez_mcp_local.rest.routes import JobKind
    from kubeez_mcp_local.rest.wire import Generation

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("rest-sandbox")]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    sandbox = EmbeddedSandbox(tmp_path_factory.mktemp("state"), speed=50_000)
    yield sandbox.start_blocking()
    sandbox.stop_blocking()


@pytest.fixture
async def client(origin: str) -> AsyncIterator[RestClient]:
    await turn(origin, faults=[], no_credits_as=400, assumed_routes=True, cdn_404=0, rate_limits="off")
    async with RestClient(origin, "sk_live_example") as client:
        yield client


async def turn(origin: str, **knobs: object) -> None:
    await control(origin, "knobs", knobs)


async def register(origin: str, **key: object) -> None:
    await control(origin, "keys", key)


async def control(origin: str, what: str, body: dict[str, object]) -> None:
    async with httpx.AsyncClient(headers=CONTROL, verify=False) as controls:
        (await controls.post(f"{origin}/_sandbox/{what}", json=body)).raise_for_status()


async def settled(client: RestClient, kind: JobKind, job_id: str) -> Generation:
    async for job in client.events(kind, job_id):
        if job.settled:
            return job
    while not (job := await client.status(kind, job_id)).settled:
        pass
    return job


async def test_catalogue_and_balance_are_read(client: RestClient) -> None:
    assert (await client.health())["status"] == "healthy"
    assert len(await client.models()) >= 111
    assert {row["model_type"] for row in await client.models("music")} == {"music"}
    assert (await client.balance()).credits > 0


async def test_a_picture_is_made_charged_found_and_saved(client: RestClient, tmp_path: Path) -> None:
    before = (await client.balance()).credits
    accepted = await client.start(
        sent("generate_media", prompt="a red bicycle", model="nano-banana", aspect_ratio="16:9")
    )
    job = await settled(client, "media", accepted.generation_id)
    assert job.status == "completed"
    assert before - (await client.balance()).credits == job.credits_deducted
    url = job.outputs[0].url
    assert url
    saved = await client.download(url, tmp_path / "bicycle.png", max_bytes=20_000_000)
    assert saved.media_type in ("image/png", "image/jpeg")
    with Image.open(tmp_path / "bicycle.png") as picture:
        assert picture.width > picture.height
    found = await client.generations(limit=1, model="nano-banana")
    assert [row.id for row in found] == [job.id]
    assert found[0].prompt == "a red bicycle"
    assert found[0].created is not None


async def test_an_uploaded_picture_is_an_input(client: RestClient, tmp_path: Path) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), "green").save(picture, "PNG")
    (tmp_path / "in.png").write_bytes(picture.getvalue())
    with (tmp_path / "in.png").open("rb") as file:
        uploaded = await client.upload(file, filename="in.png", media_type="image/png")
    accepted = await client.start(
        sent(
            "generate_media",
            prompt="make it blue",
            model="nano-banana-edit",
            generation_type="image-to-image",
            source_media_urls=(uploaded.url,),
        )
    )
    assert (await settled(client, "media", accepted.generation_id)).status == "completed"


async def test_music_and_speech_are_followed_on_their_routes(client: RestClient) -> None:
    music = await client.start(sent("generate_music", prompt="slow jazz"))
    assert all(song.audio_url for song in (await settled(client, "music", music.generation_id)).songs)
    speech = await client.start(sent("generate_dialogue", dialogue=({"text": "Hello there, world."},)))
    assert (await settled(client, "media", speech.generation_id)).outputs[0].url


async def test_a_file_that_lags_behind_is_waited_for(client: RestClient, origin: str, tmp_path: Path) -> None:
    await turn(origin, cdn_404=2)
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    patient = RestClient(origin, "sk_live_example", sleep=sleep)
    accepted = await patient.start(sent("generate_media", prompt="late", model="z-image"))
    url = (await settled(patient, "media", accepted.generation_id)).outputs[0].url
    await patient.download(url or "", tmp_path / "late.png", max_bytes=20_000_000)
    assert waits == [1.0, 1.0]
    await patient.aclose()


@pytest.mark.parametrize("status", [400, 402])
async def test_an_empty_account_is_recognised(client: RestClient, origin: str, status: int) -> None:
    await turn(origin, no_credits_as=status)
    await register(origin, key="sk_live_example_poor", credits=1)
    async with RestClient(origin, "sk_live_example_poor") as poor:
        with pytest.raises(InsufficientCreditsError) as caught:
            await poor.start(sent("generate_media", prompt="dear", model="nano-banana"))
    assert caught.value.status == status


async def test_a_missing_scope_and_a_revoked_key_are_named(client: RestClient, origin: str) -> None:
    await register(origin, key="sk_live_example_narrow", scopes=["read:balance"])
    async with RestClient(origin, "sk_live_example_narrow") as narrow:
        with pytest.raises(MissingScopeError) as caught:
            await narrow.start(sent("generate_music", prompt="jazz"))
        assert caught.value.scope == "generate:music"
        await register(origin, key="sk_live_example_narrow", revoked=True)
        with pytest.raises(UnauthorizedError):
            await narrow.balance()


async def test_a_cut_after_acceptance_is_ambiguous_and_happened_once(client: RestClient, origin: str) -> None:
    await turn(origin, faults=[{"on": "POST /v1/generate/media", "kind": "cut_after_acceptance"}])
    with pytest.raises(AmbiguousError):
        await client.start(sent("generate_media", prompt="only once", model="z-image"))
    assert [job.prompt for job in await client.generations()].count("only once") == 1


async def test_a_stream_that_drops_simply_ends(client: RestClient, origin: str) -> None:
    await turn(origin, faults=[{"on": "GET */stream", "kind": "drop_stream"}])
    accepted = await client.start(sent("generate_media", prompt="dropped", model="z-image"))
    assert [job async for job in client.events("media", accepted.generation_id)] == []
    with pytest.raises(NotFoundError):
        await client.status("media", "no-such-job")


async def test_assumed_routes_are_found_in_its_description(client: RestClient, tmp_path: Path) -> None:
    contract = Contract(client.openapi, tmp_path / "openapi.json")
    estimate = await contract.prepare(sent("estimate", model="nano-banana"))
    assert (await client.call(estimate))["estimated_cost_credits"] > 0
    assert (await contract.locate(routes()["separation_status"])).path == "/v1/generate/separation/{separation_id}"
    picture = await client.start(sent("generate_media", prompt="cut me out", model="z-image"))
    url = (await settled(client, "media", picture.generation_id)).outputs[0].url
    cutout = await client.start(await contract.prepare(sent("remove_background", image_url=url or "")))
    assert (await settled(client, "media", cutout.generation_id)).outputs[0].url


async def test_a_song_is_taken_apart(client: RestClient, tmp_path: Path) -> None:
    contract = Contract(client.openapi, tmp_path / "openapi.json")
    music = await client.start(sent("generate_music", prompt="a song to take apart"))
    song = (await settled(client, "music", music.generation_id)).songs[0].audio_url
    operation = await contract.prepare(sent("generate_separation", media_url=song or ""))
    client.adopt(await contract.locate(routes()["separation_status"]))
    parted = await settled(client, "separation", (await client.start(operation)).generation_id)
    assert parted.vocals_url
    assert parted.instrumental_url


async def test_without_the_assumed_routes_nothing_is_sent(client: RestClient, origin: str, tmp_path: Path) -> None:
    await turn(origin, assumed_routes=False)
    contract = Contract(client.openapi, tmp_path / "openapi.json")
    with pytest.raises(NotOfferedError):
        await contract.prepare(sent("remove_background", image_url="https://media.kubeez.com/a.png"))


async def test_the_comparison_finds_every_documented_route_and_field(client: RestClient, tmp_path: Path) -> None:
    snapshot = await Contract(client.openapi, tmp_path / "openapi.json").snapshot()
    rows = compare(snapshot.published, routes().values())
    missing = [row.route.name for row in rows if row.published is None]
    assert missing == []
    unknown = {
        row.route.name: line
        for row in rows
        for line in row.differences
        if row.route.fields and line.startswith("required, unknown here")
    }
    assert unknown == {}
