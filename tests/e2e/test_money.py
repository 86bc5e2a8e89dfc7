"""Paying over real pipes: asked first, paid once, never above a ceiling. In both protocol eras."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.sandbox_server import RunningSandbox

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("mode", ERAS)]

PICTURE = {"prompt": "a lighthouse", "model": "nano-banana-2", "aspect_ratio": "1:1"}
PRICE = 14


def charges(api: RunningSandbox) -> list[float]:
    return [-entry["credits"] for entry in api.control.account()["entries"] if entry["kind"] == "charge"]


async def test_a_yes_pays_once_and_the_question_names_the_price(
    tmp_path: Path, mode: str, api: RunningSandbox, live: dict[str, Any]
) -> None:
    person = says_yes()
    async with client(tmp_path, mode, person=person, **live) as server:
        started = await server.call_tool("generate_media", PICTURE)
        done = facts_of(await finished(server, facts_of(started)["generation_id"]))
    assert done["mode"] == "live"
    assert done["cost"] == {"quoted": 14, "basis": "catalogue", "charged": 14, "spent_today": 14, "left_today": 1986}
    (question,) = person.questions
    for said in ("nano-banana-2", "14 credits", "986 credits", "a lighthouse"):
        assert said in question
    assert charges(api) == [PRICE]


@pytest.mark.parametrize(
    ("who", "code"), [(says_no, "declined"), (unticks, "declined"), (walks_away, "consent_cancelled")]
)
async def test_without_a_yes_nothing_is_sent(
    tmp_path: Path, mode: str, api: RunningSandbox, live: dict[str, Any], who: Callable[[], Person], code: str
) -> None:
    async with client(tmp_path, mode, person=who(), **live) as server:
        refused = await server.call_tool("generate_media", PICTURE)
    assert refused.is_error
    assert facts_of(refused)["error"]["code"] == code
    assert facts_of(refused)["error"]["credits_spent"] is False
    assert charges(api) == []


async def test_a_client_that_cannot_ask_gets_a_quote_and_a_code_for_exactly_this_call(
    tmp_path: Path, mode: str, api: RunningSandbox, live: dict[str, Any]
) -> None:
    async with client(tmp_path, mode, **live) as server:
        quoted = await server.call_tool("generate_media", PICTURE)
        facts = facts_of(quoted)
        assert not quoted.is_error
        assert facts["status"] == "approval_required"
        assert facts["cost"]["quoted"] == PRICE
        assert facts["approval"] in text_of(quoted)
        assert charges(api) == []

        code = facts["approval"]
        other = await server.call_tool("generate_media", {**PICTURE, "prompt": "a castle", "approval": code})
        assert facts_of(other)["error"]["code"] == "approval_invalid"
        invented = await server.call_tool("generate_media", {**PICTURE, "approval": "abcdefgh"})
        assert facts_of(invented)["error"]["code"] == "approval_invalid"
        assert charges(api) == []

        paid = await server.call_tool("generate_media", {**PICTURE, "approval": code})
        assert facts_of(paid)["status"] in ("pending", "processing")
        again = await server.call_tool("generate_media", {**PICTURE, "approval": code})
        assert facts_of(again)["repeated"] is True
        assert facts_of(again)["generation_id"] == facts_of(paid)["generation_id"]
    assert charges(api) == [PRICE]


async def test_the_same_call_again_is_the_same_job_also_from_a_second_window(
    tmp_path: Path, mode: str, api: RunningSandbox, live: dict[str, Any]
) -> None:
    person = says_yes()
    async with client(tmp_path, mode, person=person, **live) as one, client(tmp_path, mode, **live) as other:
        first = facts_of(await one.call_tool("generate_media", PICTURE))
        second = facts_of(await other.call_tool("generate_media", PICTURE))
    assert second["generation_id"] == first["generation_id"]
    assert second["repeated"] is True
    assert len(person.questions) == 1
    assert charges(api) == [PRICE]


async def test_variants_are_one_question_and_as_many_payments(
    tmp_path: Path, mode: str, api: RunningSandbox, live: dict[str, Any]
) -> None:
    person = says_yes()
    async with client(tmp_path, mode, person=person, **live) as server:
        started = facts_of(await server.call_tool("generate_media", {**PICTURE, "variant_count": 3}))
    assert len(set(started["generation_ids"])) == 3
    assert started["cost"]["quoted"] == 3 * PRICE
    assert len(person.questions) == 1
    assert "42 credits" in person.questions[0]
    assert charges(api) == [PRICE] * 3


async def test_no_argument_raises_a_ceiling(
    tmp_path: Path, mode: str, api: RunningSandbox, live: dict[str, Any]
) -> None:
    ceilings = {"max_credits_per_call": 30, "max_credits_per_day": 40}
    async with client(tmp_path, mode, person=says_yes(), **live, **ceilings) as server:
        too_much = await server.call_tool("generate_media", {**PICTURE, "variant_count": 3})
        assert facts_of(too_much)["error"]["code"] == "ceiling_reached"
        assert "KUBEEZ_MAX_CREDITS_PER_CALL" in text_of(too_much)
        raised = await server.call_tool("generate_media", {**PICTURE, "max_credits_per_call": 1000})
        assert raised.is_error
        assert (await server.call_tool("generate_media", {**PICTURE, "variant_count": 2})).is_error is False
        over_day = await server.call_tool("generate_media", {**PICTURE, "prompt": "one more"})
        assert facts_of(over_day)["error"]["code"] == "ceiling_reached"
        assert "KUBEEZ_MAX_CREDITS_PER_DAY" in text_of(over_day)
    assert charges(api) == [PRICE] * 2


async def test_below_the_limit_for_asking_nobody_is_asked(
    tmp_path: Path, mode: str, api: RunningSandbox, live: dict[str, Any]
) -> None:
    person = says_no()
    async with client(tmp_path, mode, person=person, **live, ask_above=PRICE) as server:
        assert not (await server.call_tool("generate_media", PICTURE)).is_error
    assert person.questions == []
    assert charges(api) == [PRICE]


async def test_a_failed_job_is_refunded_and_its_reservation_released(
    tmp_path: Path, mode: str, api: RunningSandbox, live: dict[str, Any]
) -> None:
    api.control.knobs(fail_next=1)
    async with client(tmp_path, mode, **live, ask_above=100) as server:
        started = facts_of(await server.call_tool("generate_media", PICTURE))
        failed = facts_of(await finished(server, started["generation_id"]))
        balance = facts_of(await server.call_tool("get_balance", {}))
    assert failed["status"] == "failed"
    assert failed["error_message"]
    assert failed["cost"]["charged"] == 0
    assert (balance["credits"], balance["spent_today"]) == (1000, 0)


async def test_out_of_credits_is_said_with_the_way_to_more(
    tmp_path: Path, mode: str, api: RunningSandbox, live: dict[str, Any]
) -> None:
    api.control.key(live["api_key"], credits=3)
    async with client(tmp_path, mode, **live, ask_above=100) as server:
        refused = await server.call_tool("generate_media", PICTURE)
        assert facts_of(refused)["error"]["code"] == "insufficient_credits"
        assert "kubeez.com/billing" in text_of(refused)
        assert facts_of(await server.call_tool("get_balance", {}))["spent_today"] == 0
    assert charges(api) == []
