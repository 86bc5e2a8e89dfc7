"""Signing in to the hosted server and out again: what is kept and where, and what is refused."""

from __future__ import annotations

import stat
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from kubeez_mcp_local.bridge.login import Keyring, proven_by_history, sign_out, tokens_of
from kubeez_mcp_local.environment import APP
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.hosted.client import HostedClient
from kubeez_mcp_local.hosted.tokens import Kept, Store, named
from kubeez_mcp_local.jobs.budget import Ceilings
from kubeez_mcp_local.jobs.guard import Limits
from kubeez_mcp_local.jobs.job import Order
from kubeez_mcp_local.jobs.ledger import LedgerFile
from kubeez_mcp_local.rest.errors import MissingScopeError, UnauthorizedError
from kubeez_mcp_local.settings import DEFAULT_MCP_URL, Settings, SettingsError, SignIn, config_file, load_settings
from tests.hosted import authority as authorities
from tests.hosted.authority import SCOPES, Authority, browse, running_authority
from tests.hosted_standin import Person, official_client, said
from tests.hosted_standin import signed_in as signed_in_at
from tests.jobs.conftest import Quoted
from tests.keyrings import LockedKeyring, MemoryKeyring, NoKeyring, use
from tests.sandbox_server import RunningSandbox, running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio
NOW = 1_800_000_000.0


@pytest.fixture
def authority() -> Iterator[Authority]:
    with running_authority() as running:
        yield running


signed_in = partial(authorities.signed_in, clock=lambda: NOW)


def kept_in(ring: MemoryKeyring) -> list[Kept]:
    return [found for text in ring.kept.values() if (found := Kept.read(text))]


async def test_a_sign_in_is_kept_in_the_keyring_and_the_config_file_says_whose(
    authority: Authority, ring: MemoryKeyring
) -> None:
    pages: list[str] = []
    done = await signed_in(authority.mcp, pages=pages)
    [kept] = kept_in(ring)
    assert ring.kept.keys() == {(APP, kept.account)}
    assert kept == done.kept
    assert (kept.url, kept.issuer, kept.scopes) == (authority.mcp, f"{authority.url}", tuple(SCOPES.split()))
    assert (kept.obtained_at, kept.expires_at) == (NOW, NOW + 3600)
    assert kept.access_token in authority.access
    assert kept.refresh_token in authority.refresh
    settings = load_settings({"mcp_url": authority.mcp}, environ={})
    assert settings.hosted_login == SignIn(kept.account, authority.mcp)
    assert settings.hosted_door == "sign-in"
    assert not any(secret in config_file().read_text() for secret in authority.secret)
    assert "You are signed in" in pages[0]
    assert authority.count("POST /mcp") == 2, "the token is tried"


@pytest.mark.skipif(sys.platform == "win32", reason="there the folder decides")
@pytest.mark.parametrize("kind", [NoKeyring, LockedKeyring])
async def test_where_no_keyring_takes_it_a_file_does_that_only_its_owner_can_read(
    authority: Authority, kind: type[MemoryKeyring], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, kind())
    done = await signed_in(authority.mcp)
    assert stat.S_IMODE(done.file.stat().st_mode) == 0o600
    assert Kept.read(done.file.read_text()) == done.kept
    assert f"in {done.file} as plain text" in done.where
    assert done.why_in_file.startswith(("There is no keyring", "The system's keyring is locked"))


async def test_one_may_do_without_the_keyring(authority: Authority, ring: MemoryKeyring) -> None:
    done = await signed_in(authority.mcp, in_file=True)
    assert (done.keyring, done.why_in_file, ring.kept) == ("", "", {})
    assert done.file.exists()
    again = await signed_in(authority.mcp)
    assert again.keyring
    assert not done.file.exists(), "the earlier one is gone"


async def test_the_account_is_that_of_the_tokens_subject_or_a_new_one(
    authority: Authority, ring: MemoryKeyring
) -> None:
    authority.subject = "ana"
    first = (await signed_in(authority.mcp)).kept
    assert first.account == named(authority.url, "ana")
    assert (await signed_in(authority.mcp)).kept.account == first.account
    authority.subject = ""
    nameless = (await signed_in(authority.mcp)).kept
    assert nameless.account != first.account
    assert (await signed_in(authority.mcp)).kept.account != nameless.account


@pytest.mark.parametrize("same", [True, False])
async def test_a_nameless_account_stays_where_it_is_proven_to_be_the_same(
    authority: Authority, ring: MemoryKeyring, same: bool
) -> None:
    first = (await signed_in(authority.mcp)).kept

    async def proven(kept: Kept) -> list[str]:
        assert kept.access_token in authority.access
        return ["hosted-of-another-day", first.account] if same else []

    second = (await signed_in(authority.mcp, earlier=proven)).kept
    assert (second.account == first.account) is same
    assert len(ring.kept) == 1
    assert first.refresh_token not in authority.refresh, "the earlier sign-in is ended"
    assert second.refresh_token in authority.refresh


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"declines": "access_denied"}, "The sign-in was declined in the browser."),
        ({"declines": "server_error"}, "The sign-in ended with the error “server_error”: “no, thanks”"),
        ({"metadata": {"issuer": "https://evil.example"}}, "of another issuer"),
        ({"resource": {"resource": "https://evil.example/mcp"}}, "says that it is another resource"),
        ({"resource": {"authorization_servers": ["http://evil.example"]}}, "which is not https"),
        ({"metadata": {"token_endpoint": "http://evil.example/token"}}, "which is not https"),
        ({"metadata": {"authorization_endpoint": "http://evil.example/"}}, "which is not https"),
        ({"metadata": {"registration_endpoint": "http://evil.example/"}}, "which is not https"),
        ({"metadata": {"authorization_endpoint": "file:///etc/passwd"}}, "does not describe how one signs in"),
        ({"overrides": {"/register": (403, {"error": "closed"})}}, "does not take this program as a client"),
        ({"overrides": {"/register": (404, {})}}, "access token of your Kubeez account into KUBEEZ_MCP_TOKEN"),
        ({"overrides": {"/token": (400, {"error": "invalid_client"})}}, "gave out no token"),
        ({"echoes": True}, "gave out no token: “Token exchange failed (400)"),
        ({"overrides": {"/token": (200, {"token_type": "Bearer"})}}, "gave out no token"),
        ({"overrides": {"/mcp": (401, {})}}, "does not accept the token that its own sign-in gave out"),
        ({"overrides": {"/mcp": (404, {})}}, "answers 404 and asks for no sign-in"),
        ({"metadata": {"authorization_response_iss_parameter_supported": True}}, "of another issuer"),
    ],
)
async def test_what_cannot_be_trusted_or_does_not_come_about_leaves_nothing(
    authority: Authority, ring: MemoryKeyring, knobs: dict[str, Any], said: str
) -> None:
    for name, value in knobs.items():
        setattr(authority, name, value)
    pages: list[str] = []
    with pytest.raises(KubeezError) as refusal:
        await signed_in(authority.mcp, pages=pages)
    text = str(refusal.value)
    assert said in text
    assert "Nothing was kept." in text
    assert not any(secret in text + "".join(pages) for secret in authority.secret if secret)
    assert ring.kept == {}
    assert "KUBEEZ_HOSTED_LOGIN" not in config_file().read_text()
    assert not pages or "You are not signed in" in pages[0]


async def test_a_browser_that_never_comes_back_is_given_up(authority: Authority, ring: MemoryKeyring) -> None:
    with pytest.raises(KubeezError, match="Nobody came back from the browser within") as refusal:
        await signed_in(authority.mcp, seconds=0.01, browser=lambda _: "")
    assert "login --hosted --no-browser" in str(refusal.value)


async def test_a_server_that_greets_everybody_is_signed_in_to_all_the_same(
    authority: Authority, ring: MemoryKeyring
) -> None:
    authority.lets_in = True
    assert (await signed_in(authority.mcp)).kept.access_token in authority.access


async def test_the_servers_secret_for_this_program_is_used_as_it_wants(
    authority: Authority, ring: MemoryKeyring
) -> None:
    authority.client = {"client_secret": "shared/secret=1", "token_endpoint_auth_method": "client_secret_basic"}
    kept = (await signed_in(authority.mcp)).kept
    form, headers = kept.client.form({"grant_type": "refresh_token", "client_secret": ""})
    assert headers["Authorization"] == "Basic Y2xpZW50LTE6c2hhcmVkJTJGc2VjcmV0JTNEMQ=="
    assert "client_secret" not in form
    assert "shared/secret" not in repr(kept)


async def test_only_the_way_back_of_this_sign_in_counts(authority: Authority, ring: MemoryKeyring) -> None:
    tried: list[int] = []

    def stranger(address: str) -> str:
        back = httpx.URL(address).params["redirect_uri"]
        with httpx.Client(trust_env=False, verify=False) as browser:
            for other in (f"{back}?code=mine&state=guessed", f"{back}?code=mine", back.replace("callback", "done")):
                tried.append(browser.get(other).status_code)
            by_name = browser.get(back, headers={"Host": "evil.example"})
            tried.append(by_name.status_code)
        return browse(address)

    done = await signed_in(authority.mcp, browser=stranger)
    assert tried == [404] * 4
    assert done.kept.access_token in authority.access


async def test_signing_out_ends_the_tokens_at_the_server_and_here(authority: Authority, ring: MemoryKeyring) -> None:
    kept = (await signed_in(authority.mcp)).kept
    gone = await sign_out(config_file())
    assert (gone.url, gone.revoked, gone.left) == (authority.mcp, ("refresh token", "access token"), "")
    assert kept.access_token not in authority.access
    assert authority.refresh == set()
    assert ring.kept == {}
    assert "KUBEEZ_HOSTED_LOGIN" not in config_file().read_text()
    assert (await sign_out(config_file())).url == ""


@pytest.mark.parametrize(
    ("knobs", "left"),
    [
        ({"metadata": {"revocation_endpoint": "http://evil.example/"}}, "names no safe address"),
        ({"metadata": {"revocation_endpoint": None}}, "names no safe address at which tokens are revoked"),
        ({"metadata": {"revocation_endpoint": "http://127.0.0.1:9/revoke"}}, "No connection to http://127.0.0.1:9"),
        ({"overrides": {"/revoke": (503, {"error": "busy"})}}, "answered 503 (“busy”)"),
    ],
)
async def test_what_could_not_be_revoked_is_said_and_forgotten_all_the_same(
    authority: Authority, ring: MemoryKeyring, knobs: dict[str, Any], left: str
) -> None:
    for name, value in knobs.items():
        setattr(authority, name, value)
    await signed_in(authority.mcp)
    gone = await sign_out(config_file())
    assert gone.revoked == ()
    assert left in gone.left
    assert gone.ends_at == NOW + 3600
    assert ring.kept == {}


async def test_a_config_file_that_cannot_be_written_is_told_before_anybody_signs_in(
    authority: Authority, ring: MemoryKeyring
) -> None:
    config_file().mkdir(parents=True)
    with pytest.raises(SettingsError, match="cannot be read"):
        await signed_in(authority.mcp)
    assert authority.asked == []


async def test_tokens_that_cannot_be_written_are_not_left_behind(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, NoKeyring())
    monkeypatch.setattr(Store, "file", lambda self, account: self.folder / account / "x.json")
    config_file().parent.mkdir(parents=True)
    monkeypatch.setattr("kubeez_mcp_local.hosted.tokens.replace_file", partial(_full))
    with pytest.raises(SettingsError, match="cannot be written: No space left on device"):
        await signed_in(authority.mcp)
    assert authority.refresh == set()


def _full(target: Path, content: str) -> None:
    raise OSError(28, "No space left on device", str(target))


def test_a_keyring_is_not_opened_before_a_token_is_needed() -> None:
    ring = Keyring()
    settings = Settings(hosted_login=SignIn("hosted-0123456789abcdef", DEFAULT_MCP_URL))
    assert tokens_of(settings, ring) is not None
    assert tokens_of(Settings()) is None


# At the sandbox's hosted server, which others wrote


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("hosted"), hosted=True, rate_limits="off") as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: RunningSandbox) -> Iterator[RunningSandbox]:
    """The one of the module, with its knobs as they were afterwards."""
    yield running
    running.control.knobs(oauth="right", refresh_tokens="rotate", token_seconds=3600, faults=[])


def door(sandbox: RunningSandbox, keyring: Keyring | None = None) -> HostedClient:
    """The hosted server as a process sees it that starts now."""
    settings = load_settings({"mcp_url": f"{sandbox.url}/mcp"}, environ={})
    tokens = tokens_of(settings, keyring)
    assert tokens is not None
    return HostedClient(settings.mcp_url, tokens)


async def test_a_sign_in_lasts_through_ended_tokens_until_it_is_taken_back(
    sandbox: RunningSandbox, ring: MemoryKeyring
) -> None:
    kept = await signed_in_at(sandbox)
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


async def test_a_server_that_does_not_rotate_refresh_tokens_is_understood(
    sandbox: RunningSandbox, ring: MemoryKeyring
) -> None:
    sandbox.control.knobs(refresh_tokens="stay")
    await signed_in_at(sandbox)
    for _ in range(2):
        sandbox.control.token(expires_in=0)
        async with door(sandbox) as client:
            assert (await client.balance()).credits > 0


async def test_what_was_not_ticked_is_missing_and_named(sandbox: RunningSandbox, ring: MemoryKeyring) -> None:
    kept = await signed_in_at(sandbox, Person(scopes=["generate:media"]))
    assert kept.scopes == ("generate:media",)
    async with door(sandbox) as client:
        with pytest.raises(MissingScopeError) as refusal:
            await client.balance()
        assert "read:balance" in str(refusal.value)


async def test_who_signed_out_is_let_in_no_more(sandbox: RunningSandbox, ring: MemoryKeyring) -> None:
    await signed_in_at(sandbox)
    async with door(sandbox) as client:
        assert (await client.balance()).credits > 0
        await sign_out(config_file())
        with pytest.raises(UnauthorizedError, match="is not kept here any more"):
            await client.balance()


async def test_a_new_sign_in_is_of_the_account_whose_jobs_it_can_see(
    sandbox: RunningSandbox, ring: MemoryKeyring, tmp_path: Path
) -> None:
    settings = Settings(state_dir=tmp_path / "state", mcp_url=f"{sandbox.url}/mcp")
    earlier = partial(proven_by_history, settings)
    first = await signed_in_at(sandbox)
    async with official_client(sandbox.url, first.access_token) as client:
        job_id = (await said(client, "generate_media", prompt="a kettle", model="nano-banana-2"))["generation_id"]
    unproven = await signed_in_at(sandbox, earlier=earlier)
    assert unproven.account != first.account, "there is no ledger"

    def know(account: str) -> None:
        ledger = LedgerFile(settings.state_dir, f"sandbox-{account}", Ceilings(500, 2000))
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
    proven = await signed_in_at(sandbox, earlier=earlier)
    assert proven.account == unproven.account
    assert proven.access_token != unproven.access_token
    somebody_else = await signed_in_at(sandbox, Person(account=""), earlier=earlier)
    assert somebody_else.account != proven.account
    assert (await signed_in_at(sandbox, earlier=earlier)).account == proven.account, "somebody else was in between"
    await sign_out(config_file())
    assert (await signed_in_at(sandbox, earlier=earlier)).account == proven.account, "nobody was signed in"
