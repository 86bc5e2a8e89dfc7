"""Two servers on one state folder, and a state folder that disappears: paid once, and told plainly."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.server import Server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sandbox_server import RunningSandbox

WORDS = {"prompt": "a lighthouse", "model": "nano-banana-2"}
POST = "POST /v1/generate/media"
PRICE = 14
needs_unlinking = pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps open files in place")


def order(server: Server) -> int:
    return server.send("tools/call", {"name": "generate_media", "arguments": WORDS})


def charges(api: RunningSandbox) -> list[float]:
    accounts = api.control.books()["accounts"]
    return [-entry["credits"] for account in accounts for entry in account["entries"] if entry["kind"] == "charge"]


def until_posted(api: RunningSandbox) -> None:
    deadline = time.monotonic() + 60
    while POST not in api.control.books()["calls"]:
        assert time.monotonic() < deadline, "the request never left"
        time.sleep(0.02)


def error_of(result: dict[str, Any]) -> dict[str, Any]:
    error: dict[str, Any] = result["structuredContent"]["error"]
    return error


@needs_unlinking
@pytest.mark.parametrize(
    "fault",
    [{"kind": "status", "status": 429, "retry_after": 2}, {"kind": "slow", "seconds": 1}],
    ids=["waiting after a 429", "on its way"],
)
def test_a_lock_file_that_somebody_removes_makes_nobody_pay_twice(
    tmp_path: Path, api: RunningSandbox, live: dict[str, Any], fault: dict[str, Any]
) -> None:
    with Server(tmp_path, **live, ask_above=100) as first, Server(tmp_path, **live, ask_above=100) as second:
        first.initialize()
        second.initialize()
        api.control.fault(POST, **fault)
        asked = order(first)
        until_posted(api)
        for lock in (tmp_path / "state" / "owners").glob("*.lock"):
            lock.unlink()
        answers = [second.answer(order(second))["result"], first.answer(asked)["result"]]
        ids = {answer["structuredContent"]["generation_id"] for answer in answers}
        assert ids == {api.control.account()["jobs"][0]["id"]}
    assert charges(api) == [PRICE]


def test_who_repeats_a_call_on_its_way_to_a_refusal_is_refused_like_the_first(
    tmp_path: Path, api: RunningSandbox, live: dict[str, Any]
) -> None:
    with Server(tmp_path, **live, ask_above=100) as first, Server(tmp_path, **live, ask_above=100) as second:
        first.initialize()
        second.initialize()
        api.control.key(live["api_key"], credits=1)
        api.control.fault(POST, "slow", seconds=1)
        asked = order(first)
        until_posted(api)
        repeated = second.answer(order(second))["result"]
        assert repeated["isError"]
        assert error_of(repeated) == error_of(first.answer(asked)["result"])
        assert error_of(repeated)["code"] == "insufficient_credits"
    assert api.control.books()["calls"][POST] == 1


@needs_unlinking
def test_a_state_folder_that_is_moved_away_stops_spending_until_it_is_back(
    tmp_path: Path, api: RunningSandbox, live: dict[str, Any]
) -> None:
    state, aside = tmp_path / "state", tmp_path / "aside"
    with Server(tmp_path, **live, ask_above=100) as server:
        server.initialize()
        job = server.call("generate_media", **WORDS)["structuredContent"]["generation_id"]
        server.call("wait_for_generation", id=job)
        state.rename(aside)
        refused = server.call("generate_media", prompt="another", model="nano-banana-2")
        assert refused["isError"]
        assert error_of(refused)["code"] == "ledger_replaced"
        assert "Put the state folder back as it was, or restart this server" in refused["content"][0]["text"]
        assert api.control.books()["calls"][POST] == 1
        if state.exists():
            state.rename(tmp_path / "what was made meanwhile")
        aside.rename(state)
        assert server.call("generate_media", **WORDS)["structuredContent"]["generation_id"] == job
    assert charges(api) == [PRICE]


@needs_unlinking
def test_an_acceptance_that_finds_no_ledger_any_more_is_told_and_written_once_it_is_back(
    tmp_path: Path, api: RunningSandbox, live: dict[str, Any]
) -> None:
    state, aside = tmp_path / "state", tmp_path / "aside"
    with Server(tmp_path, **live, ask_above=100) as server:
        server.initialize()
        api.control.fault(POST, "slow_answer", seconds=1)
        asked = order(server)
        until_posted(api)
        state.rename(aside)
        told = server.answer(asked)["result"]
        job = api.control.account()["jobs"][0]["id"]
        assert (error_of(told)["code"], error_of(told)["credits_spent"]) == ("job_unrecorded", True)
        assert job in told["content"][0]["text"]
        if state.exists():
            state.rename(tmp_path / "what was made meanwhile")
        aside.rename(state)
        again = server.call("generate_media", **WORDS)["structuredContent"]
        assert (again["generation_id"], again["repeated"]) == (job, True)
    assert charges(api) == [PRICE]
