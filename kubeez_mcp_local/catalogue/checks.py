"""Small checks of arguments that all operations share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.text import LONGEST_NAME, control_character, cut, has_half_character

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_NESTING = 100
_LONGEST_SECONDS = 3600
MOST_FILE_SECONDS = 86_400
"""A day: no file that a model takes lasts longer."""


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


def verify_number(argument: str, value: Any, least: float, most: float, unit: str = "") -> None:
    """Refuse a number outside `least` to `most`, both included."""
    if value is None:
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not least <= value <= most:  # nothing compares with what is no number
        shown = cut(repr(value), LONGEST_NAME)
        raise InvalidArgumentError(argument, f"is {shown}; allowed: {least:,.10g} to {most:,.10g}{unit}.")


def verify_length(argument: str, seconds: float | None, most: int) -> None:
    """Refuse a file of more than `most` seconds; `None` is a length that is not known."""
    if seconds is not None and seconds > most:
        raise InvalidArgumentError(
            argument, f"is {seconds:.0f} s long; at most {most} s are allowed.", next_step="Trim it first (trim_video)."
        )


def verify_variant_count(count: int, most: int = 4) -> None:
    """Refuse a number of variants that is not from 1 to `most`."""
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= most:
        raise InvalidArgumentError("variant_count", f"is {count!r}; allowed: 1 to {most}.")


def one_of(argument: str, value: str, allowed: Sequence[str]) -> str:
    """`value` in the spelling of `allowed`, compared without case; refused if it is none of them."""
    spelled = {choice.lower(): choice for choice in allowed}
    found = spelled.get(value.strip().lower())
    if found is None:
        raise InvalidArgumentError(argument, f"{value!r} is not one of {', '.join(allowed)}.")
    return found


def verify_media_kind(argument: str, kind: str | None, allowed: Sequence[str]) -> None:
    """Refuse an input whose kind is known and not among `allowed`."""
    if kind is not None and kind not in allowed:
        article = "an" if kind[:1] in "aeiou" else "a"
        raise InvalidArgumentError(argument, f"is {article} {kind} file; {' or '.join(allowed)} is needed.")


def parse_seconds(duration: str | float | None) -> int | None:
    """Whole seconds from 5, "5" or "5s"; `None` stays `None`.

    Raises:
        InvalidArgumentError: It is not a whole number of seconds from 1 to 3600.
    """
    if duration is None or (isinstance(duration, str) and not duration.strip()):
        return None
    seconds: float = 0
    if isinstance(duration, str):
        found = re.fullmatch(r"(\d{1,4})(?:\.0+)?\s*(?:s|secs?|seconds?)?", duration.strip().lower(), re.ASCII)
        seconds = int(found.group(1)) if found else 0
    elif not isinstance(duration, bool):
        seconds = duration
    if not 1 <= seconds <= _LONGEST_SECONDS or seconds != int(seconds):
        raise InvalidArgumentError("duration", f'{duration!r} is not a whole number of seconds such as 5 or "5s".')
    return int(seconds)


def read_ratio(text: str) -> str:
    """A ratio as `w:h`, from `16:9`, `16x9`, `16/9` or `16 : 9`; other words stay as they are, in lower case."""
    return re.sub(r"\s*[:x/×]\s*", ":", text.strip().lower())
