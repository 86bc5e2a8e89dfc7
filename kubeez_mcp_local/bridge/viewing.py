"""Showing finished outputs and local files: a small preview of one, a contact sheet of several, parts of sound."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from kubeez_mcp_local.bridge.sheets import captioned
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.errors import UnknownJobError
from kubeez_mcp_local.jobs.job import SavedFile, outputs_in
from kubeez_mcp_local.jobs.outputs import NotAnOutputError, what_it_is
from kubeez_mcp_local.media.inputs import LIBRARY_SCHEME, LocalInput, opened
from kubeez_mcp_local.media.sniff import MediaType, by_extension, sniff_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kubeez_mcp_local.bridge.api import Api
    from kubeez_mcp_local.bridge.files import SharedWork
    from kubeez_mcp_local.jobs.job import Job
    from kubeez_mcp_local.jobs.ledger import Ledger
    from kubeez_mcp_local.media.inputs import Inputs
    from kubeez_mcp_local.media.picture import Preview
    from kubeez_mcp_local.media.sheet import SheetItem
    from kubeez_mcp_local.rest.wire import Generation

MAX_DOWNLOAD_BYTES = 500 * 1024 * 1024
MOST_SOUNDS = 4
MOST_INLINE = 12
_LEAST_INLINE = 10_000
_INLINE_PATIENCE = 5.0
_SHOWN_BY_CLIENTS = ("image/png", "image/jpeg", "image/webp", "image/gif")
_SEARCHED_JOBS = 200
_PATIENCE = 35.0
"""Seconds a call waits for copies; clients give up on calls that last a minute."""


@dataclass(frozen=True)
class View:
    """One file that was asked for.

    Attributes:
        output_id: The API's id of it, or the name by which it was asked for.
        path: The file on this machine, if it was saved.
        about: What tells it from the others, and what it cost.
        note: What is shown of it, or why nothing is.
    """

    output_id: str
    name: str
    url: str | None
    path: Path | None
    media_type: str | None = None
    about: str = ""
    note: str = ""


@dataclass(frozen=True)
class Shown:
    """What was asked for and what can be shown of it: encoded files with their media types, together in the budget."""

    views: tuple[View, ...]
    previews: tuple[tuple[bytes, str], ...]
    note: str


@dataclass(frozen=True, eq=False)
class _Found:
    output_id: str
    url: str | None
    source: Path | LocalInput | None = None
    job: Job | None = None
    file: SavedFile | None = None

    @property
    def path(self) -> Path | None:
        return self.source.path if isinstance(self.source, LocalInput) else self.source

    @property
    def name(self) -> str:
        return (self.path.name if self.path else Path(urlsplit(self.url or "").path).name) or self.output_id

    @property
    def view(self) -> View:
        return View(self.output_id, self.name, self.url, self.path)


@dataclass(frozen=True)
class Viewing:
    """Finds outputs by id, in the ledger first.

    Attributes:
        apis: By account, the first door's first.
        cache_dir: Keeps copies of outputs that were not saved here.
    """

    ledger: Ledger
    apis: Mapping[str, Api]
    inputs: Inputs
    cache_dir: Path
    copies: SharedWork[Path]

    async def view(self, names: Sequence[str], *, max_bytes: int, at_s: float | None = None) -> Shown:
        """What outputs, jobs, runs and local files look and sound like; `at_s` is a moment of a film or sound.

        Raises:
            KubeezError: `unknown_output`: no job of this account has it.
            InvalidArgumentError: A local file may not be read, or is damaged.
        """
        every = [each for name in names for each in await self._find(name)]
        found = list({each.path or each.url or each.output_id: each for each in every}.values())
        return await (
            self._one(found[0], max_bytes, at_s) if len(found) == 1 else self._several(found, max_bytes, at_s)
        )

    async def at_hand(self, names: Sequence[str], *, max_bytes: int) -> tuple[bytes, str] | None:
        """A picture of such of these files as lie on this machine, and its media type; `None` if that makes none.

        Raises:
            KubeezError: As `view`.
        """
        jobs = await self.ledger.recent(_SEARCHED_JOBS)
        here: list[_Found] = []
        for name in names:
            here += [each for job in jobs for each in _in_job(job, name) if each.source][:1]
            item = await self.inputs.resolve(name, argument="output_id") if _is_local(name) else None
            here += [_Found(name, None, item)] if isinstance(item, LocalInput) else []
        if not here:
            return None
        one = len(here) == 1
        shown = await (self._one(here[0], max_bytes, None) if one else self._several(here, max_bytes, None))
        return next((each for each in shown.previews if each[1].startswith("image/")), None)

    async def inline(self, pictures: Sequence[Path], *, max_bytes: int, whole: bool) -> list[tuple[bytes, str]]:
        """As many of these pictures as fit, with their media types; their base64 forms together have at most
        `max_bytes` characters. `whole` is the files as they are, each where it fits into its share of the room.
        """
        from kubeez_mcp_local.media.picture import preview

        found: list[tuple[bytes, str]] = []
        left = max_bytes
        shown = pictures[: min(MOST_INLINE, max_bytes // _LEAST_INLINE)]
        with anyio.move_on_after(_INLINE_PATIENCE):
            for place, path in enumerate(shown):
                share = left // (len(shown) - place)
                with suppress(KubeezError, OSError):
                    size = (await anyio.Path(path).stat()).st_size
                    if whole and -(-size // 3) * 4 <= share:
                        content, mime = await anyio.Path(path).read_bytes(), (await _sniffed(path)).mime
                    else:
                        small = await preview(path, share)
                        content, mime = small.data or b"", small.mime
                    taken = -(-len(content) // 3) * 4
                    if content and mime in _SHOWN_BY_CLIENTS and taken <= share:
                        found.append((content, mime))
                        left -= taken
        return found

    async def _one(self, found: _Found, max_bytes: int, at_s: float | None) -> Shown:
        from kubeez_mcp_local.media.picture import preview
        from kubeez_mcp_local.media.sheet import film_strip

        view = found.view
        try:
            source = found.source or await self._fetched(found)
            if at_s is None and (await anyio.to_thread.run_sync(_type_of, source)).kind == "video":
                result = await film_strip(source, max_bytes=max_bytes)
            else:
                result = await preview(source, max_bytes, at_s=at_s)
        except KubeezError as error:
            return Shown((replace(view, note=str(error)),), (), str(error))
        media_type = await anyio.to_thread.run_sync(_type_of, source)
        return Shown((replace(view, media_type=media_type.mime, note=result.note),), _encoded(result), result.note)

    async def _several(self, found: Sequence[_Found], max_bytes: int, at_s: float | None) -> Shown:
        from kubeez_mcp_local.media.picture import preview
        from kubeez_mcp_local.media.sheet import MOST_ON_SHEET, contact_sheet

        views = {each: each.view for each in found}
        sources: dict[_Found, tuple[Path | LocalInput, MediaType]] = {}
        with anyio.move_on_after(_PATIENCE) as waiting:
            for each in found:
                try:
                    source = each.source or await self._fetched(each)
                    media_type = await anyio.to_thread.run_sync(_type_of, source)
                except KubeezError as error:
                    views[each] = replace(views[each], note=str(error))
                    continue
                sources[each] = source, media_type
                views[each] = replace(views[each], media_type=media_type.mime)
        seen = [each for each, (_, media_type) in sources.items() if media_type.kind != "audio"]
        heard = [each for each in sources if each not in seen]
        share = max_bytes // (min(len(heard), MOST_SOUNDS) + bool(seen) or 1)
        previews: list[tuple[bytes, str]] = []
        notes = []
        if seen:
            items = _captions(seen[:MOST_ON_SHEET], sources)
            sheet = await contact_sheet([replace(item, at_s=at_s) for item in items], max_bytes=share)
            previews += _encoded(sheet)
            notes.append(sheet.note)
            for each, item in zip(seen, items, strict=False):
                views[each] = replace(views[each], about=f"{item.title} · {item.detail}".strip(" ·"))
        for each in heard[:MOST_SOUNDS]:
            sound = await preview(sources[each][0], share, at_s=at_s)
            previews += _encoded(sound)
            views[each] = replace(views[each], note=sound.note)
        left = max(0, len(seen) - MOST_ON_SHEET) + max(0, len(heard) - MOST_SOUNDS)
        notes += [f"{left} more are not shown: name them."] if left else []
        notes += ["Some are still being fetched: call again."] if waiting.cancelled_caught else []
        return Shown(tuple(views.values()), tuple(previews), " ".join(notes) or f"{len(previews)} parts of sound.")

    async def _find(self, name: str) -> list[_Found]:
        name = name.strip()
        jobs = await self.ledger.recent(_SEARCHED_JOBS)
        with suppress(UnknownJobError):
            jobs = [await self.ledger.get(name), *jobs]
        if run := next((job.run for job in jobs if job.run and name in (job.run, job.run.partition("/")[0])), None):
            return [each for job in await self.ledger.of_run(run) for each in _in_job(job, job.id)]
        for job in jobs:
            if found := _in_job(job, name):
                return found
        if _is_local(name):
            item = await self.inputs.resolve(name, argument="output_id")
            if isinstance(item, LocalInput):
                return [_Found(name, None, item)]
        for api in self.apis.values():
            for generation in await _history(api, name):
                outputs = [(output.id, output.url) for output in generation.outputs]
                outputs += [(song.id, song.audio_url) for song in generation.songs]
                if found := [_Found(i or generation.id, url) for i, url in outputs if name in (i, url, generation.id)]:
                    return found
        raise KubeezError(
            f"No job of this account has an output {name!r}.",
            next_step="Take the id inside outputs[] from get_generation or get_generations, or a local path.",
            code="unknown_output",
        )

    async def _fetched(self, found: _Found) -> Path:
        """A copy of an output that is not on disk; kept, because people look twice."""
        if not found.url:
            raise KubeezError(
                "The output has no URL yet.", next_step="Wait for the job to finish.", code="unknown_output"
            )
        url = found.url
        target = self.cache_dir / hashlib.sha256(url.encode()).hexdigest()[:24]

        async def fetch() -> Path:
            await anyio.Path(self.cache_dir).mkdir(parents=True, exist_ok=True)
            api = self.apis.get(found.job.account if found.job else "") or next(iter(self.apis.values()))
            await api.download(url, target, max_bytes=MAX_DOWNLOAD_BYTES, accept=_no_output)
            return target

        if await anyio.Path(target).exists():
            return target
        with anyio.move_on_after(_PATIENCE):
            return await self.copies.join(url, fetch)
        raise KubeezError(
            "The file is large and still being fetched.",
            next_step="Call again in a moment.",
            retry_safe=True,
            code="still_fetching",
        )


async def _history(api: Api, output_id: str) -> list[Generation]:
    rows = await api.generations(limit=100)
    if any(output_id in (row.id, *(output.id for output in row.outputs)) for row in rows):
        return rows
    try:
        return [*rows, await api.status("media", output_id)]
    except KubeezError:
        return rows


def _no_output(path: Path, said: str | None) -> str | None:
    """Why a fetched copy is not kept, which would hide the output for ever; `None` if it may be the output."""
    try:
        what_it_is(path, said, frozenset())
    except NotAnOutputError as error:
        return str(error)
    return None


def _in_job(job: Job, name: str) -> list[_Found]:
    """The outputs of a job that an id or URL names; all of them where it is the job's own."""
    whole = name in (job.id, *job.generation_ids)
    found = [
        _Found(file.output_id or name, file.url, Path(file.path), job, file)
        for file in job.files
        if (whole or name in (file.output_id, file.url)) and Path(file.path).is_file()
    ]
    saved = {each.url for each in found}
    for result in job.results:
        for output in outputs_in(result):
            url = output.get("url")
            if url not in saved and (whole or name in (output.get("id"), url)):
                found.append(_Found(output.get("id") or name, url, job=job))
    return found


def _is_local(name: str) -> bool:
    """Whether this reads like a path or a name in the library rather than an id."""
    if name.lower().startswith(("https:", "http:")):
        return False
    named = name.lower().startswith((LIBRARY_SCHEME, "file:", "~"))
    return named or "/" in name or "\\" in name or by_extension(name) is not None


async def _sniffed(path: Path) -> MediaType:
    return await anyio.to_thread.run_sync(_type_of, path)


def _type_of(source: Path | LocalInput) -> MediaType:
    with opened(source) as file:
        return sniff_file(file, Path(file.name).name)


def _encoded(shown: Preview) -> tuple[tuple[bytes, str], ...]:
    return () if shown.data is None else ((shown.data, shown.mime),)


def _captions(found: Sequence[_Found], sources: dict[_Found, tuple[Path | LocalInput, MediaType]]) -> list[SheetItem]:
    """What differs between outputs of jobs, and what each cost; the name of anything else."""
    from kubeez_mcp_local.media.sheet import SheetItem

    jobs = [each for each in found if each.job is not None]
    pairs = []
    for each in jobs:
        source, media_type = sources[each]
        assert each.job is not None
        saved = each.file or SavedFile(each.name, each.url or "", media_type.mime, 0, each.output_id)
        pairs.append((each.job, saved))
    told = dict(zip(jobs, captioned(pairs) if pairs else [], strict=True))
    items = []
    for each in found:
        source, _ = sources[each]
        item = told.get(each)
        items.append(replace(item, source=source) if item else SheetItem(source, each.name))
    return items
