"""A sign-in from its beginning to its end at the sandbox's hosted server: what others wrote, checked against ours."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import anyio
import httpx
import pytest

from kubeez_mcp_local.bridge.login import Keyring, keep_sign_in, proven_by_history, sign_out, tokens_of
from kubeez_mcp_local.errors import KubeezError, first_error_in
from kubeez_mcp_local.hosted.client import HostedClient
from kubeez_mcp_local.hosted.signing_in import SigningIn, listening
from kubeez_mcp_local.hosted.tokens import Kept
from kubeez_mcp_local.jobs.budget import Ceilings
from kubeez_mcp_local.jobs.guard import Limits
from kubeez_mcp_local.jobs.job import Order
from kubeez_mcp_local.jobs.ledger import LedgerFile
from kubeez_mcp_local.rest.errors import MissingScopeError, UnauthorizedError
from kubeez_mcp_local.settings import Settings, config_file, load_settings
from tests.hosted_standin import Person, official_client, said
from tests.jobs.conftest import Quoted
from tests.keyrings import MemoryKeyring, use
from tests.sandbox_server import RunningSandbox, running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("hosted"), hosted=True, rate_limits="off") as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: RunningSandbox) -> Iterator[RunningSandbox]:
    """The one of the module, with its knobs as they were afterwards."""
    yield running
    running.control.knobs(oauth="right", refresh_tokens="rotate", token_seconds=3600, faults=[])


@pytest.fixture(autouse=True)
def ring(monkeypatch: pytest.MonkeyPatch) -> MemoryKeyring:
    return use(monkeypatch, MemoryKeyring())


async def signed_in(sandbox: RunningSandbox, person: Person | None = None, **options: Any) -> Kept:
    """Sign in, with a person at the browser."""

    def look(address: str) -> None:
        answer = (person or Person()).asked(address)
        [back] = parse_qs(urlsplit(address).query)["redirect_uri"]
        httpx.get(f"{back}?{urlencode(answer)}", trust_env=False, verify=False, follow_redirects=True)

    try:
        async with listening() as place, anyio.create_task_group() as tasks:

            async def show(address: str) -> None:
                tasks.start_soon(anyio.to_thread.run_sync, look, address)

            signing_in = SigningIn(f"{sandbox.url}/mcp", place, show, 30.0)
            kept = (await keep_sign_in(signing_in, config_file(), **options)).kept
    except BaseExceptionGroup as group:
        raise first_error_in(group) from None
    else:
        return kept


def door(sandbox: RunningSandbox, keyring: Keyring | None = None) -> HostedClient:
    """The hosted server as a process sees it that starts now."""
    settings = load_settings({"mcp_url": f"{sandbox.url}/mcp"}, environ={})
    tokens = tokens_of(settings, keyring)
    assert tokens is not None
    return HostedClient(settings.mcp_url, tokens)


async def test_a_sign_in_lasts_through_ended_tokens_until_it_is_taken_back(
    sandbox: RunningSandbox, ring: MemoryKeyring
) -> None:
    kept = await signed_in(sandbox)
    assert set(kept.scopes) >= {"generate:media", "read:balance", "read:generations"}
    assert kept.revocation_endpoint == f"{sandbox.url}/revoke"
    async with door(sandbox) as one, door(sandbox) as other:
        assert (await one.balance()).credits == (await other.balance()).credits > 0
        sandbox.control.token(expires_in=0)
        assert (await one.balance()).credits > 0
        assert (await other.balance()).credits > 0
        assert sandbox.control.books()["calls"]["POST /token"] == 2, "the code, and one refresh for both"
        [text] = ring.kept.values()
        found = Kept.read(text)
        assert found is not None
        assert found.refresh_token != kept.refresh_token
        sandbox.control.token(revoked=True)
        with pytest.raises(UnauthorizedError, match="has ended: the server refuses to refresh it") as refusal:
            await one.balance()
        assert "login --hosted" in str(refusal.value)


async def test_a_server_that_does_not_rotate_refresh_tokens_is_understood(sandbox: RunningSandbox) -> None:
    sandbox.control.knobs(refresh_tokens="stay")
    await signed_in(sandbox)
    for _ in range(2):
        sandbox.control.token(expires_in=0)
        async with door(sandbox) as client:
            assert (await client.balance()).credits > 0


async def test_what_was_not_ticked_is_missing_and_named(sandbox: RunningSandbox) -> None:
    kept = await signed_in(sandbox, Person(scopes=["generate:media"]))
    assert kept.scopes == ("generate:media",)
    async with door(sandbox) as client:
        with pytest.raises(MissingScopeError) as refusal:
            await client.balance()
        assert "read:balance" in str(refusal.value)


@pytest.mark.parametrize(
    ("knob", "said"),
    [
        ("other_issuer", "of another issuer"),
        ("other_issuer_in_answer", "of another issuer"),
        ("other_resource", "says that it is another resource"),
        ("no_registration", "does not take this program as a client"),
        ("none", "does not describe how one signs in"),
    ],
)
async def test_wrong_papers_are_refused_and_nothing_is_kept(
    sandbox: RunningSandbox, ring: MemoryKeyring, knob: str, said: str
) -> None:
    sandbox.control.knobs(oauth=knob)
    with pytest.raises(KubeezError, match=said):
        await signed_in(sandbox)
    assert ring.kept == {}


async def test_a_no_on_the_page_is_a_no(sandbox: RunningSandbox) -> None:
    with pytest.raises(KubeezError, match="declined in the browser"):
        await signed_in(sandbox, Person(answer="deny"))


@pytest.mark.parametrize(("knob", "revoked"), [("right", ("refresh token", "access token")), ("no_revocation", ())])
async def test_signing_out_ends_it_where_the_server_can(
    sandbox: RunningSandbox, knob: str, revoked: tuple[str, ...]
) -> None:
    sandbox.control.knobs(oauth=knob)
    kept = await signed_in(sandbox)
    running: Any = door(sandbox)
    async with running as client:
        assert (await client.balance()).credits > 0
        gone = await sign_out(config_file())
        assert gone.revoked == revoked
        assert bool(gone.left) is not bool(revoked)
        if revoked:
            with pytest.raises(UnauthorizedError, match="is not kept here any more"):
                await client.balance()
        else:
            assert (await client.balance()).credits > 0, "the server takes its token until that ends"
    assert kept.url not in config_file().read_text()


async def test_a_new_sign_in_is_of_the_account_whose_jobs_it_can_see(sandbox: RunningSandbox, tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state", mcp_url=f"{sandbox.url}/mcp")
    same_account = partial(proven_by_history, settings)
    first = await signed_in(sandbox)
    async with official_client(sandbox.url, first.access_token) as client:
        job_id = (await said(client, "generate_media", prompt="a kettle", model="nano-banana-2"))["generation_id"]
    unproven = await signed_in(sandbox, same_account=same_account)
    assert unproven.account != first.account, "there is no ledger"

    def know(account: str) -> None:
        ledger = LedgerFile(settings.state_dir, account, Ceilings(500, 2000))
        order = Order(
            *("generate_media", "generate_media", "media", "media", "nano-banana-2", "a kettle", "digest"),
            quote=Quoted(14, "catalogue"),
            build=lambda: None,  # type: ignore[arg-type,return-value]  # it is not sent
            arguments={},
        )
        job = ledger.claim([order]).claims[0].job
        assert job is not None
        assert ledger.dispatch(job, Limits()) is None
        ledger.accepted(job.id, [job_id])
        ledger.close()

    know(unproven.account)
    proven = await signed_in(sandbox, same_account=same_account)
    assert proven.account == unproven.account
    assert proven.access_token != unproven.access_token
    somebody_else = await signed_in(sandbox, Person(account=""), same_account=same_account)
    assert somebody_else.account != proven.account
