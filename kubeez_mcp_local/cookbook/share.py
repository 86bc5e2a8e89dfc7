"""Recipes that a team shares: added from a folder or a git repository, updated, removed.

From a repository only its recipe files arrive, read as blobs: nothing is checked out, no hook or filter of the
repository runs, links are left behind. A folder is used where it lies, so that edits show at once.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from kubeez_mcp_local.cookbook.format import MAX_FILE_BYTES, near
from kubeez_mcp_local.cookbook.library import (
    PROVENANCE,
    Library,
    Provenance,
    Source,
    added_sources,
    read_provenance,
)
from kubeez_mcp_local.environment import variables
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence


TIMEOUT_SECONDS = 120
MAX_FILES = 2_000
_SCHEMES = ("https://", "ssh://", "file://")
_SCP = re.compile(r"[A-Za-z0-9_.-]+@[A-Za-z0-9.-]+:[^\s]+\Z")
_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,200}\Z")
_RECIPE = re.compile(r"(?:recipes/)?([a-z0-9](?:-?[a-z0-9])*\.md)\Z")
# Nothing of the machine's or the repository's configuration may run a program, and only these transports are used.
_SAFE = (
    "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.symlinks=false",
    "-c", "protocol.allow=never", "-c", "protocol.https.allow=always", "-c", "protocol.ssh.allow=always",
    "-c", "protocol.file.allow=always", "-c", "submodule.recurse=false", "-c", "gc.auto=0",
)  # fmt: skip

_OF_THE_NETWORK = re.compile(r"GIT_(?:SSH|SSL|HTTP|PROXY)|GIT_CONFIG_(?:GLOBAL|SYSTEM|NOSYSTEM)\Z|GIT_EXEC_PATH\Z")
"""Variables of git that say how this machine reaches others; all others are left out."""


_not_shared = partial(KubeezError, code="recipes_not_shared")
"""Recipes could not be added, updated or removed; what was there before is still there."""


@dataclass(frozen=True, slots=True)
class GitSource:
    """A repository, and the branch, tag or commit to take; without one, the default branch."""

    url: str
    ref: str = ""

    @classmethod
    def parse(cls, text: str) -> GitSource:
        """Read `URL` or `URL@ref`: https, ssh or file, no credentials in the URL, no odd ref."""
        url, ref = _split_ref(text)
        if not url.startswith(_SCHEMES) and not _SCP.match(url):
            raise InvalidArgumentError("source", f"{text!r}: git URLs must be https, ssh, file or user@host:path")
        if re.match(r"https://[^/]*@", url):
            raise InvalidArgumentError("source", "a git URL must not carry a user name or password")
        if url.startswith("-") or re.match(r"(?:ssh://)?-|[^/]*@-|ssh://[^/]*@-", url) or any(c.isspace() for c in url):
            raise InvalidArgumentError("source", f"{text!r} is not a git URL")
        if ref and (not _REF.match(ref) or ".." in ref):
            raise InvalidArgumentError("source", f"{ref!r} is not a branch, tag or commit")
        return cls(url, ref)


def _split_ref(text: str) -> tuple[str, str]:
    """URL and ref; an `@` that belongs to `user@host` is part of the URL."""
    url, _, ref = text.rpartition("@")
    host_only = re.fullmatch(r"[a-z]+://[^/]*|[^/:]*", url) or url.endswith("/")
    return (text, "") if host_only else (url, ref)


def looks_like_git(text: str) -> bool:
    """Whether `text` names a repository rather than a folder on this machine."""
    return "://" in text or bool(_SCP.match(text)) or bool(re.match(r"[a-z]+::", text))


async def _fetched(source: GitSource) -> tuple[str, dict[str, bytes]]:
    """The commit, and the recipe files in the root or in `recipes/` of a repository by name, read as blobs."""
    with tempfile.TemporaryDirectory(prefix="kubeez-recipes-") as folder:
        bare = Path(folder)
        await _git(bare, "init", "--quiet", "--bare", "--template=", ".")
        await _git(
            bare, "fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--", source.url,
            source.ref or "HEAD",
        )  # fmt: skip
        commit = (await _git(bare, "rev-parse", "FETCH_HEAD")).decode().strip()
        listing = await _git(bare, "ls-tree", "-r", "-z", "-l", "FETCH_HEAD")
        wanted = _recipes_in(listing)
        blobs = await _blobs(bare, list(wanted.values()))
    return commit, dict(zip(wanted, blobs, strict=True))


def _recipes_in(listing: bytes) -> dict[str, str]:
    """Object ids of the recipe files by name; regular files only, so links and submodules stay behind."""
    wanted: dict[str, str] = {}
    for line in listing.split(b"\0"):
        facts, _, path = line.partition(b"\t")
        match = _RECIPE.match(path.decode("utf-8", "replace"))
        if match is None or not facts.startswith((b"100644 blob", b"100755 blob")):
            continue
        _, _, object_id, size = facts.decode().split()
        if int(size) <= MAX_FILE_BYTES:
            wanted[match[1]] = object_id
    if len(wanted) > MAX_FILES:
        raise _git_failed(f"The repository holds {len(wanted):,} recipes; at most {MAX_FILES:,} are taken.")
    return wanted


async def _blobs(folder: Path, ids: Sequence[str]) -> list[bytes]:
    data = await _git(folder, "cat-file", "--batch", stdin="".join(f"{object_id}\n" for object_id in ids).encode())
    blobs: list[bytes] = []
    position = 0
    for _ in ids:
        end = data.index(b"\n", position)
        size = int(data[position:end].split()[-1])
        blobs.append(data[end + 1 : end + 1 + size])
        position = end + 2 + size
    return blobs


def variables_for_git(given: Mapping[str, str]) -> dict[str, str]:
    """The environment without what names another repository, sets git's configuration or allows other transports."""
    kept = {name: value for name, value in given.items() if not name.startswith("GIT_") or _OF_THE_NETWORK.match(name)}
    return {**kept, "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "GCM_INTERACTIVE": "never"}


async def _git(folder: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    """Run git in `folder`, away from the terminal so that it can ask for nothing."""
    try:
        with anyio.fail_after(TIMEOUT_SECONDS):
            done = await anyio.run_process(
                ["git", *_SAFE, *arguments],
                input=stdin,
                cwd=folder,
                env=variables_for_git(variables()),
                check=False,
                **_away_from_the_terminal(),
            )
    except FileNotFoundError:
        raise _git_failed("git is not installed.", next_step="Install git, or add a folder instead.") from None
    except TimeoutError:
        raise _git_failed(f"git took longer than {TIMEOUT_SECONDS} s.", retry_safe=True) from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = next((line for line in said if line.startswith(("fatal: ", "error: "))), "no reason given")
        raise _git_failed(f"git {arguments[0]} failed: {reason[:300]}", retry_safe=True)
    return bytes(done.stdout)


def _away_from_the_terminal() -> dict[str, Any]:
    """So that git can ask for nothing there, and Ctrl-C is not meant for it."""
    if hidden := getattr(subprocess, "CREATE_NO_WINDOW", 0):  # Windows
        return {"creationflags": hidden | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
    return {"start_new_session": True}


def _git_failed(message: str, *, next_step: str = "", retry_safe: bool = False) -> KubeezError:
    return KubeezError(message, next_step=next_step, retry_safe=retry_safe, code="git_failed")


@dataclass(frozen=True, slots=True)
class Added:
    """What adding or updating brought: recipes by name, files that cannot be used, names that hide others."""

    provenance: Provenance
    recipes: tuple[str, ...]
    problems: tuple[str, ...]
    overrides: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sharing:
    """Adds, updates and removes recipes, with a record of what was added in `state_dir`.

    `folders` are the recipe folders of the settings, to tell what an addition would hide. `clock`: seconds since 1970.
    """

    state_dir: Path
    folders: tuple[Path, ...] = ()
    clock: Callable[[], float] = time.time

    @property
    def _root(self) -> Path:
        return self.state_dir / "recipes"

    def list(self) -> tuple[Provenance, ...]:
        """Everything that was added, in the order of adding."""
        return tuple(read_provenance(self._root))

    async def add(self, source: str, *, override: bool = False) -> Added:
        """Add a folder with recipe files, or a git repository as `URL` or `URL@ref` (a branch, tag or commit).

        `override` allows recipes whose names are taken; the added ones then win.

        Raises:
            InvalidArgumentError: Neither a folder nor a git URL.
            KubeezError: Added before, no recipes in it, names taken, or git failed.
        """
        if looks_like_git(source):
            wanted = GitSource.parse(source)
            self._refuse_twice(wanted.url, wanted.ref)
            return await self._take(_slug(wanted.url, self._root), wanted, None if override else ())
        folder = _folder(source)
        record = Provenance(_slug(folder.name, self._root), "folder", str(folder), added=self.clock())
        self._refuse_twice(record.source, record.ref)
        return self._record(record, None if override else ())

    async def update(self, slug: str = "", *, override: bool = False) -> tuple[Added, ...]:
        """Fetch what was added from git again: one addition, or all of them.

        `override` allows recipes whose names are taken by others, beyond those that were taken before. Raises
        `KubeezError`: no such addition, names taken, or git failed.
        """
        updated = []
        for record in (self._find(slug),) if slug else self.list():
            if record.kind == "folder":
                updated.append(self._report(record))
            else:
                allowed = None if override else self._report(record).overrides
                updated.append(
                    await self._take(record.slug, GitSource(record.source, record.ref), allowed, added=record.added)
                )
        return tuple(updated)

    def remove(self, slug: str) -> Provenance:
        """Forget an addition. A folder itself is left alone; copies from git are deleted."""
        record = self._find(slug)
        shutil.rmtree(self._root / record.slug)
        return record

    async def _take(
        self, slug: str, source: GitSource, allowed: Collection[str] | None, *, added: float | None = None
    ) -> Added:
        commit, files = await _fetched(source)
        record = Provenance(slug, "git", source.url, source.ref, commit, self.clock() if added is None else added)
        return self._record(record, allowed, copies=files)

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
                raise _not_shared(f"There is no usable recipe in {record.where}. {problems}".strip())
            taken = [] if allowed is None else [name for name in report.overrides if name not in allowed]
            if taken:
                raise _not_shared(
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
        own = record.folder(self._root)
        folder = copies or own
        index = Library(lambda: [Source("added", folder, record.where)]).index()
        taken = set(Library.of(self.folders).index().entries)
        elsewhere = [source for source in added_sources(self.state_dir) if source.folder != own]
        taken |= Library(lambda: elsewhere).index().entries.keys()
        overrides = tuple(name for name in index.entries if name in taken)
        # each under the name that its file has in what was added
        problems = tuple(one.message.removeprefix(str(folder)).lstrip("/\\") for one in index.problems)
        return Added(record, tuple(index.entries), problems, overrides)

    def _find(self, slug: str) -> Provenance:
        known = {record.slug: record for record in self.list()}
        if slug not in known:
            names = ", ".join(known) or "nothing"
            raise _not_shared(f"Nothing was added as {slug!r}; added so far: {names}.{near(slug, known)}")
        return known[slug]

    def _refuse_twice(self, source: str, ref: str) -> None:
        for record in self.list():
            if (record.source, record.ref) == (source, ref):
                raise _not_shared(
                    f"{record.where} was added before, as {record.slug!r}.",
                    next_step=f"Use `kubeez-mcp-local recipes update {record.slug}`.",
                )


def _folder(source: str) -> Path:
    folder = Path(os.path.realpath(os.path.expanduser(source)))  # noqa: PTH111 - never raises
    if not folder.is_dir():
        reason = f"{source!r} is neither a folder nor a git URL such as https://host/team/recipes.git@v1"
        raise InvalidArgumentError("source", reason)
    return folder


def _slug(source: str, root: Path) -> str:
    """A short name from the last two parts of a source, with a number when it is taken."""
    parts = [part for part in re.split(r"[/:\\]", source.removesuffix(".git")) if part]
    base = re.sub(r"[^a-z0-9]+", "-", "-".join(parts[-2:]).lower()).strip("-")[:40] or "recipes"
    number = 1
    while (root / (slug := base if number == 1 else f"{base}-{number}")).exists():
        number += 1
    return slug
