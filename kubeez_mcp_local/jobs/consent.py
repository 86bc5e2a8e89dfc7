"""Asking the user before credits are spent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from kubeez_mcp_local.text import LONGEST_MESSAGE, on_one_line, quoted, spoken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubeez_mcp_local.jobs.frozen import FrozenQuote
    from kubeez_mcp_local.jobs.order import Order
    from kubeez_mcp_local.jobs.proof import OpenQuestion

Answer = Literal["accept", "decline", "unticked", "cancel", "unseen", "cannot_ask"]
_PROMPT_SHOWN = 200


@dataclass(frozen=True)
class SpendQuestion:
    """What a user is asked. Made from the call's arguments and a frozen quote only, so that the same call always asks
    the same question.

    Attributes:
        count: How many paid requests the call sends.
        credits: Price of all of them together; `None` when there is no evidence.
        basis: Where the price comes from: `catalogue`, `rate` or `unknown`.
        balance_after: Credits left afterwards, where the balance and the price were known.
        text: The question in words.
        digest: Identifies the call.
        quoted_at: When it was quoted; tells this question from one about the same call after it has been paid for.
    """

    tool: str
    model: str
    count: int
    credits: float | None
    basis: str
    balance_after: float | None
    text: str
    digest: str
    quoted_at: float


class Consent(Protocol):
    """Whoever can put a question to the user."""

    async def ask(self, question: SpendQuestion) -> Answer:
        """The user's answer.

        `accept` is the one yes. `decline` is a no, `unticked` a form sent back that says neither yes nor no, `cancel`
        a closed question, `unseen` one that was closed before anybody could read it, `cannot_ask` a client without the
        means.
        """


@runtime_checkable
class Witness(Protocol):
    """Whoever can ask a person what became of jobs that the API's history does not settle."""

    async def which_are_mine(self, question: OpenQuestion) -> frozenset[str] | None:
        """The ids of the rows that are the user's jobs, empty for none of them; `None` when there is no answer."""


def needs_consent(amount: float | None, asks_above: float) -> bool:
    """Whether a quote must be asked about. An unknown price always is, unless nobody is ever asked (infinity)."""
    if amount is None:
        return asks_above != float("inf")
    return not amount <= asks_above  # what is no number is asked about, too


def total_quote(orders: Sequence[Order]) -> tuple[float | None, str]:
    """Price and basis of one call's orders together; unknown as soon as one of them is."""
    bases = [order.quote.basis for order in orders]
    known = [order.quote.credits for order in orders if order.quote.credits is not None]
    if len(known) < len(orders):
        return None, "unknown"
    return round(sum(known), 6), "rate" if "rate" in bases else bases[0]


def question_for(orders: Sequence[Order], quote: FrozenQuote, digest: str) -> SpendQuestion:
    """The question about `orders`, which belong to one call."""
    first, count = orders[0], len(orders)
    after = None if quote.balance is None or quote.credits is None else round(quote.balance - quote.credits, 6)
    made = sum(int(order.arguments.get("variant_count") or 1) for order in orders)
    times = f"{made} × " if made > 1 else ""
    price = "a price that is not known in advance" if quote.credits is None else spoken(quote.credits)
    parts = [f"{first.tool}: {times}{first.model} for {price}.", *first.notes]
    if quote.basis == "rate":
        parts.append("The price is worked out from a rate and may differ a little.")
    if after is not None:
        parts.append(f"Balance afterwards: {spoken(after)}.")
    elif quote.balance is not None:
        parts.append(f"Balance now: {spoken(quote.balance)}.")
    parts += _subject(first)
    return SpendQuestion(
        first.tool,
        first.model,
        count,
        quote.credits,
        quote.basis,
        after,
        on_one_line(" ".join(parts), LONGEST_MESSAGE),
        digest,
        quote.frozen_at,
    )


def _subject(order: Order) -> list[str]:
    """What the job is about: its prompt, or the file or URL that it works on."""
    if order.prompt:
        return [f"Prompt: {quoted(order.prompt, _PROMPT_SHOWN)}."]
    sources = [value for name, value in order.arguments.items() if name.endswith("_url") and isinstance(value, str)]
    return [f"Of: {quoted(source, _PROMPT_SHOWN)}." for source in sources[:1]]
