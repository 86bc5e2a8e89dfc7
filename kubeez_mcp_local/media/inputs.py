"""What a tool argument that names media stands for: a local file or a URL; and the URLs that local files get.

Each file is uploaded once per account, however often and by however many callers it is used.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

import anyio.to_thread
from pydantic import BaseModel, ValidationError

from kubeez_mcp_local.disk import open_exactly, replace_file
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.media.containers import UNSEEN, Measured
from kubeez_mcp_local.media.path_guard import unreadable
from kubeez_mcp_local.media.sniff import Kind, MediaType, by_extension, sniff_file
from kubeez_mcp_local.media.video import EXPORT_AGAIN
from kubeez_mcp_local.settings import is_loopback

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from kubeez_mcp_local.media.path_guard import PathGuard

    Progress = Callable[[int, int], None]
    """Called with bytes sent so far and bytes in all."""
    Share = Callable[[str, Callable[[], Awaitable[str]]], Awaitable[str]]
    UploadFile = Callable[["LocalInput", BinaryIO, Progress, str], Awaitable[str]]


LIBRARY_SCHEME = "library:"
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):")
_MAX_URL_LENGTH = 4096
_CHUNK_BYTES = 1024 * 1024


def _changed(path: Path) -> KubeezError:
    """A file is not the one any more that was checked, or changed while it was read. Nothing was charged."""
    return KubeezError(
        f"{path} changed since it was checked.",
        next_step="Call again once the file is complete.",
        retry_safe=True,
        code="file_changed",
    )


@dataclass(frozen=True)
class Identity:
    """Which file it is, and as of when: what tells that it was neither replaced nor written to since."""

    device: int
    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, file: BinaryIO) -> Identity:
        status = os.fstat(file.fileno())
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class LocalInput:
    """A file on this machine, checked and hashed.

    Attributes:
        path: Resolved path.
        sha256: Hex digest of the content.
        size: Bytes.
        identity: Which file was hashed; only this very file is opened later.
        reference: How it can be named again where that is not its path, such as `library:hero`.
        measured: What is known of it.
    """

    path: Path
    sha256: str
    media_type: MediaType
    size: int
    identity: Identity
    reference: str | None = None
    measured: Measured = field(default=UNSEEN, compare=False, repr=False)

    @property
    def kind(self) -> Kind:
        return self.media_type.kind

    @property
    def name(self) -> str:
        """For messages."""
        return self.reference or self.path.name

    def open(self) -> BinaryIO:
        """The file that was checked, for reading.

        Raises:
            KubeezError: `file_changed`: it is another one by now, was written to, or is reached through a link.
        """
        try:
            file = open_exactly(self.path)
        except OSError:
            raise _changed(self.path) from None
        if Identity.of(file) != self.identity:
            file.close()
            raise _changed(self.path)
        return file


def opened(source: Path | LocalInput) -> BinaryIO:
    """The file of an input, or at a path that holds no link any more (see `open_exactly`)."""
    return source.open() if isinstance(source, LocalInput) else open_exactly(source)


@dataclass(frozen=True)
class RemoteInput:
    """Media that already has a URL.

    Attributes:
        url: https, or http on loopback (the sandbox).
        kind: Guessed from the URL's extension; `None` when it has none.
        measured: What is known of it; it is never fetched for that.
    """

    url: str
    kind: Kind | None = None
    measured: Measured = field(default=UNSEEN, compare=False, repr=False)

    @property
    def name(self) -> str:
        """For messages: without what a signed URL must not show."""
        parts = urlsplit(self.url)
        return f"{parts.hostname}/…/{parts.path.rpartition('/')[2]}"


@dataclass(frozen=True)
class ComingInput(RemoteInput):
    """What an earlier step of a recipe will make; it can be priced and checked, and never sent.

    Attributes:
        url: The name that stands for it in a call's arguments.
    """


def _invalid_url(argument: str, message: str, next_step: str = "") -> InvalidArgumentError:
    return InvalidArgumentError(argument, message, next_step=next_step, code="invalid_url")


class Named(Protocol):
    """Looks up what the user stored under a name; the local library is one."""

    async def find(self, name: str, *, argument: str) -> LocalInput | RemoteInput: ...


@dataclass(frozen=True)
class Inputs:
    """Resolves arguments that name media, and looks at what they name: nothing damaged is passed on.

    Attributes:
        guard: Decides which local files may be read.
        look: Tells what can be known of an input without fetching it.
        named: Where `library:name` is looked up; without one such names are refused.
        coming: What stands for files that are still to be made, by name; only while prices are worked out.
    """

    guard: PathGuard
    look: Callable[[LocalInput | RemoteInput], Awaitable[Measured]]
    named: Named | None = None
    coming: Mapping[str, ComingInput] = field(default_factory=dict)

    async def resolve(self, value: str, *, argument: str) -> LocalInput | RemoteInput:
        """A local path, file:// URL, https URL or `library:name`, checked.

        Raises:
            InvalidArgumentError: A URL of another scheme, embedded data, or a refused path; names `argument`.
                `damaged_file`: its content cannot be used.
            UnsupportedMediaError: The file's content is none of the accepted media types.
        """
        return (await self.resolve_all([value], argument=argument))[0]

    async def resolve_all(self, values: Sequence[str], *, argument: str) -> list[LocalInput | RemoteInput]:
        """`resolve` for each value, order kept; all damaged files are named together."""
        found = [await self._find(value, argument) for value in values]
        return await self._looked_at(found, argument)

    async def expand(self, patterns: Sequence[str], *, argument: str, limit: int) -> list[LocalInput | RemoteInput]:
        """`resolve_all` for every file that patterns stand for; a URL or plain path gives one input."""
        found: list[LocalInput | RemoteInput] = []
        for pattern in patterns:
            if not self._is_local(pattern.strip()):
                found.append(await self._find(pattern, argument))
                continue
            find = partial(self.guard.expand, pattern, argument=argument, limit=limit)
            paths = await anyio.to_thread.run_sync(find)
            found += [await anyio.to_thread.run_sync(describe, path, argument) for path in paths]
        return await self._looked_at(found, argument)

    async def _find(self, value: str, argument: str) -> LocalInput | RemoteInput:
        text = value.strip()
        if text in self.coming:
            return self.coming[text]
        if text.lower().startswith(LIBRARY_SCHEME):
            if self.named is None:
                raise _invalid_url(argument, f"{text} names a library entry, but there is no library here.")
            return await self.named.find(text[len(LIBRARY_SCHEME) :].strip(), argument=argument)
        if self._is_local(text):
            return await anyio.to_thread.run_sync(
                lambda: describe(self.guard.check(value, argument=argument), argument)
            )
        return _remote(text, _scheme(text), argument)

    def _is_local(self, text: str) -> bool:
        """Whether it is a path; a file that looks like a URL of some scheme is one too, if there is one."""
        scheme = _scheme(text)
        return scheme in ("", "file") or (scheme not in ("http", "https") and self.guard.names_a_file(text))

    async def _looked_at(
        self, found: Sequence[LocalInput | RemoteInput], argument: str
    ) -> list[LocalInput | RemoteInput]:
        items = [replace(item, measured=await self.look(item)) for item in found]
        if damaged := [item for item in items if item.measured.damage]:
            what = "; ".join(f"{item.name} is damaged: {item.measured.damage}" for item in damaged)
            raise InvalidArgumentError(argument, f"{what}.", next_step=EXPORT_AGAIN, code="damaged_file")
        return items


def describe(path: Path, argument: str) -> LocalInput:
    """Sniff and hash a path that the guard accepted. Reads the whole file once, a chunk at a time; blocks.

    Raises:
        UnsupportedMediaError: The content is not an accepted type; names `argument`.
        InvalidArgumentError: Reading failed midway, or a part of the path has become a link.
        KubeezError: It was written to meanwhile.
    """
    try:
        with open_exactly(path) as file:
            identity, media_type = Identity.of(file), sniff_file(file, f"{argument}: {path.name}")
            digest = _digest(file)
            if identity != Identity.of(file):
                raise _changed(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            reason = "a link was put in its place after it was checked"
        raise unreadable(argument, path, reason) from None
    return LocalInput(path, digest, media_type, identity.size, identity)


def _digest(file: BinaryIO) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _scheme(text: str) -> str:
    """The URL scheme in lower case; empty for paths, drive letters (`C:\\…`) included."""
    found = _SCHEME.match(text)
    return found.group(1).lower() if found else ""


def _remote(url: str, scheme: str, argument: str) -> RemoteInput:
    if scheme == "data":
        raise _invalid_url(
            argument,
            "embedded data: URLs are not taken; they would pass through the conversation byte by byte.",
            "Save the data to a file and pass its path, or use upload_media.",
        )
    if scheme not in ("https", "http"):
        raise _invalid_url(
            argument,
            f"{scheme}: URLs are not taken; allowed are https URLs and local paths.",
            "Download the file and pass its path.",
        )
    host = _host(url, argument)
    if scheme == "http" and not is_loopback(url):
        raise _invalid_url(
            argument,
            f"http://{host} is not encrypted; only https URLs are taken (http just for this machine).",
            "Use the https form of the URL, or download the file and pass its path.",
        )
    promised = by_extension(unquote(urlsplit(url).path))
    return RemoteInput(url, promised.kind if promised else None)


def _host(url: str, argument: str) -> str:
    """The URL's host, once its form is sound. Messages never repeat the URL: its query may hold a signature."""
    if len(url) > _MAX_URL_LENGTH:
        raise _invalid_url(argument, f"the URL has {len(url)} characters; at most {_MAX_URL_LENGTH} are taken.")
    if not url.isprintable() or " " in url or "\\" in url:
        raise _invalid_url(argument, "the URL holds spaces, backslashes or control characters; encode them.")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise _invalid_url(argument, f"the URL is malformed: {error}.") from None
    if not host:
        raise _invalid_url(argument, "the URL names no host.", "Write it like https://host/file.png.")
    if parts.username is not None or parts.password is not None:
        raise _invalid_url(argument, "the URL carries a user name or password.", "Remove them.")
    return host


logger = logging.getLogger(__name__)

MAX_AGE_SECONDS = 7 * 24 * 3600.0
"""How long a cached URL is trusted. How long Kubeez keeps uploads is not documented, and uploading is free."""


class _Entry(BaseModel):
    url: str
    sha256: str
    media_type: str
    size: int
    uploaded_at: float


def _ignore(_sent: int, _total: int) -> None:
    return None


async def _alone(_key: str, work: Callable[[], Awaitable[str]]) -> str:
    return await work()


@dataclass
class Uploads:
    """Gives local files a URL.

    Attributes:
        upload: Sends one file and returns its URL; called with the input, the open file, a progress callback and
            the model that it is for.
        cache_dir: Folder for what is remembered: one small JSON file per account and content.
        account: Fingerprint of the account (never the key itself); entries of accounts do not mix.
        clock: Seconds since the epoch.
        share: Lets concurrent callers share the work for one content.
    """

    upload: UploadFile
    cache_dir: Path
    account: str
    clock: Callable[[], float] = time.time
    share: Share = _alone

    async def url_for(self, local: LocalInput, on_progress: Progress = _ignore, *, model: str = "") -> str:
        """The URL of this content: remembered, or from an upload. Only whoever starts it sees progress.

        Args:
            model: What the file is for, where that is known.

        Raises:
            KubeezError: `file_changed`: it is not the file any more that was hashed, or was written to meanwhile.
            KubeezError: Whatever `upload` raises.
        """
        return await self.share(local.sha256, lambda: self._known_or_sent(local, on_progress, model))

    async def forget(self, url: str) -> bool:
        """Drop a URL that turned out to be gone, so that the next use uploads again. Whether it was known."""
        return await anyio.to_thread.run_sync(self._forget, url)

    async def _known_or_sent(self, local: LocalInput, on_progress: Progress, model: str) -> str:
        known = await anyio.to_thread.run_sync(self._known, local.sha256)
        return await self._send(local, on_progress, model) if known is None else known

    async def _send(self, local: LocalInput, on_progress: Progress, model: str) -> str:
        with await anyio.to_thread.run_sync(local.open) as file:
            url = await self.upload(local, file, on_progress, model)
            if Identity.of(file) != local.identity:
                raise _changed(local.path)
        mime = local.media_type.mime
        entry = _Entry(url=url, sha256=local.sha256, media_type=mime, size=local.size, uploaded_at=self.clock())
        await anyio.to_thread.run_sync(self._remember, entry)
        return url

    @property
    def _folder(self) -> Path:
        return self.cache_dir / hashlib.sha256(self.account.encode()).hexdigest()[:16]

    def _file(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.json"

    def _known(self, sha256: str) -> str | None:
        entry = _load(self._file(sha256))
        if entry is None or entry.sha256 != sha256:
            return None
        age = self.clock() - entry.uploaded_at
        return entry.url if 0 <= age <= MAX_AGE_SECONDS else None

    def _remember(self, entry: _Entry) -> None:
        """Write atomically. A cache that cannot be written costs an upload later, not the call now."""
        try:
            replace_file(self._file(entry.sha256), entry.model_dump_json())
        except OSError as error:
            logger.warning("the upload cache in %s cannot be written: %s", self._folder, error)

    def _forget(self, url: str) -> bool:
        gone = [path for path in self._folder.glob("*.json") if (entry := _load(path)) and entry.url == url]
        for path in gone:
            path.unlink(missing_ok=True)
        return bool(gone)


def _load(path: Path) -> _Entry | None:
    try:
        return _Entry.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        logger.info("ignoring the damaged upload cache entry %s", path.name)
        return None
