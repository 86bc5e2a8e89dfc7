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
import json
import uuid
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.budget import Ceilings, DayAsked, ask_day, day_refusal, remember_day, reservations, room_in
from kubeez_mcp_local.jobs.errors import not_sent
from kubeez_mcp_local.jobs.job import Job, State, group_digest, to_credits, to_micro
from kubeez_mcp_local.jobs.naming import Named, places
from kubeez_mcp_local.jobs.rows import OPEN_JOBS, insert, note_sent, restart_watch, to_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kubeez_mcp_local.jobs.job import Job, Order
    from kubeez_mcp_local.jobs.rows import Found, Transaction


VALID_SECONDS = 600.0
_CLOCK_TOLERANCE = 60.0
_ENTROPY_BYTES = 15
_QUOTE_SECONDS = 600.0


@dataclass(frozen=True)
class Approval:
    """A code as it came back from a client that cannot ask, and what it is held against.

    It stands for one yes to one quoted call: bound to the account, to exactly these arguments and to the quote, valid
    for ten minutes, good once. Only its hash is kept.
    """

    code: str
    account: str
    digest: str
    quote: float | None


def issue_approval(tx: Transaction, digest: str, quote: float | None) -> str:
    """A new code such as `ok-ABCD-EFGH-…` (120 random bits). Codes that nobody can use any more are cleared away."""
    tx.execute(  # those from before the clock was set back would count when their time comes again
        "DELETE FROM approvals WHERE issued_at NOT BETWEEN :now - :a_day AND :now + :tolerance",
        a_day=24 * 3600,
        tolerance=_CLOCK_TOLERANCE,
    )
    letters = base64.b32encode(tx.random_bytes(_ENTROPY_BYTES)).decode()
    code = "ok-" + "-".join(letters[start : start + 4] for start in range(0, len(letters), 4))
    kept = {"code_hash": _hash(code), "digest": digest, "quote": _micro(quote)}
    insert(tx.connection, "approvals", kept | {"account": tx.account, "issued_at": tx.now})
    return code


def redeem(tx: Transaction, approval: Approval) -> None:
    """Use up a code that stands for a whole run, or raise why it does not count."""
    refusal = _redeemed(tx, approval, of_run=True)
    if refusal is not None:
        raise refusal


def _redeemed(tx: Transaction, approval: Approval, *, of_run: bool = False) -> KubeezError | None:
    """Use up a code; the reason why it does not count, or `None` if it does.

    One for a whole run counts `of_run` as often as it comes: each call of a run is paid once anyway.
    """
    row = tx.execute("SELECT * FROM approvals WHERE code_hash = :hash", hash=_hash(approval.code)).fetchone()
    if row is None or row["account"] != approval.account:
        return _refused("is not one that this server gave out")
    if row["used_at"] is not None and not (of_run and row["digest"] == approval.digest):
        return _refused("was used before; a code is good for one call")
    if row["digest"] != approval.digest:
        return _refused("was given for other arguments")
    if not -_CLOCK_TOLERANCE <= tx.now - row["issued_at"] <= VALID_SECONDS:
        return _refused(f"has expired; a code is valid for {VALID_SECONDS / 60:.0f} minutes")
    if row["quote"] != _micro(approval.quote):
        return _refused("was given for another price")
    if row["used_at"] is not None:
        return None
    query = "UPDATE approvals SET used_at = :now WHERE code_hash = :hash AND used_at IS NULL"
    used = tx.change(query, hash=row["code_hash"])
    return None if used else _refused("was used before; a code is good for one call")


def _refused(why: str) -> KubeezError:
    return KubeezError(
        f"This approval code {why}. Nothing was sent.",
        next_step="Call again without `approval` to get the quote and a new code, and ask the user.",
        code="approval_invalid",
    )


def _hash(code: str) -> str:
    return hashlib.sha256(code.strip().upper().encode()).hexdigest()


def _micro(quote: float | None) -> int | None:
    return None if quote is None else to_micro(quote)


@dataclass(frozen=True)
class KeptQuote:
    """What one call was quoted at when it was first asked about, in credits; `balance` is the account's then.

    It is kept for ten minutes: a client of the 2026-07-28 protocol repeats the whole call with the user's answer, and
    the question made for the repeat must equal the one that was answered. A price that has risen since is asked about
    anew, and a payment uses the quote up, so that one yes is one payment.
    """

    credits: float | None
    basis: str
    balance: float | None
    quoted_at: float = 0.0


def kept_quote(tx: Transaction, digest: str, current: float | None) -> KeptQuote | None:
    """The quote kept for `digest`, unless it is too old or below the `current` price."""
    query = "SELECT * FROM frozen_quotes WHERE account = :account AND digest = :digest"
    row = tx.execute(query, digest=digest).fetchone()
    if row is None or abs(tx.now - row["frozen_at"]) > _QUOTE_SECONDS:
        return None
    if (row["quote"] is None) != (current is None) or (current is not None and to_micro(current) > row["quote"]):
        return None
    amount = None if row["quote"] is None else to_credits(row["quote"])
    return KeptQuote(amount, row["basis"], row["balance"], row["frozen_at"])


def use_up_quote(tx: Transaction, digest: str) -> None:
    """The call is paid for: the next question about it is another one."""
    tx.execute("DELETE FROM frozen_quotes WHERE account = :account AND digest = :digest", digest=digest)


def keep_quote(tx: Transaction, digest: str, quote: KeptQuote) -> KeptQuote:
    """Keep `quote` for the next ten minutes, and clear away the ones that are over; one of meanwhile wins."""
    kept = kept_quote(tx, digest, quote.credits)
    if kept is not None:
        return kept
    tx.execute("DELETE FROM frozen_quotes WHERE ABS(frozen_at - :now) > :valid", valid=_QUOTE_SECONDS)
    tx.execute(
        "INSERT INTO frozen_quotes VALUES (:account, :digest, :quote, :basis, :balance, :now) "
        "ON CONFLICT (account, digest) DO UPDATE SET quote = excluded.quote, "
        "basis = excluded.basis, balance = excluded.balance, frozen_at = excluded.frozen_at",
        digest=digest,
        quote=_micro(quote.credits),
        basis=quote.basis,
        balance=quote.balance,
    )
    return replace(quote, quoted_at=tx.now)


_READ_BLOCK_SECONDS = 5.0
_SHORTEST_READ_BLOCK = 0.25  # else a fast sandbox's permits would expire before they come back from the ledger
_STALE_SECONDS = 1800.0
_LONGEST_PAUSE = 3600.0
_PER_MINUTE = MappingProxyType({"media": 30, "music": 10, "dialogue": 10, "ads": 5, "read": 120})
_AT_ONCE = MappingProxyType({"media": 10, "music": 5, "dialogue": 5})


@dataclass(frozen=True)
class Limits:
    """How fast and how many (rest-api.md §1.5), kept before sending, for all processes of this machine together.

    The transaction that notes "this request leaves now" checks them against the ledger's own rows. A request counts
    from when its answer came, not from when it left: the API counted it in between, so the next never arrives early.

    Attributes:
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


def dispatch(tx: Transaction, job: Job, limits: Limits) -> Wait | None:
    """Note that `job` leaves now, if the limits allow it; else say how long to wait. One that is not waiting to be sent
    any more must not leave: `not_sent`."""
    row = tx.execute("SELECT state FROM jobs WHERE id = :job", job=job.id).fetchone()
    if row is None or row[0] != "sending":
        raise _taken_away(job, row)
    wait = _paused(tx, job.bucket) or _rate(tx, job.bucket, limits) or _running(tx, job.bucket, limits)
    if wait is not None:
        return wait
    query = "UPDATE jobs SET sent_at = :now, paced_at = :now WHERE id = :job AND state = 'sending'"
    if not tx.change(query, job=job.id):
        raise _taken_away(job, row)
    note_sent(tx, job.id)
    return None


def _taken_away(job: Job, row: Any) -> KubeezError:
    state = "unheard of" if row is None else row[0]
    return not_sent(
        f"Job {job.id} was about to be sent, but the ledger has it as {state}: another server took this one for ended. "
        "Nothing was sent.",
        by_chance=True,
    )


def take_back(tx: Transaction, job_id: str) -> bool:
    """Note that the API turned the request away (429) and that it has not been sent again yet.

    False if the job is not being sent any more; then it must not be sent again.
    """
    query = "UPDATE jobs SET sent_at = NULL, paced_at = NULL WHERE id = :job AND state = 'sending'"
    return tx.change(query, job=job_id)


def pause(tx: Transaction, bucket: str, seconds: float) -> None:
    """Let nobody send to `bucket` for a while."""
    tx.execute(
        "INSERT INTO pauses VALUES (:account, :bucket, :until) "
        "ON CONFLICT (account, bucket) DO UPDATE SET until = excluded.until "
        "WHERE pauses.until < excluded.until OR pauses.until > :latest",
        bucket=bucket,
        until=tx.now + min(max(seconds, 0.0), _LONGEST_PAUSE),
        latest=tx.now + _LONGEST_PAUSE,
    )


def take_reads(tx: Transaction, wanted: int, limits: Limits) -> tuple[int, Wait | None]:
    """Up to `wanted` read permits, usable for `limits.read_block` seconds, or how long to wait for one."""
    per_minute = limits.per_minute.get("read")
    if per_minute is None:
        return wanted, None
    paused = _paused(tx, "read")
    if paused:
        return 0, paused
    lifetime = limits.read_block
    tx.execute(
        "DELETE FROM reads WHERE account = :account "
        "AND (valid_until < :now - :window OR valid_until > :now + :lifetime)",
        window=limits.window,
        lifetime=lifetime,
    )
    taken, oldest = tx.execute(
        "SELECT COALESCE(SUM(permits), 0), MIN(valid_until) FROM reads WHERE account = :account"
    ).fetchone()
    granted = min(wanted, per_minute - taken)
    if granted <= 0:
        return 0, Wait(max(oldest + limits.window - tx.now, 0.001), _words(per_minute, "read"))
    query = "INSERT INTO reads VALUES (:account, :now + :lifetime, :granted)"
    tx.execute(query, lifetime=lifetime, granted=granted)
    return granted, None


def _paused(tx: Transaction, bucket: str) -> Wait | None:
    query = "SELECT until FROM pauses WHERE account = :account AND bucket = :bucket"
    row = tx.execute(query, bucket=bucket).fetchone()
    if row is None or not tx.now < row[0] <= tx.now + _LONGEST_PAUSE:
        return None
    return Wait(row[0] - tx.now, f"The API asked for fewer {bucket} requests.")


def _rate(tx: Transaction, bucket: str, limits: Limits) -> Wait | None:
    """Requests on their way count as if they arrived now, however long they have been; those from a future that the
    clock has been set back from do not count."""
    allowed = limits.per_minute.get(bucket)
    if allowed is None:
        return None
    room = allowed - _under_way(tx, bucket, "'sending'")
    if room <= 0:
        return Wait(1.0 / limits.speed, _words(allowed, bucket))
    rows = tx.execute(
        "SELECT paced_at FROM jobs INDEXED BY jobs_paced WHERE account = :account AND bucket = :bucket "
        "AND paced_at <= :now + :window AND state <> 'sending' ORDER BY paced_at DESC LIMIT :room",
        bucket=bucket,
        window=limits.window,
        room=room,
    ).fetchall()
    if len(rows) < room:
        return None
    wait = min(rows[-1][0], tx.now) + limits.window - tx.now
    return Wait(wait, _words(allowed, bucket)) if wait > 0 else None


def _running(tx: Transaction, bucket: str, limits: Limits) -> Wait | None:
    """Jobs that nobody has seen the end of for half an hour are taken to have ended."""
    allowed = limits.at_once.get(bucket)
    if allowed is None:
        return None
    running = _under_way(tx, bucket, "'sending', 'accepted'")
    if running < allowed:
        return None
    return Wait(1.0 / limits.speed, f"{running} {bucket} jobs are running; the API allows {allowed} at once.")


def _under_way(tx: Transaction, bucket: str, states: str) -> int:
    """How many have been sent, and lately."""
    query = f"SELECT COUNT(*) FROM {OPEN_JOBS} AND account = :account AND bucket = :bucket AND state IN ({states})"
    found = tx.execute(f"{query} AND ABS(:now - sent_at) < :stale", bucket=bucket, stale=_STALE_SECONDS)
    return int(found.fetchone()[0])


def _words(per_minute: int, bucket: str) -> str:
    return f"The API allows {per_minute} {bucket} requests a minute, and they are used up."


REPEAT_SECONDS = 600.0
"""How long after a job is done the same call counts as a repeat and not as a new wish; no clock that somebody sets
decides it, so after a restart of the machine it is counted from the first such call."""

_ENDED = "The process ended before the answer came."
_VANISHED = "The lock file of the process that was sending it is gone, and whether it still runs cannot be told."
_LEFT_BEHIND = (
    f"SELECT id FROM {OPEN_JOBS} AND account IN (:account, :beside) AND state = 'sending' AND owner = :former"
)


@dataclass(frozen=True)
class Claim:
    """What the guard says to one order.

    Attributes:
        job: The new job, or the one that this order repeats; `None` for an order that was only looked at.
        blocked_by: A job alike that is `unknown`; nothing was claimed.
    """

    job: Job | None
    repeated: bool = False
    blocked_by: Job | None = None


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
    tx: Transaction,
    orders: Sequence[Order],
    ceilings: Ceilings,
    *,
    claim: bool,
    approval: Approval | None = None,
) -> Decision:
    """Check `orders`, which belong to one call and differ in their digests; with `claim`, claim them all or none.

    Must run inside a write transaction. Refusals are returned and not raised, so that what was learned on the way
    (owners found dead) is kept.
    """
    senders, (alike, asked) = _ask_senders(tx), _ask(tx, orders)
    if _recovered(tx, senders):  # what was asked may have another answer now
        alike, asked = _ask(tx, orders)
    found = [_existing(tx, order, *known) for order, known in zip(orders, alike, strict=True)]
    looked_at = Decision(tuple(found))
    fresh = [order for order, known in zip(orders, found, strict=True) if known.job is None]
    if looked_at.blocked_by or not fresh:
        return looked_at
    try:
        run = fresh[0].run
        room = None if run is None else room_in(tx, run, ceilings)
        amounts = reservations(fresh, ceilings, room)
    except KubeezError as error:
        return Decision(refusal=error)
    certain = all(order.quote.credits is not None for order in fresh)
    refusal: KubeezError | None
    day, refusal = day_refusal(tx, asked, sum(amounts), ceilings, certain=certain)
    if refusal is None and claim and approval is not None:
        refusal = _redeemed(tx, approval)
    if refusal is not None:
        return Decision(refusal=refusal)
    if not claim:
        return looked_at
    remember_day(tx, day)
    use_up_quote(tx, group_digest([order.digest for order in orders]))
    new = [_insert(tx, order, amount, day) for order, amount in zip(fresh, amounts, strict=True)]
    claimed = iter([Claim(job) for one in new for job in tx.jobs_in(one)])
    return Decision(tuple(known if known.job else next(claimed) for known in found))


def _ask(tx: Transaction, orders: Sequence[Order]) -> tuple[list[tuple[list[Found], Found]], DayAsked]:
    """What a decision needs to know: about each order, and about the day."""
    return [_ask_alike(tx, order) for order in orders], ask_day(tx)


def recover(tx: Transaction) -> None:
    """Settle what ended processes left in `sending`: never sent means refused, sent means unknown.

    Of an owner that cannot be proven to have ended nobody can say that its requests will not leave, or have not left.
    Between noting that a request leaves and its leaving a process may have been stopped for any time, so the time that
    a request takes to arrive is counted from here on.
    """
    _recovered(tx, _ask_senders(tx))


def _ask_senders(tx: Transaction) -> Found:
    """Which other processes are sending."""
    return tx.ask(
        f"SELECT DISTINCT owner FROM {OPEN_JOBS} AND account IN (:account, :beside) AND state = 'sending' "
        "AND owner <> :owner"
    )


def _recovered(tx: Transaction, senders: Found) -> bool:
    """Whether there was anything to settle."""
    fates = {owner: tx.fate_of(owner) for (owner,) in senders.fetchall()}
    for owner, fate in fates.items():
        if fate == "alive":
            continue
        if fate == "ended":
            tx.execute(
                "UPDATE jobs SET state = 'refused', reserved = 0, charged = 0, settled_at = :now, "
                "error_code = 'interrupted', error = 'The process ended before the request was sent.' "
                f"WHERE id IN ({_LEFT_BEHIND} AND sent_at IS NULL)",
                former=owner,
            )
        for (job_id,) in tx.execute(_LEFT_BEHIND, former=owner).fetchall():
            restart_watch(tx, job_id)
        tx.execute(
            "UPDATE jobs SET state = 'unknown', paced_at = :now, error_code = 'interrupted', error = :error "
            f"WHERE id IN ({_LEFT_BEHIND})",
            error=_ENDED if fate == "ended" else _VANISHED,
            former=owner,
        )
    return any(fate != "alive" for fate in fates.values())


def _ask_alike(tx: Transaction, order: Order) -> tuple[list[Found], Found]:
    """Which job is the same, whichever door has taken it; and which are alike and of unknown fate."""
    done = (
        "SELECT * FROM jobs WHERE account = :of AND digest = :digest "
        "AND state IN ('sending', 'accepted', 'completed') ORDER BY seq DESC LIMIT 1"
    )
    unknown = (
        f"SELECT * FROM {OPEN_JOBS} AND account IN (:account, :beside) AND state = 'unknown' "
        "AND (digest IN (:digest, :twin) OR "
        "(prompt <> '' AND prompt = :prompt AND model = :model) OR (prompt = '' AND :prompt = '' AND route = :route)) "
        "ORDER BY seq"
    )
    doors = [(tx.account, order.digest), *([(tx.beside, order.beside)] if tx.beside and order.beside else [])]
    named = {name: getattr(order, name) for name in ("digest", "prompt", "model", "route")}
    same = [tx.ask_jobs(done, of=account, digest=digest) for account, digest in doors]
    return same, tx.ask_jobs(unknown, twin=order.beside, **named)


def _existing(tx: Transaction, order: Order, same: Sequence[Found], unknown: Found) -> Claim:
    for job in [job for found in same for job in tx.jobs_in(found)]:
        if order.run or job.state is not State.COMPLETED or _watched_for(tx, job.id) < REPEAT_SECONDS:
            return Claim(job, repeated=True)
    alike = tx.jobs_in(unknown)
    return Claim(None, blocked_by=next((job for job in alike if job.prompt or _same_inputs(job, order)), None))


def _watched_for(tx: Transaction, job_id: str) -> float:
    """Seconds since the watch over this job began in this boot; it begins now where it has not yet."""
    tx.execute(
        "INSERT INTO watches (job, boot, since) VALUES (:job, :boot, :at) "
        "ON CONFLICT (job, boot) DO UPDATE SET since = excluded.since WHERE watches.since > excluded.since",
        job=job_id,
    )
    found = tx.execute("SELECT since FROM watches WHERE job = :job AND boot = :boot", job=job_id)
    return tx.moment.at - float(found.fetchone()[0])


def _same_inputs(job: Job, order: Order) -> bool:
    """Whether work without a prompt is about the same files, which is what it has instead."""
    named = [
        {name: value for name, value in given.items() if value and name.endswith(("_url", "_urls"))}
        for given in (job.arguments, order.arguments)
    ]
    return job.digest in (order.digest, order.beside) or named[0] == named[1]


_PLACED = (
    "account IN (:account, :beside) AND place <> '' AND state NOT IN ('failed', 'refunded', 'refused', 'not_accepted')"
)
_LAST = "\U0010ffff"
"""Comes behind whatever a name may go on with."""


def _free_place(tx: Transaction, order: Order, day: str) -> str:
    """Where its outputs go: the name that was decided on, or with more in it where that is another job's already."""
    if not order.labels.name:
        return ""
    folder = order.labels.folder or day
    job = Named("", order.model, order.prompt, order.arguments)
    wanted = next(places(order.labels, folder, job, ()))
    if not tx.execute(f"SELECT 1 FROM jobs WHERE {_PLACED} AND place = :place", place=wanted).fetchone():
        return wanted
    start = f"{folder}/{order.labels.name}"
    rows = tx.execute(
        f"SELECT place, model, prompt, arguments FROM jobs WHERE {_PLACED} AND place >= :start AND place < :behind",
        start=start,
        behind=start + _LAST,
    ).fetchall()
    others = [Named(row["place"], row["model"], row["prompt"], json.loads(row["arguments"])) for row in rows]
    taken = {other.place for other in others}
    return next(place for place in places(order.labels, folder, job, others) if place not in taken)


_AS_ORDERED = ("digest", "tool", "route", "bucket", "kind", "model", "prompt", "generation_type", "client")


def _insert(tx: Transaction, order: Order, reserved: int, day: str) -> Found:
    job_id = uuid.uuid4().hex
    values = {
        "id": job_id,
        "account": tx.account,
        "state": State.SENDING,
        "arguments": to_json(order.arguments),
        "recipe": order.recipe or "",
        "run": order.run.run if order.run else "",
        "owner": tx.owner,
        "person": tx.person,
        "day": day,
        "quote": _micro(order.quote.credits),
        "quote_basis": order.quote.basis,
        "expected_seconds": order.quote.seconds,
        "reserved": reserved,
        "created_at": tx.now,
        "place": _free_place(tx, order, day),
        "labels": to_json(order.labels.told()),
    }
    insert(tx.connection, "jobs", {name: getattr(order, name) for name in _AS_ORDERED} | values)
    return tx.ask_jobs("SELECT * FROM jobs WHERE id = :job", job=job_id)
