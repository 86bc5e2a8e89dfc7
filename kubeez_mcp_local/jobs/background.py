"""Work that outlives the call that started it, and ends promptly with the process."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Self

import anyio

from kubeez_mcp_local.errors import KubeezError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup

log = logging.getLogger(__name__)


class Background:
    """A nursery for the life of the process: enter it once, start work from anywhere, leave to cancel what still runs.

    Work that fails is logged and takes nothing else down with it.
    """

    def __init__(self) -> None:
        self._group: TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        group, self._group = self._group, None
        if group is not None:
            group.cancel_scope.cancel()
            await group.__aexit__(None, None, None)

    @property
    def running(self) -> bool:
        """Whether work can be started."""
        return self._group is not None

    def start(self, work: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Run `work(*args)` beside everything else.

        Raises:
            RuntimeError: The background is not running, or not any more.
        """
        if self._group is None:
            raise RuntimeError("the background is not running")
        self._group.start_soon(_guarded, work, args)


async def _guarded(work: Callable[..., Awaitable[None]], args: tuple[Any, ...]) -> None:
    try:
        await work(*args)
    except KubeezError as error:
        log.warning("background work failed: %s", error.code)
    except Exception:
        log.exception("background work failed")
