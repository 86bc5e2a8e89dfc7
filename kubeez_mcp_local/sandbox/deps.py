"""What every route needs: the desk, who is calling, and where URLs point."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials

from kubeez_mcp_local.sandbox.desk import Desk
from kubeez_mcp_local.sandbox.records import Account, Bucket
from kubeez_mcp_local.sandbox.refusals import missing_scope, unauthorized
from kubeez_mcp_local.sandbox.views import Viewer

_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False)
_BEARER = HTTPBearer(auto_error=False)


def get_desk(request: Request) -> Desk:
    """The desk of the app that serves this request."""
    desk = request.app.state.desk
    if not isinstance(desk, Desk):
        raise TypeError("the app has no desk")
    return desk


def get_viewer(request: Request, desk: Annotated[Desk, Depends(get_desk)]) -> Viewer:
    """Shows jobs with URLs on the origin this request came in on."""
    return Viewer(desk, str(request.base_url).rstrip("/"))


TheDesk = Annotated[Desk, Depends(get_desk)]
TheViewer = Annotated[Viewer, Depends(get_viewer)]


def caller(scope: str | None, bucket: Bucket) -> Callable[..., Account]:
    """A dependency that yields the calling account, checked for `scope` and counted in `bucket`."""

    def check(
        desk: TheDesk,
        header: Annotated[str | None, Depends(_HEADER)],
        bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
    ) -> Account:
        key = header or (bearer.credentials if bearer else None)
        if not key:
            raise unauthorized("Missing API key")
        account = desk.books.account_of(key)
        if account is None:
            raise unauthorized("Invalid API key")
        if account.revoked:
            raise unauthorized("API key has been revoked")
        if scope is not None and scope not in account.scopes:
            raise missing_scope(scope)
        desk.limits.count(account.id, bucket)
        return account

    return check


MediaCaller = Annotated[Account, Depends(caller("generate:media", "media"))]
MusicCaller = Annotated[Account, Depends(caller("generate:music", "music"))]
SpeechCaller = Annotated[Account, Depends(caller("generate:speech", "dialogue"))]
AdsCaller = Annotated[Account, Depends(caller("generate:ads", "ads"))]
UploadCaller = Annotated[Account, Depends(caller("generate:media", "upload"))]
HistoryCaller = Annotated[Account, Depends(caller("read:generations", "read"))]
BalanceCaller = Annotated[Account, Depends(caller("read:balance", "read"))]
AnyCaller = Annotated[Account, Depends(caller(None, "read"))]

DOCUMENTED = {"x-kubeez-evidence": "documented"}
ASSUMED = {"x-kubeez-evidence": "assumed"}
