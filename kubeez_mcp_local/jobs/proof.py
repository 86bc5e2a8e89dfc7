"""What the API's history proves about requests whose answer never came, and what the ledger keeps of it for that.

Judging is pure: reads, jobs and rows in, verdicts out.

A row of the history is *known* once a read has shown it. The history shows only its newest rows, in whatever order, so
if two reads share a row, no row that became visible between them was missed: it is newer than the shared one, and so
it is in the second read. A path of such overlaps, from a row known before the send to a read that began late enough,
is *coverage*. What is promised rests on one sentence about the API: a request that it accepts arrives and is among its
newest rows within 15 minutes. Everything else (times, names, prompts, order, what else happens in the account) may be
as it likes; it only decides how often a person is asked.

An account that has never shown a row has no row to know. Its empty list and a later list share the certainty that
nothing was cut off if that later list is shorter than one that this account has shown: a page holds at least so many.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
import unicodedata
from dataclasses import dataclass, field, fields
from functools import lru_cache
from os.path import commonprefix
from typing import TYPE_CHECKING, Any, Literal

from kubeez_mcp_local.jobs.job import State
from kubeez_mcp_local.jobs.rows import (
    OPEN_JOBS,
    accepted,
    adopt,
    known_generations,
    not_accepted,
    with_generations,
)
from kubeez_mcp_local.rest.wire import moment
from kubeez_mcp_local.text import on_one_line, quoted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from kubeez_mcp_local.jobs.job import Job
    from kubeez_mcp_local.jobs.rows import Moment, Transaction

ARRIVAL_SECONDS = 900.0
"""The longest that arriving and being listed take together, in the API's own time."""

_COMPARED = 40
_ENOUGH_OWN_ROWS = 2
_LONG_BEGINNING = 16
_SHORTEST_TEXT = 8
_READS_BEFORE = 5
_TOLD = 60
_SONG_TEXTS = ("lyrics", "song_description", "title")
Kinship = Literal["same", "possible", "other"]


@dataclass(frozen=True)
class Row:
    """One job as the history shows it; every field but the id may be missing or wrong."""

    id: str
    prompt: str | None = None
    model: str | None = None
    generation_type: str | None = None
    created_at: str | None = None
    credits: float | None = None


@dataclass(frozen=True)
class Read:
    """One look at the history.

    Attributes:
        number: Grows from read to read. A read is written down after it ended.
        boot: During which run of which machine it was made.
        began: In seconds of that run's steady clock.
        ids: The rows that it showed.
    """

    number: int
    boot: str
    began: float
    ids: frozenset[str]


@dataclass(frozen=True)
class SentJob:
    """A job that was sent and has no answer.

    Attributes:
        reads_before: The number of the last read written down before it was sent; 0 without one.
        since: For each boot, the steady clock when it was sent, or first looked for after a restart.
        denied: Rows of which a person said that they are not it.
    """

    job: Job
    reads_before: int = 0
    since: Mapping[str, float] = field(default_factory=dict)
    denied: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Evidence:
    """All that is known.

    Attributes:
        unknown: Jobs to be judged, oldest first.
        sending: Jobs whose answer may still come.
        reads: In the order of their numbers.
        owners: The rows that belong to jobs of the ledger, whichever door has started them.
    """

    unknown: Sequence[SentJob]
    sending: Sequence[SentJob] = ()
    reads: Sequence[Read] = ()
    rows: Mapping[str, Row] = field(default_factory=dict)
    owners: Mapping[str, Job] = field(default_factory=dict)
    arrival_seconds: float = ARRIVAL_SECONDS


@dataclass(frozen=True)
class Verdict:
    """What is proven of one job, and what a person would have to decide.

    Attributes:
        outcome: `accepted` as `row`; `absent`; `waiting` for reads that began late enough; `person` when reads cannot
            decide it any more.
        suspects: Rows that may be it.
        covered: Whether no row can have been missed.
        listed: Whether the reads show that jobs of this route are listed at all.
    """

    sent: SentJob
    outcome: Literal["accepted", "absent", "waiting", "person"]
    row: str | None = None
    suspects: tuple[Row, ...] = ()
    covered: bool = False
    listed: bool = False

    @property
    def job(self) -> Job:
        return self.sent.job


@dataclass(frozen=True)
class OpenQuestion:
    """What only a person can decide: which rows of the history, if any, are the jobs whose answer never came.

    Attributes:
        jobs: The jobs that it would settle.
        watched: Further jobs that a row may be, although reads may yet decide about them.
        rows: The rows that may be one of them, and that an answer covers.
        text: The question with its evidence, in words.
        more: How many further rows may be one of them. Then "none" rules out `rows`, and asks about the next ones.
    """

    jobs: tuple[Job, ...]
    rows: tuple[Row, ...]
    text: str
    more: int = 0
    watched: tuple[Job, ...] = ()

    @property
    def lines(self) -> list[str]:
        """Each row in a line, in the order of `rows`."""
        return in_lines(self.rows)

    @property
    def code(self) -> str:
        """Tells this question from one about other jobs or rows: an answer is to what was shown."""
        about = [*(job.id for job in (*self.jobs, *self.watched)), "", *(row.id for row in self.rows)]
        return hashlib.sha256("\n".join(about).encode()).hexdigest()[:8]


def judge(evidence: Evidence) -> list[Verdict]:
    """One verdict for each unknown job; a row that is one job's is no longer another's."""
    taken: set[str] = set()
    verdicts = []
    for sent in evidence.unknown:
        verdict = _judge(sent, evidence, taken)
        if verdict.row is not None:
            taken.add(verdict.row)
        verdicts.append(verdict)
    return verdicts


def needed_reads(evidence: Evidence) -> set[int]:
    """The reads that a later judgement may still need: those since shortly before the sends, and the newest ones."""
    numbers = [read.number for read in evidence.reads]
    needed = set(numbers[-_READS_BEFORE:])
    for sent in (*evidence.unknown, *evidence.sending):
        last = _closing_read(sent, evidence)
        end = last[0].number if last else max(numbers, default=0)
        needed |= {number for number in numbers if sent.reads_before < number <= end}
        needed |= set([number for number in numbers if number <= sent.reads_before][-_READS_BEFORE:])
    return needed


def assign(jobs: Sequence[SentJob], rows: Sequence[Row]) -> dict[str, str]:
    """Job ids by row id, for rows of which a person said that they are these jobs; the likest first, and each job gets
    one before any gets more. A further row is one more output of the job that it is like, or was charged twice for."""
    likeness = {"same": 0, "possible": 1, "other": 2}
    pairs = sorted(
        (likeness[kinship(sent.job, row)], place, sent.job.id, row.id)
        for place, sent in enumerate(jobs)
        for row in rows
    )
    alike = [pair for pair in pairs if pair[0] < likeness["other"]]
    assigned: dict[str, str] = {}
    for several, looked_at in ((False, alike), (True, alike), (False, pairs), (True, pairs)):
        for _, _, job, row_id in looked_at:
            if row_id not in assigned and (several or job not in assigned.values()):
                assigned[row_id] = job
    return assigned


def _judge(sent: SentJob, evidence: Evidence, taken: set[str]) -> Verdict:
    if sent.job.generation_ids:
        return _judge_named(sent, evidence)
    closing = _closing_read(sent, evidence)
    last = closing[0].number if closing else None
    window = _window(sent, evidence, last, taken)
    match = _only_match(sent, window, evidence)
    if match is not None:
        return Verdict(sent, "accepted", match.id)
    own = _own_rows(sent.job, evidence)
    suspects = tuple(row for row in window if not _is_stranger(sent.job, row, own))
    covered = closing is not None and closing[1]
    listed = bool(own)
    if closing is None:
        return Verdict(sent, "waiting", suspects=suspects, listed=listed)
    if covered and listed and not suspects:
        return Verdict(sent, "absent", covered=True, listed=True)
    return Verdict(sent, "person", suspects=suspects, covered=covered, listed=listed)


def _judge_named(sent: SentJob, evidence: Evidence) -> Verdict:
    """A job that the API gave an id and denies now: found by that id, or gone, which means paid for and lost."""
    seen = {name for read in evidence.reads if read.number > sent.reads_before for name in read.ids}
    shown = next((name for name in sent.job.generation_ids if name in seen), None)
    if shown is not None:
        return Verdict(sent, "accepted", shown)
    closing = _closing_read(sent, evidence)
    return Verdict(sent, "waiting") if closing is None else Verdict(sent, "absent", covered=closing[1])


def _closing_read(sent: SentJob, evidence: Evidence) -> tuple[Read, bool] | None:
    """The read that closes the list of what may be this job, and whether it is covered: the first covered one that
    began late enough, else the first that did."""
    known: set[str] = set()
    longest = max((len(read.ids) for read in evidence.reads), default=0)
    nothing_yet = False
    first_late = None
    for read in evidence.reads:
        before = read.number <= sent.reads_before
        if before:
            nothing_yet = not known and not read.ids
            known |= read.ids
            continue
        complete = nothing_yet and len(read.ids) < longest
        covered = complete or bool(known & read.ids)
        if covered:
            known |= read.ids
        if not read.ids:
            covered = nothing_yet and not known
        nothing_yet = nothing_yet and not read.ids
        late = read.boot in sent.since and read.began - sent.since[read.boot] >= evidence.arrival_seconds
        if late and covered:
            return read, True
        if late and first_late is None:
            first_late = read
    return None if first_late is None else (first_late, False)


def _window(sent: SentJob, evidence: Evidence, last: int | None, taken: set[str]) -> list[Row]:
    """The unowned rows that became known after the send, up to the read that closes the list."""
    before: set[str] = set()
    since: dict[str, None] = {}
    for read in evidence.reads:
        if read.number <= sent.reads_before:
            before |= read.ids
        elif last is None or read.number <= last:
            since |= dict.fromkeys(sorted(read.ids))
    gone = before | set(evidence.owners) | sent.denied | taken
    return [evidence.rows[name] for name in since if name not in gone and name in evidence.rows]


def _only_match(sent: SentJob, window: Sequence[Row], evidence: Evidence) -> Row | None:
    """The one row that is this job, if there is no other that may be, and no other job that may be this row."""
    alike = [row for row in window if _may_be(sent, row, evidence)]
    if len(alike) != 1 or kinship(sent.job, alike[0]) != "same":
        return None
    others = (other for other in (*evidence.unknown, *evidence.sending) if other.job.id != sent.job.id)
    if any(_may_be(other, alike[0], evidence) for other in others if not other.job.generation_ids):
        return None
    return alike[0]


def _may_be(sent: SentJob, row: Row, evidence: Evidence) -> bool:
    """Whether nothing that this row shows speaks against its being this job. That names are told as they were sent is
    taken for granted here, where a match is looked for, and never where a row is to be excluded as a stranger's."""
    known_before = any(row.id in read.ids for read in evidence.reads if read.number <= sent.reads_before)
    if known_before or row.id in sent.denied or kinship(sent.job, row) == "other":
        return False
    return not _differ(_model_of(sent.job), row.model) and _fits(sent.job, row)


def _fits(job: Job, row: Row) -> bool:
    if _model_of(job) is None:  # the API chose the engine of a song
        return "music" in (row.generation_type or "music")
    return not _differ(job.generation_type, row.generation_type)


def kinship(job: Job, row: Row) -> Kinship:
    """How like `job` this row looks: `same` in all that is shown, `other` in what tells jobs apart, or neither."""
    told, texts = fold(row.prompt), _titles(job)
    same_name = _model_of(job) in (None, row.model) and _fits(job, row)
    both_differ = _differ(_model_of(job), row.model) and _differ(job.generation_type, row.generation_type)
    if not texts:
        whole = job.generation_type is None or row.generation_type is not None
        if same_name and whole and not told:
            return "same"
        return "other" if both_differ else "possible"
    if not told:
        return "other" if both_differ else "possible"
    if not any(_agree(told, text) for text in _texts(job)):
        return "other"
    whole = any(told == text or (len(told) >= _COMPARED and text.startswith(told)) for text in texts)
    return "same" if whole and same_name else "possible"


def _is_stranger(job: Job, row: Row, own: Sequence[tuple[Row, Job]]) -> bool:
    """Whether `row` is proven not to be `job`; `own` are the rows of this route whose jobs are known.

    How a history tells prompts may depend on the model and on their length: only own rows of the same model prove
    anything, if they show as much of their prompt, as it was sent, as this job's can be compared by. What begins like
    a text of this job and goes on in other words may be that text, shortened or rewritten.
    """
    told = fold(row.prompt)
    texts = _texts(job)
    if told and texts:
        pairs = [(fold(mine.prompt), _texts(other), other) for mine, other in own]
        pairs = [(begins, sent, other) for begins, sent, other in pairs if begins and sent]
        as_sent = all(any(_agree(begins, text) for text in sent) for begins, sent, _ in pairs)
        needed = min(max(map(len, _titles(job) or texts)), _COMPARED)
        alike = [(begins, sent) for begins, sent, other in pairs if _model_of(other) == _model_of(job)]
        shown = [begins for begins, sent in alike if _in_common(begins, sent) >= needed]
        begins_alike = _in_common(told, texts) >= _LONG_BEGINNING or any(_agree(told, text) for text in texts)
        return len(shown) >= _ENOUGH_OWN_ROWS and as_sent and not begins_alike
    if not (_differ(_model_of(job), row.model) and _differ(job.generation_type, row.generation_type)):
        return False
    named = [mine for mine, other in own if (other.model, other.generation_type) == (job.model, job.generation_type)]
    as_sent = all((mine.model, mine.generation_type) == (job.model, job.generation_type) for mine in named)
    return len(named) >= _ENOUGH_OWN_ROWS and as_sent


def _in_common(told: str, texts: Collection[str]) -> int:
    """The length of the longest beginning that `told` shares with one of the texts, over as much as is compared."""
    return max((len(commonprefix([told[:_COMPARED], text])) for text in texts), default=0)  # noqa: RUF071 - no paths


def _own_rows(like: Job, evidence: Evidence) -> list[tuple[Row, Job]]:
    """Of the same route and door: how a history tells what another door has started says nothing of this one."""
    return [
        (evidence.rows[name], job)
        for name, job in evidence.owners.items()
        if (job.route, job.account) == (like.route, like.account) and name in evidence.rows
    ]


def _differ(ours: str | None, told: str | None) -> bool:
    return ours is not None and told is not None and ours != told


def _model_of(job: Job) -> str | None:
    return None if job.kind == "music" and job.arguments.get("model") is None else job.model


def _agree(told: str, text: str) -> bool:
    """Whether the beginnings are the same, over the shorter of the two."""
    length = min(len(told), len(text), _COMPARED)
    return length > 0 and told[:length] == text[:length]


def _titles(job: Job) -> set[str]:
    """What the history may call this job; which part of a song's wishes that is, is not documented."""
    parts = [job.arguments.get(name) for name in _SONG_TEXTS] if job.kind == "music" else []
    return {text for part in (job.prompt, *parts) if isinstance(part, str) and (text := fold(part))}


def _texts(job: Job) -> set[str]:
    """Every text that went out with this job, folded."""
    longer = {fold(text) for text in _strings(job.arguments) if "://" not in text}
    return _titles(job) | {text for text in longer if len(text) >= _SHORTEST_TEXT}


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


@lru_cache(maxsize=4096)  # one look compares each row with each job
@lru_cache(maxsize=1024)
def fold(text: str | None) -> str:
    """Letters and digits only, without case, accents, spaces and signs; a prompt that is cut folds to a beginning."""
    plain = unicodedata.normalize("NFKD", html.unescape(text or "")).casefold()
    return re.sub(r"[\W_]+", "", plain)


def doubles(rows: Iterable[Row], jobs: Sequence[Job]) -> list[tuple[Row, Job]]:
    """Rows that look as if the API had taken one request twice: of the prompt and model of a job, and within 15 minutes
    of it by the times that both tell. For people only; nothing is decided by it."""
    found = []
    for row in rows:
        told_at = moment(row.created_at)
        begins = fold(row.prompt)
        for job in jobs:
            alike = begins in _titles(job) and row.model == job.model and job.sent_at is not None
            if alike and told_at and abs(told_at.timestamp() - (job.sent_at or 0.0)) <= ARRIVAL_SECONDS:
                found.append((row, job))
                break
    return found


def in_lines(rows: Iterable[Row]) -> list[str]:
    """Rows as evidence for a person: the start of the prompt, model, time and credits, one line each."""
    return [
        ", ".join(
            (
                quoted(row.prompt, _TOLD) if row.prompt else "no prompt shown",
                on_one_line(row.model or "no model shown", _TOLD),
                on_one_line(row.created_at or "no time", 40),
                f"{row.credits:g} credits" if row.credits is not None else "credits not shown",
            )
        )
        for row in rows
    ]


# What the ledger keeps of it

_SHOWN = tuple(each.name for each in fields(Row))


def begin_look(tx: Transaction) -> Moment:
    """A read begins. For unknown jobs that this boot has never looked for, observed time begins with it."""
    tx.execute(
        "INSERT INTO watches (job, boot, since) "
        f"SELECT id, :boot, :at FROM {OPEN_JOBS} AND account = :account AND state = 'unknown' "
        "ON CONFLICT (job, boot) DO UPDATE SET since = excluded.since WHERE watches.since > excluded.since"
    )
    return tx.moment


def note_read(
    tx: Transaction, began: Moment, rows: Sequence[Row], arrival_seconds: float, balance: float | None = None
) -> Evidence:
    """A read has ended, and showed `rows`. What a row does not show any more is remembered as it was shown before."""
    tx.execute(
        "INSERT INTO history_reads (account, boot, began, ids, balance) VALUES (:account, :boot, :at, :ids, :balance)",
        boot=began.boot,
        at=began.at,
        ids=json.dumps(sorted({row.id for row in rows})),
        balance=balance,
    )
    tx.execute_for_each(
        f"INSERT INTO history_rows (account, {', '.join(_SHOWN)}) "
        f"VALUES (:account, {', '.join(f':{name}' for name in _SHOWN)}) "
        "ON CONFLICT (account, id) DO UPDATE SET "
        + ", ".join(f"{name} = COALESCE(excluded.{name}, history_rows.{name})" for name in _SHOWN[1:]),
        [vars(row) for row in {row.id: row for row in rows}.values()],
    )
    known = evidence(tx, arrival_seconds)
    _tidy(tx, known)
    return known


def evidence(tx: Transaction, arrival_seconds: float) -> Evidence:
    """Everything that is known about the jobs whose fate is open."""
    reads = [
        Read(row["number"], row["boot"], row["began"], frozenset(json.loads(row["ids"])))
        for row in tx.execute("SELECT * FROM history_reads WHERE account = :account ORDER BY number")
    ]
    shown = f"SELECT {', '.join(_SHOWN)} FROM history_rows WHERE account = :account"
    rows = {row["id"]: Row(*row) for row in tx.execute(shown)}
    return Evidence(
        unknown=_sent(tx, "state = 'unknown'"),
        sending=_sent(tx, "state = 'sending' AND sent_at IS NOT NULL"),
        reads=reads,
        rows=rows,
        owners=known_generations(tx, list(rows)),
        arrival_seconds=arrival_seconds,
    )


def _tidy(tx: Transaction, found: Evidence) -> None:
    """Forget the reads that no judgement needs any more, and the rows that only they showed."""
    needed = needed_reads(found)
    unneeded = [read.number for read in found.reads if read.number not in needed]
    if not unneeded:
        return
    shown = {name for read in found.reads if read.number in needed for name in read.ids}
    tx.execute_for_each("DELETE FROM history_reads WHERE number = :number", [{"number": each} for each in unneeded])
    tx.execute_for_each(
        "DELETE FROM history_rows WHERE account = :account AND id = :id",
        [{"id": name} for name in found.rows if name not in shown],
    )


def balance_before(tx: Transaction, reads_before: int) -> float | None:
    """Credits in the account when the history was last read before a send, if they were looked up with it."""
    row = tx.execute(
        "SELECT balance FROM history_reads WHERE account = :account AND number <= :before AND balance IS NOT NULL "
        "ORDER BY number DESC LIMIT 1",
        before=reads_before,
    ).fetchone()
    return None if row is None else row[0]


def _sent(tx: Transaction, condition: str) -> list[SentJob]:
    query = f"SELECT * FROM {OPEN_JOBS} AND account = :account AND {condition} ORDER BY seq"
    rows = tx.execute(with_generations(query)).fetchall()
    watches = "SELECT boot, since FROM watches WHERE job = :job"
    denied = "SELECT generation_id FROM denied_rows WHERE job = :job"
    asked = [(row, tx.ask(watches, job=row["id"]), tx.ask(denied, job=row["id"])) for row in rows]
    return [
        SentJob(tx.job_in(row), row["reads_before"], dict(since.fetchall()), frozenset(name for (name,) in ids))
        for row, since, ids in asked
    ]


def answer(
    tx: Transaction, accepts: Mapping[str, str], absent: Sequence[str], denied: Sequence[str], asked: Sequence[str]
) -> list[Job]:
    """What a person said of unknown jobs, all of it or nothing; returns the jobs that it settled.

    Args:
        accepts: The job of each row that is one; a further row of the same job is further work, and held back for.
        absent: Jobs that are none of the rows; those that found their fate meanwhile keep it.
        denied: Rows that are none of the jobs `asked` about.
    """
    tx.execute_for_each(
        "INSERT INTO denied_rows (job, generation_id) VALUES (:job, :generation) ON CONFLICT DO NOTHING",
        [{"job": job, "generation": row} for job in asked for row in denied],
    )
    ours: list[str] = []
    for row, job in accepts.items():
        if job in ours:
            accepted(tx, job, [row])
        elif adopt(tx, job, row):
            ours.append(job)
    settled = [tx.job(job) for job in ours]
    message = "A person said that the history's rows are not it."
    return settled + [not_accepted(tx, job, message) for job in absent if tx.job(job).state is State.UNKNOWN]
