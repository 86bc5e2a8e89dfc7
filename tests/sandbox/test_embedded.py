"""The stand-in inside another process: start, stop, restart."""

from __future__ import annotations

import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
import httpx
import pytest

from kubeez_mcp_local.sandbox import EmbeddedSandbox, SandboxError, reset
from tests.sandbox.jobs import PICTURE, finish, start
from tests.sandbox_server import KEY, running_sandbox

if TYPE_CHECKING:
    from pathlib import Path

anyio_only = pytest.mark.anyio


@anyio_only
async def test_many_callers_start_it_once(tmp_path: Path) -> None:
    sandbox = EmbeddedSandbox(tmp_path)
    origins: list[str] = []

    async def begin() -> None:
        origins.append(await sandbox.start())

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(begin)
    assert len(set(origins)) == 1
    assert urlsplit(origins[0]).hostname == "127.0.0.1"
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        assert (await http.get(f"{origins[0]}/health")).status_code == 200
    await sandbox.stop()


@anyio_only
async def test_it_stops_at_once_with_a_stream_open(tmp_path: Path) -> None:
    sandbox = EmbeddedSandbox(tmp_path, speed=0.01)
    url = await sandbox.start()
    async with httpx.AsyncClient(base_url=url, headers={"X-API-Key": KEY}, trust_env=False, verify=False) as http:
        job = (await http.post("/v1/generate/media", json=PICTURE)).json()["generation_id"]
        async with http.stream("GET", f"/v1/generate/media/{job}/stream") as stream:
            assert stream.status_code == 200
            with anyio.fail_after(60):  # the job takes a quarter of an hour at this speed
                await sandbox.stop()
            with pytest.raises(httpx.HTTPError):
                async for _ in stream.aiter_raw():
                    pass


@anyio_only
async def test_stopping_what_never_started_is_fine(tmp_path: Path) -> None:
    await EmbeddedSandbox(tmp_path).stop()


def test_state_and_urls_survive_a_restart(tmp_path: Path) -> None:
    with running_sandbox(tmp_path) as first, first.client() as http:
        output = finish(http, start(http))["outputs"][0]["url"]
    with running_sandbox(tmp_path) as second, second.client() as http:
        assert second.url == first.url
        assert http.get(output).status_code == 200
        assert http.get("/v1/balance").json()["credits"] == 9_986
        assert len(http.get("/v1/generations").json()["generations"]) == 1


def test_a_taken_port_is_no_hindrance_and_urls_follow(tmp_path: Path) -> None:
    with running_sandbox(tmp_path) as first, first.client() as http:
        job = finish(http, start(http))["id"]
    taken = socket.create_server(("127.0.0.1", urlsplit(first.url).port or 0))
    with taken, running_sandbox(tmp_path) as second, second.client() as http:
        assert second.url != first.url
        url = http.get(f"/v1/generate/media/{job}").json()["outputs"][0]["url"]
        assert url.startswith(second.url)
        assert http.get(url).status_code == 200


def test_two_processes_may_share_one_folder(tmp_path: Path) -> None:
    with (
        running_sandbox(tmp_path) as one,
        running_sandbox(tmp_path) as two,
        one.client() as http,
        two.client() as other,
    ):
        assert finish(other, start(http))["status"] == "completed"


@anyio_only
async def test_it_can_be_started_again(tmp_path: Path) -> None:
    sandbox = EmbeddedSandbox(tmp_path)
    first = await sandbox.start()
    await sandbox.stop()
    assert await sandbox.start() == first
    await sandbox.stop()


@anyio_only
async def test_a_folder_that_cannot_be_used_is_explained(tmp_path: Path) -> None:
    (tmp_path / "sandbox").write_text("a file in the way")
    with pytest.raises(SandboxError, match="KUBEEZ_STATE_DIR"):
        await EmbeddedSandbox(tmp_path).start()


@anyio_only
async def test_books_that_are_no_database_are_explained_and_can_be_reset(tmp_path: Path) -> None:
    (tmp_path / "sandbox").mkdir()
    (tmp_path / "sandbox" / "books.sqlite3").write_bytes(b"not a database" * 100)
    with pytest.raises(SandboxError, match="books"):
        await EmbeddedSandbox(tmp_path).start()
    reset(tmp_path)
    sandbox = EmbeddedSandbox(tmp_path)
    assert await sandbox.start()
    await sandbox.stop()


def test_reset_empties_the_folder_also_while_it_runs(tmp_path: Path) -> None:
    reset(tmp_path)
    with running_sandbox(tmp_path) as running, running.client() as http:
        finish(http, start(http))
        reset(tmp_path)
        assert http.get("/v1/balance").json()["credits"] == 10_000
        assert not list((tmp_path / "sandbox" / "files").iterdir())
        assert finish(http, start(http))["status"] == "completed"


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, kubeez_mcp_local.sandbox;"
        "print([name for name in ('fastapi', 'uvicorn', 'PIL', 'sqlite3', 'httpx', 'av') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_standalone_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = (
        "import sys; from pathlib import Path; from kubeez_mcp_local.sandbox import serve;"
        f"serve(port={port}, state_dir=Path(sys.argv[1]), on_ready=print)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        _wait_for(port)
        assert (
            httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False, verify=False, timeout=60).status_code == 200
        )
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        assert output.decode().strip() == f"http://127.0.0.1:{port}"
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError("the standalone sandbox did not come up")


def test_a_port_that_is_taken_is_explained(tmp_path: Path) -> None:
    from kubeez_mcp_local.sandbox import serve

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SandboxError, match="port"):
        serve(port=taken.getsockname()[1], state_dir=tmp_path)


def test_it_runs_on_a_daemon_thread(tmp_path: Path) -> None:
    with running_sandbox(tmp_path):
        thread = next(thread for thread in threading.enumerate() if thread.name == "kubeez-sandbox")
        assert thread.daemon
    assert sqlite3.connect(tmp_path / "sandbox" / "books.sqlite3").execute("PRAGMA journal_mode").fetchone()[0] == "wal"
