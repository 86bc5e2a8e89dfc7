"""Where jobs are accepted: the limits, the price, and how each job will end."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

from kubeez_mcp_local.sandbox.books import BalanceTooLowError
from kubeez_mcp_local.sandbox.catalogue import Catalogue
from kubeez_mcp_local.sandbox.limits import AT_ONCE, RateLimits
from kubeez_mcp_local.sandbox.refusals import Refusal, insufficient_credits, invalid_model, too_many
from kubeez_mcp_local.sandbox.studio.making import Studio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubeez_mcp_local.sandbox.books import Books
    from kubeez_mcp_local.sandbox.catalogue import Row
    from kubeez_mcp_local.sandbox.knobs import Panel
    from kubeez_mcp_local.sandbox.records import Job, JobDraft

FAIL_WORD = "[fail]"
REFUSE_WORD = "[refuse]"
_MODERATED = "The request was rejected by the content policy."


class Desk:
    """One stand-in's parts, and the only way into its job list. Blocking; safe across threads."""

    def __init__(self, books: Books, panel: Panel, *, rng: random.Random | None = None) -> None:
        self.books = books
        self.panel = panel
        self.catalogue = Catalogue.shipped()
        self.studio = Studio(books)
        self.limits = RateLimits(panel, books.clock)
        self._seeds = rng or random.Random()  # noqa: S311 - picks pictures, guards nothing
        self._luck = random.Random(panel.knobs.fail_seed)  # noqa: S311 - a rehearsed failure rate

    def row(self, model: str) -> Row:
        """The model's row.

        Raises:
            Refusal: 400 `invalid_model`.
        """
        row = self.catalogue.get(model)
        if row is None:
            raise invalid_model(model)
        return row

    def seed(self, wanted: int | None) -> int:
        """The seed to work with: as asked, or a random one for None and 0."""
        return wanted or self._seeds.randrange(1, 2**31)

    def reseed_luck(self) -> None:
        """Start the sequence of rehearsed failures anew, from the knob's seed."""
        self._luck.seed(self.panel.knobs.fail_seed)

    def accept(self, drafts: Sequence[JobDraft]) -> list[Job]:
        """Take on the jobs of one request.

        Raises:
            Refusal: 400 moderation, 429 too many at once, 400 or 402 out of credits. Nothing was charged.
        """
        knobs = self.panel.knobs
        refused = REFUSE_WORD in drafts[0].prompt or self.panel.take_refusal()
        if refused and knobs.moderation == "request":
            raise Refusal(400, {"error": "content_policy", "message": _MODERATED})
        self._check_room(drafts)
        fated = [
            replace(draft, failure=_MODERATED if refused else self._failure(draft), refundable=knobs.refund_failures)
            for draft in drafts
        ]
        try:
            return self.books.accept(fated)
        except BalanceTooLowError as error:
            raise insufficient_credits(knobs.no_credits_as, error.needed, error.left) from None

    def _check_room(self, drafts: Sequence[JobDraft]) -> None:
        most = AT_ONCE.get(drafts[0].bucket)
        if most is None or not self.panel.knobs.concurrency_caps:
            return
        if self.books.running(drafts[0].account, drafts[0].bucket) + len(drafts) > most:
            raise too_many(f"Too many jobs at once: at most {most} {drafts[0].bucket} jobs may run")

    def _failure(self, draft: JobDraft) -> str | None:
        knobs = self.panel.knobs
        unlucky = knobs.fail_probability > 0 and self._luck.random() < knobs.fail_probability
        if FAIL_WORD in draft.prompt or unlucky or self.panel.take_failure():
            return knobs.failure_message
        return None
