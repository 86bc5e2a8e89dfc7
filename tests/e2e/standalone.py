"""The sandbox in a process of its own: a stand-in for the API that a bridge with a key talks to."""

from __future__ import annotations

import re
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.e2e.server import PATIENCE, environment
from tests.forking import started
from tests.sandbox_server import Control, RunningSandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def standalone_sandbox(folder: Path, speed: float, *options: str, port: int = 0) -> Iterator[RunningSandbox]:
    """Run it for the length of a `with` block; port 0 is a free one, `options` are those of the command."""
    serving = ("sandbox", "serve", "--port", str(port), "--speed", str(speed), *options)
    process = started(folder, environment(folder), *serving, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        announced = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline().decode())
        assert announced, "the sandbox did not start"
        control = Control(url := announced[0])
        yield RunningSandbox(url, control)
        control.close()
    finally:
        process.terminate()
        process.wait(PATIENCE)
