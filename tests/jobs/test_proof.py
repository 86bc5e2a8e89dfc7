"""What reads prove, by itself: coverage, matches, strangers, and what is left to a person."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.jobs.job import Job, State
from kubeez_mcp_local.jobs.proof import Evidence, Read, Row, SentJob, assign, judge, kinship, needed_reads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FOX = "A photograph of a red fox that sleeps in fresh snow under a birch"
MODEL, KIND = "nano-banana-2", "text-to-image"
SENT = 1000.0


@pytest.fixture
def job(order: Callable[..., Any], ledger_file: Any) -> Callable[..., Job]:
    """A job as the ledger has it; every keyword replaces a field."""
    template = ledger_file.claim([order()]).claims[0].job

    def make(name: str = "lost", prompt: str = FOX, **changes: Any) -> Job:
        fields = {"id": name, "prompt": prompt, "arguments": {"prompt": prompt}, "state": State.UNKNOWN}
        made: Job = replace(template, **(fields | changes))
        return made

    return make


def row(name: str, prompt: str | None = None, model: str | None = MODEL, kind: str | None = KIND) -> Row:
    return Row(name, prompt, model, kind)


def read(number: int, began: float, *names: str, boot: str = "b") -> Read:
    return Read(number, boot, began, frozenset(names))


def lost(job: Job, **changes: Any) -> SentJob:
    fields: dict[str, Any] = {"reads_before": 1, "since": {"b": SENT}}
    return SentJob(job, **(fields | changes))


def evidence(sent: SentJob, own: Iterable[Job], reads: list[Read], *rows: Row, **more: Any) -> Evidence:
    """Two reads more than `reads` are not there; the rows of own jobs are told as they were sent."""
    owners = {f"own-{one.id}": one for one in own}
    told = [row(name, one.prompt, one.model, one.generation_type) for name, one in owners.items()]
    return Evidence([sent], reads=reads, rows={one.id: one for one in (*told, *rows)}, owners=owners, **more)


@pytest.fixture
def own(job: Callable[..., Job]) -> list[Job]:
    return [
        job("1", "a wolf at night, in fresh snow under a birch, seen from afar"),
        job("2", "a bear that stands in a river and waits for the salmon to jump"),
    ]


STEADY = [read(1, 900, "own-1", "own-2"), read(2, 1500, "own-1", "own-2", "x"), read(3, 1900, "own-2", "x")]


def test_what_no_read_can_have_missed_and_nothing_resembles_is_absent(job: Callable[..., Job], own: list[Job]) -> None:
    (verdict,) = judge(evidence(lost(job()), own, STEADY, row("x", "a wolf")))
    assert (verdict.outcome, verdict.covered, verdict.listed) == ("absent", True, True)


@pytest.mark.parametrize(
    ("reads", "outcome"),
    [
        pytest.param([STEADY[0], STEADY[1], read(3, 1899, "own-2", "x")], "waiting", id="too early by a second"),
        pytest.param([STEADY[0], read(2, 2000, "y", "x")], "person", id="no overlap"),
        pytest.param([STEADY[0], read(2, 1500, "y"), read(3, 2000, "y", "own-2")], "absent", id="around a gap"),
        pytest.param([read(2, 1500, "own-1", "own-2"), read(3, 2000, "own-1")], "person", id="nothing known before"),
        pytest.param([*STEADY[:2], read(3, 9e9, "own-2", "x", boot="other")], "waiting", id="another machine's clock"),
        pytest.param([read(1, 900), read(2, 1500, "x"), read(3, 2000, "x", "own-1")], "absent", id="from nothing on"),
        pytest.param([read(1, 900), read(2, 2000, "x", "own-1")], "person", id="from nothing on, perhaps cut off"),
        pytest.param([STEADY[0], read(2, 1500), read(3, 2000, "x")], "person", id="an empty answer in between"),
    ],
)
def test_coverage(job: Callable[..., Job], own: list[Job], reads: list[Read], outcome: str) -> None:
    strangers = [row("x", "a wolf"), row("y", "a cat")]
    (verdict,) = judge(evidence(lost(job()), own, reads, *strangers))
    assert verdict.outcome == outcome


@pytest.mark.parametrize(
    "told",
    [
        row("x", FOX[:20]),
        row("x", f"{FOX[:12]}…"),
        row("x", FOX.upper().replace(" ", "  ")),
        row("x", FOX, model="Nano Banana 2", kind="image"),
        row("x", FOX + ", and then quite another end"),
        row("x", None),
        row("x", None, model=None, kind=None),
        row("x", "🦊"),
    ],
    ids=lambda told: repr(told.prompt)[:20],
)
def test_whatever_may_be_it_is_a_suspect(job: Callable[..., Job], own: list[Job], told: Row) -> None:
    (verdict,) = judge(evidence(lost(job()), own, STEADY, told))
    assert verdict.outcome in ("person", "accepted")
    if verdict.outcome == "person":
        assert verdict.suspects == (told,)


def test_a_stranger_is_proven_by_two_own_rows_that_are_told_as_they_were_sent(
    job: Callable[..., Job], own: list[Job]
) -> None:
    stranger = row("x", "somebody else's castle")
    assert judge(evidence(lost(job()), own, STEADY, stranger))[0].outcome == "absent"
    assert judge(evidence(lost(job()), own[:1], STEADY, stranger))[0].suspects == (stranger,)
    elsewhere = [replace(one, route="generate_music") for one in own]
    assert judge(evidence(lost(job()), elsewhere, STEADY, stranger))[0].listed is False
    told = evidence(lost(job()), own, STEADY, stranger)
    rewritten = {**told.rows, "own-2": row("own-2", "An enhanced bear")}
    assert judge(replace(told, rows=rewritten))[0].suspects == (stranger,)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"prompt": "a bear"}, id="a short prompt, while ours may be shortened"),
        pytest.param({"model": "z-image"}, id="another model, while ours may have its prompts rewritten"),
    ],
)
def test_own_rows_of_other_models_and_of_shorter_prompts_prove_no_stranger(
    job: Callable[..., Job], own: list[Job], changes: dict[str, Any]
) -> None:
    stranger = row("x", "Photo… more")
    assert judge(evidence(lost(job()), own, STEADY, stranger))[0].outcome == "absent"
    unlike = [own[0], job("2", **({"prompt": own[1].prompt} | changes))]
    assert judge(evidence(lost(job()), unlike, STEADY, stranger))[0].suspects == (stranger,)
    short = lost(job(prompt="a fox"))
    assert judge(evidence(short, [own[0], job("2", "a bear")], STEADY, stranger))[0].outcome == "absent"


def test_what_begins_like_our_text_and_ends_in_other_words_is_no_stranger(
    job: Callable[..., Job], own: list[Job]
) -> None:
    shortened = row("x", f"{FOX[:20]}… more")
    assert judge(evidence(lost(job()), own, STEADY, shortened))[0].suspects == (shortened,)
    assert judge(evidence(lost(job()), own, STEADY, row("x", f"{FOX[:12]} of a wolf")))[0].outcome == "absent"


def test_without_a_prompt_type_and_model_tell_a_stranger_where_they_are_told_as_sent(
    job: Callable[..., Job],
) -> None:
    song = {"route": "generate_separation", "model": "mvsep-40", "generation_type": "separation"}
    open_job = lost(job(prompt="", **song))
    own = [job("1", "", **song), job("2", "", **song)]
    stranger = row("x", None, "nano-banana-2", "text-to-image")
    told = evidence(open_job, own, STEADY, stranger)
    assert judge(told)[0].outcome == "absent"
    renamed = {**told.rows, "own-2": row("own-2", None, "MVSep", "separation")}
    assert judge(replace(told, rows=renamed))[0].suspects == (stranger,)
    half = evidence(open_job, own, STEADY, row("x", None, "mvsep-40", "text-to-image"))
    assert judge(half)[0].outcome == "person"


def test_the_first_covered_read_after_the_time_closes_the_list(job: Callable[..., Job], own: list[Job]) -> None:
    later = [*STEADY, read(4, 2500, "x", "doubtful")]
    (verdict,) = judge(evidence(lost(job()), own, later, row("x", "a wolf"), row("doubtful")))
    assert verdict.outcome == "absent"


def test_exactly_one_row_that_nobody_else_can_be_is_a_match(job: Callable[..., Job], own: list[Job]) -> None:
    told = evidence(lost(job()), own, STEADY, row("x", FOX))
    assert (judge(told)[0].outcome, judge(told)[0].row) == ("accepted", "x")
    cut = evidence(lost(job()), own, STEADY, row("x", FOX[:60]))
    assert judge(cut)[0].row == "x"
    twin = replace(told, sending=[lost(job("twin"), reads_before=1)])
    assert judge(twin)[0].outcome == "person"
    later_twin = replace(told, sending=[lost(job("twin"), reads_before=3)])
    assert judge(later_twin)[0].row == "x"
    two = [read(1, 900, "own-1"), read(2, 1000, "own-1", "x", "y")]
    assert judge(evidence(lost(job()), own, two, row("x", FOX), row("y", FOX)))[0].outcome == "waiting"


def test_a_row_that_is_one_jobs_is_not_anothers(job: Callable[..., Job], own: list[Job]) -> None:
    told = evidence(lost(job()), own, STEADY, row("x", FOX))
    other = lost(job("other", "quite another thing"))
    assert [verdict.outcome for verdict in judge(replace(told, unknown=[*told.unknown, other]))] == [
        "accepted",
        "absent",
    ]


def test_what_a_person_points_at_goes_to_the_likest_job(job: Callable[..., Job]) -> None:
    jobs = [lost(job("wolf", "a wolf")), lost(job("fox"))]
    assert assign(jobs, [row("x", None), row("y", FOX)]) == {"y": "fox", "x": "wolf"}
    assert kinship(job(), row("y", FOX)) == "same"


def test_rows_more_than_there_are_jobs_go_to_the_job_they_are_like(job: Callable[..., Job]) -> None:
    jobs = [lost(job("wolf", "a wolf")), lost(job("fox"))]
    rows = [row("x", FOX), row("y", FOX), row("z", "a wolf")]
    assert assign(jobs, rows) == {"x": "fox", "y": "fox", "z": "wolf"}
    assert assign(jobs, rows[:2]) == {"x": "fox", "y": "fox"}
    assert assign(jobs[:1], rows[:2]) == {"x": "wolf", "y": "wolf"}


def test_reads_are_kept_as_long_as_a_judgement_may_need_them(job: Callable[..., Job], own: list[Job]) -> None:
    reads = [read(number, 900 + 100 * number, "x") for number in range(1, 101)]
    sent = lost(job(), reads_before=40, since={"b": 4950.0})
    kept = needed_reads(evidence(sent, own, reads, row("x", "a wolf")))
    assert kept == {*range(36, 41), *range(41, 51), *range(96, 101)}
