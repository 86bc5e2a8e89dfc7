"""A sandbox whose own books are broken is named as such: nothing was sent, or nothing was taken on."""

from __future__ import annotations

import sqlite3
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest
from mcp import Client

from kubeez_mcp_local.bridge import Bridge
from kubeez_mcp_local.mcp_server.server import KubeezServer
from kubeez_mcp_local.sandbox.embedded import reset
from kubeez_mcp_local.settings import load_settings
from tests.mcp_server.driving import call, refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

PICTURE = {"prompt": "a kite", "model": "nano-banana-2"}


@asynccontextmanager
async def rehearsing(folder: Path) -> AsyncIterator[Client]:
    """A client whose server has no key: its API is the embedded sandbox."""
    environ = {
        "KUBEEZ_STATE_DIR": str(folder / "state"),
        "KUBEEZ_OUTPUT_DIR": str(folder / "out"),
        "KUBEEZ_SANDBOX_SPEED": "5000",
    }
    async with Client(KubeezServer(Bridge(load_settings(environ=environ, working_dir=folder)))) as client:
        yield client


async def test_books_that_cannot_be_opened(tmp_path: Path) -> None:
    books = anyio.Path(tmp_path / "state" / "sandbox" / "books.sqlite3")
    await books.parent.mkdir(parents=True)
    await books.write_bytes(b"not a database" * 100)
    async with rehearsing(tmp_path) as client:
        for _ in range(2):  # the second call is no repeat of a job that may have been paid
            error = await refused(client, "generate_media", **PICTURE)
            assert error["code"] == "sandbox_unavailable"
            assert "books" in error["message"]
            assert "sandbox reset" in error["next_step"]
        await anyio.to_thread.run_sync(reset, tmp_path / "state")
        assert (await call(client, "generate_media", **PICTURE))["generation_id"]


async def test_books_that_break_while_it_runs(tmp_path: Path) -> None:
    async with rehearsing(tmp_path) as client:
        await call(client, "get_balance")
        with sqlite3.connect(tmp_path / "state" / "sandbox" / "books.sqlite3") as other:
            other.execute("DROP TABLE jobs")
        error = await refused(client, "generate_media", **PICTURE)
        assert error["code"] == "refused"
        assert "sandbox's own books" in error["message"]
        assert "sandbox reset" in error["message"]
