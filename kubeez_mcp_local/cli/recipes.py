"""`kubeez-mcp-local recipes`: one file that is prompt, price list, program and test."""

from __future__ import annotations

import click

from kubeez_mcp_local.cli.recipe_commands.carrying_out import run
from kubeez_mcp_local.cli.recipe_commands.checking import check
from kubeez_mcp_local.cli.recipe_commands.exporting import export
from kubeez_mcp_local.cli.recipe_commands.listing import list_, show
from kubeez_mcp_local.cli.recipe_commands.pricing import price
from kubeez_mcp_local.cli.recipe_commands.rehearsing import rehearse
from kubeez_mcp_local.cli.recipe_commands.sharing import add, remove, sources, update
from kubeez_mcp_local.cli.recipe_commands.writing import new, save


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


for command in (list_, show, price, run, rehearse, check, new, save, export, add, update, remove, sources):
    recipes.add_command(command)
