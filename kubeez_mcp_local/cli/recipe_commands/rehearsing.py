"""`recipes rehearse`: a run in a sandbox of its own, whatever the settings say."""

from __future__ import annotations

import shlex
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import click

from kubeez_mcp_local.cli.recipe_commands.command import Asked, RecipeCommand
from kubeez_mcp_local.cli.recipe_commands.options import shown_value
from kubeez_mcp_local.cli.recipe_commands.progress import progress
from kubeez_mcp_local.cli.recipe_commands.reporting import run_row, show_report
from kubeez_mcp_local.cli.running import run
from kubeez_mcp_local.cli.terminal import plain, print_json, remarks, results, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kubeez_mcp_local.cli.main import Options
    from kubeez_mcp_local.cookbook.format import Recipe
    from kubeez_mcp_local.runs.run import RunReport
    from kubeez_mcp_local.settings import Settings


@click.command(cls=RecipeCommand, short_help="The same in a sandbox of its own: free, without a key.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the files go; default: ./kubeez-rehearsal/NAME.",
)
@click.option("--parallel", default=4, show_default=True, type=click.IntRange(1, 64), help="Most calls at once.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@click.pass_context
def rehearse(context: click.Context, asked: Asked, output: Path | None, parallel: int, as_json: bool) -> None:
    """Run a recipe in a sandbox of its own: free, without a key, with marked stand-in files.

    Required arguments that you leave out are taken from the recipe's own examples. Exit codes as those of `run`.
    """
    options: Options = context.obj
    outputs = (output or Path("kubeez-rehearsal") / asked.recipe.name).absolute()
    settings = options.settings(mode="sandbox")
    with TemporaryDirectory(prefix="kubeez-rehearsal-") as folder:
        report = run(settings, lambda: _rehearsed(settings, asked, Path(folder), outputs, parallel))
    if as_json:
        print_json({**run_row(report), "folder": str(outputs)})
    else:
        show_report(report)
        price = f"{report.spent:g} credits"
        results().print(f"A rehearsal, free, in {shown(outputs, Path.cwd())}. Live it costs about {price}.")
    context.exit(report.exit_code)


async def _rehearsed(settings: Settings, asked: Asked, folder: Path, outputs: Path, parallel: int) -> RunReport:
    from kubeez_mcp_local.cookbook.check import Samples, example_values
    from kubeez_mcp_local.mcp_server.server import KubeezServer
    from kubeez_mcp_local.runs.prepare import prepare_run
    from kubeez_mcp_local.runs.rehearsal import rehearsal

    recipe = asked.recipe
    samples = Samples(folder / "samples")
    examples = await anyio.to_thread.run_sync(lambda: example_values(recipe, samples))
    taken = {name: value for name, value in examples.items() if _is_missing(recipe, asked.given, name)}
    _tell_examples(taken)
    async with rehearsal(settings, KubeezServer, folder, recipe=recipe.name, outputs=outputs) as (bridge, client):
        prepared = await prepare_run(bridge, recipe, {**taken, **asked.given}, client)
        with progress(recipe.name, prepared.paid_calls) as told:
            return await prepared.run.carry_out(client, bridge.ledger, parallel=parallel, on_event=told)


def _is_missing(recipe: Recipe, given: Mapping[str, Any], name: str) -> bool:
    """Whether an example is needed: for what is required, and for everything when nothing was given."""
    argument = recipe.arguments.get(name)
    return argument is not None and given.get(name) in (None, "", []) and (argument.required or not given)


def _tell_examples(taken: Mapping[str, Any]) -> None:
    """Say which values were not the caller's, in the form of options to change."""
    if taken:
        options = " ".join(f"--{name.replace('_', '-')} {_quoted(value)}" for name, value in taken.items())
        remarks().print(f"With example values: {plain(options)}", soft_wrap=True)


def _quoted(value: Any) -> str:
    text = " ".join(shown_value(value).split())
    return shlex.quote(text if len(text) <= 100 else text[:99] + "…")
