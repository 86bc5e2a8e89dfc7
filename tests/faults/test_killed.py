"""SIGKILL at any moment of a paid call: nothing is paid twice, no job is lost, and the books agree."""

from __future__ import annotations

import json
import random
import sqlite3
import time
from functools import partial
from subprocess import PIPE
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.server import environment
from tests.forking import started
from tests.sandbox_server import KEY, RunningSandbox, running_sandbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SPEED = 600.0
PRICE = 14
IN_CI, ON_DEMAND = 40, 1000


def killed_rounds(folder: Path, rounds: int, seed: int) -> None:
    """Start a paid call, kill the server somewhere in it, start again and carry it to its end; `rounds` times."""
    chance = random.Random(seed)
    with running_sandbox(folder / "api", speed=SPEED, rate_limits="off") as sandbox:
        sandbox.control.key(KEY, credits=PRICE * rounds * 2)
        settings = {"api_key": KEY, "base_url": sandbox.url, "mode": "sandbox", "sandbox_speed": SPEED}
        variables = environment(folder, **settings, max_credits_per_day=PRICE * (rounds + 2), toolsets="core")
        start = partial(Talk, folder, variables)
        lengths = [timed(start, f"warm-up {number}") for number in range(2)]
        prompts = [f"picture {number}" for number in range(rounds)]
        for prompt in prompts:
            interrupted(start, prompt, chance.uniform(0, max(lengths)))
            carried_to_its_end(start, prompt)
        check_books(sandbox, folder, [*prompts, "warm-up 0", "warm-up 1"])


class Talk:
    """A server that is told in JSON lines what to do, and may be killed."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self._process = started(folder, variables, stdin=PIPE, stdout=PIPE)
        self._last_id = 0
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "faults", "version": "1"}}
        self.answer(self.send("initialize", hello))
        self._line({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def send(self, method: str, params: dict[str, Any]) -> int:
        """Send a request; returns its id."""
        self._last_id += 1
        self._line({"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params})
        return self._last_id

    def answer(self, request_id: int) -> dict[str, Any]:
        """The answer to a request."""
        assert self._process.stdout is not None
        answers = map(json.loads, self._process.stdout)
        answer: dict[str, Any] = next(each for each in answers if each.get("id") == request_id)
        return answer

    def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool; returns its result."""
        result: dict[str, Any] = self.answer(self.send("tools/call", {"name": tool, "arguments": arguments}))["result"]
        return result

    def kill(self) -> None:
        """SIGKILL: no handler runs, nothing is flushed."""
        self._process.kill()
        self.leave()

    def leave(self) -> None:
        """Hang up."""
        with self._process:
            pass

    def _line(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()


def timed(start: Callable[[], Talk], prompt: str) -> float:
    """How long an undisturbed call takes on this machine, from the start of the server to the finished job."""
    started = time.monotonic()
    carried_to_its_end(start, prompt)
    return time.monotonic() - started


def order(server: Talk, prompt: str) -> int:
    arguments = {"prompt": prompt, "model": "nano-banana-2", "aspect_ratio": "1:1"}
    return server.send("tools/call", {"name": "generate_media", "arguments": arguments})


def interrupted(start: Callable[[], Talk], prompt: str, after: float) -> None:
    deadline = time.monotonic() + after
    server = start()
    order(server, prompt)
    time.sleep(max(deadline - time.monotonic(), 0))
    server.kill()


def carried_to_its_end(start: Callable[[], Talk], prompt: str) -> None:
    """What a user's client does: repeat the call, and wait for the job."""
    server = start()
    for _ in range(30):
        result = server.answer(order(server, prompt))["result"]
        if not result.get("isError"):
            break
        # The first attempt's fate is still open; a patient client asks again.
        assert result["structuredContent"]["error"]["code"] == "unsettled_job", result
    job = result["structuredContent"]["generation_id"]
    done = server.call("wait_for_generation", id=job, timeout_seconds=30)["structuredContent"]
    assert done["status"] == "completed", done
    assert done["files"], done
    server.leave()


def check_books(sandbox: RunningSandbox, folder: Path, prompts: list[str]) -> None:
    account = sandbox.control.account()
    charged = [job["prompt"] for job in account["jobs"]]
    assert sorted(charged) == sorted(prompts), "some job was paid twice, or never"
    entries = [entry for entry in account["entries"] if entry["kind"] == "charge"]
    assert len(entries) == len(prompts)
    with sqlite3.connect(folder / "state" / "ledger.db") as ledger:
        states = dict(ledger.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state").fetchall())
        (total,) = ledger.execute("SELECT SUM(charged) FROM jobs").fetchone()
    assert states["completed"] == len(prompts)
    assert set(states) <= {"completed", "refused", "not_accepted"}
    assert total / 1_000_000 == PRICE * len(prompts), "the ledger and the API disagree"


@pytest.mark.long
def test_no_kill_pays_twice_or_loses_a_job(tmp_path: Path) -> None:
    killed_rounds(tmp_path, IN_CI, seed=7)


@pytest.mark.bench
def test_a_thousand_kills(tmp_path: Path) -> None:
    killed_rounds(tmp_path, ON_DEMAND, seed=int(time.time()))
