"""The client against the stand-in: uploads, jobs to their end, refusals in every form, faults, restarts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from kubeez_mcp_local.hosted.client import HostedClient
from kubeez_mcp_local.hosted.contract import HostedContract
from kubeez_mcp_local.operations import background, dialogue, dubbing, music, separation, sound
from kubeez_mcp_local.rest.client import Patience
from kubeez_mcp_local.rest.errors import (
    AmbiguousError,
    InsufficientCreditsError,
    MissingScopeError,
    UnauthorizedError,
)
from kubeez_mcp_local.rest.routes import ROUTES, Request
from tests.hosted_server import Tokens
from tests.sandbox.jobs import image, silence
from tests.sandbox_server import running_sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from kubeez_mcp_local.rest.wire import Generation
    from tests.sandbox_server import RunningSandbox

pytestmark = pytest.mark.anyio
POST = "POST /mcp tools/call"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("sandbox"), hosted=True) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: RunningSandbox) -> RunningSandbox:
    running.control.reset()
    running.control.knobs(drawing="plain")
    return running


@pytest.fixture
async def client(sandbox: RunningSandbox) -> AsyncIterator[HostedClient]:
    async with HostedClient(f"{sandbox.url}/mcp", Tokens(), patience=Patience(1)) as client:
        yield client


@pytest.fixture
def contract(client: HostedClient, tmp_path: Path) -> HostedContract:
    return HostedContract(client.tools, tmp_path / "tools.json")


async def finished(client: HostedClient, kind: str, job_id: str) -> Generation:
    while not (job := await client.status(kind, job_id)).settled:
        continue
    return job


async def uploaded(client: HostedClient, tmp_path: Path, name: str, content: bytes, media_type: str) -> str:
    path = tmp_path / name
    path.write_bytes(content)
    with path.open("rb") as file:
        return (await client.upload(file, filename=name, media_type=media_type)).url


async def test_a_local_song_is_uploaded_separated_and_saved(
    client: HostedClient, contract: HostedContract, tmp_path: Path
) -> None:
    url = await uploaded(client, tmp_path, "song.wav", silence(1), "audio/wav")
    before = (await client.balance()).credits
    quoted = await client.call(
        await contract.prepare(Request(ROUTES["estimate"], {"model": separation.MODEL, "reference_audio_seconds": 1.0}))
    )
    started = await client.start(await contract.prepare(Request(separation.ROUTE, {"media_url": url})))
    job = await finished(client, "separation", started.generation_id)
    assert job.vocals_url
    assert job.instrumental_url
    saved = await client.download(job.vocals_url, tmp_path / "vocals", max_bytes=10_000_000)
    assert saved.size > 0
    rows = await client.generations(limit=5)
    assert [row.id for row in rows] == [started.generation_id]
    assert before - (await client.balance()).credits == rows[0].credits_deducted == quoted["estimated_cost_credits"]


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        (Request(music.ROUTE, {"prompt": "a calm evening", "instrumental": True}), "music"),
        (Request(dialogue.ROUTE, {"dialogue": ({"text": "Good evening, all."},), "stability": None}), "media"),
        (Request(sound.ROUTE, {"model": "sonilo-text-to-sfx", "prompt": "rain", "duration": 5}), "media"),
    ],
    ids=["music", "dialogue", "sound"],
)
async def test_operations_are_sent_in_the_words_of_the_tool(
    client: HostedClient, contract: HostedContract, request_: Request, kind: str
) -> None:
    started = await client.start(await contract.prepare(request_))
    assert (await finished(client, kind, started.generation_id)).settled


async def test_a_picture_loses_its_background(client: HostedClient, contract: HostedContract, tmp_path: Path) -> None:
    url = await uploaded(client, tmp_path, "a.png", image(), "image/png")
    started = await client.start(await contract.prepare(Request(background.ROUTE, {"image_url": url})))
    assert (await finished(client, "media", started.generation_id)).outputs[0].url


async def test_languages_find_their_place(client: HostedClient, contract: HostedContract) -> None:
    body = {"video_url": "https://media.kubeez.com/a.mp4", "languages": ("de", "fr"), "model": dubbing.MODEL}
    prepared = await contract.prepare(Request(dubbing.ROUTE, body))
    assert prepared.route.path == "generate_dubbing"
    assert ["de", "fr"] in prepared.body.values()


async def test_the_catalogue_is_read(client: HostedClient) -> None:
    rows = await client.models("music")
    assert rows
    assert {row["model_type"] for row in rows} == {"music"}


PAID = Request(music.ROUTE, {"prompt": "a calm evening"})


@pytest.mark.parametrize("form", ["structured", "text", "result"])
@pytest.mark.parametrize(
    ("about", "kind"),
    [({"credits": 0}, InsufficientCreditsError), ({"scopes": ["read:balance"]}, MissingScopeError)],
    ids=["no credits", "no scope"],
)
async def test_refusals_are_understood_in_every_form(
    client: HostedClient,
    contract: HostedContract,
    sandbox: RunningSandbox,
    form: str,
    about: Any,
    kind: type[Exception],
) -> None:
    sandbox.control.token("kbz_pat_first", **about)
    prepared = await contract.prepare(PAID)
    for place in ("http", "tool"):
        sandbox.control.knobs(hosted_errors=form, scope_refusals=place)
        with pytest.raises(kind):
            await client.start(prepared)
    assert sandbox.control.account()["jobs"] == []


@pytest.mark.parametrize(
    "kind", ["cut_after_acceptance", "cut_before_acceptance", "drop_stream", "status", "html", "not_json"]
)
async def test_a_call_that_breaks_is_counted_once_whatever_became_of_it(
    client: HostedClient, contract: HostedContract, sandbox: RunningSandbox, kind: str
) -> None:
    prepared = await contract.prepare(PAID)
    sandbox.control.fault(f"{POST} generate_music", kind)
    with pytest.raises(AmbiguousError):
        await client.start(prepared)
    assert sandbox.control.books()["calls"][f"{POST} generate_music"] == 1
    assert len(await client.generations()) == (1 if kind in ("cut_after_acceptance", "drop_stream") else 0)


class Renewing(Tokens):
    """Gets another token from the stand-in when one is refused."""

    async def refused(self, token: SecretStr) -> SecretStr:
        self.texts = ["kbz_pat_second"]
        return SecretStr("kbz_pat_second")


async def test_a_token_that_ends_in_the_middle_is_renewed_and_the_job_is_paid_once(
    sandbox: RunningSandbox, tmp_path: Path
) -> None:
    account = "the account of both tokens"
    for token in ("kbz_pat_first", "kbz_pat_second"):
        sandbox.control.token(token, account=account)
    async with HostedClient(f"{sandbox.url}/mcp", Renewing()) as client:
        contract = HostedContract(client.tools, tmp_path / "tools.json")
        prepared = await contract.prepare(PAID)
        sandbox.control.fault(f"{POST} generate_music", "expire_token")
        started = await client.start(prepared)
        sandbox.control.fault(f"{POST} get_status", "revoke_token", times=2)
        with pytest.raises(UnauthorizedError):
            await client.status("music", started.generation_id)
        sandbox.control.token("kbz_pat_second", revoked=False)
        assert [row.id for row in await client.generations()] == [started.generation_id]
