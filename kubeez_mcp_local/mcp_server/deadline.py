"""No tool call lasts longer than 45 seconds: many clients give up on calls that last a minute.

What takes longer goes on in the background where it can, so that the same call again finds it further or done. Time in
which a person is being asked does not count; the client knows about that.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

import anyio

from kubeez_mcp_local.errors import KubeezError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

    from kubeez_mcp_local.mcp_server.inventory import ToolSpec

T = TypeVar("T")

LONGEST_CALL = 45.0
_scope: ContextVar[anyio.CancelScope | None] = ContextVar("scope of the call", default=None)


class TookTooLongError(KubeezError):
    """The call was ended at its limit. A paid request that had left is in the ledger; a repeat returns its job."""

    code = "took_too_long"

    def __init__(self, spec: ToolSpec, seconds: float) -> None:
        step = "Call again with the same arguments; uploads and requests that have left go on meanwhile."
        if spec.spends:
            step += " If the job was accepted, the repeat returns it and pays nothing."
        super().__init__(
            f"{spec.name} was not done after {seconds:g} seconds; the API or the network is slow.",
            next_step=step,
            spent=None if spec.spends else False,
            retry_safe=True,
        )


async def timely(spec: ToolSpec, work: Awaitable[T], *, seconds: float | None = None) -> T:
    """The result of `work`, a call of `spec`, which may take `seconds` or else `LONGEST_CALL`.

    Raises:
        TookTooLongError: It was not done in time, and was cancelled.
    """
    limit = LONGEST_CALL if seconds is None else seconds
    with anyio.CancelScope(deadline=anyio.current_time() + limit) as scope:
        before = _scope.set(scope)
        try:
            return await work
        finally:
            _scope.reset(before)
    raise TookTooLongError(spec, limit)


@contextmanager
def while_a_person_decides() -> Iterator[None]:
    """Stop the clock of this call meanwhile."""
    scope = _scope.get()
    if scope is None:
        yield
        return
    left = scope.deadline - anyio.current_time()
    scope.deadline = math.inf
    try:
        yield
    finally:
        scope.deadline = anyio.current_time() + left
