"""`recipes price`: what each step costs, and whether it fits into the budget."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from kubeez_mcp_local.cli.recipe_commands.command import Asked, RecipeCommand
from kubeez_mcp_local.cli.recipe_commands.where import settings_for, where
from kubeez_mcp_local.cli.running import run
from kubeez_mcp_local.cli.terminal import plain, print_json, results

if TYPE_CHECKING:
    from rich.table import Table

    from kubeez_mcp_local.cli.main import Options
    from kubeez_mcp_local.cookbook.price import PriceList
    from kubeez_mcp_local.cookbook.steps import Budget
    from kubeez_mcp_local.settings import Settings


@click.command(cls=RecipeCommand, short_help="What each step costs, and whether it fits the budget.")
@where
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_context
def price(context: click.Context, asked: Asked, mode: str | None, as_json: bool) -> None:
    """What a recipe costs, step by step. Free: nothing is made. Exit code 1 when it does not fit into the budget.

    The range goes over the choices that you leave open.
    """
    options: Options = context.obj
    settings = settings_for(options, mode)
    prices = run(settings, lambda: _priced(settings, asked))
    if as_json:
        print_json({**price_row(prices), "mode": settings.effective_mode.value})
    else:
        results().print(price_table(prices))
        results().print(_verdict(prices), soft_wrap=True)
    context.exit(0 if prices.fits else 1)


async def _priced(settings: Settings, asked: Asked) -> PriceList:
    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.cookbook.arguments import check_arguments, table_reader
    from kubeez_mcp_local.cookbook.format import RecipeError
    from kubeez_mcp_local.cookbook.price import price_recipe
    from kubeez_mcp_local.mcp_server.server import KubeezServer
    from kubeez_mcp_local.runs.client import LocalClient

    recipe = asked.recipe
    if not recipe.steps:
        reason = "this recipe has no steps, so it has no price of its own"
        raise RecipeError(recipe.file, 0, "steps", reason, next_step="Use it as a prompt: `recipes show … --prompt`.")
    bridge = Bridge(settings)
    async with (
        bridge,
        LocalClient(bridge, KubeezServer, name="kubeez-recipes", recipe=recipe.name, opened=True) as client,
    ):
        values = check_arguments(recipe.front, asked.given, read_table=table_reader(bridge.settings.input_dirs))
        known = {name: values[name] for name, value in asked.given.items() if value != ""}
        return await price_recipe(recipe, known, client, ceiling=(await bridge.today()).left)


def price_row(prices: PriceList) -> dict[str, Any]:
    """A price list for JSON; credits, `null` where unknown."""
    return {
        "recipe": prices.recipe,
        "steps": [asdict(step) for step in prices.steps],
        "credits": prices.credits,
        "low": prices.low,
        "high": prices.high,
        "budget": prices.budget.credits,
        "fits": prices.fits,
        "note": prices.budget.note,
    }


def price_table(prices: PriceList) -> Table:
    """A price list for people."""
    from rich.table import Table

    from kubeez_mcp_local.cookbook.steps import PAID_TOOLS

    ranges = any(_spread(step.low, step.high) for step in prices.steps)
    table = Table("step", "tool", "model", box=None, header_style="bold")
    for heading in ("calls", "credits", *(["range"] if ranges else [])):
        table.add_column(heading, justify="right")
    table.add_column("")

    def row(first: str, tool: str, model: str, calls: str, credits_: str, spread: str, note: str) -> None:
        table.add_row(first, tool, model, calls, credits_, *([spread] if ranges else []), note)

    for step in prices.steps:
        if step.tool in PAID_TOOLS:
            spread = _spread(step.low, step.high)
            cost = _credits(step.credits)
            row(step.id, step.tool, plain(step.model), str(step.calls), cost, spread, plain(step.note))
        else:
            row(step.id, step.tool, "", "", "free", "", "")
    if len(prices.steps) > 1:
        table.add_section()
        calls = str(sum(step.calls for step in prices.steps))
        row("together", "", "", calls, _credits(prices.credits), _spread(prices.low, prices.high), "")
    return table


def shortfall(credits_: float | None, budget: Budget) -> str:
    """How a price does not fit into a budget, in one sentence; empty when it does."""
    from kubeez_mcp_local.cookbook.steps import number

    note = f" {budget.note}" if budget.note else ""
    if credits_ is None:
        return f"The price is not known in advance; the budget is {number(budget.credits)} credits.{note}"
    if credits_ <= budget.credits:
        return ""
    return f"{number(credits_)} credits do not fit into the budget of {number(budget.credits)}.{note}"


def _verdict(prices: PriceList) -> str:
    from kubeez_mcp_local.cookbook.steps import number

    missing = shortfall(prices.credits, prices.budget)
    if missing:
        return missing
    note = f" {prices.budget.note}" if prices.budget.note else ""
    return f"{_credits(prices.credits)} credits; fits into the budget of {number(prices.budget.credits)}.{note}"


def _credits(credits_: float | None) -> str:
    from kubeez_mcp_local.cookbook.steps import number

    return "unknown" if credits_ is None else number(credits_)


def _spread(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None or low == high else f"{_credits(low)}–{_credits(high)}"
