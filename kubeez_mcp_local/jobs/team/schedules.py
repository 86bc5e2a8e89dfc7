"""Schedules in a team's ledger: campaigns that begin anew at certain times, agreed to once.

Each time is a night, whatever the hour. It is begun, refused or missed, once, and stays written down as that.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.rows import insert, to_json
from kubeez_mcp_local.jobs.team import campaigns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kubeez_mcp_local.jobs.rows import Transaction
    from kubeez_mcp_local.jobs.team.campaigns import Campaign, OnUnknown


@dataclass(frozen=True)
class Schedule:
    """A campaign that begins at the times of `cron` in `zone`.

    Attributes:
        name: Such as `campaign-from-csv-1f0c2d3e4b`; its nights' campaigns are called so, with date and time.
        recipe: The recipe's whole text, as it was agreed to.
        given: The checked arguments.
        labels: What each row is about.
        files: The files that recipe and arguments were read from, each with a digest of what it held.
        budget: Credits that each night may cost.
        agreed: What a night costs, in credits; `None` where that is not known in advance.
        agreed_to: A digest of all that the yes was given to.
        looked_at: The moment until which nights have been looked after, in seconds since 1970.
    """

    name: str
    cron: str
    zone: str
    recipe: str
    given: Mapping[str, Any]
    labels: Sequence[str]
    files: Mapping[str, str]
    budget: float
    agreed: float | None
    on_unknown: OnUnknown
    person: str
    agreed_to: str
    looked_at: float = 0.0


@dataclass(frozen=True)
class Night:
    """One time of a schedule, in seconds since 1970: begun as the campaign `run`, or why not."""

    schedule: str
    due: float
    run: str
    state: Literal["begun", "refused", "missed"]
    reason: str = ""


_PLAIN = ("name", "cron", "zone", "recipe", "budget", "agreed", "on_unknown", "person", "agreed_to")
_JSON = ("given", "labels", "files")


def add_schedule(tx: Transaction, schedule: Schedule) -> bool:
    """Write down a schedule that was agreed to; whether that changes anything. Its nights count from now on."""
    query = "SELECT agreed_to FROM schedules WHERE account = :account AND name = :name AND removed_at IS NULL"
    known = tx.execute(query, name=schedule.name).fetchone()
    if known and known["agreed_to"] == schedule.agreed_to:
        return False
    values = {name: getattr(schedule, name) for name in _PLAIN}
    values |= {name: to_json(getattr(schedule, name)) for name in _JSON}
    changed = ", ".join(f"{name} = excluded.{name}" for name in (*_PLAIN, *_JSON, "looked_at"))
    insert(
        tx.connection,
        "schedules",
        values | {"account": tx.account, "created_at": tx.now, "looked_at": tx.now},
        f"ON CONFLICT (account, name) DO UPDATE SET {changed}, removed_at = NULL",
    )
    return True


def schedules(tx: Transaction) -> tuple[float, list[Schedule]]:
    """What time it is by the ledger, and the schedules that are kept, by name."""
    query = "SELECT * FROM schedules WHERE account = :account AND removed_at IS NULL ORDER BY name"
    return tx.now, [_schedule_in(row) for row in tx.execute(query)]


def remove_schedule(tx: Transaction, name: str) -> str:
    """Begin no further night of the schedule called `name`, or of the only one whose name begins so; its name.

    Raises:
        KubeezError: There is none, or there are several (`unknown_schedule`).
    """
    known = [schedule.name for schedule in schedules(tx)[1]]
    found = [each for each in known if each == name] or [each for each in known if each.startswith(name)]
    if len(found) != 1:
        told = f"Several schedules' names begin with {name!r}." if found else f"No schedule is called {name!r}."
        step = "List them with: kubeez-mcp-local recipes schedule list"
        raise KubeezError(told, next_step=step, code="unknown_schedule")
    tx.execute("UPDATE schedules SET removed_at = :now WHERE account = :account AND name = :name", name=found[0])
    return found[0]


def nights(tx: Transaction, limit: int = 100) -> list[Night]:
    """The newest nights of the schedules that are kept, newest first."""
    query = (
        "SELECT nights.* FROM nights JOIN schedules ON schedules.account = nights.account "
        "AND schedules.name = nights.schedule WHERE nights.account = :account AND removed_at IS NULL "
        "ORDER BY due DESC, schedule LIMIT :limit"
    )
    return [
        Night(row["schedule"], row["due"], row["run"], row["state"], row["reason"])
        for row in tx.execute(query, limit=limit)
    ]


def note_night(tx: Transaction, schedule: Schedule, night: Night, campaign: Campaign) -> bool:
    """Write down what becomes of a night, and with it its campaign where it is begun; whether that was still open. Who
    comes first has done it: the next one finds it written down."""
    query = (
        "UPDATE schedules SET looked_at = :due WHERE account = :account AND name = :name AND agreed_to = :agreed_to "
        "AND removed_at IS NULL AND looked_at < :due"
    )
    if not tx.change(query, name=schedule.name, agreed_to=schedule.agreed_to, due=night.due):
        return False
    known = "SELECT 1 FROM nights WHERE account = :account AND schedule = :name AND due = :due"
    if tx.execute(known, name=schedule.name, due=night.due).fetchone():
        return False
    insert(tx.connection, "nights", {"account": tx.account, "noted_at": tx.now, **vars(night)})
    if night.state == "begun":
        campaigns.submit(tx, campaign, schedule.labels)
    return True


def _schedule_in(row: Any) -> Schedule:
    plain = {name: row[name] for name in (*_PLAIN, "looked_at")}
    return Schedule(**plain, **{name: json.loads(row[name]) for name in _JSON})
