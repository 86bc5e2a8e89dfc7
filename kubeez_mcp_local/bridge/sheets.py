"""Comparison sheets: the pictures of one call or run side by side, with what differs and what each cost.

A sheet is drawn once the last picture is saved, beside everything else: no answer waits for it. It lies with the
pictures, decides nothing about jobs, and one that cannot be drawn is not worth a word to the user.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.job import State, as_ordered, step_and_index
from kubeez_mcp_local.jobs.naming import telling
from kubeez_mcp_local.text import cut, spoken

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kubeez_mcp_local.jobs.job import Job, SavedFile
    from kubeez_mcp_local.jobs.ledger import Ledger
    from kubeez_mcp_local.jobs.sending import Background
    from kubeez_mcp_local.media.sheet import SheetItem

    Picture = tuple[Job, SavedFile]

log = logging.getLogger(__name__)

NAME = "comparison"
_SEARCHED_JOBS = 200
_HEADING = 140


@dataclass(eq=False)
class Sheets:
    """Draws the sheets of one ledger's jobs.

    Attributes:
        on: Whether any are drawn.
        background: Where they are drawn.
    """

    ledger: Ledger
    on: bool
    background: Background
    _turn: anyio.Lock = field(init=False, default_factory=anyio.Lock)
    _undrawn: set[Path] = field(init=False, default_factory=set)
    """Those that could not be drawn."""

    def saved(self, job: Job) -> None:
        """`job` is over and its outputs are on the disk: if it is the last of its call, draw the sheet beside all else.

        What belongs to a run waits for the end of the run.
        """
        wanted = not job.run and bool(job.labels.batch or sheet_of_call([job]))
        if self.on and wanted and self.background.running:
            self.background.start(self._of_call, job)

    async def _of_call(self, job: Job) -> None:
        jobs = await self._ordered_with(job)
        target = sheet_of_call(jobs)
        if target is not None:
            await self._draw(jobs, target, job.prompt or job.labels.name)

    async def of_call(self, jobs: Sequence[Job]) -> Path | None:
        """Where the sheet of these jobs is, or will be in a moment; `None` unless they are of one call, which has one.

        Jobs of several calls are nothing to compare, and what belongs to a run is on the run's sheet.
        """
        first = jobs[0]
        apart = first.run or (len(jobs) > 1 and not first.labels.batch)
        if not self.on or apart or any(job.labels.batch != first.labels.batch for job in jobs):
            return None
        target = sheet_of_call(await self._ordered_with(first))
        if target is None or target in self._undrawn:
            return None
        return target if self.background.running or await anyio.Path(target).is_file() else None

    async def _ordered_with(self, job: Job) -> list[Job]:
        """The jobs of the call that ordered `job`, in their order."""
        if not job.labels.batch:
            return [await self.ledger.get(job.id)]
        recent = await self.ledger.recent(_SEARCHED_JOBS)
        return [each for each in reversed(recent) if each.labels.batch == job.labels.batch]

    async def of_run(self, run: str, title: str) -> Path | None:
        """Draw the sheet of a run (as the ledger calls it), which is over; where it lies, or `None` without one."""
        if not self.on:
            return None
        jobs = as_ordered(await self.ledger.of_run(run))
        target = _of_run(jobs)
        return None if target is None else await self._draw(jobs, target, title)

    async def _draw(self, jobs: Sequence[Job], target: Path, title: str) -> Path | None:
        from kubeez_mcp_local.media.sheet import comparison_sheets

        pictures = [(job, file) for job in jobs for file in job.files if _is_picture(file)]
        total = sum(job.charged or 0 for job in {job.id: job for job, _ in pictures}.values())
        heading = f"{cut(' '.join(title.split()), _HEADING)} · {spoken(total)}"
        if len(pictures) < 2:
            return None
        try:
            async with self._turn:  # one at a time: they take memory, and the next may find this one
                if await _is_newer(target, [Path(file.path) for _, file in pictures]):
                    return target
                items, row = captioned(pictures), _row(pictures)
                return (await comparison_sheets(items, target, heading=heading, per_row=row))[0]
        except (KubeezError, OSError) as error:
            log.warning("the sheet %s cannot be drawn: %s", target.name, error)
            self._undrawn.add(target)
            return None


def sheet_of_call(jobs: Sequence[Job]) -> Path | None:
    """Where the sheet of a call lies, of all its jobs; `None` before the last is over, and without two pictures."""
    files = [file for job in jobs for file in job.files if _is_picture(file)]
    if len(files) < 2 or not all(map(_over, jobs)):
        return None
    first = Path(files[0].path)
    name = jobs[0].labels.name or first.stem
    return first.with_name(f"{name}-{NAME}.png")


def sheet_of_run(files: Sequence[tuple[str, str]]) -> Path | None:
    """Where the sheet of a run lies, whose files have these paths and media types; `None` without two pictures."""
    pictures = [path for path, media_type in files if media_type.startswith("image/")]
    return Path(pictures[0]).with_name(f"{NAME}.png") if len(pictures) > 1 else None


def sheets_of(jobs: Sequence[Job]) -> set[Path]:
    """Where the sheets of the calls and runs lie that ordered these jobs, which come newest first."""
    together: dict[str, list[Job]] = {}
    for job in reversed(jobs):
        together.setdefault(job.run or job.labels.batch or job.id, []).append(job)
    found = [_of_run(each) if each[0].run else sheet_of_call(each) for each in together.values()]
    return {sheet for sheet in found if sheet is not None}


def _of_run(jobs: Sequence[Job]) -> Path | None:
    return sheet_of_run([(file.path, file.media_type) for job in jobs for file in job.files])


def _is_picture(file: SavedFile) -> bool:
    """Films are none: the first frames of a clip and of its dubbed version are the same."""
    return file.media_type.startswith("image/")


def _over(job: Job) -> bool:
    """Whether nothing more will be saved of it."""
    return job.settled and bool(job.state is not State.COMPLETED or job.files or job.save_error)


async def _is_newer(target: Path, pictures: Sequence[Path]) -> bool:
    """Whether the sheet is there, drawn after the last of its pictures."""
    try:
        drawn = (await anyio.Path(target).stat()).st_mtime_ns
        return all([(await anyio.Path(picture).stat()).st_mtime_ns <= drawn for picture in pictures])
    except OSError:
        return False


def _row(pictures: Sequence[Picture]) -> int | None:
    """How many in a row, where the steps of a run made as many each: then what belongs together stands in columns."""
    steps = Counter(step_and_index(job.labels.call)[0] for job, _ in pictures)
    counts = set(steps.values())
    return counts.pop() if len(steps) > 1 and len(counts) == 1 and 1 < max(counts) <= 6 else None


def captioned(pictures: Sequence[Picture]) -> list[SheetItem]:
    """The pictures with what differs between them, and in smaller print their model and what each cost."""
    from kubeez_mcp_local.media.sheet import SheetItem

    facts = [_facts(job, file) for job, file in pictures]
    titles: list[tuple[str, ...]] = [()] * len(pictures)
    for name in facts[0]:
        if len(set(titles)) == len(pictures):
            break
        if len({fact[name] for fact in facts}) > 1:
            titles = [
                said if not fact[name] or fact[name] in said else (*said, fact[name])
                for said, fact in zip(titles, facts, strict=True)
            ]
    return [
        SheetItem(
            Path(file.path),
            " · ".join(said) or Path(file.path).stem,
            " · ".join([*([] if job.model in said else [job.model]), _price(job)]),
        )
        for (job, file), said in zip(pictures, titles, strict=True)
    ]


def _facts(job: Job, file: SavedFile) -> Mapping[str, str]:
    told = job.arguments
    seed = told.get("seed")
    return {
        "step": step_and_index(job.labels.call)[0].replace("_", " "),
        "item": job.labels.item,
        "part": job.labels.part.replace("-", " "),
        "label": file.label.replace("-of-", " of "),
        "language": job.labels.language,
        "model": job.model,
        **{name: str(told.get(name) or "") for name in ("aspect_ratio", "resolution", "quality", "duration")},
        "seed": "" if seed is None else f"seed {seed}",
        "words": " ".join(telling(job.prompt)),
    }


def _price(job: Job) -> str:
    """What one picture of the job cost."""
    made = sum(map(_is_picture, job.files)) or 1
    if job.charged is not None:
        return spoken(round(job.charged / made, 2))
    return "price not known" if job.quote_credits is None else f"about {spoken(round(job.quote_credits / made, 2))}"
