"""The one error hierarchy of the bridge.

Every anticipated failure is a `KubeezError`. Each layer defines its own subclasses beside the code that raises
them; this module holds only what all of them share.
"""

from __future__ import annotations

from kubeez_mcp_local.text import presentable


class KubeezError(Exception):
    """An anticipated failure, explained to whoever asked.

    Args:
        message: What happened, in plain words, with the value at fault and the allowed ones.
        next_step: What the reader should do now; one sentence.
        spent: Whether credits may have been spent. `None` means it is not known yet.
        retry_safe: Whether the very same call can be repeated without risk.
        code: A stable identifier such as `insufficient_credits`, part of the public interface; instead of the class's.
        retry_after: In how many seconds the same call has a chance, where that is known.
    """

    code = "error"
    retry_after: float | None = None

    def __init__(
        self,
        message: str,
        *,
        next_step: str = "",
        spent: bool | None = False,
        retry_safe: bool = False,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.message = presentable(message)
        self.next_step = presentable(next_step)
        super().__init__(self.message)
        self.spent = spent
        self.retry_safe = retry_safe
        if code is not None:
            self.code = code
        if retry_after is not None:
            self.retry_after = retry_after

    def __str__(self) -> str:
        ended = not self.message or self.message[-1] in ".!?…:)"
        parts = [self.message if ended or not self.next_step else f"{self.message}.", self.next_step]
        if self.spent is None:
            parts.append("Credits may have been spent; check `kubeez-mcp-local jobs list` before trying again.")
        return " ".join(part for part in parts if part)


class InvalidArgumentError(KubeezError):
    """An argument is missing, of the wrong kind, or outside the allowed values. Nothing was charged."""

    code = "invalid_argument"

    def __init__(self, argument: str, message: str, *, next_step: str = "", code: str | None = None) -> None:
        super().__init__(f"{argument}: {message}", next_step=next_step or "Correct it and try again.", code=code)
        self.argument = argument


def first_error_in(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first exception inside nested groups: the one that the caller should see."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
