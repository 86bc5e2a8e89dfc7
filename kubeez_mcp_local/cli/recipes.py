"""`kubeez-mcp-local recipes`: one file that is prompt, price list, program and test."""

from __future__ import annotations

import click

from kubeez_mcp_local.cli.recipe_commands.carrying_out import run
from kubeez_mcp_local.cli.recipe_commands.listing import list_, show
from kubeez_mcp_local.cli.recipe_commands.pricing import price


@click.group(invoke_without_command=True)
@click.pass_context
def recipes(context: click.Context) -> None:
    """List, price, run, rehearse, check, write, export and share recipes.

    NAME is a recipe's name, or the path of its file.
    """
    if context.invoked_subcommand is None:
        context.invoke(list_, tag=None, as_json=False)


for command in (list_, show, price, run):
    recipes.add_command(command)
