"""Charging, refunds and limits, as the stand-in's own books tell them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.sandbox.jobs import PICTURE, finish, start
from tests.sandbox_server import RunningSandbox, running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx


def _kinds(sandbox: RunningSandbox) -> list[tuple[str, float]]:
    return [(entry["kind"], entry["credits"]) for entry in sandbox.control.account()["entries"]]


def test_a_job_is_charged_when_it_is_accepted(sandbox: RunningSandbox, http: httpx.Client) -> None:
    job = start(http)
    assert http.get("/v1/balance").json()["credits"] == 9_986
    finish(http, job)
    assert _kinds(sandbox) == [("grant", 10_000), ("charge", -14)]
    assert sandbox.control.account()["entries"][1]["job"] == job


@pytest.mark.parametrize("knobs", [{"fail_next": 1}, {"fail_probability": 1}, {}], ids=["next", "chance", "word"])
def test_a_failed_job_is_refunded(sandbox: RunningSandbox, http: httpx.Client, knobs: dict[str, Any]) -> None:
    if knobs:
        sandbox.control.knobs(**knobs)
    prompt = "a castle" if knobs else "a castle [fail]"
    state = finish(http, start(http, prompt=prompt, model="nano-banana-2"))
    assert (state["status"], state["credits_deducted"], state["outputs"]) == ("failed", 0, [])
    assert state["error_message"]
    assert _kinds(sandbox)[1:] == [("charge", -14), ("refund", 14)]
    assert http.get("/v1/balance").json()["credits"] == 10_000


def test_refunds_can_be_kept_back(sandbox: RunningSandbox, http: httpx.Client) -> None:
    sandbox.control.knobs(fail_next=1, refund_failures=False)
    assert finish(http, start(http))["credits_deducted"] == 14
    assert http.get("/v1/balance").json()["credits"] == 9_986


def test_moderation_fails_the_job_or_refuses_the_request(sandbox: RunningSandbox, http: httpx.Client) -> None:
    sandbox.control.knobs(refuse_next=1)
    assert "content policy" in finish(http, start(http))["error_message"]
    sandbox.control.knobs(moderation="request")
    answer = http.post("/v1/generate/media", json={**PICTURE, "prompt": "x [refuse]"})
    assert (answer.status_code, answer.json()["error"]) == (400, "content_policy")
    assert http.get("/v1/balance").json()["credits"] == 10_000


def test_a_rehearsed_failure_rate_repeats_itself(sandbox: RunningSandbox, http: httpx.Client) -> None:
    sandbox.control.knobs(concurrency_caps=False)
    runs = []
    for _ in range(2):
        sandbox.control.knobs(fail_probability=0.5, fail_seed=3)
        jobs = [start(http, prompt=f"n {number}", model="z-image") for number in range(8)]
        runs.append([finish(http, job)["status"] for job in jobs])
    assert runs[0] == runs[1]
    assert set(runs[0]) == {"completed", "failed"}


@pytest.mark.parametrize("status", [400, 402])
def test_out_of_credits(sandbox: RunningSandbox, http: httpx.Client, status: int) -> None:
    sandbox.control.knobs(no_credits_as=status)
    sandbox.control.key("sk_live_example", credits=13)
    answer = http.post("/v1/generate/media", json=PICTURE)
    assert answer.status_code == status
    assert answer.json()["error"] == "insufficient_credits"
    assert sandbox.control.account()["jobs"] == []


def test_parallel_requests_never_overdraw(sandbox: RunningSandbox, http: httpx.Client) -> None:
    sandbox.control.knobs(concurrency_caps=False, speed=0.01)
    sandbox.control.key("sk_live_example", credits=14 * 5)
    with ThreadPoolExecutor(12) as pool:
        codes = list(pool.map(lambda _: http.post("/v1/generate/media", json=PICTURE).status_code, range(12)))
    assert sorted(codes) == [200] * 5 + [400] * 7
    assert http.get("/v1/balance").json()["credits"] == 0


@pytest.mark.parametrize("code", [200, 202])
def test_the_success_code_can_be_chosen(sandbox: RunningSandbox, http: httpx.Client, code: int) -> None:
    sandbox.control.knobs(success_code=code)
    assert http.post("/v1/generate/media", json=PICTURE).status_code == code


class Clock:
    """Time that moves only when told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(tmp_path: Path, clock: Clock) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path, speed=1, clock=clock) as running:
        yield running


@pytest.mark.parametrize(
    ("path", "body", "limit"),
    [
        ("/v1/generate/ad-copy", {"reference_ad_url": "https://example.com/a.png"}, 5),
        ("/v1/generate/music", {}, 10),
        ("/v1/generate/dialogue", {"dialogue": []}, 10),
        ("/v1/generate/media", {**PICTURE, "model": "none"}, 30),
    ],
)
def test_each_bucket_holds_its_number_in_any_minute(
    timed: RunningSandbox, clock: Clock, path: str, body: dict[str, Any], limit: int
) -> None:
    with timed.client() as http:
        for _ in range(limit):
            assert http.post(path, json=body).status_code != 429
        refused = http.post(path, json=body)
        assert refused.status_code == 429
        assert "retry-after" not in refused.headers
        clock.now += 59
        assert http.post(path, json=body).status_code == 429
        clock.now += 1
        assert http.post(path, json=body).status_code != 429


def test_minutes_can_pass_at_the_sandboxs_speed_or_not_count(timed: RunningSandbox, clock: Clock) -> None:
    with timed.client() as http:
        timed.control.knobs(speed=60, rate_limits="scaled")
        codes = [http.post("/v1/generate/music", json={}).status_code for _ in range(11)]
        assert codes == [400] * 10 + [429]
        clock.now += 1
        assert http.post("/v1/generate/music", json={}).status_code == 400
        timed.control.knobs(rate_limits="off")
        assert {http.post("/v1/generate/music", json={}).status_code for _ in range(20)} == {400}


def test_at_most_ten_media_jobs_run_at_once(timed: RunningSandbox, clock: Clock) -> None:
    with timed.client() as http:
        for _ in range(10):
            start(http)
        assert http.post("/v1/generate/media", json=PICTURE).status_code == 429
        clock.now += 60
        assert http.post("/v1/generate/media", json=PICTURE).status_code == 200


def test_status_follows_the_clock(timed: RunningSandbox, clock: Clock) -> None:
    with timed.client() as http:
        job = start(http)
        seen = []
        for step in (0, 5, 36, 2):
            clock.now += step
            seen.append(http.get(f"/v1/generate/media/{job}").json()["status"])
    assert seen == ["pending", "processing", "processing", "completed"]


def test_a_new_speed_also_counts_for_running_jobs(timed: RunningSandbox, clock: Clock) -> None:
    with timed.client() as http:
        job = start(http)
        timed.control.knobs(speed=42)
        clock.now += 1.01
        assert http.get(f"/v1/generate/media/{job}").json()["status"] == "completed"
