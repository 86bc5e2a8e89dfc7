"""How soon a client is served, beside Python itself, a one-tool server on the SDK, and whoever `--peer` names."""

from __future__ import annotations

import json
import statistics
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.bench.measuring import (
    AS_INSTALLED,
    BASELINE,
    OURS,
    TRIAL,
    Lines,
    Start,
    at_once,
    bare_at_once,
    finished,
    ready,
    run_bare,
    start_once,
    weight,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.bench.conftest import Report

pytestmark = pytest.mark.bench
ROUNDS = 15
TOGETHER = 6
IDLE_SECONDS = 10.0
CALL = {"name": "estimate", "arguments": {"model": "z-image"}}


def with_snapshot(command: list[str], home: Path) -> None:
    """Start ours for as long as it takes to write down what the next start says."""
    with Lines(command, home) as server:
        ready(server)
        folder = home / ".cache" / "kubeez-mcp-local" / "front"
        known = set(folder.glob("*.json"))
        deadline = time.monotonic() + 60
        while set(folder.glob("*.json")) == known and time.monotonic() < deadline:
            time.sleep(0.05)


def ms(values: list[float]) -> str:
    return f"{statistics.median(values) * 1000:.0f} ms"


def test_starts_beside_each_other(report: Report, tmp_path: Path, peers: dict[str, list[str]]) -> None:
    for command in (AS_INSTALLED, OURS):
        with_snapshot(command, tmp_path)
    servers: dict[str, Callable[[], Start]] = {
        "kubeez-mcp-local": partial(start_once, AS_INSTALLED, tmp_path),
        "python -m kubeez_mcp_local": partial(start_once, OURS, tmp_path),
        "kubeez-mcp-local without a snapshot": partial(start_once, AS_INSTALLED, tmp_path, **TRIAL),
        "one tool on the SDK": partial(start_once, BASELINE, tmp_path),
        **{name: partial(start_once, command, tmp_path) for name, command in peers.items()},
    }
    bare: list[float] = []
    taken: dict[str, list[Start]] = {name: [] for name in servers}
    for _ in range(ROUNDS):
        bare.append(run_bare())
        for name, start in servers.items():
            taken[name].append(start())
    report.add("python -c pass", ms(bare), "-")
    middle = statistics.median(bare)
    targets = {"kubeez-mcp-local": "<= 2.5 x", "python -m kubeez_mcp_local": "<= 2.5 x"}
    ratios = {}
    for name, starts in taken.items():
        seconds = [each.seconds for each in starts]
        ratios[name] = statistics.median(seconds) / middle
        told = f"{ms(seconds)} ({ratios[name]:.2f} x), tools {ms([each.list_seconds for each in starts])} later"
        told += f", {statistics.median(each.megabytes for each in starts):.1f} MB"
        report.add(f"spawn to initialize: {name}", told, targets.get(name, "-"))
    ours = taken["kubeez-mcp-local"]
    leaving = max(each.exit_seconds for each in ours)
    report.add("exit after end of input", f"{leaving * 1000:.0f} ms", "<= 300 ms")
    assert ratios["kubeez-mcp-local"] <= 2.5
    assert statistics.median(each.list_seconds for each in ours) <= 0.02
    assert statistics.median(each.megabytes for each in ours) <= 20
    assert leaving <= 0.3


def test_six_started_at_once(report: Report, tmp_path: Path, peers: dict[str, list[str]]) -> None:
    with_snapshot(AS_INSTALLED, tmp_path)
    servers = {"kubeez-mcp-local": AS_INSTALLED, "one tool on the SDK": BASELINE, **peers}
    bare: list[float] = []
    taken: dict[str, list[float]] = {name: [] for name in servers}
    for _ in range(5):
        bare.append(bare_at_once(TOGETHER))
        for name, command in servers.items():
            taken[name].append(at_once(command, tmp_path, TOGETHER))
    ratio = statistics.median(taken["kubeez-mcp-local"]) / statistics.median(bare)
    report.add(f"{TOGETHER} x python -c pass at once", ms(bare), "-")
    for name, seconds in taken.items():
        told = f"{ms(seconds)} ({statistics.median(seconds) / statistics.median(bare):.2f} x)"
        report.add(f"{TOGETHER} at once, the slowest: {name}", told, "<= 4 x" if name in AS_INSTALLED[0] else "-")
    assert ratio <= 4


def first_call(home: Path, **variables: str) -> tuple[float, float, float]:
    """Seconds from spawn to the answer of a first call, those that the call itself took, and megabytes after it."""
    with Lines(AS_INSTALLED, home, **variables) as server:
        began = time.perf_counter() - server.spawn_seconds
        server.handshake()
        asked = time.perf_counter()
        assert not server.call("estimate", CALL["arguments"])["result"].get("isError")  # type: ignore[arg-type]
        answered = time.perf_counter()
        return answered - began, answered - asked, weight(server.process.pid)[0]


def test_a_first_call(report: Report, tmp_path: Path) -> None:
    with_snapshot(AS_INSTALLED, tmp_path)
    pairs = [(first_call(tmp_path), first_call(tmp_path, **TRIAL)) for _ in range(ROUNDS)]
    ratio = statistics.median(front[0] / plain[0] for front, plain in pairs)
    extra = statistics.median(front[2] - plain[2] for front, plain in pairs)
    report.add("spawn to the answer of a first call, of one without the front", f"{ratio:.2f} x", "<= 1.05 x")
    waited = f"{ms([front[1] for front, _ in pairs])} (without the front {ms([plain[1] for _, plain in pairs])})"
    report.add("of that the call itself, in a window that was idle", waited, "once")
    report.add("memory once loaded, above one without the front", f"{extra:.1f} MB", "<= 3 MB")
    assert ratio <= 1.05
    assert extra <= 3


def test_an_idle_window(report: Report, tmp_path: Path) -> None:
    with_snapshot(AS_INSTALLED, tmp_path)
    with Lines(AS_INSTALLED, tmp_path) as server:
        taken = ready(server)
        for method in ("prompts/list", "resources/list"):
            server.send(server.request(method, {}))
            assert json.dumps(server.read()["result"])
        _, before = weight(server.process.pid)
        time.sleep(IDLE_SECONDS)
        _, after = weight(server.process.pid)
        start = finished(server, taken)
    used = (after - before) / IDLE_SECONDS
    report.add("memory of an idle window", f"{start.megabytes:.1f} MB", "<= 20 MB")
    report.add("processor time of an idle window that watches its recipes", f"{used:.2%}", "<= 0.5 %")
    assert start.megabytes <= 20
    assert used <= 0.005
