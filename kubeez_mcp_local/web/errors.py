"""Why the upload page refused something. Each carries the HTTP status it is answered with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubeez_mcp_local.errors import KubeezError

if TYPE_CHECKING:
    from collections.abc import Collection


class UploadRefusedError(KubeezError):
    """An upload was not taken. Nothing of it was kept, sent or charged."""

    code = "upload_refused"
    status = 400


class UnknownSessionError(UploadRefusedError):
    """No upload session has this token."""

    code = "unknown_upload_session"
    status = 404

    def __init__(self) -> None:
        super().__init__(
            "no upload session has this token; sessions end with the server that opened them.",
            next_step="Open a new one with get_upload_url.",
        )


class ExpiredSessionError(UploadRefusedError):
    """The session is over for uploads; what it received can still be read."""

    code = "upload_session_expired"
    status = 410

    def __init__(self) -> None:
        super().__init__("this upload session has expired.", next_step="Open a new one with get_upload_url.")


class MalformedFormError(UploadRefusedError):
    """The request is not the multipart form that is expected."""

    code = "malformed_form"

    def __init__(self, detail: str) -> None:
        super().__init__(
            f"{detail}.",
            next_step="Send multipart/form-data with one field 'token' and one or more 'file' parts.",
        )


class MissingTypeError(UploadRefusedError):
    """A part has no real media type."""

    code = "media_type_required"

    def __init__(self, name: str, claimed: str) -> None:
        super().__init__(
            f"the part {name!r} came as {claimed or 'nothing'}; every file part must carry its real media type.",
            next_step="With curl write -F 'file=@shot.png;type=image/png'.",
        )


class TypeMismatchError(UploadRefusedError):
    """A part is something else than it claims to be."""

    code = "media_type_mismatch"

    def __init__(self, name: str, claimed: str, found: str) -> None:
        super().__init__(
            f"the part {name!r} claims to be {claimed} but its content is {found}.",
            next_step=f"Send it as {found}, or choose the file you meant.",
        )


class KindNotAcceptedError(UploadRefusedError):
    """The model takes no media of this kind."""

    code = "kind_not_accepted"

    def __init__(self, name: str, kind: str, accepted: Collection[str]) -> None:
        words = {"image": "a picture", "video": "a video", "audio": "sound"}
        super().__init__(
            f"{name!r} is {words.get(kind, kind)}; this session takes {', '.join(accepted)}.",
            next_step="Choose another file, or open a session for another model.",
        )


class TooManyFilesError(UploadRefusedError):
    """The session would hold more files than the model takes."""

    code = "too_many_files"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"this session takes at most {limit} file{'s' if limit != 1 else ''}.",
            next_step="Send fewer, or open a new session.",
        )


class TooLargeError(UploadRefusedError):
    """A file is larger than can be uploaded."""

    code = "file_too_large"
    status = 413

    def __init__(self, name: str, limit: int) -> None:
        super().__init__(
            f"{name!r} is larger than {limit / 1024**2:,.0f} MB.", next_step="Shorten, scale down or compress it first."
        )


class EmptyPartError(UploadRefusedError):
    """A file part holds no bytes."""

    code = "file_empty"

    def __init__(self, name: str) -> None:
        super().__init__(f"{name!r} is empty (0 bytes).", next_step="Choose the file again.")


class NoRoomError(UploadRefusedError):
    """The file cannot be stored on this machine."""

    code = "inbox_not_writable"
    status = 507

    def __init__(self, reason: str) -> None:
        super().__init__(f"the file cannot be stored: {reason}.", next_step="Free some space and try again.")


class ForeignRequestError(UploadRefusedError):
    """The request came from another site, or under another name of this machine."""

    code = "foreign_request"
    status = 403

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} is not this page.", next_step="Open the link exactly as the assistant gave it to you."
        )
