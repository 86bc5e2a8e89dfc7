"""Files on their way to the API: shared work, how long inputs are, uploads of their own, upload sessions."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio
import anyio.to_thread

from kubeez_mcp_local.catalogue.models import KINDS
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.media.inputs import ComingInput, LocalInput, RemoteInput, describe
from kubeez_mcp_local.media.measure import measure
from kubeez_mcp_local.operations import accepted
from kubeez_mcp_local.text import LONGEST_IN_ROW, LONGEST_NAME, extent, on_one_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from kubeez_mcp_local.catalogue.store import Catalogue
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


@dataclass
class Lengths:
    """Measures local files, and remembers or looks up the length of URLs that this machine has seen before.

    Outputs of earlier jobs, which the ledger knows, often become inputs.
    """

    ledger: Ledger
    _known: dict[str, float] = field(default_factory=dict)

    def note(self, url: str, seconds: float | None) -> None:
        """Remember how long the upload behind `url` is."""
        if seconds is not None:
            self._known[url] = seconds

    async def of(self, item: Input) -> float | None:
        """Length of one input in seconds; `None` when it cannot be known without fetching it."""
        if isinstance(item, LocalInput):
            return (await measure(item)).seconds
        if isinstance(item, ComingInput):
            return item.seconds
        if item.url not in self._known:
            self.note(item.url, await self._of_output(item.url))
        return self._known.get(item.url)

    async def in_words(self, item: Input) -> str:
        """An input for people: `/home/ada/talk.mp4 (62.4 s, 8.1 MB)`, as far as it is known."""
        if isinstance(item, LocalInput):
            measured = await measure(item)
            name = item.reference or str(item.path)
            said = extent(width=measured.width, height=measured.height, seconds=await self.of(item), size=item.size)
        else:
            name, said = item.url.partition("?")[0], extent(seconds=await self.of(item))
        name = on_one_line(name, LONGEST_IN_ROW)
        name = name if len(name) <= LONGEST_NAME else f"…{name[-LONGEST_NAME + 1 :]}"
        return f"{name} ({said})" if said else name

    async def _of_output(self, url: str) -> float | None:
        try:
            jobs = await self.ledger.recent(_SEARCHED_JOBS)
        except KubeezError:  # without a ledger nothing can be paid anyway; the guard explains that
            return None
        for job in jobs:
            for output in (output for result in job.results for output in result.get("outputs", ())):
                if output.get("url") == url and output.get("duration"):
                    return float(output["duration"])
            for file in job.files:
                if file.url == url and await anyio.Path(file.path).is_file():
                    return (await measure(Path(file.path))).seconds
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
    lengths: Lengths

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
        files = [file for path in paths for file in await self.inputs.expand(path, argument="paths", limit=MAX_FILES)]
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
        measured = await measure(file)
        url = await self.uploads.url_for(file)
        self.lengths.note(url, measured.seconds)
        no_length = file.kind != "image" and measured.seconds is None
        facts = {
            "url": url,
            "kind": file.kind,
            "path": str(file.path),
            "duration_seconds": measured.seconds,
            "measurement": ("unreadable" if measured.unreadable else "unavailable") if no_length else None,
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
    lengths: Lengths
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
        state = self._page.session(token.strip())
        for medium in state["media"]:
            self.lengths.note(medium["url"], medium.get("duration_seconds"))
        return state

    async def _deliver(self, path: Path, _media_type: MediaType, _name: str) -> str:
        return await self.uploads.url_for(await anyio.to_thread.run_sync(describe, path, "file"))
