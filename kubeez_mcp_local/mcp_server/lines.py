"""From the lines of a client to messages that the SDK can read, and back: each is carried out, or refused and told why.

The SDK passes over what it cannot read in silence, and the client waits for ever; and it says of bad parameters that
they are bad. So lines are read here, parameters are held against the schema of the revision before they are passed on,
and whoever asks for something that cannot be done is told which part of it is at fault.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, Self

import anyio
from mcp.server.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp.types import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    methods,
)
from pydantic import ValidationError

from kubeez_mcp_local.messages import (
    BATCHES,
    HANDSHAKES,
    MODERN,
    NO_MESSAGE,
    NOT_JSON,
    VERSION_KEY,
    fault,
    in_one,
    is_answer,
    refusal,
    refused,
    unpacked,
)
from kubeez_mcp_local.text import on_one_line, without_half_characters

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from mcp.types import RequestId

DEEPEST = 100
"""Levels of JSON within JSON that a message may have; the arguments of our tools have four."""
LONGEST_PATH = 200
_MOST_AHEAD = 10_000
_ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
_TOO_DEEP = NO_MESSAGE.format(f"it is nested deeper than {DEEPEST} levels")
_ALWAYS = ("ping", "initialize")
_NO_ANSWER = ErrorData(code=INVALID_REQUEST, message="The client's answer cannot be read.")

log = logging.getLogger(__name__)


# What the server writes


class _Sink(Protocol):
    async def send(self, item: SessionMessage, /) -> None: ...
    async def aclose(self) -> None: ...


@dataclass(eq=False)
class Batch:
    """A batch in work: its answers go out in one array when the last is there."""

    waiting: list[RequestId] = field(default_factory=list)
    said: list[bytes] = field(default_factory=list)


@dataclass(frozen=True)
class _Line:
    """A line as it is, to the SDK a message."""

    text: str

    def model_dump_json(self, **_: Any) -> str:
        return self.text


@dataclass
class Answers:
    """What goes to the client, to the SDK a write stream: answers to batches are gathered, and what the front has said
    already is left out.

    Attributes:
        mark: The id of the request that was told again; its answer comes once.
        streams: Ids of subscriptions that were told again; the acknowledgement of each comes once.
    """

    sink: _Sink
    mark: str = ""
    streams: list[Any] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)

    async def send(self, item: SessionMessage, /) -> None:
        message = item.message
        if isinstance(message, JSONRPCResponse | JSONRPCError):
            await self._answer(item, message)
        elif not (self.streams and isinstance(message, JSONRPCNotification) and self._was_said(message)):
            await self.sink.send(item)

    async def _answer(self, item: SessionMessage, message: JSONRPCResponse | JSONRPCError) -> None:
        batch = next((one for one in self.batches if message.id in one.waiting), None)
        if self.mark and message.id == self.mark:
            if isinstance(message, JSONRPCError):
                log.warning("the handshake that the front has answered is refused (%s)", message.error.code)
        elif batch is None or message.id is None:
            await self.sink.send(item)
        else:
            batch.said.append(message.model_dump_json(by_alias=True, exclude_unset=True).encode())
            await self.settle(batch, message.id)

    def _was_said(self, message: JSONRPCNotification) -> bool:
        stream = ((message.params or {}).get("_meta") or {}).get(SUBSCRIPTION_ID_META_KEY)
        if message.method != _ACKNOWLEDGED or stream not in self.streams:
            return False
        self.streams.remove(stream)
        return True

    async def settle(self, batch: Batch, request: RequestId | None = None) -> None:
        """A request of `batch` needs no answer any more; without one, the batch may need none at all."""
        if request in batch.waiting:
            batch.waiting.remove(request)
        if not batch.waiting and batch in self.batches:
            self.batches.remove(batch)
            await self.write(in_one(batch.said))

    async def write(self, line: bytes) -> None:
        """Write a line of our own; nothing, if there is nothing in it."""
        if line:
            await self.sink.send(SessionMessage(_Line(line.decode().rstrip("\n"))))  # type: ignore[arg-type]  # as JSON

    async def aclose(self) -> None:
        await self.sink.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *details: object) -> None:
        await self.aclose()


# What the client writes


class _Ahead:
    """The client's lines, read by a thread of their own before they are asked for.

    So their end is noticed also while nobody takes them, because what was answered before is not being read. A thread
    that reads cannot be interrupted (python-sdk issue 3551): it is left behind.
    """

    def __init__(self, source: TextIO, at_end: Callable[[], object]) -> None:
        self._source = source
        self._at_end = at_end
        self._loop = asyncio.get_running_loop()
        self._read: deque[str | OSError] = deque()
        self._came = anyio.Event()
        self._room = threading.Semaphore(_MOST_AHEAD)
        threading.Thread(target=self._read_on, name="the client's lines", daemon=True).start()

    async def next(self) -> str:
        """The next line, empty at their end.

        Raises:
            OSError: It cannot be read.
        """
        while not self._read:
            self._came = anyio.Event()
            await self._came.wait()
        self._room.release()
        line = self._read.popleft()
        if isinstance(line, OSError):
            raise line
        return line

    def _read_on(self) -> None:
        line: str | OSError = "first"
        while line and not isinstance(line, OSError):
            self._room.acquire()
            try:
                line = self._source.readline()
            except OSError as error:
                line = error
            try:
                self._loop.call_soon_threadsafe(self._take, line)
            except RuntimeError:  # whoever wanted them has gone
                return
        self._at_end()

    def _take(self, line: str | OSError) -> None:
        self._read.append(line)
        self._came.set()


@dataclass
class ClientLines:
    """What the client writes, to the SDK a read stream.

    A line with half a character in it is mended: JavaScript writes one (`\\ud83d`) where a text was cut in the middle
    of an emoji. The mark of byte order that some programs write first is passed over.

    Attributes:
        revision: Of the protocol, as far as it is agreed.
        at_end: Called in another thread as soon as they end, also where earlier ones have not been taken yet.
    """

    source: TextIO
    answers: Answers
    revision: str = ""
    at_end: Callable[[], object] = lambda: None
    _ahead: _Ahead | None = None
    _begun: bool = False
    _ended: bool = False
    _ready: deque[SessionMessage] = field(default_factory=deque)

    async def receive(self) -> SessionMessage:
        while not self._ready:
            if self._ended:  # a terminal goes on after its end
                raise anyio.EndOfStream
            self._ahead = self._ahead or _Ahead(self.source, self.at_end)
            line = await self._ahead.next()
            self._ended = not line
            text = line if self._begun else line.removeprefix("\ufeff")
            self._begun = True
            if text.strip():
                await self._read(text)
        return self._ready.popleft()

    async def _read(self, line: str) -> None:
        try:
            value = _parsed(line)
        except (ValueError, RecursionError) as error:
            code, words = (INVALID_REQUEST, _TOO_DEEP) if isinstance(error, RecursionError) else (PARSE_ERROR, NOT_JSON)
            log.warning("a line of the client cannot be read (%s)", code)
            await self._refuse(refusal(None, self.revision, code, words))
            return
        if not isinstance(value, list):
            await self._refuse(self._take(value))
            return
        batch = Batch()
        good, lines = unpacked(value, self.revision)
        lines += [self._take(each, batch) for each in good]
        if self.revision != BATCHES:
            await self._refuse(b"".join(lines))
            return
        batch.said += filter(None, lines)
        self.answers.batches.append(batch)
        await self.answers.settle(batch)

    async def _refuse(self, lines: bytes) -> None:
        for line in lines.splitlines():
            await self.answers.write(line)

    def _take(self, value: Any, batch: Batch | None = None) -> bytes:
        """Have a message carried out, else the line that refuses it."""
        if is_answer(value):
            self._ready += _answer_in(value)
            return b""
        if fault(value):
            log.warning("a line of the client is no message: %s", fault(value))
            return refused(value, self.revision)
        if _depth_exceeds(value, DEEPEST):
            return refusal(value, self.revision, INVALID_REQUEST, _TOO_DEEP)
        asks = "method" in value and "id" in value
        if asks and (objection := self._objection(value)):
            log.warning("a request of the client is refused: %s", objection)
            return refusal(value, self.revision, INVALID_PARAMS, objection)
        metadata = None
        if batch is not None and asks:
            batch.waiting.append(value["id"])
            metadata = ServerMessageMetadata(on_request_unanswered=partial(self.answers.settle, batch, value["id"]))
        kind = JSONRPCRequest if "id" in value else JSONRPCNotification
        self._ready.append(SessionMessage(kind.model_validate(value), metadata))
        return b""

    def _objection(self, request: dict[str, Any]) -> str:
        """What is wrong with a request, as far as the schema can tell; empty where the server may answer it."""
        method, params = request["method"], request.get("params")
        meta = params.get("_meta") if isinstance(params, dict) else None
        enveloped = isinstance(meta, dict) and VERSION_KEY in meta and method != "initialize"
        if enveloped and not self.revision:
            self.revision = MODERN
        if self.revision == MODERN:
            known = enveloped and isinstance(meta, dict) and meta[VERSION_KEY] == MODERN
            return _fault_in(request, MODERN) if known else ""
        if enveloped:
            return ""
        if method not in _ALWAYS and not self.revision:
            return _TOO_EARLY.format(method) if method in methods.SPEC_CLIENT_METHODS else ""
        objection = _fault_in(request, self.revision or HANDSHAKES[-1])
        if method == "initialize" and not objection:
            wanted = (params or {})["protocolVersion"]
            self.revision = wanted if wanted in HANDSHAKES else HANDSHAKES[-1]
        return objection

    async def aclose(self) -> None:
        """The input is not ours to close: a thread may be reading it."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *details: object) -> None:
        await self.aclose()


_TOO_EARLY = (
    "{} came before initialize. Which protocol is spoken must be said first: in params.protocolVersion of initialize, "
    f"or with each request as {VERSION_KEY} in params._meta."
)


def _parsed(line: str) -> Any:
    value = json.loads(line)
    if "\\ud" not in line and "\\uD" not in line:
        return value
    return json.loads(without_half_characters(json.dumps(value, ensure_ascii=False)))


def _depth_exceeds(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most):
        holders = [each for each in level if isinstance(each, dict | list)]
        level = [inner for each in holders for inner in (each.values() if isinstance(each, dict) else each)]
        if not level:
            return False
    return True


def _answer_in(message: dict[str, Any]) -> list[SessionMessage]:
    """An answer of the client; a broken one, or one that says yes and no, is an error to whoever waits for it."""
    kind = JSONRPCError if message.get("error") is not None else JSONRPCResponse
    told = {name: one for name, one in message.items() if one is not None or name != "error"}
    try:
        if not _depth_exceeds(message, DEEPEST):
            return [SessionMessage(kind.model_validate(told))]
    except ValidationError:
        pass
    log.warning("an answer of the client is none")
    if type(message.get("id")) not in (int, str):
        return []
    return [SessionMessage(JSONRPCError(jsonrpc="2.0", id=message["id"], error=_NO_ANSWER))]


def _fault_in(request: dict[str, Any], revision: str) -> str:
    """Which member of a request is not what the schema of `revision` says; empty if all are, or it knows no such
    request."""
    try:
        methods.parse_client_request(request["method"], revision, request.get("params"))
    except KeyError:
        return ""
    except ValidationError as error:
        found = [(*_place(detail["loc"], request), detail) for detail in error.errors(include_url=False)]
        path, given, first = found[0]
        if first["type"] == "missing":
            return f"{path} is missing."
        allowed = dict.fromkeys(_allowed(detail) for place, _, detail in found if place == path)
        return f"{path} must be {' or '.join(allowed)}, not {_KINDS.get(type(given), 'that')}."
    return ""


_KINDS: dict[type, str] = {
    type(None): "null",
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a fraction",
    list: "a list",
    dict: "an object",
}
_ALLOWED = {"str": "a text", "int": "a whole number", "float": "a number", "bool": "true or false", "list": "a list"}


def _allowed(detail: Any) -> str:
    """What may stand where Pydantic has found this error."""
    if expected := detail.get("ctx", {}).get("expected"):
        return str(expected)
    kind = detail["type"].partition("_")[0]
    return _ALLOWED.get(kind.replace("string", "str"), "an object")


def _place(location: tuple[int | str, ...], request: Any) -> tuple[str, Any]:
    """Where in `request` that is, without the names of types that Pydantic has tried on the way, and what is there."""
    path, node = [], request
    for number, part in enumerate(location):
        there = part in node if isinstance(node, dict) else isinstance(node, list) and isinstance(part, int)
        if there or (number == len(location) - 1 and isinstance(node, dict) and isinstance(part, str)):
            path.append(str(part))
        node = node[part] if there else node
    return on_one_line(".".join(path), LONGEST_PATH), node
