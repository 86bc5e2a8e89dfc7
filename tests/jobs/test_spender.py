"""Spending: asked when it must be, sent once, and written down whatever happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.errors import (
    CeilingError,
    ConsentRequiredError,
    LedgerError,
    UnsettledJobError,
)
from kubeez_mcp_local.jobs.job import State
from kubeez_mcp_local.jobs.spender import needs_consent
from kubeez_mcp_local.rest.errors import (
    AmbiguousError,
    InsufficientCreditsError,
    RateLimitedError,
    RefusedError,
    UnauthorizedError,
    UnavailableError,
    UnexpectedAnswerError,
    UnreachableError,
    UnusableUrlError,
)
from tests.jobs.conftest import coded, sqlite_of

if TYPE_CHECKING:
    from types import SimpleNamespace

    from kubeez_mcp_local.jobs.job import Order

pytestmark = pytest.mark.anyio


async def states(bridge: Any) -> list[State]:
    return [job.state for job in await bridge.ledger.recent()]


async def test_an_order_becomes_an_accepted_job(assemble: Any, sendable: Any, api: Any, person: Any) -> None:
    async with assemble() as bridge:
        submission = await bridge.spender.submit(sendable(client="claude-code"), person("decline"))
        assert submission.job.state is State.ACCEPTED
        assert submission.job.generation_id == "gen-1"
        assert submission.job.client == "claude-code"
        assert not submission.repeated
        assert api.paid == ["gen-1"]


async def test_a_repeat_gets_the_same_job_and_nobody_is_asked_again(
    assemble: Any, sendable: Any, api: Any, person: Any
) -> None:
    async with assemble(asks_above=0) as ours, assemble(asks_above=0) as theirs:
        user = person("accept")
        first = await ours.spender.submit(sendable(), user)
        again = await theirs.spender.submit(sendable(), user)
        assert again.repeated
        assert again.job.id == first.job.id
        assert (len(api.paid), len(user.questions)) == (1, 1)


async def test_identical_calls_at_the_same_time_send_one_request(
    assemble: Any, sendable: Any, api: Any, person: Any
) -> None:
    async with assemble() as ours, assemble() as theirs:
        submissions: list[Any] = []

        async def submit(bridge: Any) -> None:
            submissions.append(await bridge.spender.submit(sendable(), person("accept")))

        async with anyio.create_task_group() as group:
            for bridge in (ours, theirs, ours, theirs):
                group.start_soon(submit, bridge)
        assert api.sent == 1
        assert sorted(submission.repeated for submission in submissions) == [False, True, True, True]
        assert len({submission.job.id for submission in submissions}) == 1


async def both(first: Any, second: Any, order: Order, api: Any, person: Any) -> list[Any]:
    """What two callers of one request come to, of whom the second asks while the request of the first is on its way."""
    came_to: list[Any] = [None, None]

    async def submit(bridge: Any, place: int) -> None:
        try:
            came_to[place] = await bridge.spender.submit(order, person("accept"))
        except KubeezError as error:
            came_to[place] = error

    api.gate = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(submit, first, 0)
        await api.arrived.wait()
        group.start_soon(submit, second, 1)
        await anyio.wait_all_tasks_blocked()
        api.gate.set()
    assert api.sent == 1
    return came_to


@pytest.mark.parametrize("where", ["the same process", "another process"])
@pytest.mark.parametrize(
    "behaviour",
    [
        RefusedError("No such model.", next_step="Choose another."),
        InsufficientCreditsError("Too few.", next_step="Buy some."),
        [AmbiguousError("cut")],
        AmbiguousError("cut"),
        None,
    ],
    ids=["refused", "too poor", "found in the history", "unknown", "accepted"],
)
async def test_who_repeats_a_request_on_its_way_is_told_what_its_first_caller_is_told(
    assemble: Any, sendable: Any, api: Any, person: Any, behaviour: Any, where: str
) -> None:
    async with assemble() as ours, assemble() as others:
        theirs = ours if where == "the same process" else others
        api.behaviours = [behaviour]
        first, second = await both(ours, theirs, sendable(), api, person)
        if isinstance(first, KubeezError):
            for name in ("code", "message", "next_step", "spent", "retry_safe", "retry_after"):
                assert getattr(second, name) == getattr(first, name), name
        else:
            assert second.repeated
            assert second.job.generation_id == first.job.generation_id == "gen-1"


async def test_who_repeats_a_request_that_gets_no_answer_is_told_to_call_again(
    assemble: Any, sendable: Any, api: Any, person: Any
) -> None:
    async with assemble() as ours, assemble() as theirs:
        api.gate = anyio.Event()
        theirs.spender.longest_wait = 0.1
        async with anyio.create_task_group() as group:
            group.start_soon(ours.spender.submit, sendable(), person("accept"))
            await api.arrived.wait()
            with pytest.raises(KubeezError, match="on its way already") as caught:
                await theirs.spender.submit(sendable(), person("accept"))
            api.gate.set()
        assert (caught.value.code, caught.value.spent, caught.value.retry_safe) == ("busy", None, True)


async def test_who_repeats_a_request_whose_process_ends_does_not_wait_for_it(
    assemble: Any, sendable: Any, api: Any, person: Any, order: Any
) -> None:
    async with assemble() as ours, assemble() as theirs:
        await ours.ledger.claim([order()])
        caught: list[KubeezError] = []

        async def repeat() -> None:
            with pytest.raises(KubeezError, match="ended before the request was sent") as error:
                await theirs.spender.submit(sendable(), person("accept"))
            caught.append(error.value)

        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                group.start_soon(repeat)
                await anyio.wait_all_tasks_blocked()
                ours.file.close()
        assert (caught[0].code, caught[0].retry_safe, caught[0].retry_after) == ("interrupted", True, 1.0)
        assert not (await theirs.spender.submit(sendable(), person("accept"))).repeated


async def test_an_answer_that_names_an_older_job_is_that_job(
    assemble: Any, sendable: Any, api: Any, person: Any
) -> None:
    """An API that knows a request again, and makes nothing new of it."""
    async with assemble() as bridge:
        first = await bridge.spender.submit(sendable("a"), person("accept"))
        api.paid.clear()
        second = await bridge.spender.submit(sendable("b"), person("accept"))
        assert (second.job.id, second.repeated) == (first.job.id, True)
        assert (await bridge.ledger.today()).reserved == 14


async def test_variants_are_asked_about_once_and_sent_each(assemble: Any, sendable: Any, api: Any, person: Any) -> None:
    async with assemble(asks_above=0, balance=100.0) as bridge:
        user = person("accept")
        orders = [sendable(f"variant-{number}", prompt="a fox") for number in range(4)]
        submissions = await bridge.spender.submit_all(orders, user)
        assert [submission.job.state for submission in submissions] == [State.ACCEPTED] * 4
        assert [submission.job.digest for submission in submissions] == [order.digest for order in orders]
        (question,) = user.questions
        assert (question.count, question.credits, question.balance_after) == (4, 56, 44)
        assert question.text == (
            "generate_media: 4 × nano-banana-2 for 56 credits. Balance afterwards: 44 credits. "
            "Settings: text-to-image. Prompt: “a fox”."
        )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"price": None, "prompt": "", "arguments": {"quality": "best", "media_url": "/a"}},
            "auto-caption for a price that is not known in advance. Balance now: 100 credits. | best. From: “/a”.",
        ),
        (
            {"price": 100.0, "prompt": "", "arguments": {"reference_ad_url": "https://x.org/ad", "variant_count": 2}},
            "2 × auto-caption for 100 credits. Balance afterwards: 0 credits. | From: “https://x.org/ad”.",
        ),
    ],
)
async def test_a_question_without_a_prompt_says_what_it_is_about(
    assemble: Any, order: Any, changes: dict[str, Any], text: str
) -> None:
    async with assemble(asks_above=0, balance=100.0) as bridge:
        asked = await bridge.spender.question([order(tool="captions", model="auto-caption", **changes)])
        first, _, last = text.partition(" | ")
        assert asked.text.startswith(f"captions: {first}")
        assert asked.text.endswith(last)


async def test_variants_that_are_there_already_are_neither_asked_about_nor_paid_for(
    assemble: Any, sendable: Any, api: Any, person: Any
) -> None:
    async with assemble(asks_above=0, balance=100.0) as bridge:
        user = person("accept")
        orders = [sendable(f"variant-{number}", prompt="a fox") for number in range(3)]
        first = await bridge.spender.submit_all(orders[:1], user)
        both = await bridge.spender.submit_all(orders, user)
        assert [submission.repeated for submission in both] == [True, False, False]
        assert both[0].job.id == first[0].job.id
        assert (user.questions[1].count, user.questions[1].credits) == (2, 28)
        assert api.sent == 3


async def test_one_failing_variant_does_not_take_the_others_down(
    assemble: Any, sendable: Any, api: Any, person: Any
) -> None:
    async with assemble() as bridge:
        api.behaviours = [RefusedError("no such ratio")]
        submissions = await bridge.spender.submit_all([sendable("a"), sendable("b")], person("accept"))
        assert sorted(submission.job.state for submission in submissions) == [State.ACCEPTED, State.REFUSED]
        assert sum(isinstance(submission.error, RefusedError) for submission in submissions) == 1


@pytest.mark.parametrize(
    ("price", "asks_above", "asked"),
    [(14, 0, True), (14, 14, False), (14, 13.99, True), (0, 0, False), (None, 100, True), (None, float("inf"), False)],
)
async def test_who_is_asked(
    assemble: Any, sendable: Any, person: Any, price: float | None, asks_above: float, asked: bool
) -> None:
    async with assemble(asks_above=asks_above) as bridge:
        user = person("accept")
        await bridge.spender.submit(sendable(price=price), user)
        assert bool(user.questions) is asked


def test_what_is_no_number_is_asked_about() -> None:
    nan, never = float("nan"), float("inf")
    assert [needs_consent(nan, limit) for limit in (0, 14, 1e9)] == [True] * 3
    assert [needs_consent(amount, never) for amount in (0, 1e9, None)] == [False] * 3
    assert needs_consent(0.000001, 0)


@pytest.mark.parametrize(
    ("answer", "code"), [("decline", "declined"), ("cancel", "consent_cancelled"), (KeyError("x"), None)]
)
async def test_without_a_yes_nothing_is_claimed(
    assemble: Any, sendable: Any, api: Any, person: Any, answer: Any, code: str | None
) -> None:
    async with assemble(asks_above=0) as bridge:
        with pytest.raises((KubeezError, KeyError)) as caught:
            await bridge.spender.submit(sendable(), person(answer))
        assert getattr(caught.value, "code", None) == code
        assert await bridge.ledger.recent() == []
        assert api.sent == 0


async def test_who_cannot_be_asked_brings_a_code_back(assemble: Any, sendable: Any, api: Any, person: Any) -> None:
    async with assemble(asks_above=0) as bridge:
        user = person("cannot_ask")
        with pytest.raises(ConsentRequiredError, match="14 credits") as caught:
            await bridge.spender.submit(sendable(), user)
        code = caught.value.approval
        assert code in str(caught.value)
        with pytest.raises(KubeezError, check=coded("approval_invalid"), match="other arguments"):
            await bridge.spender.submit(sendable("other"), user, code)
        submission = await bridge.spender.submit(sendable(), user, code)
        assert submission.job.state is State.ACCEPTED
        assert api.sent == 1


async def test_the_question_stays_the_same_for_ten_minutes(
    assemble: Any, sendable: Any, person: Any, clock: SimpleNamespace
) -> None:
    async with assemble(asks_above=0, balance=100.0) as ours, assemble(asks_above=0, balance=55.0) as theirs:
        first = await ours.spender.question([sendable(price=14.0)])
        assert await theirs.spender.question([sendable(price=12.0)]) == first
        clock.now += 601
        later = await theirs.spender.question([sendable(price=12.0)])
        assert (later.credits, later.balance_after) == (12, 43)


async def test_a_price_that_rose_is_asked_about_anew(assemble: Any, sendable: Any, person: Any) -> None:
    async with assemble(asks_above=0) as bridge:
        user = person("cannot_ask")
        with pytest.raises(ConsentRequiredError) as caught:
            await bridge.spender.submit(sendable(price=14.0), user)
        with pytest.raises(KubeezError, check=coded("approval_invalid"), match="another price"):
            await bridge.spender.submit(sendable(price=17.0), user, caught.value.approval)


@pytest.mark.parametrize("fate", ["refused", "failed"])
async def test_one_yes_is_one_payment(
    assemble: Any, sendable: Any, api: Any, person: Any, clock: SimpleNamespace, fate: str
) -> None:
    async with assemble(asks_above=0, balance=100.0, follow=True) as bridge:
        user = person("accept")
        if fate == "refused":
            api.behaviours = [RefusedError("no")]
            with pytest.raises(RefusedError):
                await bridge.spender.submit(sendable(), user)
        else:
            job = (await bridge.spender.submit(sendable(), user)).job
            api.finish("gen-1", status="failed", charged=0)
            await bridge.follower.wait(job, timeout=60)
        clock.now += 1
        await bridge.spender.submit(sendable(), user)
        first, second = user.questions
        assert first.text == second.text
        assert first != second  # so the answer to the first does not count as one to the second


async def test_nobody_is_asked_about_what_could_not_be_sent(assemble: Any, sendable: Any, person: Any) -> None:
    async with assemble(asks_above=0, per_call=10) as bridge:
        user = person("accept")
        with pytest.raises(CeilingError):
            await bridge.spender.submit(sendable(), user)
        assert user.questions == []


async def test_nothing_is_reserved_while_the_user_thinks(assemble: Any, sendable: Any) -> None:
    async with assemble(asks_above=0) as bridge:

        class Thinking:
            async def ask(self, question: Any) -> str:
                assert (await bridge.ledger.today()).reserved == 0
                return "accept"

        await bridge.spender.submit(sendable(), Thinking())
        assert (await bridge.ledger.today()).reserved == 14


async def test_a_ceiling_reached_while_the_user_thought_holds(assemble: Any, sendable: Any, api: Any) -> None:
    async with assemble(asks_above=0, per_day=20) as bridge:

        class Slow:
            async def ask(self, question: Any) -> str:
                await bridge.ledger.claim([sendable("meanwhile")])
                return "accept"

        with pytest.raises(CeilingError):
            await bridge.spender.submit(sendable(), Slow())
        assert api.sent == 0


async def test_calls_of_unknown_price_wait_until_the_others_are_answered(
    assemble: Any, sendable: Any, api: Any, person: Any
) -> None:
    """Each holds back the whole ceiling of a call, 500, while it is on its way, and 21 afterwards."""
    api.gate, api.estimate = anyio.Event(), 21.0
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)
        if api.sent == 4:
            api.gate.set()
        await anyio.lowlevel.checkpoint()

    async with (
        assemble(per_call=500, per_day=2000, wait_behind_holds=wait) as bridge,
        anyio.create_task_group() as group,
    ):
        for number in range(6):
            group.start_soon(bridge.spender.submit, sendable(f"call {number}", price=None), person("accept"))
    assert len(api.paid) == 6
    assert waits


async def test_a_refusal_by_holds_alone_may_be_repeated_and_names_them(
    assemble: Any, sendable: Any, order: Any, api: Any, person: Any, clock: SimpleNamespace
) -> None:
    async with assemble(per_call=500, per_day=1000) as bridge:
        sending = (await bridge.ledger.claim([order("on its way", price=None)])).claims[0].job
        unknown = (await bridge.ledger.claim([order("lost", price=300.0)])).claims[0].job
        await bridge.ledger.unknown(unknown.id, "ambiguous", "cut")
        before = clock.now
        with pytest.raises(CeilingError) as caught:
            await bridge.spender.submit(sendable("one more", price=250.0), person("accept"))
        error = caught.value
        assert 10 < clock.now - before < 20  # it was waited for
        assert (error.retry_safe, error.spent, error.retry_after) == (True, False, 5)
        assert "0 credits are spent and 800 credits are reserved" in error.message
        assert f"500 credits for requests on their way ({sending.id[:8]})" in error.message
        assert f"300 credits for jobs of unknown fate ({unknown.id[:8]})" in error.message
        assert "in a few seconds" in error.next_step
        assert "jobs reconcile" in error.next_step
        clock.now += 86_400  # what is unknown holds credits back on the day of its send only
        assert (await bridge.spender.submit(sendable("one more", price=500.0), person("accept"))).job.generation_id
        assert api.sent == 1


async def test_holds_that_stay_are_not_waited_for(
    assemble: Any, sendable: Any, api: Any, person: Any, clock: SimpleNamespace
) -> None:
    async with assemble(per_day=40) as bridge:
        ids = []
        for name in ("a", "b"):
            ids.append((await bridge.spender.submit(sendable(name), person("accept"))).job.id[:8])
        before = clock.now
        with pytest.raises(CeilingError, match="28 credits for running jobs") as caught:
            await bridge.spender.submit(sendable("c"), person("accept"))
        assert clock.now == before
        assert all(one in caught.value.message for one in ids)
        assert (caught.value.retry_safe, caught.value.retry_after) == (True, None)
        for number, job in enumerate(await bridge.ledger.recent(), start=1):
            await bridge.ledger.settled(job.id, State.COMPLETED, 14, [{"id": f"gen-{number}"}])
        with pytest.raises(CeilingError, match="28 credits are spent and 0 credits are reserved\\.") as caught:
            await bridge.spender.submit(sendable("c"), person("accept"))
        assert not caught.value.retry_safe


async def test_building_happens_after_consent_and_its_failure_releases_the_claim(
    assemble: Any, sendable: Any, person: Any, api: Any
) -> None:
    async with assemble(asks_above=0) as bridge:
        user = person("accept")

        async def build() -> Any:
            assert len(user.questions) == 1
            assert (await bridge.ledger.today()).reserved == 14
            raise RefusedError("the upload was refused")

        with pytest.raises(RefusedError):
            await bridge.spender.submit(sendable(build=build), user)
        assert await states(bridge) == [State.REFUSED]
        assert (await bridge.ledger.today()).reserved == 0
        assert api.sent == 0


@pytest.mark.parametrize(
    "error",
    [
        RefusedError,
        UnauthorizedError,
        InsufficientCreditsError,
        UnexpectedAnswerError,
        UnreachableError,
        UnusableUrlError,
    ],
    ids=lambda cls: cls.code,
)
async def test_what_was_provably_not_accepted_is_released(
    assemble: Any, sendable: Any, api: Any, person: Any, error: type[KubeezError]
) -> None:
    async with assemble() as bridge:
        api.behaviours = [error("no")]
        with pytest.raises(error):
            await bridge.spender.submit(sendable(), person("accept"))
        assert await states(bridge) == [State.REFUSED]
        assert (await bridge.ledger.today()).reserved == 0
        assert not (await bridge.spender.submit(sendable(), person("accept"))).repeated


@pytest.mark.parametrize(
    "error",
    [AmbiguousError("cut"), ValueError("a bug")],
    ids=lambda error: type(error).__name__,
)
async def test_an_accepted_job_whose_answer_is_lost_is_found_in_the_history(
    assemble: Any, sendable: Any, api: Any, person: Any, error: Exception
) -> None:
    async with assemble() as bridge:
        api.behaviours = [[error]]
        submission = await bridge.spender.submit(sendable(), person("accept"))
        assert submission.job.state is State.ACCEPTED
        assert submission.job.generation_id == "gen-1"
        assert (await bridge.ledger.today()).reserved == 14
        assert (await bridge.spender.submit(sendable(), person("accept"))).repeated
        assert len(api.paid) == 1


async def test_while_the_history_is_silent_nothing_alike_is_sent(
    assemble: Any, sendable: Any, api: Any, person: Any, clock: SimpleNamespace
) -> None:
    async with assemble() as bridge:
        api.behaviours = [AmbiguousError("The wire was cut.")]
        api.history_error = UnavailableError("silent")
        with pytest.raises(UnsettledJobError, match=r"The wire was cut\.") as caught:
            await bridge.spender.submit(sendable(), person("accept"))
        assert caught.value.spent is None
        assert f"kubeez-mcp-local jobs reconcile {caught.value.job.id} --paid" in caught.value.next_step
        with pytest.raises(UnsettledJobError, match=r"The wire was cut\."):
            await bridge.spender.submit(sendable(), person("accept"))
        assert api.sent == 1
        api.history_error = None
        clock.now += 901
        with pytest.raises(UnsettledJobError, match="without a gap"):
            await bridge.spender.submit(sendable(), person("accept"))
        assert api.sent == 1


async def test_a_request_that_never_arrived_is_released_as_soon_as_that_is_proven(
    assemble: Any, sendable: Any, api: Any, person: Any
) -> None:
    async with assemble(settling=1000.0) as bridge:
        await bridge.spender.submit(sendable("before"), person("accept"))
        api.behaviours = [AmbiguousError("cut")]
        with pytest.raises(KubeezError, check=coded("not_accepted")):
            await bridge.spender.submit(sendable(), person("accept"))
        assert (await bridge.ledger.today()).reserved == 14
        assert (await bridge.spender.submit(sendable(), person("accept"))).job.state is State.ACCEPTED


async def test_cancelling_before_sending_releases_the_claim(
    assemble: Any, sendable: Any, api: Any, person: Any
) -> None:
    async with assemble() as bridge:
        building = anyio.Event()

        async def build() -> Any:
            building.set()
            await anyio.sleep_forever()

        async with anyio.create_task_group() as group:
            group.start_soon(bridge.spender.submit, sendable(build=build), person("accept"))
            await building.wait()
            group.cancel_scope.cancel()
        assert await states(bridge) == [State.REFUSED]
        assert api.sent == 0


async def test_cancelling_while_sending_loses_nothing(assemble: Any, sendable: Any, api: Any, person: Any) -> None:
    accepted = anyio.Event()
    async with assemble(on_accepted=lambda _job: accepted.set()) as bridge:
        api.gate = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(bridge.spender.submit, sendable(), person("accept"))
            await api.arrived.wait()
            group.cancel_scope.cancel()
        assert await states(bridge) == [State.SENDING]
        api.gate.set()
        await accepted.wait()
        assert await states(bridge) == [State.ACCEPTED]
        assert (await bridge.spender.submit(sendable(), person("accept"))).repeated


async def test_leaving_while_sending_is_quick_and_leaves_an_unknown_job(
    assemble: Any, sendable: Any, api: Any, person: Any, open_file: Any
) -> None:
    with anyio.fail_after(60):
        async with assemble() as bridge:
            api.gate = anyio.Event()
            async with anyio.create_task_group() as group:
                group.start_soon(bridge.spender.submit, sendable(), person("accept"))
                await api.arrived.wait()
                group.cancel_scope.cancel()
    assert open_file().recent()[0].state is State.UNKNOWN


async def test_a_429_is_waited_for_and_shared(
    assemble: Any, sendable: Any, api: Any, person: Any, clock: SimpleNamespace
) -> None:
    async with assemble() as ours, assemble() as theirs:
        error = RateLimitedError("slow down")
        error.retry_after = 7.0
        api.behaviours = [error]
        before = clock.now
        await ours.spender.submit(sendable("a"), person("accept"))
        assert clock.now - before >= 7
        api.behaviours = [error]
        theirs.spender.sender.patience = 3.0
        with pytest.raises(KubeezError, check=coded("busy"), match="asked for fewer"):
            await theirs.spender.submit(sendable("b"), person("accept"))
        assert api.sent == 3
        assert (await ours.ledger.today()).reserved == 14


@pytest.mark.parametrize("goes_on", ["the steady clock", "the other clock", "the ledger"])
async def test_a_machine_that_slept_before_the_request_left_does_not_send_it(
    assemble: Any, sendable: Any, api: Any, person: Any, clock: SimpleNamespace, goes_on: str
) -> None:
    async with assemble() as bridge:
        start, steady = bridge.background.start, [0.0]
        bridge.pacer.steady = lambda: steady[0]

        def start_late(*work: Any) -> None:
            clock.now += 11.0 if goes_on == "the other clock" else 0.0
            steady[0] += 11.0 if goes_on == "the steady clock" else 0.0
            start(*work)

        dispatch = bridge.ledger.dispatch

        async def dispatch_late(*order: Any) -> Any:
            steady[0] += 11.0 if goes_on == "the ledger" else 0.0
            return await dispatch(*order)

        bridge.ledger.dispatch = dispatch_late
        bridge.background.start = start_late
        with pytest.raises(KubeezError, match="others may have taken it over") as caught:
            await bridge.spender.submit(sendable(), person("accept"))
        assert (caught.value.spent, caught.value.retry_after) == (False, 1.0), "a run makes the call again"
        assert api.sent == 0
        assert await states(bridge) == [State.REFUSED]


async def test_an_api_that_keeps_turning_requests_away_is_left_alone(
    assemble: Any, sendable: Any, api: Any, person: Any
) -> None:
    async with assemble() as bridge:
        error = RateLimitedError("slow down")
        error.retry_after = 1.0
        api.behaviours = [error] * 10
        with pytest.raises(RateLimitedError):
            await bridge.spender.submit(sendable(), person("accept"))
        assert api.sent == 3
        assert await states(bridge) == [State.REFUSED]


async def test_a_ledger_that_cannot_be_written_stops_everything_before_sending(
    assemble: Any, sendable: Any, api: Any, person: Any
) -> None:
    async with assemble() as bridge:
        sqlite_of(bridge.file).execute("PRAGMA query_only = ON")
        with pytest.raises(LedgerError, match="Nothing was sent"):
            await bridge.spender.submit(sendable(), person("accept"))
        assert api.sent == 0


async def test_an_acceptance_that_cannot_be_written_is_told_and_written_later(
    assemble: Any, sendable: Any, api: Any, person: Any
) -> None:
    async with assemble() as bridge:
        connection = sqlite_of(bridge.file)
        api.gate = anyio.Event()
        caught: list[KubeezError] = []

        async def submit() -> None:
            try:
                await bridge.spender.submit(sendable(), person("accept"))
            except KubeezError as error:
                caught.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(submit)
            await api.arrived.wait()
            connection.execute("PRAGMA query_only = ON")
            api.gate.set()
        assert [error.code for error in caught] == ["job_unrecorded"]
        assert "gen-1" in str(caught[0])
        with pytest.raises(LedgerError):
            await bridge.spender.submit(sendable("another"), person("accept"))
        assert api.sent == 1
        connection.execute("PRAGMA query_only = OFF")
        assert (await bridge.spender.submit(sendable(), person("accept"))).repeated
        assert (await bridge.ledger.recent())[0].generation_id == "gen-1"


async def test_what_could_not_be_written_is_written_whole_however_many_ask_at_once(
    assemble: Any, sendable: Any, api: Any, person: Any
) -> None:
    async with assemble() as bridge:
        connection = sqlite_of(bridge.file)
        api.gate = anyio.Event()

        async def submit(digest: str) -> None:
            with pytest.raises(KubeezError, check=coded("job_unrecorded")):
                await bridge.spender.submit(sendable(digest), person("accept"))

        async with anyio.create_task_group() as group:
            for digest in ("a", "b", "c"):
                group.start_soon(submit, digest)
            while api.sent < 3:  # noqa: ASYNC110 - the double says only when the first one arrives
                await anyio.sleep(0.001)
            connection.execute("PRAGMA query_only = ON")
            api.gate.set()
        connection.execute("PRAGMA query_only = OFF")
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(bridge.spender.sender.write_what_is_unwritten)
        assert await states(bridge) == [State.ACCEPTED] * 3


async def test_a_429_that_cannot_be_written_leaves_no_job_that_never_ends(
    assemble: Any, sendable: Any, api: Any, person: Any
) -> None:
    async with assemble() as bridge:
        connection = sqlite_of(bridge.file)
        api.gate = anyio.Event()
        api.behaviours = [RateLimitedError("slow down")]

        async def submit() -> None:
            with pytest.raises(RateLimitedError):
                await bridge.spender.submit(sendable(), person("accept"))

        async with anyio.create_task_group() as group:
            group.start_soon(submit)
            await api.arrived.wait()
            connection.execute("PRAGMA query_only = ON")
            api.gate.set()
        connection.execute("PRAGMA query_only = OFF")
        assert not (await bridge.spender.submit(sendable(), person("accept"))).repeated
        assert await states(bridge) == [State.ACCEPTED, State.REFUSED]


async def test_orders_of_one_call_must_differ(assemble: Any, sendable: Any, person: Any) -> None:
    async with assemble() as bridge:
        with pytest.raises(ValueError, match="differ"):
            await bridge.spender.submit_all([sendable(), sendable()], person("accept"))
