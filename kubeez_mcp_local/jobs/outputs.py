"""Saves finished outputs: atomically, under the output folder and nowhere else, never over an existing file."""

from __future__ import annotations

import errno
import json
import logging
import mimetypes
import os
from dataclasses import KW_ONLY, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from anyio import to_thread

from kubeez_mcp_local.disk import give_free_name, part_beside
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.job import SANDBOX, Job, SavedFile
from kubeez_mcp_local.jobs.naming import joined, matched, portable, telling
from kubeez_mcp_local.text import LONGEST_IN_ROW, cut

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from kubeez_mcp_local.media.sniff import MediaType
    from kubeez_mcp_local.rest.downloading import Accept, Downloaded
    from kubeez_mcp_local.rest.wire import Generation


log = logging.getLogger(__name__)

LARGEST_OUTPUT = 4 * 1024**3


class Download(Protocol):
    """`RestClient.download`."""

    async def __call__(self, url: str, target: Path, *, max_bytes: int, accept: Accept | None = None) -> Downloaded: ...


@dataclass(frozen=True)
class Saved:
    """What is on the disk now, and why something may be missing."""

    files: tuple[SavedFile, ...]
    error: str | None = None


@dataclass(frozen=True)
class Source:
    """One thing to fetch.

    Attributes:
        kinds: What it may be, as asked for and as the API says: `image`, `video`, `audio`, `text`; empty for anything.
        label: Tells several of one job apart.
        doubt: Why the label may be wrong, in a few words.
    """

    url: str
    output_id: str | None
    kinds: frozenset[str] = frozenset()
    label: str = ""
    doubt: str = ""


@dataclass
class OutputStore:
    """Puts outputs at `<output folder>/<place of the job>[-label].<extension>`, see `Job.place`.

    Attributes:
        output_dir: The folder; made when first needed. May itself be a link, nothing inside it may lead out.
        save_sidecars: Whether a JSON file with prompt, settings, credits and ids goes beside each output.
        download: Fetches a URL to a path.
        max_bytes: Largest output.
    """

    output_dir: Path
    _: KW_ONLY
    save_sidecars: bool
    download: Download
    max_bytes: int = LARGEST_OUTPUT

    async def save(self, job: Job, generations: Sequence[Generation]) -> Saved:
        """Save every output of `job` that is not on the disk yet. What goes wrong is in `Saved.error`, never raised."""
        present = await to_thread.run_sync(lambda: [file for file in job.files if Path(file.path).is_file()])
        files, errors = list(present), []
        urls = {file.url for file in present}
        if any(row.status == "completed" and not sources_of(row, job.generation_type) for row in generations):
            errors.append("The API says that it is completed, and names no file.")
        for generation, source in labelled(job, generations):
            if source.url in urls:
                continue
            try:
                files.append(await self._save_one(job, generation, source, {Path(file.path) for file in files}))
            except KubeezError as error:
                errors.append(f"{str(error).rstrip()} ({cut(source.url, LONGEST_IN_ROW)})")
        return Saved(tuple(files), "; ".join(dict.fromkeys(errors)) or None)

    @staticmethod
    def generations_of(job: Job) -> list[Generation]:
        """The API's final answers as the ledger keeps them."""
        from kubeez_mcp_local.rest.wire import Generation

        return [Generation.model_validate(result) for result in job.results]

    async def _save_one(self, job: Job, generation: Generation, source: Source, others: Collection[Path]) -> SavedFile:
        place, _, name = place_of(job).rpartition("/")
        folder = await to_thread.run_sync(self.folder, place)
        part = part_beside(folder / "x")
        stem = f"{name}-{source.label}" if source.label else name
        found: list[MediaType | Other] = []

        def accept(fetched: Path, said: str | None) -> str | None:
            try:
                found[:] = [what_it_is(fetched, said, source.kinds)]
            except NotAnOutputError as error:
                if error.extension:
                    kept = give_free_name(fetched, f"{stem}-unrecognised", error.extension, others=())
                    return f"{error}; in case it is what you paid for, it is kept as {kept}"
                return str(error)
            return None

        try:
            downloaded = await self.download(source.url, part, max_bytes=self.max_bytes, accept=accept)

            def publish() -> SavedFile:
                target = give_free_name(part, stem, found[0].extension, others=others)
                told = (source.output_id, source.label, source.doubt)
                file = SavedFile(str(target), source.url, found[0].mime, downloaded.size, *told)
                if self.save_sidecars:
                    _write_sidecar(target, sidecar(job, generation, file))
                return file

            return await to_thread.run_sync(publish)
        except OSError as error:
            raise _cannot_save(folder, error) from error
        finally:
            part.unlink(missing_ok=True)

    def folder_of(self, moment: float) -> Path:
        """As `folder`, that of the day of `moment` (seconds since 1970)."""
        return self.folder(_day(moment))

    def folder(self, place: str) -> Path:
        """A folder below the output folder, such as `2026-11-29`, made if need be. Blocks.

        Raises:
            KubeezError: It cannot be made, or leads out of the output folder.
        """
        folder = self.output_dir.joinpath(*place.split("/"))
        try:
            self.output_dir.mkdir(parents=True, exist_ok=True)
            expected = Path(os.path.realpath(self.output_dir))
            for part in place.split("/"):
                expected /= part
                expected.mkdir(exist_ok=True)
                if os.path.normcase(os.path.realpath(expected)) != os.path.normcase(expected):
                    raise _leads_out(folder)
        except OSError as error:
            raise _cannot_save(folder, error) from error
        return expected


def _leads_out(folder: Path) -> KubeezError:
    return KubeezError(
        f"{folder} leads out of the output folder, so nothing is saved there.",
        next_step="Remove that link, then save the job's outputs again.",
        code="output_folder",
    )


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d")


def place_of(job: Job) -> str:
    """Where the outputs of `job` lie below the output folder, without label and extension."""
    if job.place:
        return job.place
    words = joined(telling(job.prompt)) or portable(job.model) or "output"
    return f"{_day(job.created_at)}/{words}-{portable(job.id)[:8]}"  # jobs of older versions have no name


def labelled(job: Job, generations: Sequence[Generation]) -> list[tuple[Generation, Source]]:
    """Everything there is to fetch of a job, each with what tells it from the others.

    The languages of a dubbing are matched by what the API says of each; where it says nothing they are taken in the
    order in which they were asked for, and that is doubted.
    """
    found = [(row, source) for row in generations for source in sources_of(row, job.generation_type)]
    if len(found) < 2:
        return found
    labels = [source.label for _, source in found]
    if len(set(labels)) < len(labels):
        labels = [f"{label}{'-' if label else ''}{at}-of-{len(found)}" for at, label in enumerate(labels, 1)]
    doubt = ""
    languages = [str(language) for language in job.arguments.get("languages") or ()]
    if len(languages) == len(found):
        known = matched(languages, [_told_language(row, source) for row, source in found])
        labels, doubt = (known, "") if known else (languages, "as ordered, unverified")
    return [
        (row, replace(source, label=portable(label), doubt=doubt))
        for (row, source), label in zip(found, labels, strict=True)
    ]


def _told_language(generation: Generation, source: Source) -> str:
    """The language of an output by the API's own field, else what its file is called."""
    told = next((each.language for each in generation.outputs if each.url == source.url and each.language), None)
    return told or source.url.partition("?")[0].rpartition("/")[2]


def sources_of(generation: Generation, asked: str | None = None) -> list[Source]:
    """What there is to fetch of a generation: outputs, songs, separated tracks; `asked` is its `generation_type`."""
    wanted = (asked or generation.generation_type or "").rpartition("-")[2]
    kinds = frozenset({_MADE[wanted]} if wanted in _MADE else ())
    found = [Source(each.url, each.id, _kinds(kinds, each.media_type)) for each in generation.outputs if each.url]
    sound = frozenset({"audio"})
    found += [Source(song.audio_url, song.id, sound) for song in generation.songs if song.audio_url]
    found += [
        Source(url, None, sound, label)
        for url, label in ((generation.vocals_url, "vocals"), (generation.instrumental_url, "instrumental"))
        if url
    ]
    return found + [Source(url, None) for url in generation.refused_urls]


_MADE = {"image": "image", "video": "video", "music": "audio", "dialogue": "audio", "captions": "video"}
"""What the last word of a `generation_type` promises."""


def _kinds(asked: frozenset[str], said: str | None) -> frozenset[str]:
    """What an output may be: as asked for, or as the API says of it (a kind or a MIME type)."""
    word = (said or "").partition("/")[0].strip().lower()
    return asked | {word} if word in ("image", "video", "audio", "text") else asked


def distinctions(job: Job, file: SavedFile) -> dict[str, Any]:
    """What tells an output from others, as far as it is known."""
    labels = job.labels
    languages = job.arguments.get("languages")
    of_output = file.label if languages else ""
    told = {
        "run": job.run.partition("/")[0],
        "call": labels.call,
        "item": labels.item,
        "language": of_output or labels.language,
        "language_doubt": file.doubt if of_output else "",
        "label": "" if of_output else "-".join(part for part in (labels.part, file.label) if part),
        "inputs": list(labels.inputs),
    }
    return {name: value for name, value in told.items() if value}


def sidecar(job: Job, generation: Generation, file: SavedFile) -> dict[str, Any]:
    """What is worth knowing about an output later: what it is, how it was made, and what it cost."""
    return {
        "job": job.id,
        "generation_id": generation.id,
        "output_id": file.output_id,
        "mode": "sandbox" if job.account.startswith(SANDBOX) else "live",
        "tool": job.tool,
        "model": job.model,
        "prompt": job.prompt,
        "generation_type": job.generation_type,
        "settings": dict(job.arguments),
        "recipe": job.recipe,
        **distinctions(job, file),
        "credits": {"quoted": job.quote_credits, "basis": job.quote_basis, "charged": job.charged},
        "url": file.url,
        "media_type": file.media_type,
        "created_at": job.created.isoformat(timespec="seconds"),
        "completed_at": generation.completed_at,
    }


@dataclass(frozen=True)
class Other:
    """An output of a type that this program does not know as an input, by what it is or what the server says."""

    mime: str
    extension: str


class NotAnOutputError(Exception):
    """What was fetched is not the output. `extension` where it may be of use all the same; empty where it cannot."""

    def __init__(self, reason: str, extension: str = "") -> None:
        super().__init__(reason)
        self.extension = extension


_PROGRAMS = (
    *(b"MZ", b"\x7fELF", b"#!", b"dex\n"),
    *(b"\xfe\xed\xfa", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"),
)
"""How programs for Windows, Linux, shells, Android and macOS begin."""
_NEVER = ("text/html", "application/pdf", "application/zip")


def what_it_is(path: Path, said: str | None, kinds: frozenset[str]) -> MediaType | Other:
    """The type of an output, decided by its bytes; what the server says counts only for types that we cannot tell.

    Raises:
        NotAnOutputError: It is empty, a page, a text, a program, or of another kind than was to be made.
    """
    from kubeez_mcp_local.media.sniff import UnsupportedMediaError, by_mime, sniff

    with path.open("rb") as file:
        head = file.read(8)
    if not head:
        raise NotAnOutputError("it is empty")
    if head.startswith(_PROGRAMS):
        raise NotAnOutputError("it is a program")
    try:
        media_type = sniff(path)
    except UnsupportedMediaError as error:
        found = error.found
    else:
        if _fits(media_type.kind, kinds):
            return media_type
        raise NotAnOutputError(f"it is {media_type.mime}, not {' or '.join(sorted(kinds))}", media_type.extension)
    if found == "text" and "text" in kinds:
        return Other(said if said and said.startswith("text/") and said != "text/html" else "text/plain", ".txt")
    if found in _NEVER or found == "text":
        raise NotAnOutputError(f"it is {found.replace('text/html', 'a web page')}")
    unknown = "/" not in found
    mime = (said or "") if unknown else found
    if "/" in mime and not (unknown and by_mime(mime)) and _fits(mime.partition("/")[0], kinds or _MEDIA):
        return Other(mime, mimetypes.guess_extension(mime) or ".bin")
    raise NotAnOutputError(f"it is {found}", ".bin")


_MEDIA = frozenset({"image", "video", "audio"})


def _fits(kind: str, kinds: frozenset[str]) -> bool:
    """Sound may come as a film: containers of both are told apart by their tracks, and not every one says."""
    return not kinds or kind in kinds or (kind == "video" and "audio" in kinds)


def _write_sidecar(target: Path, content: dict[str, Any]) -> None:
    """A sidecar that cannot be written is not worth losing the output for."""
    part = part_beside(target)
    try:
        part.write_text(json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n", "utf-8")
        give_free_name(part, target.stem, ".json", others=())
    except OSError as error:
        log.warning("the sidecar of %s cannot be written: %s", target.name, error.strerror)
    finally:
        part.unlink(missing_ok=True)


def _cannot_save(folder: Path, error: OSError) -> KubeezError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        message, step = f"{folder}: the disk is full.", "Free some space"
    else:
        message = f"{folder} cannot be written to: {error.strerror or type(error).__name__}."
        step = "Mend its rights or choose another KUBEEZ_OUTPUT_DIR"
    return KubeezError(message, next_step=f"{step}, then save the job's outputs again.", code="output_folder")
