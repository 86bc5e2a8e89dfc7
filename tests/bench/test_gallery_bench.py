"""The gallery with ten thousand outputs, in a browser beside it on the same machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.bench.measuring import weight
from tests.outputs_made import DAY, NOON, Made
from tests.web.conftest import Chromium

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.conftest import Report

pytestmark = pytest.mark.bench

OUTPUTS = 10_000
PICTURES = 50
_SEEN = "document.querySelectorAll('.glimpse img.there').length > 5"
_SCROLLED = """(async () => {
  const frames = [];
  let last = performance.now();
  for (let at = 0; at < 120; at++) {
    scrollBy(0, 90);
    await new Promise(requestAnimationFrame);
    frames.push(performance.now() - last);
    last = performance.now();
  }
  return frames.sort((one, other) => one - other)[Math.floor(frames.length * 0.95)];
})()"""


def test_ten_thousand_outputs(tmp_path: Path, report: Report) -> None:
    made = Made(tmp_path / "state", tmp_path / "out")
    pictures = [made.picture(f"pool/{at}.png", (1024, 1024), at * 5) for at in range(PICTURES)]
    with made.ledger.writing() as tx:
        for at in range(OUTPUTS):
            linked = made.folder / f"{at}.png"
            os.link(pictures[at % PICTURES], linked)
            made.insert(tx.connection, (linked,), f"output number {at}", created_at=NOON - DAY * (at // 60))
    made.ledger.close()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KUBEEZ_")}
    kept |= {"HOME": str(tmp_path), "KUBEEZ_STATE_DIR": str(made.state_dir), "KUBEEZ_OUTPUT_DIR": str(made.folder)}
    command = [sys.executable, "-m", "kubeez_mcp_local", "--mode", "sandbox", "gallery", "--no-open"]
    with subprocess.Popen(command, env=kept, text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        chromium = Chromium(tmp_path / "profile")
        try:
            measure(chromium, address, process.pid, report)
        finally:
            chromium.close()
            process.kill()


def measure(chromium: Chromium, address: str, server: int, report: Report) -> None:
    opened, painted = [], []
    for _ in range(5):
        chromium.new_tab()
        began = time.perf_counter()
        chromium.call("Page.navigate", url=address)
        chromium.wait_for("typeof list === 'object' && document.querySelectorAll('.tile .open').length > 5")
        opened.append(time.perf_counter() - began)
        chromium.wait_for(_SEEN)
        paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000"
        painted.append(float(chromium.evaluate(paint)))
    report.add("gallery of 10,000: first paint", f"{min(painted):.2f} s", "under 1 s")
    report.add("gallery of 10,000: outputs listed", f"{min(opened):.2f} s", "under 1 s")
    slow = float(chromium.evaluate(_SCROLLED))
    report.add("gallery of 10,000: 95 of 100 frames while scrolling", f"{slow:.0f} ms", "under 34 ms")
    weights = []
    for _ in range(3):
        for part in range(15):
            chromium.evaluate(f"scrollTo(0, document.documentElement.scrollHeight * {part} / 15)")
            chromium.wait_for("!document.querySelector('.tile.waiting')")
            chromium.wait_for(_SEEN)
        weights.append(weight(server)[0])
    report.add(
        "gallery of 10,000: server after each way through", " ".join(f"{each:.0f}" for each in weights), "flat, MB"
    )
    busy = weight(server)[1]
    chromium.evaluate("new Promise((done) => setTimeout(done, 5000))")
    report.add("gallery of 10,000: processor while open and idle", f"{(weight(server)[1] - busy) / 5:.1%}", "under 2 %")
    assert min(opened) < 1
    assert min(painted) < 1
    assert weights[-1] < weights[0] + 10
    assert chromium.complaints() == []
