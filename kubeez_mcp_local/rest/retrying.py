"""When a request may be sent again, and after how long.

Free requests are repeated after anything passing. A paid one is repeated only on proof that nothing was accepted:
no connection was made, or the API said 429.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.rest.failures import RateLimitedError, UnavailableError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

# Waiting for a server that is not there helps less than saying so.
_UNREACHABLE_ATTEMPTS = 3


@dataclass(frozen=True)
class Patience:
    """How often and how long to try.

    Attributes:
        attempts: At most this many requests in all.
        seconds: At most this much waiting in all, what `Retry-After` asks for included.
        first_wait: First delay in seconds where the API names none; it doubles, with jitter added.
    """

    attempts: int = 5
    seconds: float = 30.0
    first_wait: float = 0.5


class Waits:
    """Decides after each failure of one request whether and how long to wait; the backoff hook of stamina."""

    def __init__(self, patience: Patience, *, paid: bool) -> None:
        self._patience = patience
        self._paid = paid
        self._failures = 0
        self._asked = 0.0

    def __call__(self, error: Exception) -> bool | float:
        """`False` to give up, `True` to wait as long as usual, or the seconds that the API asked for."""
        self._failures += 1
        if isinstance(error, UnreachableError):
            return not error.lasting and self._failures < _UNREACHABLE_ATTEMPTS
        if not isinstance(error, RateLimitedError | UnavailableError) or (self._paid and error.status != 429):
            return False
        if error.retry_after is None:
            return True
        self._asked += error.retry_after
        return error.retry_after if self._asked <= self._patience.seconds else False


async def with_retries(call: Callable[[], Awaitable[T]], patience: Patience, *, paid: bool = False) -> T:
    """Call until it succeeds or repeating is pointless; the last error is let through.

    The first call runs bare: importing and setting up the retry machinery costs more than a whole request, and
    nearly every request succeeds at once.
    """
    try:
        return await call()
    except KubeezError as error:
        if not Waits(patience, paid=paid)(error) or patience.attempts <= 1:
            raise
        first = error
    import stamina

    async for attempt in stamina.retry_context(
        on=Waits(patience, paid=paid),
        attempts=patience.attempts,
        timeout=patience.seconds,
        wait_initial=patience.first_wait,
        wait_jitter=patience.first_wait,
        wait_max=8.0,
    ):
        with attempt:
            if attempt.num == 1:
                raise first
            return await call()
    raise first  # pragma: no cover - stamina lets the last error through
