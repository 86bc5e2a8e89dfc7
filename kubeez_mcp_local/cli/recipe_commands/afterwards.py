"""What comes after a run: a program of the user's that takes over what was made, and the gallery at that run."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from kubeez_mcp_local.cli.terminal import remarks
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.text import on_one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kubeez_mcp_local.runs.run import RunReport

THEN_FAILED = 4
"""Exit code where the run went well and the program after it did not."""
_LONGEST_NAME = 200
_STDERR = 2


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--then`, `--then-each` and `--open`."""
    for add in (
        click.option("--open", "opens", is_flag=True, help="Show the outcome in the gallery afterwards, until Ctrl-C."),
        click.option("--then-each", is_flag=True, help="Start the program of --then for each file, not for the run."),
        click.option("--then", metavar="COMMAND", help="Start a program afterwards, with JSON on stdin."),
    ):
        command = add(command)
    return command


@dataclass(frozen=True)
class Then:
    """A program that is started after a run, without a shell.

    Attributes:
        words: The program and its arguments.
        each: Whether it is started for each file.
    """

    words: tuple[str, ...]
    each: bool = False

    @classmethod
    def of(cls, command: str | None, *, each: bool) -> Then | None:
        """What the options say, looked at before anything is paid.

        Raises:
            InvalidArgumentError: The command cannot be split into words, or there is no such program.
        """
        if command is None:
            if each:
                raise InvalidArgumentError("then-each", "says how often to start a program, but --then names none.")
            return None
        try:
            words = _words(command)
        except ValueError as error:
            raise InvalidArgumentError("then", f"cannot be split into words: {error}.") from None
        program = shutil.which(words[0]) if words else None
        if program is None:
            reason = f"there is no program {on_one_line(words[0], _LONGEST_NAME)!r}" if words else "it is empty"
            raise InvalidArgumentError("then", f"{reason}. No shell reads it: name a program and its arguments.")
        return cls((program, *words[1:]), each)  # as it was found: Windows itself finds no `.cmd`

    def take_over(self, report: RunReport, told: dict[str, Any], sheet: Path | None) -> bool:
        """Start it once, or for each file, with JSON on stdin; says what went wrong, and whether all went well.

        What it prints goes to stderr, so that stdout holds nothing but our own.
        """
        run = {**told, "exit_code": report.exit_code, "sheet": None if sheet is None else str(sheet)}
        about = list(_each_file(report, run)) if self.each else [run]
        outcomes = [self._started(each) for each in about]  # one that fails holds up no other
        return all(outcomes)

    def _started(self, about: dict[str, Any]) -> bool:
        text = json.dumps(about, ensure_ascii=False) + "\n"
        named = about["path"] if self.each else f"run {about['run_id']}"
        try:
            done = subprocess.run(  # noqa: S603 - the user's own command, and no shell
                self.words, input=text.encode("utf-8", "surrogateescape"), stdout=_STDERR, stderr=_STDERR, check=False
            )
        except OSError as error:
            return self._failed(named, error.strerror or type(error).__name__)
        return done.returncode == 0 or self._failed(named, f"exit code {done.returncode}")

    def _failed(self, about: str, why: str) -> bool:
        program = on_one_line(self.words[0], _LONGEST_NAME)
        remarks().print(f"{program} (--then) failed for {about}: {why}.", style="red", soft_wrap=True)
        return False


def _words(command: str, *, windows: bool = os.name == "nt") -> tuple[str, ...]:
    """The program and its arguments. On Windows a backslash is part of a path, and only double quotes hold together.

    Raises:
        ValueError: A quote is not closed.
    """
    if not windows:
        return tuple(shlex.split(command))
    reader = shlex.shlex(command, posix=True, punctuation_chars=False)
    reader.whitespace_split, reader.escape, reader.quotes, reader.commenters = True, "", '"', ""
    return tuple(reader)


def _each_file(report: RunReport, run: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the program is told of each file; of the run what fits all files."""
    shared = {name: value for name, value in run.items() if name not in ("calls", "files", "notes")}
    seen: set[str] = set()
    for call in report.calls:
        for path in call.files:
            if path not in seen:
                seen.add(path)
                about = {"key": call.key, "tool": call.tool, "label": call.label, "credits": call.credits}
                yield {**shared, "path": path, "call": {**about, "resumed": call.resumed}}
