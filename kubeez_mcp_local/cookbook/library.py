"""Finds recipes: in the pack, in the folders of the user, and among those that were added; later ones win.

Nothing is read until it is asked for. A list costs one `stat` a file after the first time, so that an edited file
shows on the next list; what was read is kept on disk for the next process. A broken file never breaks the list: it is
named under `problems`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import TypeAdapter, ValidationError

from kubeez_mcp_local import __version__
from kubeez_mcp_local.cookbook.format import (
    MAX_FILE_BYTES,
    Origin,
    Recipe,
    RecipeError,
    Summary,
    near,
    one_line,
)
from kubeez_mcp_local.disk import open_exactly, replace_file
from kubeez_mcp_local.errors import KubeezError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence


Stamp = tuple[int, int]
"""Time of the last change in nanoseconds, and size in bytes."""
Known = dict[str, tuple[Stamp, Summary]]
"""Front matter of recipe files by path."""


def _load(file: Path) -> Known:
    """What was kept; empty when there is nothing, or nothing of this version."""
    try:
        version, _, known = file.read_bytes().partition(b"\n")
        return TypeAdapter(Known).validate_json(known) if version.decode() == __version__ else {}
    except (OSError, ValidationError, UnicodeDecodeError):
        return {}


MAX_FILES = 5_000
PROVENANCE = "provenance.json"
_FILE_NAME = re.compile(r"[a-z0-9](?:-?[a-z0-9])*\.md\Z")


@dataclass(frozen=True, slots=True)
class Source:
    """One folder of recipes, and what to call it."""

    kind: Literal["pack", "folder", "added"]
    folder: Path
    where: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where added recipes came from: a `folder` (used in place) or a `git` repository's URL (copied).

    Attributes:
        slug: The name under which they were added.
        ref: Branch, tag or commit that was asked for; empty for the default branch.
        commit: The commit the copies come from; empty for a folder.
        added: Seconds since 1970.
    """

    slug: str
    kind: Literal["folder", "git"]
    source: str
    ref: str = ""
    commit: str = ""
    added: float = 0.0

    @property
    def where(self) -> str:
        """In words a person recognises."""
        if self.kind == "folder":
            return self.source
        return f"{self.source}@{self.ref or 'default branch'} ({self.commit[:10]})"

    def folder(self, root: Path) -> Path:
        """Where the recipes are; `root` holds what was copied."""
        return Path(self.source) if self.kind == "folder" else root / self.slug


@dataclass(frozen=True, slots=True)
class Entry:
    """A recipe as a list shows it. `overrides` says where recipes of the same name came from that this one hides."""

    summary: Summary
    origin: Origin
    overrides: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.summary.name


@dataclass(frozen=True, slots=True)
class Index:
    """All recipes by name, in alphabetical order, and what is wrong with the files that are not among them."""

    entries: dict[str, Entry]
    problems: tuple[RecipeError, ...]


Stamps = frozenset[tuple[str, Stamp]]
"""Recipe files with when they were changed."""


def digest(stamps: Stamps) -> str:
    """Tells the files of one list from those of another."""
    return hashlib.sha256(repr(sorted(stamps)).encode("utf-8", "surrogatepass")).hexdigest()


def pack_folder() -> Path:
    """The folder of the recipes that come with the package: inside it in a wheel, beside it in a checkout."""
    packaged = Path(str(files("kubeez_mcp_local") / "recipes"))
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "recipes"


@dataclass
class Library:
    """Recipes of several folders as one: of those that `sources` tells there are now, a later one wins over an earlier.

    Attributes:
        cache: A file that spares the next process from reading what this one has read.
        own, added_to: Folders whose coming adds to the sources.
    """

    sources: Callable[[], Sequence[Source]]
    cache: Path | None = None
    own: Path | None = None
    added_to: Path | None = None
    _seen: dict[str, tuple[Stamp, Entry | RecipeError]] = field(default_factory=dict)
    _kept: Known | None = None

    @classmethod
    def of(cls, folders: Sequence[Path] = (), state_dir: Path | None = None, *, own: Path | None = None) -> Library:
        """The pack, then the folder of the user's `own` recipes if there is one, `folders` (the setting `recipes`),
        and what was added under `state_dir`."""

        def sources() -> list[Source]:
            found = [Source("pack", pack_folder(), "the recipe pack")]
            if own is not None and own.is_dir():
                found.append(Source("folder", own, str(own)))
            found += [Source("folder", folder, str(folder)) for folder in folders]
            if state_dir is not None and (state_dir / "recipes").is_dir():
                found += added_sources(state_dir)
            return found

        if state_dir is None:
            return cls(sources, own=own)
        return cls(sources, state_dir / "cache" / "recipes.json", own=own, added_to=state_dir / "recipes")

    @property
    def places(self) -> list[Path]:
        """Every folder and file, there or not, that decides which recipes there are. Blocking."""
        root = [self.added_to, *sorted(self.added_to.glob(f"*/{PROVENANCE}"))] if self.added_to is not None else []
        own = [self.own] if self.own is not None else []
        return list(dict.fromkeys([*own, *root, *(source.folder for source in self.sources())]))

    def index(self) -> Index:
        """All recipes as they are on disk now. Blocking; milliseconds."""
        found: dict[str, Entry] = {}
        problems: list[RecipeError] = []
        seen: dict[str, tuple[Stamp, Entry | RecipeError]] = {}
        if self._kept is None:
            self._kept = _load(self.cache) if self.cache is not None else {}
        for source in self.sources():
            folder = _itself(source.folder)
            for path, stamp in _recipe_files(source, problems):
                known = self._seen.get(path)
                if known is None or known[0] != stamp:
                    origin = Origin(source.kind, source.where, Path(path))
                    kept, summary = self._kept.get(path, (None, None))
                    recalled = Entry(summary, origin) if summary and kept == stamp else None
                    read = _read_pack_entry if origin.kind == "pack" else _read_entry
                    known = stamp, recalled or read(Path(path), folder, origin, stamp)
                seen[path] = known
                entry = known[1]
                if isinstance(entry, RecipeError):
                    problems.append(entry)
                    continue
                if hidden := found.get(entry.name):
                    entry = replace(entry, overrides=(*hidden.overrides, hidden.origin.where))
                found[entry.name] = entry
        self._seen = seen
        return Index(dict(sorted(found.items())), tuple(problems))

    def remember(self) -> None:
        """Keep what the last list has read for the next process. Blocking; nothing to do when nothing was new.

        A folder that cannot be written to only costs time.
        """
        known = {
            path: (stamp, entry.summary) for path, (stamp, entry) in self._seen.items() if isinstance(entry, Entry)
        }
        if self.cache is None or known == self._kept:
            return
        self._kept = known
        dumped = {
            path: (stamp, summary.model_dump(mode="json", exclude_defaults=True))
            for path, (stamp, summary) in known.items()
        }
        with suppress(OSError):
            replace_file(self.cache, f"{__version__}\n{json.dumps(dumped)}")

    @property
    def listed(self) -> Stamps:
        """The files of the last list; differs from `stamps` as soon as one has come, gone or changed."""
        return frozenset((path, stamp) for path, (stamp, _) in self._seen.items())

    def stamps(self) -> Stamps:
        """The files there are now. Blocking; reads none of them."""
        return frozenset(found for source in self.sources() for found in _recipe_files(source, []))

    def get(self, name: str) -> Recipe:
        """One recipe, read in full. Blocking; milliseconds.

        Raises:
            KubeezError: There is none of that name (`unknown_recipe`); near matches are given.
            RecipeError: It is there but cannot be used.
        """
        index = self.index()
        entry = index.entries.get(name)
        if entry is not None and entry.origin.path is not None:
            return read_recipe(entry.origin.path, entry.origin)
        for problem in index.problems:
            if Path(problem.file).stem == name:
                raise problem
        raise KubeezError(
            f"There is no recipe {name!r}.{near(name, index.entries)}",
            next_step="List them with `list_recipes` or `kubeez-mcp-local recipes`.",
            code="unknown_recipe",
        )


def added_sources(state_dir: Path) -> list[Source]:
    """The folders of everything that was added, in the order of adding."""
    root = state_dir / "recipes"
    return [Source("added", record.folder(root), one_line(record.where)) for record in read_provenance(root)]


def read_provenance(root: Path) -> list[Provenance]:
    """Everything that was added, in the order of adding."""
    found = [_read_record(path) for path in root.glob(f"*/{PROVENANCE}") if not path.parent.name.startswith(".")]
    return sorted((record for record in found if record is not None), key=lambda record: (record.added, record.slug))


def _read_record(path: Path) -> Provenance | None:
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
        record = Provenance(**values)
    except (OSError, ValueError, TypeError):
        return None  # damaged: `recipes add` writes it anew
    return record if record.slug == path.parent.name else None


def read_recipe(path: Path, origin: Origin | None = None) -> Recipe:
    """Read one recipe file in full."""
    from kubeez_mcp_local.cookbook.parse import decode, parse_recipe  # the YAML reader costs more than most lists need

    text = _read(path, _itself(path.parent) if origin else None)
    return parse_recipe(decode(text, str(path)), origin or Origin("folder", str(path.parent), path))


def _read_entry(path: Path, folder: Path, origin: Origin, _: Stamp) -> Entry | RecipeError:
    """A recipe for the list, read once; those that nobody could use are an error, but for the pack, which CI checks."""
    from kubeez_mcp_local.cookbook.parse import decode, parse_recipe, parse_summary  # dear, and most lists need none

    try:
        text = decode(_read(path, folder), str(path))
        if origin.kind != "pack":
            from kubeez_mcp_local.cookbook.check import broken

            if error := broken(parse_recipe(text, origin)):
                return error
        return Entry(parse_summary(text, origin), origin)
    except RecipeError as error:
        return error


_read_pack_entry = lru_cache(maxsize=256)(_read_entry)  # the same files for every library of this process


def _read(path: Path, folder: Path | None) -> bytes:
    """What the file itself holds that `path` leads to, in `folder` (links resolved) if one is given.

    Both may change once looked at, so what is opened is what was found.
    """
    try:
        named = folder / path.name if folder and not path.is_symlink() else None
        itself = named or Path(os.path.realpath(path, strict=True))
        if folder is not None and not itself.is_relative_to(folder):
            raise RecipeError(str(path), 0, "", "is a link that leaves its folder")
        with open_exactly(itself) as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise RecipeError(str(path), 0, "", f"cannot be read: {error.strerror}") from None


def _itself(folder: Path) -> Path:
    return Path(os.path.realpath(folder))


def _recipe_files(source: Source, problems: list[RecipeError]) -> Iterator[tuple[str, Stamp]]:
    """Recipe files of a folder with a stamp that changes when the file does. Other Markdown files are not ours."""
    try:
        with os.scandir(source.folder) as entries:
            found = sorted((entry for entry in entries if entry.name.endswith(".md")), key=lambda entry: entry.name)
    except OSError as error:
        if source.kind != "pack":
            problems.append(RecipeError(str(source.folder), 0, "", f"cannot be read: {error.strerror}"))
        return
    named = [entry for entry in found if _FILE_NAME.match(entry.name)]
    for entry in found if len(named) < len(found) else ():
        if not _FILE_NAME.match(entry.name) and _looks_like_a_recipe(entry):
            reason = "is no name for a recipe file; use lower-case letters, digits and hyphens, as in my-recipe.md"
            problems.append(RecipeError(entry.path, 0, "", reason))
    for entry in named[:MAX_FILES]:
        if entry.is_symlink() and not _stays_inside(Path(entry.path), source.folder):
            problems.append(RecipeError(entry.path, 0, "", "is a link that leaves its folder"))
            continue
        if entry.is_file():
            status = entry.stat()
            yield entry.path, (status.st_mtime_ns, status.st_size)


def _looks_like_a_recipe(entry: os.DirEntry[str]) -> bool:
    """Whether a Markdown file that is not called like a recipe was meant to be one."""
    if not entry.is_file(follow_symlinks=False):
        return False
    try:
        text = _read(Path(entry.path), _itself(Path(entry.path).parent))
    except RecipeError:
        return False
    return text.startswith(b"---") and b"\nname:" in text and b"\ntools:" in text


def _stays_inside(path: Path, folder: Path) -> bool:
    try:
        return Path(os.path.realpath(path, strict=True)).is_relative_to(os.path.realpath(folder))
    except OSError:
        return False


_WORD = re.compile(r"[a-z]{2,}")
_FILLERS = frozenset({"and", "by", "every", "for", "from", "in", "of", "on", "the", "to", "with"})
_ENOUGH = 2
"""Words that must agree: one alone, such as `video`, says too little."""


def recipes_for(intent: str, names: Iterable[str]) -> list[str]:
    """Those of `names` that share two words or more with `intent`, the closest first; plurals count as singulars."""
    wanted = _words(intent)
    scores = {name: len(_words(name) & wanted) for name in names}
    return sorted((name for name, score in scores.items() if score >= _ENOUGH), key=lambda name: (-scores[name], name))


def _words(text: str) -> set[str]:
    return {word.removesuffix("s") for word in _WORD.findall(text.lower())} - _FILLERS
