"""Refusals that carry the error name of the hosted server, and the small checks that all tools share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.text import control_character, has_half_character

if TYPE_CHECKING:
    from collections.abc import Sequence


_MAX_NESTING = 100


class HostedError(InvalidArgumentError):
    """A bad argument for which the hosted server has a name of its own; `code` holds that name."""

    def __init__(self, code: str, argument: str, message: str, *, next_step: str = "") -> None:
        super().__init__(argument, message, next_step=next_step)
        self.code = code


def blank_to_none(text: str | None) -> str | None:
    """`text`, or `None` if nothing but white space is in it."""
    return text if text and text.strip() else None


def verify_text(argument: str, text: str | None, longest: int) -> None:
    """Refuse `text` if it has more than `longest` characters."""
    if text is not None and len(text) > longest:
        raise InvalidArgumentError(argument, f"has {len(text)} characters; at most {longest} are allowed.")


def verify_characters(argument: str, value: object, _nesting: int = 0) -> None:
    """Refuse text, at any depth of `value`, that is no text: halves of characters, and control characters.

    The former come about where a text was cut in the middle of an emoji. Of the latter, line breaks and tabs are text.
    """
    if isinstance(value, str):
        if has_half_character(value):
            raise InvalidArgumentError(
                argument, "holds half a character (a lone surrogate).", next_step="Send the text without it."
            )
        if odd := control_character(value):
            raise InvalidArgumentError(
                argument,
                f"holds the control character {odd}; of these, only line breaks and tabs are allowed.",
                next_step="Send the text without it.",
            )
    elif isinstance(value, dict | list | tuple):
        if _nesting > _MAX_NESTING:
            raise InvalidArgumentError(argument, f"is nested more than {_MAX_NESTING} levels deep.")
        for entry in (*value.keys(), *value.values()) if isinstance(value, dict) else value:
            verify_characters(argument, entry, _nesting + 1)


def verify_number(argument: str, value: float | None, least: float, most: float, unit: str = "") -> None:
    """Refuse a number outside `least` to `most`, both included."""
    if value is None:
        return
    wrong_type = isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value)
    if wrong_type or not least <= value <= most:
        raise InvalidArgumentError(argument, f"is {value!r}; allowed: {least:g} to {most:g}{unit}.")


def one_of(argument: str, value: str, allowed: Sequence[str]) -> str:
    """`value` in the spelling of `allowed`, compared without case.

    Raises:
        InvalidArgumentError: It is none of them.
    """
    spelled = {choice.lower(): choice for choice in allowed}
    found = spelled.get(value.strip().lower())
    if found is None:
        raise InvalidArgumentError(argument, f"{value!r} is not one of {', '.join(allowed)}.")
    return found


def verify_media_kind(argument: str, kind: str | None, allowed: Sequence[str]) -> None:
    """Refuse an input whose kind is known and not among `allowed`."""
    if kind is not None and kind not in allowed:
        raise InvalidArgumentError(argument, f"is {_article(kind)} file; {' or '.join(allowed)} is needed.")


def _article(kind: str) -> str:
    return f"an {kind}" if kind[:1] in "aeiou" else f"a {kind}"
