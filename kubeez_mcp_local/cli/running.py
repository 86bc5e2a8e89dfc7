"""Runs a command's async work, so that anticipated failures and Ctrl-C come out as themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import anyio

from kubeez_mcp_local.logs import configure_logging

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from kubeez_mcp_local.settings import Settings

T = TypeVar("T")


def run(settings: Settings, work: Callable[[], Awaitable[T]]) -> T:
    """Run `work` to its end with logging as `settings` say.

    Raises:
        BaseException: Whatever `work` raised, taken out of the task groups that wrapped it.
    """
    configure_logging(settings.log_level)
    try:
        return anyio.run(work)
    except BaseExceptionGroup as group:
        raise first_of(group) from None


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first exception inside nested groups."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
