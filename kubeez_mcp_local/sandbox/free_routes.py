"""What costs nothing: documents, catalogue, balance and history, uploads, files, and the controls of the stand-in."""

import shutil
import time
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, UploadFile
from fastapi.responses import FileResponse, PlainTextResponse
from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile as UploadedFile

from kubeez_mcp_local.media.measure import measure_now
from kubeez_mcp_local.media.sniff import UnsupportedMediaError, sniff
from kubeez_mcp_local.sandbox.answers import (
    ApiError,
    Balance,
    Body,
    Generations,
    Health,
    Models,
    Uploaded,
    invalid,
    not_found,
    refusals,
)
from kubeez_mcp_local.sandbox.books import SCOPES, Books, File
from kubeez_mcp_local.sandbox.hosted.tokens import Tokens
from kubeez_mcp_local.sandbox.knobs import Knobs
from kubeez_mcp_local.sandbox.service import (
    PURCHASE_URL,
    AnyCaller,
    BalanceCaller,
    HistoryCaller,
    Service,
    TheService,
    TheViewer,
    UploadCaller,
)

router = APIRouter()

# Documents and models


_GUIDE = """# Kubeez API (sandbox)

{about}

Base URL: {base}
Authentication: `X-API-Key: sk_live_…` or `Authorization: Bearer sk_live_…`, never in the query string.
Jobs: POST a generation, then read its status until it is `completed` and its URLs are there, or use its stream.
Models: {base}docs/models.json. Schemas: {base}openapi.json.

{operations}
"""


@router.get("/health", tags=["Discovery"])
def health() -> Health:
    """Whether the service is up."""
    return Health(status="healthy")


@router.get("/llms.txt", tags=["Discovery"], response_class=PlainTextResponse)
def llms_txt(request: Request) -> str:
    """How to use this API, for agents."""
    document = request.app.openapi()
    operations = [
        f"- {method.upper()} {path}: {operation['description']}"
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    return _GUIDE.format(base=request.base_url, about=document["info"]["description"], operations="\n".join(operations))


@router.get("/docs/models.json", tags=["Discovery"])
def list_public_models(service: TheService) -> Models:
    """The whole catalogue."""
    return _models(service.catalogue.served())


@router.get("/docs/models/{model_id}.json", tags=["Discovery"], responses=refusals(404))
def get_public_model(model_id: str, service: TheService) -> dict[str, Any]:
    """One row, or every variant of a family."""
    rows = service.catalogue.family(model_id)
    if not rows:
        raise not_found("Model not found")
    return rows[0] if service.catalogue.get(model_id) else _models(rows).model_dump()


@router.get("/v1/models", tags=["Discovery"], responses=refusals(401, 429))
def list_models(service: TheService, caller: AnyCaller, model_type: str | None = None) -> Models:
    """The catalogue for this account."""
    return _models(service.catalogue.served(model_type))


def _models(rows: list[dict[str, Any]]) -> Models:
    return Models(models=rows, total_count=len(rows))


# Credits and history


MOST_ROWS = 25
_SECONDS_TO_MAKE = 2.0  # what one look at the history may spend on files that nobody has looked at before


@router.get("/v1/balance", tags=["Account"], responses=refusals(401, 403, 429))
def get_balance(service: TheService, caller: BalanceCaller) -> Balance:
    """Credits left."""
    left = service.books.balance(caller.id)
    message = f"You have {left:g} sandbox credits; they cost nothing."
    return Balance(credits=left, message=message, purchase_url=PURCHASE_URL)


@router.get("/v1/generations", tags=["Account"], responses=refusals(401, 403, 429))
def list_generations(
    service: TheService,
    viewer: TheViewer,
    caller: HistoryCaller,
    limit: int = MOST_ROWS,
    status: str | None = None,
    model: str | None = None,
    generation_type: str | None = None,
) -> Generations:
    """Jobs of this account, newest first."""
    now = service.books.clock()
    hidden = service.panel.knobs.early_404
    rows = [
        job
        for job in service.books.jobs(caller.id)
        if status in (None, job.status(now))
        and model in (None, job.model)
        and generation_type in (None, job.generation_type)
        and (not hidden or job.reads >= hidden)
    ]
    enough = time.monotonic() + _SECONDS_TO_MAKE
    shown = [viewer.show(job, make=time.monotonic() < enough) for job in rows[: min(max(limit, 1), MOST_ROWS)]]
    return Generations(generations=[row for row in shown if status in (None, row.status)])


# Uploads, and files as a CDN would serve them: no key, ranges allowed


MOST_BYTES = 500 * 1024 * 1024


@router.post("/v1/upload/media", tags=["Uploads"], responses=refusals(400, 401, 403, 413, 429))
def upload_media(
    file: UploadFile,
    service: TheService,
    viewer: TheViewer,
    caller: UploadCaller,
    bucket: Annotated[str, Query(max_length=100)] = "media-inputs",
) -> Uploaded:
    """Store one file, at most 500 MB, for use in `source_media_urls`."""
    stored = store_upload(service, caller.id, file, bucket)
    return Uploaded(url=viewer.url(stored))


def store_upload(service: Service, account: str, file: UploadedFile, bucket: str) -> File:
    """Keep an uploaded file, measured.

    Raises:
        ApiError: 400 when it is empty or no medium that we know, 413 when it is larger than `MOST_BYTES`.
    """
    if not file.size:
        raise invalid("The uploaded file is empty")
    if file.size > MOST_BYTES:
        raise ApiError(413, "The uploaded file is larger than 500 MB")
    waiting = waiting_file(service.books)
    try:
        with waiting.open("wb") as target:
            shutil.copyfileobj(file.file, target, 1024 * 1024)
        return keep_upload(service.books, account, waiting, file.filename or "", bucket)
    except UnsupportedMediaError:
        raise invalid(f"Unsupported media type: {file.content_type or 'unknown'}") from None
    finally:
        waiting.unlink(missing_ok=True)


def waiting_file(books: Books) -> FilePath:
    """Where a file stands until it is kept."""
    return books.folder / "files" / f".{books.new_id()}"


def keep_upload(books: Books, account: str, waiting: FilePath, name: str, bucket: str) -> File:
    """Make a waiting file an upload of the account; raises `UnsupportedMediaError` for what we do not know."""
    media_type, found = sniff(waiting), measure_now(waiting)
    about = {"size": waiting.stat().st_size, "bucket": bucket, "name": name, "seconds": found.seconds}
    about |= {"width": found.width, "height": found.height}
    stored = books.add_upload(account, media_type.extension, media_type.mime, about)
    waiting.replace(books.path_of(stored))
    return stored


@router.get("/files/{name}", include_in_schema=False)
@router.head("/files/{name}", include_in_schema=False)
def file(name: Annotated[str, Path(max_length=200)], service: TheService) -> FileResponse:
    """One file's bytes."""
    found = service.books.file_named(name)
    if found is None:
        raise not_found()
    if found.job and not service.books.is_finished(found.job, early=found.role in ("song", "cover")):
        raise not_found()
    if service.books.count_download(found) < service.panel.knobs.cdn_404:
        raise not_found()
    ready = service.studio.ready(found)
    return FileResponse(
        service.books.path_of(ready),
        media_type=ready.media_type,
        content_disposition_type="inline",
        headers={"Access-Control-Allow-Origin": "*", "X-Content-Type-Options": "nosniff"},
    )


# Controls of the stand-in itself: knobs, keys and the books. Loopback only, no key needed


class KeyChanges(Body):
    """Open or change a key. What is left out keeps its value."""

    key: str = Field(min_length=1, max_length=500)
    account: str | None = Field(None, description="Account it stands for; one of its own by default.")
    scopes: list[str] | None = Field(None, description=f"Some of {', '.join(SCOPES)}; all by default.")
    credits: float | None = Field(None, ge=0, le=1e9, description="Sets the account's balance.")
    revoked: bool | None = None


class KeyState(BaseModel):
    """A key's account and rights."""

    account: str
    scopes: list[str]
    revoked: bool
    credits: float


class TokenChanges(Body):
    """Make any text a token of the hosted door, or change tokens. What is left out keeps its value."""

    token: str | None = Field(
        None, min_length=1, max_length=500, description="By default all; only access tokens if they end."
    )
    account: str | None = Field(None, description="Account it stands for, e.g. a key's; one of its own by default.")
    scopes: list[str] | None = Field(None, description=f"Some of {', '.join(SCOPES)}; all by default.")
    credits: float | None = Field(None, ge=0, le=1e9, description="Sets the account's balance.")
    expires_in: float | None = Field(None, ge=0, le=1e9, description="Seconds from now until it ends; 0 ends it now.")
    revoked: bool | None = None


class TokenState(BaseModel):
    """Tokens that were changed."""

    accounts: list[str]


_OF_A_JOB = ("id", "kind", "bucket", "model", "prompt", "credits", "created_at", "due_at", "request")


class Ledger(BaseModel):
    """Everything the books say, account by account."""

    accounts: list[dict[str, Any]]
    calls: dict[str, int]


@router.get("/_sandbox/knobs", tags=["Sandbox control"], responses=refusals(403))
def sandbox_get_knobs(service: TheService) -> Knobs:
    """The knobs as they are, faults with the calls they have left."""
    return service.panel.knobs


@router.post("/_sandbox/knobs", tags=["Sandbox control"], responses=refusals(400, 403, 413))
def sandbox_change_knobs(changes: Knobs, service: TheService) -> Knobs:
    """Turn some knobs; the others stay."""
    before = service.panel.knobs.speed
    after = service.panel.change(changes)
    if after.speed != before:
        service.books.change_pace(after.speed / before)
    if "fail_seed" in changes.model_fields_set:
        service.luck.seed(after.fail_seed)
    return after


@router.post("/_sandbox/keys", tags=["Sandbox control"], responses=refusals(400, 403, 413))
def sandbox_change_key(changes: KeyChanges, service: TheService) -> KeyState:
    """Register a key with other rights or credits than the usual ones, or revoke it."""
    _check_scopes(changes.scopes)
    account = service.books.register_key(**changes.model_dump())
    left = service.books.balance(account.id)
    return KeyState(account=account.id, scopes=list(account.scopes), revoked=account.revoked, credits=left)


def _check_scopes(scopes: list[str] | None) -> None:
    unknown = [scope for scope in scopes or () if scope not in SCOPES]
    if unknown:
        raise invalid(f"Unknown scope {unknown[0]!r}. Allowed: {', '.join(SCOPES)}")


@router.post("/_sandbox/tokens", tags=["Sandbox control"], responses=refusals(400, 403, 413))
def sandbox_change_token(changes: TokenChanges, service: TheService) -> TokenState:
    """Register a token of the hosted door, or change one or all: other rights, an end, taken back."""
    _check_scopes(changes.scopes)
    tokens, given = Tokens(service.books), changes.model_dump(exclude={"token"})
    if changes.token:
        return TokenState(accounts=[tokens.register(changes.token, **given).account])
    marks = tokens.marks(refreshing=changes.expires_in is None)
    return TokenState(accounts=[tokens.change(mark, **given).account for mark in marks])


@router.get("/_sandbox/books", tags=["Sandbox control"], responses=refusals(403))
def sandbox_get_books(service: TheService) -> Ledger:
    """All jobs, uploads and movements of credits, so that a test can prove what was paid, and how often."""
    books = service.books
    now = books.clock()
    accounts = [
        {
            "account": account,
            "credits": books.balance(account),
            "entries": books.entries(account),
            "jobs": [
                {**{name: getattr(job, name) for name in _OF_A_JOB}, "status": job.status(now)}
                for job in reversed(books.jobs(account))
            ],
            "uploads": [
                {"name": file.work.get("name"), "path": file.path, "media_type": file.media_type, "size": file.size}
                for file in books.uploads(account)
            ],
        }
        for account in books.accounts()
    ]
    return Ledger(accounts=accounts, calls=service.calls.so_far())


@router.post("/_sandbox/reset", tags=["Sandbox control"], responses=refusals(403))
def sandbox_reset(service: TheService) -> Knobs:
    """Forget all accounts, jobs, files and faults. The speed and the drawing stay."""
    service.books.empty()
    service.limits.forget()
    service.calls.forget()
    return service.panel.reset()
