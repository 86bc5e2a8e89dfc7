"""Recipes that a team shares: added from a folder or a git repository, updated, removed.

From a repository only its recipe files arrive, read as blobs: nothing is checked out, no hook or filter of the
repository runs, links are left behind. A folder is used where it lies, so that edits show at once.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kubeez_mcp_local.cookbook.git import GitSource, fetch_recipes, looks_like_git
from kubeez_mcp_local.cookbook.library import (
    PROVENANCE,
    Library,
    Provenance,
    Source,
    added_sources,
    folder_of_added,
    read_provenance,
)
from kubeez_mcp_local.cookbook.problems import near
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from kubeez_mcp_local.cookbook.problems import RecipeError


class ShareError(KubeezError):
    """Recipes could not be added, updated or removed; what was there before is still there."""

    code = "recipes_not_shared"


@dataclass(frozen=True, slots=True)
class Added:
    """What adding or updating brought: recipes by name, files that cannot be used, names that hide others."""

    provenance: Provenance
    recipes: tuple[str, ...]
    problems: tuple[str, ...]
    overrides: tuple[str, ...]


class Sharing:
    """Adds, updates and removes recipes.

    Args:
        state_dir: Where the record of what was added is kept.
        folders: The recipe folders of the settings, to tell what an addition would hide.
        clock: Seconds since 1970.
    """

    def __init__(
        self, state_dir: Path, folders: tuple[Path, ...] = (), *, clock: Callable[[], float] = time.time
    ) -> None:
        self._root = state_dir / "recipes"
        self._state_dir = state_dir
        self._folders = folders
        self._clock = clock

    def list(self) -> tuple[Provenance, ...]:
        """Everything that was added, in the order of adding."""
        return tuple(record for record, _ in read_provenance(self._root))

    async def add(self, source: str, *, override: bool = False) -> Added:
        """Add a folder, or a git repository as `URL` or `URL@ref`.

        Args:
            source: A folder with recipe files, or a git URL (https, ssh, file) with an optional branch, tag or commit.
            override: Allow recipes whose names are taken; the added ones then win.

        Raises:
            InvalidArgumentError: Neither a folder nor a git URL.
            ShareError: Added before, no recipes in it, names taken, or git failed.
        """
        if looks_like_git(source):
            wanted = GitSource.parse(source)
            self._refuse_twice(wanted.url, wanted.ref)
            return await self._take(_slug(wanted.url, self._root), wanted, None if override else ())
        folder = _folder(source)
        record = Provenance(_slug(folder.name, self._root), "folder", str(folder), added=self._clock())
        self._refuse_twice(record.source, record.ref)
        return self._record(record, None if override else ())

    async def update(self, slug: str = "", *, override: bool = False) -> tuple[Added, ...]:
        """Fetch what was added from git again: one addition, or all of them.

        Args:
            slug: The addition; all of them by default.
            override: Allow recipes whose names are taken by others, beyond those that were taken before.

        Raises:
            ShareError: No such addition, names taken, or git failed.
        """
        chosen = self.list() if not slug else (self._find(slug),)
        updated = []
        for record in chosen:
            if record.kind == "folder":
                updated.append(self._report(record))
            else:
                source = GitSource(record.source, record.ref)
                allowed = None if override else self._report(record).overrides
                updated.append(await self._take(record.slug, source, allowed, added=record.added))
        return tuple(updated)

    def remove(self, slug: str) -> Provenance:
        """Forget an addition. A folder itself is left alone; copies from git are deleted.

        Raises:
            ShareError: No such addition.
        """
        record = self._find(slug)
        shutil.rmtree(self._root / record.slug)
        return record

    async def _take(
        self, slug: str, source: GitSource, allowed: Collection[str] | None, *, added: float | None = None
    ) -> Added:
        fetched = await fetch_recipes(source)
        record = Provenance(
            slug, "git", source.url, source.ref, fetched.commit, self._clock() if added is None else added
        )
        return self._record(record, allowed, copies=fetched.files)

    def _record(
        self, record: Provenance, allowed: Collection[str] | None, *, copies: dict[str, bytes] | None = None
    ) -> Added:
        """Write the record (and copies) beside the old ones, look at the result, then put it in place.

        `allowed` are the names of other recipes that these may hide; `None` allows all.
        """
        fresh = self._root / f".{record.slug}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        try:
            for name, data in (copies or {}).items():
                (fresh / name).write_bytes(data)
            (fresh / PROVENANCE).write_text(json.dumps(asdict(record), indent=2), encoding="utf-8")
            report = self._report(record, fresh if copies is not None else None)
            if not report.recipes:
                problems = "; ".join(report.problems[:3])
                raise ShareError(f"There is no usable recipe in {record.where}. {problems}".strip())
            taken = [] if allowed is None else [name for name in report.overrides if name not in allowed]
            if taken:
                raise ShareError(
                    f"These recipes are there already: {', '.join(taken)}.",
                    next_step="Do it again with --override to let the new ones win.",
                )
            target = self._root / record.slug
            shutil.rmtree(target, ignore_errors=True)
            fresh.rename(target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return report

    def _report(self, record: Provenance, copies: Path | None = None) -> Added:
        folder = copies or folder_of_added(record, self._root)
        index = Library(lambda: [Source("added", folder, record.where)]).index()
        others = Library.of(self._folders)
        taken = set(others.index().entries)
        own = folder_of_added(record, self._root)
        elsewhere = [source for source in added_sources(self._state_dir) if source.folder != own]
        taken |= Library(lambda: elsewhere).index().entries.keys()
        overrides = tuple(name for name in index.entries if name in taken)
        problems = tuple(_within(problem, folder) for problem in index.problems)
        return Added(record, tuple(index.entries), problems, overrides)

    def _find(self, slug: str) -> Provenance:
        known = {record.slug: record for record in self.list()}
        if slug not in known:
            names = ", ".join(known) or "nothing"
            raise ShareError(f"Nothing was added as {slug!r}; added so far: {names}.{near(slug, known)}")
        return known[slug]

    def _refuse_twice(self, source: str, ref: str) -> None:
        for record in self.list():
            if (record.source, record.ref) == (source, ref):
                raise ShareError(
                    f"{record.where} was added before, as {record.slug!r}.",
                    next_step=f"Use `kubeez-mcp-local recipes update {record.slug}`.",
                )


def _within(problem: RecipeError, folder: Path) -> str:
    """A problem under the name its file has in what was added."""
    return problem.message.removeprefix(str(folder)).lstrip("/\\")


def _folder(source: str) -> Path:
    folder = Path(os.path.realpath(os.path.expanduser(source)))  # noqa: PTH111 - never raises
    if not folder.is_dir():
        raise InvalidArgumentError(
            "source", f"{source!r} is neither a folder nor a git URL such as https://host/team/recipes.git@v1"
        )
    return folder


def _slug(source: str, root: Path) -> str:
    """A short name from the last two parts of a source, with a number when it is taken."""
    parts = [part for part in re.split(r"[/:\\]", source.removesuffix(".git")) if part]
    base = re.sub(r"[^a-z0-9]+", "-", "-".join(parts[-2:]).lower()).strip("-")[:40] or "recipes"
    number = 1
    while (root / (slug := base if number == 1 else f"{base}-{number}")).exists():
        number += 1
    return slug
