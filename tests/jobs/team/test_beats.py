"""Who is dead is watched, not computed: an outage, a stopped observer or a moved beat prove nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from kubeez_mcp_local.jobs.errors import LedgerError
from kubeez_mcp_local.jobs.team.beats import TeamOwner, Timing, Watch

TIMING = Timing(beat=2.0, dead=10.0, by_itself=False)


def watched(beats: list[int | None], *, every: float = 2.0) -> Watch:
    """A watch after looks at one owner's beat; `None` for a look that failed."""
    watch = Watch(TIMING)
    for number, beat in enumerate(beats):
        if beat is None:
            watch.miss()
        else:
            watch.look({"theirs": beat}, number * every)
    return watch


def test_a_beat_that_is_seen_to_stand_still_is_that_of_a_dead_process() -> None:
    assert not watched([7] * 5).is_dead("theirs", 7)
    assert watched([7] * 6).is_dead("theirs", 7)


def test_one_that_moves_is_not() -> None:
    assert not watched([7, 7, 7, 7, 7, 8, 8]).is_dead("theirs", 8)


def test_one_that_has_moved_since_the_last_look_is_not() -> None:
    assert not watched([7] * 9).is_dead("theirs", 8)


def test_what_passes_in_an_outage_does_not_count() -> None:
    watch = watched([7, 7, None, None, None, None, None, None, None, 7])
    assert not watch.is_dead("theirs", 7)


def test_nor_what_passes_while_the_observer_is_stopped() -> None:
    assert not watched([7, 7, 7], every=600.0).is_dead("theirs", 7)


def test_late_looks_count_as_long_as_none_is_a_large_part_of_the_wait() -> None:
    assert Timing().close == Timing(beat=2.0).close == 4.0
    assert watched([7] * 4, every=4.0).is_dead("theirs", 7)
    assert not watched([7] * 40, every=4.1).is_dead("theirs", 7)


def test_an_owner_that_was_never_seen_is_not() -> None:
    assert not watched([7] * 9).is_dead("another", 7)


def test_a_failed_beat_is_a_look_that_failed() -> None:
    clock = SimpleNamespace(now=0.0)

    class Heart:
        down = False

        def beat(self, owner: str) -> dict[str, int]:
            if self.down:
                raise LedgerError("there", "is down", next_step="", code="ledger_unreachable")
            return {"theirs": 3, owner: 1}

        def close(self) -> None: ...

    heart: Any = Heart()
    owner = TeamOwner(heart, TIMING, steady=lambda: clock.now)
    for beat in range(12):
        clock.now, heart.down = 2.0 * beat, beat % 2 == 1
        owner.beat()
    assert not owner._watch.is_dead("theirs", 3)
    heart.down = False
    for beat in range(12, 18):
        clock.now = 2.0 * beat
        owner.beat()
    assert owner._watch.is_dead("theirs", 3)
