"""A run of a recipe is killed again and again; it goes on each time, and no row is paid twice."""

from __future__ import annotations

import random
import signal
import sys
import time
from subprocess import DEVNULL
from typing import TYPE_CHECKING

import pytest

from tests.e2e.server import PATIENCE, environment
from tests.forking import started
from tests.sandbox_server import KEY, RunningSandbox, running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS = 12
SPEED = 200.0
KILLS = 3

pytestmark = [pytest.mark.long, pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")]


@pytest.fixture
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("api"), speed=SPEED, rate_limits="off") as running:
        running.control.key(KEY, credits=1000)
        yield running


def charges(api: RunningSandbox) -> int:
    return sum(entry["kind"] == "charge" for entry in api.control.account()["entries"])


def test_a_campaign_that_is_killed_goes_on_without_paying_a_row_twice(tmp_path: Path, api: RunningSandbox) -> None:
    variables = environment(
        tmp_path, api_key=KEY, base_url=api.url, mode="sandbox", sandbox_speed=SPEED, max_credits_per_day=10_000
    )
    table = tmp_path / "inputs" / "rows.csv"
    table.write_text("name,idea\n" + "".join(f"Row {n},paper boat {n}\n" for n in range(ROWS)), "utf-8")
    command = ["recipes", "run", "campaign-from-csv"]
    command += ["--rows", str(table), "--style", "flat colours", "--parallel", "3"]
    moments = random.Random(7)
    for _ in range(KILLS):
        before, until = charges(api), moments.randint(1, 3)
        with started(tmp_path, variables, *command, stdout=DEVNULL, stderr=DEVNULL) as run:
            deadline = time.monotonic() + PATIENCE
            while run.poll() is None and charges(api) < min(before + until, ROWS) and time.monotonic() < deadline:
                time.sleep(0.02)
            run.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 4 * PATIENCE
    code = 1
    while code and time.monotonic() < deadline:  # a row that was killed just before it left is parked for a while
        with (
            (tmp_path / "said").open("w+b") as said,
            started(tmp_path, variables, *command, stdout=said, stderr=said) as run,
        ):
            code = run.wait(4 * PATIENCE)
    assert code == 0, (tmp_path / "said").read_text()
    assert charges(api) == ROWS
    prompts = [job["prompt"] for job in api.control.account()["jobs"]]
    assert len(prompts) == len(set(prompts)) == ROWS
    assert len(list((tmp_path / "out").rglob("pictures-*.jpg"))) == ROWS
