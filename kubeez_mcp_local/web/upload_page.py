"""The upload page: a person or a program hands over files, and the rest of the program learns what has arrived.

`GET /u/{token}` is the page, `GET /u/{token}/state` what it shows. `POST /upload/{token}` takes files from the page and
from programs alike: multipart with one or more `file` parts, order kept. The token is in the path, so that no body is
read of a sender who may not upload; the same one may be in a form field `token`, as hosted upload sessions want it.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.web.server import Bounds, Site, said, static_file, static_route
from kubeez_mcp_local.web.sessions import Medium, Sessions, UploadError, unknown_session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from kubeez_mcp_local.media.containers import Measured
    from kubeez_mcp_local.media.sniff import Kind, MediaType
    from kubeez_mcp_local.web.sessions import Session

MAX_FILE_BYTES = 500 * 1024 * 1024
MAX_FILES = 50
_FORM_OVERHEAD = 64 * 1024
_SPARE_BYTES = 64 * 1024 * 1024
_MOST_FIELDS = 20
_MOST_FIELD_BYTES = 4096
_NO_REAL_TYPE = ("", "application/octet-stream", "binary/octet-stream", "application/x-www-form-urlencoded")
_STATIC = ("pages.css", "upload.css", "upload.js", "icon.svg")


@dataclass(frozen=True)
class UploadSession:
    """Where files can be handed over; the field names are those of the hosted `get_upload_url`.

    Attributes:
        token: Goes into the form field `token`, and into `get_upload_session`.
        url: Browser page.
        direct_upload_url: Takes a multipart POST: `token`, then one or more `file` parts, each with its media type.
        direct_upload_fallback_url: The same under another name of this machine.
        direct_upload_allowlist_domains: Hosts a sandboxed program must be allowed to reach.
        expires_at: End, in ISO 8601.
    """

    token: str
    url: str
    direct_upload_url: str
    direct_upload_fallback_url: str
    direct_upload_allowlist_domains: tuple[str, ...]
    direct_upload_curl_example: str
    direct_upload_python_example: str
    model_id: str
    accepted_kinds: tuple[Kind, ...]
    max_files: int
    max_file_bytes: int
    expires_at: str
    expires_in_seconds: int


@dataclass(frozen=True)
class _Part:
    """A file that came in: where it lies, its cleaned name, the media type it claims, and its bytes."""

    path: Path
    name: str
    content_type: str
    size: int


@dataclass
class UploadPage(Site):
    """A loopback page that takes files from a person or a program and hands them on.

    Attributes:
        deliver: Uploads a file (path, type, name) and returns its URL.
        inbox: Folder where files lie while they are handed on; emptied afterwards.
        sniff: Decides what a file is by content; blocks; raises a `KubeezError` for what is not accepted.
        notice: A sentence for the page, such as that this is the sandbox.
        sleep: Waits for the sessions to expire.
        free_bytes: How much a folder's disk still takes; blocks.
    """

    deliver: Callable[[Path, MediaType, str], Awaitable[str]]
    inbox: Path
    _: KW_ONLY
    start: Callable[..., object]
    sniff: Callable[[Path], MediaType]
    measure: Callable[[Path], Awaitable[Measured]]
    max_file_bytes: int = MAX_FILE_BYTES
    notice: str = ""
    sessions: Sessions = field(default_factory=Sessions)
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    bounds: Bounds = field(default_factory=Bounds)
    free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free

    async def open_session(self, model_id: str, kinds: Sequence[Kind], max_files: int) -> UploadSession:
        """Open a session of one hour for at most `max_files` files; starts the server when it does not run.

        Raises:
            InvalidArgumentError: The model takes no files.
            UploadError: No port can be had.
        """
        if not kinds or max_files < 1:
            raise InvalidArgumentError("model_id", f"{model_id} takes no files.", next_step="Choose another model.")
        port = self._port()
        session = self.sessions.open(model_id, tuple(kinds), min(max_files, MAX_FILES))
        base = f"http://127.0.0.1:{port}"
        return UploadSession(
            token=session.token,
            url=f"{base}/u/{session.token}",
            direct_upload_url=f"{base}/upload/{session.token}",
            direct_upload_fallback_url=f"http://localhost:{port}/upload/{session.token}",
            direct_upload_allowlist_domains=("127.0.0.1", "localhost"),
            direct_upload_curl_example=_curl(base, session.token),
            direct_upload_python_example=_python(base, session.token),
            model_id=model_id,
            accepted_kinds=session.kinds,
            max_files=session.max_files,
            max_file_bytes=self.max_file_bytes,
            expires_at=session.expires,
            expires_in_seconds=max(0, round(session.expires_at - self.sessions.clock())),
        )

    def session(self, token: str) -> dict[str, Any]:
        """What the session with this token has received so far; raises an `UploadError` if there is none."""
        return self.sessions.find(token).facts(self.sessions.clock())

    def _port(self) -> int:
        try:
            return self._served()
        except OSError as error:
            raise UploadError(
                "upload_page_unavailable",
                f"the upload page cannot be served on this machine: {error.strerror or type(error).__name__}.",
                next_step="Pass local file paths to the tools directly, or use upload_media.",
            ) from None

    async def _until_over(self) -> None:
        """Wait until no session takes files any more and no upload is still being handed on."""
        while (left := self.sessions.last_expiry() - self.sessions.clock()) > 0 or self.sessions.busy():
            await self.sleep(max(left, 1.0))

    def _app(self) -> ASGIApp:
        most = MAX_FILES * self.max_file_bytes + _FORM_OVERHEAD
        return Starlette(
            routes=[
                Route("/u/{token}", self._page),
                Route("/u/{token}/state", self._state),
                static_route(_STATIC),
                Route("/upload/{token}", self._upload, methods=["POST"], max_body_size=most),
            ],
            exception_handlers={KubeezError: _refused, ClientDisconnect: _refused},
        )

    async def _page(self, request: Request) -> Response:
        try:
            self.sessions.find(request.path_params["token"])
        except UploadError as error:
            return static_file("gone.html", status=error.status)
        return static_file("upload.html")

    async def _state(self, request: Request) -> Response:
        return JSONResponse(self._described(self.sessions.find(request.path_params["token"])))

    async def _upload(self, request: Request) -> Response:
        session = self.sessions.find_live(request.path_params["token"])
        length = request.headers.get("content-length", "0")
        announced = int(length) if length.isdecimal() else 0
        if announced > (room := session.room()) * self.max_file_bytes + _FORM_OVERHEAD:
            raise self._too_large("the request", room)
        try:
            inbox = await anyio.to_thread.run_sync(self._new_folder, announced)
        except OSError as error:
            raise _no_room(error) from None
        try:
            media = await self._hand_over(session, await self._received(request, session, Path(inbox.name)))
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(inbox.cleanup)
        return JSONResponse({**self._described(session), "uploaded": [medium.fields() for medium in media]})

    def _new_folder(self, announced: int) -> TemporaryDirectory[str]:
        self.inbox.mkdir(parents=True, exist_ok=True)
        free = self.free_bytes(self.inbox)
        if announced + _SPARE_BYTES > free:
            raise OSError(None, f"it needs {announced / 1024**2:,.0f} MB, and only {free / 1024**2:,.0f} MB are free")
        return TemporaryDirectory(dir=self.inbox, prefix="upload-", ignore_cleanup_errors=True)

    async def _received(self, request: Request, session: Session, folder: Path) -> list[_Part]:
        """The files of the form, in `folder`."""
        form = _Form(request, folder)
        try:
            with contextlib.closing(form):  # which writes the last bytes
                fields = await form.parse()
        except MultiPartException as error:
            raise _malformed(error.message.rstrip(".")) from None
        except OSError as error:
            raise _no_room(error) from None
        if not form.complete:
            raise _malformed("the form ends in the middle")
        parts = []
        for name, value in fields.multi_items():
            if name == "token" and not (isinstance(value, str) and session.owns(value.strip())):
                raise unknown_session()
            if isinstance(value, UploadFile):
                parts.append(self._part(name, value))
        if not parts:
            raise _malformed("the form holds no file")
        return parts

    def _part(self, field: str, file: UploadFile) -> _Part:
        name, size = clean_name(file.filename or ""), file.size or 0
        claimed = (file.content_type or "").partition(";")[0].strip().lower()
        if field != "file":
            raise _malformed(f"the file part {name!r} is named {field!r}, not 'file'")
        if claimed in _NO_REAL_TYPE:
            raise UploadError(
                "media_type_required",
                f"the part {name!r} came as {claimed or 'nothing'}; every file part must carry its real media type.",
                next_step="With curl write -F 'file=@shot.png;type=image/png'.",
            )
        if not size:
            raise UploadError("file_empty", f"{name!r} is empty (0 bytes).", next_step="Choose the file again.")
        if size > self.max_file_bytes:
            raise self._too_large(repr(name))
        return _Part(Path(file.file.name), name, claimed, size)

    async def _hand_over(self, session: Session, parts: Sequence[_Part]) -> list[Medium]:
        """Hand `parts` on in order and note them in the session. All are checked before the first one leaves; where one
        fails on its way, those before it stay in the session."""
        async with session.turn:
            session.room(len(parts))
            found = [await self._checked(session, part) for part in parts]
            media = []
            for part, (content_type, measured) in zip(parts, found, strict=True):
                media.append(await self._delivered(part, content_type, measured))
                session.media.append(media[-1])
            return media

    async def _checked(self, session: Session, part: _Part) -> tuple[MediaType, Measured]:
        try:
            found = await anyio.to_thread.run_sync(self.sniff, part.path)
        except KubeezError as error:
            message = error.message.replace(part.path.name, part.name, 1)
            raise UploadError(error.code, message, next_step=error.next_step) from None
        if not _agrees(part.content_type, found):
            raise UploadError(
                "media_type_mismatch",
                f"the part {part.name!r} claims to be {part.content_type} but its content is {found.mime}.",
                next_step=f"Send it as {found.mime}, or choose the file you meant.",
            )
        if found.kind not in session.kinds:
            words = {"image": "a picture", "video": "a video", "audio": "sound"}
            raise UploadError(
                "kind_not_accepted",
                f"{part.name!r} is {words[found.kind]}; this session takes {', '.join(session.kinds)}.",
                next_step="Choose another file, or open a session for another model.",
            )
        measured = await self.measure(part.path)
        if measured.damage:
            raise UploadError(
                "damaged_file", f"{part.name!r} is damaged: {measured.damage}.", next_step="Save or export it again."
            )
        return found, measured

    async def _delivered(self, part: _Part, content_type: MediaType, measured: Measured) -> Medium:
        url = await self.deliver(part.path, content_type, part.name)
        no_length = content_type.kind != "image" and measured.seconds is None
        return Medium(
            url=url,
            kind=content_type.kind,
            mime_type=content_type.mime,
            file_size_bytes=part.size,
            name=part.name,
            duration_seconds=measured.seconds,
            measurement="unavailable" if no_length else None,
            width=measured.width,
            height=measured.height,
        )

    def _too_large(self, what: str, files: int = 1) -> UploadError:
        most = f"{files} x {self.max_file_bytes / 1024**2:,.0f} MB".removeprefix("1 x ")
        return UploadError(
            "file_too_large",
            f"{what} is larger than {most}.",
            next_step="Shorten, scale down or compress it first.",
            status=413,
        )

    def _described(self, session: Session) -> dict[str, object]:
        """The session's state, and beside it what the page needs to know."""
        return {
            **session.facts(self.sessions.clock()),
            "model_id": session.model_id,
            "accepted_kinds": list(session.kinds),
            "max_files": session.max_files,
            "max_file_bytes": self.max_file_bytes,
            "expires_at": session.expires,
            "notice": self.notice,
        }


def _agrees(claimed: str, found: MediaType) -> bool:
    """Whether claim and content can go together: the same kind, or a container that may hold either.

    Within a kind the content decides: a picture that is named wrongly is still the picture that was meant.
    """
    kind, _, form = claimed.partition("/")
    form = {"m4a": "mp4", "m4v": "mp4"}.get(form, form)
    return kind == found.kind or form == found.mime.partition("/")[2] or claimed == "application/ogg"


class _Form(MultiPartParser):
    """Starlette's parser of forms, with its files under numbers in a folder of ours; whoever made that empties it."""

    def __init__(self, request: Request, folder: Path) -> None:
        headers = request.headers
        if not headers.get("content-type", "").lower().startswith("multipart/form-data"):
            raise _malformed("the request is not multipart/form-data with a boundary")
        super().__init__(
            headers, request.stream(), max_files=MAX_FILES, max_fields=_MOST_FIELDS, max_part_size=_MOST_FIELD_BYTES
        )
        self._folder = folder
        self._opened: list[UploadFile] = []
        self.complete = False

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        part = self._current_part
        if part.file is not None:
            part.file.file.close()
            handle = (self._folder / f"{len(self._opened):04d}").open("w+b")
            part.file = UploadFile(handle, size=0, filename=part.file.filename, headers=part.file.headers)
            self._opened.append(part.file)

    def on_end(self) -> None:
        self.complete = True

    def close(self) -> None:
        """Close the files; they stay where they are."""
        with contextlib.ExitStack() as all_of_them:  # also if one cannot be written to its end
            for upload in self._opened:
                all_of_them.callback(upload.file.close)


async def _refused(_: Request, error: Exception) -> Response:
    return _refusal(error) if isinstance(error, KubeezError) else Response(status_code=400)  # nobody is there any more


def _refusal(error: KubeezError) -> JSONResponse:
    """The answer to programs: its own status for what the page refuses, 502 for what failed behind it."""
    return said(error, error.status if isinstance(error, UploadError) else 502)


def _malformed(detail: str) -> UploadError:
    return UploadError(
        "malformed_form", f"{detail}.", next_step="Send multipart/form-data with one or more 'file' parts."
    )


def _no_room(error: OSError) -> UploadError:
    reason = error.strerror or type(error).__name__
    return UploadError(
        "inbox_not_writable",
        f"the file cannot be stored: {reason}.",
        next_step="Free some space and try again.",
        status=507,
    )


def clean_name(name: str) -> str:
    """The last component of a sender's file name, printable and at most 120 characters; never empty."""
    last = re.split(r"[\\/]", name)[-1]
    printable = "".join(letter for letter in last if letter.isprintable()).strip().lstrip(".")
    if len(printable) > 120:
        stem, dot, extension = printable.rpartition(".")
        printable = f"{stem[: 119 - len(extension)]}.{extension}" if dot and len(extension) < 20 else printable[:120]
    return printable or "file"


def _curl(base: str, token: str) -> str:
    parts = '-F "file=@first.png;type=image/png" -F "file=@last.png;type=image/png"'
    return f"curl {parts} {base}/upload/{token}"


def _python(base: str, token: str) -> str:
    return (
        "import httpx\n"
        'parts = [("file", ("first.png", open("first.png", "rb"), "image/png"))]\n'
        f'print(httpx.post("{base}/upload/{token}", files=parts, timeout=300).json())'
    )
