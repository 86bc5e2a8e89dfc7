"""The client of the hosted server: what `RestClient` does, by its tools instead of routes (hosted-mcp.md §1).

Answers come as the same types and failures as the same errors, so that everything above knows one API. Free calls are
repeated after anything passing. A paid one is sent once: nobody repeats it, neither this client nor the SDK beneath it,
but after a 401 to the POST itself, with another token.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

import anyio
from pydantic import ValidationError

from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.hosted.answers import (
    Exchange,
    Reply,
    broken,
    by_status,
    names_error,
    not_sent,
    refusal_of,
    started_something,
    unusable,
)
from kubeez_mcp_local.hosted.contract import FRESH, in_their_words, operation_of, tool_for
from kubeez_mcp_local.hosted.session import HostedTool, Session
from kubeez_mcp_local.rest import wire
from kubeez_mcp_local.rest.answers import Interpreter
from kubeez_mcp_local.rest.client import FileBody, Patience, json_object, with_retries
from kubeez_mcp_local.rest.contract import fields_of, put
from kubeez_mcp_local.rest.downloading import Accept, Downloaded, Downloader
from kubeez_mcp_local.rest.errors import NotFoundError, NotOfferedError, RefusedError, UnexpectedAnswerError
from kubeez_mcp_local.rest.pools import BROKEN, UPLOAD_TIMEOUT, Hints, Pools
from kubeez_mcp_local.rest.routes import ROUTES, Request, Route
from kubeez_mcp_local.rest.wire import MEDIA_ORIGIN, Accepted, Balance, Generation, ParseError, Uploaded
from kubeez_mcp_local.settings import is_loopback

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
    from pathlib import Path

    from kubeez_mcp_local.hosted.carrier import Carrier
    from kubeez_mcp_local.hosted.session import TokenSource
    from kubeez_mcp_local.rest.pools import Transport
    from kubeez_mcp_local.rest.routes import JobKind

T = TypeVar("T")
MOST_ROWS = 25
"""Rows of the history that are shown; a higher `limit` is clamped by the server."""
_LISTING_KEPT = 600.0
_LATEST_SECONDS = 10.0
_SESSION_LOOKS = 15
_UPLOAD_URL = Route("get_upload_url", "POST", "get_upload_url", "generate:media", "upload")
_UPLOAD_SESSION = Route("get_upload_session", "POST", "get_upload_session", "generate:media", "read")


@dataclass(frozen=True)
class HostedAnswer:
    """What any tool answered.

    Attributes:
        structured: Its structured content, or what its text is as JSON; `None` where it is none.
        text: All of its text; other content is named by type and size.
        error: For an answer that is an error: what it proves. `AmbiguousError` where it proves nothing.
    """

    structured: Any
    text: str
    error: KubeezError | None = None


class HostedClient:
    """Speaks to one hosted server with the tokens of one account. Nothing is opened before the first call; `aclose`
    when done.

    Args:
        url: The MCP endpoint; the token goes nowhere else.
        on_tools_changed: Told when the list of tools may have changed, such as `HostedContract.changed`.
        transport: Replaces the network in tests.
        sleep: Waits between attempts.
        clock: Seconds since 1970; for `Retry-After` dates.
        steady: Seconds that only go forward.
        answer_s: Longest wait for an answer, in seconds, and `paid_answer_s` for that of a paid call: older captions
            were made while one waited, for up to five minutes, and an answer that is not awaited leaves its fate open.
    """

    def __init__(
        self,
        url: str,
        tokens: TokenSource,
        *,
        on_tools_changed: Callable[[], None] = lambda: None,
        transport: Transport | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
        patience: Patience | None = None,
        answer_s: float = 60.0,
        paid_answer_s: float = 300.0,
        connect_s: float = 10.0,
    ) -> None:
        self.base_url = url
        parts = urlsplit(url)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self.media_origin = self._origin if is_loopback(url) else MEDIA_ORIGIN
        self._tokens, self._sleep, self._steady = tokens, sleep, steady
        self._patience = patience or Patience()
        self._answer_s, self._paid_answer_s, self._connect_s = answer_s, paid_answer_s, connect_s
        self._pools = Pools(transport, Hints("KUBEEZ_MCP_URL", "kubeez-mcp-local sandbox serve --hosted"))
        self._downloader = Downloader(self._pools, self._origin, sleep)
        self._retry_after = Interpreter(self._origin, None, clock).retry_after
        self._on_tools_changed = on_tools_changed
        self._session = Session(url, self._carrier, answer_s, self._tools_changed)
        self._takers: dict[str, str] = {}
        self._listing: tuple[float, list[HostedTool]] | None = None

    def _carrier(self) -> Carrier:
        from kubeez_mcp_local.hosted.carrier import Carrier

        return Carrier(
            *(self.base_url, self._pools, self._tokens.token, self._tokens.refused),
            *(self._retry_after, self._steady, self._connect_s),
        )

    async def __aenter__(self) -> HostedClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._session.aclose()
        await self._pools.aclose()

    async def tools(self) -> list[HostedTool]:
        """What the server lists now."""
        tools = await with_retries(self._session.tools, self._patience)
        self._listing = (self._steady(), tools)
        return tools

    def _tools_changed(self) -> None:
        self._listing = None
        self._on_tools_changed()

    async def _listed(self, max_age: float) -> list[HostedTool]:
        if self._listing is not None and self._steady() - self._listing[0] <= max_age:
            return self._listing[1]
        return await self.tools()

    async def models(self, model_type: str | None = None) -> list[dict[str, Any]]:
        """The catalogue rows as received."""
        return await self._read(ROUTES["models"], {"model_type": model_type}, wire.read_models)

    async def balance(self) -> Balance:
        """What the account holds, in credits."""
        return await self._read(ROUTES["balance"], {}, wire.read_balance)

    async def generations(
        self,
        *,
        limit: int | None = None,
        status: str | None = None,
        model: str | None = None,
        generation_type: str | None = None,
    ) -> list[Generation]:
        """The account's jobs, newest first, `MOST_ROWS` at most."""
        fields = {"limit": limit, "status": status, "model": model, "generation_type": generation_type}
        if limit is not None:
            fields["limit"] = max(1, min(limit, MOST_ROWS))
        read = partial(wire.read_generations, media_origin=self.media_origin)
        rows = await self._read(ROUTES["generations"], fields, read)
        return rows if limit is None else rows[:limit]

    async def status(self, kind: JobKind, job_id: str) -> Generation:
        """A job as it stands. `NotFoundError` is normal for a while after the start."""
        if not wire.is_job_id(job_id):
            raise NotFoundError(f"{job_id!r} is not the id of a job.", next_step="Take an id from the history.")
        route = Route(f"{kind}_status", "GET", "get_status", "read:generations", "read")
        read = partial(wire.read_generation, media_origin=self.media_origin, job_id=job_id)
        tool = tool_for(await self._listed(_LISTING_KEPT), route)
        fields = {"id": job_id, "kind": kind} if "kind" in fields_of(tool.input_schema) else {"id": job_id}
        return await self._read(route, fields, read)

    async def events(self, kind: JobKind, job_id: str) -> AsyncGenerator[Generation, None]:
        """Ends without a word: the hosted server has no such stream. For `RestClient.events`."""
        nothing: tuple[Generation, ...] = ()
        for each in nothing:
            yield each

    async def start(self, request: Request) -> Accepted:
        """Send a paid request, as `HostedContract.prepare` made it.

        Raises:
            AmbiguousError: It left, and nothing proves whether it was accepted.
            KubeezError: Anything else: it was not accepted, nothing was charged.
        """
        return await self._post(request, wire.read_accepted)

    async def call(self, request: Request) -> dict[str, Any]:
        """Use a tool that answers at once instead of starting a job, such as an estimate; as it was prepared."""
        return await self._post(request, _object)

    async def call_tool(self, name: str, arguments: Mapping[str, Any], *, spends: bool = True) -> HostedAnswer:
        """Whatever the tool `name` answers, errors of its own included. Sent once.

        Args:
            spends: Whether to take it for paid; a tool that is not known may always be.

        Raises:
            KubeezError: No answer came, with what that proves.
        """
        exchange = self._exchange(name, spends=spends)
        reply = await self._session.call(exchange, arguments, self._paid_answer_s)
        error = refusal_of(exchange, reply) if reply.is_error else None
        return HostedAnswer(reply.payload, exchange.without_tokens(reply.text), error)

    async def _post(self, request: Request, read: Callable[[Any], T]) -> T:
        if not request.route.spends:
            return await self._read(request.route, request.body, read)
        route = request.route
        exchange = self._exchange(route.path, spends=True, scope=route.scope)
        exchange.leave_by = self._steady() + _LATEST_SECONDS
        try:
            with anyio.fail_after(_LATEST_SECONDS):
                _verify(await self._listed(FRESH), request)
        except TimeoutError:
            raise not_sent(exchange, broken(exchange, "Its list of tools did not come in time")) from None
        except KubeezError as error:
            raise not_sent(exchange, error) from error
        try:
            reply = await self._session.call(exchange, request.body, self._paid_answer_s)
            return _parsed(exchange, reply, read)
        except RefusedError:
            self._tools_changed()  # as the tool may have: whoever tries again gets to know
            raise

    async def _read(self, route: Route, fields: Mapping[str, Any], read: Callable[[Any], T]) -> T:
        """A free call, repeated after passing failures."""

        async def ask() -> T:
            request = await self._prepared(Request(route, fields))
            exchange = self._exchange(request.route.path, scope=route.scope)
            reply = await self._session.call(exchange, request.body, self._answer_s)
            return _parsed(exchange, reply, read)

        async def ask_by_the_newest_list() -> T:
            try:
                return await ask()
            except RefusedError as error:
                if error.code != "schema_changed":
                    raise
                self._listing = None
                return await ask()

        return await with_retries(ask_by_the_newest_list, self._patience)

    async def _prepared(self, request: Request) -> Request:
        """In the words of the tools as they are known, or else as they are now."""
        known = self._listing
        try:
            return in_their_words(await self._listed(_LISTING_KEPT), request)
        except (NotOfferedError, InvalidArgumentError):
            if self._listing is not known or (known and self._steady() - known[0] <= FRESH):
                raise
        return in_their_words(await self.tools(), request)

    def _exchange(self, name: str, *, spends: bool = False, scope: str | None = None) -> Exchange:
        return Exchange(self.base_url, name, spends, scope)

    async def download(self, url: str, target: Path, *, max_bytes: int, accept: Accept | None = None) -> Downloaded:
        """Save a finished file as `target`; never with the token, never over an existing file (see `Downloader`)."""
        return await self._downloader.fetch(url, target, max_bytes=max_bytes, accept=accept)

    async def upload(
        self,
        file: BinaryIO,
        *,
        filename: str,
        media_type: str,
        on_progress: Callable[[int, int], None] | None = None,
        model: str | None = None,
    ) -> Uploaded:
        """Upload one open file, streamed from disk; costs nothing. A repetition reads it from the start, in an upload
        session of its own.

        Args:
            media_type: The true type of the content.
            on_progress: Called with bytes sent and bytes in all; starts over when the upload is repeated.
            model: What the file is for, which decides what may be uploaded. Without it a model that takes such files.
        """
        purpose = model or await self._taking(media_type.partition("/")[0])

        async def send() -> Uploaded:
            opened = await self._read(_UPLOAD_URL, {"model_id": purpose}, _object)
            address, token = opened.get("direct_upload_url"), opened.get("token")
            if not isinstance(address, str) or not isinstance(token, str) or not token:
                exchange = self._exchange("get_upload_url")
                raise unusable(exchange, "it names no place to upload to")
            self._verify_place(address)
            await self._put(address, token, file, filename, media_type, on_progress)
            return await self._uploaded(token)

        return await with_retries(send, self._patience)

    async def _taking(self, kind: str) -> str:
        """A model that takes such files, by the catalogue: an upload has to name what it is for."""
        if kind not in self._takers:
            for row in await self.models():
                for each in wire.list_of(row.get("input_media_types")):
                    self._takers.setdefault(str(each).lower(), str(wire.first(row, "model_id", "id")))
        if kind not in self._takers:
            raise InvalidArgumentError("path", f"no model in the catalogue takes {kind!r:.40} files.")
        return self._takers[kind]

    def _verify_place(self, address: str) -> None:
        """The file goes to Kubeez, or to the stand-in that we speak to, and nowhere else."""
        try:
            parts = urlsplit(address)
            host, origin = parts.hostname or "", f"{parts.scheme}://{parts.netloc}"
        except ValueError:
            host, origin = "", ""
        kubeez = origin.startswith("https://") and (host == "kubeez.com" or host.endswith(".kubeez.com"))
        if not kubeez and not (is_loopback(self.base_url) and origin == self._origin):
            raise UnexpectedAnswerError(
                f"The hosted server wants the file at {host or 'an address that is none'}, which is not of kubeez.com. "
                "Nothing was sent there.",
                next_step="Report this to Kubeez, and use an https URL of the file meanwhile.",
            )

    async def _put(
        self,
        address: str,
        token: str,
        file: BinaryIO,
        filename: str,
        media_type: str,
        on_progress: Callable[[int, int], None] | None,
    ) -> None:
        exchange = Exchange(self._origin, "the upload", tokens={token})
        try:
            body = FileBody(
                file=file,
                filename=filename,
                media_type=media_type,
                on_progress=on_progress,
                fields={"token": token},
            )
            answer = await self._pools.send("POST", address, content=body, headers=body.headers, timeout=UPLOAD_TIMEOUT)
        except OSError as error:
            raise InvalidArgumentError("path", f"{file.name} cannot be read: {error.strerror or error}.") from error
        except BROKEN as error:
            raise broken(exchange, f"The connection broke ({type(error).__name__})") from error
        if not answer.is_success:
            exchange.body, exchange.html = answer.text, "html" in answer.headers.get("content-type", "")
            exchange.retry_after = self._retry_after(answer)
            raise by_status(exchange, answer.status_code)

    async def _uploaded(self, token: str) -> Uploaded:
        """The address of the one file of this upload session, once the server has it and has measured what it can."""
        found: dict[str, Any] = {}
        for _ in range(_SESSION_LOOKS):
            found = await self._read(_UPLOAD_SESSION, {"token": token}, _object)
            if _address(found) and not _unmeasured(found):
                break
            await self._sleep(1.0)
        url = wire.resolve_url(_address(found), self.media_origin)
        if url is None:
            raise unusable(self._exchange("get_upload_session"), "it names no file although one was uploaded")
        return Uploaded(url=url)


def _verify(tools: list[HostedTool], request: Request) -> None:
    """Refuse to send what the tool, as it is now, would take otherwise than when the request was prepared."""
    route, body = request.route, dict(request.body)
    tool = next((each for each in tools if each.name == route.path), None)
    try:
        if tool is not None and put(operation_of(tool), route, body) == body:
            return
    except (NotOfferedError, InvalidArgumentError):
        pass
    raise RefusedError(
        f"The hosted server has changed what {route.path} takes since this was prepared. Nothing was sent.",
        next_step="Try again.",
        retry_safe=True,
        code="schema_changed",
    )


def _parsed(exchange: Exchange, reply: Reply, read: Callable[[Any], T]) -> T:
    """What the answer says. An error that names a job is an answer: what was started has to be followed."""
    if reply.is_error and not (exchange.spends and started_something(reply.payload)):
        raise refusal_of(exchange, reply)
    try:
        return read(reply.payload)
    except ParseError as error:
        if names_error(reply.payload):
            raise refusal_of(exchange, reply) from None
        raise unusable(exchange, str(error), reply.text) from None
    except ValidationError as error:
        raise unusable(exchange, wire.unreadable(error)) from None


def _object(payload: object) -> dict[str, Any]:
    found = json_object(payload)
    if found.get("error"):
        raise ParseError("it is an error")
    return found


def _address(found: Mapping[str, Any]) -> Any:
    urls = wire.list_of(found.get("media_urls"))
    rows = [row for row in wire.list_of(found.get("media")) if isinstance(row, dict)]
    return next(iter(urls), None) or next((row.get("url") for row in rows), None)


def _unmeasured(found: Mapping[str, Any]) -> bool:
    rows = wire.list_of(found.get("media"))
    return any(isinstance(row, dict) and row.get("measurement") == "unavailable" for row in rows)
