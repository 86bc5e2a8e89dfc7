"""`kubeez-mcp-local jobs` and `spend`: what the ledger remembers, what it came to, and what can be done about it."""

from __future__ import annotations

import math
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from kubeez_mcp_local.cli.terminal import print_json, results, run_with_bridge, table
from kubeez_mcp_local.jobs.errors import wrong_state
from kubeez_mcp_local.jobs.job import State, door_of
from kubeez_mcp_local.mcp_server.rows import job_details, job_row
from kubeez_mcp_local.text import amount, lines_of, on_one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.bridge.bridge import Today
    from kubeez_mcp_local.cli.main import Options
    from kubeez_mcp_local.jobs.budget import Spend, SpendKey
    from kubeez_mcp_local.jobs.job import Job
    from kubeez_mcp_local.jobs.proof import OpenQuestion, Row
    from kubeez_mcp_local.jobs.reconcile import AccountLook, Reconciler

_BAR = 32
_NARROWEST_BAR = 4
_NARROW = 60
_ENDS = " |│"
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


@click.group(invoke_without_command=True)
@click.pass_context
def jobs(context: click.Context) -> None:
    """List, follow and settle the jobs this machine paid for. JOB is an id or its unambiguous beginning."""
    if context.invoked_subcommand is None:
        context.invoke(list_)


@jobs.command("list")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="How many, newest first.")
@_json
@click.pass_obj
def list_(options: Options, limit: int, as_json: bool) -> None:
    """The newest jobs."""
    _show(run_with_bridge(options.settings(), lambda bridge: bridge.ledger.recent(limit)), as_json)


@jobs.command()
@click.argument("job")
@_json
@click.pass_obj
def show(options: Options, job: str, as_json: bool) -> None:
    """One job in full: prompt, settings, credits, files, error."""

    async def work(bridge: Bridge) -> Job:
        known = await bridge.ledger.get(job)
        follower = bridge.door_of(known).follower
        found = await follower.look_again(known)
        return found if found is known else await follower.wait(found, timeout=60)

    _show_one(run_with_bridge(options.settings(), work), as_json)


@jobs.command()
@click.argument("job")
@click.option("--timeout", default=600.0, show_default=True, help="Longest wait in seconds; the job goes on after it.")
@_json
@click.pass_context
def wait(context: click.Context, job: str, timeout: float, as_json: bool) -> None:
    """Wait until a job is done and its files are saved. Exit code 1 if it failed, 3 if it still runs."""

    async def work(bridge: Bridge) -> Job:
        found = await bridge.ledger.get(job)
        if found.state.value == "unknown":
            found = await bridge.door_of(found).reconciler.settle(found, patience=timeout)
        return await bridge.door_of(found).follower.wait(found, timeout=timeout)

    done = run_with_bridge(context.obj.settings(), work)
    _show_one(done, as_json)
    if not done.settled:
        context.exit(3)
    context.exit(0 if done.state.value == "completed" else 1)


@jobs.command()
@click.option("--timeout", default=600.0, show_default=True, help="Longest wait for each job, in seconds.")
@_json
@click.pass_obj
def resume(options: Options, timeout: float, as_json: bool) -> None:
    """Pick up what earlier runs left unfinished: follow jobs, save files, settle what is unknown."""

    async def work(bridge: Bridge) -> list[Job]:
        taken = []
        for door in bridge.doors.values():
            taken += await door.follower.resume_all() + await door.reconciler.reconcile()
            taken += await door.ledger.in_state(State.UNKNOWN)
        return [await bridge.door_of(job).follower.wait(job, timeout=timeout) for job in taken]

    _show(run_with_bridge(options.settings(), work), as_json)


@jobs.command()
@click.argument("job", required=False)
@click.option("--paid/--not-paid", default=None, help="Settle JOB by hand, after you looked it up on kubeez.com.")
@click.option(
    "--mine", multiple=True, metavar="ROW", help="Answer the question: this row is one of the jobs. Repeatable."
)
@click.option("--none", is_flag=True, help="Answer the question: none of the rows is one of the jobs.")
@click.option("--question", "code", metavar="CODE", help="With --mine or --none: the question as it was shown.")
@click.option("--account", is_flag=True, help="Compare the account's whole history with this ledger.")
@click.option(
    "--since", type=click.DateTime(["%Y-%m-%d"]), metavar="DAY", help="With --account: first UTC day, as 2026-11-23."
)
@_json
@click.pass_obj
def reconcile(
    options: Options,
    job: str | None,
    paid: bool | None,
    mine: tuple[str, ...],
    none: bool,
    code: str | None,
    account: bool,
    since: datetime | None,
    as_json: bool,
) -> None:
    """Find out what became of jobs whose fate is unknown, from the account's history; or settle one by hand.

    What the history cannot prove is one question: which of its rows, if any, are those jobs. Answer it here, or with
    --question CODE --mine ROW or --none; an answer settles all the jobs in the question.
    """
    if paid is not None and job is None:
        raise click.UsageError("--paid and --not-paid settle one job; name it.")
    if (mine or none) and (job or (mine and none)):
        raise click.UsageError(
            "--mine ROW and --none answer the question about all jobs: give one of them, and no JOB."
        )
    if account or since:
        _show_account(options, since, as_json)
        return

    async def work(bridge: Bridge) -> tuple[list[Job], OpenQuestion | None]:
        if job is not None and paid is not None:
            return [await bridge.ledger.settle_by_hand((await bridge.ledger.get(job)).id, paid=paid)], None
        if job is not None:
            known = await bridge.ledger.get(job)
            reconciler = bridge.door_of(known).reconciler
            return [await reconciler.settle(known, patience=10)], await reconciler.question()
        settled = [each for door in bridge.doors.values() for each in await door.reconciler.reconcile()]
        reconciler, question = await _asked(bridge, code)
        answered = bool(mine or none or code)
        if question is not None and answered and code != question.code:
            _print_question(question)
            why = "The question has changed" if code else "An answer is to the question that was shown"
            raise click.UsageError(
                f"{why}; see above, and answer it with --question {question.code}. Nothing was decided."
            )
        answer = _answer(question, mine, none=none, ask=not as_json and sys.stdin.isatty())
        if question is not None and answer is not None:
            settled += await reconciler.answer(question, answer)
        left = [each for door in bridge.doors.values() for each in await door.ledger.in_state(State.UNKNOWN)]
        return settled + left, (await _asked(bridge, None))[1]

    found, question = run_with_bridge(options.settings(), work)
    _show(found, as_json)
    if as_json:
        return
    if question is not None:
        _print_question(question)
        command = f"kubeez-mcp-local jobs reconcile --question {question.code} --none (or --mine ROW)"
        results().print(f"Answer for all at once: {command}.", soft_wrap=True)
    if any(one.state is State.UNKNOWN for one in found):
        results().print(
            "What stays unknown can be looked up on kubeez.com and settled: "
            "kubeez-mcp-local jobs reconcile JOB --paid (or --not-paid)."
        )


def _answer(question: OpenQuestion | None, mine: tuple[str, ...], *, none: bool, ask: bool) -> tuple[str, ...] | None:
    """The rows that are the user's, from the options or from the keyboard; `None` without an answer."""
    if question is None:
        if mine or none:
            raise click.UsageError("There is no question to answer: see kubeez-mcp-local jobs reconcile.")
        return None
    known = {row.id for row in question.rows}
    if strange := [row for row in mine if row not in known]:
        raise click.UsageError(f"{strange[0]!r} is none of the rows in question: {', '.join(sorted(known)) or 'none'}.")
    if mine or none:
        return mine
    if not ask:
        return None
    _print_question(question)
    given = click.prompt("Which numbers are yours? (none = never accepted, empty = decide later)", default="")
    if given.strip().lower() == "none":
        return ()
    places = [int(part) for part in re.findall(r"\d+", given)]
    chosen = [question.rows[place - 1].id for place in places if 0 < place <= len(question.rows)]
    return tuple(chosen) or None


async def _asked(bridge: Bridge, code: str | None) -> tuple[Reconciler, OpenQuestion | None]:
    """The question that waits for a person, and who asks it: that with this code, or of the first door that has one."""
    asked = [(door.reconciler, await door.reconciler.question()) for door in bridge.doors.values()]
    asked.sort(key=lambda each: (each[1] is None, each[1] is not None and each[1].code != code))
    return asked[0]


def _print_question(question: OpenQuestion) -> None:
    results().print(question.text, soft_wrap=True, markup=False)
    for place, (row, line) in enumerate(zip(question.rows, question.lines, strict=True), 1):
        results().print(f"{place:>3}) {on_one_line(row.id)}  {line}", soft_wrap=True, markup=False)


def _show_account(options: Options, since: datetime | None, as_json: bool) -> None:
    start = None if since is None else since.replace(tzinfo=UTC)

    async def work(bridge: Bridge) -> dict[str, AccountLook]:
        return {door.called: await door.reconciler.look_at_account(start) for door in bridge.doors.values()}

    looks = run_with_bridge(options.settings(), work)
    if as_json:
        told = {called: _told(look) for called, look in looks.items()}
        print_json(told if len(told) > 1 else next(iter(told.values())))
        return
    for called, look in looks.items():
        if len(looks) > 1:
            results().print(f"{called[0].upper()}{called[1:]}:")
        _show_look(look)


def _told(look: AccountLook) -> dict[str, Any]:
    oldest = look.oldest.isoformat() if look.oldest else None
    return {"rows": look.shown, "oldest": oldest, "perhaps_paid_twice": _pairs(look.doubles), "others": look.others}


def _show_look(look: AccountLook) -> None:
    from kubeez_mcp_local.jobs.proof import in_lines

    rows = "1 row" if look.shown == 1 else f"{look.shown} rows"
    back = f"back to {look.oldest:%Y-%m-%d %H:%M} UTC by its clock" if look.oldest else "without times"
    results().print(f"The API shows {rows}, {back}. What is older cannot be seen.")
    for row, job in look.doubles:
        line = on_one_line(f"Perhaps paid twice: job {job.id} and the row {row.id} ({in_lines([row])[0]}).")
        results().print(line, soft_wrap=True, markup=False)
    results().print(f"{look.others} more belong to no job of this ledger: other programs or machines made them.")


@jobs.command()
@click.argument("job")
@_json
@click.pass_obj
def resave(options: Options, job: str, as_json: bool) -> None:
    """Save the files of a finished job that are not on disk, for example after the disk was full."""

    async def work(bridge: Bridge) -> Job:
        found = await bridge.ledger.get(job)
        if found.state.value != "completed":
            raise wrong_state(found, "completed")
        await bridge.door_of(found).follower.save_again(found)
        return await bridge.ledger.get(found.id)

    _show_one(run_with_bridge(options.settings(), work), as_json)


def _show(found: list[Job], as_json: bool) -> None:
    if as_json:
        print_json([job_row(job) for job in found])
        return
    if not found:
        results().print("No jobs.")
        return
    doors = [door_of(job.account) for job in found]
    named = [] if set(doors) == {"rest"} else ["door"]
    rows = table("job", "when (UTC)", "state", *named, "model", "credits", "what")
    for job, door in zip(found, doors, strict=True):
        credits_ = f"{job.charged:g}" if job.charged is not None else f"({job.reserved:g})"
        about = job.prompt or ", ".join(re.split(r"[/\\\\]", name)[-1] for name in job.labels.inputs)
        what = on_one_line(job.error or job.save_error or about, 60)
        when = f"{job.created:%Y-%m-%d %H:%M}"
        told = [door] if named else []
        rows.add_row(job.id[:8], when, job.state.value, *told, on_one_line(job.model, 60), credits_, what)
    results().print(rows)


def _show_one(job: Job, as_json: bool) -> None:
    facts = job_details(job)
    if as_json:
        print_json(facts)
        return
    console = results()
    for name, value in facts.items():
        for line in _lines(value):
            console.print(f"{name:>16}  {line}", soft_wrap=True)
            name = ""


def _lines(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [line for name, item in value.items() for line in _named(name, lines_of(_shown(item)))]
    return [line for item in (value if isinstance(value, list) else [value]) for line in lines_of(_shown(item))]


def _shown(value: Any) -> str:
    return amount(value) if isinstance(value, float) else str(value)


def _named(name: str, lines: list[str]) -> list[str]:
    return [f"{name}: {lines[0]}"] if len(lines) == 1 else [f"{name}:", *lines]


@click.command()
@click.option(
    "--by",
    type=click.Choice(["day", "model", "tool", "recipe", "person", "door"]),
    default="day",
    show_default=True,
    help="Grouping.",
)
@click.option(
    "--since", type=click.DateTime(["%Y-%m-%d"]), metavar="DAY", help="First UTC day to count, as 2026-11-23."
)
@click.option("--accept-clock", is_flag=True, help="Believe the clock again after it ran ahead.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a chart.")
@click.pass_obj
def spend(options: Options, by: SpendKey, since: datetime | None, accept_clock: bool, as_json: bool) -> None:
    """What was spent, and what today's ceiling leaves. Credits; days are UTC."""
    from kubeez_mcp_local.jobs.proof import in_lines

    settings = options.settings()
    since_day = since.strftime("%Y-%m-%d") if since else ""

    async def read(bridge: Bridge) -> tuple[list[Spend], Today, str, list[str], list[tuple[Row, Job]]]:
        if accept_clock:
            await bridge.ledger.accept_clock()
        spent, unsettled = await bridge.ledger.spend_by(by, since_day), await bridge.unsettled()
        return spent, await bridge.today(), await _team(bridge), unsettled, await bridge.doubles()

    rows, today, team, unsettled, doubles = run_with_bridge(settings, read)
    if as_json:
        groups = [{by: row.key, "jobs": row.jobs, "charged": row.charged, "reserved": row.reserved} for row in rows]
        day = {"day": today.day, "spent_today": today.spent, "reserved": today.reserved, "left_today": today.left}
        twice = {"perhaps_paid_twice": _pairs(doubles)} if doubles else {}
        print_json({"by": by, "groups": groups, **day, "unsettled_jobs": unsettled, **twice})
        return
    _chart(rows, by, settings.max_credits_per_day)
    results().print(
        f"Today ({today.day}): {today.spent:g} spent, {today.reserved:g} of it reserved, {today.left:g} left "
        f"of {settings.max_credits_per_day:g}.{team}"
    )
    for row, job in doubles:
        line = (
            f"The history has one more row like job {job.id[:8]}: {row.id} ({in_lines([row])[0]}). Was it paid twice?"
        )
        results().print(line, soft_wrap=True, markup=False)
    if unsettled:
        results().print(f"Perhaps paid, nobody knows yet: {', '.join(unsettled)}. See: kubeez-mcp-local jobs reconcile")


async def _team(bridge: Bridge) -> str:
    """What the team has used up today, in words; nothing where there is no team."""
    if not bridge.settings.team_ledger:
        return ""
    used, ceiling = await bridge.ledger.team_today(), await bridge.ledger.team_ceiling()
    limit = "no ceiling is set" if ceiling is None else f"its ceiling is {ceiling:g}"
    return f" The whole team: {used.spent + used.reserved:g} used today; {limit}."


def _pairs(doubles: Sequence[tuple[Row, Job]]) -> list[dict[str, str]]:
    return [{"generation_id": row.id, "job": job.id} for row, job in doubles]


def _chart(rows: list[Spend], by: SpendKey, ceiling: float) -> None:
    """Days against the ceiling of a day, everything else against the dearest; a single one would only fill the line."""
    console = results()
    if not rows:
        console.print("Nothing was spent.")
        return
    days, held = by == "day", any(row.reserved for row in rows)
    most = max(row.charged + row.reserved for row in rows)
    limit = ceiling if days else most
    narrow = console.width < _NARROW
    numbers = [*([] if narrow else ["jobs"]), "credits", *(["held back"] if held else [])]
    chart = table(by, *numbers, f"of {ceiling:g} a day" if days else "", right=numbers)
    chart.columns[0].no_wrap = days
    names = [on_one_line(row.key, 60) or "–" for row in rows]
    room = console.width - max(map(len, (*names, by))) - sum(len(name) + 2 for name in numbers) - 6
    drawn = room >= _NARROWEST_BAR and (days or len(rows) > 1)
    for name, row in zip(names, rows, strict=True):
        amounts = {"jobs": str(row.jobs), "credits": f"{row.charged:g}", "held back": f"{row.reserved:g}"}
        bar = _bar(row, max(limit, most), limit, min(_BAR, room), plain=console.options.ascii_only) if drawn else ""
        chart.add_row(name, *(amounts[each] for each in numbers), bar if days else bar.rstrip(_ENDS))
    console.print(chart)


def _bar(row: Spend, whole: float, limit: float, width: int, *, plain: bool) -> str:
    """What was charged as a solid line, what is held back as a thin one, with a mark where the limit is; what is not
    nothing can be seen."""
    full, thin, mark = ("#", "-", "|") if plain else ("█", "░", "│")
    solid, drawn, end = (
        math.ceil(width * amount / (whole or 1) - 1e-9) for amount in (row.charged, row.charged + row.reserved, limit)
    )
    line = (full * solid + thin * (drawn - solid)).ljust(max(end, drawn))
    return line[:end] + mark + line[end:]
