"""The process itself: clean stdout in every state, prompt exit, jobs that survive it."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import KEY
from tests.e2e.server import LEGACY, MODERN, DeafClient, Server, environment, modern, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sandbox_server import RunningSandbox

WORDS = {"prompt": "a slow picture", "model": "nano-banana-2"}
needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

SAYS_WHEN_CLOSED = """
import sys
from kubeez_mcp_local.bridge.api import Api
close = Api.aclose
async def and_say_so(self):
    await close(self)
    print("connections are closed", file=sys.stderr, flush=True)
Api.aclose = and_say_so
from kubeez_mcp_local.cli.main import cli
cli(["serve"])
"""

CRASHES_AND_PRINTS = """
import dataclasses, os, subprocess, sys
import kubeez_mcp_local.mcp_server.tools as tools
async def crashing(call):
    print("stray and flushed", flush=True)
    print("stray and left in the buffer")
    os.write(1, b"stray from C\\n")
    subprocess.run([sys.executable, "-c", "print('stray from a child')"], check=True)
    raise ValueError("secret detail")
tools.ALL_TOOLS = tuple(
    dataclasses.replace(spec, handler=crashing) if spec.name == "get_balance" else spec for spec in tools.ALL_TOOLS
)
from kubeez_mcp_local.cli.main import cli
cli(["serve"])
"""

STANDS_STILL = """
import sys, time
from kubeez_mcp_local.mcp_server.server import KubeezServer
async def standing(self):
    print("it stands still", file=sys.stderr, flush=True)
    time.sleep(100)
KubeezServer.list_tools = standing
from kubeez_mcp_local.cli.main import cli
cli(["serve"])
"""


def start_job(server: Server) -> str:
    job: str = server.call("generate_media", **WORDS)["structuredContent"]["generation_id"]
    return job


def idle(server: Server) -> None:
    """Nothing has been asked for yet."""


def with_the_sandbox_running(server: Server) -> None:
    server.call("get_balance")


def with_a_job_running(server: Server) -> None:
    server.call("get_status", id=start_job(server))


def with_a_wait_in_flight(server: Server) -> None:
    job = start_job(server)
    server.send("tools/call", {"name": "wait_for_generation", "arguments": {"id": job}})
    server.call("get_status", id=job)  # the wait has begun when this is answered


@pytest.mark.parametrize("busy", [idle, with_the_sandbox_running, with_a_job_running, with_a_wait_in_flight])
def test_hanging_up_ends_the_process_at_once(tmp_path: Path, busy: Callable[[Server], None]) -> None:
    with Server(tmp_path, program=("-c", SAYS_WHEN_CLOSED), sandbox_speed=1) as server:
        server.initialize()
        busy(server)
        server.close_stdin()
        assert server.process.returncode == 0
    assert "connections are closed" in server.stderr
    assert "Traceback" not in server.stderr


def test_hanging_up_does_not_wait_for_an_api_that_hangs(
    tmp_path: Path, api: RunningSandbox, live: dict[str, Any]
) -> None:
    api.control.fault("GET /v1/balance", "slow", seconds=100)
    with Server(tmp_path, **live) as server:
        server.initialize()
        server.send("tools/call", {"name": "get_balance", "arguments": {}})
        until(lambda: "GET /v1/balance" in api.control.books()["calls"])
        server.close_stdin()
        assert server.process.returncode == 0


@needs_signals
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("busy", [idle, with_a_wait_in_flight])
def test_a_signal_ends_the_process_cleanly(
    tmp_path: Path, signum: int, code: int, busy: Callable[[Server], None]
) -> None:
    with Server(tmp_path, program=("-c", SAYS_WHEN_CLOSED), sandbox_speed=1) as server:
        server.initialize()
        busy(server)
        server.signal(signum)
        assert server.process.returncode == code
    assert "connections are closed" in server.stderr
    assert "Traceback" not in server.stderr


def test_a_job_of_an_earlier_run_is_picked_up_and_saved_without_being_asked_for(tmp_path: Path) -> None:
    def pictures() -> list[Path]:
        return list((tmp_path / "out").rglob("*.png"))

    with Server(tmp_path, sandbox_speed=20) as server:
        server.initialize()
        job = start_job(server)
        server.close_stdin()
    assert pictures() == []
    with Server(tmp_path, sandbox_speed=20) as server:
        server.initialize()
        until(pictures)
        assert len(pictures()) == 1
        done = server.call("wait_for_generation", id=job)["structuredContent"]
        assert [Path(file["path"]) for file in done["files"]] == pictures()
        assert done["cost"]["spent_today"] == 14


def test_a_tool_that_crashes_and_prints_tells_the_model_nothing_and_spoils_nothing(tmp_path: Path) -> None:
    with Server(tmp_path, program=("-c", CRASHES_AND_PRINTS), forked=False) as server:
        server.initialize()
        crashed = server.call("get_balance")
        assert crashed["isError"]
        assert "secret detail" not in json.dumps(crashed)
        assert server.call("estimate", model="z-image")["structuredContent"]["credits"] == 4
        server.close_stdin()
    assert b"stray" not in b"".join(server.stdout)
    for stray in ("stray and flushed", "stray and left in the buffer", "stray from C", "stray from a child"):
        assert stray in server.stderr
    assert "secret detail" not in server.stderr


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"max_credits_per_day": "plenty"}, "KUBEEZ_MAX_CREDITS_PER_DAY"),
        ({"output_dir": "${workspaceFolder}/out"}, "placeholder"),
        ({"api_key": KEY, "base_url": "http://192.0.2.1"}, "unencrypted"),
        ({"mode": "live"}, "KUBEEZ_API_KEY"),
    ],
)
def test_settings_that_cannot_be_used_are_explained_on_stderr_as_well(
    tmp_path: Path, settings: dict[str, Any], named: str
) -> None:
    with Server(tmp_path, **settings) as server:
        server.initialize()
        assert named in server.call("get_balance")["content"][0]["text"]
    assert named in server.stderr
    assert "Traceback" not in server.stderr


def test_with_the_api_down_every_tool_says_so_and_nothing_is_charged(tmp_path: Path) -> None:
    with Server(tmp_path, api_key=KEY, base_url="http://127.0.0.1:9", ask_above=500, log_level="debug") as server:
        server.initialize()
        refused = server.call("get_balance")["structuredContent"]["error"]
        assert (refused["code"], refused["credits_spent"]) == ("unreachable", False)
        listed = server.call("get_models", limit=1)["structuredContent"]
        assert listed["source"] == "snapshot"
        unsent = server.call("generate_media", **WORDS)["structuredContent"]["error"]
        assert (unsent["code"], unsent["credits_spent"], unsent["retry_safe"]) == ("unreachable", False, True)
        account = json.loads(
            server.request("resources/read", {"uri": "kubeez://account"})["result"]["contents"][0]["text"]
        )
        assert (account["spent_today"], account["reserved"]) == (0, 0)
        assert "credits" not in account


def test_a_ledger_that_cannot_be_read_stops_spending_and_is_explained(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "ledger.db").write_bytes(b"no database" * 500)
    with Server(tmp_path) as server:
        server.initialize()
        refused = server.call("generate_media", **WORDS)
        assert refused["structuredContent"]["error"]["code"] == "ledger_corrupt"
        assert "Move the file away" in refused["content"][0]["text"]
        recipe = {"name": "three-ad-variants", "arguments": {"brief": "x"}}
        for method, params in (("resources/read", {"uri": "kubeez://jobs/recent"}), ("prompts/get", recipe)):
            error = server.request(method, params)["error"]
            assert (error["code"], "Move the file away" in error["message"]) == (-32603, True)
        assert server.call("estimate", model="z-image")["structuredContent"]["credits"] == 4
        server.close_stdin()
        assert server.process.returncode == 0
    assert "Traceback" not in server.stderr


@needs_signals
def test_a_client_that_reads_no_more_answers_ends_the_process_quietly(tmp_path: Path) -> None:
    ends, wire = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "kubeez_mcp_local"],
        stdin=subprocess.PIPE,
        stdout=wire,
        stderr=subprocess.PIPE,
        env=environment(tmp_path),
        cwd=tmp_path,
    )
    os.close(wire)
    os.close(ends)
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
    message = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}).encode()
    _, errors = process.communicate(message + b"\n", timeout=30)
    assert process.returncode == 0
    assert b"Traceback" not in errors


@needs_signals
@pytest.mark.parametrize("busy", ["a paid call in flight", "a wait in flight"])
def test_a_client_that_reads_no_more_answers_is_left_and_its_job_is_found_again(
    tmp_path: Path, api: RunningSandbox, live: dict[str, Any], busy: str
) -> None:
    post = "POST /v1/generate/media"
    client = DeafClient(tmp_path, **live, ask_above=100)
    client.initialize()
    if busy == "a paid call in flight":
        api.control.fault(post, "slow_answer", seconds=100)
    else:
        api.control.knobs(speed=1)
    client.send("tools/call", 2, name="generate_media", arguments=WORDS)
    if busy == "a paid call in flight":
        until(lambda: api.control.account()["jobs"])
    else:
        job = client.answer(2)["result"]["structuredContent"]["generation_id"]
        client.send("tools/call", 3, name="wait_for_generation", arguments={"id": job})
    client.stop_reading()
    assert client.process.stdin is not None
    client.process.stdin.close()
    assert client.process.stderr is not None
    assert b"Traceback" not in client.process.stderr.read()
    api.control.knobs(speed=1000)
    with Server(tmp_path, **live, ask_above=100) as server:
        server.initialize()
        for _ in range(5):
            again = server.call("generate_media", **WORDS)
            if not again.get("isError"):
                break
        assert again["structuredContent"]["repeated"] is True
        job = again["structuredContent"]["generation_id"]
        assert server.call("wait_for_generation", id=job)["structuredContent"]["status"] == "completed"
    assert [entry["credits"] for entry in api.control.account()["entries"] if entry["kind"] == "charge"] == [-14]


@needs_signals
def test_what_is_being_paid_is_written_down_though_nobody_reads_or_stays(
    tmp_path: Path, api: RunningSandbox, live: dict[str, Any]
) -> None:
    client = DeafClient(tmp_path, **live, ask_above=100)
    client.initialize()
    api.control.fault("POST /v1/generate/media", "slow_answer", seconds=100)
    client.send("tools/call", 2, name="generate_media", arguments=WORDS)
    until(lambda: api.control.account()["jobs"])
    assert client.hang_up_unread() == 0
    assert client.process.stderr is not None
    assert b"Traceback" not in client.process.stderr.read()
    with sqlite3.connect(tmp_path / "state" / "ledger.db") as ledger:
        assert ledger.execute("SELECT state FROM jobs").fetchall() == [("unknown",)]


def test_the_end_of_the_input_ends_it_whatever_it_does(tmp_path: Path) -> None:
    with Server(tmp_path, program=("-c", STANDS_STILL), trial=1) as server:
        server.initialize()
        server.send("tools/list")
        until(lambda: "it stands still" in server.stderr)
        server.close_stdin()
        assert server.process.returncode == 0


@pytest.mark.parametrize("log_level", ["debug", "warning"])
def test_the_log_holds_no_key_prompt_or_query(tmp_path: Path, live: dict[str, Any], log_level: str) -> None:
    secret, file = "a very private unicorn", tmp_path / "kubeez.log"
    with Server(tmp_path, "--log-file", str(file), **live, ask_above=100, log_level=log_level) as server:
        server.initialize()
        job = server.call("generate_media", prompt=secret, model="z-image")["structuredContent"]["generation_id"]
        server.call("wait_for_generation", id=job)
        server.call("get_generations", model="z-image", status="completed")
        server.call("generate_media", prompt=secret, model="z-imag")
        server.call("generate_media", prompt=secret, model="z-image", seed=secret)
        server.line(json.dumps({"id": 99, "prompt": secret}).encode())
        server.line(f"{{ not JSON: {secret}".encode())
        server.call("get_balance")
        server.close_stdin()
    for written in (server.stderr, file.read_text("utf-8")):
        assert KEY not in written
        assert secret not in written
        assert "status=completed" not in written
    if log_level == "debug":
        line = r"Z INFO \d+ \S+ \[\d+\]: tools/call wait_for_generation: answered after \d+ ms"
        assert re.search(line, file.read_text("utf-8"))
        assert "tools/call generate_media: refused after" in file.read_text("utf-8")


BAD_SETTINGS: dict[str, str] = {
    "api_key": "${user_config.api_key}",
    "max_credits_per_day": "plenty",
    "mode": "production",
    "base_url": "ftp://kubeez",
    "output_dir": "~nobody-of-that-name/x",
}


@pytest.mark.parametrize(
    ("name", "era"), [*((name, LEGACY) for name in BAD_SETTINGS), ("api_key", MODERN), ("max_credits_per_day", MODERN)]
)
def test_a_bad_setting_is_explained_in_the_conversation(tmp_path: Path, name: str, era: str) -> None:
    bad: dict[str, Any] = {name: BAD_SETTINGS[name]}
    with Server(tmp_path, **bad) as server:
        server.secret = ""  # the placeholder is none, and is shown
        if era == LEGACY:
            server.initialize()
            assert f"KUBEEZ_{name.upper()}" in server.hello["instructions"]
        else:
            server.era = modern
        tools = {tool["name"] for tool in server.request("tools/list")["result"]["tools"]}
        assert {"generate_media", "get_balance", "run_recipe", "get_skill"} <= tools
        for tool, arguments in (
            ("get_balance", {}),
            ("generate_media", WORDS),
            ("list_assets", {}),
            ("get_models", {}),
            ("run_recipe", {"name": "three-ad-variants", "arguments": {"brief": "a mug"}, "rehearse": True}),
            ("save_recipe", {"name": "mine", "job_ids": ["j"]}),
        ):
            answer = server.request("tools/call", {"name": tool, "arguments": arguments})["result"]
            assert answer["isError"], tool
            error = answer["structuredContent"]["error"]
            assert (error["code"], error["credits_spent"]) == ("invalid_setting", False), (tool, error)
            assert f"KUBEEZ_{name.upper()}" in error["message"]
            assert answer["structuredContent"]["mode"] == "none"
        for tool, arguments in (
            ("get_skill", {"name": "polling"}),
            ("list_gemini_omni_voices", {}),
            ("open_studio", {}),
        ):
            assert not server.request("tools/call", {"name": tool, "arguments": arguments})["result"].get("isError")
        for uri in ("kubeez://account", "kubeez://jobs/recent", "kubeez://models"):
            assert f"KUBEEZ_{name.upper()}" in server.request("resources/read", {"uri": uri})["error"]["message"]
        assert server.request("prompts/list")["result"]["prompts"]
    assert f"KUBEEZ_{name.upper()}" in server.stderr
    assert not (tmp_path / "state").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [["--mode", "${mode}"], ["--log-level", "loud"], ["--toolsets", "everything"]])
def test_a_bad_option_of_the_command_line_is_explained_likewise(tmp_path: Path, arguments: list[str]) -> None:
    with Server(tmp_path, *arguments) as server:
        server.initialize()
        answer = server.request("tools/call", {"name": "get_balance", "arguments": {}})["result"]
        assert answer["structuredContent"]["error"]["code"] == "invalid_setting"


@pytest.mark.skipif(sys.platform == "win32", reason="a working folder cannot be deleted there")
def test_a_working_folder_that_is_gone_is_no_hindrance(tmp_path: Path) -> None:
    (folder := tmp_path / "gone").mkdir()
    leave = f"import os; os.chdir({str(folder)!r}); os.rmdir({str(folder)!r})"
    program = ("-c", f"{leave}; from kubeez_mcp_local.__main__ import main; main()")
    picture = {"name": "upload_media", "arguments": {"paths": ["a.png"]}}
    with Server(tmp_path, program=program) as server:
        server.initialize()
        assert not server.request("tools/call", {"name": "get_balance", "arguments": {}})["result"].get("isError")
        assert "the whole path" in server.request("tools/call", picture)["result"]["content"][0]["text"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX shells close streams like this")
@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
@pytest.mark.parametrize("command", ["", "recipes list"])
def test_a_closed_stream_is_an_empty_one(tmp_path: Path, closed: str, command: str) -> None:
    shell = f"{sys.executable} -m kubeez_mcp_local {command} </dev/null {closed}"
    done = subprocess.run(
        ["sh", "-c", shell], env=environment(tmp_path), cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
