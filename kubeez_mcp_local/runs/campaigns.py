"""Campaigns: runs of recipes whose rows are carried out by workers on several machines that share a team's ledger.

A row is one entry of the recipe's loop. It is carried out as in a run on this machine, under the same names, so whether
it is paid is decided by the same ledger, whoever has it and however often.

Nightly ones: at what times a schedule begins, what its one yes is bound to, and beginning what is due. A night is begun
by whichever worker first sees that it is due; the ledger has each night once. One for which no worker was there in time
is missed: it is named, and not made up for.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

import anyio.to_thread

from kubeez_mcp_local.cookbook.format import Origin, near
from kubeez_mcp_local.cookbook.parse import parse_recipe
from kubeez_mcp_local.cookbook.steps import PAID_TOOLS, Budget, calls_of, deciding, scope_for
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.jobs.team.campaigns import ROW_VERSION, Campaign
from kubeez_mcp_local.jobs.team.schedules import Night, Schedule
from kubeez_mcp_local.runs.journal import RunId, digest
from kubeez_mcp_local.runs.prepare import runs_folder
from kubeez_mcp_local.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.cookbook.format import Recipe, Step
    from kubeez_mcp_local.jobs.ledger import Ledger
    from kubeez_mcp_local.jobs.team.campaigns import OnUnknown
    from kubeez_mcp_local.runs.prepare import Prepared


def row_labels(recipe: Recipe, arguments: Mapping[str, Any]) -> list[str]:
    """What each row of a campaign is about.

    Raises:
        KubeezError: The recipe's steps cannot be carried out row by row (`not_by_rows`).
        RecipeError: Its loop cannot be planned.
    """
    loops = [step for step in recipe.steps if step.for_each is not None]
    why = next((reason for step in recipe.steps if (reason := _why_not(step, loops))), "")
    if why or not loops:
        raise KubeezError(
            f"{recipe.name} cannot be spread over workers: {why or 'none of its steps has a for_each'}.",
            next_step="Run it on this machine (without --on team), or give each paid step the same for_each.",
            code="not_by_rows",
        )
    calls = calls_of(recipe, loops[0], scope_for(arguments, {}))
    return [call.label or call.key for call in calls]


_OF_A_ROW = re.compile(r"steps\.\w+\[index\]|steps\[[^]]*\]\[index\]")


def _why_not(step: Step, loops: Sequence[Step]) -> str:
    """Why a step cannot be carried out for one row alone; empty if it can."""
    if step.pause:
        return f"its step {step.id} waits for another yes"
    if step.for_each is None:
        return f"its paid step {step.id} has no for_each" if step.tool in PAID_TOOLS else ""
    earlier = {f"{{{{steps.{other.id}}}}}" for other in loops[: loops.index(step)]}
    over = re.sub(r"\s", "", str(step.for_each))
    if step is not loops[0] and over not in earlier | {re.sub(r"\s", "", str(loops[0].for_each))}:
        return f"its step {step.id} goes over something else than its rows"
    if "steps" in _OF_A_ROW.sub("", f"{step.with_} {step.when}"):
        return f"its step {step.id} uses results of other rows"
    return ""


async def submit(bridge: Bridge, prepared: Prepared, on_unknown: OnUnknown) -> int:
    """Write a prepared run into the team's ledger, with a row for each entry of its loop; how many rows are new.

    The yes was given to exactly this recipe, these arguments and this price; they go into the ledger with it.
    """
    run = prepared.run
    labels = row_labels(run.recipe, run.arguments)
    campaign = Campaign(
        run=run.id.name,
        in_ledger=run.id.in_ledger,
        state="running",
        recipe=run.recipe.text,
        given={"arguments": dict(run.arguments), "decided": run.id.arguments},
        budget=run.budget.credits,
        agreed=prepared.due,
        on_unknown=on_unknown,
        person=bridge.settings.who,
    )
    return await bridge.ledger.submit_campaign(campaign, labels)


def run_named(name: str, recipe_text: str, decided: str, mode: str) -> RunId:
    """The run called `name`; `decided` is the digest of the arguments that decide what is made."""
    return replace(RunId.of(name, recipe_text, {}, mode), arguments=decided)


def run_of(campaign: Campaign, bridge: Bridge) -> Run:
    """What a worker carries out of a campaign, row by row."""
    recipe = parse_recipe(campaign.recipe, Origin("added", "the team's ledger"), file=f"{campaign.run}.md")
    arguments = dict(campaign.given["arguments"])
    named = run_named(campaign.run, campaign.recipe, str(campaign.given["decided"]), bridge.mode.value)
    return Run(recipe, arguments, named, runs_folder(bridge), Budget(campaign.budget), person=campaign.person)


# Every night


log = logging.getLogger(__name__)

IN_TIME_SECONDS = 900.0
"""How late a night may begin. A worker that is started again within that time misses none."""
_MOST_AT_ONCE = 500
_FIELD = re.compile(r"(?:\*|\w+(?:-\w+)?)(?:/\d+)?(?:,\w+(?:-\w+)?(?:/\d+)?)*\Z", re.ASCII)
_WORD = re.compile(r"[A-Za-z]+")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAMES = frozenset({*_MONTHS, "sun", "mon", "tue", "wed", "thu", "fri", "sat"})
_LONGEST_SHIFT = timedelta(hours=26)
"""No zone's clock was ever set further."""


@dataclass(frozen=True)
class Times:
    """When a schedule begins: `cron` has five fields, minute to weekday, read by the clock of `zone`.

    A time that the clock leaves out counts as what the clock says then, such as 02:30 for 01:30; one that it shows
    twice counts the first time.

    Raises:
        InvalidArgumentError: There are no such times, or no such zone.
    """

    cron: str
    zone: str

    def __post_init__(self) -> None:
        self._verify_cron()
        try:
            ZoneInfo(self.zone)
        except (KeyError, ValueError, OSError):
            hint = near(self.zone, sorted(available_timezones()))
            told = f"there is no zone {self.zone!r}.{hint}"
            raise InvalidArgumentError("--tz", told, next_step="Name one such as Europe/Lisbon, or UTC.") from None

    def _verify_cron(self) -> None:
        try:
            from croniter import croniter
        except ImportError as missing:
            raise KubeezError(
                f"Schedules need the package croniter ({missing}).",
                next_step="Install the extra `team`: kubeez-mcp-local[team].",
                code="engine_missing",
            ) from None
        fields = self.cron.split()
        words = {word.lower() for word in _WORD.findall(self.cron)}
        fit = len(fields) == 5 and all(map(_FIELD.match, fields)) and words <= _NAMES
        if not fit or not croniter.is_valid(self.cron):
            told = f"{self.cron!r} is no time: minute, hour, day of the month, month and weekday are needed."
            raise InvalidArgumentError("--cron", told, next_step='Write it like "0 2 * * *", for 02:00 every night.')
        if next(self._by_the_clock(datetime.now(UTC).replace(tzinfo=None)), None) is None:
            raise InvalidArgumentError("--cron", f"{self.cron!r} never comes, such as the 30th of February.")

    def between(self, after: float, until: float) -> list[float]:
        """The first times after `after` and no later than `until`, in seconds since 1970; at most some hundreds."""
        zone = ZoneInfo(self.zone)
        start = datetime.fromtimestamp(after, zone).replace(tzinfo=None) - _LONGEST_SHIFT
        end = datetime.fromtimestamp(until, zone).replace(tzinfo=None) + _LONGEST_SHIFT
        found: set[float] = set()
        for wall in self._by_the_clock(start):
            if wall > end or len(found) >= _MOST_AT_ONCE:
                break
            moment = wall.replace(tzinfo=zone).timestamp()
            if after < moment <= until:
                found.add(moment)
        return sorted(found)

    def next(self, after: float, count: int) -> list[float]:
        """The next `count` times after `after`."""
        for days in (3, 40, 400):
            found = self.between(after, after + days * 86_400)
            if len(found) >= count:
                return found[:count]
        return self.between(after, after + 30 * 366 * 86_400)[:count]

    def told(self, moment: float) -> str:
        """A time as the clock of the zone shows it, such as `2026-12-01 02:00`."""
        return f"{datetime.fromtimestamp(moment, ZoneInfo(self.zone)):%Y-%m-%d %H:%M}"

    def _by_the_clock(self, after: datetime) -> Iterator[datetime]:
        from croniter import CroniterBadDateError, croniter

        found = croniter(self.cron, after)
        while True:
            try:
                yield found.get_next(datetime)
            except CroniterBadDateError:
                return


def schedule_of(
    prepared: Prepared, given: Mapping[str, Any], times: Times, on_unknown: OnUnknown, who: str
) -> Schedule:
    """A schedule that carries out a prepared run at each of `times`, to be agreed to. Blocking: it reads the recipe.

    It is called after what was asked for: the same, when the recipe or the files of `given` hold something else by now,
    or with another budget, takes its place.

    Raises:
        KubeezError: It cannot be carried out row by row (`not_by_rows`).
    """
    run = prepared.run
    asked = [run.recipe.name, deciding(run.recipe, given), sorted(prepared.held), times.cron, times.zone]
    of_what = json.dumps(asked, sort_keys=True, default=str)
    schedule = Schedule(
        name=f"{run.recipe.name[:34].rstrip('-')}-{digest(of_what)[:10]}",
        cron=times.cron,
        zone=times.zone,
        recipe=run.recipe.text,
        given={"version": ROW_VERSION, "arguments": dict(run.arguments), "decided": run.id.arguments},
        labels=row_labels(run.recipe, run.arguments),
        files={**held_by([Path(run.recipe.file)]), **prepared.held},
        budget=run.budget.credits,
        agreed=prepared.due,
        on_unknown=on_unknown,
        person=who,
        agreed_to="",
    )
    return replace(schedule, agreed_to=agreement(schedule))


def agreement(schedule: Schedule) -> str:
    """Names exactly what a schedule does: recipe, arguments, rows, times and budget."""
    said = [schedule.name, schedule.cron, schedule.zone, schedule.recipe, schedule.given, list(schedule.labels)]
    told = [*said, schedule.files, schedule.budget, schedule.agreed, schedule.on_unknown, schedule.person]
    return digest(json.dumps(told, sort_keys=True, default=str))


def held_by(paths: Sequence[Path]) -> dict[str, str]:
    """A digest of what each of these files holds; of those that can be read. Blocking."""
    found = {}
    for path in paths:
        try:
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError:
            continue
    return found


def due(schedule: Schedule, now: float) -> list[Night]:
    """The nights of a schedule that have come and that nobody has looked after, oldest first. Blocking: it reads the
    files that were agreed to, as far as they are there."""
    times = Times(schedule.cron, schedule.zone)
    return [_night(schedule, times, moment, now) for moment in times.between(schedule.looked_at, now)]


def unseen(schedule: Schedule, now: float) -> list[Night]:
    """The nights that no worker has begun in time, and of which none has said so yet."""
    times = Times(schedule.cron, schedule.zone)
    moments = times.between(schedule.looked_at, now - IN_TIME_SECONDS)
    return [_named(schedule, times, moment, "missed", MISSED) for moment in moments]


MISSED = "No worker was there in time."


def _night(schedule: Schedule, times: Times, moment: float, now: float) -> Night:
    if now - moment > IN_TIME_SECONDS:
        return _named(schedule, times, moment, "missed", MISSED)
    why = _why_refused(schedule)
    return _named(schedule, times, moment, "refused" if why else "begun", why)


def _named(
    schedule: Schedule, times: Times, moment: float, state: Literal["begun", "refused", "missed"], reason: str
) -> Night:
    run = f"{schedule.name}-{times.told(moment).replace(':', '').replace(' ', '-')}"
    return Night(schedule.name, moment, run, state, reason)


def _why_refused(schedule: Schedule) -> str:
    """Why a night is not what was agreed to; empty if it is."""
    if agreement(schedule) != schedule.agreed_to:
        return "What stands in the ledger is not what was agreed to."
    now = held_by([Path(path) for path in schedule.files])
    changed = [path for path, held in schedule.files.items() if now.get(path, held) != held]
    if changed:
        return f"Changed since it was agreed to: {', '.join(changed)}. The same `recipes schedule` again asks anew."
    return ""


async def begin_due(ledger: Ledger, mode: str) -> list[str]:
    """Begin the nights that are due, and write down those that are refused or missed; which schedules are of another
    release, and left alone."""
    now, schedules = await ledger.schedules()
    ours = [schedule for schedule in schedules if schedule.given["version"] == ROW_VERSION]
    for schedule in ours:
        try:
            nights = await anyio.to_thread.run_sync(due, schedule, now)
        except KubeezError as error:  # such as a zone that this machine does not know
            log.warning("the schedule %s cannot be read here: %s", schedule.name, error)
            continue
        for night in nights:
            await _note(ledger, schedule, night, mode)
    return [schedule.name for schedule in schedules if schedule not in ours]


async def _note(ledger: Ledger, schedule: Schedule, night: Night, mode: str) -> None:
    campaign = Campaign(
        run=night.run,
        in_ledger=run_named(night.run, schedule.recipe, str(schedule.given["decided"]), mode).in_ledger,
        state="running",
        recipe=schedule.recipe,
        given=schedule.given,
        budget=schedule.budget,
        agreed=schedule.agreed,
        on_unknown=schedule.on_unknown,
        person=schedule.person,
    )
    try:
        noted = await ledger.note_night(schedule, night, campaign)
    except KubeezError as error:
        if error.code not in ("run_mismatch", "cancelled"):
            raise
        night = replace(night, state="refused", reason=str(error))
        noted = await ledger.note_night(schedule, night, campaign)
    if noted:
        level = logging.INFO if night.state == "begun" else logging.WARNING
        log.log(level, "night %s: %s%s", night.run, night.state, f": {night.reason}" if night.reason else "")
