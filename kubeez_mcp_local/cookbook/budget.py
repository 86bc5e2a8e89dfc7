"""What one run of a recipe may spend: its own budget, never above the ceilings of the settings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.cookbook.problems import RecipeError, TemplateError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kubeez_mcp_local.cookbook.format import Recipe


@dataclass(frozen=True, slots=True)
class Budget:
    """Credits that one run may spend. `note` says when a ceiling lowered what the recipe asked for."""

    credits: float
    note: str = ""


def scope_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The names a template sees: every argument by itself, and all of them as `args`."""
    return {**arguments, "args": dict(arguments)}


def budget_of(recipe: Recipe, arguments: Mapping[str, Any], ceiling: float = math.inf) -> Budget:
    """The budget of one run in credits; without one in the recipe, the ceiling.

    Args:
        recipe: The recipe.
        arguments: Its checked arguments.
        ceiling: What the settings leave for today, in credits; nothing in a recipe can raise it.

    Raises:
        RecipeError: The budget is not a number of credits.
    """
    wanted = _wanted(recipe, arguments)
    if wanted is None:
        return Budget(ceiling, "The recipe states no budget; your own ceiling holds.")
    if wanted <= ceiling:
        return Budget(wanted)
    return Budget(ceiling, f"The recipe asks for {number(wanted)} credits; your ceiling of {number(ceiling)} holds.")


def _wanted(recipe: Recipe, arguments: Mapping[str, Any]) -> float | None:
    from kubeez_mcp_local.cookbook.templates import evaluate

    budget = recipe.front.budget
    if budget is None or isinstance(budget, (int, float)):
        return budget
    line = recipe.line_of("budget")
    try:
        value = evaluate(budget, scope_of(arguments))
        credits_ = float(value)
    except TemplateError as error:
        raise RecipeError(recipe.file, line, "budget", error.message) from None
    except (TypeError, ValueError):
        raise RecipeError(recipe.file, line, "budget", f"must come to a number of credits, not {budget!r}") from None
    if not math.isfinite(credits_) or credits_ < 0:
        raise RecipeError(recipe.file, line, "budget", f"comes to {value!r}; it must be a number from 0 up")
    return credits_


def number(credits_: float) -> str:
    """Credits for people: no decimals where there are none."""
    return f"{credits_:,.2f}".rstrip("0").rstrip(".") if math.isfinite(credits_) else "no limit"
