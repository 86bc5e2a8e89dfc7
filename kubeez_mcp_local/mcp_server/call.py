"""One tool call: what a handler needs of its client, asking the person behind it, and its end after 45 seconds.

On 2026-07-28 the server cannot send requests: it returns the question, and the client calls again with the answer. On
older revisions the question is pushed in the middle of the call, whose clock stands still meanwhile.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import math
import time
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from mcp import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp.types import (
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitRequestURLParams,
    ElicitResult,
    ImageContent,
    InputRequiredResult,
)
from mcp.types.version import MODERN_PROTOCOL_VERSIONS, is_version_at_least
from pydantic import ValidationError

from kubeez_mcp_local.bridge.orders import COMING, QUOTE, RECIPE, RUN, SPEND, Caller
from kubeez_mcp_local.catalogue.checks import MOST_FILE_SECONDS
from kubeez_mcp_local.catalogue.models import KINDS
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.job import RunCall
from kubeez_mcp_local.mcp_server.revisions import ELICITATION, ELICITATION_MODES, PROGRESS_MESSAGES
from kubeez_mcp_local.media.containers import Measured
from kubeez_mcp_local.media.inputs import ComingInput
from kubeez_mcp_local.operations import media
from kubeez_mcp_local.rest.wire import number_of
from kubeez_mcp_local.runs.active import HEARTBEAT_SECONDS
from kubeez_mcp_local.text import LONGEST_NAME, on_one_line, presentable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

    from mcp.server.mcpserver import Context
    from mcp.server.session import ServerSession
    from mcp.types import ContentBlock, ElicitationCapability

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.bridge.approvals import PutsPage
    from kubeez_mcp_local.bridge.doors import Door
    from kubeez_mcp_local.bridge.orders import Regenerating
    from kubeez_mcp_local.jobs.job import SpendQuestion
    from kubeez_mcp_local.jobs.proof import OpenQuestion
    from kubeez_mcp_local.jobs.spender import Answer
    from kubeez_mcp_local.mcp_server.prompts import Recipes
    from kubeez_mcp_local.operations import Sources
    from kubeez_mcp_local.runs.active import ActiveRuns

T = TypeVar("T")
_Params = ElicitRequestFormParams | ElicitRequestURLParams
LONGEST_CALL = 45.0
PAGE_SECONDS = 30.0
"""How long a call waits for the answer on a page; what it has left of `LONGEST_CALL` is for the request itself."""
_LINK = (
    "Kubeez asks whether to pay {}. The question is answered on a page that this machine serves, with the details and "
    "two buttons; opening it pays nothing."
)
_OPEN_LINK = (
    "Kubeez asks what became of paid requests that were never answered. The question stands on a page that this "
    "machine serves; opening it settles nothing."
)
_KEY_LINK = (
    "{} A key can be entered on a page that this machine serves: it is checked and kept there, and goes through no "
    "conversation."
)
_KEY_PENDING = "A page in the user's browser asks for a key. Ask them to enter it there, never here; then call again."
_scope: ContextVar[anyio.CancelScope | None] = ContextVar("scope of the call", default=None)
_MINE = "mine"
_KEY = "key"
_NONE = "none_of_these"
UNSEEN_SECONDS = 0.5
"""Nobody reads a question and closes it faster. Some clients close what they cannot show (Codex outside a turn)."""


log = logging.getLogger(__name__)


@dataclass
class Call:
    """Handed to every handler as its first argument.

    Attributes:
        runs: Runs of recipes that go on beside the conversation.
        blocks: Links and previews to send along with the result.
    """

    bridge: Bridge
    context: Context[Any, Any]
    recipes: Recipes
    runs: ActiveRuns
    blocks: list[ContentBlock] = field(default_factory=list)
    _progress: float = 0.0

    @property
    def mode(self) -> str:
        return self.bridge.mode.value

    def named(self, door: Door) -> str | None:
        """What a result calls the door that was used; nothing where there is only that of the key."""
        return door.name if self.bridge.names_doors else None

    @cached_property
    def consent(self) -> ClientConsent:
        return ClientConsent(self.context, self.bridge, self.progress)

    def caller(self, approval: str, name: str = "") -> Caller:
        """Who asks for a paid job, with the approval code, what its files shall be called, and the call of a run that
        came along, if any."""
        params = self.context.session.client_params
        meta = self._meta
        return Caller(
            self.consent,
            approval,
            client=on_one_line(params.client_info.name, LONGEST_NAME) if params else "",
            recipe=recipe if isinstance(recipe := meta.get(RECIPE), str) else "",
            run=_run(meta.get(RUN)),
            name=name,
        )

    async def asking_for_a_key(self, error: KubeezError) -> KubeezError:
        """What is said of `error`, once the person was asked for another key, if that would help.

        Raises:
            QuestionPendingError: The client has to bring the answer in its next call.
        """
        return await self.consent.another_key(error) if self.bridge.lacks_key(error) else error

    async def show(self, files: Iterable[tuple[str, str]]) -> None:
        """Send pictures among the `files` (path, media type) along, if the user's settings want them in conversations.

        A recipe that is carried out has no eyes.
        """
        settings = self.bridge.settings
        pictures = [Path(path) for path, media_type in files if media_type.startswith("image/")]
        if settings.inline == "none" or not pictures or RECIPE in self._meta:
            return
        most = settings.inline_kilobytes * 1000
        shown = await self.bridge.viewing.inline(pictures, max_bytes=most, whole=settings.inline == "full")
        self.blocks[:0] = [
            ImageContent(type="image", data=base64.b64encode(content).decode(), mime_type=mime)
            for content, mime in shown
        ]

    @cached_property
    def quoting(self) -> bool:
        """Whether the call of a paid tool ends with its price; see `QUOTE`."""
        return self._meta.get(QUOTE) is True

    def sources_of(self, door: Door) -> Sources:
        """What operations look at, with what is still to come where a price is all that is wanted."""
        sources = door.sources
        files = {name: said for name, value in self._coming.items() if (said := _coming_file(name, value))}
        return sources.expecting(files) if files else sources

    async def regenerating(self, job_id: str) -> tuple[Door, Regenerating]:
        """The door that has taken a job, and what repeats it there; `sources_of` for jobs that are still to come."""
        jobs = {
            name: (str(value["tool"]), value["arguments"])
            for name, value in self._coming.items()
            if isinstance(value, dict) and "tool" in value and isinstance(value.get("arguments"), dict)
        }
        bridge = self.bridge
        door = await (bridge.door_for(media.ROUTE) if job_id in jobs else bridge.door_of_id(job_id))
        return door, replace(door.regenerating, sources=self.sources_of(door), coming=jobs)

    @property
    def _meta(self) -> Mapping[str, Any]:
        return self.context.request_context.meta or {}

    @property
    def _coming(self) -> Mapping[str, Any]:
        named = self._meta.get(COMING) if self.quoting else None
        return named if isinstance(named, dict) else {}

    async def progress(self, done: float, total: float | None, message: str) -> None:
        """Report progress, when the client asked for it; values only ever grow, as the protocol demands."""
        if done > self._progress:
            self._progress = done
            told = is_version_at_least(self.context.session.protocol_version, PROGRESS_MESSAGES)
            await self.context.report_progress(done, total, on_one_line(message) if told else None)


def _run(value: object) -> RunCall | None:
    """The call of a run that `value` names; whatever is none stands for itself."""
    try:
        return RunCall(**value) if isinstance(value, dict) else None
    except (TypeError, ValueError):
        return None


def _coming_file(name: str, value: object) -> ComingInput | None:
    if not isinstance(value, dict) or "tool" in value:
        return None
    kind, seconds = value.get("kind"), number_of(value.get("seconds"))
    known = seconds is not None and 0 < seconds <= MOST_FILE_SECONDS
    return ComingInput(name, kind if kind in KINDS else None, Measured(seconds if known else None))


class QuestionPendingError(Exception):
    """Not a failure: the call ends here, and the client calls again with the person's answer."""

    def __init__(self, result: InputRequiredResult) -> None:
        super().__init__("a question is pending")
        self.result = result


@dataclass(frozen=True)
class ClientConsent:
    """Puts questions to the person behind one client: in a form, or on a page where the client can only open links.

    Attributes:
        progress: As `Call.progress`.
        clock: Seconds since 1970.
    """

    context: Context[Any, Any]
    bridge: Bridge
    progress: Callable[[float, float | None, str], Awaitable[None]]
    clock: Callable[[], float] = time.time

    async def ask(self, question: SpendQuestion) -> Answer:
        """What the person says to `question`.

        Raises:
            QuestionPendingError: The client has to bring the answer in its next call.
        """
        if not self._shows_forms() and self._opens_links():
            put = partial(self.bridge.approvals.page_for, question)
            return (await self._on_page(put, SPEND, question.identity, _LINK.format(question.price)))[0]
        given, asked_at = await self._given(SPEND, _form(question.text, _spend_form(question)), question.identity)
        return "cannot_ask" if given is None else self._verdict(given, asked_at)

    async def _on_page(self, put: PutsPage, key: str, identity: str, message: str) -> tuple[Answer, frozenset[str]]:
        """What is answered on a page, and ticked. That the client opened it, or says so, is no answer.

        The page stays open when the call has to end, and a repeat of the same call finds what was answered meanwhile.
        Its link goes to the client alone: a model that runs commands could answer there.
        """
        pages, nothing = self.bridge.approvals.pages, frozenset[str]()
        try:
            page = put()
        except OSError as error:
            log.warning("no page can be served to ask on: %s", error.strerror or type(error).__name__)
            return "cannot_ask", nothing
        if page.answer is None or key in (self.context.input_responses or {}):  # a no in the client counts as well
            link = ElicitRequestURLParams(message=message, url=page.url)
            if not self._modern:
                link.elicitation_id = page.token
                page.on_answer.append(partial(self._tell_answered, page.token))
            # With the page's token: after a restart the link that the client has opened leads nowhere.
            given, asked_at = await self._given(key, link, f"{identity}\n{page.token}")
            if given is None:
                return "cannot_ask", nothing
            if given.action != "accept":
                pages.withdraw(page)
                return self._verdict(given, asked_at), nothing
            with page.waited_for() as answered:
                await self._wait_for(answered, "Waiting for the answer on the page")
        answer = pages.take(page)
        if answer is None and page.answer is not False:  # a yes is for one call; a repeat will find its job
            return ("unanswered" if page.opened or page.answer else "unopened"), nothing
        return ("accept" if answer else "decline"), page.chosen

    async def _wait_for(self, answered: anyio.Event, words: str) -> None:
        """Wait for what happens on a page, `PAGE_SECONDS` at most, with a word every few seconds."""
        began = anyio.current_time()
        while not answered.is_set() and (left := began + PAGE_SECONDS - anyio.current_time()) > 0:
            with anyio.move_on_after(min(HEARTBEAT_SECONDS, left)):
                await answered.wait()
            await self.progress(anyio.current_time() - began, None, words)

    async def _tell_answered(self, elicitation_id: str) -> None:
        with suppress(Exception):  # the client may be gone, and the answer counts all the same
            await self.context.session.send_elicit_complete(elicitation_id)

    async def another_key(self, error: KubeezError) -> KubeezError:
        """Offer the page that takes a key, if the client opens links: once for each page, and never after a no.

        The key is typed there and goes through no conversation. The call has failed in any case, and is to be repeated.
        """
        page = self.bridge.key_page
        if page.kept:
            return _then(error, page.kept)
        if page.unwanted or not self._opens_links():
            return error
        try:
            request = page.open()
        except OSError as failure:
            log.warning("no page can be served to ask for a key on: %s", failure.strerror or type(failure).__name__)
            return error
        if not request.offered or _KEY in (self.context.input_responses or {}):
            request.offered = True
            link = ElicitRequestURLParams(message=_KEY_LINK.format(error.message), url=request.url)
            if not self._modern:
                link.elicitation_id = request.token
            given, _ = await self._given(_KEY, link, request.token)
            page.unwanted = given is not None and given.action == "decline"
            if given is None or given.action != "accept":
                return error
            await self._wait_for(request.kept, "Waiting for the key on the page")
            if request.kept.is_set() and not self._modern:
                await self._tell_answered(request.token)
        return _then(error, request.said if request.kept.is_set() else _KEY_PENDING)

    async def which_are_mine(self, question: OpenQuestion) -> frozenset[str] | None:
        """The ids of the rows that the person ticked, none if "none of these" was ticked; `None` without an answer.

        Raises:
            QuestionPendingError: The client has to bring the answer in its next call.
        """
        rows = {f"row_{place}": row.id for place, row in enumerate(question.rows, 1)}
        words = "\n".join([*(job.id for job in (*question.jobs, *question.watched)), *rows.values()])
        if not self._shows_forms() and self._opens_links():
            put = partial(self.bridge.approvals.page_of_ticks, words, question.text, _row_titles(question))
            ticked = list((await self._on_page(put, _MINE, words, _OPEN_LINK))[1])
        else:
            given, _ = await self._given(_MINE, _form(question.text, _rows_form(question)), words)
            if given is None or given.action != "accept":
                return None
            ticked = [name for name, value in (given.content or {}).items() if value is True]
        if ticked == [_NONE]:
            return frozenset()
        return None if not ticked or not rows.keys() >= set(ticked) else frozenset(rows[name] for name in ticked)

    async def _given(self, key: str, params: _Params, words: str) -> tuple[ElicitResult | None, float]:
        """What came back, and when it was asked; nothing if this client cannot ask."""
        if not self._shows_forms() and not self._opens_links():
            return None, 0.0
        if self._modern:
            return self._brought_along(key, params, words)
        asked_at = self.clock()
        try:
            with while_a_person_decides():
                given = await self._pushed(params)
        except (MCPError, ValidationError) as error:  # a client that says it can ask, and then cannot
            code = error.error.code if isinstance(error, MCPError) else "its answer is none"
            log.info("the client could not ask its user (%s)", code)
            return None, 0.0
        return given, asked_at

    async def _pushed(self, params: _Params) -> ElicitResult:
        session: ServerSession = self.context.session
        if not self._knows(ELICITATION_MODES):
            params = params.model_copy(update={"mode": None})  # is left out
        related = ServerMessageMetadata(related_request_id=self.context.request_id)
        return await session.send_request(ElicitRequest(params=params), ElicitResult, metadata=related)

    @property
    def _modern(self) -> bool:
        return self.context.protocol_version in MODERN_PROTOCOL_VERSIONS

    @property
    def _elicitation(self) -> ElicitationCapability | None:
        capabilities = self.context.client_capabilities
        return capabilities.elicitation if capabilities and self._knows(ELICITATION) else None

    def _shows_forms(self) -> bool:
        able = self._elicitation
        return able is not None and (able.form is not None or able.url is None)

    def _opens_links(self) -> bool:
        able = self._elicitation
        return able is not None and able.url is not None and self._knows(ELICITATION_MODES)

    def _knows(self, since: str) -> bool:
        return is_version_at_least(self.context.session.protocol_version, since)

    def _brought_along(self, key: str, params: _Params, words: str) -> tuple[ElicitResult, float]:
        """The answer brought along, provided that it answers this very question; else ask."""
        identity = hashlib.sha256(words.encode()).hexdigest()
        answered, _, asked_at = (self.context.request_state or "").partition(" ")
        given = (self.context.input_responses or {}).get(key)
        if not isinstance(given, ElicitResult) or answered != identity:
            raise QuestionPendingError(
                InputRequiredResult(
                    input_requests={key: ElicitRequest(params=params)},
                    request_state=f"{identity} {self.clock():.3f}",
                )
            )
        return given, float(asked_at or "inf")

    def _verdict(self, given: ElicitResult, asked_at: float) -> Answer:
        """Only a form with the tick is a yes. Clients that show two buttons and no form accept without one."""
        if given.action == "accept":
            ticked = (given.content or {}).get(SPEND)
            return "accept" if ticked is True else "decline" if ticked is False else "unticked"
        if given.action == "cancel" and 0 <= self.clock() - asked_at < UNSEEN_SECONDS:
            return "unseen"
        return given.action


def _then(error: KubeezError, next_step: str) -> KubeezError:
    """The same error with another next step."""
    return KubeezError(
        error.message, next_step=next_step, spent=error.spent, retry_safe=error.spent is False, code=error.code
    )


def _form(text: str, schema: dict[str, Any]) -> ElicitRequestFormParams:
    return ElicitRequestFormParams(message=presentable(text), requested_schema=schema)


def _spend_form(question: SpendQuestion) -> dict[str, Any]:
    """The form shown to the person. Nothing is ticked beforehand: the tick is the yes."""
    tick = {
        "type": "boolean",
        "title": f"Yes, pay {question.price}",
        "description": "Tick this to go ahead. Without the tick nothing is sent and nothing is paid.",
    }
    return {"type": "object", "properties": {SPEND: tick}, "required": [SPEND]}


def _row_titles(question: OpenQuestion) -> dict[str, str]:
    none = "None of these is mine: the requests were never accepted" if question.rows else "They were never accepted"
    titles = {_NONE: none}
    return titles | {f"row_{place}": f"Mine: {line}" for place, line in enumerate(question.lines, 1)}


def _rows_form(question: OpenQuestion) -> dict[str, Any]:
    """A tick for each row, and one for none of them: an answer is a tick, whatever it says."""
    fields = {name: {"type": "boolean", "title": title} for name, title in _row_titles(question).items()}
    return {"type": "object", "properties": fields}


class TookTooLongError(KubeezError):
    """The call was ended at its limit. A paid request that had left is in the ledger; a repeat returns its job."""

    code = "took_too_long"


async def timely(tool: str, work: Awaitable[T], *, spends: bool, seconds: float | None = None) -> T:
    """The result of `work`, a call of `tool`, which may take `seconds` or else `LONGEST_CALL`.

    Raises:
        TookTooLongError: It was not done in time, and was cancelled.
    """
    limit = LONGEST_CALL if seconds is None else seconds
    with anyio.CancelScope(deadline=anyio.current_time() + limit) as scope:
        before = _scope.set(scope)
        try:
            return await work
        finally:
            _scope.reset(before)
    repeat = " If the job was accepted, the repeat returns it and pays nothing." if spends else ""
    raise TookTooLongError(
        f"{tool} was not done after {limit:g} seconds; the API or the network is slow.",
        next_step=f"Call again with the same arguments; uploads and requests that have left go on meanwhile.{repeat}",
        spent=None if spends else False,
        retry_safe=True,
    )


@contextmanager
def while_a_person_decides() -> Iterator[None]:
    """Stop the clock of this call meanwhile."""
    scope = _scope.get()
    if scope is None:
        yield
        return
    left = scope.deadline - anyio.current_time()
    scope.deadline = math.inf
    try:
        yield
    finally:
        scope.deadline = anyio.current_time() + left
