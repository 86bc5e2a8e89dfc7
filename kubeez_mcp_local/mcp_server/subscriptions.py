"""Subscriptions to jobs: whoever asked for it is told when a job has changed, in both protocol eras.

A job has changed when its resource would read otherwise than before. What this process does to the ledger is known at
once. Whether another process has written to it, SQLite tells from memory that all of them share; it is asked once a
second, and only while somebody is subscribed.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
from mcp import MCPError
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated
from mcp.types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    EmptyResult,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    UnsubscribeRequestParams,
)

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.text import on_one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mcp.server.connection import Connection
    from mcp.server.context import ServerRequestContext
    from mcp.server.lowlevel.server import Server
    from mcp.types import SubscriptionsListenResult

    from kubeez_mcp_local.mcp_server.resources import Resources

LOOK_EVERY_SECONDS = 1.0
"""How often it is asked whether another process has changed the ledger."""
MOST_SUBSCRIPTIONS = 200
"""Of one client: each is read anew after every change of the ledger."""
_JOBS = "kubeez://jobs/"

log = logging.getLogger(__name__)


@dataclass
class JobSubscriptions:
    """Serves `resources/subscribe` and `resources/unsubscribe` of the handshake revisions, and what
    `subscriptions/listen` of 2026-07-28 asks of single resources.

    Attributes:
        bus: Carries the news to the streams of 2026-07-28.
    """

    resources: Resources
    bus: InMemorySubscriptionBus
    _wanted: Counter[str] = field(default_factory=Counter)
    _told: dict[str, str] = field(default_factory=dict)
    _connections: dict[Connection, set[str]] = field(default_factory=dict)
    _turn: anyio.Lock = field(default_factory=anyio.Lock)
    _stirred: anyio.Event = field(default_factory=anyio.Event)
    _watching: bool = False

    def __post_init__(self) -> None:
        self._listen_to = ListenHandler(self.bus)

    def serve(self, server: Server[Any]) -> None:
        """Have `server` answer these requests here."""
        server.add_request_handler("resources/subscribe", SubscribeRequestParams, self._subscribe)
        server.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, self._unsubscribe)
        server.add_request_handler("subscriptions/listen", SubscriptionsListenRequestParams, self._listen)

    async def _subscribe(self, context: ServerRequestContext[Any, Any], params: SubscribeRequestParams) -> EmptyResult:
        connection = _connection_of(context)
        if connection not in self._connections:
            self._connections[connection] = set()
            connection.exit_stack.callback(self._forget, connection)
        mine = self._connections[connection]
        async with self._turn:
            if params.uri not in mine:
                await self._add(params.uri, len(mine))
                mine.add(params.uri)
        return EmptyResult()

    async def _unsubscribe(
        self, context: ServerRequestContext[Any, Any], params: UnsubscribeRequestParams
    ) -> EmptyResult:
        mine = self._connections.get(_connection_of(context), set())
        async with self._turn:
            if params.uri in mine:
                mine.remove(params.uri)
                self._drop([params.uri])
        return EmptyResult()

    async def _listen(
        self, context: ServerRequestContext[Any, Any], params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        """One stream. What it asks for in vain is left out of the acknowledgement, as the protocol wants it; a stream
        that would have nothing left to tell is refused, with the reason."""
        asked = params.notifications
        honoured: list[str] = []
        refusal = None
        try:
            for uri in dict.fromkeys(asked.resource_subscriptions or ()):
                try:
                    await self._add(uri, len(honoured))
                    honoured.append(uri)
                except MCPError as error:
                    refusal = error
            lists = asked.tools_list_changed or asked.prompts_list_changed or asked.resources_list_changed
            if refusal is not None and not honoured and not lists:
                raise refusal
            granted = asked.model_copy(update={"resource_subscriptions": honoured or None})
            return await self._listen_to(context, params.model_copy(update={"notifications": granted}))
        finally:
            self._drop(honoured)

    async def _add(self, uri: str, others: int) -> None:
        """From now on tell of `uri`.

        Raises:
            MCPError: It is no job, it cannot be read now, or the client has `others` enough.
        """
        shown = on_one_line(uri)
        if not uri.startswith(_JOBS):
            raise _refused(uri, f"{shown} cannot be subscribed to: kubeez://jobs/recent and kubeez://jobs/{{id}} can.")
        if others >= MOST_SUBSCRIPTIONS:
            raise _refused(uri, f"{shown} is one too many: at most {MOST_SUBSCRIPTIONS}. kubeez://jobs/recent has all.")
        try:
            content = await self._content(uri)
        except ResourceError as error:
            missing = isinstance(error, ResourceNotFoundError)
            raise _refused(uri, str(error), INVALID_PARAMS if missing else INTERNAL_ERROR) from None
        self._wanted[uri] += 1
        self._told.setdefault(uri, content)
        self._stirred.set()  # for what has changed since it was read
        if not self._watching:
            self._watching = True
            self.resources.bridge.background.start(self._watch)

    def _drop(self, uris: Iterable[str]) -> None:
        for uri in uris:
            self._wanted[uri] -= 1
            if not self._wanted[uri]:
                del self._wanted[uri], self._told[uri]
        self._stirred.set()

    def _forget(self, connection: Connection) -> None:
        self._drop(self._connections.pop(connection))

    async def _content(self, uri: str) -> str:
        return str((await self.resources.read(uri)).content)

    async def _watch(self) -> None:
        """Until nobody is subscribed any more."""
        ledger = self.resources.bridge.ledger
        version = None
        try:
            with self.resources.bridge.heard_by(lambda: self._stirred.set()):
                while self._wanted:
                    with anyio.move_on_after(LOOK_EVERY_SECONDS):
                        await self._stirred.wait()
                    stirred, self._stirred = self._stirred.is_set(), anyio.Event()
                    try:
                        before, version = version, await ledger.version_for_others()
                        if stirred or version != before:
                            await self._look()
                    except KubeezError as error:  # whoever reads it is told more
                        log.info("the ledger cannot be looked at: %s", error.code)
        finally:
            self._watching = False

    async def _look(self) -> None:
        for uri in list(self._wanted):
            try:
                content = await self._content(uri)
            except ResourceError:
                continue  # locked for the moment
            if self._told.get(uri, content) != content:
                self._told[uri] = content
                await self._tell(uri)

    async def _tell(self, uri: str) -> None:
        await self.bus.publish(ResourceUpdated(uri))
        for connection in [each for each, uris in self._connections.items() if uri in uris]:
            await connection.send_resource_updated(uri)


def _connection_of(context: ServerRequestContext[Any, Any]) -> Connection:
    """Lives as long as the client does; a session, as long as one request. The SDK has no public way to it."""
    return context.session._connection


def _refused(uri: str, message: str, code: int = INVALID_PARAMS) -> MCPError:
    return MCPError(code=code, message=message, data={"uri": uri})
