"""`recipes export`: one recipe as a script, a skill, or what another program reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kubeez_mcp_local.cli.recipe_commands.command import Asked, RecipeCommand
from kubeez_mcp_local.cli.terminal import remarks, results, shown
from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from kubeez_mcp_local.cli.main import Options
    from kubeez_mcp_local.settings import Settings

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
        results().print(shown(path.absolute(), Path.cwd()), soft_wrap=True)
    hint = _hint(form, paths[0])
    if hint:
        remarks().print(hint, soft_wrap=True)


def _arguments(settings: Settings, asked: Asked, form: str) -> dict[str, Any]:
    """The checked arguments that a form is written for; none where it keeps them open."""
    from kubeez_mcp_local.cookbook.arguments import check_arguments, table_reader

    if form == "curl":
        return check_arguments(asked.recipe.front, asked.given, read_table=table_reader(settings.input_dirs))
    for name in asked.given:
        raise InvalidArgumentError(name, f"the form {form} keeps the arguments open; only curl is written for values.")
    return {}


def _hint(form: str, path: Path) -> str:
    if form not in ("python", "curl"):
        return ""
    start = f"python {path} --help" if form == "python" else f"bash {path}"
    return (
        f"Run it with KUBEEZ_API_KEY set: {start}\n"
        "Rehearse it for free: `kubeez-mcp-local sandbox serve`, then KUBEEZ_BASE_URL=http://127.0.0.1:8787."
    )
