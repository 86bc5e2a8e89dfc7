"""The API as the parts use it: found on first use, read no faster than it allows, and asked what only it knows."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Concatenate, ParamSpec, Protocol, TypeVar, cast

import anyio
from pydantic import SecretStr

from kubeez_mcp_local.bridge.login import Keyring
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.operations import routes
from kubeez_mcp_local.operations.music import PERSONA
from kubeez_mcp_local.rest.errors import NotFoundError, UnexpectedAnswerError, UnreachableError
from kubeez_mcp_local.rest.routes import Request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
    from pathlib import Path

    from kubeez_mcp_local.hosted.client import HostedClient
    from kubeez_mcp_local.hosted.session import HostedTool, TokenSource
    from kubeez_mcp_local.rest.client import RestClient
    from kubeez_mcp_local.rest.contract import Terms
    from kubeez_mcp_local.rest.downloading import Accept, Downloaded
    from kubeez_mcp_local.rest.routes import JobKind, Route
    from kubeez_mcp_local.rest.wire import Accepted, Balance, Generation, Uploaded
    from kubeez_mcp_local.sandbox.embedded import EmbeddedSandbox
    from kubeez_mcp_local.settings import Settings

SANDBOX_KEY = "sk_live_sandbox"


T = TypeVar("T")
P = ParamSpec("P")


class Client(Protocol):
    """What both doors' clients do, `RestClient` and `HostedClient`."""

    async def models(self, model_type: str | None = None) -> list[dict[str, Any]]: ...
    async def balance(self) -> Balance: ...
    async def generations(
        self,
        *,
        limit: int | None = None,
        status: str | None = None,
        model: str | None = None,
        generation_type: str | None = None,
    ) -> list[Generation]: ...
    async def status(self, kind: JobKind, job_id: str) -> Generation: ...
    def events(self, kind: JobKind, job_id: str) -> AsyncGenerator[Generation, None]: ...
    async def upload(
        self,
        file: BinaryIO,
        *,
        filename: str,
        media_type: str,
        on_progress: Callable[[int, int], None] | None = None,
        model: str | None = None,
    ) -> Uploaded: ...
    async def start(self, request: Request) -> Accepted: ...
    async def call(self, request: Request) -> dict[str, Any]: ...
    async def download(self, url: str, target: Path, *, max_bytes: int, accept: Accept | None = None) -> Downloaded: ...
    async def aclose(self) -> None: ...


def _asking(
    method: Callable[[Client], Callable[P, Awaitable[T]]], *, paced: bool = False
) -> Callable[Concatenate[Api, P], Coroutine[Any, Any, T]]:
    """A method of the client, which is built first; a `paced` one waits until one more free request may be sent."""

    async def ask(api: Api, /, *args: P.args, **kwargs: P.kwargs) -> T:
        if paced:
            await api.may_read()
        return await method(await api.client())(*args, **kwargs)

    return ask


def _noticed(
    read: Callable[Concatenate[Api, P], Awaitable[list[Generation]]],
) -> Callable[Concatenate[Api, P], Coroutine[Any, Any, list[Generation]]]:
    async def ask(api: Api, /, *args: P.args, **kwargs: P.kwargs) -> list[Generation]:
        rows = await read(api, *args, **kwargs)
        await api.notice(rows)
        return rows

    return ask


@dataclass
class Api:
    """`RestClient` behind the rate limit for reads, built when it is first needed.

    Attributes:
        settings: Decide between the API itself, a standalone sandbox and the embedded one.
        may_read: Returns when one more free request may be sent.
        locate: Finds the path of an assumed route in the API's own document (`Contract.locate`).
        notice: Is shown every row of the account's history that anybody reads.
        keyring: Opened by the first call, where the key is in there.
        opened: Set once somebody has needed the API, and could have it.
    """

    settings: Settings
    may_read: Callable[[], Awaitable[None]]
    locate: Callable[[Route], Awaitable[Route]]
    notice: Callable[[list[Generation]], Awaitable[None]]
    keyring: Keyring = field(default_factory=Keyring)
    opened: anyio.Event = field(default_factory=anyio.Event)
    _given: SecretStr | None = None
    _located: set[str] = field(default_factory=set)
    _embedded: EmbeddedSandbox | None = None
    _client: Client | None = None
    _lock: anyio.Lock = field(default_factory=anyio.Lock)

    models = _asking(lambda client: client.models, paced=True)
    balance = _asking(lambda client: client.balance, paced=True)
    generations = _noticed(_asking(lambda client: client.generations, paced=True))
    upload = _asking(lambda client: client.upload)
    start = _asking(lambda client: client.start)
    call = _asking(lambda client: client.call)
    download = _asking(lambda client: client.download)
    _status = _asking(lambda client: client.status, paced=True)

    async def client(self) -> Client:
        """The client itself; starts the embedded sandbox if that is the API.

        Raises:
            KeyUnavailableError: The key cannot be had from the keyring.
            UnreachableError: The sandbox cannot be started, with its own code.
        """
        if self._client is None:
            async with self._lock:
                if self._client is None:
                    self._client = await self._built()
                    self.opened.set()
        return self._client

    async def _built(self) -> Client:
        origin = await self._origin()
        # httpx takes a tenth of a second to import: off the event loop, so that pings are still answered.
        return await anyio.to_thread.run_sync(_build, *origin)

    async def openapi(self) -> dict[str, Any]:
        """The API's own document."""
        await self.may_read()
        return await cast("RestClient", await self.client()).openapi()

    async def _origin(self) -> tuple[str, SecretStr]:
        settings = self.settings
        if settings.effective_mode == "live":
            return settings.base_url, await self._key()
        if settings.standalone_sandbox:
            return settings.standalone_sandbox, settings.api_key or SecretStr(SANDBOX_KEY)
        if self._embedded is None:
            from kubeez_mcp_local.sandbox.embedded import EmbeddedSandbox

            self._embedded = EmbeddedSandbox(settings.state_dir, settings.sandbox_speed)
        try:
            return await self._embedded.start(), SecretStr(SANDBOX_KEY)
        except KubeezError as error:  # nothing was sent to it, so nothing was accepted either
            absent = UnreachableError(error.message, next_step=error.next_step, code=error.code)
            absent.permanent = True
            raise absent from error

    def adopt(self, key: SecretStr) -> None:
        """Go on with `key`, which is of the account that the settings name."""
        self._given = key

    async def _key(self) -> SecretStr:
        if self._given is not None:
            return self._given
        if self.settings.api_key is None and self.settings.login is not None:
            return await self.keyring.key_of(self.settings.login)
        return self.settings.api_key or SecretStr("")

    async def aclose(self) -> None:
        """Close the connections, and stop the embedded sandbox, if it runs."""
        if self._client is not None:
            await self._client.aclose()
        if self._embedded is not None:
            await self._embedded.stop()

    async def status(self, kind: JobKind, job_id: str) -> Generation:
        """A job as it stands. Raises `NotOfferedError`: the API publishes no way to read jobs of this kind."""
        route = routes().get(f"{kind}_status")
        if route is not None and route.evidence == "assumed" and route.name not in self._located:
            cast("RestClient", await self.client()).adopt(await self.locate(route))
            self._located.add(route.name)
        return await self._status(kind, job_id)

    async def events(self, kind: JobKind, job_id: str) -> AsyncGenerator[Generation, None]:
        """As `RestClient.events`."""
        await self.may_read()
        async with aclosing((await self.client()).events(kind, job_id)) as events:
            async for event in events:
                yield event


@dataclass
class HostedApi(Api):
    """The hosted server's tools, as the API.

    Attributes:
        tokens: Where its tokens come from; nothing is opened for them before the first call.
        changed: Told when its list of tools may have changed.
    """

    tokens: TokenSource | None = None
    changed: Callable[[], None] = lambda: None

    async def hosted(self) -> HostedClient:
        """The client itself."""
        return cast("HostedClient", await self.client())

    async def tools(self) -> list[HostedTool]:
        """What the server lists now."""
        await self.may_read()
        return await (await self.hosted()).tools()

    async def status(self, kind: JobKind, job_id: str) -> Generation:
        return await self._status(kind, job_id)

    async def _built(self) -> Client:
        return await anyio.to_thread.run_sync(self._build)

    def _build(self) -> Client:
        from kubeez_mcp_local.hosted.client import HostedClient

        assert self.tokens is not None, "the door is open"
        return HostedClient(self.settings.mcp_url, self.tokens, on_tools_changed=self.changed)


def _build(base_url: str, key: SecretStr) -> RestClient:
    from kubeez_mcp_local.rest.client import Patience, RestClient

    # Paid requests are paced, and repeated after a 429, by the sender, which tells the other processes too.
    return RestClient(base_url, key, paid_patience=Patience(attempts=1))


async def keep_persona(api: Api, contract: Terms, song_id: str, name: str, description: str, style: str | None) -> str:
    """The id of a new persona: the voice of a finished song, kept for later ones.

    The hosted tool is documented as free and as answering at once.

    Raises:
        NotFoundError: The API knows no such song.
        NotOfferedError: The API publishes no such operation.
        UnexpectedAnswerError: It answered without an id.
    """
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
