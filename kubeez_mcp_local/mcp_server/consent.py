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

_KEY = "spend"
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
        if not self._can_ask():
            return "cannot_ask"
        if self._context.protocol_version in MODERN_PROTOCOL_VERSIONS:
            return self._answered(question)
        asked_at = self._clock()
        try:
            with while_a_person_decides():
                given = await self._context.session.elicit_form(
                    question.text, _form(), related_request_id=self._context.request_id
                )
        except MCPError as error:  # a client that says it can ask, and then cannot
            log.info("the client could not ask its user (%s)", error.error.code)
            return "cannot_ask"
        return self._verdict(given, asked_at)

    def _can_ask(self) -> bool:
        capabilities = self._context.client_capabilities
        elicitation = capabilities.elicitation if capabilities else None
        return elicitation is not None and (elicitation.form is not None or elicitation.url is None)

    def _answered(self, question: SpendQuestion) -> Answer:
        """The answer brought along, provided that it answers this very question; else ask."""
        words = f"{question.digest}\n{question.quoted_at!r}\n{question.text}"
        identity = hashlib.sha256(words.encode()).hexdigest()
        answered, _, asked_at = (self._context.request_state or "").partition(" ")
        given = (self._context.input_responses or {}).get(_KEY)
        if not isinstance(given, ElicitResult) or answered != identity:
            raise QuestionPendingError(_pending(question.text, f"{identity} {self._clock():.3f}"))
        return self._verdict(given, float(asked_at or "inf"))

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


def _pending(question: str, state: str) -> InputRequiredResult:
    params = ElicitRequestFormParams(message=question, requested_schema=_form())
    return InputRequiredResult(input_requests={_KEY: ElicitRequest(params=params)}, request_state=state)
