"""SIGKILL at any moment of a paid call: nothing is paid twice, no job is lost, and the books agree."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.server import environment
from tests.faults.forking import Fork, Forks
from tests.sandbox_server import KEY, RunningSandbox, running_sandbox

if TYPE_CHECKING:
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
        with Forks(variables, folder) as forks:
            lengths = [timed(forks, f"warm-up {number}") for number in range(2)]
            prompts = [f"picture {number}" for number in range(rounds)]
            for prompt in prompts:
                interrupted(forks, prompt, chance.uniform(0, max(lengths)))
                carried_to_its_end(forks, prompt)
        check_books(sandbox, folder, [*prompts, "warm-up 0", "warm-up 1"])


def timed(forks: Forks, prompt: str) -> float:
    """How long an undisturbed call takes on this machine, from the start of the server to the finished job."""
    started = time.monotonic()
    carried_to_its_end(forks, prompt)
    return time.monotonic() - started


def order(server: Fork, prompt: str) -> int:
    arguments = {"prompt": prompt, "model": "nano-banana-2", "aspect_ratio": "1:1"}
    return server.send("tools/call", {"name": "generate_media", "arguments": arguments})


def interrupted(forks: Forks, prompt: str, after: float) -> None:
    deadline = time.monotonic() + after
    server = forks.start()
    server.handshake()
    order(server, prompt)
    while time.monotonic() < deadline:
        os.sched_yield()
    server.kill()


def carried_to_its_end(forks: Forks, prompt: str) -> None:
    """What a user's client does: repeat the call, and wait for the job."""
    server = forks.start()
    server.handshake()
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
    server.close()


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


def test_no_kill_pays_twice_or_loses_a_job(tmp_path: Path) -> None:
    killed_rounds(tmp_path, IN_CI, seed=7)


@pytest.mark.bench
def test_a_thousand_kills(tmp_path: Path) -> None:
    killed_rounds(tmp_path, ON_DEMAND, seed=int(time.time()))
