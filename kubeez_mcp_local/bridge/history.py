"""Looking at jobs: those of the ledger first, then those that other programs started."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.jobs.errors import UnknownJobError
from kubeez_mcp_local.jobs.job import State
from kubeez_mcp_local.operations import kinds, routes
from kubeez_mcp_local.rest.wire import moment

if TYPE_CHECKING:
    from kubeez_mcp_local.bridge.api import Api
    from kubeez_mcp_local.jobs.following import Follower
    from kubeez_mcp_local.jobs.job import DoorName, Job
    from kubeez_mcp_local.jobs.ledger import Ledger
    from kubeez_mcp_local.jobs.reconcile import Reconciler
    from kubeez_mcp_local.rest.routes import JobKind
    from kubeez_mcp_local.rest.wire import Generation

Progress = Callable[[float, float | None, str], Awaitable[None]]
"""Called with seconds so far, expected seconds (or `None`) and a few words."""
_POLL_SECONDS = 5.0
_LOOK_SECONDS = 3.0
"""How long a last look at the end of a wait may take."""
_GLANCE_SECONDS = 2.0
"""How long one look for a job of unknown fate may take."""


@dataclass(frozen=True)
class Seen:
    """A job as it stands.

    Attributes:
        job: Its ledger row; `None` for a job that another program started.
        answers: What the API says of it, one mapping for each generation id, fields as in `rest.wire.Generation`.
        door: Through which it was looked at.
    """

    kind: JobKind
    answers: tuple[Mapping[str, Any], ...]
    job: Job | None = None
    door: DoorName = "rest"


SHOWN_BY_API = 25
_SEARCHED_JOBS = 500
_LONG_AGO = datetime.fromtimestamp(0, UTC)
STATUS_OF = {
    State.SENDING: "pending",
    State.ACCEPTED: "pending",
    State.UNKNOWN: "unknown",
    State.COMPLETED: "completed",
    State.FAILED: "failed",
    State.REFUNDED: "failed",
    State.REFUSED: "refused",
    State.NOT_ACCEPTED: "refused",
    State.LOST: "failed",
}
"""What a job is called whose state the API did not tell."""


@dataclass(frozen=True)
class Wanted:
    """Which jobs are looked for. `model` is a part of what the API or our results call it, such as `newest engine`."""

    model: str | None = None
    status: str | None = None
    generation_type: str | None = None
    since: datetime | None = None
    before: datetime | None = None

    def fits(self, row: Mapping[str, Any]) -> bool:
        """Whether a row is one of them."""
        model = (self.model or "").casefold()
        created = moment(row.get("created_at"))
        return (
            any(model in str(row.get(name, "")).casefold() for name in ("model", "known_as", "tool"))
            and self.status in (None, row.get("status"))
            and self.generation_type in (None, row.get("generation_type"))
            and (self.since is None or (created is not None and created >= self.since))
            and (self.before is None or (created is not None and created < self.before))
        )


@dataclass(frozen=True)
class Found:
    """Rows, how many there are in all, whether the API may know older ones of other programs, and which door's history
    could not be read, and why."""

    rows: list[dict[str, Any]]
    total: int
    more: bool
    unread: tuple[str, ...] = ()


class Door(Protocol):
    """What is needed of each; see `doors.Door`."""

    @property
    def name(self) -> DoorName: ...
    @property
    def called(self) -> str: ...
    @property
    def api(self) -> Api: ...
    @property
    def follower(self) -> Follower: ...
    @property
    def reconciler(self) -> Reconciler: ...


@dataclass(frozen=True)
class History:
    """Finds jobs and waits for them.

    Attributes:
        doors: Those that are open, the first one first.
        door_of: Tells which of them has taken a job, and so looks after it.
        pace: Seconds between two looks at a job that is not in the ledger.
    """

    ledger: Ledger
    doors: Sequence[Door]
    door_of: Callable[[Job], Door]
    pace: float = _POLL_SECONDS

    async def status(self, job_id: str, kind: JobKind | None) -> Seen:
        """The job as it stands now. Raises `UnknownJobError`: neither the ledger nor the API knows it."""
        job = await self._known(job_id)
        if job is None:
            return await self._foreign(job_id, kind)
        door = self.door_of(job)
        if job.state is State.UNKNOWN:
            job = await door.reconciler.settle(job, patience=_GLANCE_SECONDS)
        if job.state is not State.ACCEPTED:
            job = await door.follower.look_again(job)
            return Seen(job.kind, job.results, job, door.name)
        answers = [await self._answer(door, job.kind, generation_id) for generation_id in job.generation_ids]
        return Seen(job.kind, tuple(answers), await self.ledger.get(job.id), door.name)

    async def wait(self, job_id: str, timeout: float, progress: Progress) -> Seen:
        """The job once it is done, or as it stands after `timeout` seconds. It goes on either way.

        Raises:
            UnknownJobError: Neither the ledger nor the API knows it.
        """
        job = await self._known(job_id)
        if job is None:
            return await self._wait_for_foreign(job_id, timeout, progress)
        began = anyio.current_time()
        job = await self._looked_for(job, timeout, progress)
        left = max(began + timeout - anyio.current_time(), 0.0)
        door = self.door_of(job)
        job = await door.follower.wait(job, timeout=left, on_progress=progress)
        if job.state is State.ACCEPTED:
            with anyio.move_on_after(_LOOK_SECONDS):
                return await self.status(job.id, None)
        return Seen(job.kind, job.results, job, door.name)

    async def wait_for_all(self, job_ids: Sequence[str], timeout: float, progress: Progress) -> list[Seen]:
        """`wait` for several jobs at once; more than one have to be of this machine.

        Raises:
            UnknownJobError: Of one of them nobody knows.
            InvalidArgumentError: One of several was started elsewhere.
        """
        if len(job_ids) == 1:
            return [await self.wait(job_ids[0], timeout, progress)]
        jobs = {}
        for job_id in job_ids:
            job = await self._known(job_id)
            if job is None:
                await self._foreign(job_id, None)
                step = "Wait for it in a call of its own."
                raise InvalidArgumentError("id", f"{job_id} was not started on this machine.", next_step=step)
            jobs[job.id] = job
        seen: dict[str, Seen] = {}
        errors: list[KubeezError] = []

        async def one(job_id: str) -> None:
            try:
                seen[job_id] = await self.wait(job_id, timeout, told)
            except KubeezError as error:
                errors.append(error)

        async def told(done: float, total: float | None, words: str) -> None:
            await progress(done, total, f"{len(seen)} of {len(jobs)} done, {words}")

        async with anyio.create_task_group() as group:
            for job_id in jobs:
                group.start_soon(one, job_id)
        if errors:
            raise errors[0]
        return [seen[job_id] for job_id in jobs]

    async def _looked_for(self, job: Job, timeout: float, progress: Progress) -> Job:
        """A job of unknown fate, looked for in the account's history again and again."""
        ends = anyio.current_time() + timeout
        while job.state is State.UNKNOWN and (left := ends - anyio.current_time()) > 0:
            job = await self.door_of(job).reconciler.settle(job, patience=min(left, _GLANCE_SECONDS))
            if job.state is State.UNKNOWN:
                await progress(timeout - left, None, "looking for it in the account's history")
                await anyio.sleep(min(self.pace, max(ends - anyio.current_time(), 0.0)))
        return job

    async def generations(self, wanted: Wanted, *, limit: int) -> Found:
        """The accounts' jobs, newest first: what each door's history shows, and whatever else the ledger knows.

        Raises:
            KubeezError: No door's history can be read.
        """
        said = {"model": wanted.model, "status": wanted.status, "generation_type": wanted.generation_type}
        shown: dict[str, tuple[Generation, Door]] = {}
        errors: dict[Door, KubeezError] = {}
        more = False
        for door in self.doors:
            try:
                read = [row for row in await door.api.generations(limit=SHOWN_BY_API, **said) if row.id]
            except KubeezError as error:
                errors[door] = error
                continue
            more = more or len(read) >= SHOWN_BY_API
            for row in read:
                shown.setdefault(row.id, (row, door))
        if len(errors) == len(self.doors):
            raise errors[self.doors[0]]
        known = await self.ledger.known_generations(list(shown))
        rows = [self._row(answer_of(row), known.get(row.id), door) for row, door in shown.values()]
        seen = shown.keys()
        for job in await self.ledger.recent(_SEARCHED_JOBS):
            answers = {str(answer.get("id")): answer for answer in job.results}
            missing = [generation_id for generation_id in job.generation_ids or (job.id,) if generation_id not in seen]
            rows += [self._row(dict(answers.get(each, {"id": each})), job) for each in missing]
        found = [row for row in rows if wanted.fits(row)]
        found.sort(key=lambda row: moment(row.get("created_at")) or _LONG_AGO, reverse=True)
        unread = tuple(f"The history of {door.called} could not be read: {error}" for door, error in errors.items())
        return Found(found[:limit], len(found), more, unread)

    def _row(self, said: dict[str, Any], job: Job | None, shown_by: Door | None = None) -> dict[str, Any]:
        """A row, which says where two doors are open whose it is."""
        door = self.door_of(job) if job else shown_by
        named = {"door": door.name} if door and len(self.doors) > 1 else {}
        return _row(said, job) | named

    async def door_showing(self, job_id: str) -> DoorName | None:
        """Which door knows a job of another program; `None` where none does, or cannot be asked now."""
        try:
            return (await self._foreign(job_id, None)).door
        except KubeezError:
            return None

    async def _known(self, job_id: str) -> Job | None:
        try:
            return await self.ledger.get(job_id)
        except UnknownJobError:
            return None

    @staticmethod
    async def _answer(door: Door, kind: JobKind, generation_id: str) -> dict[str, Any]:
        from kubeez_mcp_local.rest.errors import NotFoundError

        try:
            return answer_of(await door.api.status(kind, generation_id))
        except NotFoundError:  # normal right after the start
            return {"id": generation_id, "status": "pending"}

    async def _foreign(self, job_id: str, kind: JobKind | None) -> Seen:
        errors: list[KubeezError] = []
        for door in self.doors:
            try:
                return await self._through(door, job_id, kind)
            except KubeezError as error:
                errors.append(error)
        raise next((error for error in errors if not isinstance(error, UnknownJobError)), errors[0])

    @staticmethod
    async def _through(door: Door, job_id: str, kind: JobKind | None) -> Seen:
        from kubeez_mcp_local.rest.errors import NotFoundError

        for candidate in (kind,) if kind else kinds():
            try:
                return Seen(candidate, (answer_of(await door.api.status(candidate, job_id)),), door=door.name)
            except NotFoundError:
                continue
            except KubeezError:  # that an assumed route fails says nothing about the job
                if kind or routes()[f"{candidate}_status"].evidence == "documented":
                    raise
        raise UnknownJobError(job_id)

    async def _wait_for_foreign(self, job_id: str, timeout: float, progress: Progress) -> Seen:
        started = anyio.current_time()
        seen = await self._foreign(job_id, None)
        while not _settled(seen) and anyio.current_time() - started + self.pace < timeout:
            await anyio.sleep(self.pace)
            seen = await self._foreign(job_id, seen.kind)
            await progress(anyio.current_time() - started, timeout, str(seen.answers[0].get("status")))
        return seen


def answer_of(generation: Generation) -> dict[str, Any]:
    """The API's answer as a mapping without absent values."""
    return generation.model_dump(mode="json", exclude_none=True, exclude={"raw"})


def _row(said: dict[str, Any], job: Job | None) -> dict[str, Any]:
    """A row of the history: what the API says, completed by what the ledger knows of the job."""
    for name in ("outputs", "songs"):
        keep = ("id", "url", "audio_url", "title", "width", "height", "duration", "media_type")
        said[name] = [{key: item[key] for key in keep if key in item} for item in said.get(name) or []]
    row = {name: value for name, value in said.items() if value not in (None, [], "") and name not in _UNSAID}
    if job is None:
        return row
    of_this = [file for file in job.files if len(job.generation_ids) < 2 or file.url in str(said)]
    mine: dict[str, Any] = {
        "status": STATUS_OF[job.state],
        "model": job.model,
        "prompt": job.prompt,
        "generation_type": job.generation_type,
        "created_at": job.created.isoformat(timespec="milliseconds"),
        "credits_deducted": job.charged if len(job.generation_ids) < 2 else None,
        "error_message": job.error,
    }
    if row.get("model") not in (None, job.model):
        mine["known_as"] = job.model
    return {
        **{name: value for name, value in mine.items() if value not in (None, "")},
        **row,
        **({"credits_deducted": job.charged} if job.charged is not None and len(job.generation_ids) < 2 else {}),
        "tool": job.tool,
        **({"files": [file.path for file in of_this]} if of_this else {}),
        **({"inputs": list(job.labels.inputs)} if job.labels.inputs else {}),
    }


_UNSAID = ("refused_urls", "cdn_ready")


def _settled(seen: Seen) -> bool:
    return all(answer.get("status") in ("completed", "failed") for answer in seen.answers)
