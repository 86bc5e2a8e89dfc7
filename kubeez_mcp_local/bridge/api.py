"""The API as the parts use it: found on first use, and read no faster than it allows."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import anyio

from kubeez_mcp_local.operations import routes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

    from kubeez_mcp_local.bridge.origin import Origins
    from kubeez_mcp_local.rest.client import RestClient
    from kubeez_mcp_local.rest.downloading import Accept, Downloaded
    from kubeez_mcp_local.rest.routes import JobKind, Request, Route
    from kubeez_mcp_local.rest.wire import Accepted, Balance, Generation

T = TypeVar("T")


class Api:
    """`RestClient` behind the rate limit for reads, built when it is first needed.

    Args:
        origins: Knows where the API is.
        may_read: Returns when one more free request may be sent.
        locate: Finds the path of an assumed route in the API's own document (`Contract.locate`).
        notice: Is shown every row of the account's history that anybody reads.
    """

    def __init__(
        self,
        origins: Origins,
        may_read: Callable[[], Awaitable[None]],
        locate: Callable[[Route], Awaitable[Route]],
        notice: Callable[[list[Generation]], Awaitable[None]],
    ) -> None:
        self._notice = notice
        self._origins = origins
        self._may_read = may_read
        self._locate = locate
        self._located: set[str] = set()
        self._client: RestClient | None = None
        self._lock = anyio.Lock()

    async def client(self) -> RestClient:
        """The client itself."""
        if self._client is None:
            async with self._lock:
                if self._client is None:
                    origin = await self._origins.get()
                    # httpx takes a tenth of a second to import: off the event loop, so that pings are still answered.
                    self._client = await anyio.to_thread.run_sync(_build, origin.base_url, origin.key)
        return self._client

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()

    async def models(self) -> list[dict[str, Any]]:
        return await self._read(lambda client: client.models())

    async def balance(self) -> Balance:
        return await self._read(lambda client: client.balance())

    async def status(self, kind: JobKind, job_id: str) -> Generation:
        """A job as it stands.

        Raises:
            NotOfferedError: The API publishes no way to read jobs of this kind.
        """
        route = routes().get(f"{kind}_status")
        if route is not None and route.evidence == "assumed":
            await self.find_route(route)
        return await self._read(lambda client: client.status(kind, job_id))

    async def find_route(self, route: Route) -> None:
        """Make sure that an assumed route is called where the API publishes it; raises `NotOfferedError` if nowhere."""
        if route.name not in self._located:
            (await self.client()).adopt(await self._locate(route))
            self._located.add(route.name)

    async def generations(
        self,
        *,
        limit: int | None = None,
        status: str | None = None,
        model: str | None = None,
        generation_type: str | None = None,
    ) -> list[Generation]:
        rows = await self._read(
            lambda client: client.generations(limit=limit, status=status, model=model, generation_type=generation_type)
        )
        await self._notice(rows)
        return rows

    async def openapi(self) -> dict[str, Any]:
        return await self._read(lambda client: client.openapi())

    async def events(self, kind: JobKind, job_id: str) -> AsyncGenerator[Generation, None]:
        await self._may_read()
        async with aclosing((await self.client()).events(kind, job_id)) as events:
            async for event in events:
                yield event

    async def upload(
        self, file: BinaryIO, *, filename: str, media_type: str, on_progress: Callable[[int, int], None] | None = None
    ) -> str:
        client = await self.client()
        uploaded = await client.upload(file, filename=filename, media_type=media_type, on_progress=on_progress)
        return uploaded.url

    async def start(self, request: Request) -> Accepted:
        return await (await self.client()).start(request)

    async def call(self, request: Request) -> dict[str, Any]:
        return await (await self.client()).call(request)

    async def download(self, url: str, target: Path, *, max_bytes: int, accept: Accept | None = None) -> Downloaded:
        return await (await self.client()).download(url, target, max_bytes=max_bytes, accept=accept)

    async def _read(self, ask: Callable[[RestClient], Awaitable[T]]) -> T:
        await self._may_read()
        return await ask(await self.client())


def _build(base_url: str, key: Any) -> RestClient:
    from kubeez_mcp_local.rest.client import RestClient
    from kubeez_mcp_local.rest.retrying import Patience

    # Paid requests are paced, and repeated after a 429, by the sender, which tells the other processes too.
    return RestClient(base_url, key, paid_patience=Patience(attempts=1))
