"""The routes of the upload page.

`GET /u/{token}` is the page, `GET /u/{token}/state` what it shows, `POST /upload` takes files from the page and from
programs alike: multipart with `token` and one or more `file` parts, order kept.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.web.answers import answer, refusal
from kubeez_mcp_local.web.errors import MalformedFormError, NoRoomError, TooLargeError, UploadRefusedError
from kubeez_mcp_local.web.guard import Guard
from kubeez_mcp_local.web.handover import Steps, hand_over
from kubeez_mcp_local.web.reception import Reception

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from kubeez_mcp_local.web.reception import Form
    from kubeez_mcp_local.web.sessions import Session, Sessions

_STATIC = {"upload.css": "text/css", "upload.js": "text/javascript", "icon.svg": "image/svg+xml"}
_MOST_FILES_AT_ONCE = 50
_DRAINED_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class PageSetup:
    """What the routes work with.

    Attributes:
        sessions: Who may upload.
        steps: Checks, measures and hands on files.
        inbox: Folder where files lie while they are handed on.
        max_file_bytes: Most bytes of one file.
        notice: A sentence shown on the page, such as that this is the sandbox.
    """

    sessions: Sessions
    steps: Steps
    inbox: Path
    max_file_bytes: int
    notice: str


def make_app(setup: PageSetup, port: int) -> ASGIApp:
    """The page as an ASGI app that answers only to `127.0.0.1:port` and `localhost:port`."""
    routes = _Routes(setup)
    app = Starlette(
        routes=[
            Route("/u/{token}", routes.page),
            Route("/u/{token}/state", routes.state),
            Route("/static/{name}", routes.static),
            Route("/upload", routes.upload, methods=["POST"]),
        ]
    )
    return Guard(app, port)


class _Routes:
    def __init__(self, setup: PageSetup) -> None:
        self._setup = setup

    async def page(self, request: Request) -> Response:
        try:
            self._setup.sessions.find(request.path_params["token"])
        except UploadRefusedError as error:
            return Response(_file("gone.html"), status_code=error.status, media_type="text/html")
        return Response(_file("upload.html"), media_type="text/html")

    async def static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _STATIC:
            return Response(status_code=404)
        return Response(_file(name), media_type=_STATIC[name])

    async def state(self, request: Request) -> Response:
        try:
            session = self._setup.sessions.find(request.path_params["token"])
        except UploadRefusedError as error:
            return refusal(error)
        return answer(self._described(session))

    async def upload(self, request: Request) -> Response:
        try:
            return await self._upload(request)
        except ClientDisconnect:
            return Response(status_code=400)
        except KubeezError as error:
            # A sender that is still writing sees a broken connection instead of the answer, so let it finish.
            await _drain(request)
            return refusal(error)

    async def _upload(self, request: Request) -> Response:
        self._refuse_huge(request)
        try:
            inbox = await anyio.to_thread.run_sync(self._new_folder)
        except OSError as error:
            raise NoRoomError(error.strerror or type(error).__name__) from None
        try:
            form = await self._received(request, Path(inbox.name))
            session = self._setup.sessions.find_live(form.fields.get("token", ""))
            if not form.files:
                raise MalformedFormError("the form holds no file")
            media = await hand_over(session, form.files, self._setup.steps)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(inbox.cleanup)
        return answer({**self._described(session), "uploaded": [medium.fields() for medium in media]})

    async def _received(self, request: Request, folder: Path) -> Form:
        def check(name: str, value: str) -> None:
            if name == "token":
                self._setup.sessions.find_live(value)

        reception = Reception(
            folder,
            max_files=_MOST_FILES_AT_ONCE,
            max_file_bytes=self._setup.max_file_bytes,
            on_field=check,
        )
        return await reception.read(request.headers.get("content-type", ""), request.stream())

    def _refuse_huge(self, request: Request) -> None:
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._setup.max_file_bytes * _MOST_FILES_AT_ONCE:
            raise TooLargeError("the request", self._setup.max_file_bytes)

    def _new_folder(self) -> TemporaryDirectory[str]:
        self._setup.inbox.mkdir(parents=True, exist_ok=True)
        return TemporaryDirectory(dir=self._setup.inbox, prefix="upload-", ignore_cleanup_errors=True)

    def _described(self, session: Session) -> dict[str, object]:
        """The session's state, and beside it what the page needs to know."""
        return {
            **session.state(self._setup.sessions.clock()).fields(),
            "model_id": session.model_id,
            "accepted_kinds": list(session.kinds),
            "max_files": session.max_files,
            "max_file_bytes": self._setup.max_file_bytes,
            "expires_at": session.expires,
            "notice": self._setup.notice,
        }


def _file(name: str) -> bytes:
    return files("kubeez_mcp_local.web").joinpath("static", name).read_bytes()


async def _drain(request: Request) -> None:
    taken = 0
    with contextlib.suppress(ClientDisconnect, RuntimeError):
        async for chunk in request.stream():
            taken += len(chunk)
            if taken > _DRAINED_BYTES:
                return
