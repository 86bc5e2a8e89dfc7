"""Thousands of generated requests, sane and hostile: no 5xx, and nothing that the OpenAPI document does not declare.

Schemathesis makes them; it comes with a dependency group of its own:

    uv run --group fuzz pytest -m bench -n0 tests/bench/test_stage_bench.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.sandbox_server import CONTROL, KEY, running_sandbox

pytestmark = [
    pytest.mark.bench,
    pytest.mark.skipif(shutil.which("schemathesis") is None, reason="uv run --group fuzz pytest …"),
]

_SECONDS = 600
_ENVIRONMENT = {"NO_PROXY": "*", "SCHEMATHESIS_HOOKS": "tests.bench.stage_hooks", "PYTHONPATH": str(Path.cwd())}
_CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,ignored_auth,unsupported_method"
)
"""Not whether all is refused that is mistyped: like the real API, it takes 0 for false and the last of several."""


def _generated(url: str, folder: Path, seed: int, *more: str, header: str) -> None:
    httpx.get(f"{url}/openapi.json", timeout=120, trust_env=False)  # made once; Schemathesis waits 10 s for it
    command = [
        "schemathesis",
        "run",
        f"{url}/openapi.json",
        f"--seed={seed}",
        "--max-examples=40",
        f"--checks={_CHECKS}",
    ]
    command += [
        f"--header={header}",
        "--wait-for-schema=120",
        "--workers=2",
        "--continue-on-failure",
        "--no-color",
        "--report=ndjson",
        *more,
    ]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **_ENVIRONMENT}, capture_output=True, timeout=_SECONDS, check=False
    )
    assert done.returncode == 0, f"{done.stdout.decode()[-8000:]}\n{done.stderr.decode()[-2000:]}"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_is_generated_is_answered_as_declared(tmp_path: Path, seed: int) -> None:
    with running_sandbox(tmp_path / "state", speed=10_000, rate_limits="off", concurrency_caps=False) as sandbox:
        sandbox.control.key(KEY, credits=1e9)
        _generated(sandbox.url, tmp_path, seed, "--exclude-path-regex=^/_sandbox/", header=f"X-API-Key: {KEY}")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_is_generated_turns_knobs_or_is_refused(tmp_path: Path, seed: int) -> None:
    ((name, value),) = CONTROL.items()
    with running_sandbox(tmp_path / "state", speed=10_000) as sandbox:
        _generated(sandbox.url, tmp_path, seed, "--include-path-regex=^/_sandbox/", header=f"{name}: {value}")
