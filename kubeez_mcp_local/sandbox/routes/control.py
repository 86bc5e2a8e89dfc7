"""Controls of the stand-in itself: knobs, keys and the books. Loopback only, no key needed."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from kubeez_mcp_local.sandbox.books import SCOPES
from kubeez_mcp_local.sandbox.deps import TheDesk
from kubeez_mcp_local.sandbox.gate import Calls
from kubeez_mcp_local.sandbox.knobs import KnobChanges, Knobs
from kubeez_mcp_local.sandbox.refusals import invalid

router = APIRouter(prefix="/_sandbox", tags=["Sandbox control"])


def _calls(request: Request) -> Calls:
    calls: Calls = request.app.state.calls
    return calls


class KeyChanges(BaseModel):
    """Open or change a key. What is left out keeps its value."""

    key: str = Field(min_length=1, max_length=500)
    account: str | None = Field(None, description="Account it stands for; one of its own by default.")
    scopes: list[str] | None = Field(None, description=f"Some of {', '.join(SCOPES)}; all by default.")
    credits: float | None = Field(None, ge=0, description="Sets the account's balance.")
    revoked: bool | None = None


class KeyState(BaseModel):
    """A key's account and rights."""

    account: str
    scopes: list[str]
    revoked: bool
    credits: float


class Ledger(BaseModel):
    """Everything the books say, account by account."""

    accounts: list[dict[str, Any]]
    calls: dict[str, int]


@router.get("/knobs", operation_id="sandbox_get_knobs")
def get_knobs(desk: TheDesk) -> Knobs:
    """The knobs as they are, faults with the calls they have left."""
    return desk.panel.knobs


@router.post("/knobs", operation_id="sandbox_change_knobs")
def change_knobs(changes: KnobChanges, desk: TheDesk) -> Knobs:
    """Turn some knobs; the others stay."""
    before = desk.panel.knobs.speed
    after = desk.panel.change(changes)
    if after.speed != before:
        desk.books.change_pace(after.speed / before)
    if "fail_seed" in changes.model_fields_set:
        desk.reseed_luck()
    return after


@router.post("/keys", operation_id="sandbox_change_key")
def change_key(changes: KeyChanges, desk: TheDesk) -> KeyState:
    """Register a key with other rights or credits than the usual ones, or revoke it."""
    unknown = [scope for scope in changes.scopes or () if scope not in SCOPES]
    if unknown:
        raise invalid(f"Unknown scope {unknown[0]!r}. Allowed: {', '.join(SCOPES)}")
    account = desk.books.register_key(
        changes.key,
        account=changes.account,
        scopes=changes.scopes,
        credits_=changes.credits,
        revoked=changes.revoked,
    )
    return KeyState(
        account=account.id,
        scopes=list(account.scopes),
        revoked=account.revoked,
        credits=desk.books.balance(account.id),
    )


@router.get("/books", operation_id="sandbox_get_books")
def get_books(desk: TheDesk, calls: Annotated[Calls, Depends(_calls)]) -> Ledger:
    """All jobs, uploads and movements of credits, so that a test can prove what was paid, and how often."""
    books = desk.books
    now = books.clock()
    accounts = [
        {
            "account": account,
            "credits": books.balance(account),
            "entries": books.entries(account),
            "jobs": [
                {
                    "id": job.id,
                    "kind": job.kind,
                    "bucket": job.bucket,
                    "model": job.model,
                    "prompt": job.prompt,
                    "status": job.status(now),
                    "credits": job.credits,
                    "created_at": job.created_at,
                    "due_at": job.due_at,
                    "request": job.request,
                }
                for job in reversed(books.jobs(account))
            ],
            "uploads": [
                {"name": file.work.get("name"), "path": file.path, "media_type": file.media_type, "size": file.size}
                for file in books.uploads(account)
            ],
        }
        for account in books.accounts()
    ]
    return Ledger(accounts=accounts, calls=calls.so_far())


@router.post("/reset", operation_id="sandbox_reset")
def reset(desk: TheDesk, calls: Annotated[Calls, Depends(_calls)]) -> Knobs:
    """Forget all accounts, jobs, files and faults. The speed stays."""
    desk.books.empty()
    desk.limits.forget()
    calls.forget()
    desk.panel.replace(Knobs(speed=desk.panel.knobs.speed))
    return desk.panel.knobs
