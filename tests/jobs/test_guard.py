"""The guard: paid once, within the ceilings, whoever asks."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.budget import Ceilings, RunSpend
from kubeez_mcp_local.jobs.errors import CeilingError
from kubeez_mcp_local.jobs.guard import Approval, Limits
from kubeez_mcp_local.jobs.job import Job, Order, RunCall, State
from kubeez_mcp_local.jobs.ledger import LedgerFile
from tests.jobs.conftest import coded

Orders = Callable[..., Order]
Opener = Callable[..., LedgerFile]


def claimed(file: LedgerFile, *orders: Order) -> Job:
    job = file.claim(orders).claims[0].job
    assert job is not None
    return job


def accepted(file: LedgerFile, order: Order, generation_id: str = "gen-1") -> Job:
    job = claimed(file, order)
    assert file.dispatch(job, Limits()) is None
    return file.accepted(job.id, [generation_id])


def test_a_claim_reserves_its_quote(ledger_file: LedgerFile, order: Orders) -> None:
    job = claimed(ledger_file, order(price=14))
    assert (job.state, job.reserved, job.charged) == (State.SENDING, 14, None)
    assert ledger_file.today().reserved == 14


def test_looking_changes_nothing(ledger_file: LedgerFile, order: Orders) -> None:
    assert ledger_file.look([order()]).claims[0].job is None
    assert ledger_file.recent() == []


@pytest.mark.parametrize("stage", ["sending", "accepted", "completed"])
def test_the_same_intention_is_claimed_once(open_file: Opener, order: Orders, stage: str) -> None:
    ours, theirs = open_file(), open_file()
    job = claimed(ours, order()) if stage == "sending" else accepted(ours, order())
    if stage == "completed":
        job, _ = ours.settled(job.id, State.COMPLETED, 14, [])
    again = theirs.claim([order()]).claims[0]
    assert again.repeated
    assert again.job == job
    assert len(ours.recent()) == 1


def test_an_unfinished_job_is_repeated_however_old_it_is(
    ledger_file: LedgerFile, order: Orders, clock: SimpleNamespace
) -> None:
    job = accepted(ledger_file, order())
    clock.now += 7200
    assert ledger_file.claim([order()]).claims[0].job == job


def test_a_finished_job_may_be_ordered_again_after_ten_minutes(
    ledger_file: LedgerFile, order: Orders, clock: SimpleNamespace
) -> None:
    job = accepted(ledger_file, order())
    clock.now += 3600
    ledger_file.settled(job.id, State.COMPLETED, 14, [])
    clock.now += 599
    assert ledger_file.claim([order()]).claims[0].repeated
    clock.now += 2
    assert not ledger_file.claim([order()]).claims[0].repeated


@pytest.mark.parametrize("set_by", [86_400, -90_000])
def test_a_clock_that_is_set_makes_no_new_wish_of_a_repeat(
    open_file: Opener, order: Orders, clock: SimpleNamespace, set_by: float
) -> None:
    steady = SimpleNamespace(now=500.0)
    file = open_file(steady=lambda: steady.now)
    file.settled(accepted(file, order()).id, State.COMPLETED, 14, [])
    clock.now += set_by
    steady.now += 599
    assert file.look([order()]).claims[0].repeated
    assert file.claim([order()]).claims[0].repeated
    steady.now += 1
    assert not file.claim([order()]).claims[0].repeated


def test_after_a_restart_of_the_machine_a_repeat_is_counted_from_the_first_one(
    open_file: Opener, order: Orders, clock: SimpleNamespace
) -> None:
    before = open_file()
    before.settled(accepted(before, order()).id, State.COMPLETED, 14, [])
    clock.now += 86_400
    after = open_file(boot="the next", steady=lambda: clock.now - 100_000)
    assert after.claim([order()]).claims[0].repeated
    clock.now += 599
    assert after.claim([order()]).claims[0].repeated
    clock.now += 1
    assert not after.claim([order()]).claims[0].repeated


def test_a_result_that_comes_late_is_done_from_then_on(
    ledger_file: LedgerFile, order: Orders, clock: SimpleNamespace
) -> None:
    job, _ = ledger_file.settled(accepted(ledger_file, order()).id, State.FAILED, 0, [], "moderation")
    clock.now += 3600
    ledger_file.finished_late(job, 14, [{"id": "gen-1"}])
    clock.now += 599
    assert ledger_file.claim([order()]).claims[0].repeated


@pytest.mark.parametrize("end", ["refused", "failed"])
def test_what_cost_nothing_may_be_tried_again_at_once(ledger_file: LedgerFile, order: Orders, end: str) -> None:
    if end == "refused":
        ledger_file.refused(claimed(ledger_file, order()).id, "refused", "no")
    else:
        ledger_file.settled(accepted(ledger_file, order()).id, State.FAILED, 0, [], "moderation")
    assert ledger_file.today().reserved == 0
    assert not ledger_file.claim([order()]).claims[0].repeated


def test_an_unknown_job_blocks_whatever_is_alike(ledger_file: LedgerFile, order: Orders) -> None:
    job = claimed(ledger_file, order("a", prompt="a fox"))
    ledger_file.unknown(job.id, "ambiguous", "cut")
    for alike in (order("a", prompt="a fox"), order("b", prompt="a fox")):
        blocked = ledger_file.claim([alike])
        assert blocked.blocked_by is not None
        assert blocked.blocked_by.id == job.id
    assert ledger_file.claim([order("c", prompt="a wolf")]).blocked_by is None
    assert ledger_file.claim([order("d", prompt="a fox", model="z-image")]).blocked_by is None
    assert ledger_file.today().reserved == 3 * 14


def test_jobs_without_a_prompt_are_alike_when_they_are_about_the_same_files(
    ledger_file: LedgerFile, order: Orders
) -> None:
    def separation(digest: str, media: str, **more: str) -> Order:
        return order(digest, prompt="", route="generate_separation", arguments={"media_url": media, **more})

    job = claimed(ledger_file, separation("a", "song.mp3"))
    ledger_file.unknown(job.id, "ambiguous", "cut")
    assert ledger_file.claim([separation("b", "other.mp3")]).blocked_by is None
    assert ledger_file.claim([separation("c", "song.mp3", quality="best")]).blocked_by is not None
    assert ledger_file.claim([separation("a", "song.mp3")]).blocked_by is not None
    assert ledger_file.claim([order("d", prompt="", arguments={"media_url": "song.mp3"})]).blocked_by is None


def test_the_ceiling_per_call_counts_all_orders_of_the_call(open_file: Opener, order: Orders) -> None:
    file = open_file(per_call=40)
    with pytest.raises(CeilingError, match="42 credits; the ceiling for one call is 40 credits"):
        file.claim([order("a"), order("b"), order("c")])
    assert file.recent() == []
    assert len(file.claim([order("a"), order("b")]).claims) == 2


def test_the_ceiling_per_day_counts_spent_and_reserved_of_all_processes(open_file: Opener, order: Orders) -> None:
    ours, theirs = open_file(per_day=40), open_file(per_day=40)
    ours.settled(accepted(ours, order("a")).id, State.COMPLETED, 14, [])
    claimed(theirs, order("b"))
    with pytest.raises(CeilingError, match="14 credits are spent and 14 credits are reserved"):
        ours.claim([order("c")])


def test_what_it_really_cost_replaces_the_quote(ledger_file: LedgerFile, order: Orders) -> None:
    job = accepted(ledger_file, order())
    settled, ours = ledger_file.settled(job.id, State.COMPLETED, 10.5, [])
    assert ours
    assert (settled.reserved, settled.charged) == (0, 10.5)
    assert ledger_file.today().spent == 10.5


def test_only_one_of_two_followers_settles(open_file: Opener, order: Orders) -> None:
    ours, theirs = open_file(), open_file()
    job = accepted(ours, order())
    assert ours.settled(job.id, State.COMPLETED, 14, [])[1]
    assert not theirs.settled(job.id, State.COMPLETED, 99, [])[1]
    assert ours.today().spent == 14


def test_an_unknown_price_holds_back_the_whole_ceiling_per_call(open_file: Opener, order: Orders) -> None:
    file = open_file(per_call=500, per_day=900)
    assert claimed(file, order("a", price=None)).reserved == 500
    with pytest.raises(CeilingError):
        file.claim([order("b", price=None)])


def test_a_day_without_room_for_an_unknown_price_says_why_so_much_is_needed(open_file: Opener, order: Orders) -> None:
    file = open_file(per_call=50, per_day=40)
    with pytest.raises(CeilingError, match=r"price of this call is not known.* needs 50 credits") as caught:
        file.claim([order(price=None)])
    assert "lower KUBEEZ_MAX_CREDITS_PER_CALL" in caught.value.next_step


def test_a_price_that_stays_unknown_stays_reserved(ledger_file: LedgerFile, order: Orders) -> None:
    job = accepted(ledger_file, order(price=None))
    ledger_file.settled(job.id, State.COMPLETED, None, [])
    assert (ledger_file.today().spent, ledger_file.today().reserved) == (0, 500)
    ledger_file.ceilings = Ceilings(500, 600)
    with pytest.raises(CeilingError, match=f"for ended jobs whose price the API did not tell .{job.id[:8]}."):
        ledger_file.claim([order("b", price=150)])


def test_the_estimate_of_the_api_replaces_an_unknown_price(ledger_file: LedgerFile, order: Orders) -> None:
    job = claimed(ledger_file, order(price=None))
    ledger_file.accepted(job.id, ["gen-1"], estimate=21)
    assert ledger_file.today().reserved == 21


@pytest.mark.parametrize("ceilings", [{"per_call": 0}, {"per_day": 0}])
def test_a_ceiling_of_zero_lets_nothing_through_that_costs(
    open_file: Opener, order: Orders, ceilings: dict[str, float]
) -> None:
    file = open_file(**ceilings)
    for price in (0.5, None):
        with pytest.raises(CeilingError, match="is 0, so nothing may be spent"):
            file.claim([order(price=price)])
    assert claimed(file, order(price=0)).reserved == 0


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_ceilings_are_numbers(value: float) -> None:
    with pytest.raises(ValueError, match="a ceiling is a number of credits"):
        Ceilings(value, 1)


@pytest.mark.parametrize("estimate", [0.0, -3.0, 100_001.0, 1e300, float("nan"), float("inf")])
def test_an_estimate_that_says_nothing_releases_nothing(
    ledger_file: LedgerFile, order: Orders, estimate: float
) -> None:
    job = claimed(ledger_file, order(price=14.0))
    assert ledger_file.accepted(job.id, ["gen-1"], estimate).reserved == 14


def test_a_charge_that_cannot_be_true_keeps_what_was_reserved(ledger_file: LedgerFile, order: Orders) -> None:
    for charged in (1e300, -14.0, float("nan"), float("inf")):
        job = accepted(ledger_file, order(f"charged {charged}", price=14.0), f"gen-{charged}")
        settled, _ = ledger_file.settled(job.id, State.COMPLETED, charged, [])
        assert (settled.state, settled.charged, settled.reserved) == (State.COMPLETED, None, 14)


def test_the_smallest_price_is_more_than_nothing(open_file: Opener, order: Orders) -> None:
    with pytest.raises(CeilingError, match="is 0, so nothing may be spent"):
        open_file(per_call=0).claim([order(price=0.0000001)])


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), 1e300])
def test_a_quote_that_is_no_amount_is_refused(ledger_file: LedgerFile, order: Orders, value: float) -> None:
    with pytest.raises(KubeezError, check=coded("unusable_quote")):
        ledger_file.claim([order(price=value)])


def test_accounts_do_not_share_jobs_or_budgets(open_file: Opener, order: Orders) -> None:
    first, second = open_file("live-1", per_day=20), open_file("live-2", per_day=20)
    claimed(first, order())
    assert not second.claim([order()]).claims[0].repeated
    assert len(first.recent()) == len(second.recent()) == 1


def test_a_new_utc_day_has_a_new_budget(open_file: Opener, order: Orders, clock: SimpleNamespace) -> None:
    file = open_file(per_day=20)
    claimed(file, order("a"))
    clock.now += 86_400
    assert claimed(file, order("b")).reserved == 14


def test_a_clock_set_back_opens_no_new_budget(open_file: Opener, order: Orders, clock: SimpleNamespace) -> None:
    file = open_file(per_day=20)
    claimed(file, order("a"))
    clock.now -= 3 * 86_400
    with pytest.raises(CeilingError, match="the ledger has already seen"):
        file.claim([order("b")])


def test_a_clock_that_ran_ahead_can_be_accepted_again_and_what_was_spent_still_counts(
    open_file: Opener, order: Orders, clock: SimpleNamespace
) -> None:
    file = open_file(per_day=20)
    clock.now += 400 * 86_400
    file.settled(accepted(file, order("a")).id, State.COMPLETED, 14, [])
    clock.now -= 400 * 86_400
    file.accept_clock()
    assert file.today().spent == 14
    clock.now += 86_400
    assert claimed(file, order("b")).reserved == 14


def test_halves_of_credits_add_up_exactly(open_file: Opener, order: Orders) -> None:
    file = open_file(per_day=3)
    for number in range(10):
        file.claim([order(str(number), price=0.3)])
    with pytest.raises(CeilingError):
        file.claim([order("one too many", price=0.000001)])


def of_run(number: int, budget: float = 1000, run: str = "ads-1", at_most: float | None = None) -> dict[str, Any]:
    return {"digest": f"{run}-{number}", "run": RunCall(run, f"hero[{number}]", budget, at_most)}


def test_a_run_counts_as_one_call_whatever_it_allows_itself(open_file: Opener, order: Orders) -> None:
    ledger_file = open_file(per_call=30)
    for number in range(2):
        accepted(ledger_file, order(**of_run(number, budget=500)), f"gen-{number}")
    ledger_file.settled(ledger_file.recent()[0].id, State.COMPLETED, 14, [])
    with pytest.raises(CeilingError, match=r"costs 14 credits, and of the ceiling for one run .* 2 credits are left"):
        ledger_file.claim([order(**of_run(2, budget=500))])
    accepted(ledger_file, order(**of_run(2, run="other")), "gen-3")
    accepted(ledger_file, order("by itself"), "gen-4")


def test_a_run_has_a_ceiling_of_its_own_and_a_budget_below_it(open_file: Opener, order: Orders) -> None:
    ledger_file = open_file(per_call=30, per_run=100)
    for number in range(5):
        claimed(ledger_file, order(**of_run(number, budget=70)))
    with pytest.raises(CeilingError, match="budget of this run, 70 credits, 0 credits are left") as refused:
        ledger_file.claim([order(**of_run(5, budget=70))])
    assert refused.value.code == "budget_reached"
    claimed(ledger_file, order(**of_run(5, budget=84)))
    with pytest.raises(CeilingError, match="ceiling for one call is 30"):
        ledger_file.claim([order(price=31, **of_run(6))])


def test_what_only_waits_for_jobs_of_its_run_says_so(open_file: Opener, order: Orders) -> None:
    ledger_file = open_file(per_call=30)
    job = accepted(ledger_file, order(price=None, **of_run(0, at_most=20)))
    assert job.reserved == 30
    with pytest.raises(CeilingError) as refused:
        ledger_file.claim([order(**of_run(1))])
    assert (refused.value.retry_safe, refused.value.retry_after) == (True, 2.0)
    ledger_file.settled(job.id, State.COMPLETED, 20, [])
    with pytest.raises(CeilingError) as refused:
        ledger_file.claim([order(**of_run(1))])
    assert not refused.value.retry_safe
    for at_most, words in ((None, "price is unknown"), (11, "costs 11 credits, .* 10 credits are left")):
        with pytest.raises(CeilingError, match=words):
            ledger_file.claim([order(price=None, **of_run(2, at_most=at_most))])
    assert claimed(ledger_file, order(price=None, **of_run(2, at_most=10))).reserved == 10


def test_the_part_of_a_run_whose_fate_is_unknown_counts(open_file: Opener, order: Orders) -> None:
    ledger_file = open_file(per_call=30)
    job = claimed(ledger_file, order(**of_run(0)))
    ledger_file.dispatch(job, Limits())
    ledger_file.unknown(job.id, "cut", "no answer")
    claimed(ledger_file, order(**of_run(1)))
    with pytest.raises(CeilingError) as refused:
        ledger_file.claim([order(**of_run(2))])
    assert refused.value.retry_safe, "the other one may yet give its credits back"
    assert ledger_file.run_spend("ads-1") == RunSpend(0, 28, 14, 14, 2)


def test_a_call_of_a_run_is_paid_once_however_late_it_comes_again(
    ledger_file: LedgerFile, order: Orders, clock: SimpleNamespace
) -> None:
    job = accepted(ledger_file, order(**of_run(0)))
    ledger_file.settled(job.id, State.COMPLETED, 14, [])
    clock.now += 30 * 86400
    assert ledger_file.claim([order(**of_run(0))]).claims[0].repeated


def approval(code: str, *, account: str = "live-1", digest: str = "digest-1", quote: float | None = 14) -> Approval:
    return Approval(code, account, digest, quote)


def test_a_code_lets_its_call_through_once(ledger_file: LedgerFile, order: Orders) -> None:
    code = ledger_file.issue_approval("digest-1", 14)
    job = ledger_file.claim([order()], approval(code)).claims[0].job
    assert job is not None
    ledger_file.refused(job.id, "refused", "no")
    with pytest.raises(KubeezError, check=coded("approval_invalid"), match="used before"):
        ledger_file.claim([order()], approval(code))


def test_a_replay_with_the_used_code_gets_the_running_job(ledger_file: LedgerFile, order: Orders) -> None:
    code = ledger_file.issue_approval("digest-1", 14)
    first = ledger_file.claim([order()], approval(code)).claims[0]
    again = ledger_file.claim([order()], approval(code)).claims[0]
    assert again.repeated
    assert again.job == first.job


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"digest": "other"}, "other arguments"),
        ({"quote": 15}, "another price"),
        ({"quote": None}, "another price"),
        ({"account": "live-2"}, "not one that this server gave out"),
    ],
)
def test_a_code_counts_for_nothing_else(
    ledger_file: LedgerFile, order: Orders, given: dict[str, str | float | None], why: str
) -> None:
    code = ledger_file.issue_approval("digest-1", 14)
    fields: dict[str, object] = {"account": "live-1", "digest": "digest-1", "quote": 14.0} | given
    with pytest.raises(KubeezError, check=coded("approval_invalid"), match=why):
        ledger_file.claim([order()], Approval(code, **fields))  # type: ignore[arg-type]  # parametrised by name
    assert ledger_file.recent() == []
    assert ledger_file.claim([order()], approval(code)).claims[0].job


@pytest.mark.parametrize("invented", ["", "ok", "ok-AAAA-AAAA-AAAA-AAAA-AAAA-AAAA", "yes", "' OR 1=1 --"])
def test_an_invented_code_is_refused(ledger_file: LedgerFile, order: Orders, invented: str) -> None:
    with pytest.raises(KubeezError, check=coded("approval_invalid"), match="not one that this server gave out"):
        ledger_file.claim([order()], approval(invented))


@pytest.mark.parametrize("later", [601, -61])
def test_a_code_is_valid_for_ten_minutes_and_not_in_a_past_that_never_was(
    ledger_file: LedgerFile, order: Orders, clock: SimpleNamespace, later: float
) -> None:
    code = ledger_file.issue_approval("digest-1", 14)
    clock.now += later
    with pytest.raises(KubeezError, check=coded("approval_invalid"), match="expired"):
        ledger_file.claim([order()], approval(code))


def test_a_code_from_a_clock_that_ran_ahead_does_not_come_to_life_when_its_time_comes(
    ledger_file: LedgerFile, order: Orders, clock: SimpleNamespace
) -> None:
    clock.now += 86_400
    early = ledger_file.issue_approval("digest-1", 14)
    clock.now -= 86_400
    ledger_file.issue_approval("digest-2", 14)
    clock.now += 86_400
    with pytest.raises(KubeezError, check=coded("approval_invalid"), match="not one that this server gave out"):
        ledger_file.claim([order()], approval(early))


def test_a_code_is_not_kept_in_the_file(ledger_file: LedgerFile) -> None:
    code = ledger_file.issue_approval("digest-1", 14)
    held = ledger_file.path.read_bytes() + ledger_file.path.with_name("ledger.db-wal").read_bytes()
    assert code.encode() not in held


def test_codes_survive_a_restart_and_are_hard_to_guess(open_file: Opener, order: Orders) -> None:
    first = open_file()
    codes = {first.issue_approval("digest-1", 14) for _ in range(50)}
    assert len(codes) == 50
    assert all(len(code.removeprefix("ok-").replace("-", "")) == 24 for code in codes)
    first.close()
    assert open_file().claim([order()], approval(codes.pop())).claims[0].job


def test_a_refused_ceiling_does_not_use_the_code_up(open_file: Opener, order: Orders) -> None:
    file = open_file(per_day=20)
    code = file.issue_approval("digest-1", 14)
    other = file.claim([order("other")]).claims[0].job
    assert other is not None
    with pytest.raises(Exception, match="of the day's 20 credits"):
        file.claim([order()], approval(code))
    file.refused(other.id, "refused", "no")
    assert file.claim([order()], approval(code)).claims[0].job
