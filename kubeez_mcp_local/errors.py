"""The one error hierarchy of the bridge.

Every anticipated failure is a `KubeezError`. Each layer defines its own subclasses beside the code that raises
them; this module holds only what all of them share.
"""

from __future__ import annotations

import re

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_KEY = re.compile(r"(?i)\b(sk_(?:live|test)_)[a-z0-9_-]+")
LONGEST_TEXT = 1_500
"""Characters of a message. Whatever value it quotes, it must not fill a conversation."""


class KubeezError(Exception):
    """An anticipated failure, explained to whoever asked.

    Args:
        message: What happened, in plain words, with the value at fault and the allowed ones.
        next_step: What the reader should do now; one sentence.
        spent: Whether credits may have been spent. `None` means it is not known yet.
        retry_safe: Whether the very same call can be repeated without risk.

    Attributes:
        code: A stable identifier such as `insufficient_credits`; part of the public interface.
        retry_after: In how many seconds the same call has a chance, where that is known.
    """

    code = "error"
    retry_after: float | None = None

    def __init__(
        self, message: str, *, next_step: str = "", spent: bool | None = False, retry_safe: bool = False
    ) -> None:
        super().__init__(_presentable(message))
        self.message = _presentable(message)
        self.next_step = _presentable(next_step)
        self.spent = spent
        self.retry_safe = retry_safe

    def __str__(self) -> str:
        ended = not self.message or self.message[-1] in ".!?…:)"
        parts = [self.message if ended or not self.next_step else f"{self.message}.", self.next_step]
        if self.spent is None:
            parts.append("Credits may have been spent; check `kubeez-mcp-local jobs list` before trying again.")
        return " ".join(part for part in parts if part)


class InvalidArgumentError(KubeezError):
    """An argument is missing, of the wrong kind, or outside the allowed values. Nothing was charged."""

    code = "invalid_argument"

    def __init__(self, argument: str, message: str, *, next_step: str = "") -> None:
        super().__init__(f"{argument}: {message}", next_step=next_step or "Correct it and try again.")
        self.argument = argument


def has_half_character(text: str) -> bool:
    """Whether `text` holds a lone surrogate, which nothing can store or send: JSON allows it, UTF-8 does not."""
    return not text.isascii() and _HALF_CHARACTER.search(text) is not None


def without_half_characters(text: str) -> str:
    """`text` with a replacement mark for each half of a character."""
    return text if text.isascii() else _HALF_CHARACTER.sub("\ufffd", text)


def without_keys(text: str) -> str:
    """`text` with whatever looks like an API key cut to `sk_live_…`."""
    return _KEY.sub(r"\1…", text)


def _presentable(text: str) -> str:
    """`text` without keys, and without its middle where it is too long: names come first, what is allowed last."""
    text = without_keys(without_half_characters(text))
    if len(text) <= LONGEST_TEXT:
        return text
    half = LONGEST_TEXT // 2 - 20
    return f"{text[:half]} … ({len(text) - 2 * half:,} characters) … {text[-half:]}"
