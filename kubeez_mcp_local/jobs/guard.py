"""The spending guard: may this be sent? Decided and written down in one transaction.

Order of the checks, and why:

1. Is it a repeat of a job that runs or has just been accepted? Then that job is the answer, whatever the ceilings say.
2. Was something alike sent whose fate is unknown? That is settled first.
3. Do the ceilings per call, per run and per day, over all processes, leave room?
4. If an approval code came with it: does it allow exactly this, unused and in time? It is used up here.
5. The jobs are written as `sending`, with their reservations, and the quote that was asked about is used up.

Before a user is asked, the same checks run without steps 4 and 5: no reservation is held while somebody thinks, and
nobody is asked about what could not be sent anyway.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.approvals import Approval, redeem
from kubeez_mcp_local.jobs.budget import Ceilings, budget_day, day_refusal, remember_day, reservations, room_in
from kubeez_mcp_local.jobs.digest import group_digest
from kubeez_mcp_local.jobs.frozen import use_up
from kubeez_mcp_local.jobs.job import Job, State
from kubeez_mcp_local.jobs.money import to_micro
from kubeez_mcp_local.jobs.rows import OPEN_JOBS, job_from, job_with, to_json
from kubeez_mcp_local.jobs.sightings import restart_watch

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from kubeez_mcp_local.jobs.order import Order
    from kubeez_mcp_local.jobs.ownership import Fate
    from kubeez_mcp_local.jobs.sightings import Moment

REPEAT_SECONDS = 600.0
"""How long after a job is done the same call counts as a repeat and not as a new wish."""

_ENDED = "The process ended before the answer came."
_VANISHED = "The lock file of the process that was sending it is gone, and whether it still runs cannot be told."
_LEFT_BEHIND = f"SELECT id FROM {OPEN_JOBS} AND account = ? AND state = 'sending' AND owner = ?"


@dataclass(frozen=True)
class Claim:
    """What the guard says to one order.

    Attributes:
        job: The new job, or the one that this order repeats; `None` for an order that was only looked at.
        repeated: Whether `job` was there before.
        blocked_by: A job alike that is `unknown`; nothing was claimed.
    """

    job: Job | None
    repeated: bool = False
    blocked_by: Job | None = None


@dataclass(frozen=True)
class Caller:
    """On whose behalf the guard decides, and when by the steady clock. `fate_of` another owner is noted in this
    transaction if it has ended."""

    account: str
    owner: str
    fate_of: Callable[[str], Fate]
    moment: Moment


@dataclass(frozen=True)
class Decision:
    """One claim for each order, or the reason why nothing was claimed."""

    claims: tuple[Claim, ...] = ()
    refusal: KubeezError | None = None

    @property
    def blocked_by(self) -> Job | None:
        """The first job whose unknown fate stands in the way."""
        return next((claim.blocked_by for claim in self.claims if claim.blocked_by), None)


def decide(
    connection: sqlite3.Connection,
    orders: Sequence[Order],
    caller: Caller,
    ceilings: Ceilings,
    now: float,
    *,
    claim: bool,
    approval: Approval | None = None,
) -> Decision:
    """Check `orders`, which belong to one call and differ in their digests; with `claim`, claim them all or none.

    Must run inside a write transaction. Refusals are returned and not raised, so that what was learned on the way
    (owners found dead) is kept.
    """
    recover(connection, caller, now)
    found = [_existing(connection, order, caller, now) for order in orders]
    looked_at = Decision(tuple(found))
    fresh = [order for order, known in zip(orders, found, strict=True) if known.job is None]
    if looked_at.blocked_by or not fresh:
        return looked_at
    try:
        run = fresh[0].run
        room = None if run is None else room_in(connection, caller.account, run, ceilings)
        amounts = reservations(fresh, ceilings, room)
    except KubeezError as error:
        return Decision(refusal=error)
    certain = all(order.quote.credits is not None for order in fresh)
    refusal: KubeezError | None = day_refusal(connection, caller.account, now, sum(amounts), ceilings, certain=certain)
    if refusal is None and claim and approval is not None:
        refusal = redeem(connection, approval, now)
    if refusal is not None:
        return Decision(refusal=refusal)
    if not claim:
        return looked_at
    day = budget_day(connection, now)
    remember_day(connection, day)
    use_up(connection, caller.account, group_digest([order.digest for order in orders]))
    reserved = dict(zip((order.digest for order in fresh), amounts, strict=True))
    return Decision(
        tuple(
            known if known.job else _insert(connection, order, caller, reserved[order.digest], day, now)
            for order, known in zip(orders, found, strict=True)
        )
    )


def recover(connection: sqlite3.Connection, caller: Caller, now: float) -> None:
    """Settle what ended processes left in `sending`: never sent means refused, sent means unknown.

    Of an owner that cannot be proven to have ended nobody can say that its requests will not leave, or have not left.
    Between noting that a request leaves and its leaving a process may have been stopped for any time, so the time that
    a request takes to arrive is counted from here on.
    """
    owners = connection.execute(
        f"SELECT DISTINCT owner FROM {OPEN_JOBS} AND account = ? AND state = 'sending' AND owner <> ?",
        (caller.account, caller.owner),
    ).fetchall()
    for (owner,) in owners:
        fate = caller.fate_of(owner)
        if fate == "alive":
            continue
        ours = (caller.account, owner)
        if fate == "ended":
            connection.execute(
                "UPDATE jobs SET state = 'refused', reserved = 0, charged = 0, settled_at = ?, "
                "error_code = 'interrupted', error = 'The process ended before the request was sent.' "
                f"WHERE id IN ({_LEFT_BEHIND} AND sent_at IS NULL)",
                (now, *ours),
            )
        for (job_id,) in connection.execute(_LEFT_BEHIND, ours).fetchall():
            restart_watch(connection, job_id, caller.moment)
        connection.execute(
            "UPDATE jobs SET state = 'unknown', paced_at = ?, error_code = 'interrupted', error = ? "
            f"WHERE id IN ({_LEFT_BEHIND})",
            (now, _ENDED if fate == "ended" else _VANISHED, *ours),
        )


def _existing(connection: sqlite3.Connection, order: Order, caller: Caller, now: float) -> Claim:
    row = connection.execute(
        "SELECT * FROM jobs WHERE account = ? AND digest = ? AND state IN ('sending', 'accepted', 'completed') "
        "ORDER BY seq DESC LIMIT 1",
        (caller.account, order.digest),
    ).fetchone()
    # A job that was done in the future is one from before the clock was set back.
    if row is not None and (order.run or row["state"] != State.COMPLETED or now - row["settled_at"] < REPEAT_SECONDS):
        return Claim(job_from(connection, row), repeated=True)
    rows = connection.execute(
        f"SELECT * FROM {OPEN_JOBS} AND account = ? AND state = 'unknown' AND (digest = ? OR "
        "(prompt <> '' AND prompt = ? AND model = ?) OR (prompt = '' AND ? = '' AND route = ?)) ORDER BY seq",
        (caller.account, order.digest, order.prompt, order.model, order.prompt, order.route),
    ).fetchall()
    alike = (job_from(connection, row) for row in rows)
    return Claim(None, blocked_by=next((job for job in alike if job.prompt or _same_inputs(job, order)), None))


def _same_inputs(job: Job, order: Order) -> bool:
    """Whether work without a prompt is about the same files, which is what it has instead."""
    named = [
        {name: value for name, value in given.items() if value and name.endswith(("_url", "_urls"))}
        for given in (job.arguments, order.arguments)
    ]
    return job.digest == order.digest or named[0] == named[1]


def _insert(connection: sqlite3.Connection, order: Order, caller: Caller, reserved: int, day: str, now: float) -> Claim:
    job_id = uuid.uuid4().hex
    quote = order.quote.credits
    connection.execute(
        "INSERT INTO jobs (id, account, state, digest, tool, route, bucket, kind, model, prompt, generation_type, "
        "arguments, recipe, run, client, owner, day, quote, quote_basis, expected_seconds, reserved, created_at) "
        "VALUES (?, ?, 'sending', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            job_id,
            caller.account,
            order.digest,
            order.tool,
            order.route,
            order.bucket,
            order.kind,
            order.model,
            order.prompt,
            order.generation_type,
            to_json(order.arguments),
            order.recipe or "",
            order.run.run if order.run else "",
            order.client,
            caller.owner,
            day,
            None if quote is None else to_micro(quote),
            order.quote.basis,
            order.quote.seconds,
            reserved,
            now,
        ),
    )
    return Claim(job_with(connection, job_id))
