"""Credits and history."""

from fastapi import APIRouter

from kubeez_mcp_local.sandbox.answers import Balance, Generations
from kubeez_mcp_local.sandbox.deps import DOCUMENTED, BalanceCaller, HistoryCaller, TheDesk, TheViewer

router = APIRouter(prefix="/v1", tags=["Account"])

MOST_ROWS = 25


@router.get("/balance", operation_id="get_balance", openapi_extra=DOCUMENTED)
def balance(desk: TheDesk, caller: BalanceCaller) -> Balance:
    """Credits left."""
    left = desk.books.balance(caller.id)
    return Balance(
        credits=left,
        message=f"You have {left:g} sandbox credits; they cost nothing.",
        purchase_url="https://kubeez.com/billing",
    )


@router.get("/generations", operation_id="list_generations", openapi_extra=DOCUMENTED)
def generations(
    desk: TheDesk,
    viewer: TheViewer,
    caller: HistoryCaller,
    limit: int = MOST_ROWS,
    status: str | None = None,
    model: str | None = None,
    generation_type: str | None = None,
) -> Generations:
    """Jobs of this account, newest first."""
    now = desk.books.clock()
    hidden = desk.panel.knobs.early_404
    rows = [
        job
        for job in desk.books.jobs(caller.id)
        if status in (None, job.status(now))
        and model in (None, job.model)
        and generation_type in (None, job.generation_type)
        and (not hidden or job.reads >= hidden)
    ]
    return Generations(generations=[viewer.show(job, make=False) for job in rows[: min(max(limit, 1), MOST_ROWS)]])
