"""`kubeez-mcp-local recipes`: one file that is prompt, price list, program and test; which there are, what one is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kubeez_mcp_local.cli.recipe_commands.campaigns import cancel, pause, resume, retry, status, worker
from kubeez_mcp_local.cli.recipe_commands.options import Asked, RecipeCommand, library_of, shown_value
from kubeez_mcp_local.cli.recipe_commands.running import price, rehearse, run
from kubeez_mcp_local.cli.recipe_commands.schedules import schedule
from kubeez_mcp_local.cli.recipe_commands.writing import add, check, new, remove, save, sources, update
from kubeez_mcp_local.cli.terminal import print_json, remarks, results, run_with_bridge, shown, table
from kubeez_mcp_local.cookbook.format import Summary, limits_in_words
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.text import visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kubeez_mcp_local.cli.main import Options
    from kubeez_mcp_local.cookbook.format import Argument, Recipe, RecipeError
    from kubeez_mcp_local.cookbook.library import Entry
    from kubeez_mcp_local.settings import Settings


@click.command("list")
@click.option("--tag", help="Only recipes with this tag.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_obj
def list_(options: Options, tag: str | None, as_json: bool) -> None:
    """The recipes there are. Arguments with a * are required; files that cannot be used are named on stderr."""
    index = library_of(options.settings(mode="sandbox")).index()
    found = [entry for entry in index.entries.values() if tag is None or tag in entry.summary.tags]
    if as_json:
        problems = [{"file": one.file, "line": one.line, "message": str(one)} for one in index.problems]
        print_json({"recipes": [_entry_row(entry) for entry in found], "problems": problems})
    elif found:
        _table(found)
    else:
        results().print(f"No recipe has the tag {tag}." if tag else "There are no recipes.")
    _complain(index.problems)


def _entry_row(entry: Entry) -> dict[str, Any]:
    place = {"source": entry.origin.where, "file": str(entry.origin.path), "overrides": list(entry.overrides)}
    return {**summary_row(entry.summary), **place}


def summary_row(summary: Summary) -> dict[str, Any]:
    """The facts of a recipe for JSON; of its arguments what is not as usual."""
    arguments = {name: one.model_dump(mode="json", exclude_defaults=True) for name, one in summary.arguments.items()}
    return {**summary.model_dump(mode="json", include=set(Summary.model_fields)), "arguments": arguments}


def _table(entries: Sequence[Entry]) -> None:
    rows = table("recipe", "title", "arguments", "budget", "from", right=("budget",))
    for entry in entries:
        summary = entry.summary
        arguments = ", ".join(name + "*" * one.required for name, one in summary.arguments.items())
        source = entry.origin.where
        if entry.overrides:
            source += f" (instead of the one from {', '.join(entry.overrides)})"
        rows.add_row(entry.name, summary.title, arguments, budget_of_summary(summary), source)
    results().print(rows)


def budget_of_summary(summary: Summary) -> str:
    """The budget as far as the front matter tells it: a number, or what it comes to with the defaults."""
    if summary.budget is None:
        return "–"
    if isinstance(summary.budget, (int, float)):
        return f"{summary.budget:g}"
    name = summary.budget.strip().removeprefix("{{").removesuffix("}}").strip().removeprefix("args.")
    argument = summary.arguments.get(name)
    return "depends" if argument is None or argument.default is None else shown_value(argument.default)


def _complain(problems: Sequence[RecipeError]) -> None:
    for problem in problems:
        file = shown(problem.file)
        remarks().print(str(problem).replace(problem.file, file, 1), style="red", soft_wrap=True)


@click.command(cls=RecipeCommand, short_help="One recipe in full, or its prompt.")
@click.option("--prompt", is_flag=True, help="Print the prompt an assistant gets, with the arguments filled in.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def show(options: Options, asked: Asked, prompt: bool, as_json: bool) -> None:
    """One recipe: what it makes, its arguments, its steps, where it came from."""
    settings = options.settings()
    if prompt:
        from kubeez_mcp_local.mcp_server.prompts import Recipes

        writer = Recipes(settings)
        text = run_with_bridge(settings, lambda bridge: writer.rendered(bridge, asked.recipe, asked.given))
        if as_json:
            print_json({"recipe": asked.recipe.name, "prompt": text})
        else:
            print(visible(text), end="")
    elif as_json:
        print_json(_facts(asked.recipe))
    else:
        _show(asked.recipe)


def _facts(recipe: Recipe) -> dict[str, Any]:
    steps = [{"id": step.id, "tool": step.tool, "model": step.with_.get("model")} for step in recipe.steps]
    return {**summary_row(recipe.front), "steps": steps, "source": recipe.origin.where, "file": recipe.file}


def _show(recipe: Recipe) -> None:
    terminal = results()
    terminal.print(recipe.title, style="bold")
    terminal.print(recipe.description, soft_wrap=True)
    terminal.print()
    facts = {
        "recipe": f"{recipe.name}, version {recipe.version}",
        "tags": ", ".join(recipe.front.tags) or "–",
        "budget": _budget(recipe),
        "tools": ", ".join(recipe.tools) or "–",
        "from": recipe.origin.where,
        "file": shown(recipe.file),
    }
    for name, value in facts.items():
        terminal.print(f"{name:<8}{value}", soft_wrap=True)
    if recipe.arguments:
        terminal.print()
        _arguments_table(recipe.arguments)
    terminal.print()
    if recipe.steps:
        _steps_table(recipe)
    else:
        terminal.print("No steps: it is for an assistant and cannot run by itself.")


def _budget(recipe: Recipe) -> str:
    budget = budget_of_summary(recipe.front)
    if isinstance(recipe.front.budget, str):
        return f"{budget} credits with the defaults ({recipe.front.budget})"
    return "none; only your own ceilings hold" if recipe.front.budget is None else f"{budget} credits"


def _arguments_table(arguments: Mapping[str, Argument]) -> None:
    rows = table("argument", "type", "default", "allowed", "what")
    for name, argument in arguments.items():
        default = "required" if argument.required else shown_value(argument.default) if argument.default else "–"
        allowed = ", ".join(map(shown_value, argument.choices or ())) or limits_in_words(argument)
        rows.add_row(name, argument.type, default, allowed, argument.description)
    results().print(rows)


def _steps_table(recipe: Recipe) -> None:
    rows = table("step", "tool", "model", "for each", "when")
    for step in recipe.steps:
        each = f"{len(step.for_each)} entries" if isinstance(step.for_each, list) else step.for_each or ""
        when = "" if step.when is None else str(step.when)
        rows.add_row(step.id, step.tool, str(step.with_.get("model") or ""), each, when)
    results().print(rows)


_FORMS = {
    "python": "a plain Python script (httpx)",
    "curl": "a shell script for the arguments given",
    "skill": "an Agent Skills folder",
    "goose": "a goose recipe",
    "prompt": "an editor's prompt file",
}
_STDOUT = "-"


@click.command(cls=RecipeCommand, short_help="As a script, a skill, or for another program.")
@click.option(
    "--to",
    "form",
    required=True,
    type=click.Choice(list(_FORMS)),
    help="; ".join(f"{name}: {what}" for name, what in _FORMS.items()) + ".",
)
@click.option("--output", default=".", show_default=True, metavar="FOLDER|-", help="Where it goes; - prints it.")
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
@click.pass_obj
def export(options: Options, asked: Asked, form: str, output: str, overwrite: bool) -> None:
    """Write a recipe in another form. Free; needs no key.

    Only `--to curl` takes the recipe's arguments: it is written for exactly these. The other forms keep them open.
    """
    from kubeez_mcp_local.cookbook.export.documents import export_recipe, write_files

    arguments = _arguments(options.settings(mode="sandbox"), asked, form)
    files = export_recipe(asked.recipe, form, arguments)
    if output == _STDOUT:
        if len(files) > 1:
            raise InvalidArgumentError("--output", f"{form} comes to {len(files)} files; name a folder for them.")
        print(*files.values(), sep="", end="")
        return
    paths = write_files(Path(output), files, overwrite=overwrite)
    for path in paths:
        results().print(shown(path.absolute()), soft_wrap=True)
    if form in ("python", "curl"):
        start = f"uv run {paths[0]} --help" if form == "python" else f"bash {paths[0]}"
        rehearse_it = "`kubeez-mcp-local sandbox serve`, then KUBEEZ_BASE_URL=http://127.0.0.1:8787"
        remarks().print(f"Run it with KUBEEZ_API_KEY set: {start}", soft_wrap=True)
        remarks().print(f"Rehearse it for free: {rehearse_it}.", soft_wrap=True)


def _arguments(settings: Settings, asked: Asked, form: str) -> dict[str, Any]:
    """The checked arguments that a form is written for; none where it keeps them open."""
    from kubeez_mcp_local.cookbook.arguments import TextFiles, check_arguments

    if form == "curl":
        return check_arguments(asked.recipe.front, asked.given, read=TextFiles(settings.input_dirs))
    for name in asked.given:
        raise InvalidArgumentError(name, f"the form {form} keeps the arguments open; only curl is written for values.")
    return {}


class _InOrder(click.Group):
    """Lists its commands in the order in which one comes to need them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, invoke_without_command=True)
@click.pass_context
def recipes(context: click.Context) -> None:
    """List, price, run, rehearse, check, write, export and share recipes.

    NAME is a recipe's name, or the path of its file.
    """
    if context.invoked_subcommand is None:
        context.invoke(list_, tag=None, as_json=False)


for command in (
    *(list_, show, price, run, rehearse, check, new, save, export, add, update, remove, sources),
    *(status, worker, pause, resume, cancel, retry, schedule),
):
    recipes.add_command(command)
