"""The process itself: clean stdout in every state, prompt exit, survival of odd input."""

from __future__ import annotations

import json
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import KEY
from tests.e2e.server import Server, modern

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sandbox_server import RunningSandbox

PROMPT = {"prompt": "a slow picture", "model": "nano-banana-2"}
needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
BAD_HTML = "<html><body>Sign in to the company proxy</body></html>"


def start_job(server: Server) -> str:
    job: str = server.call("generate_media", **PROMPT)["structuredContent"]["generation_id"]
    return job


def test_hanging_up_ends_the_process_at_once_also_with_work_in_flight(tmp_path: Path) -> None:
    times = []
    for number in range(3):
        with Server(tmp_path, sandbox_speed=1) as server:
            server.initialize()
            if number:
                job = start_job(server)
                server.send("tools/call", {"name": "wait_for_generation", "arguments": {"id": job}})
                server.call("get_status", id=job)  # the wait has begun when this is answered
            times.append(server.close_stdin())
            assert server.process.returncode == 0
    # The best of the busy ones: a loaded machine may hold up any single one.
    assert times[0] < 1.0
    assert min(times[1:]) < 0.3


@needs_signals
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_process_cleanly_in_the_middle_of_a_wait(tmp_path: Path, signum: int, code: int) -> None:
    with Server(tmp_path, sandbox_speed=1) as server:
        server.initialize()
        job = start_job(server)
        server.send("tools/call", {"name": "wait_for_generation", "arguments": {"id": job}})
        server.call("get_status", id=job)
        assert server.signal(signum) < 2.0
        assert server.process.returncode == code
        assert "Traceback" not in server.stderr


def test_a_job_of_an_earlier_run_is_picked_up_and_saved(tmp_path: Path) -> None:
    with Server(tmp_path, sandbox_speed=20) as server:
        server.initialize()
        job = start_job(server)
        server.close_stdin()
    assert list((tmp_path / "out").rglob("*.png")) == []
    with Server(tmp_path, sandbox_speed=20) as server:
        server.initialize()
        done = server.call("wait_for_generation", id=job)["structuredContent"]
        assert done["status"] == "completed"
        assert len(list((tmp_path / "out").rglob("*.png"))) == 1


def test_garbage_and_huge_arguments_do_not_end_the_conversation(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        server.initialize()
        server.line(b"this is not JSON")
        server.line(b'{"jsonrpc": "2.0"')
        server.line(b"[]")
        refused = server.call("generate_media", prompt="x" * 5_000_000, model="nano-banana-2")
        assert refused["isError"]
        assert "5000000 characters" in refused["content"][0]["text"]
        assert len(refused["content"][0]["text"]) < 2_000
        assert server.call("get_balance")["structuredContent"]["credits"] > 0


def test_parallel_calls_are_answered_each_with_its_own_result(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        server.initialize()
        models = ["z-image", "nano-banana", "nano-banana-2", "imagen-4"]
        calls = [server.send("tools/call", {"name": "estimate", "arguments": {"model": model}}) for model in models]
        answers = [server.answer(call)["result"]["structuredContent"]["model"] for call in calls]
        assert answers == models


CRASHING = """
import kubeez_mcp_local.mcp_server.tools.planning as planning
from dataclasses import replace
import kubeez_mcp_local.mcp_server.tools.inventory as inventory
async def get_balance(call):
    print("stray output", flush=True)
    raise ValueError("secret detail")
broken = replace(planning.get_balance, handler=get_balance)
inventory.ALL_TOOLS = tuple(broken if spec.name == "get_balance" else spec for spec in inventory.ALL_TOOLS)
from kubeez_mcp_local.cli.main import cli
cli(["serve"])
"""


def test_a_tool_that_crashes_tells_the_model_nothing_and_the_server_lives_on(tmp_path: Path) -> None:
    with Server(tmp_path, program=("-c", CRASHING)) as server:
        server.initialize()
        crashed = server.call("get_balance")
        assert crashed["isError"]
        assert "secret detail" not in json.dumps(crashed)
        assert server.call("estimate", model="z-image")["structuredContent"]["credits"] == 4


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"max_credits_per_day": "plenty"}, "KUBEEZ_MAX_CREDITS_PER_DAY"),
        ({"output_dir": "${workspaceFolder}/out"}, "placeholder"),
        ({"api_key": KEY, "base_url": "http://192.0.2.1"}, "unencrypted"),
        ({"mode": "live"}, "KUBEEZ_API_KEY"),
    ],
)
def test_settings_that_cannot_be_used_are_explained_on_stderr_only(
    tmp_path: Path, settings: dict[str, Any], named: str
) -> None:
    with Server(tmp_path, **settings) as server:
        server.process.wait(30)
        assert server.process.returncode == 2
    assert named in server.stderr
    assert server.stdout == []


def test_with_the_api_down_every_tool_says_so_and_nothing_is_lost(tmp_path: Path) -> None:
    with Server(tmp_path, api_key=KEY, base_url="http://127.0.0.1:9", log_level="debug") as server:
        server.initialize()
        refused = server.call("get_balance")["structuredContent"]["error"]
        assert (refused["code"], refused["credits_spent"]) == ("unreachable", False)
        listed = server.call("get_models", limit=1)["structuredContent"]
        assert listed["source"] == "snapshot"


@pytest.mark.parametrize("log_level", ["debug", "warning"])
def test_the_log_holds_no_key_prompt_or_query(
    tmp_path: Path, api: RunningSandbox, live: dict[str, Any], log_level: str
) -> None:
    secret = "a very private unicorn"
    with Server(tmp_path, **live, ask_above=100, log_level=log_level) as server:
        server.initialize()
        job = server.call("generate_media", prompt=secret, model="z-image")["structuredContent"]["generation_id"]
        server.call("wait_for_generation", id=job)
        server.call("get_generations", model="z-image", status="completed")
        server.close_stdin()
    assert KEY not in server.stderr
    assert secret not in server.stderr
    assert "status=completed" not in server.stderr


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("prompts/get", {"name": "no-such-recipe"}),
        ("prompts/get", {"name": "three-ad-variants", "arguments": {}}),
        ("prompts/get", {"name": "three-ad-variants", "arguments": {"brief": "x", "aspect_ratio": "7:3"}}),
        ("resources/read", {"uri": "kubeez://models/no-such-model"}),
        ("resources/read", {"uri": "kubeez://elsewhere"}),
        ("tools/call", {"name": "no_such_tool", "arguments": {}}),
    ],
)
@pytest.mark.parametrize("era", ["old", "new"])
def test_what_does_not_exist_is_an_invalid_parameter(
    tmp_path: Path, era: str, method: str, params: dict[str, Any]
) -> None:
    with Server(tmp_path) as server:
        if era == "old":
            server.initialize()
        answer = server.request(method, params if era == "old" else modern(**params))
    assert answer["error"]["code"] == -32602, answer
    assert answer["error"]["message"]


def test_old_clients_are_told_that_lists_change(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        capabilities = server.initialize()["capabilities"]
    assert all(capabilities[part]["listChanged"] for part in ("tools", "prompts", "resources"))
