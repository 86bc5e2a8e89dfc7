"""Signing in at the hosted door: by the SDK's own OAuth client, and step by step."""

from __future__ import annotations

import base64
import hashlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.auth import OAuthClientProvider, OAuthFlowError, OAuthRegistrationError, TokenStorage
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from tests.hosted_standin import BACK, Person, official_client, said
from tests.sandbox_server import KEY, TRUSTS_NOBODY, RunningSandbox, running_sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

SCOPES = ["generate:media", "generate:music", "generate:speech", "generate:ads", "read:balance", "read:generations"]
PICTURE = {"prompt": "a red kettle", "model": "nano-banana-2"}
VERIFIER = "a verifier of at least forty-three characters, of course"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")


@dataclass
class Kept(TokenStorage):
    """What a client remembers, in memory."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


@dataclass
class Official:
    """The SDK's OAuth client, with a person at its browser."""

    url: str
    person: Person = field(default_factory=Person)
    kept: Kept = field(default_factory=Kept)
    answer: dict[str, str] = field(default_factory=dict)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[Client, OAuthClientProvider]]:
        about = OAuthClientMetadata(client_name="A <test>", redirect_uris=[AnyUrl(BACK)], scope=" ".join(SCOPES))
        auth = OAuthClientProvider(f"{self.url}/mcp", about, self.kept, self._open, self._came_back)
        async with (
            httpx2.AsyncClient(auth=auth, verify=TRUSTS_NOBODY, trust_env=False, timeout=30) as http,
            Client(streamable_http_client(f"{self.url}/mcp", http_client=http)) as client,
        ):
            yield client, auth

    async def use(self, *calls: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
        async with self.connected() as (client, _):
            return [await said(client, tool, **arguments) for tool, arguments in calls]

    async def _open(self, address: str) -> None:
        self.answer = self.person.asked(address)

    async def _came_back(self) -> AuthorizationCodeResult:
        return AuthorizationCodeResult.model_validate({"code": "", **self.answer})


@dataclass
class ByHand:
    """A public client that does one step after the other."""

    http: httpx.Client
    client_id: str = ""

    def register(self) -> ByHand:
        about = {"redirect_uris": [BACK], "token_endpoint_auth_method": "none", "client_name": "By hand"}
        self.client_id = self.http.post("/register", json=about).json()["client_id"]
        return self

    def address(self, **more: str) -> str:
        asked = {"response_type": "code", "client_id": self.client_id, "redirect_uri": BACK, "state": "s"}
        asked |= {"code_challenge": CHALLENGE, "code_challenge_method": "S256", **more}
        return str(self.http.base_url.join("/authorize").copy_merge_params(asked))

    def exchange(self, code: str, verifier: str = VERIFIER) -> httpx.Response:
        sent = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK, "code_verifier": verifier}
        return self.http.post("/token", data={**sent, "client_id": self.client_id})

    def signed_in(self, person: Person | None = None) -> dict[str, Any]:
        tokens: dict[str, Any] = self.exchange((person or Person()).asked(self.address())["code"]).json()
        return tokens

    def refresh(self, token: str, **more: str) -> httpx.Response:
        sent = {"grant_type": "refresh_token", "refresh_token": token, "client_id": self.client_id, **more}
        return self.http.post("/token", data=sent)

    def status(self, token: str) -> int:
        """Of a request to the tools."""
        return self.http.get("/mcp", headers={"Authorization": f"Bearer {token}", "Accept": "none"}).status_code


LET_IN = 406
"""What comes of `ByHand.status` for a valid token: the transport dislikes what is accepted."""


@pytest.fixture
def by_hand(sandbox: RunningSandbox) -> ByHand:
    return ByHand(sandbox.client(key=None)).register()


@pytest.mark.anyio
async def test_the_official_client_signs_in_and_comes_back_without_asking(sandbox: RunningSandbox) -> None:
    official = Official(sandbox.url)
    started, balance = await official.use(("generate_media", PICTURE), ("get_balance", {}))
    assert started["status"] == "pending"
    assert balance["credits"] < 10_000
    assert official.kept.tokens is not None
    assert (official.kept.tokens.scope or "").split() == SCOPES, "this client asks for all that there are"
    assert official.kept.tokens.expires_in == 3600
    assert official.answer["iss"] == sandbox.url
    assert "A &lt;test&gt;" in official.person.page
    official.person.answer = "deny"
    assert (await official.use(("get_balance", {})))[0] == balance


@pytest.mark.anyio
async def test_an_expired_token_is_refreshed_by_the_official_client(sandbox: RunningSandbox) -> None:
    async with Official(sandbox.url).connected() as (client, auth):
        before = await said(client, "get_balance")
        sandbox.control.token(expires_in=0)
        auth.context.token_expiry_time = 1  # long ago
        assert await said(client, "get_balance") == before
    calls = sandbox.control.books()["calls"]
    assert (calls["POST /token"], calls["GET /authorize"]) == (2, 1)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("other_issuer", "issuer mismatch"),
        ("other_issuer_in_answer", "iss"),
        ("other_resource", "does not match"),
    ],
)
async def test_the_official_client_notices_metadata_of_others(sandbox: RunningSandbox, fault: str, error: str) -> None:
    sandbox.control.knobs(oauth=fault)
    with pytest.RaisesGroup(
        pytest.RaisesExc(OAuthFlowError, match=error), flatten_subgroups=True, allow_unwrapped=True
    ):
        await Official(sandbox.url).use(("get_balance", {}))


@pytest.mark.anyio
async def test_registration_can_be_missing(sandbox: RunningSandbox) -> None:
    sandbox.control.knobs(oauth="no_registration")
    with pytest.RaisesGroup(OAuthRegistrationError, flatten_subgroups=True, allow_unwrapped=True):
        await Official(sandbox.url).use(("get_balance", {}))


@pytest.mark.anyio
async def test_the_person_chooses_scopes_and_account(sandbox: RunningSandbox) -> None:
    mine = sandbox.control.key(KEY)["account"]
    other = sandbox.control.key("sk_live_other", credits=3)["account"]
    official = Official(sandbox.url, Person(["read:balance"], account=other))
    assert (await official.use(("get_balance", {})))[0]["credits"] == 3
    assert official.kept.tokens is not None
    assert official.kept.tokens.scope == "read:balance"
    async with official_client(sandbox.url, official.kept.tokens.access_token) as client:
        with pytest.raises(MCPError):
            await client.call_tool("generate_media", PICTURE)
    official = Official(sandbox.url)
    await official.use(("generate_media", PICTURE))
    assert {page["account"]: len(page["jobs"]) for page in sandbox.control.books()["accounts"]} == {mine: 1, other: 0}


def test_a_no_comes_back_as_such(by_hand: ByHand) -> None:
    for person in (Person(answer="deny"), Person(scopes=[])):
        answer = person.asked(by_hand.address())
        assert (answer["error"], answer["state"]) == ("access_denied", "s")


def test_a_question_is_answered_once(by_hand: ByHand) -> None:
    page = by_hand.http.get(by_hand.address(), follow_redirects=True).url
    request = page.params["request"]
    sent = {"request": request, "answer": "allow", "scope": SCOPES}
    assert by_hand.http.post(page, data=sent).status_code == 302
    assert by_hand.http.post(page, data=sent).status_code == 410
    assert by_hand.http.get(page).status_code == 410
    assert by_hand.http.get("/authorize/consent?request=nobody's").status_code == 410


def test_a_page_of_another_site_cannot_answer(by_hand: ByHand) -> None:
    page = by_hand.http.get(by_hand.address(), follow_redirects=True)
    assert "form-action 'self' http://127.0.0.1:9;" in page.headers["content-security-policy"]
    sent = {"request": page.url.params["request"], "answer": "allow", "scope": SCOPES}
    foreign = by_hand.http.post(page.url, data=sent, headers={"Origin": "https://evil.example"})
    assert foreign.status_code == 403
    assert by_hand.http.post(page.url, data=sent).status_code == 302


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"scope": "read:everything"}, "invalid_scope"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"resource": "https://elsewhere.example/api"}, "invalid_target"),
    ],
)
def test_a_bad_request_goes_back_to_the_client(by_hand: ByHand, more: dict[str, str], error: str) -> None:
    back = by_hand.http.get(by_hand.address(**more))
    assert back.headers["location"].startswith(f"{BACK}?error={error}")


def test_nobody_is_sent_to_an_address_that_was_not_registered(by_hand: ByHand) -> None:
    for more in ({"redirect_uri": "https://evil.example"}, {"client_id": "nobody"}):
        assert by_hand.http.get(by_hand.address(**more)).status_code == 400


def test_a_code_works_once_and_with_its_verifier_only(by_hand: ByHand) -> None:
    code = Person().asked(by_hand.address())["code"]
    assert by_hand.exchange(code, "another verifier of forty-three characters!").json()["error"] == "invalid_grant"
    tokens = by_hand.exchange(code).json()
    assert by_hand.status(tokens["access_token"]) == LET_IN
    assert by_hand.exchange(code).json()["error"] == "invalid_grant"
    assert by_hand.status(tokens["access_token"]) == 401, "what a stolen code gave is taken back"


def test_a_refresh_rotates_and_a_second_use_takes_all_back(by_hand: ByHand) -> None:
    first = by_hand.signed_in()
    second = by_hand.refresh(first["refresh_token"]).json()
    assert by_hand.status(first["access_token"]) == by_hand.status(second["access_token"]) == LET_IN
    assert by_hand.refresh(first["refresh_token"]).json()["error"] == "invalid_grant"
    assert by_hand.status(second["access_token"]) == 401
    assert by_hand.refresh(second["refresh_token"]).json()["error"] == "invalid_grant"


def test_a_refresh_token_may_also_stay(by_hand: ByHand, sandbox: RunningSandbox) -> None:
    first = by_hand.signed_in()
    sandbox.control.knobs(refresh_tokens="stay")
    for _ in range(2):
        again = by_hand.refresh(first["refresh_token"]).json()
        assert "refresh_token" not in again
        assert by_hand.status(again["access_token"]) == LET_IN


def test_a_refresh_can_narrow_the_scopes_and_not_widen_them(by_hand: ByHand) -> None:
    first = by_hand.signed_in(Person(scopes=["read:balance", "read:generations"]))
    narrow = by_hand.refresh(first["refresh_token"], scope="read:balance").json()
    assert narrow["scope"] == "read:balance"
    assert by_hand.refresh(narrow["refresh_token"]).json()["scope"] == "read:balance read:generations"
    wider = by_hand.refresh(by_hand.signed_in(Person(scopes=["read:balance"]))["refresh_token"], scope="generate:ads")
    assert wider.json()["error"] == "invalid_scope"


def test_tokens_end_by_the_clock(tmp_path: Path) -> None:
    now = [1_000_000.0]
    with running_sandbox(tmp_path, clock=lambda: now[0], hosted=True, token_seconds=60) as sandbox:
        by_hand = ByHand(sandbox.client(key=None)).register()
        tokens = by_hand.signed_in()
        assert tokens["expires_in"] == 60
        assert by_hand.status(tokens["access_token"]) == LET_IN
        now[0] += 60
        assert by_hand.status(tokens["access_token"]) == 401
        assert by_hand.status(by_hand.refresh(tokens["refresh_token"]).json()["access_token"]) == LET_IN


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
def test_revoking_either_token_takes_both_back(by_hand: ByHand, which: str) -> None:
    tokens = by_hand.signed_in()
    sent = {"token": tokens[which], "client_id": by_hand.client_id, "client_secret": ""}
    assert by_hand.http.post("/revoke", data=sent).status_code == 200
    assert by_hand.status(tokens["access_token"]) == 401
    assert by_hand.refresh(tokens["refresh_token"]).status_code == 400
    assert by_hand.http.post("/revoke", data={**sent, "token": "nobody's"}).status_code == 200


def test_the_controls_end_and_revoke_sign_ins(by_hand: ByHand, sandbox: RunningSandbox) -> None:
    tokens = by_hand.signed_in()
    sandbox.control.token(expires_in=0)
    assert by_hand.status(tokens["access_token"]) == 401
    again = by_hand.refresh(tokens["refresh_token"]).json()
    assert by_hand.status(again["access_token"]) == LET_IN
    sandbox.control.token(revoked=True)
    assert by_hand.status(again["access_token"]) == 401
    assert by_hand.refresh(again["refresh_token"]).status_code == 400


def test_a_sign_in_outlives_a_restart(tmp_path: Path) -> None:
    with running_sandbox(tmp_path, hosted=True) as sandbox:
        by_hand = ByHand(sandbox.client(key=None)).register()
        tokens = by_hand.signed_in()
    with running_sandbox(tmp_path, hosted=True) as sandbox:
        after = ByHand(sandbox.client(key=None), by_hand.client_id)
        assert after.status(tokens["access_token"]) == LET_IN
        assert after.status(after.refresh(tokens["refresh_token"]).json()["access_token"]) == LET_IN


def test_metadata_says_where_everything_is_and_can_be_missing(sandbox: RunningSandbox) -> None:
    with sandbox.client(key=None) as http:
        resource = http.get("/.well-known/oauth-protected-resource/mcp").json()
        assert (resource["resource"], resource["authorization_servers"]) == (f"{sandbox.url}/mcp", [sandbox.url])
        about = http.get("/.well-known/oauth-authorization-server").json()
        assert (about["issuer"], about["code_challenge_methods_supported"]) == (sandbox.url, ["S256"])
        assert about["revocation_endpoint"] == f"{sandbox.url}/revoke"
        sandbox.control.knobs(oauth="no_revocation")
        assert "revocation_endpoint" not in http.get("/.well-known/oauth-authorization-server").json()
        assert http.post("/revoke").status_code == 404
        sandbox.control.knobs(oauth="none")
        assert http.get("/.well-known/oauth-protected-resource/mcp").status_code == 404
        assert http.post("/register", json={}).status_code == 404
