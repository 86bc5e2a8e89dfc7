"""What reaches the host's log."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from kubeez_mcp_local.cli.main import cli
from kubeez_mcp_local.logs import configure_logging

if TYPE_CHECKING:
    from collections.abc import Iterator


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
