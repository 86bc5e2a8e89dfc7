"""One file as a multipart body, streamed from disk (rest-api.md §2.4)."""

from __future__ import annotations

import secrets
from pathlib import PurePath
from typing import TYPE_CHECKING, BinaryIO

import anyio

from kubeez_mcp_local.rest.failures import RefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_CHUNK = 256 * 1024


class FileBody:
    """A multipart body with one part named `file`, read from an open file; every iteration reads it from the start.

    Args:
        media_type: The true type of the content; an untyped part may be refused.
        size: Length of the file in bytes, as announced to the server.
        on_progress: Called with the bytes of the file sent so far, and `size`.

    Raises:
        RefusedError: While it is iterated: the file no longer has that size.
    """

    def __init__(
        self,
        file: BinaryIO,
        *,
        filename: str,
        media_type: str,
        size: int,
        on_progress: Callable[[int, int], None] | None = None,
        boundary: str | None = None,
    ) -> None:
        boundary = boundary or secrets.token_hex(16)
        self._file = file
        self._size = size
        self._on_progress = on_progress
        self._head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{_quoted(filename)}"\r\n'
            f"Content-Type: {_one_line(media_type)}\r\n\r\n"
        ).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(self._head) + size + len(self._tail)),
        }

    async def __aiter__(self) -> AsyncIterator[bytes]:
        sent = 0
        yield self._head
        file = anyio.wrap_file(self._file)
        await file.seek(0)
        while chunk := await file.read(_CHUNK):
            sent += len(chunk)
            if sent > self._size:
                raise _changed(self._file)
            yield chunk
            if self._on_progress:
                self._on_progress(sent, self._size)
        if sent != self._size:
            raise _changed(self._file)
        yield self._tail


def _changed(file: BinaryIO) -> RefusedError:
    """The announced length no longer fits; the HTTP layer would fail with words that nobody understands."""
    return RefusedError(
        f"{PurePath(file.name).name} changed while it was uploaded.", next_step="Send it again.", retry_safe=True
    )


def _quoted(filename: str) -> str:
    """As browsers write a filename into a part's header (WHATWG HTML, multipart/form-data)."""
    return filename.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _one_line(text: str) -> str:
    return text.replace("\r", "").replace("\n", "")
