"""Questions about money on a page, for clients that show none themselves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from kubeez_mcp_local.jobs.guard import VALID_SECONDS
from kubeez_mcp_local.text import (
    LONGEST_MESSAGE,
    cut_and_counted,
    on_one_line,
    presentable,
    visible,
    without_half_characters,
    without_keys,
)
from kubeez_mcp_local.web.approval_page import Asked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kubeez_mcp_local.bridge.viewing import Viewing
    from kubeez_mcp_local.jobs.job import SpendQuestion
    from kubeez_mcp_local.web.approval_page import ApprovalPage, Page

    PutsPage = Callable[[], Page]

_PICTURE_BYTES = 200_000
_PROMPT_SHOWN = 20_000


@dataclass(frozen=True)
class Approvals:
    """Puts questions on the approval page.

    Attributes:
        viewing: Makes the picture of what goes in.
        notice: Stands above every question; empty for nothing.
    """

    pages: ApprovalPage
    viewing: Viewing
    notice: str

    def page_for(self, question: SpendQuestion) -> Page:
        """The page of this very question, as long as its quote stands.

        Raises:
            OSError: No page can be served.
        """
        inputs = question.inputs
        asked = Asked(
            identity=question.identity,
            title=f"Pay {question.price}?",
            lines=tuple(on_one_line(without_keys(line), LONGEST_MESSAGE) for line in question.lines),
            prompt=cut_and_counted(visible(without_keys(without_half_characters(question.prompt))), _PROMPT_SHOWN),
            yes=f"Yes, pay {question.price}",
            notice=self.notice,
            picture=partial(self.viewing.at_hand, inputs, max_bytes=_PICTURE_BYTES) if inputs else None,
        )
        return self.pages.put(asked, question.quoted_at + VALID_SECONDS)

    def page_of_ticks(self, identity: str, text: str, choices: Mapping[str, str]) -> Page:
        """The page of a question that is answered by ticks: what became of requests whose answer never came.

        Raises:
            OSError: No page can be served.
        """
        asked = Asked(
            identity=identity,
            title="Which of these are yours?",
            lines=tuple(line for line in presentable(text).splitlines() if line.strip()),
            prompt="",
            yes="That is how it is",
            notice=self.notice,
            no="I cannot say",
            choices=tuple((name, on_one_line(words)) for name, words in choices.items()),
        )
        return self.pages.put(asked, self.pages.clock() + VALID_SECONDS)
