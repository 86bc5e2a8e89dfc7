"""Fetches the recipe files of a git repository without checking anything out."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from kubeez_mcp_local.cookbook.format import MAX_FILE_BYTES
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.settings import environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


class GitError(KubeezError):
    """git could not deliver the recipes. Nothing was changed."""

    code = "git_failed"


@dataclass(frozen=True, slots=True)
class GitSource:
    """A repository, and the branch, tag or commit to take; without one, the default branch."""

    url: str
    ref: str = ""

    @classmethod
    def parse(cls, text: str) -> GitSource:
        """Read `URL` or `URL@ref`.

        Raises:
            InvalidArgumentError: Another transport than https, ssh or file, credentials in the URL, or an odd ref.
        """
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


@dataclass(frozen=True, slots=True)
class Fetched:
    """The recipe files of one commit, by file name."""

    commit: str
    files: dict[str, bytes]


def _split_ref(text: str) -> tuple[str, str]:
    """URL and ref; an `@` that belongs to `user@host` is part of the URL."""
    url, _, ref = text.rpartition("@")
    host_only = re.fullmatch(r"[a-z]+://[^/]*|[^/:]*", url) or url.endswith("/")
    return (text, "") if host_only else (url, ref)


def looks_like_git(text: str) -> bool:
    """Whether `text` names a repository rather than a folder on this machine."""
    return "://" in text or bool(_SCP.match(text)) or bool(re.match(r"[a-z]+::", text))


async def fetch_recipes(source: GitSource) -> Fetched:
    """The recipe files in the root or in `recipes/` of a repository, read as blobs.

    Raises:
        GitError: git is missing, the repository or ref cannot be read, or there is too much in it.
    """
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
    return Fetched(commit, dict(zip(wanted, blobs, strict=True)))


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
        raise GitError(f"The repository holds {len(wanted):,} recipes; at most {MAX_FILES:,} are taken.")
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
                env=variables_for_git(environment()),
                check=False,
                start_new_session=True,
            )
    except FileNotFoundError:
        raise GitError("git is not installed.", next_step="Install git, or add a folder instead.") from None
    except TimeoutError:
        raise GitError(f"git took longer than {TIMEOUT_SECONDS} s.", retry_safe=True) from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = next((line for line in said if line.startswith(("fatal: ", "error: "))), "no reason given")
        raise GitError(f"git {arguments[0]} failed: {reason[:300]}", retry_safe=True)
    return bytes(done.stdout)
