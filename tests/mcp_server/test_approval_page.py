"""Where a client can only open links, the question before spending stands on a page, and only its answer counts."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from mcp import Client, ClientSession
from mcp.types import (
    ElicitationCapability,
    ElicitCompleteNotification,
    ElicitRequestFormParams,
    ElicitRequestURLParams,
    ElicitResult,
    FormElicitationCapability,
    UrlElicitationCapability,
)

from kubeez_mcp_local.bridge import Bridge
from kubeez_mcp_local.mcp_server import call
from kubeez_mcp_local.mcp_server.server import KubeezServer
from kubeez_mcp_local.settings import load_settings
from tests.mcp_server.driving import picture
from tests.mcp_server.test_consent import PICTURE, charges, facts, live, refused_and_paid_in_words, with_a_lost_answer
from tests.sandbox_server import KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mcp.types import ClientCapabilities, ElicitRequestParams

    from tests.sandbox_server import RunningSandbox

pytestmark = pytest.mark.anyio
ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])
LINKS = ElicitationCapability(url=UrlElicitationCapability())
GONE = 410


@pytest.fixture
def api(api: RunningSandbox) -> RunningSandbox:
    api.control.reset()
    api.control.key(KEY, credits=1000)
    return api


@dataclass
class Person:
    """Sits before a client that opens links, and before the browser that shows them.

    Attributes:
        opens: What the client says of the link.
        answers: What is pressed on the page; empty for nothing.
        looks: Whether the browser shows the page at all.
        links: The links that came.
        forms: The forms that came.
        saw: What the pages said.
        completed: Links that were said to be done with.
    """

    opens: Any = "accept"
    answers: str = "yes"
    looks: bool = True
    links: list[ElicitRequestURLParams] = field(default_factory=list)
    forms: list[ElicitRequestFormParams] = field(default_factory=list)
    saw: list[dict[str, Any]] = field(default_factory=list)
    completed: list[str] = field(default_factory=list)

    async def asked(self, context: Any, params: ElicitRequestParams) -> ElicitResult:
        if isinstance(params, ElicitRequestFormParams):
            self.forms.append(params)
            return ElicitResult(action="accept", content={"spend": True})
        self.links.append(params)
        if self.opens == "accept" and self.looks:
            self.saw.append((await got(f"{params.url}/state")).json())
            if self.answers:
                assert (await answered(params.url, self.answers)).status_code == 200
        return ElicitResult(action=self.opens)

    async def told(self, message: Any) -> None:
        if isinstance(message, ElicitCompleteNotification):
            self.completed.append(message.params.elicitation_id)

    @asynccontextmanager
    async def at(self, folder: Path, api: RunningSandbox, mode: str, **settings: str) -> AsyncIterator[Client]:
        """A client of a fresh server on `api`."""
        loaded = load_settings(environ=live(folder, api) | settings, working_dir=folder)
        async with Client(
            KubeezServer(Bridge(loaded)), mode=mode, elicitation_callback=self.asked, message_handler=self.told
        ) as client:
            yield client


@pytest.fixture(autouse=True)
def _opens_only_links(monkeypatch: pytest.MonkeyPatch) -> None:
    able_to(monkeypatch, LINKS)


def able_to(monkeypatch: pytest.MonkeyPatch, ask: ElicitationCapability) -> None:
    """Have clients say that they can ask so."""
    build = ClientSession._build_capabilities

    def capabilities(session: ClientSession, version: str) -> ClientCapabilities:
        return build(session, version).model_copy(update={"elicitation": ask})

    monkeypatch.setattr(ClientSession, "_build_capabilities", capabilities)


async def got(url: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, verify=False) as browser:
        return await browser.get(url)


async def answered(url: str, answer: str, **more: Any) -> httpx.Response:
    headers = {"Origin": "/".join(url.split("/")[:3]), "Sec-Fetch-Site": "same-origin"}
    async with httpx.AsyncClient(trust_env=False, verify=False) as browser:
        return await browser.post(url, json={"answer": answer, **more}, headers=headers)


@ERAS
async def test_yes_on_the_page_is_the_one_yes(tmp_path: Path, api: RunningSandbox, mode: str) -> None:
    person = Person()
    async with person.at(tmp_path, api, mode) as client:
        assert facts(await client.call_tool("generate_media", PICTURE))["generation_id"]
        [link] = person.links
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/ask/[\w-]{43}", link.url)
        assert "4 credits" in link.message
        assert "kite" not in link.message
        assert (await got(f"{link.url}/state")).status_code == GONE  # a yes is used once
    [page] = person.saw
    assert (page["title"], page["yes"], page["prompt"]) == ("Pay 4 credits?", "Yes, pay 4 credits", "a kite")
    assert page["lines"][0] == "Make an image or video: z-image for 4 credits."
    assert "Balance afterwards: 996 credits." in page["lines"]
    assert person.completed == ([link.elicitation_id] if mode == "legacy" else [])
    assert (link.elicitation_id is None) == (mode == "auto")
    assert charges(api) == 1


@ERAS
async def test_opening_the_link_is_no_yes(
    tmp_path: Path, api: RunningSandbox, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that says "accept" and shows nothing leaves the user a way, in words."""
    monkeypatch.setattr(call, "PAGE_SECONDS", 0)
    person = Person(looks=False)
    async with person.at(tmp_path, api, mode) as client:
        message = await refused_and_paid_in_words(client, api)
        assert message.startswith("The page with the question was not opened. Nothing was sent.")


@ERAS
async def test_an_answer_that_comes_after_the_call_counts_for_the_same_call_and_no_other(
    tmp_path: Path, api: RunningSandbox, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call, "PAGE_SECONDS", 0)
    person = Person(answers="")
    async with person.at(tmp_path, api, mode) as client:
        error = facts(await client.call_tool("generate_media", PICTURE))["error"]
        assert (error["code"], error["credits_spent"]) == ("consent_pending", False)
        assert "call again with exactly the same arguments" in error["next_step"]
        link = person.links[0]
        assert link.url not in str(error)  # whoever runs commands could answer there
        assert (await answered(link.url, "yes")).json()["waited_for"] is False
        other = facts(await client.call_tool("generate_media", {**PICTURE, "prompt": "a castle"}))["error"]
        assert other["code"] == "consent_pending"
        assert person.links[1].url != link.url
        assert charges(api) == 0
        assert facts(await client.call_tool("generate_media", PICTURE))["generation_id"]
    assert len(person.links) == 2
    assert charges(api) == 1


@ERAS
async def test_a_call_waits_for_the_page_with_a_word_now_and_then(
    tmp_path: Path, api: RunningSandbox, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call.PAGE_SECONDS < call.LONGEST_CALL - 10  # what is left is for the request
    monkeypatch.setattr(call, "HEARTBEAT_SECONDS", 0.01)
    person, heard = Person(answers=""), anyio.Event()
    said: list[dict[str, Any]] = []

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        assert message == "Waiting for the answer on the page"
        heard.set()

    async def press() -> None:
        await heard.wait()
        said.append((await answered(person.links[0].url, "yes")).json())

    async with person.at(tmp_path, api, mode) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(press)
        paid = await client.call_tool("generate_media", PICTURE, progress_callback=progress)
        assert facts(paid)["generation_id"]
    assert said[0]["waited_for"] is True


@ERAS
async def test_no_is_a_no_wherever_it_is_said(tmp_path: Path, api: RunningSandbox, mode: str) -> None:
    for person in (Person(answers="no"), Person(opens="decline")):
        async with person.at(tmp_path, api, mode) as client:
            error = facts(await client.call_tool("generate_media", PICTURE))["error"]
            assert (error["code"], error["credits_spent"]) == ("declined", False)
            assert (await got(f"{person.links[0].url}/state")).status_code == GONE
            assert (await answered(person.links[0].url, "yes")).status_code == GONE
    assert charges(api) == 0


@ERAS
@pytest.mark.parametrize("said", ["decline", "cancel"])
async def test_a_no_in_the_client_undoes_a_yes_on_the_page(
    tmp_path: Path, api: RunningSandbox, mode: str, said: str
) -> None:
    class InTwoMinds(Person):
        async def asked(self, context: Any, params: ElicitRequestParams) -> ElicitResult:
            await super().asked(context, params)
            return ElicitResult(action=said)

    async with (person := InTwoMinds()).at(tmp_path, api, mode) as client:
        assert facts(await client.call_tool("generate_media", PICTURE))["error"]["credits_spent"] is False
        assert (await got(f"{person.links[0].url}/state")).status_code == GONE
    assert charges(api) == 0


async def test_a_link_that_is_over_when_the_client_comes_back_is_given_anew(
    tmp_path: Path, api: RunningSandbox
) -> None:
    """The server was restarted, say, while the person looked at its page."""

    class Late(Person):
        async def asked(self, context: Any, params: ElicitRequestParams) -> ElicitResult:
            if not self.links:
                assert isinstance(params, ElicitRequestURLParams)
                del bridge.approvals
                self.links.append(params)
                return ElicitResult(action="accept")
            return await super().asked(context, params)

    person, bridge = Late(), Bridge(load_settings(environ=live(tmp_path, api), working_dir=tmp_path))
    async with Client(KubeezServer(bridge), elicitation_callback=person.asked) as client:
        assert facts(await client.call_tool("generate_media", PICTURE))["generation_id"]
    assert (len({link.url for link in person.links}), charges(api)) == (2, 1)


@ERAS
@pytest.mark.parametrize("answers", ["yes", "no"])
async def test_one_answer_serves_one_of_several_equal_calls_and_the_others_are_told_to_come_again(
    tmp_path: Path, api: RunningSandbox, mode: str, answers: str
) -> None:
    class Slow(Person):
        async def asked(self, context: Any, params: ElicitRequestParams) -> ElicitResult:
            assert isinstance(params, ElicitRequestURLParams)
            both.append(params)
            if len(both) == 2:
                asked.set()
            await asked.wait()
            await answered(params.url, answers)
            return ElicitResult(action="accept")

    both: list[Any] = []
    asked, ends = anyio.Event(), []

    async def make() -> None:
        ends.append(facts(await client.call_tool("generate_media", PICTURE)))

    async with Slow().at(tmp_path, api, mode) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(make)
            tasks.start_soon(make)
        codes = sorted(end.get("error", {}).get("code", "paid") for end in ends)
        assert codes in ([["consent_pending", "paid"], ["paid", "paid"]] if answers == "yes" else [["declined"] * 2])
        if answers == "yes":
            assert facts(await client.call_tool("generate_media", PICTURE))["generation_id"]
    assert charges(api) == (answers == "yes")


@ERAS
async def test_a_client_that_shows_forms_gets_a_form(
    tmp_path: Path, api: RunningSandbox, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    able_to(monkeypatch, ElicitationCapability(form=FormElicitationCapability(), url=UrlElicitationCapability()))
    person = Person()
    async with person.at(tmp_path, api, mode) as client:
        assert facts(await client.call_tool("generate_media", PICTURE))["generation_id"]
    assert (len(person.forms), person.links) == (1, [])


@ERAS
async def test_the_picture_that_goes_in_is_shown(tmp_path: Path, api: RunningSandbox, mode: str) -> None:
    shown: list[httpx.Response] = []

    class Looking(Person):
        async def asked(self, context: Any, params: ElicitRequestParams) -> ElicitResult:
            assert isinstance(params, ElicitRequestURLParams)
            shown.append(await got(f"{params.url}/picture"))
            return await super().asked(context, params)

    edit = {"prompt": "at night", "model": "nano-banana", "source_media_urls": [picture(tmp_path)]}
    async with Looking().at(tmp_path, api, mode, KUBEEZ_INPUT_DIRS=str(tmp_path)) as client:
        assert facts(await client.call_tool("generate_media", edit))["generation_id"]
    assert shown[0].headers["content-type"].startswith("image/")
    assert len(shown[0].content) > 100


@ERAS
@pytest.mark.parametrize(("ticked", "charged"), [("none_of_these", 2), ("row_1", 1)])
async def test_what_became_of_a_lost_answer_is_ticked_on_a_page(
    tmp_path: Path, api: RunningSandbox, mode: str, ticked: str, charged: int
) -> None:
    class Ticking(Person):
        async def asked(self, context: Any, params: ElicitRequestParams) -> ElicitResult:
            assert isinstance(params, ElicitRequestURLParams)
            self.answers = "" if "what became of" in params.message else "yes"
            shown = await super().asked(context, params)
            if not self.answers:
                assert self.saw[-1]["lines"][0].startswith("No answer ever came for 1 paid request")
                assert (await answered(params.url, "yes", chosen=[ticked])).status_code == 200
            return shown

    person = Ticking()
    async with person.at(tmp_path, api, mode) as client:
        await client.call_tool("generate_media", PICTURE)
    with_a_lost_answer(tmp_path)
    async with person.at(tmp_path, api, mode) as client:
        assert facts(await client.call_tool("generate_media", PICTURE))["generation_id"]
    assert charges(api) == charged


async def test_before_links_were_in_the_protocol_none_is_sent(
    tmp_path: Path, api: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call, "ELICITATION_MODES", "2026-07-28")  # the one old revision that the SDK's client speaks
    person = Person()
    async with person.at(tmp_path, api, "legacy") as client:
        quote = facts(await client.call_tool("generate_media", PICTURE))
        assert quote["status"] == "approval_required"
    assert person.links == []
    assert charges(api) == 0
