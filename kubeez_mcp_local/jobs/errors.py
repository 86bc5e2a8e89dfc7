"""What can go wrong around money and jobs, each with a way out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.text import spoken

if TYPE_CHECKING:
    from pathlib import Path

    from kubeez_mcp_local.jobs.job import Job, SpendQuestion


class LedgerError(KubeezError):
    """The ledger cannot be used, so nothing can be sent: what is not written down is not paid.

    Attributes:
        place: Its file, or which server and database, without name and password.
    """

    def __init__(self, place: Path | str, message: str, *, next_step: str, code: str) -> None:
        super().__init__(f"The ledger {place} {message}. Nothing was sent.", next_step=next_step, code=code)
        self.place = place


AWAY = frozenset({"ledger_unreachable", "ledger_locked"})
"""Codes of a ledger that waiting brings back."""


class UnknownJobError(KubeezError):
    """No job has this id."""

    code = "unknown_job"

    def __init__(self, wanted: str, *, ambiguous: int = 0) -> None:
        none = f"No job has the id {wanted!r} in this account."
        message = f"{wanted!r} is the beginning of {ambiguous} job ids." if ambiguous else none
        super().__init__(message, next_step="Take a whole id from get_generations or `kubeez-mcp-local jobs list`.")


class CeilingError(KubeezError):
    """A spending ceiling stands in the way. Nothing was sent, nothing was charged.

    Attributes:
        soon: Whether only what is held back for others stands in the way, and enough of it is about to be released.
    """

    code = "ceiling_reached"
    soon = False


class UnsettledJobError(KubeezError):
    """A request like this one was sent before and nobody knows yet whether it was paid."""

    code = "unsettled_job"

    def __init__(self, job: Job, how_it_stands: str = "") -> None:
        super().__init__(
            f"Whether job {job.id} ({job.model}, {job.created:%Y-%m-%d %H:%M} UTC) was accepted is not known, and the "
            f"API's history does not settle it yet. {f'{job.error} ' if job.error else ''}"
            f"Nothing alike is sent until it is settled.{f' {how_it_stands}' if how_it_stands else ''}",
            next_step="Try again in a few minutes; other work goes on. Or have the user answer for it with: "
            "kubeez-mcp-local jobs reconcile. Who has looked it up on kubeez.com runs: "
            f"kubeez-mcp-local jobs reconcile {job.id} --paid (or --not-paid).",
            spent=None,
        )
        self.job = job


class ConsentRequiredError(KubeezError):
    """This spends credits and the client cannot ask; the user must say yes in the conversation."""

    code = "approval_required"

    def __init__(self, question: SpendQuestion, approval: str, valid_seconds: float) -> None:
        super().__init__(
            question.text,
            next_step=(
                "Show this to the user. Only after a yes, call again with exactly the same arguments and "
                f"approval={approval!r} (once, within {round(valid_seconds / 60)} minutes)."
            ),
        )
        self.question = question
        self.approval = approval


def wrong_state(job: Job, wanted: str) -> KubeezError:
    """The error for a job that is not in the one state in which something can be done with it."""
    return KubeezError(
        f"Job {job.id} is {job.state}; this can be done with a job that is {wanted}.",
        next_step=f"See it with: kubeez-mcp-local jobs show {job.id}.",
        code="wrong_state",
    )


def not_accepted(job: Job) -> KubeezError:
    """The error for a request that got no answer and, as the API's history shows, was never accepted."""
    return _failure(
        "not_accepted",
        f"Job {job.id} was never accepted: the API's history proves it, or a person said so. Nothing was charged.",
    )


_AT_ONCE = 1.0


def not_sent(message: str, *, by_chance: bool = False) -> KubeezError:
    """The error for a claimed request that never left, so that nothing was charged; `by_chance` if the same call has a
    chance at once."""
    return _failure("not_sent", message, **({"retry_after": _AT_ONCE} if by_chance else {}))


def busy(reason: str, seconds: float) -> KubeezError:
    """The error where the API's rate limit or concurrency cap is used up for longer than this call may wait."""
    step = f"Call again in about {max(1, round(seconds))} s."
    return _failure("busy", f"{reason} Nothing was sent.", next_step=step, retry_after=seconds)


def verdict_of(error: KubeezError) -> dict[str, Any]:
    """What the caller of a refused job is told, to be kept for those who wait for the same job."""
    return {name: getattr(error, name) for name in ("code", "message", "next_step", "retry_safe", "retry_after")}


def error_of(job: Job) -> KubeezError | None:
    """Why a request has come to nothing, or to nothing yet, as its first caller was told; `None` if it was accepted."""
    if job.state == "unknown":
        return UnsettledJobError(job)
    if job.state == "not_accepted":
        return not_accepted(job)
    if job.state == "sending":
        return _failure(
            "busy",
            f"The same request is on its way already, as job {job.id}, and has no answer yet.",
            next_step="Call again with the same arguments; that pays nothing twice.",
            spent=None,
            retry_after=5.0,
        )
    if job.state != "refused":
        return None
    kept = dict(job.verdict or ({"retry_after": _AT_ONCE} if job.error_code == "interrupted" else {}))
    code, message = kept.pop("code", job.error_code), kept.pop("message", job.error)
    return _failure(code or "not_sent", message or "It was not sent.", **kept)


def _failure(code: str, message: str, **more: Any) -> KubeezError:
    usual: dict[str, Any] = {"next_step": "Call again.", "retry_safe": True}
    return KubeezError(message, code=code, **usual | more)


def over_call_ceiling(amount: float, ceiling: float) -> CeilingError:
    """The error for a call above `KUBEEZ_MAX_CREDITS_PER_CALL`."""
    if ceiling == 0:
        return nothing_allowed("KUBEEZ_MAX_CREDITS_PER_CALL")
    return CeilingError(
        f"This call is quoted at {spoken(amount)}; the ceiling for one call is {spoken(ceiling)}.",
        next_step="Choose a cheaper model or fewer variants, or have the user raise KUBEEZ_MAX_CREDITS_PER_CALL.",
    )


def over_run_ceiling(
    amount: float, left: float, ceiling: float, *, own: bool, spare: bool, whole: bool = False
) -> CeilingError:
    """The error for a call that does not fit into its run.

    Args:
        own: Whether the ceiling is the run's own budget and not `KUBEEZ_MAX_CREDITS_PER_RUN`.
        spare: Whether it may fit once the run's jobs under way are settled.
        whole: Whether it is about everything that the run has yet to pay.
    """
    if ceiling == 0 and not own:
        return nothing_allowed("KUBEEZ_MAX_CREDITS_PER_RUN")
    who = "What is to be paid for this run" if whole else "This call"
    needs = f"costs {spoken(amount)}" if amount else "has a price that is not known"
    what = "budget of this run" if own else "ceiling for one run of a recipe"
    return CeilingError(
        f"{who} {needs}, and of the {what}, {spoken(ceiling)}, {spoken(left)} are left.",
        next_step="Raise the run's own budget, such as its argument max_credits."
        if own
        else "Choose cheaper models or less work, or have the user raise KUBEEZ_MAX_CREDITS_PER_RUN (by default the "
        "same as KUBEEZ_MAX_CREDITS_PER_CALL).",
        retry_safe=spare,
        retry_after=2.0 if spare else None,
        code="budget_reached" if own else None,
    )


def nothing_allowed(setting: str) -> CeilingError:
    """The error for a ceiling of 0."""
    return CeilingError(
        f"{setting} is 0, so nothing may be spent.",
        next_step=f"Have the user raise {setting}, or work in the sandbox (KUBEEZ_MODE=sandbox).",
    )
