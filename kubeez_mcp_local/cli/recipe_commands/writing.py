"""`recipes new` and `recipes save`: a recipe to start from, and one made of finished jobs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kubeez_mcp_local.cli.recipe_commands.finding import reference
from kubeez_mcp_local.cli.recipe_commands.options import RecipeOptions
from kubeez_mcp_local.cli.running import run
from kubeez_mcp_local.cli.terminal import results, shown

if TYPE_CHECKING:
    from kubeez_mcp_local.cli.main import Options
    from kubeez_mcp_local.settings import Settings

_folder = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where it goes; default: the last folder of KUBEEZ_RECIPES, else `recipes` in your output folder.",
)
_override = click.option("--override", is_flag=True, help="Let it win over another recipe of that name.")
_PROGRAM = "kubeez-mcp-local recipes"


@click.command(short_help="Start a recipe: a small one that works as it is.")
@click.argument("name")
@click.option("--title", default="", help="A few words; by default made from the name.")
@_folder
@_override
@click.pass_obj
def new(options: Options, name: str, title: str, folder: Path | None, override: bool) -> None:
    """Start a recipe called NAME: a small one that works as it is, to change."""
    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.cookbook.drafts import recipe_folder, refuse_hiding, write_starter
    from kubeez_mcp_local.cookbook.format import SCHEMA_FILE

    settings = options.settings(mode="sandbox")
    if folder is None and not override:
        refuse_hiding(settings, name)
    path = write_starter((folder or recipe_folder(Bridge(settings))).absolute(), name, title)
    _written(settings, path, name)
    results().print(f"\nThe schema of its front matter, for your editor: {SCHEMA_FILE}", soft_wrap=True)


@click.command(short_help="Make a recipe of finished jobs.")
@click.argument("name")
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@click.option("--title", default="", help="A few words; by default made from the name.")
@click.option("--description", default="", help="What it makes, in one sentence.")
@_folder
@_override
@click.pass_obj
def save(
    options: Options,
    name: str,
    jobs: tuple[str, ...],
    title: str,
    description: str,
    folder: Path | None,
    override: bool,
) -> None:
    """Turn finished jobs of the ledger into a recipe called NAME that makes the like again.

    JOB is an id or its unambiguous beginning; see `kubeez-mcp-local jobs list`. Prompts become arguments, and jobs
    that use results of others are chained.
    """
    from kubeez_mcp_local.cookbook.drafts import refuse_hiding

    settings = options.settings()
    if folder is None and not override:
        refuse_hiding(settings, name)

    async def draft() -> Path:
        from kubeez_mcp_local.bridge import Bridge
        from kubeez_mcp_local.cookbook.drafts import recipe_folder, save_draft

        async with Bridge(settings) as bridge:
            target = folder or recipe_folder(bridge)
            return await save_draft(bridge, jobs, name, title=title, description=description, folder=target)

    _written(settings, run(settings, draft).absolute(), name)


def _written(settings: Settings, path: Path, name: str) -> None:
    """Say where the recipe is and what to do with it."""
    from kubeez_mcp_local.cookbook.library import read_recipe

    recipe = read_recipe(path)
    asked = shlex.quote(reference(settings, path, name))
    required = [argument for argument, facts in recipe.arguments.items() if facts.required]
    names = RecipeOptions.of(recipe, ()).names
    with_arguments = " ".join([asked, *(f'{names[argument]} "…"' for argument in required)])
    terminal = results()
    terminal.print(f"Wrote {shown(path, Path.cwd())}. Change it in your editor, then:", soft_wrap=True)
    terminal.print()
    commands = {
        f"check {asked}": "what is wrong with it, and a free rehearsal",
        f"price {with_arguments}": "what it costs",
        f"rehearse {asked}": "free, with marked stand-in files",
        f"run {with_arguments}": "for real, after one yes",
    }
    width = max(map(len, commands))
    for command, what in commands.items():
        terminal.print(f"  {_PROGRAM} {command:<{width}}  # {what}", soft_wrap=True)
