"""What `recipes run` hands over when it is done: to a program, and to the gallery."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from kubeez_mcp_local.cli.main import cli
from kubeez_mcp_local.cli.recipe_commands.afterwards import _words
from kubeez_mcp_local.web.pages import Pages
from tests.sandbox_server import KEY, RunningSandbox, running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result

RUN = ("recipes", "run", "three-ad-variants", "--brief", "A red shoe", "--yes", "--json")
KEEPS = """
import json, pathlib, sys
heard = json.loads(sys.stdin.readline())
assert sys.stdin.read() == ""
with pathlib.Path(__file__).with_suffix(".txt").open("a") as kept:
    kept.write(json.dumps([sys.argv[1:], heard]) + "\\n")
print("spoken aloud")
sys.exit(int(sys.argv[1]) if sys.argv[1].isdigit() else 0)
"""


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("api"), speed=5000, rate_limits="off") as running:
        yield running


@pytest.fixture
def variables(sandbox: RunningSandbox, tmp_path: Path) -> dict[str, str]:
    sandbox.control.reset()
    sandbox.control.knobs(rate_limits="off", drawing="plain")
    sandbox.control.key(KEY, credits=1000)
    return {
        "KUBEEZ_API_KEY": KEY,
        "KUBEEZ_BASE_URL": sandbox.url,
        "KUBEEZ_STATE_DIR": str(tmp_path / "state"),
        "KUBEEZ_OUTPUT_DIR": str(tmp_path / "out"),
    }


@pytest.fixture
def keeper(tmp_path: Path) -> Path:
    """A program that keeps what it hears; a number as its first argument becomes its exit code."""
    program = tmp_path / "a program.py"
    program.write_text(KEEPS, "utf-8")
    return program


def command(keeper: Path, *arguments: str) -> str:
    return shlex.join([sys.executable, str(keeper), *arguments])


def heard_by(keeper: Path) -> list[Any]:
    kept = keeper.with_suffix(".txt")
    return [json.loads(line) for line in kept.read_text("utf-8").splitlines()] if kept.exists() else []


def ran(variables: dict[str, str], *options: str, code: int = 0) -> Result:
    done = CliRunner().invoke(cli, [*RUN, *options], env=variables)
    assert done.exit_code == code, done.output
    return done


def charges(sandbox: RunningSandbox) -> int:
    return sum(entry["kind"] == "charge" for entry in sandbox.control.account()["entries"])


def documented() -> tuple[Any, Any]:
    text = (Path(__file__).parents[2] / "docs" / "after-a-run.md").read_text("utf-8")
    run, each = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    return json.loads(run), json.loads(each)


def test_a_program_takes_over_once_and_its_failure_costs_nothing(
    variables: dict[str, str], sandbox: RunningSandbox, keeper: Path
) -> None:
    failed = ran(variables, "--then", command(keeper, "7", "$HOME | x; y"), code=4)
    assert "(--then) failed for run three-ad-variants" in failed.stderr
    assert "exit code 7" in failed.stderr
    printed = json.loads(failed.stdout)
    [(arguments, heard)] = heard_by(keeper)
    assert arguments == ["7", "$HOME | x; y"]
    assert heard == {**printed, "exit_code": 0, "sheet": heard["sheet"]}
    assert Path(heard["sheet"]).is_file()
    assert len(heard["files"]) == 3
    run, _ = documented()
    assert heard.keys() == run.keys()
    assert heard["calls"][0].keys() == run["calls"][0].keys()

    again = ran(variables, "--then", command(keeper, "ok"))
    assert json.loads(again.stdout)["files"] == printed["files"]
    assert heard_by(keeper)[1][1]["calls"][0]["resumed"]
    assert charges(sandbox) == 3


def test_for_each_file_it_is_started_once_even_where_one_fails(
    variables: dict[str, str], sandbox: RunningSandbox, keeper: Path
) -> None:
    sandbox.control.knobs(fail_next=1)
    failed = ran(variables, "--then", command(keeper, "3"), "--then-each", code=1)  # the run's own code comes first
    files = json.loads(failed.stdout)["files"]
    assert len(files) == 2
    assert [heard["path"] for _, heard in heard_by(keeper)] == files
    for path in files:
        assert f"failed for {path}: exit code 3" in failed.stderr.replace("\n", "")
    _, each = documented()
    heard = heard_by(keeper)[0][1]
    assert heard.keys() == each.keys()
    assert heard["call"].keys() == each["call"].keys()
    assert (heard["status"], heard["exit_code"]) == ("failed", 1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--then", "no-such-program-here --x"), "there is no program 'no-such-program-here'"),
        (("--then", "'unclosed"), "cannot be split into words"),
        (("--then", " "), "it is empty"),
        (("--then-each",), "--then names none"),
    ],
)
def test_a_command_that_cannot_be_started_is_refused_before_anything_is_paid(
    variables: dict[str, str], sandbox: RunningSandbox, options: tuple[str, ...], said: str
) -> None:
    refused = ran(variables, *options, code=2)
    assert said in refused.stderr.replace("\n", " ")
    assert "----" not in refused.stderr
    assert sandbox.control.books()["accounts"][0]["jobs"] == []


def test_the_gallery_opens_at_the_run(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    async def interrupted(_: Pages) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kubeez_mcp_local.cli.gallery.click.launch", opened.append)
    monkeypatch.setattr(Pages, "ended", interrupted)
    done = ran(variables, "--open")
    [address] = opened
    assert address.startswith("http://127.0.0.1:")
    assert address.endswith(f"run={json.loads(done.stdout)['run_id']}")
    assert address in done.stderr


@pytest.mark.parametrize(
    ("line", "windows", "words"),
    [
        (r'"C:\Program Files\dam.exe" --to "a b" it\'s', True, (r"C:\Program Files\dam.exe", "--to", "a b", r"it\'s")),
        (r"'a program' --to a\ b 'c d'", False, ("a program", "--to", "a b", "c d")),
    ],
)
def test_a_command_is_split_as_its_system_does(line: str, windows: bool, words: tuple[str, ...]) -> None:
    assert _words(line, windows=windows) == words
