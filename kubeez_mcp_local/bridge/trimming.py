"""Cutting and joining videos on this machine, and giving what came out a URL."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from kubeez_mcp_local.catalogue.checks import verify_media_kind
from kubeez_mcp_local.disk import give_free_name, part_beside
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.jobs.naming import portable
from kubeez_mcp_local.media.inputs import LocalInput, describe
from kubeez_mcp_local.media.measure import measure
from kubeez_mcp_local.media.path_guard import FileTooLargeError
from kubeez_mcp_local.media.trim import (
    MAX_SOURCE_BYTES,
    MOST_CLIPS,
    Clip,
    check_clips,
    check_range,
    join,
    missing_source,
    source_not_opened,
    source_too_large,
    trim,
)
from kubeez_mcp_local.media.video import NotInstalledError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from kubeez_mcp_local.bridge.files import Measurements, SharedWork
    from kubeez_mcp_local.jobs.outputs import Download, OutputStore
    from kubeez_mcp_local.media.inputs import Inputs, Uploads
    from kubeez_mcp_local.media.trim import Trimmed
    from kubeez_mcp_local.operations import Input


@dataclass(frozen=True)
class Cut:
    """A finished cut.

    Attributes:
        url: Where the API finds it; `None` when it could not be uploaded, `upload_error` says why.
        sound: Whether it has a sound track; `None` where that cannot be told.
    """

    trimmed: Trimmed
    url: str | None
    upload_error: str = ""
    sound: bool | None = None


@dataclass
class Trimming:
    """Cuts videos. Costs nothing.

    Attributes:
        cuts: Where a cut goes on that takes longer than a call may.
        work_dir: Where a remote video lies meanwhile.
    """

    inputs: Inputs
    uploads: Uploads
    measurements: Measurements
    download: Download
    outputs: OutputStore
    cuts: SharedWork[Cut]
    work_dir: Path
    clock: Callable[[], float] = time.time
    _done: dict[str, Cut] = field(default_factory=dict)

    async def trim(self, source: str, start_s: float, end_s: float, *, patience: float) -> Cut | None:
        """The cut from `start_s` to `end_s` seconds, or `None` if it is not done after `patience` seconds.

        It goes on then; the same call again joins it, and one that is done is not made again.

        Raises:
            KubeezError: With the error name of the hosted server.
            InvalidArgumentError: The video may not be read.
            KubeezError: `processor_unavailable`: the extra `video` is missing.
        """
        item = await self._source(source, start_s, end_s)
        what = item.sha256 if isinstance(item, LocalInput) else item.url
        key = hashlib.sha256(f"{what}\n{start_s:.6f}\n{end_s:.6f}".encode()).hexdigest()
        return await self._kept(key, partial(self._made, item, start_s, end_s, key[:8]), patience)

    async def _kept(self, key: str, work: Callable[[], Awaitable[Cut]], patience: float) -> Cut | None:
        """What `work` makes, once; `None` if it is not done in time."""
        done = self._done.get(key)
        if done is not None and done.url is not None and await anyio.Path(done.trimmed.path).is_file():
            return done
        with anyio.move_on_after(patience):
            self._done[key] = await self.cuts.join(key, work)
            return self._done[key]
        return None

    async def join(self, sources: Sequence[str], *, patience: float) -> Cut | None:
        """The videos one after the other, or `None` if that is not done after `patience` seconds, as `trim`.

        Raises:
            InvalidArgumentError: Too few or too many, one may not be read, or they do not make one video.
            KubeezError: `processor_unavailable`: the extra `video` is missing; or as `media.trim.join`.
        """
        if not 2 <= len(sources) <= MOST_CLIPS:
            raise InvalidArgumentError("source_urls", f"names {len(sources)} videos; 2 to {MOST_CLIPS} are joined.")
        items = await self.inputs.resolve_all(sources, argument="source_urls")
        for item in items:
            verify_media_kind("source_urls", item.kind, ("video",))
        names = [item.sha256 if isinstance(item, LocalInput) else item.url for item in items]
        key = hashlib.sha256("\n".join(["join", *names]).encode()).hexdigest()
        return await self._kept(key, partial(self._joined, items, key[:8]), patience)

    async def _joined(self, items: Sequence[Input], short: str) -> Cut:
        await anyio.Path(self.work_dir).mkdir(parents=True, exist_ok=True)
        fetched = [self.work_dir / f"{short}-{secrets.token_hex(4)}.source" for _ in items]
        try:
            clips = [await self._clip(item, target) for item, target in zip(items, fetched, strict=True)]
            check_clips("source_urls", clips)
            first = items[0].path.stem if isinstance(items[0], LocalInput) else "video"
            return await self._put(partial(join, clips), f"{portable(first) or 'video'}-joined")
        except NotInstalledError as error:
            raise KubeezError(error.message, next_step=error.next_step, code="processor_unavailable") from None
        finally:
            for target in fetched:
                target.unlink(missing_ok=True)

    async def _clip(self, item: Input, target: Path) -> Clip:
        if isinstance(item, LocalInput):
            return Clip(item, item.measured, item.name)
        await self._fetch(item.url, target)
        return Clip(target, await measure(target), item.name)

    async def _source(self, source: str, start_s: float, end_s: float) -> Input:
        if not source.strip():
            raise missing_source("it is empty")
        check_range(start_s, end_s)
        try:
            item = await self.inputs.resolve(source, argument="source_url")
        except FileTooLargeError:
            raise source_too_large(None) from None
        verify_media_kind("source_url", item.kind, ("video",))
        return item

    async def _made(self, item: Input, start_s: float, end_s: float, short: str) -> Cut:
        try:
            if isinstance(item, LocalInput):
                return await self._cut(item, item.path.stem, start_s, end_s)
            await anyio.Path(self.work_dir).mkdir(parents=True, exist_ok=True)
            fetched = self.work_dir / f"{short}-{secrets.token_hex(4)}.source"
            try:
                await self._fetch(item.url, fetched)
                return await self._cut(fetched, "video", start_s, end_s)
            finally:
                fetched.unlink(missing_ok=True)
        except NotInstalledError as error:
            raise KubeezError(error.message, next_step=error.next_step, code="processor_unavailable") from None
        except OSError as error:
            raise source_not_opened(error.strerror or type(error).__name__) from None

    async def _fetch(self, url: str, target: Path) -> None:
        from kubeez_mcp_local.rest.errors import TooLargeError

        try:
            await self.download(url, target, max_bytes=MAX_SOURCE_BYTES)
        except TooLargeError:
            raise source_too_large(None) from None
        except KubeezError as error:
            raise source_not_opened(error.message) from None

    async def _cut(self, source: Path | LocalInput, stem: str, start_s: float, end_s: float) -> Cut:
        make = partial(trim, source, start_s=start_s, end_s=end_s)
        window = f"{start_s:.2f}".rstrip("0").rstrip("."), f"{end_s:.2f}".rstrip("0").rstrip(".")
        return await self._put(make, f"{portable(stem) or 'video'}-cut-{'-'.join(window)}s")

    async def _put(self, make: Callable[[Path], Awaitable[Trimmed]], name: str) -> Cut:
        """Make a video in today's folder, under a free name, and upload it."""
        folder = await anyio.to_thread.run_sync(self.outputs.folder_of, self.clock())
        part = part_beside(folder / "x")
        try:
            trimmed = await make(part)
            path = await anyio.to_thread.run_sync(give_free_name, part, name, ".mp4", ())
        finally:
            part.unlink(missing_ok=True)
        trimmed = replace(trimmed, path=path)
        measured = await measure(path)
        try:
            url = await self.uploads.url_for(await anyio.to_thread.run_sync(describe, path, "source_url"))
        except KubeezError as error:  # the video itself is there, and a path is as good as a URL here
            return Cut(trimmed, None, str(error), sound=measured.has_sound)
        self.measurements.note(url, measured)
        return Cut(trimmed, url, sound=measured.has_sound)
