"""The one way to spend credits: look, ask, claim, send, write down.

The order is: freeze the quote → look whether it could be claimed → ask the user → claim → upload and build the
request → wait for the API's limits → send → record the answer. Nothing is reserved while the user thinks; whatever
changed meanwhile is found by the claim, which checks everything again in one transaction. From the claim on there is
always a ledger row, and a row that says "sent" is on the disk before the first byte leaves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import anyio

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.consent import Witness, question_for, total_quote
from kubeez_mcp_local.jobs.digest import group_digest
from kubeez_mcp_local.jobs.failures import CeilingError, LedgerError, UnsettledJobError, failure_of
from kubeez_mcp_local.jobs.job import State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from kubeez_mcp_local.jobs.approvals import Approval
    from kubeez_mcp_local.jobs.asking import Asking
    from kubeez_mcp_local.jobs.consent import Consent, SpendQuestion
    from kubeez_mcp_local.jobs.guard import Decision
    from kubeez_mcp_local.jobs.job import Job
    from kubeez_mcp_local.jobs.ledger import Ledger
    from kubeez_mcp_local.jobs.order import Order
    from kubeez_mcp_local.jobs.reconcile import Reconciler
    from kubeez_mcp_local.jobs.sending import Sender

_LOOK_EVERY = 0.05
_LOOK_AT_HOLDS_EVERY = 0.25
_LOOKS_FOR_OWNER = 20


@dataclass(frozen=True)
class Submission:
    """What became of one order.

    Attributes:
        job: The job as the ledger has it.
        repeated: Whether it was there before, so that nothing was sent or paid now.
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


class Spender:
    """Submits orders.

    Args:
        sender: Sends what was claimed.
        ledger: What was paid.
        reconciler: Settles jobs whose fate is unknown.
        asking: Gets the user's yes.
        settling: Longest wait for an unknown job to be settled before giving up on a call, in seconds.
        holding: Longest wait of one call for what is held back for others to be released, in seconds.
        sleep: Waits that many seconds.
        longest_wait: Longest wait for the answer to a request that another call has sent, in seconds.
    """

    def __init__(
        self,
        sender: Sender,
        ledger: Ledger,
        reconciler: Reconciler,
        asking: Asking,
        *,
        settling: float = 10.0,
        holding: float = 15.0,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        longest_wait: float = 40.0,
    ) -> None:
        self._sender = sender
        self._ledger = ledger
        self._reconciler = reconciler
        self._asking = asking
        self._settling = settling
        self._holding = holding
        self._sleep = sleep
        self._longest_wait = longest_wait
        self._one_question = anyio.Lock()

    async def submit(self, order: Order, consent: Consent, approval: str | None = None) -> Submission:
        """Pay for one order, once.

        Args:
            consent: Asks the user, if the quote must be asked about.
            approval: The code that came with an earlier `ConsentRequiredError`.

        Raises:
            CeilingError, UnusableQuoteError: The guard does not let it through.
            ConsentRequiredError, DeclinedError, ConsentCancelledError, ApprovalError: There was no yes.
            UnsettledJobError: This, or something like it, may have been paid already.
            BusyError: The API's limits are used up.
            LedgerError: The ledger cannot be written, so nothing was sent.
            KubeezError: Building or sending failed; `spent` says what that means for the credits.
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
        await self._sender.write_what_is_unwritten()
        patience = _Patience(self._holding)
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
        permission = await self._permission(orders, consent, approval)
        await self._reconciler.look_before_paying()
        decision = await self._behind_holds(lambda: self._ledger.claim(orders, permission), patience)
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
            job = await self._reconciler.settle(job, patience=self._settling)
        error = await self._unsettled(job) if job.state is State.UNKNOWN else failure_of(job)
        return replace(submission, job=job, error=error)

    async def _answer_to(self, job: Job) -> Job:
        """The job once it is not `sending` any more; whoever sends it may also have ended meanwhile."""
        looks = 0
        with anyio.move_on_after(self._longest_wait):
            while job.state is State.SENDING:
                await anyio.sleep(_LOOK_EVERY)
                looks += 1
                if looks % _LOOKS_FOR_OWNER == 0:
                    await self._ledger.recover()
                job = await self._ledger.get(job.id)
        return job

    async def _as_it_stands(self, job: Job) -> Job:
        """What the ledger says of a job now, or said last: an error that has more to tell is on its way."""
        try:
            return await self._ledger.get(job.id)
        except LedgerError:
            return job

    async def question(self, orders: Sequence[Order]) -> SpendQuestion | None:
        """What `submit_all` would ask about these orders, or `None` if it would not; the same for ten minutes."""
        digest = group_digest([order.digest for order in orders])
        frozen = await self._asking.quote(digest, *total_quote(orders))
        return None if frozen is None else question_for(orders, frozen, digest)

    async def _unblocked(self, orders: Sequence[Order], consent: Consent, patience: _Patience) -> Decision:
        decision = await self._behind_holds(lambda: self._ledger.look(orders), patience)
        if decision.blocked_by is not None:
            await self._reconciler.settle(decision.blocked_by, patience=self._settling)
            decision = await self._behind_holds(lambda: self._ledger.look(orders), patience)
        if decision.blocked_by is not None and await self._person_decides(consent):
            decision = await self._behind_holds(lambda: self._ledger.look(orders), patience)
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
            await self._sleep(_LOOK_AT_HOLDS_EVERY)
            patience.left -= _LOOK_AT_HOLDS_EVERY

    async def _person_decides(self, consent: Consent) -> bool:
        """Put the one question about all open jobs, if there is one and somebody to answer it."""
        if not isinstance(consent, Witness):
            return False
        async with self._one_question:
            question = await self._reconciler.question()
            if question is None:
                return True  # somebody else's call has asked it meanwhile
            mine = await consent.which_are_mine(question)
            return mine is not None and bool(await self._reconciler.answer(question, mine))

    async def _unsettled(self, job: Job) -> UnsettledJobError:
        return UnsettledJobError(job, await self._reconciler.how_it_stands(job))

    async def _permission(self, orders: Sequence[Order], consent: Consent, approval: str | None) -> Approval | None:
        question = await self.question(orders)
        return None if question is None else await self._asking.permission(question, consent, approval)

    async def _send_all(self, orders: Sequence[Order], decision: Decision) -> list[Submission]:
        answers: dict[str, Submission] = {}

        async def send(order: Order, job: Job) -> None:
            try:
                sent = await self._sender.send(order, job)
                answers[order.digest] = Submission(sent, repeated=sent.id != job.id)
            except KubeezError as error:
                answers[order.digest] = Submission(await self._as_it_stands(job), error=error)

        fresh = [
            (order, claim.job)
            for order, claim in zip(orders, decision.claims, strict=True)
            if claim.job and not claim.repeated
        ]
        if len(fresh) == 1:
            await send(*fresh[0])
        else:
            async with anyio.create_task_group() as group:
                for order, job in fresh:
                    group.start_soon(send, order, job)
        return [
            answers.get(order.digest) or Submission(_certain(claim.job), repeated=True)
            for order, claim in zip(orders, decision.claims, strict=True)
        ]


def _certain(job: Job | None) -> Job:
    if job is None:
        raise RuntimeError("the guard gave neither a job nor a reason")
    return job
