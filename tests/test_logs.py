"""What reaches the host's log."""

from __future__ import annotations

import asyncio
import errno
import io
import logging
import os
import re
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from kubeez_mcp_local import logs
from kubeez_mcp_local.cli.main import cli
from kubeez_mcp_local.logs import configure_logging, on_behalf_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def usual_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def log(name: str, error: BaseException) -> None:
    try:
        raise error
    except BaseException:
        logging.getLogger(name).exception("Exception in ASGI application")


def test_requests_cut_off_by_our_own_stop_are_not_reported(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning")
    log("uvicorn.error", asyncio.CancelledError())
    assert capsys.readouterr().err == ""


def test_failures_are_reported_without_the_words_that_may_quote_a_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning")
    log("uvicorn.error", ValueError("a secret prompt"))
    written = capsys.readouterr().err
    assert "ValueError" in written
    assert "secret" not in written


def test_keys_and_queries_are_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning")
    logging.getLogger("x").warning("sk_live_example at https://example.com/v?token=1")
    assert capsys.readouterr().err == "WARNING x: sk_live_… at https://example.com/v?…\n"


def test_a_file_gets_the_same_with_time_process_and_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "logs" / "kubeez.log"
    configure_logging("warning", file)
    logging.getLogger("x").info("too little")
    with on_behalf_of("7\nERROR x: paid twice"):
        logging.getLogger("x").warning("sk_live_example at https://example.com/v?token=1")
    log("x", ValueError("a secret prompt"))
    assert capsys.readouterr().err.startswith(
        "WARNING x [7\n  ERROR x: paid twice]: sk_live_… at https://example.com/v?…\n"
    )
    first, second, third, *rest = file.read_text("utf-8").splitlines()
    assert re.fullmatch(rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z WARNING {os.getpid()} x \[7", first)
    assert second == "  ERROR x: paid twice]: sk_live_… at https://example.com/v?…"
    assert f" ERROR {os.getpid()} x: Exception in ASGI application" in third
    assert rest[-1] == "  ValueError"
    assert file.stat().st_mode & 0o077 == 0


def test_a_file_goes_on_and_a_large_one_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "kubeez.log"
    for text in ("one", "two"):
        configure_logging("warning", file)
        logging.getLogger("x").warning(text)
    assert [line.rpartition(" ")[2] for line in file.read_text().splitlines()] == ["one", "two"]
    monkeypatch.setattr(logs, "_LARGEST_FILE", 10)
    configure_logging("warning", file)
    logging.getLogger("x").warning("three")
    assert "three" in file.read_text()
    assert "two" not in file.read_text()
    assert "two" in (tmp_path / "kubeez.log.1").read_text()


def test_a_file_that_cannot_be_written_is_reported_and_ends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "nobody reads")
    for place in (tmp_path, tmp_path / "nobody reads", tmp_path / ("x" * 300)):
        configure_logging("warning", place)
        logging.getLogger("x").warning("on")
        told, goes_on = capsys.readouterr().err.splitlines()
        assert f"the log file {place} cannot be written: " in told
        assert goes_on == "WARNING x: on"


class _Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_that_is_full_is_given_up_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning", tmp_path / "kubeez.log")
    in_file = logging.getLogger().handlers[1]
    assert isinstance(in_file, logging.StreamHandler)
    in_file.setStream(_Full())
    for _ in range(2):
        logging.getLogger("x").warning("on")
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if "cannot be written: No space left on device" in line] == [told[1]]
    assert len(told) == 3


def test_a_key_typed_in_the_wrong_place_of_the_command_line_is_not_repeated() -> None:
    for typed in (
        ["sk_live_secret"],
        ["--mode", "sk_live_secret", "spend"],
        ["jobs", "show", "sk_live_secret", "--sk_live_secret"],
    ):
        done = CliRunner().invoke(cli, typed)
        assert done.exit_code == 2
        assert "secret" not in done.output


def test_a_record_can_neither_steer_a_terminal_nor_begin_another(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")
    logging.getLogger("test").warning("it says: %s", "a\x1b[2J\nERROR kubeez: paid twice\u202e")
    assert capsys.readouterr().err == ("WARNING test: it says: a\\x1b[2J\n  ERROR kubeez: paid twice\\u202e\n")
