"""Start-up, memory, exit, call overhead, parallel calls, size of the tool list."""

from __future__ import annotations

import json
import statistics
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.bench.measuring import BASELINE, OURS, TRIAL, Lines, balance_api, start_once
from tests.e2e.server import DeafClient
from tests.sandbox_server import KEY as SANDBOX_KEY
from tests.sandbox_server import running_sandbox

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.conftest import Report

pytestmark = pytest.mark.bench
KEY = "sk_live_example"


def test_start_up_and_idle_memory(report: Report, tmp_path: Path) -> None:
    """Of the server itself, without the front before it; that is in `test_start_bench.py`."""
    start_once(OURS, tmp_path, **TRIAL)
    pairs = [(start_once(BASELINE, tmp_path), start_once(OURS, tmp_path, **TRIAL)) for _ in range(8)]
    ratio = statistics.median(ours.seconds / base.seconds for base, ours in pairs)
    extra = statistics.median(ours.megabytes - base.megabytes for base, ours in pairs)
    leaving = max(ours.exit_seconds for _, ours in pairs)
    slowest = statistics.median(ours.seconds for _, ours in pairs)
    report.add(
        "without the front: spawn to initialize, of a one-tool server", f"{ratio:.2f} x ({slowest:.2f} s)", "<= 1.15 x"
    )
    report.add("without the front: idle memory above a one-tool server", f"{extra:.1f} MB", "<= 15 MB")
    report.add("exit after end of input", f"{leaving * 1000:.0f} ms", "<= 300 ms")
    assert ratio <= 1.15
    assert extra <= 15
    assert leaving <= 0.3


def test_overhead_of_a_call(report: Report, tmp_path: Path) -> None:
    with balance_api() as url, Lines(OURS, tmp_path, KUBEEZ_API_KEY=KEY, KUBEEZ_BASE_URL=url) as server:
        server.handshake()
        server.call("get_balance", {})
        with httpx.Client(base_url=url, headers={"X-API-Key": KEY}, trust_env=False) as bare:
            bare.get("/v1/balance")
            bare_times, our_times = [], []
            for _ in range(90):  # fewer than the 120 reads a minute that the server lets through
                began = time.perf_counter()
                bare.get("/v1/balance").json()
                bare_times.append(time.perf_counter() - began)
                began = time.perf_counter()
                answer = server.call("get_balance", {})
                our_times.append(time.perf_counter() - began)
                assert answer["result"]["structuredContent"]["credits"] == 100
    extra = (statistics.median(our_times) - statistics.median(bare_times)) * 1000
    report.add("get_balance above bare httpx, median", f"{extra:.2f} ms", "<= 3 ms")
    assert extra <= 3


def test_parallel_calls(report: Report, tmp_path: Path) -> None:
    with balance_api(delay=1.0) as url, Lines(OURS, tmp_path, KUBEEZ_API_KEY=KEY, KUBEEZ_BASE_URL=url) as server:
        server.handshake()
        server.call("get_balance", {})
        began = time.perf_counter()
        request = {"name": "get_balance", "arguments": {}}
        server.send(b"".join(server.request("tools/call", request) for _ in range(32)))
        for _ in range(32):
            server.read()
        took = time.perf_counter() - began
    report.add("32 parallel calls to a route of 1 s", f"{took:.2f} s", "<= 1.1 s")
    assert took <= 1.1


def test_leaving_a_client_that_reads_no_more(report: Report, tmp_path: Path) -> None:
    with running_sandbox(tmp_path / "api") as api:
        api.control.fault("POST /v1/generate/media", "slow_answer", seconds=20)
        client = DeafClient(tmp_path, api_key=SANDBOX_KEY, base_url=api.url, ask_above=100)
        client.initialize()
        call = {"name": "generate_media", "arguments": {"prompt": "a slow picture", "model": "nano-banana-2"}}
        client.send("tools/call", 2, **call)
        until = time.monotonic() + 20
        while not api.control.account()["jobs"] and time.monotonic() < until:
            time.sleep(0.02)
        took = client.stop_reading()
    report.add("exit after the first write that fails, a paid call in flight", f"{took:.2f} s", "<= 2 s")
    assert took <= 2


@pytest.mark.parametrize(("toolsets", "limit"), [("all", 40_000), ("core", 15_000)])
def test_size_of_the_tool_list(report: Report, tmp_path: Path, toolsets: str, limit: int) -> None:
    with Lines(OURS, tmp_path, KUBEEZ_TOOLSETS=toolsets) as server:
        server.handshake()
        server.send(server.request("tools/list", {}))
        tools = server.read()["result"]["tools"]
    size = len(json.dumps(tools, separators=(",", ":")))
    report.add(f"tools/list, {toolsets} ({len(tools)} tools)", f"{size:,} bytes", f"<= {limit:,} bytes")
    assert size <= limit
