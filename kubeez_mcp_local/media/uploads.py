"""Each local file is uploaded once per account, however often and by however many callers it is used."""

from __future__ import annotations

import hashlib
import logging
import time
from typing import TYPE_CHECKING

import anyio.to_thread
from pydantic import BaseModel, ValidationError

from kubeez_mcp_local.disk import replace_file
from kubeez_mcp_local.media.inputs import FileChangedError, Identity

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from typing import BinaryIO

    from kubeez_mcp_local.media.inputs import LocalInput

    Progress = Callable[[int, int], None]
    """Called with bytes sent so far and bytes in all."""
    Share = Callable[[str, Callable[[], Awaitable[str]]], Awaitable[str]]
    UploadFile = Callable[[LocalInput, BinaryIO, Progress], Awaitable[str]]

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


class Uploads:
    """Gives local files a URL.

    Args:
        upload: Sends one file and returns its URL; called with the input, the open file and a progress callback.
        cache_dir: Folder for what is remembered: one small JSON file per account and content.
        account: Fingerprint of the account (never the key itself); entries of accounts do not mix.
        clock: Seconds since the epoch.
        max_age: Seconds after which a remembered URL is no longer used.
        share: Lets concurrent callers share the work for one content.
    """

    def __init__(
        self,
        upload: UploadFile,
        cache_dir: Path,
        account: str,
        *,
        clock: Callable[[], float] = time.time,
        max_age: float = MAX_AGE_SECONDS,
        share: Share = _alone,
    ) -> None:
        self._upload = upload
        self._folder = cache_dir / hashlib.sha256(account.encode()).hexdigest()[:16]
        self._clock = clock
        self._max_age = max_age
        self._share = share

    async def url_for(self, local: LocalInput, on_progress: Progress = _ignore) -> str:
        """The URL of this content: remembered, or from an upload. Only whoever starts it sees progress.

        Raises:
            FileChangedError: It is not the file any more that was hashed, or was written to meanwhile.
            KubeezError: Whatever `upload` raises.
        """
        return await self._share(local.sha256, lambda: self._known_or_sent(local, on_progress))

    async def forget(self, url: str) -> bool:
        """Drop a URL that turned out to be gone, so that the next use uploads again. Whether it was known."""
        return await anyio.to_thread.run_sync(self._forget, url)

    async def _known_or_sent(self, local: LocalInput, on_progress: Progress) -> str:
        known = await anyio.to_thread.run_sync(self._known, local.sha256)
        return await self._send(local, on_progress) if known is None else known

    async def _send(self, local: LocalInput, on_progress: Progress) -> str:
        with await anyio.to_thread.run_sync(local.open) as file:
            url = await self._upload(local, file, on_progress)
            if Identity.of(file) != local.identity:
                raise FileChangedError(local.path)
        entry = _Entry(
            url=url,
            sha256=local.sha256,
            media_type=local.media_type.mime,
            size=local.size,
            uploaded_at=self._clock(),
        )
        await anyio.to_thread.run_sync(self._remember, entry)
        return url

    def _file(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.json"

    def _known(self, sha256: str) -> str | None:
        entry = _load(self._file(sha256))
        if entry is None or entry.sha256 != sha256:
            return None
        age = self._clock() - entry.uploaded_at
        return entry.url if 0 <= age <= self._max_age else None

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
