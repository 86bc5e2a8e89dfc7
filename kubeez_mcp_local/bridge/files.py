"""Files on their way to the API: shared work, how long inputs are, uploads of their own, upload sessions."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio
import anyio.to_thread

from kubeez_mcp_local.catalogue.models import KINDS
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.jobs.job import outputs_in
from kubeez_mcp_local.media.containers import UNSEEN, Measured
from kubeez_mcp_local.media.inputs import ComingInput, LocalInput, RemoteInput, describe
from kubeez_mcp_local.media.measure import measure
from kubeez_mcp_local.operations import accepted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from kubeez_mcp_local.catalogue.listing import Catalogue
    from kubeez_mcp_local.jobs.ledger import Ledger
    from kubeez_mcp_local.jobs.sending import Background
    from kubeez_mcp_local.media.inputs import Inputs, Uploads
    from kubeez_mcp_local.media.sniff import MediaType
    from kubeez_mcp_local.operations import Input
    from kubeez_mcp_local.web.upload_page import UploadPage, UploadSession

T = TypeVar("T")


@dataclass
class _Flight:
    landed: anyio.Event = field(default_factory=anyio.Event)
    results: list[Any] = field(default_factory=list)
    error: KubeezError | None = None


@dataclass
class SharedWork(Generic[T]):
    """Work in the background that goes on when the call that began it has to answer; the next call joins it.

    Attributes:
        start: Starts it, such as `Background.start`.
        keep: Whether an end that nobody waited for is kept for the next who asks.
    """

    start: Callable[..., None]
    keep: bool = False
    _flights: dict[str, _Flight] = field(default_factory=dict)

    async def join(self, key: str, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`, or of the same work under way. Whoever stops waiting does not stop the work.

        Raises:
            KubeezError: Whatever `work` raises.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight()
            self.start(self._fly, key, flight, work)
        await flight.landed.wait()
        self._drop(key, flight)
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
                # The program ends, or the work crashed.
                flight.error = KubeezError("The work was interrupted.", next_step="Call again.", code="interrupted")
            if not self.keep:
                self._drop(key, flight)
            flight.landed.set()

    def _drop(self, key: str, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


_SEARCHED_JOBS = 200
_LOOKS_AT_ONCE = 2
_REMEMBERED = 1000


@dataclass
class Measurements:
    """What is known of inputs: local files are looked at, URLs are those that this machine has seen before.

    Outputs of earlier jobs, which the ledger knows, often become inputs.
    """

    ledger: Ledger
    _by_url: dict[str, Measured] = field(default_factory=dict)
    _by_content: dict[tuple[str, str], Measured] = field(default_factory=dict)

    @cached_property
    def _limiter(self) -> anyio.CapacityLimiter:
        """A large picture takes hundreds of megabytes while it is looked at."""
        return anyio.CapacityLimiter(_LOOKS_AT_ONCE)

    def note(self, url: str, measured: Measured) -> None:
        """Remember what is behind the upload `url`."""
        self._by_url[url] = measured

    async def of(self, item: Input) -> Measured:
        """What can be known of an input without fetching it."""
        if isinstance(item, LocalInput):
            content = (item.sha256, item.media_type.mime)
            if content not in self._by_content:
                measured = await measure(item, limiter=self._limiter)
                if len(self._by_content) >= _REMEMBERED:
                    self._by_content.clear()
                if measured == UNSEEN:  # the extra may be installed, or the machine less busy, by the next time
                    return measured
                self._by_content[content] = measured
            return self._by_content[content]
        if isinstance(item, ComingInput):
            return item.measured
        if item.url not in self._by_url:
            known = await self._of_output(item.url)
            if known is None:
                return UNSEEN
            self.note(item.url, known)
        return self._by_url[item.url]

    async def _of_output(self, url: str) -> Measured | None:
        try:
            jobs = await self.ledger.recent(_SEARCHED_JOBS)
        except KubeezError:  # without a ledger nothing can be paid anyway; the guard explains that
            return None
        for job in jobs:
            for file in job.files:
                if file.url == url and await anyio.Path(file.path).is_file():
                    with suppress(KubeezError, OSError):
                        return await measure(Path(file.path), limiter=self._limiter)
            for output in (output for result in job.results for output in outputs_in(result)):
                if output.get("url") == url:
                    return Measured(seconds=float(output["duration"]) if output.get("duration") else None)
        return None


MAX_FILES = 50


@dataclass(frozen=True)
class Uploaded:
    """What one call could upload.

    Attributes:
        media: One entry a file, with the field names of the hosted upload session.
        left: How many files are not there yet; the first of them is on its way.
    """

    media: list[dict[str, Any]]
    left: int


@dataclass(frozen=True)
class Uploading:
    """Makes local files available to the API, in the order given; what was measured is remembered for quotes."""

    inputs: Inputs
    uploads: Uploads
    measurements: Measurements

    async def upload(
        self,
        paths: Sequence[str],
        progress: Callable[[float, float | None, str], Awaitable[None]],
        *,
        patience: float,
    ) -> Uploaded:
        """Upload for at most `patience` seconds; the same call again goes on where this one stopped.

        Raises:
            InvalidArgumentError: Nothing was given, too much matches, or a file may not be read.
        """
        files = await self.inputs.expand(paths, argument="paths", limit=MAX_FILES)
        if not files:
            raise InvalidArgumentError("paths", "is empty.", next_step="Give at least one local file.")
        if len(files) > MAX_FILES:
            raise InvalidArgumentError(
                "paths",
                f"names {len(files)} files; at most {MAX_FILES} go in one call.",
                next_step="Call several times.",
            )
        media: list[dict[str, Any]] = []
        with anyio.move_on_after(patience):
            for number, file in enumerate(files, start=1):
                media.append(await self._one(file))
                await progress(number, len(files), f"{number} of {len(files)} uploaded")
        return Uploaded(media, len(files) - len(media))

    async def _one(self, file: LocalInput | RemoteInput) -> dict[str, Any]:
        if isinstance(file, RemoteInput):
            return {"url": file.url, "kind": file.kind}
        measured = file.measured
        url = await self.uploads.url_for(file)
        self.measurements.note(url, measured)
        no_length = file.kind != "image" and measured.seconds is None
        facts = {
            "url": url,
            "kind": file.kind,
            "path": str(file.path),
            "duration_seconds": measured.seconds,
            "measurement": "unavailable" if no_length else None,
            "width": measured.width,
            "height": measured.height,
            "mime_type": file.media_type.mime,
            "file_size_bytes": file.size,
        }
        return {name: value for name, value in facts.items() if value is not None}


@dataclass
class UploadSessions:
    """Opens sessions and reads them.

    Attributes:
        inbox: Where files lie until they are handed on.
        notice: A sentence for the page; empty for none.
    """

    catalogue: Catalogue
    uploads: Uploads
    measurements: Measurements
    background: Background
    inbox: Path
    notice: str = ""

    @cached_property
    def _page(self) -> UploadPage:
        from kubeez_mcp_local.media.sniff import sniff
        from kubeez_mcp_local.web.upload_page import UploadPage

        start = self.background.start
        return UploadPage(self._deliver, self.inbox, start=start, sniff=sniff, measure=measure, notice=self.notice)

    async def open(self, model_id: str) -> UploadSession:
        """A session that takes what the model takes; without a model, anything.

        Raises:
            InvalidArgumentError: There is no such model, or it takes no files.
            UploadError: The page cannot be served on this machine.
        """
        if not model_id.strip():
            return await self._page.open_session("any model", KINDS, MAX_FILES)
        kinds, most = accepted(await self.catalogue.listing(), model_id)
        return await self._page.open_session(model_id, kinds, most)

    def state(self, token: str) -> dict[str, Any]:
        """What has arrived so far. Raises `UploadError`: no session has this token."""
        return self._page.session(token.strip())

    async def _deliver(self, path: Path, _media_type: MediaType, _name: str) -> str:
        local = await anyio.to_thread.run_sync(describe, path, "file")
        url = await self.uploads.url_for(local)
        self.measurements.note(url, await self.measurements.of(local))
        return url
