"""The approval page: one question about money with two buttons, for programs that cannot ask it themselves; or one
that is answered by ticks.

`GET /ask/{token}` is the page, `GET /ask/{token}/state` what it shows, `POST /ask/{token}` the answer. The link names
the question and says nothing of it, and opening it answers nothing. An answer is taken from the page only: a browser
names the page that sends it (`Origin`), and what names none is refused.
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.web.server import Site, foreign_page, static_file, static_route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator

    from starlette.requests import Request
    from starlette.types import ASGIApp

_STATIC = ("pages.css", "approval.css", "approval.js", "icon.svg")
_MOST_BYTES = 4096
_MOST_PAGES = 50


@dataclass(frozen=True)
class Asked:
    """What the page says.

    Attributes:
        identity: Tells this question from every other one; equal ones have one page.
        title: The question, such as `Pay 4 credits?`.
        lines: What it is about, a sentence each.
        prompt: What the user asked for, whole; empty for none.
        yes: On the button that agrees, and `no` on the other one.
        choices: What can be ticked (name, words); where there is any, a yes has at least one tick.
        notice: A sentence above it, such as that this is the sandbox.
        picture: Makes a picture of what goes in (bytes, media type), when the page asks for it.
    """

    identity: str
    title: str
    lines: tuple[str, ...]
    prompt: str
    yes: str
    notice: str = ""
    no: str = "No, do not pay"
    choices: tuple[tuple[str, str], ...] = ()
    picture: Callable[[], Awaitable[tuple[bytes, str] | None]] | None = field(default=None, compare=False)


@dataclass(eq=False)
class Page:
    """One question and what became of it.

    Attributes:
        expires_at: Until when it can be answered, in seconds since the epoch.
        opened: Whether a browser has shown it.
        answer: What was answered; `None` as long as nothing was.
        chosen: The names of what was ticked.
        waiting: How many calls wait for the answer right now.
        answered: Set with the answer.
        on_answer: Awaited once there is an answer.
    """

    token: str
    url: str
    asked: Asked
    expires_at: float
    opened: bool = False
    answer: bool | None = None
    chosen: frozenset[str] = frozenset()
    waiting: int = 0
    answered: anyio.Event = field(default_factory=anyio.Event)
    on_answer: list[Callable[[], Awaitable[object]]] = field(default_factory=list)

    @contextmanager
    def waited_for(self) -> Iterator[anyio.Event]:
        """A call waits meanwhile; the page says so to whoever answers it. Yields what is set with the answer."""
        self.waiting += 1
        try:
            yield self.answered
        finally:
            self.waiting -= 1


@dataclass
class ApprovalPage(Site):
    """Puts questions on a loopback page.

    Attributes:
        clock: Seconds since the epoch.
        new_token: Makes tokens that cannot be guessed.
        sleep: Waits for the questions to expire.
    """

    start: Callable[..., object]
    clock: Callable[[], float] = time.time
    new_token: Callable[[], str] = lambda: secrets.token_urlsafe(32)
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    _pages: list[Page] = field(default_factory=list, init=False)

    def put(self, asked: Asked, expires_at: float) -> Page:
        """The page of this question: the one that is there, answered or not, or a new one.

        Raises:
            OSError: No port can be had.
        """
        self._forget_expired()
        port = self._served()
        for page in self._pages:
            if page.asked.identity == asked.identity:
                return page
        token = self.new_token()
        page = Page(token, f"http://127.0.0.1:{port}/ask/{token}", asked, expires_at)
        self._pages = [*self._pages[-_MOST_PAGES + 1 :], page]
        return page

    def take(self, page: Page) -> bool | None:
        """What was answered on it, to one caller: from then on the page is over. `None`: nothing yet, or taken."""
        if page not in self._pages or page.answer is None or self.clock() >= page.expires_at:
            return None
        self.withdraw(page)
        return page.answer

    def withdraw(self, page: Page) -> None:
        """Ask no more; whoever opens it is told that it is over."""
        self._pages = [each for each in self._pages if each is not page]

    def _forget_expired(self) -> None:
        now = self.clock()
        self._pages = [page for page in self._pages if now < page.expires_at]

    async def _until_over(self) -> None:
        """Served until the last question is over, and a while longer for whoever still looks at its page."""
        over = 0.0
        while (over := max([over, *(page.expires_at for page in self._pages)])) > self.clock():
            await self.sleep(max(over - self.clock(), 1.0))

    def _app(self) -> ASGIApp:
        return Starlette(
            routes=[
                Route("/ask/{token}", self._page),
                Route("/ask/{token}", self._answer, methods=["POST"], max_body_size=_MOST_BYTES),
                Route("/ask/{token}/state", self._state),
                Route("/ask/{token}/picture", self._picture),
                static_route(_STATIC),
            ]
        )

    def _find(self, request: Request) -> Page | None:
        self._forget_expired()
        token = request.path_params["token"].encode("utf-8", "replace")
        return next((page for page in self._pages if hmac.compare_digest(page.token.encode(), token)), None)

    async def _page(self, request: Request) -> Response:
        return static_file("approval.html", status=200 if self._find(request) else 404)

    async def _state(self, request: Request) -> Response:
        page = self._find(request)
        if page is None:
            return _over()
        page.opened = True
        return JSONResponse(_described(page))

    async def _picture(self, request: Request) -> Response:
        page = self._find(request)
        draw = page.asked.picture if page else None
        try:
            drawn = await draw() if draw else None
        except (KubeezError, OSError):  # the question is complete without it
            drawn = None
        return Response(status_code=404) if drawn is None else Response(drawn[0], media_type=drawn[1])

    async def _answer(self, request: Request) -> Response:
        if "origin" not in request.headers or foreign_page(request.scope) is not None:
            return _refusal(403, "not_from_the_page", "an answer is taken only from the page, open in a browser.")
        page = self._find(request)
        if page is None:
            return _over()
        said = _answer_in(await request.body(), {name for name, _ in page.asked.choices})
        if said is None:
            form = '{"answer": "yes"} or {"answer": "no"}, with "chosen" beside a yes where there is something to tick'
            return _refusal(400, "malformed_answer", f"the answer is {form}.")
        if page.answer is not None and (page.answer, page.chosen) != said:
            return _over()
        described = _described(page)
        if page.answer is None:
            page.answer, page.chosen = said
            page.answered.set()
            for told in page.on_answer:
                await told()
        return JSONResponse(described | {"answer": page.answer})


def _answer_in(body: bytes, choices: Collection[str]) -> tuple[bool, frozenset[str]] | None:
    """Whether it is a yes, and what was ticked; `None` where that is not said, or in more than one way."""
    try:
        members: list[tuple[str, Any]] = json.loads(body, object_pairs_hook=list)
        found = dict(members)
        answer, chosen = {"yes": True, "no": False}[found.pop("answer")], found.pop("chosen", [])
        ticked = frozenset(chosen)
    except (ValueError, TypeError, LookupError):
        return None
    once = len(dict(members)) == len(members)
    fits = not found and once and ticked <= set(choices) and isinstance(chosen, list)
    return (answer, ticked) if fits and bool(ticked) == (answer and bool(choices)) else None


def _described(page: Page) -> dict[str, Any]:
    asked = page.asked
    return {
        "title": asked.title,
        "lines": asked.lines,
        "prompt": asked.prompt,
        "yes": asked.yes,
        "no": asked.no,
        "choices": asked.choices,
        "notice": asked.notice,
        "picture": asked.picture is not None,
        "answer": page.answer,
        "waited_for": page.waiting > 0,
        "expires_at": page.expires_at,
    }


def _over() -> Response:
    return _refusal(410, "question_over", "this question is over: it was answered, or too long ago.")


def _refusal(status: int, code: str, message: str) -> Response:
    step = "Go back to your assistant; nothing was paid by this."
    return JSONResponse({"error": code, "message": message, "next_step": step}, status_code=status)
