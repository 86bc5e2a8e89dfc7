"""Faults that can be turned on."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.sandbox.jobs import PICTURE, finish, start

if TYPE_CHECKING:
    from tests.sandbox_server import RunningSandbox

START = "POST /v1/generate/media"


def _post(http: httpx.Client) -> httpx.Response:
    return http.post("/v1/generate/media", json=PICTURE)


def test_a_connection_cut_before_acceptance_leaves_no_job(sandbox: RunningSandbox, http: httpx.Client) -> None:
    sandbox.control.fault(START, "cut_before_acceptance")
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        _post(http)
    assert sandbox.control.books()["accounts"] == []
    assert _post(http).status_code == 200


def test_a_connection_cut_after_acceptance_leaves_a_paid_job(sandbox: RunningSandbox, http: httpx.Client) -> None:
    sandbox.control.fault(START, "cut_after_acceptance")
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        _post(http)
    account = sandbox.control.account()
    assert [entry["kind"] for entry in account["entries"]] == ["grant", "charge"]
    assert http.get("/v1/generations").json()["generations"][0]["id"] == account["jobs"][0]["id"]


@pytest.mark.parametrize(
    ("details", "header"), [({"status": 429}, None), ({"status": 429, "retry_after": 2}, "2"), ({"status": 500}, None)]
)
def test_a_status_for_the_next_calls(
    sandbox: RunningSandbox, http: httpx.Client, details: dict[str, Any], header: str | None
) -> None:
    sandbox.control.fault(START, "status", times=2, **details)
    answers = [_post(http) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [details["status"]] * 2 + [200]
    assert answers[0].headers.get("retry-after") == header
    assert answers[0].json()["detail"]
    assert len(sandbox.control.account()["jobs"]) == 1


def test_a_proxys_html_page(sandbox: RunningSandbox, http: httpx.Client) -> None:
    sandbox.control.fault("GET /v1/balance", "html", status=502)
    answer = http.get("/v1/balance")
    assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html; charset=utf-8")
    assert "<h1>" in answer.text


def test_broken_json(sandbox: RunningSandbox, http: httpx.Client) -> None:
    sandbox.control.fault("GET /v1/balance", "not_json")
    with pytest.raises(ValueError):
        http.get("/v1/balance").json()


def test_slow_answers_do_not_hold_each_other_up(sandbox: RunningSandbox, http: httpx.Client) -> None:
    sandbox.control.fault("GET /v1/balance", "slow", seconds=2, times=8)
    before = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda _: http.get("/v1/balance").status_code, range(8)))
    assert codes == [200] * 8
    assert 2 <= time.monotonic() - before < 14  # one after the other takes 16


def test_an_answer_that_is_held_back_is_one_to_a_paid_job(sandbox: RunningSandbox, http: httpx.Client) -> None:
    sandbox.control.fault(START, "slow_answer", seconds=6)
    with pytest.raises(httpx.ReadTimeout):
        http.post(
            "/v1/generate/media", json={"prompt": "a kite", "model": "nano-banana-2"}, timeout=httpx.Timeout(60, read=3)
        )
    assert len(sandbox.control.account()["jobs"]) == 1


def test_faults_can_let_some_calls_pass_first(sandbox: RunningSandbox, http: httpx.Client) -> None:
    sandbox.control.fault("GET /v1/*", "status", status=503, skip=2)
    assert [http.get("/v1/balance").status_code for _ in range(4)] == [200, 200, 503, 200]
    assert sandbox.control.knobs()["faults"][0]["times"] == 0


def test_a_dropped_stream_ends_without_a_result(sandbox: RunningSandbox, http: httpx.Client) -> None:
    job = start(http)
    sandbox.control.fault("GET /v1/generate/media/*/stream", "drop_stream")
    assert "event: result" not in http.get(f"/v1/generate/media/{job}/stream").text
    assert "event: result" in http.get(f"/v1/generate/media/{job}/stream").text


def test_status_reads_right_after_the_start_may_be_404(sandbox: RunningSandbox, http: httpx.Client) -> None:
    sandbox.control.knobs(early_404=2)
    job = start(http)
    assert http.get("/v1/generations").json()["generations"] == []
    codes = [http.get(f"/v1/generate/media/{job}").status_code for _ in range(3)]
    assert codes == [404, 404, 200]


def test_a_completed_job_may_hold_back_its_urls(sandbox: RunningSandbox, http: httpx.Client) -> None:
    sandbox.control.knobs(null_urls=1)
    job = start(http)
    first, second = finish(http, job), finish(http, job)
    assert (first["status"], first["outputs"][0]["url"], first["cdn_ready"]) == ("completed", None, False)
    assert second["outputs"][0]["url"]


def test_a_file_may_be_missing_at_first(sandbox: RunningSandbox, http: httpx.Client) -> None:
    sandbox.control.knobs(cdn_404=2)
    url = finish(http, start(http))["outputs"][0]["url"]
    assert [http.get(url).status_code for _ in range(3)] == [404, 404, 200]


@pytest.mark.parametrize(
    "change", [{"speed": 0}, {"speed": "fast"}, {"no_such_knob": 1}, {"faults": [{"on": "*", "kind": "explode"}]}]
)
def test_knobs_that_do_not_exist_are_refused(sandbox: RunningSandbox, change: dict[str, Any]) -> None:
    before = sandbox.control.knobs()
    with pytest.raises(httpx.HTTPStatusError, match="422"):
        sandbox.control.knobs(**change)
    assert sandbox.control.knobs() == before


def test_knobs_left_out_keep_their_value(sandbox: RunningSandbox) -> None:
    sandbox.control.knobs(early_404=3)
    assert sandbox.control.knobs(null_urls=2)["early_404"] == 3


def test_reset_forgets_everything_but_the_speed_and_the_drawing(sandbox: RunningSandbox, http: httpx.Client) -> None:
    url = finish(http, start(http))["outputs"][0]["url"]
    sandbox.control.knobs(fail_next=3)
    sandbox.control.reset()
    assert sandbox.control.books()["accounts"] == []
    knobs = sandbox.control.knobs()
    assert (knobs["fail_next"], knobs["speed"], knobs["drawing"]) == (0, 10_000, "plain")
    assert http.get(url).status_code == 404
    assert http.get("/v1/balance").json()["credits"] == 10_000


def test_calls_are_counted_by_route(sandbox: RunningSandbox, http: httpx.Client) -> None:
    job = start(http)
    http.get(f"/v1/generate/media/{job}")
    http.get(f"/v1/generate/media/{job}/stream")
    calls = sandbox.control.books()["calls"]
    assert calls["POST /v1/generate/media"] == 1
    assert calls["GET /v1/generate/media/{id}"] == 1
    assert calls["GET /v1/generate/media/{id}/stream"] == 1
