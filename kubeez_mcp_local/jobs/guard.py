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

import base64
import hashlib
import uuid
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.budget import Ceilings, budget_day, day_refusal, remember_day, reservations, room_in
from kubeez_mcp_local.jobs.errors import ApprovalError, NotSentError
from kubeez_mcp_local.jobs.job import Job, State, group_digest, to_credits, to_micro
from kubeez_mcp_local.jobs.rows import OPEN_JOBS, job_from, job_with, restart_watch, to_json

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence

    from kubeez_mcp_local.jobs.job import Job, Order
    from kubeez_mcp_local.jobs.ownership import Fate
    from kubeez_mcp_local.jobs.rows import Moment


VALID_SECONDS = 600.0
_CLOCK_TOLERANCE = 60.0
_ENTROPY_BYTES = 15


@dataclass(frozen=True)
class Approval:
    """A code as it came back, and what it is held against."""

    code: str
    account: str
    digest: str
    quote: float | None


def issue(
    connection: sqlite3.Connection,
    *,
    account: str,
    digest: str,
    quote: float | None,
    now: float,
    random_bytes: Callable[[int], bytes],
) -> str:
    """A new code such as `ok-ABCD-EFGH-…` (120 random bits). Codes that nobody can use any more are cleared away."""
    connection.execute(  # those from before the clock was set back would count when their time comes again
        "DELETE FROM approvals WHERE issued_at NOT BETWEEN ? AND ?", (now - 24 * 3600, now + _CLOCK_TOLERANCE)
    )
    letters = base64.b32encode(random_bytes(_ENTROPY_BYTES)).decode()
    code = "ok-" + "-".join(letters[start : start + 4] for start in range(0, len(letters), 4))
    connection.execute(
        "INSERT INTO approvals (code_hash, account, digest, quote, issued_at) VALUES (?, ?, ?, ?, ?)",
        (_hash(code), account, digest, _micro(quote), now),
    )
    return code


def redeem(
    connection: sqlite3.Connection, approval: Approval, now: float, *, of_run: bool = False
) -> ApprovalError | None:
    """Use up a code; the reason why it does not count, or `None` if it does.

    One for a whole run counts `of_run` as often as it comes: each call of a run is paid once anyway.
    """
    row = connection.execute("SELECT * FROM approvals WHERE code_hash = ?", (_hash(approval.code),)).fetchone()
    if row is None or row["account"] != approval.account:
        return _refused("is not one that this server gave out")
    if row["used_at"] is not None and not (of_run and row["digest"] == approval.digest):
        return _refused("was used before; a code is good for one call")
    if row["digest"] != approval.digest:
        return _refused("was given for other arguments")
    if not -_CLOCK_TOLERANCE <= now - row["issued_at"] <= VALID_SECONDS:
        return _refused(f"has expired; a code is valid for {VALID_SECONDS / 60:.0f} minutes")
    if row["quote"] != _micro(approval.quote):
        return _refused("was given for another price")
    changed = connection.execute(
        "UPDATE approvals SET used_at = ? WHERE code_hash = ? AND used_at IS NULL", (now, row["code_hash"])
    ).rowcount
    return None if changed else _refused("was used before; a code is good for one call")


def _refused(why: str) -> ApprovalError:
    return ApprovalError(
        f"This approval code {why}. Nothing was sent.",
        next_step="Call again without `approval` to get the quote and a new code, and ask the user.",
    )


def _hash(code: str) -> str:
    return hashlib.sha256(code.strip().upper().encode()).hexdigest()


def _micro(quote: float | None) -> int | None:
    return None if quote is None else to_micro(quote)


FROZEN_SECONDS = 600.0


@dataclass(frozen=True)
class FrozenQuote:
    """What one call was quoted at when it was first asked about, in credits; `balance` is the account's then."""

    credits: float | None
    basis: str
    balance: float | None
    frozen_at: float = 0.0


def frozen_quote(
    connection: sqlite3.Connection, account: str, digest: str, current: float | None, now: float
) -> FrozenQuote | None:
    """The quote frozen for `digest`, unless it is too old or below the `current` price."""
    row = connection.execute(
        "SELECT * FROM frozen_quotes WHERE account = ? AND digest = ?", (account, digest)
    ).fetchone()
    if row is None or abs(now - row["frozen_at"]) > FROZEN_SECONDS:
        return None
    if (row["quote"] is None) != (current is None) or (current is not None and to_micro(current) > row["quote"]):
        return None
    amount = None if row["quote"] is None else to_credits(row["quote"])
    return FrozenQuote(amount, row["basis"], row["balance"], row["frozen_at"])


def use_up(connection: sqlite3.Connection, account: str, digest: str) -> None:
    """The call is paid for: the next question about it is another one."""
    connection.execute("DELETE FROM frozen_quotes WHERE account = ? AND digest = ?", (account, digest))


def freeze(connection: sqlite3.Connection, account: str, digest: str, quote: FrozenQuote, now: float) -> FrozenQuote:
    """Keep `quote` for the next ten minutes, and clear away the ones that are over."""
    connection.execute("DELETE FROM frozen_quotes WHERE ABS(frozen_at - ?) > ?", (now, FROZEN_SECONDS))
    connection.execute(
        "INSERT INTO frozen_quotes VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET quote = excluded.quote, "
        "basis = excluded.basis, balance = excluded.balance, frozen_at = excluded.frozen_at",
        (account, digest, None if quote.credits is None else to_micro(quote.credits), quote.basis, quote.balance, now),
    )
    return replace(quote, frozen_at=now)


_READ_BLOCK_SECONDS = 5.0
_SHORTEST_READ_BLOCK = 0.25  # else a fast sandbox's permits would expire before they come back from the ledger
_STALE_SECONDS = 1800.0
_LONGEST_PAUSE = 3600.0
_PER_MINUTE = MappingProxyType({"media": 30, "music": 10, "dialogue": 10, "ads": 5, "read": 120})
_AT_ONCE = MappingProxyType({"media": 10, "music": 5, "dialogue": 5})


@dataclass(frozen=True)
class Limits:
    """How fast and how many (rest-api.md §1.5).

    Args:
        per_minute: Requests a minute by bucket; a bucket that is missing is not limited.
        at_once: Running jobs by bucket.
        speed: How many times faster than life the API's clock runs; 1 except in the sandbox.
    """

    per_minute: Mapping[str, int] = field(default_factory=lambda: _PER_MINUTE)
    at_once: Mapping[str, int] = field(default_factory=lambda: _AT_ONCE)
    speed: float = 1.0

    @property
    def window(self) -> float:
        """A minute of the API, in seconds."""
        return 60.0 / self.speed

    @property
    def read_block(self) -> float:
        """How long a block of read permits may be used, in seconds."""
        return max(_READ_BLOCK_SECONDS / self.speed, _SHORTEST_READ_BLOCK)


@dataclass(frozen=True)
class Wait:
    """Not yet. `seconds` is when to look again; `reason` is for people."""

    seconds: float
    reason: str


def dispatch(connection: sqlite3.Connection, job: Job, limits: Limits, now: float) -> Wait | None:
    """Note that `job` leaves now, if the limits allow it; else say how long to wait. Runs in a write transaction.

    Raises:
        NotSentError: It is not waiting to be sent any more, so it must not leave.
    """
    row = connection.execute("SELECT state FROM jobs WHERE id = ?", (job.id,)).fetchone()
    if row is None or row[0] != "sending":
        raise _taken_away(job, row)
    wait = (
        _paused(connection, job.account, job.bucket, now)
        or _rate(connection, job.account, job.bucket, limits, now)
        or _running(connection, job.account, job.bucket, limits, now)
    )
    if wait is not None:
        return wait
    changed = connection.execute(
        "UPDATE jobs SET sent_at = ?, paced_at = ? WHERE id = ? AND state = 'sending'", (now, now, job.id)
    ).rowcount
    if not changed:
        raise _taken_away(job, row)
    return None


def _taken_away(job: Job, row: sqlite3.Row | None) -> NotSentError:
    state = "unheard of" if row is None else row[0]
    return NotSentError(
        f"Job {job.id} was about to be sent, but the ledger has it as {state}: another server of this machine took "
        "this one for ended. Nothing was sent."
    )


def take_back(connection: sqlite3.Connection, job_id: str) -> bool:
    """Note that the API turned the request away (429) and that it has not been sent again yet.

    False if the job is not being sent any more; then it must not be sent again.
    """
    return bool(
        connection.execute(
            "UPDATE jobs SET sent_at = NULL, paced_at = NULL WHERE id = ? AND state = 'sending'", (job_id,)
        ).rowcount
    )


def pause(connection: sqlite3.Connection, account: str, bucket: str, seconds: float, now: float) -> None:
    """Let nobody send to `bucket` for a while."""
    connection.execute(
        "INSERT INTO pauses VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET until = excluded.until "
        "WHERE until < excluded.until OR until > ?",
        (account, bucket, now + min(max(seconds, 0.0), _LONGEST_PAUSE), now + _LONGEST_PAUSE),
    )


def take_reads(
    connection: sqlite3.Connection, account: str, wanted: int, limits: Limits, now: float
) -> tuple[int, Wait | None]:
    """Up to `wanted` read permits, usable for `limits.read_block` seconds, or how long to wait for one."""
    per_minute = limits.per_minute.get("read")
    if per_minute is None:
        return wanted, None
    paused = _paused(connection, account, "read", now)
    if paused:
        return 0, paused
    lifetime = limits.read_block
    connection.execute(
        "DELETE FROM reads WHERE account = ? AND (valid_until < ? OR valid_until > ?)",
        (account, now - limits.window, now + lifetime),
    )
    taken, oldest = connection.execute(
        "SELECT COALESCE(SUM(permits), 0), MIN(valid_until) FROM reads WHERE account = ?", (account,)
    ).fetchone()
    granted = min(wanted, per_minute - taken)
    if granted <= 0:
        return 0, Wait(max(oldest + limits.window - now, 0.001), _words(per_minute, "read"))
    connection.execute("INSERT INTO reads VALUES (?, ?, ?)", (account, now + lifetime, granted))
    return granted, None


def _paused(connection: sqlite3.Connection, account: str, bucket: str, now: float) -> Wait | None:
    row = connection.execute("SELECT until FROM pauses WHERE account = ? AND bucket = ?", (account, bucket)).fetchone()
    if row is None or not now < row[0] <= now + _LONGEST_PAUSE:
        return None
    return Wait(row[0] - now, f"The API asked for fewer {bucket} requests.")


def _rate(connection: sqlite3.Connection, account: str, bucket: str, limits: Limits, now: float) -> Wait | None:
    """Requests on their way count as if they arrived now, however long they have been; those from a future that the
    clock has been set back from do not count."""
    allowed = limits.per_minute.get(bucket)
    if allowed is None:
        return None
    room = (
        allowed
        - connection.execute(
            f"SELECT COUNT(*) FROM {OPEN_JOBS} AND account = ? AND bucket = ? AND state = 'sending' "
            "AND ABS(? - sent_at) < ?",
            (account, bucket, now, _STALE_SECONDS),
        ).fetchone()[0]
    )
    if room <= 0:
        return Wait(1.0 / limits.speed, _words(allowed, bucket))
    rows = connection.execute(
        "SELECT MIN(paced_at, ?) FROM jobs INDEXED BY jobs_paced WHERE account = ? AND bucket = ? AND paced_at <= ? "
        "AND state <> 'sending' ORDER BY paced_at DESC LIMIT ?",
        (now, account, bucket, now + limits.window, room),
    ).fetchall()
    if len(rows) < room:
        return None
    wait = rows[-1][0] + limits.window - now
    return Wait(wait, _words(allowed, bucket)) if wait > 0 else None


def _running(connection: sqlite3.Connection, account: str, bucket: str, limits: Limits, now: float) -> Wait | None:
    """Jobs that nobody has seen the end of for half an hour are taken to have ended."""
    allowed = limits.at_once.get(bucket)
    if allowed is None:
        return None
    running = connection.execute(
        f"SELECT COUNT(*) FROM {OPEN_JOBS} AND account = ? AND bucket = ? "
        "AND state IN ('sending', 'accepted') "
        "AND sent_at IS NOT NULL AND ABS(? - sent_at) < ?",
        (account, bucket, now, _STALE_SECONDS),
    ).fetchone()[0]
    if running < allowed:
        return None
    return Wait(1.0 / limits.speed, f"{running} {bucket} jobs are running; the API allows {allowed} at once.")


def _words(per_minute: int, bucket: str) -> str:
    return f"The API allows {per_minute} {bucket} requests a minute, and they are used up."


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
