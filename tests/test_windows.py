"""Windows, described: what is asked of it, and what is put up with there. Read, not run; the fakes say what it does.

Sources: Microsoft's documentation of SO_EXCLUSIVEADDRUSE and of process creation flags, Python's of `os.O_BINARY`,
`queue.Queue.get` (uninterruptible on Windows without a time-out), `os.replace` and text files.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from kubeez_mcp_local import disk, front
from kubeez_mcp_local.bridge import login
from kubeez_mcp_local.cookbook import drafts, share
from kubeez_mcp_local.cookbook.export import documents
from kubeez_mcp_local.disk import give_name, replace_file
from kubeez_mcp_local.runs import journal
from kubeez_mcp_local.settings import config_file
from kubeez_mcp_local.web.server import listen

if TYPE_CHECKING:
    from collections.abc import Callable

EXCLUSIVE = -5
TRANSLATING = 1 << 28
"""Stands for `O_BINARY`: a bit that Linux knows nothing of."""


def test_nobody_else_can_take_the_port_of_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """There, SO_REUSEADDR lets any program bind the same port at the same time."""
    asked: list[int] = []

    class Recorded(socket.socket):
        def setsockopt(self, level: int, name: int, *value: Any) -> None:
            assert level == socket.SOL_SOCKET
            asked.append(name)

    monkeypatch.setattr(socket, "socket", Recorded)
    listen(again=True).close()
    assert asked == [socket.SO_REUSEADDR]
    monkeypatch.setattr(socket, "SO_EXCLUSIVEADDRUSE", EXCLUSIVE, raising=False)
    listen(again=True).close()
    listen().close()
    assert asked[1:] == [EXCLUSIVE, EXCLUSIVE]


def test_ctrl_c_ends_a_server_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """There, it is noticed only between two waits; elsewhere nothing wakes up for it."""
    waits: list[float | None] = []

    def next_chunk(seconds: float | None) -> bytes:
        waits.append(seconds)
        raise EOFError

    conversation: Any = SimpleNamespace(over=False, refusing="", watching=False)
    source: Any = SimpleNamespace(next=next_chunk)
    waiting = front._Front(conversation, SimpleNamespace(), source, None)  # type: ignore[arg-type]  # needs none here
    waiting._ledger_at = None
    for longest in (None, 1.0):
        monkeypatch.setattr(front, "_LONGEST_WAIT_SECONDS", longest)
        with pytest.raises(EOFError):
            waiting.serve()
    assert waits == [None, 1.0]


@pytest.fixture
def scanner(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], list[str]]:
    """Another program that has a file open for the first few attempts at something; returns what was attempted."""
    monkeypatch.setattr(disk, "_PAUSES", (0.0, 0.0))

    def hold(method: str, times: int) -> list[str]:
        attempts: list[str] = []
        real = getattr(Path, method)

        def attempt(path: Path, *arguments: Any, **options: Any) -> Any:
            attempts.append(path.name)
            if len(attempts) <= times:
                raise PermissionError(13, "The process cannot access the file because it is being used", str(path))
            return real(path, *arguments, **options)

        monkeypatch.setattr(Path, method, attempt)
        return attempts

    return hold


def test_a_file_that_a_scanner_has_open_is_replaced_a_moment_later(
    tmp_path: Path, scanner: Callable[[str, int], list[str]]
) -> None:
    target = tmp_path / "config.env"
    target.write_text("old", "utf-8")
    attempts = scanner("replace", 2)
    replace_file(target, "new")
    assert (target.read_text("utf-8"), len(attempts)) == ("new", 3)


def test_a_file_that_stays_open_is_left_as_it_was(tmp_path: Path, scanner: Callable[[str, int], list[str]]) -> None:
    target = tmp_path / "config.env"
    target.write_text("old", "utf-8")
    scanner("replace", 100)
    with pytest.raises(PermissionError):
        replace_file(target, "new")
    assert list(tmp_path.glob("*.part")) == list(tmp_path.glob(".*.part")) == []
    assert target.read_text("utf-8") == "old"


def test_an_output_that_a_scanner_has_open_gets_its_name(
    tmp_path: Path, scanner: Callable[[str, int], list[str]]
) -> None:
    part, target = tmp_path / "x.part", tmp_path / "x.png"
    part.write_bytes(b"picture")
    scanner("unlink", 1)
    give_name(part, target)
    assert target.read_bytes() == b"picture"
    assert not part.exists()


def test_the_journal_of_a_run_is_written_byte_by_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, a file that is not opened as binary gets two bytes for each line break, and lengths do not agree."""
    opened: list[int] = []
    real = os.open

    def open_(path: Any, flags: int, *more: Any, **options: Any) -> int:
        opened.append(flags)
        return real(path, flags & ~TRANSLATING, *more, **options)

    monkeypatch.setattr(journal, "BINARY", TRANSLATING)
    monkeypatch.setattr(os, "open", open_)
    record = journal.Journal(tmp_path, journal.RunId.of("run-1", "recipe", {}, "sandbox"))
    record.close()
    assert any(flags & TRANSLATING and flags & os.O_APPEND for flags in opened)


def test_git_has_no_terminal_to_ask_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []

    async def run_process(_: Any, **options: Any) -> Any:
        asked.append(options)
        return SimpleNamespace(returncode=0, stdout=b"", stderr=b"")

    monkeypatch.setattr(anyio, "run_process", run_process)
    anyio.run(share._git, tmp_path, "version")
    monkeypatch.setattr(subprocess, "CREATE_NO_WINDOW", 0x0800_0000, raising=False)
    monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0x200, raising=False)
    anyio.run(share._git, tmp_path, "version")
    assert asked[0]["start_new_session"] is True
    assert (asked[1]["creationflags"], asked[1].get("start_new_session")) == (0x0800_0200, None)


@pytest.fixture
def other_line_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text files end their lines as Windows does, where nothing else is asked for."""
    real: Callable[..., Any] = Path.open

    def open_(path: Path, mode: str = "r", *more: Any, newline: str | None = None, **options: Any) -> Any:
        text = "b" not in mode and mode != "r"
        return real(path, mode, *more, newline="\r\n" if text and newline is None else newline, **options)

    def write_text(path: Path, text: str, encoding: str | None = None, *_: Any, newline: str | None = None) -> int:
        with path.open("w", encoding=encoding, newline=newline) as file:
            return int(file.write(text))

    monkeypatch.setattr(Path, "open", open_)
    monkeypatch.setattr(Path, "write_text", write_text)


@pytest.mark.usefixtures("other_line_breaks")
def test_scripts_and_recipes_have_the_line_breaks_that_bash_and_git_expect(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x\n", "utf-8")
    assert (tmp_path / "a.txt").read_bytes() == b"x\r\n", "the fixture does what it says"
    (script,) = documents.write_files(tmp_path, {"run.sh": "#!/bin/sh\necho a\n"})
    recipe = drafts.write_starter(tmp_path, "mine")
    assert b"\r" not in script.read_bytes() + recipe.read_bytes()


def test_what_protects_a_key_in_a_file_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = login.Kept("live-0", config_file(), "", "There is no keyring on this machine.", "")
    assert kept.where.endswith("as plain text, which only you can read.")
    monkeypatch.setattr(login, "sys", SimpleNamespace(platform="win32"))
    assert "protected as your user folder is: only you and administrators can read it." in kept.where


def test_a_journal_that_was_written_with_other_line_breaks_can_be_read(tmp_path: Path) -> None:
    run = journal.RunId.of("run-1", "recipe", {}, "sandbox")
    finished = {"event": "finished", "key": "a", "result": {"status": "completed"}}
    text = "".join(f"{json.dumps(each)}\r\n" for each in (run.header, finished))
    journal.file_of(tmp_path, run.name).write_bytes(text.encode())
    assert journal.Record.read(tmp_path, run).results == {"a": {"status": "completed"}}
