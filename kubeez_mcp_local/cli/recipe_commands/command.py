"""A command about one recipe: the recipe's arguments are options of the command."""

from __future__ import annotations

import difflib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kubeez_mcp_local.cli.recipe_commands.finding import find_recipe
from kubeez_mcp_local.cli.recipe_commands.options import RecipeOptions
from kubeez_mcp_local.cli.terminal import plain
from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from kubeez_mcp_local.cookbook.format import Recipe

_CHOSEN = "kubeez_mcp_local.recipe_options"
_NAME = click.Argument(["name"], metavar="NAME")
_ARGUMENTS = click.Option(
    ["--arguments"], metavar="FILE.json|-", help="Arguments of the recipe as a JSON object; options win over it."
)


@dataclass(frozen=True)
class Asked:
    """What the command line asked for: a recipe, and the values given for its arguments."""

    recipe: Recipe
    given: dict[str, Any]


class RecipeCommand(click.Command):
    """Takes the NAME of a recipe (or the path of its file), then its arguments as options.

    The callback gets `asked` beside the command's own parameters.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = [_NAME, *self.params, _ARGUMENTS]
        self.context_settings = {"token_normalize_func": lambda word: word.replace("_", "-")}

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        own = super().get_params(ctx)
        chosen: RecipeOptions | None = ctx.meta.get(_CHOSEN)
        return own if chosen is None else [*own, *chosen.parameters()]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        taken = {name for parameter in self.get_params(ctx) for name in (*parameter.opts, *parameter.secondary_opts)}
        name = self._name_in(ctx, args)
        if name:
            recipe = find_recipe(ctx.obj.settings(mode="sandbox"), name)  # finding it needs no key
            ctx.meta[_CHOSEN] = RecipeOptions.of(recipe, taken)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise self._unknown(ctx, error) from None

    def invoke(self, ctx: click.Context) -> Any:
        chosen: RecipeOptions = ctx.meta[_CHOSEN]
        del ctx.params["name"]
        source = ctx.params.pop("arguments")
        given = {**(_read_arguments(source) if source else {}), **chosen.take(ctx.params)}
        ctx.params["asked"] = Asked(chosen.recipe, given)
        try:
            return super().invoke(ctx)
        except InvalidArgumentError as error:
            raise _as_option(error, chosen) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        chosen: RecipeOptions | None = ctx.meta.get(_CHOSEN)
        if chosen is not None and chosen.names:
            with formatter.section(f"Arguments of {chosen.recipe.name}"):
                formatter.write_dl(chosen.help_records())
        own = [one.get_help_record(ctx) for one in super().get_params(ctx) if isinstance(one, click.Option)]
        with formatter.section("Options"):
            formatter.write_dl([record for record in own if record is not None])

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_help_text(ctx, formatter)
        chosen: RecipeOptions | None = ctx.meta.get(_CHOSEN)
        if chosen is not None:
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(plain(f"{chosen.recipe.title}: {chosen.recipe.description}"))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if _CHOSEN not in ctx.meta:
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(
                    f"The arguments of the recipe are options, too; `{ctx.command_path} NAME --help` lists them. "
                    "Where the command has an option of the same name, the argument's is --arg-…."
                )

    def _name_in(self, ctx: click.Context, args: list[str]) -> str:
        """The first word that is no option: NAME comes before the recipe's own options."""
        parser = self.make_parser(ctx)
        parser.allow_interspersed_args = False
        try:
            found = parser.parse_args(list(args))[0].get("name")
        except click.NoSuchOption as error:
            raise click.UsageError(
                f"{error.option_name} comes before the name of a recipe. Write NAME first, then its options.", ctx
            ) from None
        return found if isinstance(found, str) else ""

    def _unknown(self, ctx: click.Context, error: click.NoSuchOption) -> Exception:
        chosen: RecipeOptions | None = ctx.meta.get(_CHOSEN)
        if chosen is None:
            return error
        known = [name for one in self.get_params(ctx) for name in (*one.opts, *one.secondary_opts) if name[:2] == "--"]
        near = difflib.get_close_matches(error.option_name.replace("_", "-"), known, n=2, cutoff=0.6)
        allowed = ", ".join(chosen.names.values()) or "none"
        message = f"the recipe {chosen.recipe.name} has no such argument; it takes: {allowed}."
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        return InvalidArgumentError(error.option_name, message + hint)


def _as_option(error: InvalidArgumentError, chosen: RecipeOptions) -> InvalidArgumentError:
    """The same refusal, with the option's name in place of the argument's."""
    option = chosen.names.get(error.argument)
    if option is None:
        return error
    reason = error.message.removeprefix(f"{error.argument}: ")
    return InvalidArgumentError(option, reason, next_step=error.next_step)


def _read_arguments(source: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if source == "-" else Path(os.path.expanduser(source)).read_text("utf-8")  # noqa: PTH111 - never raises
        values = json.loads(text)
    except OSError as error:
        raise InvalidArgumentError("--arguments", f"{source} cannot be read: {error.strerror}.") from None
    except ValueError as error:  # neither UTF-8 nor JSON
        raise InvalidArgumentError("--arguments", f"{source} is not JSON: {error}.") from None
    if not isinstance(values, dict):
        raise InvalidArgumentError("--arguments", f'{source} must hold an object such as {{"brief": "…"}}.')
    return values
