"""The key page: what is typed there is kept, said to be kept, and seen by nobody else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import httpx
import pytest

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.web.key_page import LIFETIME_SECONDS, KeyPage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.web.conftest import Chromium

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("chromium")]

KEY = "sk_live_canary"


@dataclass
class Program:
    """Behind the page: keeps one key, and refuses every other."""

    kept: list[str] = field(default_factory=list)
    now: float = 1_000_000.0

    async def keep(self, typed: str) -> str:
        if typed != KEY:
            raise KubeezError("The API does not accept <this> key.", next_step="Copy it again.")
        self.kept.append(typed)
        return "It is in the keyring. Go back to your assistant & try again."


@pytest.fixture
def program() -> Program:
    return Program()


@pytest.fixture
async def page(program: Program) -> AsyncIterator[KeyPage]:
    async with anyio.create_task_group() as tasks:
        yield KeyPage(program.keep, tasks.start_soon, clock=lambda: program.now)
        tasks.cancel_scope.cancel()


@pytest.fixture
async def browser() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=60) as client:
        yield client


def origin_of(url: str) -> str:
    return url.partition("/key/")[0]


async def sent(browser: httpx.AsyncClient, url: str, key: str, **headers: str) -> httpx.Response:
    named = {"Origin": origin_of(url), **headers}
    return await browser.post(url, data={"key": key}, headers=named, follow_redirects=True)


async def test_a_person_types_the_key_into_a_browser_and_is_told_where_it_is(
    page: KeyPage, program: Program, chromium: Chromium
) -> None:
    request = page.open()

    def act() -> None:
        chromium.open(request.url)
        assert chromium.evaluate("document.activeElement.type") == "password"
        for typed in ("sk_live_wrong", KEY):
            chromium.evaluate(f"document.querySelector('#key').value = '{typed}'")
            chromium.click("button")
            chromium.wait_for("document.querySelector('[role=status]') !== null")
            chromium.wait_for("!document.querySelector('#key') || document.querySelector('#key').value === ''")
        chromium.wait_for("document.body.innerText.includes('keyring. Go back')")
        assert "Your key is kept" in chromium.text()
        assert chromium.evaluate("location.href") == request.url
        assert chromium.evaluate("document.documentElement.outerHTML.includes('sk_live')") is False
        assert chromium.complaints() == []
        assert chromium.requested() == {origin_of(request.url).removeprefix("http://")}

    with anyio.fail_after(60):
        await anyio.to_thread.run_sync(act)
    assert program.kept == [KEY]
    assert request.kept.is_set()


async def test_a_key_that_is_refused_is_explained_and_may_be_typed_again(
    page: KeyPage, program: Program, browser: httpx.AsyncClient
) -> None:
    request = page.open()
    answer = await sent(browser, request.url, "sk_live_wrong")
    assert answer.status_code == 200
    assert "The API does not accept &lt;this&gt; key. Copy it again." in answer.text
    assert 'type="password"' in answer.text
    assert "sk_live" not in answer.text + str(answer.url)
    assert not request.kept.is_set()
    assert page.open() is request
    assert "try again" in (await sent(browser, request.url, KEY)).text
    again = await sent(browser, request.url, KEY)
    assert 'type="password"' not in again.text
    assert program.kept == [KEY]
    assert page.open() is not request


async def test_the_page_runs_nothing_and_stays_out_of_frames_caches_and_addresses(
    page: KeyPage, browser: httpx.AsyncClient
) -> None:
    answer = await browser.get(page.open().url)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self'" in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert "<script" not in answer.text
    assert 'method="post"' in answer.text


async def test_only_the_page_itself_may_send_a_key(page: KeyPage, program: Program, browser: httpx.AsyncClient) -> None:
    url = page.open().url
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}):
        assert (await sent(browser, url, KEY, **headers)).status_code == 403
    assert (await browser.post(url, data={"key": KEY})).status_code == 403
    wrong = f"{origin_of(url)}/key/{'x' * 43}"
    assert (await sent(browser, wrong, KEY)).status_code == 404
    assert (await browser.post(url, content=b"key=" + b"a" * 20_000, headers={"Origin": origin_of(url)})).is_error
    assert program.kept == []


async def test_a_link_is_over_after_a_quarter_of_an_hour(
    page: KeyPage, program: Program, browser: httpx.AsyncClient
) -> None:
    request = page.open()
    assert (await browser.get(request.url)).is_success
    program.now += LIFETIME_SECONDS
    answer = await sent(browser, request.url, KEY)
    assert (answer.status_code, program.kept) == (404, [])
    assert "This link is over" in answer.text
    assert page.open() is not request
