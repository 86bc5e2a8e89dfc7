"""What can be wrong with a recipe, said with file, line and field."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from kubeez_mcp_local.errors import KubeezError

if TYPE_CHECKING:
    from collections.abc import Iterable


class RecipeError(KubeezError):
    """A recipe file cannot be used as it is. Nothing was run and nothing was charged.

    Attributes:
        file: The file at fault, as its reader knows it.
        line: Line in that file, counted from 1; 0 when the whole file is meant.
        field: Dotted field such as `arguments.brief.type`; empty when no single field is at fault.
        reason: What is wrong, with the value at fault and the allowed ones.
    """

    code = "invalid_recipe"

    def __init__(self, file: str, line: int, field: str, reason: str, *, next_step: str = "") -> None:
        place = f"{file}:{line}" if line else file
        message = f"{place}: {field}: {reason}" if field else f"{place}: {reason}"
        super().__init__(message, next_step=next_step or "Correct it and try again.")
        self.file = file
        self.line = line
        self.field = field
        self.reason = reason


class UnknownRecipeError(KubeezError):
    """There is no recipe of that name; the message lists near matches."""

    code = "unknown_recipe"


class TemplateError(KubeezError):
    """A template or expression cannot be rendered: wrong syntax, an unknown name, or more work than is allowed.

    Attributes:
        reason: What is wrong.
        line: Where in the template, counted from 1; 0 when that is not known.
    """

    code = "invalid_template"

    def __init__(self, reason: str, *, line: int = 0) -> None:
        super().__init__(f"Line {line} of the template: {reason}" if line > 1 else reason)
        self.reason = reason
        self.line = line


def near(word: str, allowed: Iterable[str]) -> str:
    """The sentence ` Did you mean …?`, or nothing when no allowed word is near."""
    matches = difflib.get_close_matches(word, list(allowed), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(matches)}?" if matches else ""
