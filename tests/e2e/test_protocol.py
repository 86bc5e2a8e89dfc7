"""What a client sees on the wire, in both eras: errors by the book, calls side by side, cancellation, odd lines."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.server import PATIENCE, Server, modern

if TYPE_CHECKING:
    from collections.abc import Iterator

WORDS = {"prompt": "a slow picture", "model": "nano-banana-2"}
NOT_THERE: list[tuple[str, dict[str, Any]]] = [
    ("prompts/get", {"name": "no-such-recipe"}),
    ("prompts/get", {"name": "three-ad-variants", "arguments": {}}),
    ("prompts/get", {"name": "three-ad-variants", "arguments": {"brief": "x", "aspect_ratio": "7:3"}}),
    ("prompts/get", {"name": "three-ad-variants", "arguments": {"brief": "x", "unheard": "of"}}),
    ("resources/read", {"uri": "kubeez://models/no-such-model"}),
    ("resources/read", {"uri": "kubeez://jobs/no-such-job"}),
    ("resources/read", {"uri": "kubeez://recipes/..%2F..%2Fsecrets"}),
    ("resources/read", {"uri": "kubeez://skills/../settings"}),
    ("resources/read", {"uri": "kubeez://elsewhere"}),
    ("resources/read", {"uri": "file:///etc/passwd"}),
    ("tools/call", {"name": "no_such_tool", "arguments": {}}),
]


@pytest.fixture(scope="module", params=["old", "new"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server of each era, slow enough for waits to be cut short."""
    with Server(tmp_path_factory.mktemp(request.param), sandbox_speed=2) as running:
        if request.param == "old":
            running.initialize()
        else:
            running.era = modern
        yield running


def test_what_does_not_exist_is_an_invalid_parameter(server: Server) -> None:
    for method, params in NOT_THERE:
        answer = server.request(method, params)
        assert answer["error"]["code"] == -32602, (method, params, answer)
        assert answer["error"]["message"]


def test_a_misspelt_tool_or_argument_is_answered_with_the_near_one(server: Server) -> None:
    refused = server.request("tools/call", {"name": "generate_medai", "arguments": {}})
    assert "generate_media" in refused["error"]["message"]
    text = server.call("estimate", model="z-image", durationn=5)["content"][0]["text"]
    assert "durationn" in text
    assert "Did you mean duration?" in text


def test_calls_run_side_by_side_and_each_gets_its_own_answer(server: Server) -> None:
    job = server.call("generate_media", **WORDS)["structuredContent"]["generation_id"]
    wait = server.send("tools/call", {"name": "wait_for_generation", "arguments": {"id": job, "timeout_seconds": 2}})
    models = ["z-image", "nano-banana", "nano-banana-2", "imagen-4"]
    calls = [server.send("tools/call", {"name": "estimate", "arguments": {"model": model}}) for model in models]
    answers = [server.answer(call)["result"]["structuredContent"]["model"] for call in calls]
    assert answers == models
    assert server.pending(wait)
    assert server.answer(wait)["result"]["structuredContent"]["generation_id"] == job


def test_who_subscribed_to_the_jobs_is_told_of_a_new_one(server: Server) -> None:
    jobs = "kubeez://jobs/recent"
    if server.era is modern:
        server.send("subscriptions/listen", {"notifications": {"resourceSubscriptions": [jobs]}})
    else:
        assert server.request("resources/subscribe", {"uri": jobs})["result"] == {}
    server.call("generate_media", **WORDS, seed=3)
    until = time.monotonic() + PATIENCE
    while not any(told["params"].get("uri") == jobs for told in server.notifications):
        server.call("get_balance")  # reads on
        assert time.monotonic() < until, server.notifications


def test_a_cancelled_wait_is_never_answered_and_the_job_goes_on(server: Server) -> None:
    job = server.call("generate_media", **WORDS, seed=2)["structuredContent"]["generation_id"]
    wait = server.send("tools/call", {"name": "wait_for_generation", "arguments": {"id": job}})
    server.call("get_status", id=job)
    server.notify("notifications/cancelled", {"requestId": wait, "reason": "the user moved on"})
    assert server.call("get_status", id=job)["structuredContent"]["status"] in ("pending", "processing")
    time.sleep(0.3)
    assert server.pending(wait)


def test_lines_that_are_no_messages_and_huge_arguments_do_not_end_the_conversation(server: Server) -> None:
    for line in (b"this is not JSON", b'{"jsonrpc": "2.0"', b"[]", b"", b"\xff\xfe\x00", b'{"id": 991}'):
        server.line(line)
    assert server.answer(991)["error"]["code"] == -32600
    refused = server.call("generate_media", prompt="x" * 5_000_000, model="nano-banana-2")
    assert refused["isError"]
    assert "5000000 characters" in refused["content"][0]["text"]
    assert len(refused["content"][0]["text"]) < 2_000
    odd = server.call("estimate", model="a\u2028b")
    assert "there is no model" in odd["content"][0]["text"]
    assert "the control character \\x00" in server.call("estimate", model="a\x00")["content"][0]["text"]
    assert server.call("get_balance")["structuredContent"]["credits"] > 0


def test_half_a_character_neither_hangs_nor_is_sent_on(server: Server) -> None:
    made = server.call("generate_media", prompt="a kite \ud83d", model="nano-banana-2")["structuredContent"]
    assert server.call("get_generation", id=made["generation_id"])["structuredContent"]["prompt"] == "a kite \ufffd"
    assert "no such argument" in server.call("get_balance", **{"\udc00": 1})["content"][0]["text"]


def test_a_request_that_is_none_is_answered_with_an_error(server: Server) -> None:
    server.line(b'{"jsonrpc": "2.0", "id": 990, "method": "tools/call", "params": [1]}')
    assert server.answer(990)["error"]["code"] == -32600


def test_lists_are_said_to_change(server: Server) -> None:
    if server.era is modern:
        capabilities: dict[str, Any] = server.request("server/discover")["result"]["capabilities"]
    else:
        capabilities = server.hello["capabilities"]
        assert server.request("ping")["result"] == {}
    assert all(capabilities[part]["listChanged"] for part in ("tools", "prompts", "resources"))
