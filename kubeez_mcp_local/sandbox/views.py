"""How a job looks from outside: the JSON of status routes, history and streams."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from kubeez_mcp_local.sandbox.answers import Accepted, Generation, MusicGeneration, Output, Separation, Song

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubeez_mcp_local.sandbox.desk import Desk
    from kubeez_mcp_local.sandbox.records import File, Job

AnyGeneration = Generation | MusicGeneration | Separation


def accepted(jobs: Sequence[Job]) -> Accepted:
    """The answer to an accepted request."""
    return Accepted(
        generation_id=jobs[0].id,
        status="pending",
        model=jobs[0].model,
        estimated_cost_credits=sum(job.credits for job in jobs),
        message="Generation started.",
        generation_ids=[job.id for job in jobs] if len(jobs) > 1 else None,
    )


class Viewer:
    """Shows jobs with URLs on one origin. Blocking: what is shown as completed is made first.

    Args:
        origin: Scheme, host and port the request came in on, so that URLs open after a change of port.
    """

    def __init__(self, desk: Desk, origin: str) -> None:
        self._desk = desk
        self._origin = origin

    def read(self, job: Job) -> AnyGeneration | None:
        """One status read, counted; None while the job is not to be seen yet."""
        knobs = self._desk.panel.knobs
        status = job.status(self._desk.books.clock())  # once: what is counted as completed is shown as completed
        self._desk.books.count_read(job.id, finished=status == "completed" and job.reads >= knobs.early_404)
        if job.reads < knobs.early_404:
            return None
        return self._shown(job, status, hide_urls=job.finished_reads < knobs.null_urls)

    def show(self, job: Job, *, make: bool = True) -> AnyGeneration:
        """The job as it is now; with `make`, files that were never wanted so far are made first."""
        return self._shown(job, job.status(self._desk.books.clock()), make=make)

    def _shown(self, job: Job, status: str, *, hide_urls: bool = False, make: bool = True) -> AnyGeneration:
        files = self._desk.books.files(job.id) if status == "completed" or job.kind == "music" else []
        if make and status == "completed":
            files = [self._desk.studio.ready(file) if file.role == "output" else file for file in files]
        if job.kind == "music":
            return self._music(job, status, files, hide_urls)
        if job.kind == "separation":
            return self._separation(job, status, files, hide_urls)
        return self._media(job, status, files, hide_urls)

    def url(self, file: File) -> str:
        """Where `file` can be downloaded, without a key."""
        return f"{self._origin}/files/{file.path}"

    def _media(self, job: Job, status: str, files: list[File], hide_urls: bool) -> Generation:
        thumbnails = {file.position: file for file in files if file.role == "thumbnail"}
        outputs = [
            self._output(file, thumbnails.get(file.position), hide_urls) for file in files if file.role == "output"
        ]
        done = status == "completed" and not hide_urls
        return Generation(
            id=job.id,
            status=status,
            model=job.model,
            prompt=job.prompt,
            generation_type=job.generation_type,
            created_at=_moment(job.created_at),
            completed_at=_moment(job.due_at) if _over(status) else None,
            processing_time_ms=round((job.due_at - job.created_at) * 1000) if _over(status) else None,
            credits_deducted=_deducted(job, status),
            error_message=job.failure if status == "failed" else None,
            cdn_ready=done,
            result_url=outputs[0].url if outputs else None,
            outputs=outputs,
        )

    def _output(self, file: File, thumbnail: File | None, hide_urls: bool) -> Output:
        url = None if hide_urls else self.url(file)
        return Output(
            id=file.id,
            media_type=file.kind,
            url=url,
            thumbnail_url=self.url(thumbnail) if thumbnail and not hide_urls else None,
            optimized_url=url if file.kind == "image" else None,
            width=file.width,
            height=file.height,
            duration=file.seconds,
            format=PurePosixPath(file.path).suffix.removeprefix("."),
            file_size=file.size,
            optimization_status="pending" if hide_urls else "completed",
            cdn_ready=not hide_urls,
        )

    def _music(self, job: Job, status: str, files: list[File], hide_urls: bool) -> MusicGeneration:
        streaming = self._desk.panel.knobs.music_streaming and status == "processing"
        songs = []
        for file in files if streaming or status == "completed" else []:
            if file.role != "song":
                continue
            cover = next((c for c in files if c.role == "cover" and c.position == file.position), None)
            url = None if hide_urls or streaming else self.url(file)
            songs.append(
                Song(
                    id=file.id,
                    title=str(file.work.get("label", "")),
                    audio_url=url,
                    stream_url=self.url(file),
                    cover_image_url=self.url(cover) if cover else None,
                )
            )
        return MusicGeneration(
            id=job.id,
            status="streaming" if streaming else status,
            model=job.model,
            prompt=job.prompt,
            generation_type=job.generation_type,
            created_at=_moment(job.created_at),
            completed_at=_moment(job.due_at) if _over(status) else None,
            credits_deducted=_deducted(job, status),
            error_message=job.failure if status == "failed" else None,
            songs=songs,
        )

    def _separation(self, job: Job, status: str, files: list[File], hide_urls: bool) -> Separation:
        stems = {file.role: self.url(file) for file in files if not hide_urls}
        return Separation(
            separation_id=job.id,
            status=status,
            credits_deducted=_deducted(job, status),
            error_message=job.failure if status == "failed" else None,
            vocals_url=stems.get("vocals"),
            instrumental_url=stems.get("instrumental"),
        )


def _over(status: str) -> bool:
    return status in ("completed", "failed")


def _deducted(job: Job, status: str) -> float:
    return 0.0 if status == "failed" and job.refundable else job.credits


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
