"""Real processes against one ledger: one payment for one intention, and the ceiling holds for all of them."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import sys
from pathlib import Path
from types import SimpleNamespace
from kubeez_mcp_local.jobs.budget import Ceilings
from kubeez_mcp_local.jobs.errors import CeilingError
from kubeez_mcp_local.jobs.guard import Limits
from kubeez_mcp_local.jobs.job import Order
from kubeez_mcp_local.jobs.ledger import LedgerFile

folder, way = Path(sys.argv[1]), sys.argv[2]
file = LedgerFile(folder, "live-1", Ceilings(50, 200))
sys.stdin.readline()
new = 0
for number in range(40):
    digest = f"{number}" if way == "same" else f"{file._owner.id}-{number}"
    quote = SimpleNamespace(credits=5.0 if way == "same" else 7.0, basis="catalogue", seconds=1)
    order = Order("t", "generate_media", "media", "media", "m", digest, digest, quote, None)
    try:
        claim = file.claim([order]).claims[0]
    except CeilingError:
        continue
    if not claim.repeated:
        new += 1
        file.dispatch(claim.job, Limits(per_minute={}, at_once={}))
        file.accepted(claim.job.id, [digest])
print(new, flush=True)
sys.stdin.readline()
"""


def run_together(folder: Path, way: str, count: int = 4) -> list[int]:
    running: list[subprocess.Popen[str]] = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder), way], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(count)
    ]
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    counts = [int(process.stdout.readline()) for process in running if process.stdout]
    for process in running:
        process.communicate("done\n", timeout=60)
    return counts


def test_the_same_intentions_are_claimed_once_between_them(tmp_path: Path, open_file: Any) -> None:
    assert sum(run_together(tmp_path / "state", "same")) == 40
    assert len(open_file().recent(1000)) == 40


def test_the_day_ceiling_holds_for_all_of_them_together(tmp_path: Path, open_file: Any) -> None:
    assert sum(run_together(tmp_path / "state", "different")) == 200 // 7
    file = open_file()
    assert sum(job.reserved for job in file.recent(1000)) == 200 // 7 * 7
