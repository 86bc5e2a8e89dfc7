"""The API as the parts use it: found on first use, read no faster than it allows, and asked what only it knows."""

from __future__ import annotations

import logging
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import anyio
from pydantic import SecretStr

from kubeez_mcp_local.catalogue.prices import QuoteLine, rounded
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.operations import routes
from kubeez_mcp_local.operations.music import PERSONA
from kubeez_mcp_local.rest.errors import UnreachableError
from kubeez_mcp_local.rest.routes import ROUTES, Request
from kubeez_mcp_local.rest.wire import price_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
    from pathlib import Path

    from kubeez_mcp_local.operations import Described
    from kubeez_mcp_local.rest.client import RestClient
    from kubeez_mcp_local.rest.contract import Contract
    from kubeez_mcp_local.rest.downloading import Accept, Downloaded
    from kubeez_mcp_local.rest.routes import JobKind, Route
    from kubeez_mcp_local.rest.wire import Accepted, Balance, Generation
    from kubeez_mcp_local.sandbox.embedded import EmbeddedSandbox
    from kubeez_mcp_local.settings import Settings

SANDBOX_KEY = "sk_live_sandbox"


@dataclass(frozen=True)
class Origin:
    """An API to talk to."""

    base_url: str
    key: SecretStr


class Origins:
    """Finds the API that the settings name.

    Args:
        settings: Decide between live, standalone and embedded.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._embedded: EmbeddedSandbox | None = None
        self._lock = anyio.Lock()

    async def get(self) -> Origin:
        """The API's origin and key. Starts the embedded sandbox if that is the one.

        Raises:
            UnreachableError: It cannot be started, with the sandbox's own code.
        """
        settings = self._settings
        if settings.effective_mode == "live":
            return Origin(settings.base_url, settings.api_key or SecretStr(""))
        if settings.standalone_sandbox:
            return Origin(settings.standalone_sandbox, settings.api_key or SecretStr(SANDBOX_KEY))
        async with self._lock:
            if self._embedded is None:
                from kubeez_mcp_local.sandbox.embedded import EmbeddedSandbox

                self._embedded = EmbeddedSandbox(settings.state_dir, settings.sandbox_speed)
            try:
                return Origin(await self._embedded.start(), SecretStr(SANDBOX_KEY))
            except KubeezError as error:  # nothing was sent to it, so nothing was accepted either
                absent = UnreachableError(error.message, next_step=error.next_step)
                absent.code, absent.permanent = error.code, True
                raise absent from error

    async def aclose(self) -> None:
        """Stop the embedded sandbox, if it runs."""
        if self._embedded is not None:
            await self._embedded.stop()


T = TypeVar("T")


@dataclass
class Api:
    """`RestClient` behind the rate limit for reads, built when it is first needed.

    Attributes:
        origins: Knows where the API is.
        may_read: Returns when one more free request may be sent.
        locate: Finds the path of an assumed route in the API's own document (`Contract.locate`).
        notice: Is shown every row of the account's history that anybody reads.
    """

    origins: Origins
    may_read: Callable[[], Awaitable[None]]
    locate: Callable[[Route], Awaitable[Route]]
    notice: Callable[[list[Generation]], Awaitable[None]]
    _located: set[str] = field(default_factory=set)
    _client: RestClient | None = None
    _lock: anyio.Lock = field(default_factory=anyio.Lock)

    async def client(self) -> RestClient:
        """The client itself."""
        if self._client is None:
            async with self._lock:
                if self._client is None:
                    origin = await self.origins.get()
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
            (await self.client()).adopt(await self.locate(route))
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
        await self.notice(rows)
        return rows

    async def openapi(self) -> dict[str, Any]:
        return await self._read(lambda client: client.openapi())

    async def events(self, kind: JobKind, job_id: str) -> AsyncGenerator[Generation, None]:
        await self.may_read()
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
        await self.may_read()
        return await ask(await self.client())


def _build(base_url: str, key: Any) -> RestClient:
    from kubeez_mcp_local.rest.client import Patience, RestClient

    # Paid requests are paced, and repeated after a 429, by the sender, which tells the other processes too.
    return RestClient(base_url, key, paid_patience=Patience(attempts=1))


log = logging.getLogger(__name__)
# How its answer is spelled is not documented (API reference §2.13); the name of a start's answer comes first.
_TOTALS = ("estimated_cost_credits", "estimated_credits", "total_credits", "credits", "cost_credits", "total")


async def told_price(api: Api, contract: Contract, job: Described) -> QuoteLine | None:
    """The API's own price of `job`, all of it together; `None` where it cannot be asked or does not say. Free."""
    said = {
        **{name: getattr(job, name) for name in ("model", "generation_type", "duration", "resolution", "quality")},
        "sound": job.sound,
        "reference_video_seconds": job.video_seconds,
        "reference_audio_seconds": job.audio_seconds,
    }
    body = {name: value for name, value in said.items() if value is not None}
    try:
        answer = await api.call(await contract.prepare(Request(ROUTES["estimate"], body)))
    except KubeezError as error:
        log.info("the API names no price: %s", error.code)
        return None
    each = total_of(answer)
    return None if each is None else QuoteLine(job.model, rounded(each * job.count), "as the API estimates it")


def total_of(answer: Mapping[str, Any]) -> float | None:
    """The price that an answer names, in credits; `None` if it names none that can be true."""
    amounts = (price_of(answer.get(name)) for name in _TOTALS)
    return next((amount for amount in amounts if amount is not None), None)


async def keep_persona(
    api: Api, contract: Contract, song_id: str, name: str, description: str, style: str | None
) -> str:
    """The id of a new persona: the voice of a finished song, kept for later ones.

    The hosted tool is documented as free and as answering at once.

    Raises:
        NotFoundError: The API knows no such song.
        NotOfferedError: The API publishes no such operation.
        UnexpectedAnswerError: It answered without an id.
    """
    from kubeez_mcp_local.rest.errors import NotFoundError, UnexpectedAnswerError

    body = {"song_id": song_id, "name": name, "description": description, **({"style": style} if style else {})}
    operation = await contract.prepare(Request(PERSONA, body))
    try:
        answer = await api.call(operation)
    except NotFoundError as error:
        error.next_step = error.next_step or "Take the id inside songs[] of a finished generate_music job."
        raise
    found = answer.get("persona_id") or answer.get("id")
    if not isinstance(found, str | int):
        raise UnexpectedAnswerError(
            "The API took the request but named no persona.",
            next_step="Look for it on https://kubeez.com before asking again.",
            spent=None,
        )
    return str(found)
