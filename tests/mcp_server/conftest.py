"""One stand-in API a module, and a client of a fresh server for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kubeez_mcp_local.rest.routes import SCOPES
from tests.mcp_server.driving import SPEED, client_of
from tests.sandbox_server import KEY, RunningSandbox, running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mcp import Client


@pytest.fixture(scope="module")
def running_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("api"), speed=SPEED, rate_limits="off") as sandbox:
        yield sandbox


@pytest.fixture
def api(running_api: RunningSandbox) -> RunningSandbox:
    """The API, with all its routes and a rich account that may do everything."""
    running_api.control.knobs(assumed_routes=True)
    running_api.control.key(KEY, credits=100_000, scopes=list(SCOPES))
    return running_api


@pytest.fixture
def mode() -> str:
    """The client's protocol era; tests that want both parametrise it."""
    return "auto"


@pytest.fixture
def connected(tmp_path: Path, mode: str, api: RunningSandbox) -> Client:
    """Enter it to be connected."""
    return client_of(api, tmp_path, mode=mode)
