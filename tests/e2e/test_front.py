"""The front before a real server, over real pipes: handing over, leaving, reasons to load, and what is kept of it."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import kubeez_mcp_local
from kubeez_mcp_local.cookbook.library import pack_folder
from tests.e2e.server import LEGACY, PATIENCE, Server, environment, modern, until
from tests.forking import started, started_anew
from tests.mcp_server.talking import enveloped, hello, line

pytestmark = pytest.mark.xdist_group("front")
needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="no POSIX signals")
INITIALIZED = line("notifications/initialized")
LISTEN = "subscriptions/listen"
WORDS = {"prompt": "a slow picture", "model": "nano-banana-2"}


def estimate(request_id: object, **envelope: Any) -> bytes:
    return line("tools/call", {"name": "estimate", "arguments": {"model": "z-image"}} | envelope, request_id)


def snapshots(folder: Path) -> list[Path]:
    return sorted((folder / "home" / ".cache" / "kubeez-mcp-local" / "front").glob("*.json"))


def start_once(folder: Path, *arguments: str, **settings: Any) -> Path:
    """Start a server in `folder` for as long as it takes to write its snapshot, so that the next one has a front."""
    with Server(folder, *arguments, **settings) as server:
        server.initialize()
        server.request("tools/list")
        until(lambda: snapshots(folder))
        server.close_stdin()
    return folder


def loaded(server: Server) -> bool:
    return "the server itself is loaded" in server.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a server that logs everything has been started before; with `trial=1` it has no front."""
    return start_once(tmp_path_factory.mktemp("front"), log_level="debug")


# What is said, and from which door


def test_a_second_start_answers_from_the_snapshot_and_weighs_what_python_weighs(folder: Path) -> None:
    with Server(folder, forked=False, log_level="debug") as server:
        server.initialize()
        assert server.request("tools/list")["result"]["tools"]
        assert server.request("prompts/list")["result"]["prompts"]
        until(lambda: "prompts/list answered from the snapshot" in server.stderr)
        assert not loaded(server)
        status = Path(f"/proc/{server.process.pid}/status")
        if status.exists():
            resident = next(each for each in status.read_text().splitlines() if each.startswith("VmRSS")).split()[1]
            assert int(resident) / 1024 < 20
        assert server.call("estimate", model="z-image")["structuredContent"]["credits"] == 4
        assert "the server itself is loaded: a message is for it" in server.stderr
        server.close_stdin()
        assert server.process.returncode == 0


def conversation(folder: Path, chunks: list[bytes], answers: int, **settings: Any) -> tuple[list[bytes], int | None]:
    """What a server writes for `chunks`, `answers` lines while the client stays, and its exit code."""
    with Server(folder, log_level="debug", **settings) as server:
        assert server.process.stdin is not None
        for chunk in chunks:
            server.process.stdin.write(chunk)
            server.process.stdin.flush()
            time.sleep(0.05 if len(chunks) > 1 else 0)
        until(lambda: len(server.stdout) >= answers)
        server.close_stdin()
    assert "Traceback" not in server.stderr
    return sorted(server.stdout), server.process.returncode


LISTS = [line("tools/list", request_id=1), line("prompts/list", {}, "two"), line("resources/list", {}, 3)]
CUTS: dict[str, tuple[list[bytes], int]] = {
    "all at once": ([hello(LEGACY) + INITIALIZED + b"".join(LISTS) + estimate(4) + line("ping", request_id=5)], 6),
    "a call before initialized": ([hello("2024-11-05") + estimate(1), INITIALIZED], 2),
    "in the middle of the message after": (
        [hello(LEGACY), INITIALIZED + LISTS[0] + estimate(4)[:40], estimate(4)[40:]],
        3,
    ),
    "behind a list whose cursor is unknown": (
        [hello(LEGACY) + INITIALIZED + line("tools/list", {"cursor": "x"}, 1)],
        2,
    ),
    "the modern era, with a stream that is kept": (
        [
            line("server/discover", enveloped(), 0)
            + line(LISTEN, enveloped(notifications={"toolsListChanged": True}), 1),
            line("tools/list", enveloped(), 2),
            estimate(3, **enveloped()) + hello(LEGACY, request_id="late"),
        ],
        5,
    ),
    "a line that is no message": ([hello(LEGACY) + INITIALIZED, b"{ what\n" + LISTS[0]], 3),
}
WHILE_IT_LOADS = ("in the middle of the message after", "the modern era, with a stream that is kept")


@pytest.mark.parametrize("where", CUTS)
def test_a_conversation_that_is_handed_over_is_that_of_a_server_without_front(folder: Path, where: str) -> None:
    chunks, answers = CUTS[where]
    handed_over = conversation(folder, chunks, answers, forked=where not in WHILE_IT_LOADS)
    assert handed_over == conversation(folder, chunks, answers, trial=1)


ODD: dict[str, tuple[list[bytes], int]] = {
    "garbage before initialize": ([b"hello\n" + hello(LEGACY)], 2),
    "half a line and then nothing": ([hello(LEGACY) + b'{"jsonrpc": "2.0", "id"'], 1),
    "a last line that is no message": ([hello(LEGACY) + INITIALIZED + b"[]"], 1),
    "the end while a stream is open": (
        [line("server/discover", enveloped(), 0) + line(LISTEN, enveloped(notifications={}), "s")],
        2,
    ),
    "nothing": ([], 0),
    "a batch": ([b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]\n' + hello(LEGACY)], 2),
    "an unknown revision": ([hello("2031-01-01") + INITIALIZED + LISTS[0]], 2),
    "an unknown modern revision": (
        [
            line(
                "tools/list",
                {"_meta": {**enveloped()["_meta"], "io.modelcontextprotocol/protocolVersion": "2031-01-01"}},
                1,
            )
        ],
        1,
    ),
    "two handshakes": ([hello(LEGACY) + INITIALIZED + hello("2024-11-05", request_id=7) + LISTS[0]], 3),
    "a request before the handshake": ([LISTS[0] + hello(LEGACY)], 2),
    "a line of 50 MB": ([hello(LEGACY) + INITIALIZED, b'{"jsonrpc":"2.0","id":1,"x":"%s"}\n' % (b"y" * 50_000_000)], 2),
}


@pytest.mark.parametrize("what", ODD)
def test_odd_input_is_treated_as_without_the_front(folder: Path, what: str) -> None:
    chunks, answers = ODD[what]
    assert conversation(folder, chunks, answers) == conversation(folder, chunks, answers, trial=1)


@needs_signals
def test_a_client_that_does_not_read_is_left_quietly(folder: Path) -> None:
    ends, wire = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "kubeez_mcp_local"],
        stdin=subprocess.PIPE,
        stdout=wire,
        stderr=subprocess.PIPE,
        env=environment(folder, log_level="debug"),
        cwd=folder,
    )
    os.close(wire)
    os.close(ends)
    _, errors = process.communicate(hello(LEGACY) + INITIALIZED + LISTS[0], timeout=PATIENCE)
    assert process.returncode == 0
    assert b"answered from the snapshot" in errors
    assert b"Traceback" not in errors


UNREAD = {"answers": LISTS[0] * 10, "refusals": b"[]\n" * 2000}


@pytest.mark.parametrize("front", [True, False], ids=["the front", "the server itself"])
@pytest.mark.parametrize("what", UNREAD)
def test_a_client_that_neither_reads_nor_stays_is_left(folder: Path, what: str, front: bool) -> None:
    """The pipe is full, so that whoever answers stands before it."""
    ends, wire = os.pipe()
    start = started_anew if front else started
    variables = environment(folder, log_level="debug", **({} if front else {"trial": 1}))
    with start(folder, variables, stdin=subprocess.PIPE, stdout=wire, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        process.stdin.write(hello(LEGACY) + INITIALIZED + UNREAD[what])
        process.stdin.flush()
        until(lambda: not select.select([], [wire], [], 0)[1])
        os.close(wire)
        process.stdin.close()
        try:
            process.wait(PATIENCE)
        finally:
            process.kill()  # else one that stays is waited for without end
    os.close(ends)
    assert process.returncode == 0


# Leaving


@needs_signals
@pytest.mark.parametrize("while_loading", [False, True])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_it_with_their_code_and_without_a_word(
    folder: Path, number: int, code: int, while_loading: bool
) -> None:
    with Server(folder, forked=False, log_level="debug") as server:
        server.initialize()
        if while_loading:
            server.send("tools/call", {"name": "estimate", "arguments": {"model": "z-image"}})
            until(lambda: loaded(server))
        server.signal(number)
        assert server.process.returncode == code
    assert "Traceback" not in server.stderr


def test_the_end_of_the_input_ends_it_while_it_loads(folder: Path) -> None:
    with Server(folder, forked=False, log_level="debug") as server:
        server.initialize()
        server.send("tools/call", {"name": "estimate", "arguments": {"model": "z-image"}})
        until(lambda: loaded(server))
        server.close_stdin()
        assert server.process.returncode == 0
    assert [json.loads(each).get("error", {}).get("message") for each in server.stdout] == [None, "Connection closed"]


# Reasons to load that no message gives


def test_a_changed_recipe_is_told_in_both_eras(tmp_path: Path) -> None:
    start_once(tmp_path, log_level="debug")
    text = (pack_folder() / "three-ad-variants.md").read_text("utf-8")
    own = tmp_path / "out" / "recipes"
    with Server(tmp_path, log_level="debug") as old, Server(tmp_path, log_level="debug") as new:
        new.era = modern
        old.initialize()
        old.request("prompts/list")
        new.send(LISTEN, {"notifications": {"promptsListChanged": True}})
        until(lambda: new.pending(99) and new.notifications)
        own.mkdir(parents=True)
        (own / "of-my-own.md").write_text(text.replace("name: three-ad-variants", "name: of-my-own"), "utf-8")
        for server in (old, new):
            until(lambda server=server: server.pending(99) and told(server))  # type: ignore[misc]
            assert "the server itself is loaded: a recipe has changed" in server.stderr
            names = [each["name"] for each in server.request("prompts/list")["result"]["prompts"]]
            assert "of-my-own" in names
        acknowledged = [each for each in new.notifications if each["method"].endswith("acknowledged")]
        assert len(acknowledged) == 1
    with Server(tmp_path, log_level="debug") as server:
        server.initialize()
        assert any(each["name"] == "of-my-own" for each in server.request("prompts/list")["result"]["prompts"])


def told(server: Server) -> bool:
    return any(each["method"] == "notifications/prompts/list_changed" for each in server.notifications)


def test_jobs_of_earlier_runs_are_followed_though_nobody_calls(tmp_path: Path) -> None:
    with Server(tmp_path, log_level="debug", sandbox_speed=1, ask_above=100) as server:
        server.initialize()
        server.request("tools/list")
        job = server.call("generate_media", **WORDS)["structuredContent"]["generation_id"]
        until(lambda: snapshots(tmp_path))
    with Server(tmp_path, log_level="debug", sandbox_speed=1, ask_above=100) as server:
        server.initialize()
        server.request("tools/list")
        until(lambda: "the server itself is loaded: there are jobs to follow" in server.stderr)
        assert server.call("get_status", id=job)["structuredContent"]["generation_id"] == job


@pytest.mark.parametrize("change", ["another version", "gone"])
def test_upgraded_underneath_it_says_so_once_and_sends_nothing(tmp_path: Path, change: str) -> None:
    package = Path(kubeez_mcp_local.__file__).parent
    copy = tmp_path / "lib" / "kubeez_mcp_local"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(pack_folder(), copy / "recipes", dirs_exist_ok=True)
    script = f"import sys; sys.path.insert(0, {str(copy.parent)!r}); from kubeez_mcp_local.__main__ import main; main()"
    with Server(tmp_path, program=("-c", script), forked=False, log_level="debug") as server:
        server.initialize()
        server.request("tools/list")
        until(lambda: snapshots(tmp_path))
    with Server(tmp_path, program=("-c", script), forked=False, log_level="debug") as server:
        server.initialize()
        if change == "gone":
            shutil.rmtree(copy)
        else:
            (copy / "__init__.py").write_text('__version__ = "9.9.9"\n')
        for _ in range(2):
            error = server.request("tools/call", {"name": "generate_media", "arguments": WORDS})["error"]
            assert "Restart the server" in error["message"]
            assert "Nothing was sent" in error["message"]
        assert server.request("tools/list")["result"]["tools"]
        server.notify("notifications/progress", {"progressToken": 1, "progress": 1})
        server.line(b"{ what")
        assert server.request("ping")["result"] == {}
        server.close_stdin()
        assert server.process.returncode == 0
    assert not loaded(server)
    assert not (tmp_path / "state" / "ledger.db").exists()


# What is kept


def test_the_snapshot_is_private_holds_no_key_and_is_made_anew_when_it_cannot_be_used(tmp_path: Path) -> None:
    key = "sk_live_example_of_a_secret"
    start_once(tmp_path, api_key=key)
    [file] = snapshots(tmp_path)
    text = file.read_text("utf-8")
    assert key not in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    for left, mode in ((text[: len(text) // 2], 0o600), (text, 0o622), ("", 0)):
        file.unlink()
        if mode:
            file.write_text(left, "utf-8")
            file.chmod(mode)
        with Server(tmp_path, api_key=key) as server:
            server.initialize()
            server.request("tools/list")
            until(
                lambda: (
                    file.exists() and stat.S_IMODE(file.stat().st_mode) == 0o600 and len(file.read_text()) == len(text)
                )
            )


def test_what_changes_an_answer_is_seen(tmp_path: Path) -> None:
    start_once(tmp_path)
    with Server(tmp_path, max_credits_per_call=77) as server:
        assert "77 credits" in server.initialize()["instructions"]
    (tmp_path / ".env").write_text("KUBEEZ_API_KEY=sk_live_example\n")
    with Server(tmp_path) as server:
        assert "Mode: live" in server.initialize()["instructions"]


def test_settings_that_were_changed_meanwhile_are_refused_only_where_they_change_what_was_told(tmp_path: Path) -> None:
    start_once(tmp_path, log_level="debug")
    with Server(tmp_path, log_level="debug") as other, Server(tmp_path, log_level="debug") as live:
        other.initialize()
        live.initialize()
        (tmp_path / ".env").write_text("DATABASE_URL=postgres://localhost/x\n")
        assert other.call("estimate", model="z-image")["structuredContent"]["credits"] == 4
        (tmp_path / ".env").write_text("KUBEEZ_API_KEY=sk_live_example\n")
        for _ in range(2):
            error = live.request("tools/call", {"name": "generate_media", "arguments": WORDS})["error"]
            assert "settings of kubeez-mcp-local were changed" in error["message"]
            assert "Restart the server" in error["message"]
        assert live.request("tools/list")["result"]["tools"]
        live.close_stdin()
        assert live.process.returncode == 0


@needs_signals
@pytest.mark.parametrize("again", [False, True], ids=["the first start", "a start with a snapshot"])
def test_who_types_the_command_is_told_what_it_waits_for(tmp_path: Path, again: bool) -> None:
    if again:
        start_once(tmp_path, "serve")
    terminal, stdin = os.openpty()
    try:
        os.write(terminal, b"\x04")  # Ctrl-D: the input ends at once
        command = [sys.executable, "-m", "kubeez_mcp_local", "serve"]
        done = subprocess.run(
            command, stdin=stdin, capture_output=True, env=environment(tmp_path), cwd=tmp_path, timeout=PATIENCE
        )
    finally:
        os.close(stdin)
        os.close(terminal)
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"waits for its client" in done.stderr
    assert b"--help" in done.stderr
