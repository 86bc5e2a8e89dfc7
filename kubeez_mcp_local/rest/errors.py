"""What can go wrong while talking to the API: one class per thing a user can act on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubeez_mcp_local.errors import KubeezError

if TYPE_CHECKING:
    from kubeez_mcp_local.rest.routes import Route

KEYS_PAGE = "https://kubeez.com/settings/api-keys"
REST = "the REST API"
BILLING_PAGE = "https://kubeez.com/billing"


class ApiError(KubeezError):
    """The API answered with an error.

    Attributes:
        status: The HTTP status, where there was an answer.
        api_code: The API's own code, such as `invalid_model`, where it gave one.
    """

    code = "api_error"
    status: int | None = None
    api_code: str | None = None


class UnauthorizedError(ApiError):
    """The key is missing, unknown or revoked (401)."""

    code = "unauthorized"


class MissingScopeError(ApiError):
    """The key is valid but not allowed to do this (403). `scope` names what it lacks, where that is known."""

    code = "missing_scope"
    scope: str | None = None


class InsufficientCreditsError(ApiError):
    """The account has too few credits (402, or any 4xx that says so; rest-api.md §5.1)."""

    code = "insufficient_credits"


class RefusedError(ApiError):
    """The API refused the request as it stands (400, 422 and other 4xx). Nothing was charged."""

    code = "refused"


class NotFoundError(ApiError):
    """The API knows no such job, model or route (404). Normal for a moment right after a job was started."""

    code = "not_found"


class RateLimitedError(ApiError):
    """Too many requests (429). `retry_after` is what the API asked to wait, in seconds, where it said so."""

    code = "rate_limited"


class UnavailableError(ApiError):
    """The API could not answer a read or an upload: 5xx, a time-out or a broken connection."""

    code = "unavailable"


class UnreachableError(KubeezError):
    """No connection was made, so nothing was sent. `permanent` when trying again at once cannot help."""

    code = "unreachable"
    permanent: bool = False


class UnusableUrlError(KubeezError):
    """The address is not one that can be asked, so nothing was sent."""

    code = "unusable_url"


class AmbiguousError(KubeezError):
    """A paid request left, and nothing proves whether it was accepted. Never repeat it blindly."""

    code = "ambiguous"

    def __init__(self, message: str, *, status: int | None = None) -> None:
        step = "Look the job up in the history before sending anything alike again."
        super().__init__(message, next_step=step, spent=None)
        self.status = status


class UnexpectedAnswerError(ApiError):
    """The answer is not what the API sends: an HTML page, broken JSON, a redirect, a missing field."""

    code = "unexpected_answer"


class NotOfferedError(KubeezError):
    """The API does not publish this operation, or not with what was asked for. Nothing was sent. `reason` says why."""

    code = "not_offered"

    def __init__(self, route: Route, reason: str, *, through: str = REST) -> None:
        message = f"`{route.name}` is not available through {through}: {reason}. Nothing was sent."
        super().__init__(message, next_step=route.instead if through == REST else "Use it on https://kubeez.com.")
        self.reason = reason


class DownloadFailedError(KubeezError):
    """A finished file could not be fetched or saved. The job is paid and stays on the server; only the copy is missing.

    Its code says more where there is already a file (`target_exists`), or the disk did not take it (`cannot_save`).
    """

    code = "download_failed"


class TooLargeError(DownloadFailedError):
    """A file is larger than was allowed for it."""

    code = "too_large"
