"""The token of a sign-in: refreshed in time, once for all who need it, and never lost on the way."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
from pydantic import SecretStr

from kubeez_mcp_local.bridge import Bridge
from kubeez_mcp_local.bridge.login import Keyring, tokens_of
from kubeez_mcp_local.environment import APP
from kubeez_mcp_local.hosted.tokens import (
    Client,
    GivenToken,
    Kept,
    Store,
    Tokens,
    account_of,
    end_of,
    named,
    subject_of,
)
from kubeez_mcp_local.rest.errors import UnauthorizedError, UnavailableError, UnreachableError
from kubeez_mcp_local.settings import DEFAULT_MCP_URL, Settings, SignIn
from tests.hosted.authority import SCOPES, Authority, running_authority, web_token
from tests.keyrings import LockedKeyring, MemoryKeyring, use

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("ring")]
NOW, LIFE = 1_800_000_000.0, 3600.0


@pytest.fixture
def authority() -> Iterator[Authority]:
    with running_authority() as running:
        yield running


class House:
    """One sign-in and whoever uses it, at a moment that the test sets."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.now = NOW
        self.mark = SignIn("hosted-0123456789abcdef", authority.mcp)

    async def keep(self, **changes: Any) -> Kept:
        given = self.authority.give()
        about: dict[str, Any] = {
            "account": self.mark.account,
            "url": self.authority.mcp,
            "issuer": self.authority.url,
            "token_endpoint": f"{self.authority.url}/token",
            "client": Client(id="client-1"),
            "scopes": tuple(SCOPES.split()),
            "access_token": given["access_token"],
            "refresh_token": given.get("refresh_token"),
            "obtained_at": NOW,
            "expires_at": NOW + LIFE,
        }
        kept = Kept(**about | changes)
        await Store(Keyring()).write(kept, in_file=False)
        return kept

    def tokens(self) -> Tokens:
        """As another process has them."""
        return Tokens(self.mark, Store(Keyring()), clock=lambda: self.now)


@pytest.fixture
def house(authority: Authority) -> House:
    return House(authority)


def bare(token: SecretStr) -> str:
    return token.get_secret_value()


def kept_in(ring: MemoryKeyring, house: House) -> Kept | None:
    return Kept.read(ring.kept[APP, house.mark.account])


async def test_a_token_is_used_while_it_lasts_and_refreshed_shortly_before_it_ends(
    house: House, ring: MemoryKeyring
) -> None:
    kept, tokens = await house.keep(), house.tokens()
    looks = ring.looks
    assert bare(await tokens.token()) == bare(await tokens.token()) == kept.access_token
    assert ring.looks == looks + 1, "what is known is not looked up again"
    house.now = NOW + LIFE - 61
    assert bare(await tokens.token()) == kept.access_token
    house.now = NOW + LIFE - 59
    renewed = bare(await tokens.token())
    assert renewed in house.authority.access - {kept.access_token}
    found = kept_in(ring, house)
    assert found is not None
    assert (found.access_token, found.obtained_at, found.expires_at) == (renewed, house.now, house.now + LIFE)
    assert found.refresh_token in house.authority.refresh
    assert house.authority.count("POST /token") == 1


async def test_a_token_that_lives_shortly_is_not_refreshed_at_once(house: House) -> None:
    kept, tokens = await house.keep(expires_at=NOW + 20), house.tokens()
    house.now = NOW + 17.9
    assert bare(await tokens.token()) == kept.access_token
    house.now = NOW + 18.1
    assert bare(await tokens.token()) != kept.access_token


async def test_a_refused_token_is_refreshed_whatever_its_end(house: House) -> None:
    tokens = house.tokens()
    kept = await house.keep()
    house.now = NOW + 100
    assert bare(await tokens.token()) == kept.access_token
    other = await tokens.refused(SecretStr(kept.access_token))
    assert bare(other) in house.authority.access - {kept.access_token}
    assert bare(await tokens.refused(SecretStr(kept.access_token))) == bare(other), "by somebody else meanwhile"
    assert house.authority.count("POST /token") == 1
    assert bare(await tokens.refused(other)) not in (kept.access_token, bare(other))


async def test_many_who_need_it_in_many_processes_refresh_it_once(house: House) -> None:
    kept = await house.keep()
    house.now = NOW + LIFE
    everybody = [house.tokens() for _ in range(6)]
    got: list[str] = []

    async def ask(tokens: Tokens, refused: bool) -> None:
        got.append(bare(await (tokens.refused(SecretStr(kept.access_token)) if refused else tokens.token())))

    async with anyio.create_task_group() as tasks:
        for number, tokens in enumerate(everybody * 2):
            tasks.start_soon(ask, tokens, number % 2 == 0)
    assert len(got) == 12
    assert len(set(got)) == 1
    assert house.authority.count("POST /token") == 1
    assert got[0] in house.authority.access


async def test_a_call_that_is_cancelled_loses_no_token(house: House, ring: MemoryKeyring) -> None:
    await house.keep()
    house.now = NOW + LIFE
    with anyio.CancelScope() as call:
        loop = asyncio.get_running_loop()
        house.authority.on_refresh = lambda: loop.call_soon_threadsafe(call.cancel)
        await house.tokens().token()
    found = kept_in(ring, house)
    assert found is not None
    assert found.refresh_token in house.authority.refresh
    assert bare(await house.tokens().token()) in house.authority.access
    assert house.authority.count("POST /token") == 1


async def test_what_could_not_be_written_is_used_on_and_written_as_soon_as_it_can_be(
    house: House, ring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept, tokens = await house.keep(), house.tokens()
    house.now = NOW + LIFE
    use(monkeypatch, LockedKeyring()).kept = ring.kept
    monkeypatch.setattr(LockedKeyring, "get_password", MemoryKeyring.get_password)
    with monkeypatch.context() as full, caplog.at_level(logging.WARNING):
        full.setattr("kubeez_mcp_local.hosted.tokens.replace_file", _full)
        renewed = bare(await tokens.token())
        assert bare(await tokens.token()) == renewed != kept.access_token
    assert "No space left on device" in caplog.text
    house.now += LIFE
    again = bare(await tokens.token())
    assert again in house.authority.access
    assert again != renewed
    file = Store(None).file(house.mark.account)
    assert json.loads(file.read_text())["access_token"] == again, "a file takes what the keyring does not"
    assert bare(await house.tokens().token()) == again, "and goes before the keyring"
    assert not any(secret in caplog.text for secret in house.authority.secret)


def _full(target: object, content: str) -> None:
    raise OSError(28, "No space left on device", str(target))


async def test_a_sign_in_that_the_server_has_ended_is_explained_once_and_not_asked_for_again(house: House) -> None:
    kept, tokens = await house.keep(), house.tokens()
    house.authority.refresh.clear()
    house.now = NOW + LIFE
    for _ in range(3):
        with pytest.raises(UnauthorizedError, match="has ended") as refusal:
            await tokens.token()
        assert "Run `kubeez-mcp-local login --hosted`." in str(refusal.value)
        assert refusal.value.code == "signed_out"
        assert kept.access_token not in str(refusal.value)
    assert house.authority.count("POST /token") == 1
    newer = await house.keep(obtained_at=house.now, expires_at=house.now + LIFE)
    assert bare(await tokens.token()) == newer.access_token, "somebody has signed in again meanwhile"


async def test_what_cannot_be_refreshed_now_lasts_as_long_as_it_lasts(house: House) -> None:
    kept, tokens = await house.keep(), house.tokens()
    house.authority.overrides["/token"] = (503, {"error": "temporarily_unavailable"})
    house.now = NOW + LIFE - 30
    assert bare(await tokens.token()) == kept.access_token
    with pytest.raises(UnavailableError, match=r"could not be refreshed.*answered 503"):
        await tokens.refused(SecretStr(kept.access_token))
    house.now = NOW + LIFE
    with pytest.raises(UnavailableError):
        await tokens.token()
    house.authority.overrides.clear()
    assert bare(await tokens.token()) in house.authority.access


async def test_what_the_authority_says_back_is_masked(house: House) -> None:
    kept = await house.keep()
    house.authority.echoes = True
    house.now = NOW + LIFE
    with pytest.raises(UnavailableError, match="invalid_grant: … with None") as refusal:
        await house.tokens().token()
    assert str(kept.refresh_token) not in str(refusal.value)


async def test_an_authority_that_is_not_there_is_not_the_end(house: House) -> None:
    kept = await house.keep(token_endpoint="http://127.0.0.1:9/token")
    house.now = NOW + LIFE
    with pytest.raises(UnreachableError, match=r"No connection to http://127\.0\.0\.1:9"):
        await house.tokens().token()
    assert kept.refresh_token in house.authority.refresh


async def test_a_sign_in_without_a_refresh_token_ends_with_its_access_token(house: House) -> None:
    house.authority.token["refresh_token"] = None
    await house.keep()
    house.now = NOW + LIFE
    with pytest.raises(UnauthorizedError, match="gave nothing to refresh it by"):
        await house.tokens().token()


async def test_a_server_that_keeps_its_refresh_token_and_its_silence_on_scopes_is_understood(
    house: House, ring: MemoryKeyring
) -> None:
    kept = await house.keep()
    house.authority.token |= {"refresh_token": None, "scope": None, "expires_in": None}
    house.now = NOW + LIFE
    await house.tokens().token()
    found = kept_in(ring, house)
    assert found is not None
    assert (found.refresh_token, found.scopes, found.expires_at) == (kept.refresh_token, kept.scopes, None)


@pytest.mark.parametrize("there", ["", "{}", "no json", '{"account": "hosted-ffffffffffffffff"}'])
async def test_a_sign_in_that_is_gone_or_unreadable_is_told(house: House, ring: MemoryKeyring, there: str) -> None:
    ring.kept[APP, house.mark.account] = there
    with pytest.raises(UnauthorizedError, match="is not kept here any more") as refusal:
        await house.tokens().token()
    assert "login --hosted" in str(refusal.value)


async def test_a_token_that_was_given_is_used_as_it_is_until_it_is_refused() -> None:
    settings = Settings(mcp_token=SecretStr("a-token-of-mine"))
    given = tokens_of(settings)
    assert isinstance(given, GivenToken)
    assert bare(await given.token()) == "a-token-of-mine"
    with pytest.raises(UnauthorizedError, match="does not accept the token in KUBEEZ_MCP_TOKEN") as refusal:
        await given.refused(SecretStr("a-token-of-mine"))
    assert "a-token-of-mine" not in str(refusal.value)
    assert "login --hosted" in str(refusal.value)
    assert account_of(settings) == named("a-token-of-mine", DEFAULT_MCP_URL)
    assert account_of(settings) != account_of(Settings(mcp_token=SecretStr("another-token")))
    assert account_of(Settings()) == ""


def test_a_web_token_says_whose_it_is_and_others_say_nothing() -> None:
    assert subject_of(web_token(sub="ana")) == "ana"
    assert end_of(web_token(exp=1_900_000_000)) == 1_900_000_000
    for other in ("", "a.b.c", "opaque", web_token(), web_token(sub=7), web_token(exp="soon"), "..", "a.W10.c"):
        assert subject_of(other) is None
        assert end_of(other) is None


async def test_jobs_of_earlier_runs_wait_for_a_keyring_to_be_needed_and_not_for_a_file(
    house: House, tmp_path: Path
) -> None:
    settings = Settings(hosted_login=house.mark, mcp_url=house.authority.mcp, state_dir=tmp_path / "state")
    [door] = Bridge(settings).doors.values()
    kept = await house.keep()
    assert door.waits_for_a_person
    await Store(Keyring()).write(kept, in_file=True)
    assert not door.waits_for_a_person
