"""README says what the code does: its tables are made from the inventory and the settings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kubeez_mcp_local.cli.main import COMMANDS
from kubeez_mcp_local.cookbook.library import pack_folder
from kubeez_mcp_local.mcp_server.tools import ALL_TOOLS
from kubeez_mcp_local.settings import Settings, variable

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
CI = (Path(__file__).parents[1] / ".ci" / "run").read_text("utf-8")


def tools_table() -> str:
    """The inventory as README shows it."""
    rows = [
        f"| `{spec.name}` | {spec.description.splitlines()[0]} | {'yes' if spec.spends else 'no'} |"
        for spec in ALL_TOOLS
    ]
    return "\n".join(["| tool | what it does | can spend |", "| --- | --- | --- |", *rows])


def settings_table() -> str:
    """The settings as README shows them."""
    rows = [
        f"| `{variable(name)}` | {_default(name)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| variable | default | meaning |", "| --- | --- | --- |", *rows])


def _default(name: str) -> str:
    field = Settings.model_fields[name]
    if field.default_factory is not None:
        return {"output_dir": "`~/Kubeez`", "state_dir": "platform's state folder"}[name]
    if field.default in (None, ()):
        return "–"
    value = field.default[0] if isinstance(field.default, tuple) else field.default
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


@pytest.mark.parametrize("table", [tools_table(), settings_table()], ids=["tools", "settings"])
def test_the_tables_are_up_to_date(table: str) -> None:
    assert table in README, f"README should hold this table:\n{table}"


def test_ci_runs_the_test_command_of_the_readme() -> None:
    commands = re.findall(r"```sh\n(pip install uv && .+)\n```", README)
    assert [command.split()[-1] for command in commands] == ["demo", "pytest"]
    assert commands[1] in CI


def test_the_recipes_that_come_along_are_counted() -> None:
    (counted,) = re.findall(r"(\w+) come along \(`recipes list`\)", README)
    assert len(list(pack_folder().glob("*.md"))) == {"Seventeen": 17, "Eighteen": 18, "Nineteen": 19}[counted]


def test_every_command_that_readme_shows_exists() -> None:
    named = set(re.findall(r"kubeez-mcp-local ([a-z]+)", README))
    assert named <= set(COMMANDS), named - set(COMMANDS)
