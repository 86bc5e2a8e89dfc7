"""Work that goes on when the call that began it has to answer; the next call with the same wish joins it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio

from kubeez_mcp_local.errors import KubeezError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from kubeez_mcp_local.jobs.background import Background
    from kubeez_mcp_local.media.inputs import LocalInput
    from kubeez_mcp_local.media.uploads import Uploads

T = TypeVar("T")


class InterruptedWorkError(KubeezError):
    """Work in the background ended without a result, because the program ends or the work crashed."""

    code = "interrupted"


@dataclass
class _Flight:
    landed: anyio.Event = field(default_factory=anyio.Event)
    results: list[Any] = field(default_factory=list)
    error: KubeezError | None = None


class Lasting(Generic[T]):
    """Runs work in the background, one run for each key at a time.

    Args:
        background: Where it runs.
    """

    def __init__(self, background: Background) -> None:
        self._background = background
        self._flights: dict[str, _Flight] = {}

    async def join(self, key: str, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`, or of the same work under way. Whoever stops waiting does not stop the work.

        Raises:
            KubeezError: Whatever `work` raises.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight()
            self._background.start(self._fly, key, flight, work)
        await flight.landed.wait()
        if flight.error is not None:
            raise flight.error
        result: T = flight.results[0]
        return result

    async def _fly(self, key: str, flight: _Flight, work: Callable[[], Awaitable[T]]) -> None:
        try:
            flight.results.append(await work())
        except KubeezError as error:
            flight.error = error
        finally:
            if not flight.results and flight.error is None:
                flight.error = InterruptedWorkError("The work was interrupted.", next_step="Call again.")
            self._flights.pop(key, None)
            flight.landed.set()


class LastingUploads:
    """Uploads that go on when a call cannot wait for them any longer.

    Args:
        uploads: Uploads each content once.
    """

    def __init__(self, uploads: Uploads, background: Background) -> None:
        self._uploads = uploads
        self._lasting: Lasting[str] = Lasting(background)

    async def url_for(self, local: LocalInput) -> str:
        """As `Uploads.url_for`."""
        return await self._lasting.join(local.sha256, lambda: self._uploads.url_for(local))
