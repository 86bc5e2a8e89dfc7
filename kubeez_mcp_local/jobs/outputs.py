"""Saves finished outputs: atomically, under the output folder and nowhere else, never over an existing file."""

from __future__ import annotations

import errno
import filecmp
import json
import logging
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from anyio import to_thread

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.job import Job, SavedFile
from kubeez_mcp_local.jobs.names import stem_for

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from kubeez_mcp_local.media.media_type import MediaType
    from kubeez_mcp_local.rest.downloading import Downloaded
    from kubeez_mcp_local.rest.wire import Generation

log = logging.getLogger(__name__)

LARGEST_OUTPUT = 4 * 1024**3
_MOST_NAMES = 10_000


class OutputFolderError(KubeezError):
    """Outputs cannot be saved where they should go. The job itself is done; its URLs are in the ledger."""

    code = "output_folder"


class Download(Protocol):
    """`RestClient.download`."""

    async def __call__(self, url: str, target: Path, *, max_bytes: int) -> Downloaded: ...


@dataclass(frozen=True)
class Saved:
    """What is on the disk now, and why something may be missing."""

    files: tuple[SavedFile, ...]
    error: str | None = None


@dataclass(frozen=True)
class Source:
    """One thing to fetch; `label` tells several of one job apart."""

    url: str
    output_id: str | None
    label: str = ""


class OutputStore:
    """Puts outputs at `<output folder>/<UTC day>/<words of the prompt>-<short id>[-n].<extension>`.

    Args:
        output_dir: The folder; made when first needed. May itself be a link, nothing inside it may lead out.
        save_sidecars: Whether a JSON file with prompt, settings, credits and ids goes beside each output.
        download: Fetches a URL to a path.
        max_bytes: Largest output.
    """

    def __init__(
        self, output_dir: Path, *, save_sidecars: bool, download: Download, max_bytes: int = LARGEST_OUTPUT
    ) -> None:
        self._root = output_dir
        self._save_sidecars = save_sidecars
        self._download = download
        self._max_bytes = max_bytes

    async def save(self, job: Job, generations: Sequence[Generation]) -> Saved:
        """Save every output of `job` that is not on the disk yet. What goes wrong is in `Saved.error`, never raised."""
        present = await to_thread.run_sync(_still_there, job)
        files, errors = list(present), []
        urls = {file.url for file in present}
        for generation in generations:
            for source in sources_of(generation):
                if source.url in urls:
                    continue
                try:
                    files.append(await self._save_one(job, generation, source, {Path(file.path) for file in files}))
                except KubeezError as error:
                    errors.append(str(error))
        return Saved(tuple(files), "; ".join(dict.fromkeys(errors)) or None)

    @staticmethod
    def generations_of(job: Job) -> list[Generation]:
        """The API's final answers as the ledger keeps them."""
        from kubeez_mcp_local.rest.wire import Generation

        return [Generation.model_validate(result) for result in job.results]

    async def _save_one(self, job: Job, generation: Generation, source: Source, others: Collection[Path]) -> SavedFile:
        folder = await to_thread.run_sync(self.folder_for, job.settled_at or job.created_at)
        part = folder / f".kubeez-{secrets.token_hex(8)}.download"
        try:
            downloaded = await self._download(source.url, part, max_bytes=self._max_bytes)
            return await to_thread.run_sync(self._publish, job, generation, source, part, downloaded, others)
        except OSError as error:
            raise _cannot_save(folder, error) from error
        finally:
            part.unlink(missing_ok=True)

    def folder_for(self, moment: float) -> Path:
        """The folder of the day of `moment` (seconds since 1970), made if need be. Blocks.

        Raises:
            OutputFolderError: It cannot be made, or leads out of the output folder.
        """
        day = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d")
        folder = self._root / day
        try:
            folder.mkdir(parents=True, exist_ok=True)
            root, real = Path(os.path.realpath(self._root)), Path(os.path.realpath(folder))
        except OSError as error:
            raise _cannot_save(folder, error) from error
        if real.parent != root or not real.is_dir():
            raise OutputFolderError(
                f"{folder} leads out of the output folder, so nothing is saved there.",
                next_step="Remove that link, then save the job's outputs again.",
            )
        return real

    def _publish(
        self,
        job: Job,
        generation: Generation,
        source: Source,
        part: Path,
        downloaded: Downloaded,
        others: Collection[Path],
    ) -> SavedFile:
        kind = _media_type(part, source.url, downloaded.media_type)
        stem = stem_for(job.prompt, job.model, job.id) + (f"-{source.label}" if source.label else "")
        target = give_name(part, stem, kind.extension if kind else ".bin", others)
        file = SavedFile(
            path=str(target),
            url=source.url,
            media_type=kind.mime if kind else downloaded.media_type or "application/octet-stream",
            size=downloaded.size,
            output_id=source.output_id,
        )
        if self._save_sidecars:
            _write_sidecar(target, sidecar(job, generation, file))
        return file


def sources_of(generation: Generation) -> list[Source]:
    """What there is to fetch of a generation: outputs, songs, separated tracks."""
    found = [Source(output.url, output.id) for output in generation.outputs if output.url]
    found += [Source(song.audio_url, song.id) for song in generation.songs if song.audio_url]
    found += [
        Source(url, None, label)
        for url, label in ((generation.vocals_url, "vocals"), (generation.instrumental_url, "instrumental"))
        if url
    ]
    return found


def sidecar(job: Job, generation: Generation, file: SavedFile) -> dict[str, Any]:
    """What is worth knowing about an output later: how it was made, and what it cost."""
    return {
        "job": job.id,
        "generation_id": generation.id,
        "output_id": file.output_id,
        "mode": "sandbox" if job.account.startswith("sandbox") else "live",
        "tool": job.tool,
        "model": job.model,
        "prompt": job.prompt,
        "generation_type": job.generation_type,
        "settings": dict(job.arguments),
        "recipe": job.recipe,
        "credits": {"quoted": job.quote_credits, "basis": job.quote_basis, "charged": job.charged},
        "url": file.url,
        "media_type": file.media_type,
        "created_at": job.created.isoformat(timespec="seconds"),
        "completed_at": generation.completed_at,
    }


def _still_there(job: Job) -> list[SavedFile]:
    return [file for file in job.files if Path(file.path).is_file()]


def _media_type(path: Path, url: str, said: str | None) -> MediaType | None:
    """By content where it can be told, else by what the server says, else by the URL's name."""
    from kubeez_mcp_local.media.media_type import by_extension, by_mime
    from kubeez_mcp_local.media.sniff import UnsupportedMediaError, sniff

    try:
        return sniff(path)
    except UnsupportedMediaError:
        log.info("an output is of no known media type")
    return (by_mime(said) if said else None) or by_extension(url.partition("?")[0].rpartition("/")[2])


def give_name(part: Path, stem: str, extension: str, others: Collection[Path] = ()) -> Path:
    """Give a finished file the first free name in its folder, in one step and never over another file.

    A file of that name that holds the same already is the one: a process that was killed between publishing it and
    noting it in the ledger left it. Files among `others` are known to be something else.
    """
    for number in range(1, _MOST_NAMES):
        target = part.with_name(f"{stem}{'' if number == 1 else f'-{number}'}{extension}")
        try:
            os.link(part, target)
        except OSError as error:
            if target.exists():
                if target not in others and filecmp.cmp(part, target, shallow=False):
                    return target
                continue
            if isinstance(error, FileExistsError):
                continue  # a link that leads nowhere, or gone meanwhile
            part.rename(target)  # no hard links here (exFAT, some network folders)
        return target
    raise FileExistsError(errno.EEXIST, "every name is taken", stem)


def _write_sidecar(target: Path, content: dict[str, Any]) -> None:
    """A sidecar that cannot be written is not worth losing the output for."""
    part = target.with_name(f".kubeez-{secrets.token_hex(8)}.json")
    try:
        part.write_text(json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n", "utf-8")
        give_name(part, target.stem, ".json")
    except OSError as error:
        log.warning("the sidecar of %s cannot be written: %s", target.name, error.strerror)
    finally:
        part.unlink(missing_ok=True)


def _cannot_save(folder: Path, error: OSError) -> OutputFolderError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputFolderError(
            f"{folder}: the disk is full.", next_step="Free some space, then save the job's outputs again."
        )
    return OutputFolderError(
        f"{folder} cannot be written to: {error.strerror or type(error).__name__}.",
        next_step="Mend its rights or choose another KUBEEZ_OUTPUT_DIR, then save the job's outputs again.",
    )
