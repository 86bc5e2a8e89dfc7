"""The sandbox in a process of its own: a stand-in for the API that a bridge with a key talks to."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.e2e.server import PATIENCE, environment
from tests.sandbox_server import Control, RunningSandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PROGRAM = """
import sys
from pathlib import Path
from kubeez_mcp_local.sandbox.embedded import serve
serve(port=0, state_dir=Path(sys.argv[1]), speed=float(sys.argv[2]), on_ready=lambda url: print(url, flush=True))
"""


@contextmanager
def standalone_sandbox(folder: Path, speed: float) -> Iterator[RunningSandbox]:
    """Run it on a free port for the length of a `with` block."""
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(folder), str(speed)],
        stdout=subprocess.PIPE,
        env=environment(folder),
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url, "the sandbox did not start"
        control = Control(url)
        yield RunningSandbox(url, control)
        control.close()
    finally:
        process.terminate()
        process.wait(PATIENCE)
