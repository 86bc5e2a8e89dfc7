"""A thousand recipe files, and a campaign of five hundred rows that is killed twice."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kubeez_mcp_local.cookbook.library import pack_folder
from tests.bench.measuring import OURS, TRIAL, Lines, start_once
from tests.e2e.server import environment
from tests.e2e.standalone import standalone_sandbox
from tests.sandbox_server import KEY

if TYPE_CHECKING:
    from tests.bench.conftest import Report
    from tests.sandbox_server import RunningSandbox

pytestmark = pytest.mark.bench
FILES = 1_000
ROWS = 500
SPEED = 1_000.0


@pytest.fixture
def thousand(tmp_path: Path) -> Path:
    folder = tmp_path / "recipes"
    folder.mkdir()
    text = (pack_folder() / "three-ad-variants.md").read_text("utf-8")
    for number in range(FILES):
        name = f"recipe-{number:04}"
        (folder / f"{name}.md").write_text(text.replace("name: three-ad-variants", f"name: {name}"), "utf-8")
    return folder


def first_list(home: Path, recipes: Path) -> tuple[float, float]:
    """Seconds of a first and a second `prompts/list` of a fresh process."""
    with Lines(OURS, home, KUBEEZ_RECIPES=str(recipes), KUBEEZ_STATE_DIR=str(home / "state"), **TRIAL) as server:
        server.handshake()
        took = []
        for _ in range(2):
            began = time.perf_counter()
            server.send(server.request("prompts/list", {}))
            prompts = server.read()["result"]["prompts"]
            took.append(time.perf_counter() - began)
        assert len(prompts) >= FILES
        time.sleep(0.5)  # lets it keep what it has read, as it does once it is idle
    return took[0], took[1]


def test_a_thousand_recipes(report: Report, tmp_path: Path, thousand: Path) -> None:
    with_them = TRIAL | {"KUBEEZ_RECIPES": str(thousand)}
    pairs = [(start_once(OURS, tmp_path, **TRIAL), start_once(OURS, tmp_path, **with_them)) for _ in range(8)]
    ratio = statistics.median(many.seconds / few.seconds for few, many in pairs)
    report.add(f"start-up with {FILES} recipes, of one without", f"{ratio:.2f} x", "<= 1.05 x")
    cold, _ = first_list(tmp_path, thousand)
    known = [first_list(tmp_path, thousand) for _ in range(5)]
    first = statistics.median(one for one, _ in known)
    report.add(f"first prompts/list, {FILES} files never seen before", f"{cold * 1000:.0f} ms", "<= 400 ms")
    report.add(f"first prompts/list of a process, {FILES} files", f"{first * 1000:.0f} ms", "<= 150 ms")
    started = statistics.median(few.seconds for few, _ in pairs)
    report.add("that, of a start-up", f"{first / started:.2f} x", "<= 0.3 x")
    report.add("second", f"{statistics.median(two for _, two in known) * 1000:.0f} ms", "-")
    assert ratio <= 1.1
    assert first <= max(0.15, 0.3 * started)  # the machine may be busy


def test_a_campaign_survives_two_kills(report: Report, tmp_path: Path) -> None:
    table = tmp_path / "inputs" / "rows.csv"
    variables = environment(tmp_path, max_credits_per_day=100_000, api_key=KEY, mode="sandbox", sandbox_speed=SPEED)
    table.write_text("name,idea\n" + "".join(f"Row {n},a paper boat number {n}\n" for n in range(ROWS)), "utf-8")
    (tmp_path / "api").mkdir()
    with standalone_sandbox(tmp_path / "api", SPEED) as api:
        api.control.key(KEY, credits=1_000_000)
        command = [sys.executable, "-m", "kubeez_mcp_local", "recipes", "run", "campaign-from-csv", "--yes"]
        command += ["--rows", str(table), "--style", "flat colours", "--max-credits", "20000", "--parallel", "16"]
        variables |= {"KUBEEZ_BASE_URL": api.url}
        began, most = time.perf_counter(), 0.0
        for stop_after in (ROWS // 3, 2 * ROWS // 3, None):
            with subprocess.Popen(
                command, env=variables, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            ) as run:
                while run.poll() is None and (stop_after is None or charges(api) < stop_after):
                    most = max(most, megabytes(run.pid))
                    time.sleep(0.05)
                if stop_after is not None:
                    run.kill()
                said = run.stdout.read() if run.stdout else ""
        took = time.perf_counter() - began
        calls = api.control.books()["calls"]["POST /v1/generate/media"]
        paid = charges(api)
    report.add(f"campaign of {ROWS} rows, killed twice: paid", str(paid), str(ROWS))
    report.add("requests beyond those that were paid (429, repeats)", str(calls - paid), "0")
    report.add("memory at most", f"{most:.0f} MB", "<= 150 MB")
    report.add("time in all", f"{took:.0f} s", "-")
    assert run.returncode == 0, said
    assert paid == ROWS
    assert len(list((tmp_path / "out").rglob("*.png"))) + len(list((tmp_path / "out").rglob("*.jpg"))) == ROWS
    assert most <= 150


def charges(api: RunningSandbox) -> int:
    accounts = api.control.books()["accounts"]
    return sum(entry["kind"] == "charge" for account in accounts for entry in account["entries"])


def megabytes(pid: int) -> float:
    """Resident memory of a process; 0 once it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii")
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
    return int(found[0]) / 1024 if found else 0.0
