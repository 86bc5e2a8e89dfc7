"""The gallery: everything that was made, to look at, search, compare and ask more of.

What it shows comes from a `Source`, which knows the ledger and the files; here are only the addresses under which a
browser asks for it, and how files reach a player: in parts, sealed, and never as anything that a browser would run.
"""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import anyio.to_thread
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.web.pages import Page, Seal, as_events
from kubeez_mcp_local.web.server import Json, said

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from typing import BinaryIO

    from starlette.datastructures import QueryParams
    from starlette.requests import Request

NAME, TITLE = "gallery", "Gallery"
SCRIPTS, STYLES = ("job.js", "gallery.js"), ("gallery.css",)
MOST_AT_ONCE = 200
_LONGEST_WORDS = 300
_PART = 256 * 1024
_SHOWN = ("image/", "video/", "audio/")
_KEPT = {"Cache-Control": "private, max-age=86400, immutable"}
_LIFELESS = {"Content-Security-Policy": "sandbox; default-src 'none'"}
"""Whoever opens a file by itself gets one that can run nothing, whatever it holds."""


@dataclass(frozen=True)
class Wanted:
    """Which outputs to show; what is empty does not narrow. Days are UTC, as `2026-11-29`, prices credits of a job."""

    words: str = ""
    since: str = ""
    until: str = ""
    recipe: str = ""
    run: str = ""
    model: str = ""
    kind: str = ""
    mode: str = ""
    least: float | None = None
    most: float | None = None

    @classmethod
    def of(cls, asked: QueryParams | Mapping[str, str]) -> Wanted:
        """What an address asks for; an amount that is no number does not narrow."""
        words = {name: asked.get(name, "")[:_LONGEST_WORDS] for name in cls.__dataclass_fields__}
        least, most = _amount(words.pop("least")), _amount(words.pop("most"))
        return cls(**words, least=least, most=most)


def _amount(text: str) -> float | None:
    return min(float(text), 1e9) if re.fullmatch(r"\d{1,9}(\.\d{1,6})?", text) else None


@dataclass(frozen=True)
class Output:
    """One output, as far as a list shows it.

    Attributes:
        job: Ledger id of its job; with `number`, which of its files it is.
        kind: `image`, `video`, `audio`, `text` or anything else that a media type begins with.
        label: What tells it from others of its job.
        at: When it was ordered, in seconds since 1970; `day` is the UTC day.
        price: Credits of its job, if known; `paid` whether they were charged and not only quoted.
        path: Where it is, or was, on this machine.
        missing: Why it cannot be shown, in a few words; empty where it can.
        unseen: Why there is no small view of it, although it can be shown.
    """

    job: str
    number: int
    name: str
    kind: str
    media_type: str
    prompt: str
    model: str
    recipe: str
    run: str
    label: str
    day: str
    at: float
    price: float | None
    paid: bool
    mode: str
    path: str
    size: int
    missing: str = ""
    unseen: str = ""


@dataclass(frozen=True)
class Sheet:
    """A job in full: what a person asks about it.

    Attributes:
        state: What became of it, in a word.
        settings: What else was asked for, each with its name.
        inputs: The files that went in, as they can be named again.
        facts: Everything else worth knowing, each with its name.
        another: A sentence that has an assistant make another like this.
        sidecar: The file that lies beside the first output, as it is; empty where there is none.
        error: Why nothing came of it, if so.
    """

    job: str
    state: str
    prompt: str
    model: str
    mode: str
    price: float | None
    paid: bool
    settings: Sequence[tuple[str, str]]
    inputs: Sequence[str]
    facts: Sequence[tuple[str, str]]
    outputs: Sequence[Output]
    another: str
    sidecar: str = ""
    error: str = ""


class Source(Protocol):
    """Knows what was made."""

    async def days(self, wanted: Wanted) -> list[tuple[str, int]]:
        """How many outputs each day has, newest first."""

    async def outputs(self, wanted: Wanted, offset: int, limit: int) -> list[Output]:
        """Some of them, in the order of the days, newest first."""

    async def choices(self) -> Mapping[str, list[tuple[str, int]]]:
        """The models, recipes, kinds and modes that there are, each with how many outputs."""

    async def sheet(self, job: str) -> Sheet:
        """A job in full. Raises a `KubeezError` if there is none."""

    async def shared(self, job: str) -> Sheet:
        """As `sheet`, for others to see: without paths of this machine. Its outputs are not shown."""

    async def sidecar(self, job: str, number: int) -> str:
        """JSON: what is worth knowing about an output, for others to see."""

    async def opened(self, job: str, number: int) -> tuple[BinaryIO, str]:
        """An output's file, open for reading, and its media type. Raises a `KubeezError` if it cannot be had."""

    async def picture(self, job: str, number: int) -> bytes:
        """A small WebP of an output. Raises a `KubeezError` if none can be made."""

    async def waveform(self, job: str, number: int) -> bytes:
        """The shape of a sound, as JSON. Raises a `KubeezError` if it cannot be had."""

    def changes(self) -> AsyncIterator[Mapping[str, object]]:
        """What is under way, at once and at every change: `jobs`, and `made`, which differs when outputs do."""


@dataclass(frozen=True)
class Gallery:
    """The page's routes over a `Source`."""

    source: Source
    _: KW_ONLY
    seal: Seal

    def page(self) -> Page:
        """The page for the site."""
        return Page(
            NAME,
            TITLE,
            scripts=SCRIPTS,
            styles=STYLES,
            data=[
                Route("/gallery/days", self._days),
                Route("/gallery/outputs", self._outputs),
                Route("/gallery/jobs/{job}", self._job),
                Route("/gallery/changes", self._changes),
            ],
            files=[
                Route("/{what}/{seal}/{job}/{number:int}/{name}", self._file),
            ],
        )

    async def _days(self, request: Request) -> Response:
        """How many there are, day by day; with `choices` also what there is to choose from."""
        asked = request.query_params
        answer: dict[str, Any] = {"days": await self.source.days(Wanted.of(asked))}
        if "choices" in asked:
            answer["choices"] = await self.source.choices()
        return Json(answer)

    async def _outputs(self, request: Request) -> Response:
        asked = request.query_params
        offset, limit = (
            int(text) if text.isdecimal() else 0 for text in (asked.get("offset", ""), asked.get("limit", ""))
        )
        found = await self.source.outputs(
            Wanted.of(asked), min(offset, 10**9), min(limit or MOST_AT_ONCE, MOST_AT_ONCE)
        )
        return Json([self._row(output) for output in found])

    async def _job(self, request: Request) -> Response:
        sheet = await self.source.sheet(request.path_params["job"])
        return Json({**vars(sheet), "outputs": [self._row(output) for output in sheet.outputs]})

    async def _changes(self, _: Request) -> Response:
        return StreamingResponse(as_events(self.source.changes()), media_type="text/event-stream")

    def _row(self, output: Output) -> dict[str, Any]:
        """An output with the addresses of what can be shown of it."""
        return {**asdict(output), **({} if output.missing else self._addresses(output))}

    def _addresses(self, output: Output) -> dict[str, str]:
        words = (output.job, output.number)
        small = {"image": ("picture",), "video": ("picture",), "audio": ("waveform",)}
        name = re.sub(r"[^A-Za-z0-9._-]", "_", output.name)[-80:] or "file"
        return {
            what: f"media/{what}/{self.seal.of(what, *words)}/{output.job}/{output.number}/{name}"
            for what in ("file", *(() if output.unseen else small.get(output.kind, ())))
        }

    async def _file(self, request: Request) -> Response:
        asked = request.path_params
        what, job, number = asked["what"], asked["job"], asked["number"]
        if not self.seal.fits(asked["seal"], what, job, number):
            return Response(status_code=404)
        try:
            if what == "picture":
                return Response(await self.source.picture(job, number), media_type="image/webp", headers=_KEPT)
            if what == "waveform":
                return Response(await self.source.waveform(job, number), media_type="application/json", headers=_KEPT)
            return await in_parts(*await self.source.opened(job, number), request.headers.get("range", ""))
        except KubeezError as error:
            if what == "picture":  # that a file is damaged is no error of the page, so a browser need not log one
                return Response(status_code=204)
            return said(error, 200 if what == "waveform" else 404)


async def in_parts(file: BinaryIO, media_type: str, asked: str) -> Response:
    """`file` as a player fetches it: whole, or the bytes that a Range header asks for; closed afterwards."""
    size = await anyio.to_thread.run_sync(file.seek, 0, 2)
    wanted = _range(asked, size)
    if wanted is None:
        file.close()
        return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
    first, last = wanted
    partly = bool(asked and size)
    shown = media_type.startswith(_SHOWN) or media_type == "text/plain"
    headers = {
        **_LIFELESS,
        "Accept-Ranges": "bytes",
        "Content-Length": str(max(last - first + 1, 0)),
        "Content-Disposition": "inline" if shown else "attachment",
        **({"Content-Range": f"bytes {first}-{last}/{size}"} if partly else {}),
    }
    content = _parts(file, first, last)
    media_type = media_type if shown else "application/octet-stream"
    return StreamingResponse(content, 206 if partly else 200, headers, media_type=media_type)


def _range(asked: str, size: int) -> tuple[int, int] | None:
    """First and last byte that are asked for; `None` where there are none such. An empty file is always given whole."""
    if not asked or not size:
        return 0, size - 1
    found = re.fullmatch(r"bytes=(\d{0,40})-(\d{0,40})", asked.strip())
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        return (max(size - int(last), 0), size - 1) if int(last) else None
    end = min(int(last), size - 1) if last else size - 1
    return (int(first), end) if int(first) <= end else None


async def _parts(file: BinaryIO, first: int, last: int) -> AsyncIterator[bytes]:
    with file:
        await anyio.to_thread.run_sync(file.seek, first)
        left = last - first + 1
        while left > 0 and (part := await anyio.to_thread.run_sync(file.read, min(left, _PART))):
            left -= len(part)
            yield part
