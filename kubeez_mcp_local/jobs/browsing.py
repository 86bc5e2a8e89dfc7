"""Looking through everything that was made: one row an output, newest day first. On this machine that is over all its
accounts; in a team's ledger it is the team's own, since another team's may lie beside them.

The database does the work, so that ten thousand outputs are counted, searched and paged in some tens of milliseconds
each.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from kubeez_mcp_local.jobs.job import SANDBOX, to_micro
from kubeez_mcp_local.jobs.rows import OPEN_JOBS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubeez_mcp_local.jobs.job import Job
    from kubeez_mcp_local.jobs.rows import Transaction


class Wanted(Protocol):
    """Which outputs are looked for; what is empty or `None` does not narrow.

    `words` are all found in the prompt, the model, the names of file, recipe and run, whatever their case. Days are
    as `2026-11-29`, both inclusive. `least` and `most` are credits of the whole job. `mode` is `live` or `sandbox`.
    """

    @property
    def words(self) -> str: ...
    @property
    def since(self) -> str: ...
    @property
    def until(self) -> str: ...
    @property
    def recipe(self) -> str: ...
    @property
    def run(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def mode(self) -> str: ...
    @property
    def least(self) -> float | None: ...
    @property
    def most(self) -> float | None: ...


_OUTPUTS = "FROM jobs, json_each(jobs.files) AS file"
_KIND = "substr(json_extract(file.value, '$.media_type'), 1, instr(json_extract(file.value, '$.media_type'), '/') - 1)"
_MODE = f"CASE WHEN account LIKE '{SANDBOX}%' THEN 'sandbox' ELSE 'live' END"
# As bytes, since the name of a file need not be UTF-8.
_SEARCHED = "searched(prompt, model, recipe, run, CAST(json_extract(file.value, '$.path') AS BLOB))"
_RUN = "CASE WHEN instr(run, '/') > 0 THEN substr(run, 1, instr(run, '/') - 1) ELSE run END"


def _mine(tx: Transaction) -> str:
    return "account IN (:account, :beside)" if tx.counted else "1 = 1"


def _where(tx: Transaction, wanted: Wanted) -> tuple[str, dict[str, Any]]:
    """The condition for `wanted` and its values."""
    least, most = (None if each is None else to_micro(each) for each in (wanted.least, wanted.most))
    words = _needed(wanted.words.casefold().split())
    terms: list[tuple[str, str, Any]] = [
        *((f"instr({_SEARCHED}, :word{at}) > 0", f"word{at}", word) for at, word in enumerate(words)),
        ("day >= :since", "since", wanted.since),
        ("day <= :until", "until", wanted.until),
        ("recipe = :recipe", "recipe", wanted.recipe),
        (f"{_RUN} = :run", "run", wanted.run),
        ("model = :model", "model", wanted.model),
        (f"{_KIND} = :kind", "kind", wanted.kind),
        (f"{_MODE} = :mode", "mode", wanted.mode),
        ("COALESCE(charged, quote) >= :least", "least", least),
        ("COALESCE(charged, quote) <= :most", "most", most),
    ]
    used = [term for term in terms if term[2] not in ("", None)]
    return " AND ".join([_mine(tx), *(term for term, _, _ in used)]), {name: value for _, name, value in used}


def _needed(words: Sequence[str]) -> list[str]:
    """The words without those that another holds anyway, longest first: each costs a look at every output."""
    needed: list[str] = []
    for word in sorted(set(words), key=lambda word: (-len(word), word)):
        if not any(word in longer for longer in needed):
            needed.append(word)
    return needed


def days(tx: Transaction, wanted: Wanted) -> list[tuple[str, int]]:
    """How many outputs each day has, newest first."""
    condition, values = _where(tx, wanted)
    found = tx.execute(f"SELECT day, COUNT(*) {_OUTPUTS} WHERE {condition} GROUP BY day ORDER BY day DESC", **values)
    return [(row[0], row[1]) for row in found]


def outputs(tx: Transaction, wanted: Wanted, offset: int, limit: int) -> list[tuple[Job, int]]:
    """The outputs themselves in the order of `days`, newest first: each as its job and which of its files it is."""
    condition, values = _where(tx, wanted)
    found = tx.execute(
        f"SELECT jobs.id, file.key {_OUTPUTS} WHERE {condition} "
        "ORDER BY day DESC, jobs.seq DESC, file.key LIMIT :limit OFFSET :offset",
        **values,
        limit=limit,
        offset=offset,
    ).fetchall()
    jobs = {job_id: tx.job(job_id) for job_id in {row[0] for row in found}}
    return [(jobs[job_id], number) for job_id, number in found]


def choices(tx: Transaction) -> dict[str, list[tuple[str, int]]]:
    """What there is of each: `model`, `recipe`, `kind`, `mode`; the most frequent first, each with its outputs."""
    found = tx.execute(
        f"SELECT model, recipe, {_KIND}, {_MODE}, COUNT(*) {_OUTPUTS} WHERE {_mine(tx)} GROUP BY 1, 2, 3, 4"
    ).fetchall()
    counted: dict[str, Counter[str]] = {name: Counter() for name in ("model", "recipe", "kind", "mode")}
    for *values, count in found:
        for counter, value in zip(counted.values(), values, strict=True):
            counter[value] += count
    return {
        name: [(value, count) for value, count in counter.most_common() if value] for name, counter in counted.items()
    }


def under_way(tx: Transaction) -> list[Job]:
    """The jobs of all accounts of which something may still come, newest first."""
    return tx.jobs(f"SELECT * FROM {OPEN_JOBS} AND {_mine(tx)} ORDER BY seq DESC")


def whichever(tx: Transaction, job_ids: Sequence[str]) -> list[Job]:
    """Those of the jobs with these ledger ids that there are, of whatever account."""
    query = f"SELECT * FROM jobs WHERE id = :id AND {_mine(tx)}"
    return [job for each in job_ids for job in tx.jobs(query, id=each)]


@dataclass(frozen=True)
class Stamp:
    """Differs from an earlier one if the ledger was written to since, by this process or another."""

    others: int
    own: int


def stamp(tx: Transaction) -> Stamp:
    """What tells cheaply whether anything may have changed."""
    others = tx.execute("PRAGMA data_version").fetchone()[0]
    return Stamp(others, tx.execute("SELECT total_changes()").fetchone()[0])


def made(tx: Transaction) -> str:
    """Differs from an earlier one if there are other outputs, or a job has ended."""
    row = tx.execute(
        "SELECT COUNT(*), COALESCE(SUM(json_array_length(files)), 0), COALESCE(SUM(settled_at), 0), "
        f"COALESCE(SUM(saved_at), 0) FROM jobs WHERE {_mine(tx)}"
    ).fetchone()
    return "/".join(f"{value:.3f}" for value in tuple(row))
