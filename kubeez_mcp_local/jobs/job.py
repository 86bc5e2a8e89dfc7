"""A job: one paid request and what became of it, as the ledger remembers it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kubeez_mcp_local.rest.routes import Bucket, JobKind


class State(StrEnum):
    """Where a job stands. Only the first three and `unknown` hold a reservation."""

    SENDING = "sending"  # claimed; the request has not been answered
    ACCEPTED = "accepted"  # the API gave it an id
    UNKNOWN = "unknown"  # sent, but nobody knows whether it was accepted; or accepted, and the API denies it now
    COMPLETED = "completed"
    FAILED = "failed"  # the API gave up on it
    REFUNDED = "refunded"  # failed, and the API says that nothing was kept
    REFUSED = "refused"  # never accepted, nothing was spent
    NOT_ACCEPTED = "not_accepted"  # was unknown; the API's history shows that it never arrived
    LOST = "lost"  # was unknown; counts as paid, because the user says so or the API had accepted it


UNSETTLED = (State.SENDING, State.ACCEPTED, State.UNKNOWN)


@dataclass(frozen=True)
class SavedFile:
    """An output on this machine's disk.

    Attributes:
        path: Absolute path.
        url: Where it came from.
        media_type: MIME type by content.
        size: Bytes.
        output_id: The API's id of this output, if it has one.
    """

    path: str
    url: str
    media_type: str
    size: int
    output_id: str | None = None


@dataclass(frozen=True)
class Job:
    """One row of the ledger. Amounts are credits, moments are seconds since 1970.

    Attributes:
        id: The ledger's own id; exists before the API gives one.
        reserved: Credits held back for it now.
        charged: What it really cost; `None` while that is not known.
        results: The API's final answers, one for each generation id.
        files: Outputs saved so far.
        verdict: Why it was refused, as its caller was told; see `failures.told`.
        answered_at: When its answer came, or when waiting for it was given up.
        save_error: Why outputs could not be saved, if so. The URLs in `results` remain.
    """

    id: str
    account: str
    state: State
    digest: str
    tool: str
    route: str
    bucket: Bucket
    kind: JobKind
    model: str
    prompt: str
    generation_type: str | None
    arguments: Mapping[str, Any]
    recipe: str | None
    client: str | None
    owner: str
    quote_credits: float | None
    quote_basis: str
    expected_seconds: int | None
    reserved: float
    charged: float | None
    generation_ids: tuple[str, ...]
    results: tuple[Mapping[str, Any], ...]
    files: tuple[SavedFile, ...]
    error_code: str | None
    error: str | None
    save_error: str | None
    created_at: float
    sent_at: float | None
    answered_at: float | None
    accepted_at: float | None
    settled_at: float | None
    verdict: Mapping[str, Any] | None = None

    @property
    def generation_id(self) -> str | None:
        """The API's id; the first one where a request started several."""
        return self.generation_ids[0] if self.generation_ids else None

    @property
    def settled(self) -> bool:
        """Whether nothing further will become of it."""
        return self.state not in UNSETTLED

    @property
    def created(self) -> datetime:
        """When it was claimed, UTC."""
        return datetime.fromtimestamp(self.created_at, UTC)
