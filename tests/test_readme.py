"""README and `docs/` say what the code says."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from kubeez_mcp_local.cli.main import COMMANDS, Options, cli
from kubeez_mcp_local.cookbook.library import pack_folder
from kubeez_mcp_local.settings import Settings, variable
from scripts import package
from scripts.docs import DOCS, PARTS, made, parts_of

if TYPE_CHECKING:
    from pathlib import Path

ROOT = DOCS.parent
README = (ROOT / "README.md").read_text("utf-8")
PAGES = {path.name: path.read_text("utf-8") for path in [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]}


@pytest.mark.parametrize("name", PAGES)
def test_what_is_made_from_the_code_is_up_to_date(name: str) -> None:
    assert made(PAGES[name]) == PAGES[name], "run `uv run python scripts/docs.py`"


def test_what_carries_the_server_to_other_places_is_up_to_date() -> None:
    lying = {name: (ROOT / name).read_text("utf-8") for name in package.files() if (ROOT / name).is_file()}
    assert lying == package.files(), "run `uv run python scripts/package.py`"
    skills = ROOT.glob("packaging/claude-plugin/skills/*/SKILL.md")
    assert {path.relative_to(ROOT).as_posix() for path in skills} <= package.files().keys()


def test_every_part_that_is_made_stands_somewhere_once() -> None:
    assert sorted(part for page in PAGES.values() for part in parts_of(page)) == sorted(PARTS)


@pytest.mark.parametrize("name", PAGES)
def test_every_command_and_setting_that_a_page_names_exists(name: str) -> None:
    commands = set(re.findall(r"kubeez-mcp-local (?:--read-only |--\S+ \S+ )?([a-z]+)", PAGES[name]))
    assert commands <= set(COMMANDS)
    settings = {variable(field) for field in Settings.model_fields}
    assert set(re.findall(r"KUBEEZ_[A-Z_]*[A-Z]", PAGES[name])) - settings <= {"KUBEEZ_NAME"}


@pytest.mark.parametrize("name", PAGES)
def test_every_line_that_a_page_shows_can_be_typed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its words fit the commands, which are not carried out here, but for the one that the next lines build upon."""
    lines = re.findall(r"^(?:pip install uv && )?(?:uv run )?kubeez-mcp-local( .*)?$", PAGES[name], re.MULTILINE)
    lines += re.findall(r"`(?:uv run )?kubeez-mcp-local( [^`]*)?`", PAGES[name])
    assert CliRunner().invoke(cli, ["recipes", "new", "product-shot"]).exit_code == 0
    parsed: list[str] = []

    def only_parsed(command: click.Command, ctx: click.Context) -> None:
        parsed.append(ctx.command_path)

    monkeypatch.setattr(click.Command, "invoke", only_parsed)
    monkeypatch.setattr(Options, "settings", lambda self, **overrides: Settings())
    for line in lines:
        done = CliRunner().invoke(cli, shlex.split(line, comments=True), obj=Options({}, None))
        assert (done.exit_code, done.exception) == (0, None), f"{line}: {done.output}"
    assert not lines or parsed


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    folder = ROOT if name == "README.md" else DOCS
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", PAGES[name])
    assert [link for link, _ in links if not (folder / link).exists()] == []
    headings = {re.sub(r"[^\w-]", "", title.lower().replace(" ", "-")) for title in _headings(PAGES[name])}
    assert {anchor for link, anchor in links if not link and anchor} <= headings


def _headings(page: str) -> list[str]:
    return re.findall(r"^#+ (.+)$", page, re.MULTILINE)


def test_messages_that_troubleshooting_quotes_are_ours() -> None:
    """Quoted word for word, with `…` for what varies."""
    ours = "\n".join(_messages(path) for path in (ROOT / "kubeez_mcp_local").rglob("*.py"))
    text = re.sub(r"^#.*$", "", PAGES["troubleshooting.md"], flags=re.MULTILINE)
    quotes = [" ".join(quote.split()).strip("… ") for quote in re.findall(r"“([^”]+)”", text)]
    assert len(quotes) > 20
    assert [quote for quote in quotes if quote not in ours] == []


def _messages(path: Path) -> str:
    """A file's text with strings put together that go on in the next line, and `…` for what is filled in."""
    whole = re.sub(r"\"\s*\n\s*f?\"", "", path.read_text("utf-8"))
    return re.sub("…+", "…", re.sub(r"\{[^{}]*\}", "…", whole))


def test_ci_runs_the_test_command_of_the_readme() -> None:
    commands = re.findall(r"```sh\n(pip install uv && .+)\n```", README)
    assert [command.split()[-1] for command in commands] == ["demo", "pytest"]
    assert commands[1] in (ROOT / ".ci" / "run").read_text("utf-8")


def test_the_recipes_that_come_along_are_counted() -> None:
    (counted,) = re.findall(r"(\w+) come along \(`recipes list`\)", README)
    assert len(list(pack_folder().glob("*.md"))) == {"Seventeen": 17, "Eighteen": 18, "Nineteen": 19}[counted]
