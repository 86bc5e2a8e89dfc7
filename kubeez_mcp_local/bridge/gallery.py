"""What the gallery shows: the outputs that the ledger names, of every account, from the files as they are now."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from kubeez_mcp_local.bridge.history import STATUS_OF
from kubeez_mcp_local.bridge.sheets import sheets_of
from kubeez_mcp_local.disk import open_exactly
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.jobs.errors import UnknownJobError
from kubeez_mcp_local.jobs.job import NAMES_FILES, SANDBOX, door_of, settings_words
from kubeez_mcp_local.jobs.outputs import OutputStore, distinctions, labelled, sidecar
from kubeez_mcp_local.media.sniff import sniff
from kubeez_mcp_local.media.video import EXTRA, has_av
from kubeez_mcp_local.operations import operations
from kubeez_mcp_local.text import LONGEST_NAME, cut, on_one_line, presentable, quoted, spoken, without_keys
from kubeez_mcp_local.web.gallery import Output, Sheet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import BinaryIO

    from kubeez_mcp_local.jobs.job import Job, SavedFile
    from kubeez_mcp_local.jobs.ledger import Ledger
    from kubeez_mcp_local.media.path_guard import PathGuard
    from kubeez_mcp_local.media.thumbnails import Thumbnails
    from kubeez_mcp_local.web.gallery import Wanted

_LOOK_SECONDS = 1.0
_DRAWING_LOOKS, _DRAWING_SECONDS = 100, 0.1
_PROMPT_IN_LIST = 400
_LARGEST_SIDECAR = 64 * 1024
_PROMPT_IN_SENTENCE = 2_000


@dataclass(frozen=True)
class Outputs:
    """The gallery's `Source`.

    Attributes:
        guard: Says which of the files that the ledger names may be read.
        sleep: Waits between two looks at whether anything has changed.
    """

    ledger: Ledger
    guard: PathGuard
    thumbnails: Thumbnails
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep

    async def days(self, wanted: Wanted) -> list[tuple[str, int]]:
        return await self.ledger.days(wanted)

    async def choices(self) -> Mapping[str, list[tuple[str, int]]]:
        return await self.ledger.choices()

    async def outputs(self, wanted: Wanted, offset: int, limit: int) -> list[Output]:
        found = await self.ledger.outputs(wanted, offset, limit)
        return await anyio.to_thread.run_sync(lambda: [self._output(job, number) for job, number in found])

    async def sheet(self, job: str) -> Sheet:
        found = await self._job(job)
        return await anyio.to_thread.run_sync(self._sheet, found)

    async def shared(self, job: str) -> Sheet:
        found = await self._job(job)
        sheet = await anyio.to_thread.run_sync(self._sheet, found)
        return replace(
            sheet,
            inputs=[_without_folders(each) for each in sheet.inputs],
            another=another(found, here=False),
            sidecar="",
            outputs=(),
        )

    async def sidecar(self, job: str, number: int) -> str:
        """As it is written beside an output, from the ledger, without the folders of this machine."""
        from kubeez_mcp_local.rest.wire import Generation

        found = await self._job(job)
        file = found.files[number]
        answers = labelled(found, OutputStore.generations_of(found))
        nothing = Generation(id=found.generation_id or found.id)
        told = sidecar(found, next((each for each, source in answers if source.url == file.url), nothing), file)
        return without_keys(json.dumps(_shareable(told), indent=2, ensure_ascii=False, default=str)) + "\n"

    async def opened(self, job: str, number: int) -> tuple[BinaryIO, str]:
        file, path = await self._located(job, number)
        try:
            return await anyio.to_thread.run_sync(open_exactly, path), file.media_type
        except OSError as error:
            raise _unreadable(path, error) from None

    async def picture(self, job: str, number: int) -> bytes:
        file, path = await self._located(job, number)
        try:
            return await self.thumbnails.picture(path, _kind(file))
        except OSError as error:
            raise _unreadable(path, error) from None

    async def waveform(self, job: str, number: int) -> bytes:
        _, path = await self._located(job, number)
        try:
            return await self.thumbnails.waveform(path)
        except OSError as error:
            raise _unreadable(path, error) from None

    async def preview(self, path: str, most_bytes: int, *, known: bool = False) -> tuple[bytes, str]:
        """The output or sheet of outputs at `path` as a picture of at most so many bytes, or the shape of a sound as
        JSON; and the media type. Only what this account made is shown, and what is `known` to be an output.

        Raises:
            KubeezError: `unknown_output`: no output lies there; or it cannot be shown.
        """
        try:
            place = await self._place_of(path, known=known)
            kind = (await anyio.to_thread.run_sync(sniff, place)).kind
            if kind == "audio":
                return await self.thumbnails.waveform(place), "application/json"
            return await self.thumbnails.bounded(place, kind, most_bytes), "image/webp"
        except OSError as error:
            raise _unreadable(Path(path), error) from None

    async def _place_of(self, path: str, *, known: bool) -> Path:
        saved = known or any(file.path == path for job in await self.ledger.saved_below(path) for file in job.files)
        beside = [] if saved else await self.ledger.saved_below(f"{Path(path).parent}{os.sep}")
        drawn = known or Path(path) in sheets_of(beside)
        for _ in range(_DRAWING_LOOKS if drawn else 0):  # a sheet is drawn in the moment after all else is there
            if await anyio.Path(path).is_file():
                break
            await self.sleep(_DRAWING_SECONDS)
        if not (saved or drawn) or not await anyio.Path(path).is_file():
            raise KubeezError(f"No output of a job lies at {cut(path, LONGEST_NAME)}.", code="unknown_output")
        return await anyio.to_thread.run_sync(lambda: self.guard.contained(Path(path), argument="path"))

    async def changes(self) -> AsyncIterator[Mapping[str, object]]:
        """As `Source` has it; whether anything was written is asked every second, which costs next to nothing."""
        seen = told = None
        while True:
            stamp = await self.ledger.stamp()
            if stamp != seen:
                seen = stamp
                jobs = [_under_way(job) for job in await self.ledger.under_way()]
                now = {"jobs": jobs, "made": await self.ledger.made()}
                if now != told:
                    told = now
                    yield now
            await self.sleep(_LOOK_SECONDS)

    async def _job(self, job: str) -> Job:
        found = await self.ledger.whichever([job])
        if not found:
            raise UnknownJobError(job)
        return found[0]

    async def _located(self, job: str, number: int) -> tuple[SavedFile, Path]:
        found = await self._job(job)
        if not 0 <= number < len(found.files):
            raise KubeezError("This job has no such output.", next_step="Reload the page.", code="unknown_output")
        file = found.files[number]
        path = await anyio.to_thread.run_sync(lambda: self.guard.contained(Path(file.path), argument="file"))
        return file, path

    def _output(self, job: Job, number: int) -> Output:
        file = job.files[number]
        told = distinctions(job, file)
        words = [told.get(name) for name in ("item", "language", "label")]
        return Output(
            job=job.id,
            number=number,
            name=Path(file.path).name,
            kind=_kind(file),
            media_type=file.media_type,
            prompt=cut(job.prompt, _PROMPT_IN_LIST),
            model=job.model,
            recipe=job.recipe or "",
            run=job.run.partition("/")[0],
            label=" · ".join(str(word) for word in words if word),
            day=job.created.strftime("%Y-%m-%d"),
            at=job.created_at,
            mode=_mode(job),
            path=file.path,
            size=file.size,
            missing=self._missing(Path(file.path)),
            unseen=_unseen(file),
            **_price(job),
        )

    def _missing(self, path: Path) -> str:
        """Why the file at `path` cannot be shown; empty if it can."""
        try:
            status = os.lstat(self.guard.contained(path, argument="file"))
        except InvalidArgumentError:
            return "outside the folders that may be read"
        except (OSError, ValueError):
            return "moved or deleted"
        return "" if stat.S_ISREG(status.st_mode) else "not a file any more"

    def _sheet(self, job: Job) -> Sheet:
        return Sheet(
            job=job.id,
            state=STATUS_OF[job.state],
            prompt=job.prompt,
            model=job.model,
            mode=_mode(job),
            settings=_settings(job),
            inputs=[*job.labels.inputs],
            facts=_facts(job),
            outputs=[self._output(job, number) for number in range(len(job.files))],
            another=another(job),
            sidecar=self._sidecar(job),
            error=presentable(job.error or job.save_error or ""),
            **_price(job),
        )

    def _sidecar(self, job: Job) -> str:
        """What lies beside the first output that has a sidecar."""
        for file in job.files:
            with suppress(InvalidArgumentError, OSError, ValueError):
                path = self.guard.contained(Path(file.path).with_suffix(".json"), argument="file")
                with open_exactly(path) as sidecar:
                    return without_keys(sidecar.read(_LARGEST_SIDECAR).decode("utf-8", "replace"))
        return ""


def _without_folders(name: str) -> str:
    """How an input is called, without where it lies on this machine."""
    return name if "://" in name else re.split(r"[/\\]", name)[-1]


def _shareable(value: Any, name: str = "") -> Any:
    """A value of a sidecar without the folders of this machine."""
    if isinstance(value, Mapping):
        return {key: _shareable(each, str(key)) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_shareable(each, name) for each in value]
    if isinstance(value, str) and (name == "inputs" or name.endswith(NAMES_FILES)):
        return _without_folders(value)
    return value


def _kind(file: SavedFile) -> str:
    return file.media_type.partition("/")[0]


_PLAIN_SOUND = ("audio/wav", "audio/x-wav", "audio/vnd.wave")


def _unseen(file: SavedFile) -> str:
    """Why no small view can be made of a file; empty where one can."""
    needed = _kind(file) == "video" or (_kind(file) == "audio" and file.media_type not in _PLAIN_SOUND)
    return f"A small view of it needs the extra 'video': {EXTRA}" if needed and not has_av() else ""


def _mode(job: Job) -> str:
    return "sandbox" if job.account.startswith(SANDBOX) else "live"


def _price(job: Job) -> dict[str, Any]:
    return {"price": job.quote_credits if job.charged is None else job.charged, "paid": job.charged is not None}


def _under_way(job: Job) -> dict[str, Any]:
    return {
        "job": job.id,
        "prompt": cut(job.prompt, _PROMPT_IN_LIST),
        "model": job.model,
        "state": STATUS_OF[job.state],
        "mode": _mode(job),
        "since": job.sent_at or job.created_at,
        "seconds": job.expected_seconds,
        **_price(job),
    }


def _settings(job: Job) -> list[tuple[str, str]]:
    """What was asked for beside prompt, model and files, each with its name."""
    found = []
    for name, value in job.arguments.items():
        words = settings_words({name: value}, prompt=job.prompt)
        if words:
            spoken_name = name.replace("_", " ")
            found.append((spoken_name, without_keys(words[0].removeprefix(spoken_name).strip(": ") or "yes")))
    return found


def _facts(job: Job) -> list[tuple[str, str]]:
    operation = operations().get(job.route)
    quoted_price = "unknown" if job.quote_credits is None else f"{spoken(job.quote_credits)} ({job.quote_basis})"
    taken = None if job.settled_at is None or job.sent_at is None else job.settled_at - job.sent_at
    facts = [
        ("Made with", f"{operation.title} ({job.tool})" if operation else job.tool),
        ("Recipe", job.recipe),
        ("Run", job.run.partition("/")[0]),
        ("Step", job.labels.call),
        ("About", job.labels.item),
        ("Ordered", _moment(job.created_at)),
        ("Took", "" if taken is None else f"{taken:,.0f} s"),
        ("Quoted", quoted_price),
        ("Charged", "" if job.charged is None else spoken(job.charged)),
        ("Held back", spoken(job.reserved) if job.reserved else ""),
        ("Asked by", job.client),
        ("Paid through", "the hosted server" if door_of(job.account) == "hosted" else ""),
        ("Job", job.id),
        ("Generation", ", ".join(job.generation_ids)),
    ]
    return [(name, presentable(str(value))) for name, value in facts if value]


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def another(job: Job, *, here: bool = True) -> str:
    """A sentence with which an assistant makes another like `job`.

    Args:
        here: Whether it is said on this machine, whose ledger has the job.
    """
    words = settings_words(job.arguments, prompt=job.prompt)
    settings = f", {'; '.join(on_one_line(each, 80) for each in words[:8])}" if words else ""
    inputs = job.labels.inputs if here else map(_without_folders, job.labels.inputs)
    files = ", ".join(on_one_line(each, 200) for each in inputs)
    prompt = f", with the prompt {quoted(job.prompt, _PROMPT_IN_SENTENCE)}" if job.prompt else ""
    parts = [
        f"Make another one like this with Kubeez: {job.tool}, model {job.model}{settings}{prompt}.",
        f"Input: {files}." if files else "",
        f"It is job {job.id[:12]}, which regenerate can repeat." if here and job.prompt else "",
        "Tell me the price before it costs anything.",
    ]
    return without_keys(" ".join(part for part in parts if part))


def _unreadable(path: Path, error: OSError) -> KubeezError:
    return KubeezError(
        f"{path.name} cannot be read: {error.strerror or type(error).__name__}.",
        next_step="Look whether it was moved or deleted.",
        code="file_unreadable",
    )
