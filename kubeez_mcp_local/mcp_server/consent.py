"""Asking the person behind the client before credits are spent, in both protocol eras.

On 2026-07-28 the server cannot send requests: it returns the question, and the client calls again with the answer.
On older revisions the question is pushed in the middle of the call. Many clients can do neither.
"""

from __future__ import annotations

import hashlib
import logging
import time
from typing import TYPE_CHECKING, Any

from mcp import MCPError
from mcp.types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequiredResult
from mcp.types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel, Field

from kubeez_mcp_local.mcp_server.deadline import while_a_person_decides

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp.server.mcpserver import Context

    from kubeez_mcp_local.jobs.consent import Answer, SpendQuestion
    from kubeez_mcp_local.jobs.proof import OpenQuestion

_KEY = "spend"
_MINE = "mine"
_NONE = "none_of_these"
UNSEEN_SECONDS = 0.5
"""Nobody reads a question and closes it faster. Some clients close what they cannot show (Codex outside a turn)."""

log = logging.getLogger(__name__)


class QuestionPendingError(Exception):
    """Not a failure: the call ends here, and the client calls again with the person's answer."""

    def __init__(self, result: InputRequiredResult) -> None:
        super().__init__("a question is pending")
        self.result = result


class SpendAnswer(BaseModel):
    """The form shown to the person. Nothing is ticked beforehand: the tick is the yes."""

    spend: bool = Field(title="Spend the credits", description="Tick to pay. Without the tick nothing is sent.")


class ClientConsent:
    """Puts the question to one client.

    Args:
        context: The MCP request in which the question comes up.
        clock: Seconds since 1970.
    """

    def __init__(self, context: Context[Any, Any], *, clock: Callable[[], float] = time.time) -> None:
        self._context = context
        self._clock = clock

    async def ask(self, question: SpendQuestion) -> Answer:
        """What the person says to `question`.

        Raises:
            QuestionPendingError: The client has to bring the answer in its next call.
        """
        words = f"{question.digest}\n{question.quoted_at!r}\n{question.text}"
        given, asked_at = await self._given(_KEY, question.text, _form(), words)
        return "cannot_ask" if given is None else self._verdict(given, asked_at)

    async def which_are_mine(self, question: OpenQuestion) -> frozenset[str] | None:
        """The ids of the rows that the person ticked, none if "none of these" was ticked; `None` without an answer.

        Raises:
            QuestionPendingError: The client has to bring the answer in its next call.
        """
        rows = {f"row_{place}": row.id for place, row in enumerate(question.rows, 1)}
        words = "\n".join([*(job.id for job in question.jobs), *rows.values()])
        given, _ = await self._given(_MINE, question.text, _rows_form(question), words)
        if given is None or given.action != "accept":
            return None
        ticked = [name for name, value in (given.content or {}).items() if value is True]
        if ticked == [_NONE]:
            return frozenset()
        return None if not ticked or not rows.keys() >= set(ticked) else frozenset(rows[name] for name in ticked)

    async def _given(self, key: str, text: str, form: dict[str, Any], words: str) -> tuple[ElicitResult | None, float]:
        """What came back, and when it was asked; nothing if this client cannot ask."""
        if not self._can_ask():
            return None, 0.0
        if self._context.protocol_version in MODERN_PROTOCOL_VERSIONS:
            return self._brought_along(key, text, form, words)
        asked_at = self._clock()
        try:
            with while_a_person_decides():
                given = await self._context.session.elicit_form(text, form, related_request_id=self._context.request_id)
        except MCPError as error:  # a client that says it can ask, and then cannot
            log.info("the client could not ask its user (%s)", error.error.code)
            return None, 0.0
        return given, asked_at

    def _can_ask(self) -> bool:
        capabilities = self._context.client_capabilities
        elicitation = capabilities.elicitation if capabilities else None
        return elicitation is not None and (elicitation.form is not None or elicitation.url is None)

    def _brought_along(self, key: str, text: str, form: dict[str, Any], words: str) -> tuple[ElicitResult, float]:
        """The answer brought along, provided that it answers this very question; else ask."""
        identity = hashlib.sha256(words.encode()).hexdigest()
        answered, _, asked_at = (self._context.request_state or "").partition(" ")
        given = (self._context.input_responses or {}).get(key)
        if not isinstance(given, ElicitResult) or answered != identity:
            raise QuestionPendingError(_pending(key, text, form, f"{identity} {self._clock():.3f}"))
        return given, float(asked_at or "inf")

    def _verdict(self, given: ElicitResult, asked_at: float) -> Answer:
        """Only a form with the tick is a yes. Clients that show two buttons and no form accept without one."""
        if given.action == "accept":
            ticked = (given.content or {}).get(_KEY)
            return "accept" if ticked is True else "decline" if ticked is False else "unticked"
        if given.action == "cancel" and 0 <= self._clock() - asked_at < UNSEEN_SECONDS:
            return "unseen"
        return given.action


def _form() -> dict[str, Any]:
    from mcp.server.elicitation import render_elicitation_schema

    return render_elicitation_schema(SpendAnswer)


def _rows_form(question: OpenQuestion) -> dict[str, Any]:
    """A tick for each row, and one for none of them: an answer is a tick, whatever it says."""
    none = "None of these is mine: the requests were never accepted" if question.rows else "They were never accepted"
    titles = {_NONE: none}
    titles |= {f"row_{place}": f"Mine: {line}" for place, line in enumerate(question.lines, 1)}
    return {
        "type": "object",
        "properties": {name: {"type": "boolean", "title": title} for name, title in titles.items()},
    }


def _pending(key: str, question: str, form: dict[str, Any], state: str) -> InputRequiredResult:
    params = ElicitRequestFormParams(message=question, requested_schema=form)
    return InputRequiredResult(input_requests={key: ElicitRequest(params=params)}, request_state=state)
