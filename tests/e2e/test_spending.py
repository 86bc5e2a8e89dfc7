"""With a key: nothing is paid unasked, nothing above a ceiling, and nothing twice, as the API's own books show."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from tests.e2e.clients import (
    ERAS,
    Person,
    client,
    facts_of,
    finished,
    says_no,
    says_yes,
    text_of,
    unticks,
    walks_away,
)
from tests.e2e.conftest import KEY
from tests.e2e.server import Server, modern

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sandbox_server import RunningSandbox

pytestmark = pytest.mark.anyio

PICTURE: dict[str, Any] = {"prompt": "a red shoe", "model": "nano-banana-2", "aspect_ratio": "1:1"}
PRICE = 14


def paid(api: RunningSandbox) -> list[float]:
    """What the API charged, job by job."""
    return [-entry["credits"] for entry in api.control.account()["entries"] if entry["kind"] == "charge"]


@pytest.mark.parametrize("mode", ERAS)
async def test_a_yes_pays_once_and_a_repeat_is_the_same_job(
    tmp_path: Path, api: RunningSandbox, live: dict[str, Any], mode: str
) -> None:
    person = says_yes()
    async with client(tmp_path, mode, person=person, **live) as server:
        started = await server.call_tool("generate_media", PICTURE)
        facts = facts_of(started)
        assert facts["mode"] == "live"
        (question,) = person.questions
        for said in ("Make an image or video", "nano-banana-2", "14 credits", "986 credits", "a red shoe"):
            assert said in question
        done = facts_of(await finished(server, facts["generation_id"]))
        assert done["cost"] == {
            "quoted": PRICE,
            "basis": "catalogue",
            "charged": PRICE,
            "spent_today": PRICE,
            "left_today": 2000 - PRICE,
        }
        again = facts_of(await server.call_tool("generate_media", PICTURE))
        assert again["generation_id"] == facts["generation_id"]
        assert again["repeated"] is True
        assert len(person.questions) == 1
    assert paid(api) == [PRICE]


@pytest.mark.parametrize("mode", ERAS)
async def test_anything_but_a_yes_pays_nothing(
    tmp_path: Path, api: RunningSandbox, live: dict[str, Any], mode: str
) -> None:
    person = says_no()
    async with client(tmp_path, mode, person=person, **live) as server:
        for reply, code in (
            (says_no().reply, "declined"),
            (unticks().reply, "declined"),
            (walks_away().reply, "consent_cancelled"),
        ):
            person.reply = reply
            result = await server.call_tool("generate_media", PICTURE)
            assert result.is_error
            assert facts_of(result)["error"]["code"] == code
            assert facts_of(result)["error"]["credits_spent"] is False
        assert len(person.questions) == 3
        assert len(set(person.questions)) == 1
        assert facts_of(await server.call_tool("get_balance"))["spent_today"] == 0
    assert paid(api) == []


@pytest.mark.parametrize("mode", ERAS)
async def test_a_client_that_cannot_ask_gets_a_quote_and_a_code_for_exactly_this_call(
    tmp_path: Path, api: RunningSandbox, live: dict[str, Any], mode: str
) -> None:
    async with client(tmp_path, mode, **live) as server:
        quoted = await server.call_tool("generate_media", PICTURE)
        facts = facts_of(quoted)
        assert not quoted.is_error
        assert facts["status"] == "approval_required"
        assert facts["estimated_cost_credits"] == PRICE
        assert facts["approval"] in text_of(quoted)
        assert paid(api) == []

        code = facts["approval"]
        for change in ({"prompt": "a blue shoe"}, {"variant_count": 2}, {"seed": 5}):
            other = await server.call_tool("generate_media", {**PICTURE, **change, "approval": code})
            assert facts_of(other)["error"]["code"] == "approval_invalid"
        invented = await server.call_tool("generate_media", {**PICTURE, "approval": "ok-AAAA-BBBB"})
        assert facts_of(invented)["error"]["code"] == "approval_invalid"
        assert paid(api) == []

        started = await server.call_tool("generate_media", {**PICTURE, "approval": code})
        assert facts_of(started)["status"] in ("pending", "processing", "completed")
        reused = await server.call_tool("generate_media", {**PICTURE, "prompt": "a green shoe", "approval": code})
        assert "used before" in text_of(reused)
        replayed = await server.call_tool("generate_media", {**PICTURE, "approval": code})
        assert facts_of(replayed)["repeated"] is True
    assert paid(api) == [PRICE]


async def test_ceilings_come_from_the_environment_and_no_argument_raises_them(
    tmp_path: Path, api: RunningSandbox, live: dict[str, Any]
) -> None:
    person = says_yes()
    async with client(tmp_path, person=person, max_credits_per_call=20, max_credits_per_day=30, **live) as server:
        assert "20 credits a call, 30 a day" in (server.instructions or "")
        refused = await server.call_tool("generate_media", {**PICTURE, "variant_count": 2})
        assert facts_of(refused)["error"]["code"] == "ceiling_reached"
        assert facts_of(refused)["cost"] == {"spent_today": 0, "left_today": 30}
        assert "KUBEEZ_MAX_CREDITS_PER_CALL" in facts_of(refused)["next_step"]
        assert "KUBEEZ_MAX_CREDITS_PER_CALL" in text_of(refused)
        raised = await server.call_tool("generate_media", {**PICTURE, "max_credits_per_call": 500})
        assert "no such argument" in text_of(raised)
        assert person.questions == []
        for seed in (1, 2):
            assert not (await server.call_tool("generate_media", {**PICTURE, "seed": seed})).is_error
        over = await server.call_tool("generate_media", {**PICTURE, "seed": 3})
        assert facts_of(over)["error"]["code"] == "ceiling_reached"
        assert "KUBEEZ_MAX_CREDITS_PER_DAY" in text_of(over)
        assert facts_of(await server.call_tool("get_balance"))["left_today"] == 2
    assert paid(api) == [PRICE, PRICE]


async def test_three_variants_are_three_charges_and_one_question(
    tmp_path: Path, api: RunningSandbox, live: dict[str, Any]
) -> None:
    person = says_yes()
    async with client(tmp_path, person=person, **live) as server:
        started = facts_of(await server.call_tool("generate_media", {**PICTURE, "variant_count": 3}))
        assert len(set(started["generation_ids"])) == 3
        files = [file for job in started["generation_ids"] for file in facts_of(await finished(server, job))["files"]]
        assert len({file["path"] for file in files}) == 3
    (question,) = person.questions
    assert "3 × nano-banana-2 for 42 credits" in question
    assert paid(api) == [PRICE] * 3


async def test_the_same_call_from_two_programs_at_once_is_paid_once(
    tmp_path: Path, api: RunningSandbox, live: dict[str, Any]
) -> None:
    jobs: list[str] = []

    async def one() -> None:
        async with client(tmp_path, ask_above=1000, **live) as server:
            jobs.append(facts_of(await server.call_tool("generate_media", PICTURE))["generation_id"])

    async with anyio.create_task_group() as programs:
        programs.start_soon(one)
        programs.start_soon(one)
    assert len(jobs) == 2
    assert len(set(jobs)) == 1
    assert paid(api) == [PRICE]


async def test_credits_of_a_job_that_fails_are_free_again(
    tmp_path: Path, api: RunningSandbox, live: dict[str, Any]
) -> None:
    api.control.knobs(fail_next=1)
    async with client(tmp_path, ask_above=1000, **live) as server:
        started = facts_of(await server.call_tool("generate_media", PICTURE))
        failed = await finished(server, started["generation_id"])
        assert facts_of(failed)["status"] == "failed"
        assert "could not finish" in text_of(failed)
        balance = facts_of(await server.call_tool("get_balance"))
        assert (balance["credits"], balance["spent_today"]) == (1000, 0)


async def test_below_the_limit_for_asking_nobody_is_asked(
    tmp_path: Path, api: RunningSandbox, live: dict[str, Any]
) -> None:
    person = says_no()
    async with client(tmp_path, person=person, ask_above=PRICE, **live) as server:
        assert not (await server.call_tool("generate_media", PICTURE)).is_error
    assert person.questions == []
    assert paid(api) == [PRICE]


async def test_out_of_credits_is_said_with_the_way_to_more(
    tmp_path: Path, api: RunningSandbox, live: dict[str, Any]
) -> None:
    api.control.key(KEY, credits=3)
    async with client(tmp_path, ask_above=100, **live) as server:
        refused = await server.call_tool("generate_media", PICTURE)
        assert facts_of(refused)["error"]["code"] == "insufficient_credits"
        assert "kubeez.com/billing" in text_of(refused)
        assert facts_of(await server.call_tool("get_balance", {}))["spent_today"] == 0
    assert paid(api) == []


async def test_an_answer_that_never_came_is_settled_by_the_history_and_not_paid_again(
    tmp_path: Path, api: RunningSandbox, live: dict[str, Any]
) -> None:
    api.control.fault("POST /v1/generate/media", "cut_after_acceptance")
    person = Person(says_yes().reply)
    async with client(tmp_path, person=person, **live) as server:
        started = await server.call_tool("generate_media", PICTURE)
        assert not started.is_error, text_of(started)
        again = facts_of(await server.call_tool("generate_media", PICTURE))
        assert again["generation_id"] == facts_of(started)["generation_id"]
        assert again["repeated"] is True
    assert paid(api) == [PRICE]
    assert KEY not in (tmp_path / "state" / "ledger.db").read_bytes().decode("latin-1")


def test_a_client_that_gave_up_and_calls_again_gets_the_job_it_has_paid_for(
    tmp_path: Path, api: RunningSandbox, live: dict[str, Any]
) -> None:
    api.control.fault("POST /v1/generate/media", "slow", seconds=1)
    with Server(tmp_path, ask_above=1000, **live) as server:
        server.initialize()
        first = server.send("tools/call", {"name": "generate_media", "arguments": PICTURE})
        deadline = time.monotonic() + 60
        while "POST /v1/generate/media" not in api.control.books()["calls"] and time.monotonic() < deadline:
            time.sleep(0.02)
        server.notify("notifications/cancelled", {"requestId": first, "reason": "timed out"})
        again = server.call("generate_media", **PICTURE)["structuredContent"]
        done = server.call("wait_for_generation", id=again["generation_id"])["structuredContent"]
        assert done["status"] == "completed"
        assert server.pending(first)
    assert paid(api) == [PRICE]


def test_an_answer_delivered_again_after_its_payment_failed_pays_nothing(
    tmp_path: Path, api: RunningSandbox, live: dict[str, Any]
) -> None:
    with Server(tmp_path, **live) as server:
        server.era = partial(modern, {"elicitation": {"form": {}}})
        call: dict[str, Any] = {"name": "generate_media", "arguments": PICTURE}
        asked = server.request("tools/call", call)["result"]
        yes = {"spend": {"action": "accept", "content": {"spend": True}}}
        answered = {**call, "inputResponses": yes, "requestState": asked["requestState"]}
        api.control.fault("POST /v1/generate/media", "status", status=402)
        assert server.request("tools/call", answered)["result"]["isError"]
        again = server.request("tools/call", answered)["result"]
        assert again["inputRequests"] == asked["inputRequests"]
    assert paid(api) == []


async def test_without_a_key_a_sandbox_of_its_own_can_be_named_and_consent_rehearsed(
    tmp_path: Path, api: RunningSandbox
) -> None:
    person = says_yes()
    async with client(tmp_path, person=person, mode="sandbox", base_url=api.url, ask_above=0) as server:
        started = facts_of(await server.call_tool("generate_media", PICTURE))
        assert started["mode"] == "sandbox"
    assert len(person.questions) == 1
    assert sum(len(account["jobs"]) for account in api.control.books()["accounts"]) == 1
