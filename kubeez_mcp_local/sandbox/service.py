"""What the routes share: accepting jobs, who is calling, how jobs look, their events, and making their files."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import anyio
from anyio.to_thread import run_sync
from fastapi import Depends, Path, Request
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.security import APIKeyHeader, HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials

from kubeez_mcp_local.media.measure import measure_now
from kubeez_mcp_local.sandbox.answers import (
    Accepted,
    AnyGeneration,
    ApiError,
    Generation,
    MusicGeneration,
    Output,
    Separation,
    Song,
    not_found,
)
from kubeez_mcp_local.sandbox.books import Account, BalanceTooLowError, Bucket, JobDraft, Placed, Work
from kubeez_mcp_local.sandbox.catalogue import price, times
from kubeez_mcp_local.sandbox.knobs import AT_ONCE, Calls, RateLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path as FilePath

    from pydantic import BaseModel

    from kubeez_mcp_local.sandbox.books import Books, File, Job, JobKind
    from kubeez_mcp_local.sandbox.catalogue import Catalogue, Row
    from kubeez_mcp_local.sandbox.knobs import Panel


JobId = Annotated[str, Path(max_length=200)]


PURCHASE_URL = "https://kubeez.com/billing"


def with_thumbnail(work: Work, position: int = 0) -> list[Placed]:
    """A picture or clip as an output, with its thumbnail."""
    thumbnail = replace(work, kind="thumbnail", extension="jpg", label=work.kind, seconds=None, sound=False)
    return [Placed("output", position, work), Placed("thumbnail", position, thumbnail)]


@dataclass
class Studio:
    """Turns the works noted in the books into files on disk. Blocking; one maker for each file at a time."""

    books: Books
    panel: Panel
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _render_locks: defaultdict[str, threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock))
    # Pictures are large in memory while they are made; more at once would not be done sooner.
    _render_slots: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(2))

    def ready(self, file: File) -> File:
        """The same file with its bytes on disk and its measures known."""
        path = self.books.path_of(file)
        if file.size is not None and path.is_file():
            return file
        with self._lock:
            rendering = self._render_locks[file.id]
        with rendering:
            known = self.books.file_named(file.path)
            if known and known.size is not None and path.is_file():
                return known
            self._make(file, path)
        return self.books.file_named(file.path) or file

    def _make(self, file: File, path: FilePath) -> None:
        work = Work.from_dict(file.work)
        rough = path.with_name(f".{path.name}")
        inputs = [self.books.folder / "files" / name for name in work.inputs]
        with self._render_slots:
            render(work, inputs, rough, plain=self.panel.knobs.drawing == "plain")
        rough.replace(path)
        # Measured, not copied from the work: without an encoder a clip may be one of the ready ones.
        found = measure_now(path)
        seconds = found.seconds and round(found.seconds, 3)
        self.books.note_made(file, size=path.stat().st_size, width=found.width, height=found.height, seconds=seconds)


def render(work: Work, inputs: list[FilePath], target: FilePath, *, plain: bool = False) -> None:
    """Make one file at `target`; a `plain` one tells little, but is of the same type, ratio and length."""
    from kubeez_mcp_local.sandbox.studio import clips, pictures, sounds

    present = [path for path in inputs if path.is_file()]
    if work.kind in ("picture", "thumbnail"):
        pictures.render(work, present, target, plain=plain)
    elif work.kind == "cutout":
        pictures.cut_out(work, present, target)
    elif work.kind in ("clip", "retake"):
        clips.render(work, present, target, plain=plain)
    else:
        sounds.render(work, target, plain=plain)


FAIL_WORD = "[fail]"
REFUSE_WORD = "[refuse]"
_MODERATED = "The request was rejected by the content policy."


class Service:
    """One stand-in's parts, and the only way into its job list. Blocking; safe across threads."""

    def __init__(self, books: Books, panel: Panel, catalogue: Catalogue) -> None:
        self.books = books
        self.panel = panel
        self.catalogue = catalogue
        self.studio = Studio(books, panel)
        self.limits = RateLimits(panel, books.clock)
        self.calls = Calls()
        self._seeds = random.Random()  # noqa: S311 - picks pictures, guards nothing
        self.luck = random.Random(panel.knobs.fail_seed)  # noqa: S311 - a rehearsed failure rate

    def row(self, model: str) -> Row:
        """The model's row.

        Raises:
            ApiError: 400 `invalid_model`.
        """
        row = self.catalogue.get(model)
        if row is None:
            raise ApiError(400, {"error": "invalid_model", "message": f"Unknown model: {model}"})
        return row

    def seed(self, wanted: int | None) -> int:
        """The seed to work with: as asked, or a random one for None and 0."""
        return wanted or self._seeds.randrange(1, 2**31)

    def draft(
        self,
        caller: Account,
        row: Row,
        body: BaseModel,
        generation_type: str,
        works: Sequence[Placed],
        *,
        prompt: str = "",
        kind: JobKind = "media",
        bucket: Bucket = "media",
        **billed: Any,
    ) -> JobDraft:
        """A job of that row with its price, for what is `billed` (see `price`), and its times at the present speed."""
        wait, total = times(row, self.panel.knobs.speed)
        return JobDraft(
            account=caller.id,
            kind=kind,
            bucket=bucket,
            model=row["model_id"],
            prompt=prompt,
            generation_type=generation_type,
            request=body.model_dump(exclude_none=True),
            credits=price(row, **billed),
            wait=wait,
            total=total,
            works=tuple(works),
        )

    def take_on(self, *drafts: JobDraft) -> JSONResponse:
        """Accept the jobs of one request: the answer, with the status code that the knob says; raises as `accept`."""
        jobs = self.accept(drafts)
        answer = Accepted(
            generation_id=jobs[0].id,
            status="pending",
            model=jobs[0].model,
            estimated_cost_credits=sum(job.credits for job in jobs),
            message="Generation started.",
            generation_ids=[job.id for job in jobs] if len(jobs) > 1 else None,
        )
        return JSONResponse(answer.model_dump(exclude_none=True), self.panel.knobs.success_code)

    def accept(self, drafts: Sequence[JobDraft]) -> list[Job]:
        """Take on the jobs of one request.

        Raises:
            ApiError: 400 moderation, 429 too many at once, 400 or 402 out of credits. Nothing was charged.
        """
        knobs = self.panel.knobs
        refused = REFUSE_WORD in drafts[0].prompt or self.panel.take("refuse_next")
        if refused and knobs.moderation == "request":
            raise ApiError(400, {"error": "content_policy", "message": _MODERATED})
        self._check_room(drafts)
        fated = [
            replace(draft, failure=_MODERATED if refused else self._failure(draft), refundable=knobs.refund_failures)
            for draft in drafts
        ]
        try:
            return self.books.accept(fated)
        except BalanceTooLowError as error:
            message = f"Insufficient credits: this costs {error.needed:g}, your balance is {error.left:g}."
            more = {} if knobs.no_credits_as == 400 else {"message": message, "purchase_url": PURCHASE_URL}
            raise ApiError(knobs.no_credits_as, {"error": "insufficient_credits", **more}) from None

    def _check_room(self, drafts: Sequence[JobDraft]) -> None:
        most = AT_ONCE.get(drafts[0].bucket)
        if most is None or not self.panel.knobs.concurrency_caps:
            return
        if self.books.running(drafts[0].account, drafts[0].bucket) + len(drafts) > most:
            raise ApiError(429, f"Too many jobs at once: at most {most} {drafts[0].bucket} jobs may run")

    def _failure(self, draft: JobDraft) -> str | None:
        knobs = self.panel.knobs
        unlucky = knobs.fail_probability > 0 and self.luck.random() < knobs.fail_probability
        if FAIL_WORD in draft.prompt or unlucky or self.panel.take("fail_next"):
            return knobs.failure_message
        return None


Shape = TypeVar("Shape", Generation, MusicGeneration, Separation)


@dataclass(frozen=True)
class Viewer:
    """Shows jobs with URLs on one origin. Blocking: what is shown as completed is made first.

    Attributes:
        origin: Scheme, host and port the request came in on, so that URLs open after a change of port.
    """

    service: Service
    origin: str

    def status(self, caller: Account, job_id: str, kind: JobKind, shape: type[Shape]) -> Shape:
        """One status read of a job of that kind.

        Raises:
            ApiError: 404 when the account has no such job, or it is not to be seen yet.
        """
        job = self.service.books.job(caller.id, job_id)
        shown = self.read(job) if job and job.kind == kind else None
        if not isinstance(shown, shape):
            raise not_found(f"{'Separation' if kind == 'separation' else 'Generation'} not found")
        return shown

    def read(self, job: Job) -> AnyGeneration | None:
        """One status read, counted; None while the job is not to be seen yet."""
        knobs = self.service.panel.knobs
        status = job.status(self.service.books.clock())  # once: what is counted as completed is shown as completed
        self.service.books.count_read(job.id, finished=status == "completed" and job.reads >= knobs.early_404)
        if job.reads < knobs.early_404:
            return None
        return self._shown(job, status, hide_urls=job.finished_reads < knobs.null_urls)

    def show(self, job: Job, *, make: bool = True) -> AnyGeneration:
        """The job as it is now; unless its files may be made for this, it is still processing without them."""
        return self._shown(job, job.status(self.service.books.clock()), make=make)

    def _shown(self, job: Job, status: str, *, hide_urls: bool = False, make: bool = True) -> AnyGeneration:
        files = self.service.books.files(job.id) if status == "completed" or job.kind == "music" else []
        if not make and status == "completed" and any(file.size is None for file in files if file.role == "output"):
            status, files = "processing", []
        if status == "completed":
            files = [self.service.studio.ready(file) if file.role == "output" else file for file in files]
        over = status in ("completed", "failed")
        state: dict[str, Any] = {
            "status": status,
            "credits_deducted": _deducted(job, status),
            "error_message": job.failure if status == "failed" else None,
        }
        if job.kind == "separation":
            stems = {f"{file.role}_url": None if hide_urls else self.url(file) for file in files}
            return Separation(separation_id=job.id, **{"vocals_url": None, "instrumental_url": None, **stems}, **state)
        state |= {
            "id": job.id,
            "model": job.model,
            "prompt": job.prompt,
            "generation_type": job.generation_type,
            "created_at": moment(job.created_at),
            "completed_at": moment(job.due_at) if over else None,
        }
        if job.kind == "music":
            streaming = self.service.panel.knobs.music_streaming and status == "processing"
            songs = self._songs(files, hide_urls or streaming) if streaming or status == "completed" else []
            return MusicGeneration(**{**state, "status": "streaming" if streaming else status}, songs=songs)
        outputs = self._outputs(files, hide_urls)
        return Generation(
            **state,
            processing_time_ms=round((job.due_at - job.created_at) * 1000) if over else None,
            cdn_ready=status == "completed" and not hide_urls,
            result_url=outputs[0].url if outputs else None,
            outputs=outputs,
        )

    def _outputs(self, files: list[File], hide_urls: bool) -> list[Output]:
        thumbnails = {file.position: self.url(file) for file in files if file.role == "thumbnail" and not hide_urls}
        urls = {file.id: None if hide_urls else self.url(file) for file in files}
        return [
            Output(
                id=file.id,
                media_type=file.kind,
                url=urls[file.id],
                thumbnail_url=thumbnails.get(file.position),
                optimized_url=urls[file.id] if file.kind == "image" else None,
                width=file.width,
                height=file.height,
                duration=file.seconds,
                format=PurePosixPath(file.path).suffix.removeprefix("."),
                file_size=file.size,
                optimization_status="pending" if hide_urls else "completed",
                cdn_ready=not hide_urls,
            )
            for file in files
            if file.role == "output"
        ]

    def _songs(self, files: list[File], hide_audio: bool) -> list[Song]:
        covers = {file.position: self.url(file) for file in files if file.role == "cover"}
        return [
            Song(
                id=file.id,
                title=str(file.work.get("label", "")),
                audio_url=None if hide_audio else self.url(file),
                stream_url=self.url(file),
                cover_image_url=covers.get(file.position),
            )
            for file in files
            if file.role == "song"
        ]

    def events(self, caller: Account, job_id: str, kind: JobKind) -> StreamingResponse:
        """Events of a job: heartbeats, then the result.

        Raises:
            ApiError: 404 when the account has no such job, or it is not to be seen yet.
        """
        books = self.service.books
        job = books.job(caller.id, job_id)
        if job is None or job.kind != kind or job.reads < self.service.panel.knobs.early_404:
            if job is not None:
                books.count_read(job.id, finished=False)
            raise not_found("Generation not found")
        return StreamingResponse(job_events(self.service, self, caller.id, job.id), media_type="text/event-stream")

    def url(self, file: File) -> str:
        """Where `file` can be downloaded, without a key."""
        return f"{self.origin}/files/{file.path}"


def _deducted(job: Job, status: str) -> float:
    return 0.0 if status == "failed" and job.refundable else job.credits


def moment(seconds: float) -> str:
    """An instant as the API writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


_LONGEST_NAP = 0.2


async def job_events(service: Service, viewer: Viewer, account: str, job_id: str) -> AsyncIterator[str]:
    """Text of the events, block by block; ends after the result."""
    yield _event("heartbeat", "{}")
    last_beat = time.monotonic()
    while True:
        job = await run_sync(service.books.job, account, job_id)
        if job is None:
            yield _event("error", '{"message": "Generation not found"}')
            return
        now = service.books.clock()
        if job.status(now) in ("completed", "failed"):
            shown = await run_sync(viewer.read, job)
            if shown is not None:
                yield _event("result", shown.model_dump_json())
                return
        if time.monotonic() - last_beat >= service.panel.knobs.heartbeat_seconds:
            yield _event("heartbeat", "{}")
            last_beat = time.monotonic()
        await anyio.sleep(min(max(job.due_at - now, 0.005), _LONGEST_NAP))


def _event(name: str, data: str) -> str:
    return f"event: {name}\ndata: {data}\n\n"


_HeaderKey = Annotated[str | None, Depends(APIKeyHeader(name="X-API-Key", auto_error=False))]
_BearerKey = Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]


def get_service(request: Request) -> Service:
    """The service of the app that serves this request."""
    service: Service = request.app.state.service
    return service


TheService = Annotated[Service, Depends(get_service)]


def origin_of(request: Request) -> str:
    """Where this request came in."""
    return str(request.base_url).rstrip("/")


def get_viewer(request: Request, service: TheService) -> Viewer:
    """Shows jobs with URLs on the origin of this request."""
    return Viewer(service, origin_of(request))


TheViewer = Annotated[Viewer, Depends(get_viewer)]


def caller(scope: str | None, bucket: Bucket) -> Callable[..., Account]:
    """A dependency that yields the calling account, checked for `scope` and counted in `bucket`."""

    def check(service: TheService, header: _HeaderKey, bearer: _BearerKey) -> Account:
        key = header or (bearer.credentials if bearer else None)
        if not key:
            raise ApiError(401, "Missing API key")
        account = service.books.account_of(key)
        if account is None:
            raise ApiError(401, "Invalid API key")
        if account.revoked:
            raise ApiError(401, "API key has been revoked")
        if scope is not None and scope not in account.scopes:
            raise ApiError(403, f"API key is missing the required scope: {scope}")
        service.limits.count(account.id, bucket)
        return account

    return check


MediaCaller = Annotated[Account, Depends(caller("generate:media", "media"))]
MusicCaller = Annotated[Account, Depends(caller("generate:music", "music"))]
SpeechCaller = Annotated[Account, Depends(caller("generate:speech", "dialogue"))]
AdsCaller = Annotated[Account, Depends(caller("generate:ads", "ads"))]
UploadCaller = Annotated[Account, Depends(caller("generate:media", "upload"))]
HistoryCaller = Annotated[Account, Depends(caller("read:generations", "read"))]
BalanceCaller = Annotated[Account, Depends(caller("read:balance", "read"))]
AnyCaller = Annotated[Account, Depends(caller(None, "read"))]
