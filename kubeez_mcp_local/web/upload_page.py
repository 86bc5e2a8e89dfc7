"""The upload page as the rest of the program sees it: open a session, ask what has arrived.

Nothing of the web server is imported, and no port opened, before the first session.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.web.handover import Steps
from kubeez_mcp_local.web.sessions import Kind, Sessions

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from pathlib import Path

    from kubeez_mcp_local.web.handover import ContentType, Measurement
    from kubeez_mcp_local.web.sessions import SessionState

MAX_FILE_BYTES = 500 * 1024 * 1024
MAX_FILES = 50


class StartTask(Protocol):
    """Starts work beside everything else, for as long as the program runs."""

    def __call__(self, work: Callable[..., Coroutine[Any, Any, None]], /, *args: Any) -> object: ...


class PageNotServedError(KubeezError):
    """The upload page could not be started on this machine."""

    code = "upload_page_unavailable"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the upload page cannot be served on this machine: {reason}.",
            next_step="Pass local file paths to the tools directly, or use upload_media.",
        )


@dataclass(frozen=True)
class UploadSession:
    """Where files can be handed over; the field names are those of the hosted `get_upload_url`.

    Attributes:
        token: Goes into the form field `token`, and into `get_upload_session`.
        url: Browser page.
        direct_upload_url: Takes a multipart POST: `token`, then one or more `file` parts, each with its media type.
        direct_upload_fallback_url: The same under another name of this machine.
        direct_upload_allowlist_domains: Hosts a sandboxed program must be allowed to reach.
        direct_upload_curl_example: A command to copy.
        direct_upload_python_example: A snippet to copy.
        model_id: The model the files are for.
        accepted_kinds: What it takes.
        max_files: How many it takes.
        max_file_bytes: Most bytes of one file.
        expires_at: End, in ISO 8601.
        expires_in_seconds: Seconds until then.
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


class UploadPage:
    """A loopback page that takes files from a person or a program and hands them on.

    Args:
        deliver: Uploads a file (path, content type, name) and returns its URL.
        inbox: Folder where files lie while they are handed on; emptied afterwards.
        start: Starts the server beside everything else; it is cancelled with the program.
        sniff: Decides what a file is by content; blocks.
        measure: Measures a file.
        max_file_bytes: Most bytes of one file.
        notice: A sentence for the page, such as that this is the sandbox.
        sessions: Tokens, lifetimes and the clock.
        sleep: Waits for the sessions to expire.
    """

    def __init__(
        self,
        deliver: Callable[[Path, ContentType, str], Awaitable[str]],
        inbox: Path,
        *,
        start: StartTask,
        sniff: Callable[[Path], ContentType],
        measure: Callable[[Path], Awaitable[Measurement]],
        max_file_bytes: int = MAX_FILE_BYTES,
        notice: str = "",
        sessions: Sessions | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._steps = Steps(sniff, measure, deliver)
        self._inbox = inbox
        self._start = start
        self._max_file_bytes = max_file_bytes
        self._notice = notice
        self._sessions = sessions or Sessions(clock=time.time)
        self._sleep = sleep
        self._port: int | None = None

    @property
    def serving(self) -> bool:
        """Whether the page can be reached now."""
        return self._port is not None

    async def open_session(self, model_id: str, kinds: Sequence[Kind], max_files: int) -> UploadSession:
        """Open a session of one hour for at most `max_files` files; starts the server when it does not run.

        Raises:
            InvalidArgumentError: The model takes no files.
            PageNotServedError: No port can be had.
        """
        if not kinds or max_files < 1:
            raise InvalidArgumentError("model_id", f"{model_id} takes no files.", next_step="Choose another model.")
        port = self._port or self._serve()
        session = self._sessions.open(model_id, tuple(kinds), min(max_files, MAX_FILES))
        base = f"http://127.0.0.1:{port}"
        return UploadSession(
            token=session.token,
            url=f"{base}/u/{session.token}",
            direct_upload_url=f"{base}/upload",
            direct_upload_fallback_url=f"http://localhost:{port}/upload",
            direct_upload_allowlist_domains=("127.0.0.1", "localhost"),
            direct_upload_curl_example=_curl(base, session.token),
            direct_upload_python_example=_python(base, session.token),
            model_id=model_id,
            accepted_kinds=session.kinds,
            max_files=session.max_files,
            max_file_bytes=self._max_file_bytes,
            expires_at=session.expires,
            expires_in_seconds=max(0, round(session.expires_at - self._sessions.clock())),
        )

    def session(self, token: str) -> SessionState:
        """What the session with this token has received so far.

        Raises:
            UnknownSessionError: There is none.
        """
        return self._sessions.find(token).state(self._sessions.clock())

    def _serve(self) -> int:
        from kubeez_mcp_local.web.server import listen_on_loopback

        try:
            listener = listen_on_loopback()
        except OSError as error:
            raise PageNotServedError(error.strerror or type(error).__name__) from None
        port: int = listener.getsockname()[1]
        self._port = port
        self._start(self._run, listener, port)
        return port

    async def _run(self, listener: socket.socket, port: int) -> None:
        from kubeez_mcp_local.web.app import PageSetup, make_app
        from kubeez_mcp_local.web.server import PageServer

        setup = PageSetup(self._sessions, self._steps, self._inbox, self._max_file_bytes, self._notice)
        server = PageServer(make_app(setup, port))
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(server.run_on, listener)
                await self._until_expired()
                tasks.cancel_scope.cancel()
        finally:
            if self._port == port:
                self._port = None

    async def _until_expired(self) -> None:
        """Wait until no session takes files any more and no upload is still being handed on."""
        while (left := self._sessions.last_expiry() - self._sessions.clock()) > 0 or self._sessions.busy():
            await self._sleep(max(left, 1.0))
        self._port = None


def _curl(base: str, token: str) -> str:
    return f'curl -F token={token} -F "file=@first.png;type=image/png" -F "file=@last.png;type=image/png" {base}/upload'


def _python(base: str, token: str) -> str:
    return (
        "import httpx\n"
        'parts = [("file", ("first.png", open("first.png", "rb"), "image/png"))]\n'
        f'print(httpx.post("{base}/upload", data={{"token": "{token}"}}, files=parts, timeout=300).json())'
    )
