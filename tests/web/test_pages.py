"""The site of pages: who may look, what a browser is told, and that it ends with the program."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx
import pytest
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.web.gallery import SCRIPTS, STYLES
from kubeez_mcp_local.web.pages import KEY_HEADER, Page, Pages, Seal, as_events, files_of, markup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from starlette.requests import Request

pytestmark = pytest.mark.anyio


async def _secret(_: Request) -> JSONResponse:
    return JSONResponse({"secret": "fox"})


async def _failing(_: Request) -> JSONResponse:
    raise KubeezError("It broke.", next_step="Mend it.", code="broken")


async def _endless(_: Request) -> StreamingResponse:
    async def values() -> AsyncIterator[str]:
        yield "begun"
        await anyio.sleep_forever()

    return StreamingResponse(values())


async def _sealed(_: Request) -> PlainTextResponse:
    return PlainTextResponse("seen")


FIRST = Page(
    "gallery",
    "Gallery",
    scripts=SCRIPTS,
    styles=STYLES,
    data=[Route("/gallery/secret", _secret), Route("/gallery/failing", _failing)],
    files=[Route("/one", _sealed), Route("/endless", _endless)],
)


@pytest.fixture
async def pages() -> AsyncIterator[Pages]:
    async with anyio.create_task_group() as tasks:
        yield Pages([FIRST], start=tasks.start_soon)
        tasks.cancel_scope.cancel()


@pytest.fixture
async def browser(pages: Pages) -> AsyncIterator[httpx.AsyncClient]:
    address = urlsplit(pages.address("gallery"))
    async with httpx.AsyncClient(
        trust_env=False, verify=False, timeout=60, base_url=f"http://{address.netloc}"
    ) as client:
        yield client


async def test_the_key_stands_only_where_no_server_sees_it(pages: Pages) -> None:
    address = urlsplit(pages.address("gallery", run="ad 1"))

    assert (address.hostname, address.path, address.query) == ("127.0.0.1", "/gallery", "")
    assert parse_qs(address.fragment) == {"key": [pages.key], "run": ["ad 1"]}
    assert pages.key not in repr(pages)


async def test_data_is_for_whoever_has_the_key(pages: Pages, browser: httpx.AsyncClient) -> None:
    for given in ({}, {KEY_HEADER: ""}, {KEY_HEADER: pages.key[:-1]}, {KEY_HEADER: f"{pages.key}x"}):
        refused = await browser.get("/api/gallery/secret", headers=given)
        assert refused.status_code == 401
        assert "fox" not in refused.text
    for elsewhere in (f"/api/gallery/secret?key={pages.key}", f"/api/gallery/secret?{KEY_HEADER}={pages.key}"):
        assert (await browser.get(elsewhere)).status_code == 401
    assert (await browser.get("/api/gallery/secret", headers={KEY_HEADER: pages.key})).json() == {"secret": "fox"}


async def test_the_page_itself_holds_nothing_of_anybody(pages: Pages, browser: httpx.AsyncClient) -> None:
    page = await browser.get("/gallery")

    assert page.status_code == 200
    assert pages.key not in page.text
    assert "<script>" not in page.text
    assert " style=" not in page.text
    for name in files_of(FIRST):
        assert (await browser.get(f"/static/{name}")).status_code == 200
    for other in ("upload.js", "page.html", "..%2fpages.py", "../pages.py"):
        assert (await browser.get(f"/static/{other}")).status_code == 404


async def test_every_answer_carries_the_strict_policy(browser: httpx.AsyncClient) -> None:
    for path in ("/gallery", "/static/pages.js", "/api/gallery/secret", "/nowhere"):
        policy = (await browser.get(path)).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


async def test_other_sites_and_other_names_are_turned_away(pages: Pages, browser: httpx.AsyncClient) -> None:
    for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        for path in ("/gallery", "/api/gallery/secret", "/media/one"):
            answer = await browser.get(path, headers={**headers, KEY_HEADER: pages.key})
            assert answer.status_code == 403
    assert (await browser.get("/media/one")).text == "seen"


async def test_what_fails_behind_the_page_is_said_in_words(pages: Pages, browser: httpx.AsyncClient) -> None:
    answer = await browser.get("/api/gallery/failing", headers={KEY_HEADER: pages.key})

    assert answer.status_code == 422
    assert answer.json() == {"error": "broken", "message": "It broke.", "next_step": "Mend it."}


async def test_it_ends_with_the_program_and_says_nothing_of_who_was_looking(caplog: pytest.LogCaptureFixture) -> None:
    async with anyio.create_task_group() as tasks:
        pages = Pages([FIRST], start=tasks.start_soon)
        first, second = pages.address("gallery"), pages.address("gallery")
        assert first == second
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:
            assert (await client.get(first)).status_code == 200
        looking = await anyio.connect_tcp("127.0.0.1", port := urlsplit(first).port or 0)
        await looking.send(f"GET /media/endless HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        while b"begun" not in await looking.receive():
            pass
        tasks.cancel_scope.cancel()
    await looking.aclose()
    with anyio.fail_after(60):
        await pages.ended()
    with pytest.raises(OSError, match="connect"):
        await anyio.connect_tcp("127.0.0.1", port)
    assert [record for record in caplog.records if record.levelname in ("ERROR", "WARNING")] == []


def test_pages_lead_to_one_another() -> None:
    other = Page("gallery", "Second & last")

    assert "<nav" not in markup(FIRST, [FIRST])
    both = markup(FIRST, [FIRST, other])
    assert both.count('aria-current="page"') == 1
    assert "Second &amp; last" in both


def test_a_seal_is_for_one_thing_only() -> None:
    seal = Seal()

    assert seal.fits(seal.of("file", "job", 1), "file", "job", 1)
    assert not seal.fits(seal.of("file", "job", 1), "file", "job", 2)
    assert not seal.fits(seal.of("file", "job", 11), "file", "job1", 1)
    assert not seal.fits(Seal().of("file", "job", 1), "file", "job", 1)
    assert not seal.fits("ä", "file", "job", 1)


async def test_events_are_lines_of_json() -> None:
    async def values() -> AsyncIterator[Mapping[str, object]]:
        yield {"words": "two\n\nlines"}

    assert [event async for event in as_events(values())] == ['data: {"words": "two\\n\\nlines"}\n\n']
