"""The connection to the hosted server: opened at the first call, shared by all, opened anew after it broke."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import anyio
import anyio.to_thread

from kubeez_mcp_local import __version__
from kubeez_mcp_local.environment import APP
from kubeez_mcp_local.errors import KubeezError, first_error_in
from kubeez_mcp_local.hosted.answers import (
    CURRENT,
    UNSUPPORTED_VERSION,
    Exchange,
    Reply,
    failure_of,
    not_sent,
    unusable,
)
from kubeez_mcp_local.rest.errors import UnreachableError
from kubeez_mcp_local.rest.wire import from_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from mcp.client import ClientSession
    from mcp.types import CallToolResult, ListToolsResult
    from pydantic import SecretStr

    from kubeez_mcp_local.hosted.carrier import Carrier

T = TypeVar("T")
log = logging.getLogger(__name__)
_MOST_PAGES = 20
_CLOSING_SECONDS = 1.0
_CLOSED = -32000


class TokenSource(Protocol):
    """Where the bearer token for the hosted server comes from."""

    async def token(self) -> SecretStr:
        """One that is valid now; refreshed first if that is needed.

        Raises:
            UnauthorizedError: There is none; it names `kubeez-mcp-local login --hosted`.
        """
        ...

    async def refused(self, token: SecretStr) -> SecretStr:
        """Another one, after a 401 came for `token`.

        Raises:
            UnauthorizedError: There is no other; it names `kubeez-mcp-local login --hosted`.
        """
        ...


@dataclass(frozen=True)
class HostedTool:
    """A tool as the server describes it. `read_only` is its own annotation: a hint, and no proof of anything."""

    name: str
    description: str
    input_schema: Mapping[str, Any]
    read_only: bool = False


@dataclass(eq=False)
class Session:
    """Calls of one server over one connection at a time.

    Attributes:
        carrier: Makes the way over which a connection is opened.
        answer_s: Longest wait for a free answer, in seconds.
        on_tools_changed: Told when the server says that its list of tools has changed, or when that cannot be known.
    """

    url: str
    carrier: Callable[[], Carrier]
    answer_s: float
    on_tools_changed: Callable[[], None]
    _connection: _Connection | None = None
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def call(self, exchange: Exchange, arguments: Mapping[str, Any], answer_s: float) -> Reply:
        """What the tool `exchange.name` answers; sent once, whatever happens.

        Raises:
            KubeezError: There is no answer, with what that proves (answers.py).
        """
        from mcp.types import CallToolRequest, CallToolRequestParams, CallToolResult, InputRequiredResult
        from pydantic import TypeAdapter

        # By hand, and not by the SDK's own `call_tool`: that repeats a call whose headers do not match, and throws an
        # answer away that does not match the tool's own schema, with the ids of a paid job in it.
        params = CallToolRequestParams(name=exchange.name, arguments=dict(arguments))
        adapter: TypeAdapter[CallToolResult | InputRequiredResult] = TypeAdapter(CallToolResult | InputRequiredResult)

        async def ask(session: ClientSession) -> CallToolResult | InputRequiredResult:
            return await session.send_request(CallToolRequest(params=params), adapter, answer_s)

        result = await self._ask(exchange, ask)
        if isinstance(result, InputRequiredResult):
            raise unusable(exchange, "it asks something back, which is not answered here")
        return _reply(result)

    async def tools(self) -> list[HostedTool]:
        """The tools that the server lists now."""
        from mcp.types import PaginatedRequestParams

        found: list[HostedTool] = []
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            params = PaginatedRequestParams(cursor=cursor) if cursor else None

            async def ask(session: ClientSession, params: PaginatedRequestParams | None = params) -> ListToolsResult:
                return await session.list_tools(params=params)

            page = await self._ask(Exchange(self.url, "tools/list"), ask)
            found += [
                HostedTool(
                    each.name,
                    each.description or "",
                    each.input_schema,
                    bool(each.annotations and each.annotations.read_only_hint),
                )
                for each in page.tools
            ]
            cursor = page.next_cursor
            if not cursor:
                break
        return found

    async def _ask(self, exchange: Exchange, ask: Callable[[ClientSession], Awaitable[T]]) -> T:
        """What one request brings. One that had not left when the connection ended is asked on the next connection."""
        for last in (False, True):
            connection = await self._connected(exchange)
            from mcp import MCPError
            from pydantic import ValidationError

            before = CURRENT.set(exchange)
            try:
                return await ask(connection.session)
            except MCPError as error:
                lost = await self._has_lost(connection, exchange, error.code)
                unseen = connection.traced and not exchange.posted and exchange.failure is None
                if lost and not last and (unseen or not exchange.spends):
                    exchange.renew()
                    continue
                if lost and unseen:
                    raise _not_open(self.url) from None
                raise failure_of(exchange, error.code, error.message) from None
            except ValidationError:
                raise unusable(exchange, "with something that is no answer to it") from None
            finally:
                CURRENT.reset(before)
        raise AssertionError  # pragma: no cover - the second round returns or raises

    async def _has_lost(self, connection: _Connection, exchange: Exchange, code: int) -> bool:
        """Whether the connection will carry no other request; it is given up then."""
        if code == _CLOSED and not exchange.posted:
            with anyio.move_on_after(_CLOSING_SECONDS):
                await connection.over.wait()
        if not (exchange.forgotten or code == UNSUPPORTED_VERSION or connection.over.is_set()):
            return False
        if self._connection is connection:
            self._connection = None
        self.on_tools_changed()
        connection.close()
        return True

    async def _connected(self, exchange: Exchange) -> _Connection:
        async with self._opening:
            if self._connection is None or self._connection.over.is_set():
                await anyio.to_thread.run_sync(_load_sdk)
                self._connection = _Connection(self)
            connection = self._connection
        try:
            await connection.opened()
        except KubeezError as error:
            raise not_sent(exchange, error) from error
        return connection

    async def aclose(self) -> None:
        """End the connection, if there is one; promptly."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
            with anyio.move_on_after(_CLOSING_SECONDS):
                await connection.over.wait()


def _load_sdk() -> None:
    """It takes a second: off the event loop, so that pings are still answered."""
    from importlib import import_module

    for name in ("mcp.client.streamable_http", "kubeez_mcp_local.hosted.carrier"):
        import_module(name)


def _not_open(url: str) -> KubeezError:
    return UnreachableError(
        f"The connection to {url} ended before the request left. Nothing was sent.",
        next_step="Try again.",
        retry_safe=True,
    )


class _Connection:
    """One negotiated session of the SDK's client. It lives in a task of its own: whoever asks first may be gone before
    the connection is.

    Attributes:
        over: Set once nothing more is sent or received on it.
        traced: Whether what is asked here can be told apart in the carrier, which rests on the SDK's handing on of
            context; without it, an unseen request may have left all the same.
    """

    session: ClientSession

    def __init__(self, owner: Session) -> None:
        self._owner = owner
        self._ready, self._closing, self.over = anyio.Event(), anyio.Event(), anyio.Event()
        self._error: KubeezError | None = None
        self.traced = False
        self._task = asyncio.create_task(self._live())

    async def opened(self) -> None:
        await self._ready.wait()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self._closing.set()

    async def _live(self) -> None:
        opening = Exchange(self._owner.url, "the connection")
        CURRENT.set(opening)
        try:
            async with self._negotiated(opening):
                self._ready.set()
                await self._closing.wait()
        except Exception as error:  # noqa: BLE001 - whoever waits is told what it means
            if not self._ready.is_set():
                self._error = _why_not_open(opening, error)
            else:
                log.info("the connection to the hosted server ended (%s)", type(error).__name__)
        finally:
            if not self._ready.is_set() and self._error is None:
                self._error = _not_open(self._owner.url)
            self._ready.set()
            self.over.set()
            self._owner.on_tools_changed()

    @contextlib.asynccontextmanager
    async def _negotiated(self, opening: Exchange) -> AsyncIterator[None]:
        import httpx2
        from mcp import Client
        from mcp.client.streamable_http import streamable_http_client
        from mcp.types import Implementation

        from kubeez_mcp_local.rest.pools import LONGEST_ANSWER

        for name in ("mcp.client", "client", "httpx2"):  # they log requests with their prompts
            logging.getLogger(name).setLevel(logging.CRITICAL)
        owner = self._owner
        async with httpx2.AsyncClient(transport=owner.carrier(), trust_env=False) as http:
            way = streamable_http_client(owner.url, http_client=http, max_sse_event_size=LONGEST_ANSWER)
            async with Client(
                way,
                read_timeout_seconds=owner.answer_s,
                client_info=Implementation(name=APP, version=__version__),
                message_handler=self._heard,
                cache=None,
            ) as client:
                self.session, self.traced = client.session, opening.posted
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._listen, client)
                    yield
                    tasks.cancel_scope.cancel()

    async def _heard(self, message: object) -> None:
        from mcp.types import ToolListChangedNotification

        if isinstance(message, ToolListChangedNotification):
            self._owner.on_tools_changed()

    async def _listen(self, client: Any) -> None:
        """Since 2026-07-28 a server says that its tools changed only to those who listen."""
        from mcp import MCPError
        from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost

        offered = client.server_capabilities.tools
        if offered is None or not offered.list_changed:
            return
        CURRENT.set(Exchange(self._owner.url, "subscriptions/listen"))
        try:
            async with client.listen(tools_list_changed=True) as changes:
                async for _ in changes:
                    self._owner.on_tools_changed()
        except (ListenNotSupportedError, MCPError, SubscriptionLost, TimeoutError) as error:
            log.debug("the hosted server does not say when its tools change (%s)", type(error).__name__)
            self._owner.on_tools_changed()  # as they may have while nobody listened


def _why_not_open(opening: Exchange, error: Exception) -> KubeezError:
    from mcp import MCPError

    inner: BaseException = first_error_in(error) if isinstance(error, BaseExceptionGroup) else error
    if isinstance(inner, MCPError):
        return failure_of(opening, inner.code, inner.message)
    if opening.failure is not None:
        return opening.failure
    log.warning("the hosted server cannot be spoken to (%s)", type(inner).__name__)
    return unusable(opening, "with something that is no MCP")


def _reply(result: CallToolResult) -> Reply:
    texts = [each.text if each.type == "text" else _outline(each) for each in result.content]
    text = "\n".join(texts)
    payload = result.structured_content
    if payload is None:
        payload = _json_of([each.text for each in result.content if each.type == "text"])
    if isinstance(payload, dict) and payload.keys() == {"result"}:  # how the SDKs' servers wrap what is no object
        inner = payload["result"]
        payload = _json_of([inner]) if isinstance(inner, str) else inner
    return Reply(payload, text, bool(result.is_error))


def _outline(block: Any) -> str:
    data = getattr(block, "data", None)
    size = f", {len(data) * 3 // 4:,} bytes" if isinstance(data, str) else ""
    return f"[{getattr(block, 'mime_type', None) or block.type}{size}]"


def _json_of(texts: list[str]) -> Any:
    """The JSON that the text is, or the list of what several texts are; `None` where any of them is none."""
    try:
        found = [from_json(text) for text in texts]
    except (ValueError, RecursionError):
        return None
    return found[0] if len(found) == 1 else found or None
