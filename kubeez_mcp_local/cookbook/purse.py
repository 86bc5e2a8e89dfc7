"""The money of one run: a quote is reserved before a call and settled after it, and the budget is never passed."""

from __future__ import annotations

from dataclasses import dataclass, field

from kubeez_mcp_local.cookbook.budget import number


class BudgetReached(Exception):  # noqa: N818 - stops a run, which is a normal end; the report tells
    """The next call does not fit into what is left."""


@dataclass(slots=True)
class Purse:
    """Credits of one run. Used from one event loop, so that check and reservation are one step."""

    budget: float
    spent: float = 0.0
    _held: dict[str, float] = field(default_factory=dict)

    def reserve(self, key: str, credits_: float | None) -> None:
        """Hold back the price of a call.

        Raises:
            BudgetReached: It does not fit, or the price is unknown.
        """
        if credits_ is None:
            raise BudgetReached(
                "its price is unknown, so the budget cannot be kept; give the step an `at_most` in the recipe"
            )
        held = sum(self._held.values())
        if self.spent + held + credits_ > self.budget + 1e-9:
            raise BudgetReached(
                f"it costs {number(credits_)} credits, and {number(max(self.budget - self.spent - held, 0))} of the "
                f"budget of {number(self.budget)} are left"
            )
        self._held[key] = credits_

    def hold(self, key: str, credits_: float) -> None:
        """Hold back what an earlier attempt has already promised, whether it fits or not."""
        self._held[key] = credits_

    def settle(self, key: str, charged: float) -> None:
        """The call is over and cost this much."""
        self._held.pop(key, None)
        self.spent += charged

    def give_back(self, key: str) -> None:
        """The call cost nothing."""
        self._held.pop(key, None)

    def keep(self, key: str) -> None:
        """Nobody knows whether the call was charged: count it as spent."""
        self.spent += self._held.pop(key, 0.0)
