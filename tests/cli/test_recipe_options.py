"""A recipe's arguments as options: every type, every way to give them, and no clash with the command's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from kubeez_mcp_local.cli.main import cli
from kubeez_mcp_local.cli.recipe_commands.options import RecipeOptions
from kubeez_mcp_local.cookbook.format import Origin
from kubeez_mcp_local.cookbook.parse import parse_recipe

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

    from kubeez_mcp_local.cookbook.format import Recipe

HEAD = """---
name: plain
title: A plain recipe
description: One picture of one thing.
"""
TAIL = """tools: [estimate, generate_media, wait_for_generation]
steps:
  - id: hero
    tool: generate_media
    with: {model: nano-banana-2, prompt: "{{ args | tojson }}"}
---
Values: {{ args | tojson }}
"""
TYPES = """arguments:
  main_subject: {description: What is shown, default: tea}
  names: {description: Names, type: list}
  bold: {description: Whether it is bold, type: boolean, default: true}
  count: {description: How many, type: integer, minimum: 1, maximum: 9, default: 2}
  rows: {description: Rows, type: table}
"""


def recipe_of(arguments: str) -> Recipe:
    return parse_recipe(f"{HEAD}{arguments}{TAIL}", Origin("draft", "a test"), file="plain.md")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where commands run; `plain.md` goes into it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBEEZ_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("KUBEEZ_OUTPUT_DIR", str(tmp_path / "out"))
    monkeypatch.setenv("KUBEEZ_SANDBOX_SPEED", "5000")
    return tmp_path


def write(folder: Path, arguments: str) -> None:
    (folder / "plain.md").write_text(f"{HEAD}{arguments}{TAIL}", "utf-8")


def recipes(*words: str, code: int = 0, stdin: str | None = None) -> Result:
    done = CliRunner().invoke(cli, ["recipes", *words], input=stdin)
    assert done.exit_code == code, done.output
    return done


def values(*words: str, stdin: str | None = None) -> dict[str, Any]:
    """The arguments as the recipe's text sees them."""
    shown = recipes("show", "plain.md", "--prompt", *words, stdin=stdin).stdout
    found: dict[str, Any] = json.loads(shown.rpartition("Values: ")[2])
    return found


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (("--main-subject", "a cup"), "main_subject", "a cup"),
        (("--main_subject=a cup",), "main_subject", "a cup"),
        (("--names", "Ann, Bo"), "names", ["Ann", "Bo"]),
        (("--names", "Ann, the first", "--names", "Bo"), "names", ["Ann, the first", "Bo"]),
        (("--bold",), "bold", True),
        (("--no-bold",), "bold", False),
        ((), "bold", True),
        (("--count", "7"), "count", 7),
        (("--rows", "name\nOslo\nRome"), "rows", [{"name": "Oslo"}, {"name": "Rome"}]),
    ],
)
def test_each_type_is_given_as_one_expects(folder: Path, words: tuple[str, ...], name: str, value: object) -> None:
    write(folder, TYPES)
    assert values(*words)[name] == value


def test_arguments_come_from_a_file_or_stdin_and_options_win(folder: Path) -> None:
    write(folder, TYPES)
    given = {"main_subject": "a cup", "names": ["Ann", "Bo"], "bold": False, "rows": [{"name": "Oslo"}]}
    (folder / "given.json").write_text(json.dumps(given), "utf-8")
    assert values("--arguments", "given.json", "--main-subject", "a pot") == given | {
        "main_subject": "a pot",
        "count": 2,
    }
    assert values("--arguments", "-", stdin='{"count": 3}')["count"] == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--arguments", "given.json"), "is not JSON"),
        (("--count", "many"), "--count: must be a whole number"),
        (("--main-subjct", "x"), "Did you mean --main-subject?"),
        (("--names",), "requires an argument"),
        (("a", "b"), "unexpected extra argument"),
    ],
)
def test_what_cannot_be_read_names_the_option(folder: Path, words: tuple[str, ...], said: str) -> None:
    write(folder, TYPES)
    (folder / "given.json").write_text("{", "utf-8")
    assert said in recipes("show", "plain.md", "--prompt", *words, code=2).output


def test_options_of_the_recipe_come_after_its_name(folder: Path) -> None:
    write(folder, TYPES)
    assert "Write NAME first" in recipes("show", "--count", "3", "plain.md", code=2).output
    assert '"count": 3' in recipes("show", "--prompt", "plain.md", "--count", "3").output


CLASHING = """arguments:
  json: {description: A word, default: a}
  arg_json: {description: A word, default: b}
  run_id: {description: A word, default: c}
  help: {description: A word, default: d}
  name: {description: A word, default: e}
  sound: {description: Whether there is sound, type: boolean}
  no_sound: {description: A word, default: f}
"""


def test_the_commands_own_options_win_and_arguments_step_aside() -> None:
    names = RecipeOptions.of(recipe_of(CLASHING), {"--json", "--run-id", "--help", "--sandbox"}).names
    assert names == {
        "json": "--arg-arg-json",
        "arg_json": "--arg-json",
        "run_id": "--arg-run-id",
        "help": "--arg-help",
        "name": "--name",
        "sound": "--sound",
        "no_sound": "--arg-no-sound",
    }


def test_arguments_that_stepped_aside_are_listed_and_work(folder: Path) -> None:
    write(folder, CLASHING)
    assert "--arg-help" in recipes("run", "plain.md", "--help").output
    found = values("--arg-arg-json", "1", "--arg-json", "2", "--arg-help", "3", "--name", "4", "--run-id", "5")
    assert (found["json"], found["arg_json"], found["help"], found["name"], found["run_id"]) == (
        "1",
        "2",
        "3",
        "4",
        "5",
    )


LIMITED = """arguments:
  max_credits: {description: Ceiling, type: integer, minimum: 1, maximum: 50, default: 10}
budget: "{{ max_credits }}"
"""


def test_max_credits_is_the_ceiling_that_the_recipe_has_or_else_lowers_its_budget(folder: Path) -> None:
    write(folder, LIMITED)
    run = ("run", "plain.md", "--json")
    assert "Raise its argument max_credits to at least 14" in recipes(*run, code=2).output
    assert json.loads(recipes(*run, "--max-credits", "50").stdout)["budget"] == 50
    assert "at most 50" in recipes(*run, "--max-credits", "51", code=2).output

    write(folder, "budget: 20\n")
    assert "Raise --max-credits to at least 14" in recipes(*run, "--max-credits", "5", code=2).output
    assert json.loads(recipes(*run, "--max-credits", "5000", "--new").stdout)["budget"] == 20


def test_help_of_a_recipe_lists_its_arguments_apart(folder: Path) -> None:
    write(folder, TYPES)
    said = " ".join(recipes("price", "plain.md", "--help").output.split())
    assert "Arguments of plain: --main-subject TEXT What is shown; default tea." in said
    assert "--bold / --no-bold Whether it is bold; default true." in said
    assert "How many; default 2; 1 to 9." in said


def test_words_of_a_recipe_cannot_steer_the_terminal(folder: Path) -> None:
    hostile = '{description: "A [bold]look[/] :smile:", choices: ["\\e]0;owned\\a[red]x", y], default: y}'
    write(folder, f"arguments:\n  look: {hostile}\n")
    for words in (("show", "plain.md"), ("show", "plain.md", "--help"), ("price", "plain.md", "--look", "z")):
        output = CliRunner().invoke(cli, ["recipes", *words]).output
        assert "\x1b" not in output
        assert "\x07" not in output
        assert "[red]x" in output
