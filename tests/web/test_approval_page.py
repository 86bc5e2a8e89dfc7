"""The approval page as programs meet it: what is an answer, from where, and until when."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import anyio
import httpx
import pytest

from kubeez_mcp_local.bridge.approvals import Approvals
from kubeez_mcp_local.jobs.job import SpendQuestion
from kubeez_mcp_local.web.approval_page import ApprovalPage, Asked, Page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kubeez_mcp_local.bridge.viewing import Viewing

pytestmark = pytest.mark.anyio
QUESTION = Asked("one", "Pay 4 credits?", ("A picture for 4 credits.",), "a kite", "Yes, pay 4 credits")


@dataclass
class Asking:
    """A page whose clock stands still until it is set."""

    now: float = 1_000_000.0
    asleep: anyio.Event = field(default_factory=anyio.Event)
    awake: anyio.Event = field(default_factory=anyio.Event)

    async def sleep(self, _: float) -> None:
        self.asleep.set()
        await self.awake.wait()

    def put(self, pages: ApprovalPage, question: Asked = QUESTION) -> Page:
        return pages.put(question, self.now + 600)


@pytest.fixture
def asking() -> Asking:
    return Asking()


@pytest.fixture
async def pages(asking: Asking) -> AsyncIterator[ApprovalPage]:
    async with anyio.create_task_group() as tasks:
        yield ApprovalPage(tasks.start_soon, clock=lambda: asking.now, sleep=asking.sleep)
        tasks.cancel_scope.cancel()


async def ask(method: str, url: str, **more: Any) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        return await client.request(method, url, **more)


async def reached(url: str) -> bool:
    try:
        return bool(await ask("GET", url))
    except httpx.ConnectError:
        return False


def origin(page: Page) -> str:
    return "/".join(page.url.split("/")[:3])


async def test_an_answer_comes_from_the_page_itself(pages: ApprovalPage, asking: Asking) -> None:
    page = asking.put(pages)
    yes, own = b'{"answer":"yes"}', {"Origin": origin(page)}
    for headers in (
        {},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": f"{origin(page)}1"},  # another port
        {**own, "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://evil.example", "Host": "evil.example"},  # a foreign name for this machine
    ):
        assert (await ask("POST", page.url, content=yes, headers=headers)).status_code == 403
    for body in (
        *(b"", b"yes", b'{"answer":"YES"}', b'{"answer":true}', b'{"answer":[]}', b'["yes"]', b"[]", b"1"),
        *(b'{"answer":"yes","answer":"no"}', b'{"answer":"yes","chosen":["row_1"]}', b'{"answer":"yes","more":1}'),
    ):
        assert (await ask("POST", page.url, content=body, headers=own)).status_code == 400
    assert (await ask("POST", page.url, content=b" " * 10_000 + yes, headers=own)).status_code == 413
    assert (await ask("POST", f"{origin(page)}/ask/{'x' * 43}", content=yes, headers=own)).status_code == 410
    for method in ("GET", "HEAD", "OPTIONS", "PUT"):
        await ask(method, page.url, content=yes, headers=own)
    assert page.answer is None
    assert (await ask("POST", page.url, content=yes, headers=own)).json()["answer"] is True
    assert (await ask("POST", page.url, content=yes, headers=own)).status_code == 200
    assert (await ask("POST", page.url, content=b'{"answer":"no"}', headers=own)).status_code == 410
    assert pages.take(page) is True
    assert pages.take(page) is None


async def test_where_there_is_something_to_tick_a_yes_has_a_tick(pages: ApprovalPage, asking: Asking) -> None:
    page = asking.put(pages, replace(QUESTION, choices=(("row_1", "Mine: one"), ("none", "None"))))
    own = {"Origin": origin(page)}
    for body in (
        *({"answer": "yes"}, {"answer": "yes", "chosen": []}, {"answer": "yes", "chosen": ["row_2"]}),
        *(
            {"answer": "no", "chosen": ["row_1"]},
            {"answer": "yes", "chosen": "row_1"},
            {"answer": "yes", "chosen": [1]},
        ),
    ):
        assert (await ask("POST", page.url, json=body, headers=own)).status_code == 400, body
    chosen = {"answer": "yes", "chosen": ["row_1"]}
    for _ in range(2):
        assert (await ask("POST", page.url, json=chosen, headers=own)).status_code == 200
    assert (await ask("POST", page.url, json=chosen | {"chosen": ["none"]}, headers=own)).status_code == 410
    assert page.answer is True
    assert page.chosen == {"row_1"}


async def test_a_page_is_opened_when_a_browser_shows_what_it_says(pages: ApprovalPage, asking: Asking) -> None:
    page = asking.put(pages)
    shell = await ask("GET", page.url)
    assert shell.headers["referrer-policy"] == "no-referrer"
    assert "Pay" not in shell.text
    assert not page.opened
    assert (await ask("GET", f"{page.url}/state")).json()["title"] == "Pay 4 credits?"
    assert page.opened
    assert (await ask("GET", f"{page.url}/picture")).status_code == 404


async def test_equal_questions_have_one_page_and_others_their_own(pages: ApprovalPage, asking: Asking) -> None:
    first = asking.put(pages)
    assert asking.put(pages) is first
    other = asking.put(pages, Asked("two", "Pay 9 credits?", (), "", "Yes"))
    assert other.url != first.url
    pages.withdraw(first)
    assert asking.put(pages) is not first
    assert (await ask("GET", f"{first.url}/state")).status_code == 410


async def test_a_price_that_has_risen_is_another_question(pages: ApprovalPage) -> None:
    approvals = Approvals(pages, cast("Viewing", None), "")
    quote = SpendQuestion("generate_media", "m", 1, 4.0, "catalogue", None, "A picture for 4 credits.", "digest", 1e6)
    page = approvals.page_for(quote)
    assert approvals.page_for(quote) is page
    for other in (replace(quote, credits=9.0, text="A picture for 9 credits."), replace(quote, quoted_at=1e6 + 1)):
        assert approvals.page_for(other) is not page


async def test_an_answer_that_nobody_fetched_in_time_is_none(pages: ApprovalPage, asking: Asking) -> None:
    page = asking.put(pages)
    await ask("POST", page.url, content=b'{"answer":"yes"}', headers={"Origin": origin(page)})
    asking.now += 600
    assert pages.take(page) is None
    assert (await ask("GET", f"{page.url}/state")).status_code == 410
    assert pages.take(page) is None
    assert page.answer is True


async def test_it_is_served_as_long_as_there_is_a_question(pages: ApprovalPage, asking: Asking) -> None:
    page = asking.put(pages)
    await ask("GET", page.url)
    await asking.asleep.wait()
    asking.now += 600
    asking.awake.set()
    with anyio.fail_after(60):
        while pages.port is not None:
            await anyio.lowlevel.checkpoint()
        while await reached(page.url):
            pass
    assert asking.put(pages).url != page.url
