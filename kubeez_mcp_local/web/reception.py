"""Takes a multipart form off the wire: files stream to disk, nothing large is held in memory."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import anyio
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from kubeez_mcp_local.web.errors import (
    EmptyPartError,
    MalformedFormError,
    MissingTypeError,
    NoRoomError,
    TooLargeError,
    TooManyFilesError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

_MAX_FIELD_BYTES = 4096
_MAX_FIELDS = 20
_NO_REAL_TYPE = ("", "application/octet-stream", "binary/octet-stream", "application/x-www-form-urlencoded")


@dataclass(frozen=True)
class Part:
    """A file that came in.

    Attributes:
        path: Where it lies now.
        name: Its name at the sender's, cleaned.
        content_type: What it claims to be, such as `image/png`.
        size: Bytes.
    """

    path: Path
    name: str
    content_type: str
    size: int


@dataclass(frozen=True)
class Form:
    """A form: fields by name (the last one wins), and file parts in order."""

    fields: dict[str, str]
    files: tuple[Part, ...]


@dataclass
class _Open:
    """The part that is being read: a field collects text, a file has a handle."""

    field_name: str = ""
    file_name: str | None = None
    content_type: str = ""
    text: bytearray = field(default_factory=bytearray)
    handle: anyio.AsyncFile[bytes] | None = None
    path: Path | None = None
    size: int = 0


class Reception:
    """Reads one form. Files go to `folder` under numbers; whoever called removes them.

    Args:
        folder: Where files are written; must exist.
        max_files: Most file parts.
        max_file_bytes: Most bytes of one file.
        on_field: Called with each field as soon as it is complete; may raise to end the upload early.
    """

    def __init__(
        self, folder: Path, *, max_files: int, max_file_bytes: int, on_field: Callable[[str, str], None]
    ) -> None:
        self._folder = folder
        self._max_files = max_files
        self._max_file_bytes = max_file_bytes
        self._on_field = on_field
        self._events: list[tuple[str, bytes]] = []
        self._header_name = b""
        self._header_value = b""
        self._headers: dict[bytes, bytes] = {}
        self._part = _Open()
        self._fields: dict[str, str] = {}
        self._files: list[Part] = []

    async def read(self, content_type: str, body: AsyncIterator[bytes]) -> Form:
        """Read the whole body.

        Raises:
            UploadRefusedError: Malformed, too many, too large, empty, or without a real media type; or whatever
                `on_field` raises.
        """
        parser = self._parser(content_type)
        try:
            async for chunk in body:
                parser.write(chunk)
                await self._handle_events()
            parser.finalize()
            await self._handle_events()
        except FormParserError as error:
            raise MalformedFormError(f"the form is damaged ({error})") from None
        except OSError as error:
            raise NoRoomError(error.strerror or type(error).__name__) from None
        finally:
            await self._close()
        if self._part.file_name is not None:
            raise MalformedFormError("the form ends in the middle of a file")
        return Form(self._fields, tuple(self._files))

    def _parser(self, content_type: str) -> MultipartParser:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise MalformedFormError("the request is not multipart/form-data with a boundary")
        names = ("part_begin", "header_end", "headers_finished", "part_end")
        callbacks = {f"on_{name}": partial(self._note, name) for name in names}
        data_names = ("part_data", "header_field", "header_value")
        callbacks |= {f"on_{name}": partial(self._note_data, name) for name in data_names}
        return MultipartParser(boundary, callbacks)  # type: ignore[arg-type]  # built by name

    def _note(self, name: str) -> None:
        self._events.append((name, b""))

    def _note_data(self, name: str, data: bytes, start: int, end: int) -> None:
        self._events.append((name, data[start:end]))

    async def _handle_events(self) -> None:
        events, self._events = self._events, []
        for name, data in events:
            match name:
                case "part_begin":
                    self._part, self._headers = _Open(), {}
                case "header_field":
                    self._header_name += data
                case "header_value":
                    self._header_value += data
                case "header_end":
                    self._headers[self._header_name.lower()] = self._header_value
                    self._header_name = self._header_value = b""
                case "headers_finished":
                    await self._begin()
                case "part_data":
                    await self._take(data)
                case _:
                    await self._end()

    async def _begin(self) -> None:
        part = self._part
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        part.field_name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" not in options:
            return
        part.file_name = clean_name(options[b"filename"].decode("utf-8", "replace"))
        part.content_type = self._headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
        if part.field_name != "file":
            raise MalformedFormError(f"the file part {part.file_name!r} is named {part.field_name!r}, not 'file'")
        if part.content_type in _NO_REAL_TYPE:
            raise MissingTypeError(part.file_name, part.content_type)
        if len(self._files) >= self._max_files:
            raise TooManyFilesError(self._max_files)
        part.path = self._folder / f"{len(self._files):04d}"
        part.handle = await anyio.open_file(part.path, "wb")

    async def _take(self, data: bytes) -> None:
        part = self._part
        part.size += len(data)
        if part.handle is None:
            if part.size > _MAX_FIELD_BYTES:
                raise MalformedFormError(f"the field {part.field_name!r:.60} is longer than {_MAX_FIELD_BYTES} bytes")
            part.text += data
            return
        if part.size > self._max_file_bytes:
            raise TooLargeError(str(part.file_name), self._max_file_bytes)
        await part.handle.write(data)

    async def _end(self) -> None:
        part = self._part
        await self._close()
        if part.file_name is None:
            self._end_field(part)
        elif part.size == 0:
            raise EmptyPartError(part.file_name)
        elif part.path is not None:
            self._files.append(Part(part.path, part.file_name, part.content_type, part.size))
        self._part = _Open()

    def _end_field(self, part: _Open) -> None:
        if len(self._fields) >= _MAX_FIELDS:
            raise MalformedFormError(f"the form has more than {_MAX_FIELDS} fields")
        value = part.text.decode("utf-8", "replace").strip()
        self._fields[part.field_name] = value
        self._on_field(part.field_name, value)

    async def _close(self) -> None:
        handle, self._part.handle = self._part.handle, None
        if handle is not None:
            await handle.aclose()


def clean_name(name: str) -> str:
    """The last component of a sender's file name, printable and at most 120 characters; never empty."""
    last = re.split(r"[\\/]", name)[-1]
    printable = "".join(letter for letter in last if letter.isprintable()).strip().lstrip(".")
    if len(printable) > 120:
        stem, dot, extension = printable.rpartition(".")
        printable = f"{stem[: 119 - len(extension)]}.{extension}" if dot and len(extension) < 20 else printable[:120]
    return printable or "file"
