"""Getting a yes: frozen quotes, the question, and what each answer means."""

from __future__ import annotations

import logging
from types import MappingProxyType
from typing import TYPE_CHECKING

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.approvals import VALID_SECONDS, Approval
from kubeez_mcp_local.jobs.consent import needs_consent
from kubeez_mcp_local.jobs.failures import ConsentCancelledError, ConsentRequiredError, DeclinedError
from kubeez_mcp_local.jobs.frozen import FrozenQuote

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from kubeez_mcp_local.jobs.consent import Answer, Consent, SpendQuestion
    from kubeez_mcp_local.jobs.ledger import Ledger

log = logging.getLogger(__name__)

_NO_ANSWER: Mapping[Answer, str] = MappingProxyType(
    {
        "unseen": "The client closed the question before anybody could read it.",
        "unticked": "The client sent the question back without `spend: true`, and only that is a yes.",
    }
)
"""What is said where the client asked in a way that nobody could answer; then the user is asked in words."""


async def _unknown_balance() -> float | None:
    return None


class Asking:
    """Asks the user before credits are spent.

    Args:
        ledger: Keeps frozen quotes and approval codes.
        account: Whose credits they are.
        asks_above: Quotes above this many credits need a yes; infinite where nobody is asked.
        balance: Credits left in the account, for the question; `None` or a `KubeezError` leaves it out.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        account: str,
        asks_above: float,
        balance: Callable[[], Awaitable[float | None]] = _unknown_balance,
    ) -> None:
        self._ledger = ledger
        self._account = account
        self._asks_above = asks_above
        self._balance = balance

    async def quote(self, digest: str, price: float | None, basis: str) -> FrozenQuote | None:
        """The quote to ask about, the same for ten minutes; `None` if nobody needs to be asked."""
        if not needs_consent(price, self._asks_above):
            return None
        frozen = await self._ledger.frozen_quote(digest, price)
        if frozen is None:
            frozen = await self._ledger.freeze(digest, FrozenQuote(price, basis, await self._balance_now()))
        return frozen

    async def permission(self, question: SpendQuestion, consent: Consent, approval: str | None) -> Approval | None:
        """The yes to `question`: an approval code that is still to be redeemed, or `None` after the user said yes.

        Raises:
            ConsentRequiredError, DeclinedError, ConsentCancelledError: There was no yes.
        """
        if approval is not None:
            return Approval(approval, self._account, question.digest, question.credits)
        answer = await consent.ask(question)
        if answer == "accept":
            return None
        if answer == "decline":
            raise DeclinedError("The user said no. Nothing was sent.", next_step="Ask what to change.")
        if answer == "cancel":
            raise ConsentCancelledError(
                "The question was closed without an answer. Nothing was sent.", next_step="Ask again when wanted."
            )
        code = await self._ledger.issue_approval(question.digest, question.credits)
        required = ConsentRequiredError(question, code, VALID_SECONDS)
        if answer in _NO_ANSWER:
            raise ConsentCancelledError(
                f"{_NO_ANSWER[answer]} Nothing was sent. {required.message}", next_step=required.next_step
            )
        raise required

    async def _balance_now(self) -> float | None:
        try:
            return await self._balance()
        except KubeezError as error:
            log.info("the balance is left out of the question: %s", error.code)
            return None
