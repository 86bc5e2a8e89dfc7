"""The REST client: one method a route (rest-api.md §2); uploads, event streams, and when a request is sent again.

Free requests are repeated after anything passing. A paid one is repeated only on proof that nothing was accepted:
no connection was made, or the API said 429.
"""

from __future__ import annotations

import os
import secrets
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from urllib.parse import quote

import anyio
import httpx
from httpx_sse import EventSource, SSEError
from pydantic import SecretStr, ValidationError

from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.rest import wire
from kubeez_mcp_local.rest.answers import Interpreter
from kubeez_mcp_local.rest.downloading import Accept, Downloaded, Downloader
from kubeez_mcp_local.rest.errors import (
    AmbiguousError,
    NotFoundError,
    RateLimitedError,
    RefusedError,
    UnavailableError,
    UnreachableError,
)
from kubeez_mcp_local.rest.pools import STREAM_TIMEOUT, UPLOAD_TIMEOUT, Pools
from kubeez_mcp_local.rest.routes import ROUTES, Route
from kubeez_mcp_local.rest.wire import MEDIA_ORIGIN, Accepted, Balance, Generation, ParseError, Uploaded, from_json
from kubeez_mcp_local.settings import is_loopback

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

    from httpx_sse import ServerSentEvent

    from kubeez_mcp_local.rest.routes import JobKind, Request


_CHUNK = 256 * 1024


@dataclass(kw_only=True)
class FileBody:
    """A multipart body with one part named `file`, read from an open file; every iteration reads it from the start.

    Attributes:
        fields: Plain fields that come before it.
        media_type: The true type of the content; an untyped part may be refused.
        on_progress: Called with the bytes of the file sent so far, and its length.

    Raises:
        OSError: The file cannot be read.
        RefusedError: While it is iterated: the file no longer has the length that was announced.
    """

    file: BinaryIO
    filename: str
    media_type: str
    on_progress: Callable[[int, int], None] | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    boundary: str = field(default_factory=lambda: secrets.token_hex(16))

    def __post_init__(self) -> None:
        self.size = self.file.seek(0, os.SEEK_END)
        # As browsers write a filename into a part's header (WHATWG HTML, multipart/form-data).
        quoted = self.filename.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        media_type = self.media_type.replace("\r", "").replace("\n", "")
        fields = "".join(
            f'--{self.boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in self.fields.items()
        )
        self._head = (
            f'{fields}--{self.boundary}\r\nContent-Disposition: form-data; name="file"; filename="{quoted}"\r\n'
            f"Content-Type: {media_type}\r\n\r\n"
        ).encode()
        self._tail = f"\r\n--{self.boundary}--\r\n".encode()
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={self.boundary}",
            "Content-Length": str(len(self._head) + self.size + len(self._tail)),
        }

    async def __aiter__(self) -> AsyncIterator[bytes]:
        sent = 0
        yield self._head
        file = anyio.wrap_file(self.file)
        await file.seek(0)
        while chunk := await file.read(_CHUNK):
            sent += len(chunk)
            if sent > self.size:
                raise self._changed()
            yield chunk
            if self.on_progress:
                self.on_progress(sent, self.size)
        if sent != self.size:
            raise self._changed()
        yield self._tail

    def _changed(self) -> RefusedError:
        """The announced length no longer fits; the HTTP layer would fail with words that nobody understands."""
        name = PurePath(self.file.name).name
        return RefusedError(f"{name} changed while it was uploaded.", next_step="Send it again.", retry_safe=True)


T = TypeVar("T")

# Waiting for a server that is not there helps less than saying so.
_UNREACHABLE_ATTEMPTS = 3


@dataclass(frozen=True)
class Patience:
    """How often and how long to try.

    Attributes:
        attempts: At most this many requests in all.
        seconds: At most this much waiting in all, what `Retry-After` asks for included.
        first_wait: First delay in seconds where the API names none; it doubles, with jitter added.
    """

    attempts: int = 5
    seconds: float = 30.0
    first_wait: float = 0.5


@dataclass
class Waits:
    """Decides after each failure of one request whether and how long to wait; the backoff hook of stamina."""

    patience: Patience
    paid: bool
    _failures: int = 0
    _asked: float = 0.0

    def __call__(self, error: Exception) -> bool | float:
        """`False` to give up, `True` to wait as long as usual, or the seconds that the API asked for."""
        self._failures += 1
        if isinstance(error, UnreachableError):
            return not error.permanent and self._failures < _UNREACHABLE_ATTEMPTS
        if not isinstance(error, RateLimitedError | UnavailableError) or (self.paid and error.status != 429):
            return False
        if error.retry_after is None:
            return True
        self._asked += error.retry_after
        return error.retry_after if self._asked <= self.patience.seconds else False


async def with_retries(call: Callable[[], Awaitable[T]], patience: Patience, *, paid: bool = False) -> T:
    """Call until it succeeds or repeating is pointless; the last error is let through.

    The first call runs bare: importing and setting up the retry machinery costs more than a whole request, and
    nearly every request succeeds at once.
    """
    try:
        return await call()
    except KubeezError as error:
        if not Waits(patience, paid=paid)(error) or patience.attempts <= 1:
            raise
        first = error
    import stamina

    async for attempt in stamina.retry_context(
        on=Waits(patience, paid=paid),
        attempts=patience.attempts,
        timeout=patience.seconds,
        wait_initial=patience.first_wait,
        wait_jitter=patience.first_wait,
        wait_max=8.0,
    ):
        with attempt:
            if attempt.num == 1:
                raise first
            return await call()
    raise first  # pragma: no cover - stamina lets the last error through


class RestClient:
    """Speaks to one API with one key. Nothing is opened before the first call; `aclose` when done.

    Every method raises the errors of errors.py. Free calls are repeated after passing failures; a paid one only
    on proof that nothing was accepted.

    Args:
        api_key: Sent as `X-API-Key` to that origin and nowhere else.
        transport: Replaces the network in tests.
        sleep: Waits between attempts at a download.
        clock: Seconds since 1970; for `Retry-After` dates.
        paid_patience: The same for paid calls, where whoever sends them waits and repeats; default `patience`.
        answer_s: Seconds for an answer, and `connect_s` for a connection; not of uploads, streams and downloads.
    """

    def __init__(
        self,
        base_url: str,
        api_key: SecretStr | str | None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        clock: Callable[[], float] = time.time,
        patience: Patience | None = None,
        paid_patience: Patience | None = None,
        answer_s: float = 60.0,
        connect_s: float = 10.0,
    ) -> None:
        key = api_key.get_secret_value() if isinstance(api_key, SecretStr) else api_key
        self.base_url = base_url.rstrip("/")
        self.media_origin = self.base_url if is_loopback(self.base_url) else MEDIA_ORIGIN
        self._key_header = {"X-API-Key": key} if key else {}
        self._patience = patience or Patience()
        self._paid_patience = paid_patience or self._patience
        self._timeout = httpx.Timeout(answer_s, connect=connect_s)
        self._interpreter = Interpreter(self.base_url, key, clock)
        self._pools = Pools(transport)
        self._downloader = Downloader(self._pools, self.base_url, sleep)
        self._routes = dict(ROUTES)

    async def __aenter__(self) -> RestClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._pools.aclose()

    def adopt(self, route: Route) -> None:
        """From now on follow jobs on this route, because the API's own document names it (`Contract.locate`)."""
        self._routes[route.name] = route

    async def health(self) -> dict[str, Any]:
        """Whether the API is up: `{"status": "healthy"}`. Needs no key."""
        payload = await self._read(ROUTES["health"], lambda payload: payload)
        return payload if isinstance(payload, dict) else {}

    async def openapi(self) -> dict[str, Any]:
        """The API's description of itself. Needs no key."""
        return await self._read(ROUTES["openapi"], _openapi)

    async def models(self, model_type: str | None = None) -> list[dict[str, Any]]:
        """The catalogue rows as received, only enabled models."""
        return await self._read(ROUTES["models"], wire.read_models, {"model_type": model_type})

    async def balance(self) -> Balance:
        """What the account holds, in credits."""
        return await self._read(ROUTES["balance"], wire.read_balance)

    async def generations(
        self,
        *,
        limit: int | None = None,
        status: str | None = None,
        model: str | None = None,
        generation_type: str | None = None,
    ) -> list[Generation]:
        """The account's jobs, newest first. Whether the API itself knows `limit` is not documented."""
        query = {"limit": limit, "status": status, "model": model, "generation_type": generation_type}
        read = partial(wire.read_generations, media_origin=self.media_origin)
        rows = await self._read(ROUTES["generations"], read, query)
        return rows if limit is None else rows[:limit]

    async def status(self, kind: JobKind, job_id: str) -> Generation:
        """A job as it stands. `NotFoundError` is normal for a while after the start."""
        read = partial(wire.read_generation, media_origin=self.media_origin, job_id=job_id)
        route = self._routes[f"{kind}_status"]
        return await self._read(route, read, path=self._job_path(route, job_id))

    async def events(self, kind: JobKind, job_id: str) -> AsyncGenerator[Generation, None]:
        """The job once it ends, by server-sent events. Ends without a word when the stream breaks or there is none.

        Raises:
            KubeezError: `stream_failed`: the API sent an `error` event.
        """
        route = self._routes.get(f"{kind}_stream")
        if route is None:
            return

        headers = {**self._key_header, "Accept": "text/event-stream", "Cache-Control": "no-store"}
        url = self.base_url + self._job_path(route, job_id)
        try:
            response = await self._pools.send("GET", url, stream=True, headers=headers, timeout=STREAM_TIMEOUT)
        except httpx.HTTPError as error:
            raise self._broken(route, error) from error
        try:
            if not response.is_success:
                await response.aread()
                raise self._interpreter.failure(response, route)
            async with aclosing(self._results(response, job_id)) as found:
                async for generation in found:
                    yield generation
        except httpx.HTTPError as error:
            raise self._broken(route, error) from error
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()

    async def _results(self, response: httpx.Response, job_id: str) -> AsyncGenerator[Generation, None]:
        """The job when its `result` comes. A stream that breaks off, or is none, simply ends."""
        try:
            async for event in EventSource(response).aiter_sse():
                if event.event not in ("result", "error"):
                    continue
                found = self._job_in(event, job_id)
                if found is not None and (event.event == "result" or found.failed):
                    yield found
                    return
                if event.event == "error":
                    words = self._interpreter.words_of(event.data) or "no reason given"
                    raise KubeezError(
                        f"The stream of this job reported an error: {words}.",
                        next_step="Read the job's status.",
                        retry_safe=True,
                        code="stream_failed",
                    )
        except (httpx.HTTPError, httpx.StreamError, SSEError):
            return

    def _job_in(self, event: ServerSentEvent, job_id: str) -> Generation | None:
        try:
            return wire.read_generation(from_json(event.data), self.media_origin, job_id=job_id)
        except (ValueError, RecursionError):
            return None

    async def upload(
        self,
        file: BinaryIO,
        *,
        filename: str,
        media_type: str,
        on_progress: Callable[[int, int], None] | None = None,
        model: str | None = None,
    ) -> Uploaded:
        """Upload one open file, streamed from disk; costs nothing. A repetition reads it from the start.

        Args:
            media_type: The true type of the content.
            on_progress: Called with bytes sent and bytes in all; starts over when the upload is repeated.
            model: What the file is for; only the hosted server asks.
        """
        route = ROUTES["upload_media"]

        async def send() -> Uploaded:
            try:
                body = FileBody(file=file, filename=filename, media_type=media_type, on_progress=on_progress)
                headers = {**self._key_header, **body.headers}
                response = await self._send(route, route.path, content=body, headers=headers, timeout=UPLOAD_TIMEOUT)
            except OSError as error:
                raise InvalidArgumentError("path", f"{file.name} cannot be read: {error.strerror or error}.") from error
            return self._parsed(response, route, partial(wire.read_uploaded, media_origin=self.media_origin))

        return await with_retries(send, self._patience)

    async def start(self, request: Request) -> Accepted:
        """Send a paid request.

        Raises:
            AmbiguousError: It left, and nothing proves whether it was accepted.
            KubeezError: Anything else: it was not accepted, nothing was charged.
        """
        return await self._post(request, wire.read_accepted)

    async def call(self, request: Request) -> dict[str, Any]:
        """Use a route that answers at once instead of starting a job, such as an estimate."""
        return await self._post(request, json_object)

    async def download(self, url: str, target: Path, *, max_bytes: int, accept: Accept | None = None) -> Downloaded:
        """Save a finished file as `target`; never with the key, never over an existing file (see `Downloader`)."""
        return await self._downloader.fetch(url, target, max_bytes=max_bytes, accept=accept)

    async def _read(
        self, route: Route, read: Callable[[Any], T], query: dict[str, Any] | None = None, path: str | None = None
    ) -> T:
        params = {name: value for name, value in (query or {}).items() if value is not None} or None
        return await self._asked(route, read, path, params=params)

    async def _asked(self, route: Route, read: Callable[[Any], T], path: str | None = None, **parts: Any) -> T:
        headers = self._key_header if route.keyed else {}

        async def send() -> T:
            response = await self._send(route, path or route.path, headers=headers, **parts)
            return self._parsed(response, route, read)

        return await with_retries(send, self._paid_patience if route.spends else self._patience, paid=route.spends)

    async def _post(self, request: Request, read: Callable[[Any], T]) -> T:
        parts: dict[str, Any] = {"params" if request.route.method == "GET" else "json": dict(request.body)}
        return await self._asked(request.route, read, **parts)

    async def _send(
        self, route: Route, path: str, *, timeout: httpx.Timeout | None = None, **parts: Any
    ) -> httpx.Response:
        try:
            return await self._pools.send(route.method, self.base_url + path, timeout=timeout or self._timeout, **parts)
        except httpx.HTTPError as error:
            raise self._broken(route, error) from error

    def _parsed(self, response: httpx.Response, route: Route, read: Callable[[Any], T]) -> T:
        payload = self._interpreter.json(response, route)
        try:
            return read(payload)
        except ParseError as error:
            raise self._interpreter.unusable(response, route, str(error)) from None
        except ValidationError as error:
            raise self._interpreter.unusable(response, route, wire.unreadable(error)) from None

    def _broken(self, route: Route, error: httpx.HTTPError) -> KubeezError:
        """The error for a request that left but got no whole answer."""
        what = "No answer came in time" if isinstance(error, httpx.TimeoutException) else "The connection broke"
        if route.spends:
            return AmbiguousError(f"The request was sent. {what} ({type(error).__name__}).")
        return UnavailableError(
            f"{what} from {self.base_url} ({type(error).__name__}).", next_step="Try again shortly.", retry_safe=True
        )

    def _job_path(self, route: Route, job_id: str) -> str:
        if not wire.is_job_id(job_id):
            raise NotFoundError(f"{job_id!r} is not the id of a job.", next_step="Take an id from the history.")
        head, _, tail = route.path.partition("{")
        return head + quote(job_id, safe="") + tail.partition("}")[2]


def json_object(payload: object) -> dict[str, Any]:
    if not isinstance(payload, dict):
        raise ParseError("it is not a JSON object")
    return payload


def _openapi(payload: object) -> dict[str, Any]:
    document = json_object(payload)
    if not isinstance(document.get("paths"), dict):
        raise ParseError("it is not an OpenAPI document")
    return document
