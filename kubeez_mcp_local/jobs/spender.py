"""The one way to spend credits: look, ask, claim, send, write down.

The order is: keep the quote → look whether it could be claimed → ask the user → claim → upload and build the
request → wait for the API's limits → send → record the answer. Nothing is reserved while the user thinks; whatever
changed meanwhile is found by the claim, which checks everything again in one transaction. From the claim on there is
always a ledger row, and a row that says "sent" is on the disk before the first byte leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import anyio

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.errors import (
    CeilingError,
    ConsentRequiredError,
    LedgerError,
    UnsettledJobError,
    error_of,
)
from kubeez_mcp_local.jobs.guard import VALID_SECONDS, Approval, KeptQuote
from kubeez_mcp_local.jobs.job import EXACT, NAMES_FILES, SpendQuestion, State, group_digest, settings_words
from kubeez_mcp_local.jobs.reconcile import told_balance, unknown_balance
from kubeez_mcp_local.text import LONGEST_MESSAGE, on_one_line, quoted, spoken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from kubeez_mcp_local.jobs.guard import Decision
    from kubeez_mcp_local.jobs.job import Job, Order
    from kubeez_mcp_local.jobs.ledger import Ledger
    from kubeez_mcp_local.jobs.proof import OpenQuestion
    from kubeez_mcp_local.jobs.reconcile import Reconciler
    from kubeez_mcp_local.jobs.sending import Sender


Answer = Literal["accept", "decline", "unticked", "cancel", "unseen", "unopened", "unanswered", "cannot_ask"]
_PROMPT_SHOWN = 200


class Consent(Protocol):
    """Whoever can put a question to the user."""

    async def ask(self, question: SpendQuestion) -> Answer:
        """The user's answer.

        `accept` is the one yes. `decline` is a no, `unticked` a form sent back that says neither yes nor no, `cancel`
        a closed question, `unseen` one that was closed before anybody could read it, `unopened` a page that nobody
        looked at, `unanswered` one that is open and can still be answered, `cannot_ask` a client without the means.
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


def question_for(orders: Sequence[Order], quote: KeptQuote, digest: str) -> SpendQuestion:
    """The question about `orders`, which belong to one call: all that decides, the money first."""
    first, count = orders[0], len(orders)
    after = None if quote.balance is None or quote.credits is None else round(quote.balance - quote.credits, 6)
    made = sum(_variants(order.arguments.get("variant_count")) for order in orders)
    times = f"{made} × " if made > 1 else ""
    price = "a price that is not known in advance" if quote.credits is None else spoken(quote.credits)
    about = "" if quote.basis == EXACT or quote.credits is None else "about "
    how = f" ({first.how}{' each' if count > 1 else ''})" if first.how else ""
    parts = [f"{first.title or first.tool}: {times}{first.model} for {about}{price}{how}."]
    if after is not None:
        parts.append(f"Balance afterwards: {about}{spoken(after)}.")
    elif quote.balance is not None:
        parts.append(f"Balance now: {spoken(quote.balance)}.")
    files = _file_values(first)
    settings = [*filter(None, [first.generation_type]), *settings_words(first.arguments), *first.implied]
    if settings:
        parts.append(f"Settings: {'; '.join(settings)}.")
    if first.inputs or files:
        parts.append(f"From: {'; '.join(first.inputs or [quoted(file, _PROMPT_SHOWN) for file in files])}.")
    parts += first.notes
    lines, prompt = tuple(parts), "" if _said_already(first) else first.prompt
    if prompt:
        parts.append(f"Prompt: {quoted(prompt, _PROMPT_SHOWN)}.")
    return SpendQuestion(
        first.tool,
        first.model,
        count,
        quote.credits,
        quote.basis,
        after,
        on_one_line(" ".join(parts), LONGEST_MESSAGE),
        digest,
        quote.quoted_at,
        lines,
        prompt,
        first.labels.inputs,
    )


def _variants(count: object) -> int:
    """How many things a request makes; what a tool that nobody here knows calls so may be anything."""
    return count if isinstance(count, int) and count > 0 else 1


def _file_values(order: Order) -> list[str]:
    """The values of a request's arguments that name files."""
    named = [value for name, value in order.arguments.items() if name.endswith(NAMES_FILES)]
    several = [value if isinstance(value, list | tuple) else [value] for value in named]
    return [file for files in several for file in files if isinstance(file, str)]


def _said_already(order: Order) -> bool:
    """Whether what the user asked for stands among the settings: a title, or lines with who speaks them."""
    others = [value for name, value in order.arguments.items() if name != "prompt"]
    lines = (value for value in others if value and isinstance(value, list | tuple))
    return order.prompt in others or any(all(isinstance(line, Mapping) for line in value) for value in lines)


_NO_ANSWER: Mapping[Answer, str] = MappingProxyType(
    {
        "unseen": "The client closed the question before anybody could read it.",
        "unopened": "The page with the question was not opened.",
        "unticked": "The client sent the question back without `spend: true`, and only that is a yes.",
    }
)
"""What is said where the client asked in a way that nobody could answer; then the user is asked in words."""


@dataclass(eq=False)
class Asking:
    """Asks the user before credits are spent.

    Attributes:
        asks_above: Quotes above this many credits need a yes; infinite where nobody is asked.
        balance: Credits left in the account, for the question; `None` or a `KubeezError` leaves it out.
    """

    ledger: Ledger
    _: KW_ONLY
    account: str
    asks_above: float
    balance: Callable[[], Awaitable[float | None]] = unknown_balance

    async def quote(self, digest: str, price: float | None, basis: str) -> KeptQuote | None:
        """The quote to ask about, the same for ten minutes; `None` if nobody needs to be asked."""
        if not needs_consent(price, self.asks_above):
            return None
        kept = await self.ledger.kept_quote(digest, price)
        if kept is None:
            kept = await self.ledger.keep_quote(digest, KeptQuote(price, basis, await told_balance(self.balance)))
        return kept

    async def permission(self, question: SpendQuestion, consent: Consent, approval: str | None) -> Approval | None:
        """The yes to `question`: an approval code that is still to be redeemed, or `None` after the user said yes.

        Raises:
            ConsentRequiredError: There is nobody to ask here.
            KubeezError: There was no yes.
        """
        if approval is not None:
            return Approval(approval, self.account, question.digest, question.credits)
        answer = await consent.ask(question)
        if answer == "accept":
            return None
        if answer == "decline":
            raise KubeezError("The user said no. Nothing was sent.", next_step="Ask what to change.", code="declined")
        if answer == "cancel":
            words, step = "The question was closed without an answer. Nothing was sent.", "Ask again when wanted."
            raise KubeezError(words, next_step=step, code="consent_cancelled")
        if answer == "unanswered":
            raise KubeezError(
                "The question is open on a page in the user's browser, and not answered yet. Nothing was sent.",
                next_step="Ask the user to answer it there; then call again with exactly the same arguments.",
                retry_safe=True,
                code="consent_pending",
            )
        code = await self.ledger.issue_approval(question.digest, question.credits)
        required = ConsentRequiredError(question, code, VALID_SECONDS)
        if answer in _NO_ANSWER:
            words = f"{_NO_ANSWER[answer]} Nothing was sent. {required.message}"
            raise KubeezError(words, next_step=required.next_step, code="consent_cancelled")
        raise required


_LOOK_EVERY = 0.05
_LOOK_AT_HOLDS_EVERY = 0.25
_LOOKS_FOR_OWNER = 20


@dataclass(frozen=True)
class Submission:
    """What became of one order.

    Attributes:
        repeated: Whether the job was there before, so that nothing was sent or paid now.
        error: Why it was not accepted; only among the answers of `submit_all`. Who repeats a request that is on its way
            gets the same as its first caller.
    """

    job: Job
    repeated: bool = False
    error: KubeezError | None = None


@dataclass
class _Patience:
    """For how long one call may still wait behind holds, in seconds."""

    left: float


@dataclass(eq=False)
class Spender:
    """Submits orders.

    Attributes:
        settling: Longest wait for an unknown job to be settled before giving up on a call, in seconds.
        holding: Longest wait of one call for what is held back for others to be released, in seconds.
        longest_wait: Longest wait for the answer to a request that another call has sent, in seconds.
        reconciler_of: Settles a job of whichever door has taken it; by default all are of this one.
    """

    sender: Sender
    ledger: Ledger
    reconciler: Reconciler
    asking: Asking
    _: KW_ONLY
    settling: float = 10.0
    holding: float = 15.0
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    longest_wait: float = 40.0
    reconciler_of: Callable[[Job], Reconciler] | None = None
    _one_question: anyio.Lock = field(init=False, default_factory=anyio.Lock)

    async def submit(self, order: Order, consent: Consent, approval: str | None = None) -> Submission:
        """Pay for one order, once.

        `approval` is the code that came with an earlier `ConsentRequiredError`.

        Raises:
            CeilingError: The guard does not let it through.
            ConsentRequiredError: There must be a yes, and there is nobody to ask here.
            UnsettledJobError: This, or something like it, may have been paid already.
            LedgerError: The ledger cannot be written, so nothing was sent.
            KubeezError: There was no yes, the API's limits are used up, or building or sending failed; `spent` says
                what that means for the credits.
        """
        submission = (await self.submit_all([order], consent, approval))[0]
        if submission.error is not None:
            raise submission.error
        return submission

    async def submit_all(
        self, orders: Sequence[Order], consent: Consent, approval: str | None = None
    ) -> list[Submission]:
        """Pay for the orders of one call (variants) with one question and one check of the ceilings.

        Raises as `submit` does for everything up to the claim; what happens to single orders after that is in their
        submissions.
        """
        if len({order.digest for order in orders}) < len(orders):
            raise ValueError("the orders of one call must differ in their digests")
        await self.sender.write_what_is_unwritten()
        patience = _Patience(self.holding)
        looked = await self._unblocked(orders, consent, patience)
        seen = list(zip(orders, looked.claims, strict=True))
        known = {order.digest: Submission(claim.job, repeated=True) for order, claim in seen if claim.job}
        fresh = [order for order in orders if order.digest not in known]
        sent = await self._paid(fresh, consent, approval, patience) if fresh else []
        known |= {order.digest: submission for order, submission in zip(fresh, sent, strict=True)}
        submissions = [known[order.digest] for order in orders]
        return [await self._answered(one) if one.repeated else one for one in submissions]

    async def _paid(
        self, orders: Sequence[Order], consent: Consent, approval: str | None, patience: _Patience
    ) -> list[Submission]:
        """Ask about orders that were not there before, and pay for them; for nothing that was not asked about."""
        question = await self.question(orders)
        permission = None if question is None else await self.asking.permission(question, consent, approval)
        await self.reconciler.look_before_paying()
        decision = await self._behind_holds(lambda: self.ledger.claim(orders, permission), patience)
        if decision.blocked_by is not None:
            raise await self._unsettled(decision.blocked_by)
        return await self._send_all(orders, decision)

    async def _answered(self, submission: Submission) -> Submission:
        """A repeat of a request that is on its way: what its first caller is told, once that is known."""
        job = submission.job
        if job.state is not State.SENDING:
            return submission
        job = await self._answer_to(job)
        if job.state is State.UNKNOWN:
            job = await self._reconciler(job).settle(job, patience=self.settling)
        error = await self._unsettled(job) if job.state is State.UNKNOWN else error_of(job)
        return replace(submission, job=job, error=error)

    async def _answer_to(self, job: Job) -> Job:
        """The job once it is not `sending` any more; whoever sends it may also have ended meanwhile."""
        looks = 0
        with anyio.move_on_after(self.longest_wait):
            while job.state is State.SENDING:
                await anyio.sleep(_LOOK_EVERY)
                looks += 1
                if looks % _LOOKS_FOR_OWNER == 0:
                    await self.ledger.recover()
                job = await self.ledger.get(job.id)
        return job

    async def question(self, orders: Sequence[Order]) -> SpendQuestion | None:
        """What `submit_all` would ask about these orders, or `None` if it would not; the same for ten minutes."""
        digest = group_digest([order.digest for order in orders])
        quote = await self.asking.quote(digest, *total_quote(orders))
        return None if quote is None else question_for(orders, quote, digest)

    async def _unblocked(self, orders: Sequence[Order], consent: Consent, patience: _Patience) -> Decision:
        async def look() -> Decision:
            return await self._behind_holds(lambda: self.ledger.look(orders), patience)

        decision = await look()
        if decision.blocked_by is not None:
            await self._reconciler(decision.blocked_by).settle(decision.blocked_by, patience=self.settling)
            decision = await look()
        if decision.blocked_by is not None and await self._person_decides(decision.blocked_by, consent):
            decision = await look()
        if decision.blocked_by is not None:
            raise await self._unsettled(decision.blocked_by)
        return decision

    async def _behind_holds(self, decide: Callable[[], Awaitable[Decision]], patience: _Patience) -> Decision:
        """What the guard decides once requests on their way have let go of what they do not need.

        A request whose price is not known holds back a whole call's ceiling, and only until it is answered.
        """
        while True:
            try:
                return await decide()
            except CeilingError as error:
                if not error.soon or patience.left <= 0:
                    raise
            await self.sleep(_LOOK_AT_HOLDS_EVERY)
            patience.left -= _LOOK_AT_HOLDS_EVERY

    def _reconciler(self, job: Job) -> Reconciler:
        return self.reconciler if self.reconciler_of is None else self.reconciler_of(job)

    async def _person_decides(self, job: Job, consent: Consent) -> bool:
        """Put the one question about all open jobs, if there is one and somebody to answer it."""
        if not isinstance(consent, Witness):
            return False
        async with self._one_question:
            reconciler = self._reconciler(job)
            question = await reconciler.question()
            if question is None:
                return True  # somebody else's call has asked it meanwhile
            mine = await consent.which_are_mine(question)
            return mine is not None and bool(await reconciler.answer(question, mine))

    async def _unsettled(self, job: Job) -> UnsettledJobError:
        return UnsettledJobError(job, await self._reconciler(job).how_it_stands(job))

    async def _send_all(self, orders: Sequence[Order], decision: Decision) -> list[Submission]:
        answers: dict[str, Submission] = {}

        async def send(order: Order, job: Job) -> None:
            try:
                sent = await self.sender.send(order, job)
                answers[order.digest] = Submission(sent, repeated=sent.id != job.id)
            except KubeezError as error:
                with suppress(LedgerError):  # then what it said last: the error has more to tell
                    job = await self.ledger.get(job.id)
                answers[order.digest] = Submission(job, error=error)

        claimed = [(order, claim) for order, claim in zip(orders, decision.claims, strict=True)]
        fresh = [(order, claim.job) for order, claim in claimed if claim.job and not claim.repeated]
        if len(fresh) == 1:
            await send(*fresh[0])
        else:
            async with anyio.create_task_group() as group:
                for order, job in fresh:
                    group.start_soon(send, order, job)
        answers |= {
            order.digest: Submission(claim.job, repeated=True)
            for order, claim in claimed
            if claim.job and claim.repeated
        }
        return [answers[order.digest] for order in orders]
