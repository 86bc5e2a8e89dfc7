"""Ceilings, and which day's budget a job belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.errors import (
    CeilingError,
    nothing_allowed,
    over_call_ceiling,
    over_run_ceiling,
)
from kubeez_mcp_local.jobs.job import HOSTED, State, is_amount, to_credits, to_micro
from kubeez_mcp_local.jobs.rows import OPEN_JOBS
from kubeez_mcp_local.rest.wire import MOST
from kubeez_mcp_local.text import spoken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubeez_mcp_local.jobs.job import Job, Order, RunCall
    from kubeez_mcp_local.jobs.rows import Found, Transaction


DAY = "KUBEEZ_MAX_CREDITS_PER_DAY"
DOOR = f"CASE WHEN account LIKE '%{HOSTED}%' THEN 'hosted' ELSE 'rest' END"
"""Which door an account is, as `job.door_of` has it."""
_SOON_SECONDS = 5.0
_NAMED = 5
_HELD = "account IN (:account, :beside) AND day = :day AND reserved > 0 AND :person IN ('', person)"
_HOLDING: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("requests on their way", ("sending",)),
    ("running jobs", ("accepted",)),
    ("jobs of unknown fate", ("unknown",)),
    ("ended jobs whose price the API did not tell", ("completed", "failed", "refunded")),
)


@dataclass(frozen=True)
class Ceilings:
    """What may be spent, in credits; from settings only. Without `per_run` a run of a recipe may cost what a call may.

    Raises:
        ValueError: A ceiling is negative, not a number, or beyond all prices.
    """

    per_call: float
    per_day: float
    per_run: float | None = None

    def __post_init__(self) -> None:
        for name in ("per_call", "per_day", "per_run"):
            value = getattr(self, name)
            if value is not None and not is_amount(value):
                raise ValueError(f"{name} is {value!r}; a ceiling is a number of credits, 0 to {MOST:.0f}")


@dataclass(frozen=True)
class Today:
    """The budget day, and what of it is used up (credits)."""

    day: str
    clock_day: str
    spent: float
    reserved: float


@dataclass(frozen=True)
class Hold:
    """Credits that one job holds back of its day's budget; `priced` if its price is known, so that it holds no more."""

    job_id: str
    state: State
    credits: float
    priced: bool

    @property
    def soon(self) -> bool:
        """Whether it is about to shrink: its answer is due, or its end, which tells a price that nobody knew."""
        return self.state is State.SENDING or (self.state is State.ACCEPTED and not self.priced)


def utc_day(moment: float) -> str:
    """The UTC date of `moment`, as the ledger writes it."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d")


def remember_day(tx: Transaction, day: str) -> None:
    """Note that `day` has been seen."""
    tx.execute(
        'INSERT INTO latest_day VALUES (0, :day) ON CONFLICT ("only") DO UPDATE SET day = excluded.day '
        "WHERE latest_day.day < excluded.day",
        day=day,
    )


def accept_clock(tx: Transaction) -> None:
    """Believe the clock again after it ran ahead: what was spent on days to come counts towards today."""
    day = utc_day(tx.now)
    tx.execute("UPDATE latest_day SET day = :day", day=day)
    tx.execute(
        "INSERT INTO spend SELECT account, :day, tool, model, recipe, person, SUM(jobs), SUM(charged), SUM(reserved) "
        "FROM spend WHERE day > :day GROUP BY account, tool, model, recipe, person "
        "ON CONFLICT (account, day, tool, model, recipe, person) DO UPDATE SET jobs = spend.jobs + excluded.jobs, "
        "charged = spend.charged + excluded.charged, reserved = spend.reserved + excluded.reserved",
        day=day,
    )
    tx.execute("DELETE FROM spend WHERE day > :day", day=day)
    tx.execute("UPDATE jobs SET day = :day WHERE day > :day", day=day)


def today(tx: Transaction) -> Today:
    """What is spent and reserved on the budget day, over all processes and both doors: by everybody, or in a team by
    this person."""
    return _used(tx, tx.counted)


def _used(tx: Transaction, person: str) -> Today:
    return _today_in(tx, _ask_used(tx, person))


def _ask_used(tx: Transaction, person: str) -> Found:
    """Of the day whose budget counts: never earlier than one seen before, so that a clock set back opens no new one."""
    day = "COALESCE((SELECT day FROM latest_day WHERE day > :clock_day), :clock_day)"
    return tx.ask(
        f"SELECT {day}, COALESCE(SUM(charged), 0), COALESCE(SUM(reserved), 0) FROM spend "
        f"WHERE account IN (:account, :beside) AND day = {day} AND :person IN ('', person)",
        clock_day=utc_day(tx.now),
        person=person,
    )


def _today_in(tx: Transaction, found: Found) -> Today:
    day, charged, reserved = found.fetchone()
    return Today(day, utc_day(tx.now), to_credits(charged), to_credits(reserved))


def team_ceiling(tx: Transaction) -> float | None:
    """What all persons together may spend on one day, in credits; `None` where nobody has set that."""
    return _ceiling_in(_ask_team_ceiling(tx))


def _ask_team_ceiling(tx: Transaction) -> Found:
    return tx.ask("SELECT MIN(per_day) FROM team_ceilings WHERE account IN (:account, :beside)")


def _ceiling_in(found: Found) -> float | None:
    least = found.fetchone()[0]
    return None if least is None else to_credits(least)


def set_team_ceiling(tx: Transaction, per_day: float | None) -> None:
    """Set what all persons together may spend on one day, in credits, or lift it; at both doors."""
    tx.execute("DELETE FROM team_ceilings WHERE account IN (:account, :beside)")
    for account in (tx.account, tx.beside):
        if account and per_day is not None:
            query = "INSERT INTO team_ceilings VALUES (:of, :per_day)"
            tx.execute(query, of=account, per_day=to_micro(per_day))


def team_today(tx: Transaction) -> Today:
    """What is spent and reserved on the budget day by all persons together."""
    return _used(tx, "")


@dataclass(frozen=True)
class RunSpend:
    """What the ledger says of one run of a recipe, in credits, parts of earlier attempts included.

    Attributes:
        passing: The part of `reserved` that is settled as soon as the jobs under way are done.
        quoted: Quotes of all its jobs that have been sent, as far as they were known.
    """

    charged: float = 0.0
    reserved: float = 0.0
    passing: float = 0.0
    quoted: float = 0.0
    jobs: int = 0


def run_spend(tx: Transaction, run: str) -> RunSpend:
    """What the run called `run` has cost and holds back; jobs that came to nothing do not count."""
    *amounts, jobs = tx.execute(
        "SELECT COALESCE(SUM(charged), 0), COALESCE(SUM(reserved), 0), "
        "COALESCE(SUM(reserved) FILTER (WHERE state IN ('sending', 'accepted')), 0), "
        "COALESCE(SUM(quote) FILTER (WHERE state <> 'sending'), 0), COUNT(*) "
        "FROM jobs WHERE account IN (:account, :beside) AND run = :run AND run <> '' "
        "AND (reserved > 0 OR charged > 0 OR "
        "state IN ('sending', 'accepted', 'unknown', 'completed'))",
        run=run,
    ).fetchone()
    charged, reserved, passing, quoted = map(to_credits, amounts)
    return RunSpend(charged, reserved, passing, quoted, jobs)


@dataclass(frozen=True)
class Room:
    """What a run may still cost, in millionths of a credit.

    Attributes:
        limit: Its ceiling, or its own budget where that is lower.
        used: Charged and held back so far.
        passing: The part of `used` that jobs under way may yet give back.
        own: Whether `limit` is the run's own budget.
        unpriced: What a call of unknown price is to leave room for.
    """

    limit: int
    used: int
    passing: int
    own: bool
    unpriced: int | None

    @property
    def left(self) -> int:
        return max(self.limit - self.used, 0)

    def at_most(self, orders: Sequence[Order]) -> int:
        """What one of `orders` of unknown price has to leave room for; a `CeilingError` if nobody knows."""
        if self.unpriced is None and any(order.quote.credits is None for order in orders):
            raise CeilingError(
                "Its price is unknown, so the budget of the run cannot be kept.",
                next_step="Give the step an `at_most` in the recipe.",
                code="budget_reached",
            )
        return self.unpriced or 0

    def refusal(self, needed: int) -> CeilingError:
        """Why a call that needs this much does not fit; one that may fit later says so."""
        spare = 0 < max(needed, 1) <= self.limit - self.used + self.passing
        left, limit = to_credits(self.left), to_credits(self.limit)
        return over_run_ceiling(to_credits(needed), left, limit, own=self.own, spare=spare)


def room_in(tx: Transaction, run: RunCall, ceilings: Ceilings) -> Room:
    """What `run` has room for."""
    spend = run_spend(tx, run.run)
    ceiling = ceilings.per_call if ceilings.per_run is None else ceilings.per_run
    used = to_micro(spend.charged) + to_micro(spend.reserved)
    unpriced = None if run.at_most is None else to_micro(run.at_most)
    return Room(to_micro(min(ceiling, run.budget)), used, to_micro(spend.passing), run.budget < ceiling, unpriced)


def reservations(orders: Sequence[Order], ceilings: Ceilings, room: Room | None = None) -> list[int]:
    """How much to hold back for each order of one call, in millionths of a credit.

    An unknown price holds back whatever the ceiling per call leaves, and in a run what is left of that, because that
    is the most the user allowed this call to cost: whatever it turns out to be up to there, the day's ceiling holds.

    Raises:
        CeilingError: The call is above the ceiling per call, or does not fit into the `room` of its run.
        KubeezError: A quote is negative, infinite or not a number.
    """
    try:
        known = [None if order.quote.credits is None else to_micro(order.quote.credits) for order in orders]
    except ValueError as error:
        step = "Refresh the catalogue and try again."
        raise KubeezError(f"The quote cannot be used: {error}.", next_step=step, code="unusable_quote") from None
    ceiling, total = to_micro(ceilings.per_call), sum(amount or 0 for amount in known)
    unknown = sum(amount is None for amount in known)
    if total > ceiling or (unknown and ceiling == 0):
        raise over_call_ceiling(to_credits(total), ceilings.per_call)
    if room is not None:
        needed = total + unknown * room.at_most(orders)
        if needed > room.left or (unknown and room.left <= total):
            raise room.refusal(needed)
        ceiling = min(ceiling, room.left)
    share = (ceiling - total) // unknown if unknown else 0
    if unknown and share == 0:
        raise CeilingError(
            "The ceiling for one call leaves no room for the part of this call whose price is unknown.",
            next_step="Send that part in a call of its own.",
        )
    return [share if amount is None else amount for amount in known]


@dataclass(frozen=True)
class DayAsked:
    """What the ledger was asked about the day: what this person has used of it, everybody, and the team's ceiling."""

    own: Found
    everybody: Found
    team: Found


def ask_day(tx: Transaction) -> DayAsked:
    """Ask for what `day_refusal` needs."""
    return DayAsked(_ask_used(tx, tx.counted), _ask_used(tx, ""), _ask_team_ceiling(tx))


def day_refusal(
    tx: Transaction, day: DayAsked, needed: int, ceilings: Ceilings, *, certain: bool
) -> tuple[str, CeilingError | None]:
    """The budget day, and why `needed` millionths do not fit into its ceiling any more, or into that of the team;
    `None` if they fit. `certain` if that is the price."""
    own = _DayRoom(_today_in(tx, day.own), to_micro(ceilings.per_day), tx.counted)
    refusal = own.refusal(tx, needed, certain)
    team = None if refusal else _ceiling_in(day.team)
    if team is not None:
        everybody = _DayRoom(_today_in(tx, day.everybody), to_micro(team), "", team=True)
        refusal = everybody.refusal(tx, needed, certain)
    return own.used.day, refusal


@dataclass(frozen=True)
class _DayRoom:
    """The budget day of a person, or of everybody where that is empty; `ceiling` in millionths of a credit."""

    used: Today
    ceiling: int
    person: str
    team: bool = False

    def refusal(self, tx: Transaction, needed: int, certain: bool) -> CeilingError | None:
        spent, reserved = to_micro(self.used.spent), to_micro(self.used.reserved)
        if needed == 0 or spent + reserved + needed <= self.ceiling:
            return None
        if self.ceiling == 0:
            return nothing_allowed("the team's ceiling" if self.team else DAY)
        holds = _holds_of(tx, self.used.day, self.person, reserved)
        held = spent + needed <= self.ceiling
        passing = sum(to_micro(hold.credits) for hold in holds if hold.soon)
        soon = held and spent + reserved - passing + needed <= self.ceiling
        step = _out_of_holds(holds, self.used, certain, soon, "the team's ceiling" if self.team else DAY)
        error = CeilingError(self._words(needed, holds, certain), next_step=step, retry_safe=held)
        error.soon, error.retry_after = soon, _SOON_SECONDS if soon else None
        return error

    def _words(self, needed: int, holds: Sequence[Hold], certain: bool) -> str:
        used, whose = self.used, "the team's" if self.team else "the day's"
        message = (
            f"This call needs {spoken(to_credits(needed))}; of {whose} {spoken(to_credits(self.ceiling))} "
            f"(UTC {used.day}) {spoken(used.spent)} are spent and {spoken(used.reserved)} are reserved"
            f"{_holders(holds)}."
        )
        if not certain:
            message = f"The price of this call is not known, so the whole ceiling for one call is held back. {message}"
        if used.day != used.clock_day:
            message += f" The clock says {used.clock_day}, but the ledger has already seen {used.day}."
        return message


def _holds_of(tx: Transaction, day: str, person: str, reserved: int) -> tuple[Hold, ...]:
    """Which jobs of a person hold back the `reserved` millionths of `day`: those under way, then ended ones without a
    price."""
    columns = "SELECT id, state, reserved, quote IS NOT NULL FROM"
    rows = tx.execute(f"{columns} {OPEN_JOBS} AND {_HELD}", day=day, person=person).fetchall()
    if sum(row["reserved"] for row in rows) < reserved:
        ended = f"{columns} jobs WHERE {_HELD} AND state NOT IN ('sending', 'accepted', 'unknown')"
        rows += tx.execute(ended, day=day, person=person).fetchall()
    return tuple(Hold(job_id, State(state), to_credits(held), bool(priced)) for job_id, state, held, priced in rows)


def _holders(holds: Sequence[Hold]) -> str:
    """Who holds credits back, in words: how much, how many jobs, and which."""
    parts = []
    for words, states in _HOLDING:
        found = [hold for hold in holds if hold.state in states]
        if found:
            ids = ", ".join(hold.job_id[:8] for hold in found[:_NAMED])
            more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
            parts.append(f"{spoken(sum(hold.credits for hold in found))} for {words} ({ids}{more})")
    return f": {', '.join(parts)}" if parts else ""


def _out_of_holds(holds: Sequence[Hold], today: Today, certain: bool, soon: bool, ceiling: str) -> str:
    if today.day != today.clock_day:
        return "If the clock was wrong before, accept the present one: kubeez-mcp-local spend --accept-clock."
    steps = []
    if soon:
        steps.append("Call again in a few seconds, when what holds the credits back is settled.")
    if any(hold.state == "unknown" for hold in holds):
        steps.append("Settle the jobs of unknown fate: kubeez-mcp-local jobs reconcile.")
    if not soon:
        steps.append(f"Wait for running jobs or the next UTC day, or have the user raise {ceiling}.")
    if not certain:
        steps.append("A lower KUBEEZ_MAX_CREDITS_PER_CALL holds back less.")
    return " ".join(steps)


SpendKey = Literal["day", "model", "tool", "recipe", "person", "door"]


@dataclass(frozen=True)
class Spend:
    """What one day, model, tool, recipe, person or door cost, in credits. `jobs` counts every attempt, also refused
    ones."""

    key: str
    jobs: int
    charged: float
    reserved: float


def spend_by(tx: Transaction, key: SpendKey, since_day: str = "") -> list[Spend]:
    """What was spent since a UTC day (`YYYY-MM-DD`), grouped; days in order, everything else dearest first."""
    order = "grouped" if key == "day" else "SUM(charged) DESC, grouped"
    columns = {"day": "day", "model": "model", "tool": "tool", "recipe": "recipe", "person": "person", "door": DOOR}
    found = tx.execute(
        f"SELECT {columns[key]} AS grouped, SUM(jobs), SUM(charged), SUM(reserved) FROM spend "
        f"WHERE account IN (:account, :beside) AND day >= :since GROUP BY grouped ORDER BY {order}",
        since=since_day,
    )
    return [Spend(row[0], row[1], to_credits(row[2]), to_credits(row[3])) for row in found]


@dataclass(frozen=True)
class DaySpend:
    """What one model cost on one UTC day with one tool and recipe at one door, in credits; `jobs` as in `Spend`."""

    day: str
    tool: str
    model: str
    recipe: str
    jobs: int
    charged: float
    reserved: float
    door: str = "rest"


def spend_since(tx: Transaction, day: str) -> list[DaySpend]:
    """Everything that was spent since a UTC day (`YYYY-MM-DD`), in the order of the days."""
    found = tx.execute(
        f"SELECT day, tool, model, recipe, jobs, charged, reserved, {DOOR} FROM spend "
        "WHERE account IN (:account, :beside) AND day >= :since ORDER BY day, tool, model, recipe, account",
        since=day,
    )
    return [
        DaySpend(row[0], row[1], row[2], row[3], row[4], to_credits(row[5]), to_credits(row[6]), row[7])
        for row in found
    ]


_MOST_HOLDING = 200


def holding(tx: Transaction) -> list[Job]:
    """The newest jobs that hold credits back, or of which nobody knows yet what they cost."""
    return tx.jobs(
        "SELECT * FROM jobs WHERE account IN (:account, :beside) "
        "AND (reserved > 0 OR state IN ('sending', 'accepted', 'unknown')) ORDER BY seq DESC LIMIT :most",
        most=_MOST_HOLDING,
    )
