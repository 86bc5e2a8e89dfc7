"""Campaigns in a team's ledger: runs of recipes whose rows are carried out by workers on several machines.

What is said here is said of rows; who pays, and that nobody pays twice, is decided by the guard as for any other call.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.rows import insert, to_json

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from kubeez_mcp_local.jobs.rows import Transaction

OnUnknown = Literal["wait", "skip"]
ROW_VERSION = 1
"""What `Campaign.given` means. It changes only when another release would read it otherwise: workers leave rows of
other versions alone."""


class RowState(StrEnum):
    """Where a row stands.

    `parked`: a ceiling, the budget or the balance stands in its way. `unknown`: it was perhaps paid, and a person may
    have to say so. Both, and `failed`, can be tried again.
    """

    WAITING = "waiting"
    WORKING = "working"
    PARKED = "parked"
    UNKNOWN = "unknown"
    FAILED = "failed"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Campaign:
    """A run that was submitted.

    Attributes:
        run: Its name, such as `campaign-from-csv-1f0c2d3e4b`.
        in_ledger: What its jobs are written down under, see `Job.run`.
        state: `running`, `paused` or `cancelled`, as people want it.
        recipe: The recipe's whole text, as it was agreed to.
        given: The checked arguments.
        budget: Credits that it may cost.
        agreed: Credits that were said yes to; `None` where the price was not known.
        on_unknown: Whether it waits for rows of unknown fate before it counts as over.
        person: Who submitted it.
    """

    run: str
    in_ledger: str
    state: str
    recipe: str
    given: Mapping[str, Any]
    budget: float
    agreed: float | None
    on_unknown: OnUnknown
    person: str
    created_at: float = 0.0


@dataclass(frozen=True)
class CampaignRow:
    """One row of a campaign: what it is about, who has it or had it, what came of it, and where its files are."""

    run: str
    number: int
    state: RowState
    attempt: int
    label: str
    owner: str
    host: str
    reason: str
    credits: float
    files: tuple[str, ...]


@dataclass(frozen=True)
class Standing:
    """How a campaign stands: rows and credits by state, and what is in the way of rows, the most frequent first."""

    campaign: Campaign
    rows: Mapping[RowState, int]
    credits: float
    reasons: tuple[tuple[str, int], ...]

    @property
    def over(self) -> bool:
        """Whether no row will move by itself any more."""
        open_states = {RowState.WAITING, RowState.WORKING}
        if self.campaign.on_unknown == "wait":
            open_states.add(RowState.UNKNOWN)
        return not any(self.rows.get(state) for state in open_states)


_SAID = ("run", "in_ledger", "recipe", "budget", "agreed", "on_unknown", "person")


def submit(tx: Transaction, campaign: Campaign, labels: Sequence[str]) -> int:
    """Write a campaign down with one row for each of `labels`, in one statement; how many of them are new. Again is no
    harm: what is there stays as it is, but for a higher budget, which was agreed to since.

    Raises:
        KubeezError: The name is that of another campaign (`run_mismatch`), or of one that was `cancelled`.
    """
    query = "SELECT in_ledger, state FROM campaigns WHERE account = :account AND run = :run"
    known = tx.execute(query, run=campaign.run).fetchone()
    if known and known["in_ledger"] != campaign.in_ledger:
        raise KubeezError(
            f"The campaign {campaign.run} is in the ledger with another recipe, other rows or other arguments.",
            next_step="Begin another with --new, or give it another --run-id.",
            code="run_mismatch",
        )
    if known and known["state"] == "cancelled":
        raise _cancelled(campaign.run)
    named = {name: getattr(campaign, name) for name in _SAID}
    values = named | {"account": tx.account, "given": to_json(campaign.given), "created_at": tx.now, "state": "running"}
    values["version"] = ROW_VERSION
    higher = (
        "ON CONFLICT (account, run) DO UPDATE SET budget = excluded.budget, agreed = excluded.agreed "
        "WHERE campaigns.budget < excluded.budget"
    )
    insert(tx.connection, "campaigns", values, higher)
    return tx.execute(
        "INSERT INTO campaign_rows (account, run, number, state, label, changed_at) "
        "SELECT :account, :run, label.key, 'waiting', json_extract(label.value, '$.label'), :now "
        "FROM each_of(:labels) AS label ON CONFLICT DO NOTHING",
        run=campaign.run,
        labels=json.dumps([{"label": label} for label in labels]),
    ).rowcount


def _cancelled(run: str) -> KubeezError:
    told = f"The campaign {run} was cancelled."
    return KubeezError(told, next_step="Submit it again with --new to begin another.", code="cancelled")


_BEHIND = "\U0010ffff"
"""Comes behind whatever a name may go on with."""


def campaign_names(tx: Transaction, start: str) -> set[str]:
    """The campaigns' names that begin so."""
    query = "SELECT run FROM campaigns WHERE account = :account AND run >= :start AND run < :behind"
    return {run for (run,) in tx.execute(query, start=start, behind=start + _BEHIND)}


def campaign(tx: Transaction, run: str) -> Campaign:
    """The campaign called `run`, or the only one whose name begins so; `unknown_run` if there is none."""
    found = tx.execute(
        "SELECT * FROM campaigns WHERE account = :account AND (run = :run OR (run >= :run AND run < :behind)) "
        "ORDER BY run = :run DESC, created_at DESC LIMIT 4",
        run=run,
        behind=run + _BEHIND,
    ).fetchall()
    if not found or (len(found) > 1 and found[0]["run"] != run):
        told = (
            f"Several campaigns' names begin with {run!r}, such as {', '.join(each['run'] for each in found[:3])}."
            if found
            else f"No campaign is called {run!r} in this ledger."
        )
        raise KubeezError(
            told,
            next_step="List them with: kubeez-mcp-local recipes status",
            code="unknown_run",
        )
    return _campaign_in(found[0])


def standings(tx: Transaction, limit: int = 20) -> list[Standing]:
    """How the newest campaigns stand, newest first; without what is in the way of their rows."""
    newest = "FROM campaigns WHERE account = :account ORDER BY created_at DESC, run LIMIT :limit"
    known = [_campaign_in(row) for row in tx.execute(f"SELECT * {newest}", limit=limit)]
    rows: dict[str, dict[RowState, int]] = {each.run: {} for each in known}
    spent = dict.fromkeys(rows, 0.0)
    query = (
        "SELECT run, state, COUNT(*), SUM(credits) FROM campaign_rows WHERE account = :account "
        f"AND run IN (SELECT run {newest}) GROUP BY run, state"
    )
    for run, state, count, credits_ in tx.execute(query, limit=limit):
        rows[run][RowState(state)] = count
        spent[run] += float(credits_)
    return [Standing(each, rows[each.run], spent[each.run], ()) for each in known]


def standing(tx: Transaction, run: str) -> Standing:
    """How the campaign called `run` stands."""
    known = campaign(tx, run)
    states: dict[RowState, int] = {}
    spent, reasons = 0.0, {}
    query = (
        "SELECT state, reason, COUNT(*), SUM(credits) FROM campaign_rows WHERE account = :account AND run = :run "
        "GROUP BY state, reason ORDER BY COUNT(*) DESC"
    )
    for state, reason, count, credits_ in tx.execute(query, run=known.run):
        states[RowState(state)] = states.get(RowState(state), 0) + count
        spent += float(credits_)
        if reason and state in ("parked", "unknown", "failed"):
            reasons[f"{state}: {reason}"] = count
    return Standing(known, states, spent, tuple(reasons.items()))


def campaign_rows(
    tx: Transaction, run: str, states: Collection[RowState], limit: int = 1000, first: int = 0
) -> list[CampaignRow]:
    """The first rows of a campaign in these states, in order, from the one with the number `first` on."""
    listed = ", ".join(f"'{state}'" for state in states)
    query = (
        f"SELECT * FROM campaign_rows WHERE account = :account AND run = :run AND state IN ({listed}) "
        "AND number >= :first ORDER BY number LIMIT :limit"
    )
    return [_row_in(row) for row in tx.execute(query, run=run, limit=limit, first=first)]


def open_rows(tx: Transaction, limit: int) -> list[CampaignRow]:
    """Rows that wait for a worker, of campaigns that run, the oldest campaign first."""
    query = (
        "SELECT campaign_rows.* FROM campaign_rows JOIN campaigns USING (account, run) WHERE account = :account "
        "AND campaign_rows.state = 'waiting' AND campaigns.state = 'running' AND campaigns.version = :version "
        "ORDER BY created_at, run, number LIMIT :limit"
    )
    return [_row_in(row) for row in tx.execute(query, limit=limit, version=ROW_VERSION)]


@dataclass(frozen=True)
class Sweep:
    """What a worker finds when it looks after its team's rows.

    Attributes:
        waiting: The first rows that wait, as many as were asked for.
        in_hand: How many rows workers have in hand.
        own: The run, number and attempt of those that this process has, as the ledger knows.
        of_other_releases: How many campaigns wait for workers of another release.
    """

    waiting: tuple[CampaignRow, ...]
    in_hand: int
    own: frozenset[tuple[str, int, int]]
    of_other_releases: int


def sweep(tx: Transaction, limit: int) -> Sweep:
    """Give new life to rows of processes that have ended and to those whose fate is known by now; see what there is."""
    let_go_of_dead(tx)
    wake_settled(tx)
    _cancel_what_waits(tx)
    query = "SELECT run, number, attempt, owner FROM campaign_rows WHERE account = :account AND state = 'working'"
    working = tx.execute(query).fetchall()
    own = frozenset((run, number, attempt) for run, number, attempt, owner in working if owner == tx.owner)
    others = f"SELECT COUNT(*) FROM campaigns WHERE account = :account AND {_TO_DO} AND version <> :version"
    of_other_releases = int(tx.execute(others, version=ROW_VERSION).fetchone()[0])
    return Sweep(tuple(open_rows(tx, limit)), len(working), own, of_other_releases)


_TO_DO = (
    "state = 'running' AND EXISTS (SELECT 1 FROM campaign_rows AS open WHERE open.account = campaigns.account "
    "AND open.run = campaigns.run AND open.state IN ('waiting', 'working'))"
)
"""Of campaigns: there are rows for workers."""


def renew(tx: Transaction, rows: Collection[tuple[str, int, int]]) -> None:
    """Let rows be handed out in a new attempt that wait still in this one, or that this process has: nobody is at work
    on them any more."""
    tx.execute_for_each(
        "UPDATE campaign_rows SET state = 'waiting', attempt = attempt + 1, changed_at = :now "
        "WHERE account = :account AND run = :run AND number = :number AND attempt = :attempt "
        "AND (state = 'waiting' OR state = 'working' AND owner = :owner)",
        [{"run": run, "number": number, "attempt": attempt} for run, number, attempt in rows],
    )


def of_other_keys(tx: Transaction) -> int:
    """How many campaigns of other accounts have rows to carry out in this ledger."""
    query = f"SELECT COUNT(*) FROM campaigns WHERE account <> :account AND {_TO_DO}"
    return int(tx.execute(query).fetchone()[0])


def ended_owners(tx: Transaction, owners: Sequence[str]) -> list[str]:
    """Which of these processes have ended, as far as that is proven."""
    return [owner for owner in owners if tx.fate_of(owner) == "ended"]


def take_row(tx: Transaction, run: str, number: int, attempt: int, host: str) -> bool:
    """Begin with a row, in the attempt that it is at: only one that waits, of a campaign that runs; or one that this
    process has already, as when the answer to its taking it was lost."""
    return tx.change(
        "UPDATE campaign_rows SET state = 'working', owner = :owner, host = :host, changed_at = :now "
        "WHERE account = :account AND run = :run AND number = :number AND attempt = :attempt "
        "AND (state = 'working' AND owner = :owner OR state = 'waiting' "
        "AND EXISTS (SELECT 1 FROM campaigns WHERE account = :account AND run = :run AND state = 'running' "
        "AND version = :version))",
        run=run,
        number=number,
        attempt=attempt,
        host=host,
        version=ROW_VERSION,
    )


def end_row(
    tx: Transaction, row: tuple[str, int, int], state: RowState, reason: str, credits_: float, files: Sequence[str]
) -> bool:
    """Write down what came of a row that this process is working on: its run, number and attempt. One that others have
    taken over meanwhile keeps what they say of it."""
    run, number, attempt = row
    return tx.change(
        "UPDATE campaign_rows SET state = :state, reason = :reason, credits = :credits, files = :files, "
        "changed_at = :now WHERE account = :account AND run = :run AND number = :number AND attempt = :attempt "
        "AND state = 'working' AND owner = :owner",
        run=run,
        number=number,
        attempt=attempt,
        state=state,
        reason=reason,
        credits=credits_,
        files=json.dumps(list(files)),
    )


def let_go_of_dead(tx: Transaction) -> list[str]:
    """Give the rows of processes that have ended back to whoever comes, in a new attempt; returns those processes."""
    query = (
        "SELECT DISTINCT owner FROM campaign_rows WHERE account = :account AND state = 'working' AND owner <> :owner"
    )
    dead = [owner for (owner,) in tx.execute(query).fetchall() if tx.fate_of(owner) == "ended"]
    for owner in dead:
        tx.execute(
            "UPDATE campaign_rows SET state = 'waiting', attempt = attempt + 1, changed_at = :now "
            "WHERE account = :account AND state = 'working' AND owner = :former",
            former=owner,
        )
    return dead


_LOOK_AGAIN_SECONDS = 60.0


def wake_settled(tx: Transaction) -> None:
    """Let rows of unknown fate go on, in a new attempt, once no job is unknown any more. While some are, and fewer of
    their campaign than rows, look again now and then: a row may wait for a job of another row, or of no campaign."""
    query = (
        "SELECT campaigns.run, COUNT(*), (SELECT COUNT(*) FROM jobs WHERE jobs.account IN (:account, :beside) "
        "AND jobs.run = campaigns.in_ledger AND jobs.state = 'unknown') FROM campaigns "
        "JOIN campaign_rows USING (account, run) WHERE account = :account AND campaign_rows.state = 'unknown' "
        "GROUP BY account, campaigns.run, campaigns.in_ledger"
    )
    found = tx.execute(query).fetchall()
    unknown = "SELECT 1 FROM jobs WHERE account IN (:account, :beside) AND state = 'unknown' LIMIT 1"
    patience = _LOOK_AGAIN_SECONDS if found and tx.execute(unknown).fetchone() else 0.0
    for run, rows, jobs in found:
        if jobs < rows:
            tx.execute(
                "UPDATE campaign_rows SET state = 'waiting', attempt = attempt + 1, reason = '', changed_at = :now "
                "WHERE account = :account AND run = :run AND state = 'unknown' AND changed_at <= :now - :patience",
                run=run,
                patience=patience,
            )


def let_go(tx: Transaction) -> int:
    """Give back what this process was working on, at its end; how many rows."""
    rows = tx.execute(
        "UPDATE campaign_rows SET state = 'waiting', attempt = attempt + 1, changed_at = :now "
        "WHERE account = :account AND state = 'working' AND owner = :owner"
    ).rowcount
    _cancel_what_waits(tx)
    return rows


def _cancel_what_waits(tx: Transaction) -> None:
    """Rows that were in hand when their campaign was cancelled, and came back."""
    tx.execute(
        "UPDATE campaign_rows SET state = 'cancelled', changed_at = :now "
        "WHERE account = :account AND state = 'waiting' "
        "AND run IN (SELECT run FROM campaigns WHERE account = :account AND state = 'cancelled')"
    )


def retry(tx: Transaction, run: str) -> int:
    """Let failed and parked rows, and those of unknown fate, be tried again; how many. The guard still sends nothing of
    which the fate is open. Raises `cancelled` where the campaign is."""
    if campaign(tx, run).state == "cancelled":
        raise _cancelled(run)
    return tx.execute(
        "UPDATE campaign_rows SET state = 'waiting', attempt = attempt + 1, reason = '', changed_at = :now "
        "WHERE account = :account AND run = :run AND state IN ('failed', 'parked', 'unknown')",
        run=run,
    ).rowcount


def direct(tx: Transaction, run: str, state: Literal["running", "paused", "cancelled"]) -> int:
    """Let a campaign run, pause or end; rows in hand are finished. Returns how many waiting rows were cancelled. One
    that was cancelled stays so. Waiting rows of one that goes on are handed out in a new attempt."""
    query = "UPDATE campaigns SET state = :state WHERE account = :account AND run = :run AND state <> 'cancelled'"
    if not tx.change(query, run=run, state=state):
        raise _cancelled(run)
    if state == "running":
        # What the engine has handed out meanwhile came to nothing, and is not handed out again.
        tx.execute(
            "UPDATE campaign_rows SET attempt = attempt + 1 "
            "WHERE account = :account AND run = :run AND state = 'waiting'",
            run=run,
        )
    if state != "cancelled":
        return 0
    return tx.execute(
        "UPDATE campaign_rows SET state = 'cancelled', changed_at = :now "
        "WHERE account = :account AND run = :run AND state = 'waiting'",
        run=run,
    ).rowcount


def _campaign_in(row: Any) -> Campaign:
    known = {name: row[name] for name in (*_SAID, "state", "created_at")}
    return Campaign(given=json.loads(row["given"]), **known)


def _row_in(row: Any) -> CampaignRow:
    names = ("run", "number", "attempt", "label", "owner", "host", "reason", "credits")
    files = tuple(json.loads(row["files"]))
    return CampaignRow(state=RowState(row["state"]), files=files, **{name: row[name] for name in names})
